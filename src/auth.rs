//! The rules for accounts and sessions, one use case per file. A method of [`Auth`] with a
//! counterpart in the replaced service has the same name (`docs/moving-in.md`).

pub(crate) mod accounts;
mod error;
pub(crate) mod outbox;
mod removal;
pub mod sessions;

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use self::sessions::{cache::SessionCache, freshness::Revocations};
use self::{accounts::decoys::Decoys, outbox::deliver::MailDelivery, removal::ClockTrust};
use crate::{
    clock::Clock,
    db::Db,
    domain::{PasswordPolicy, PublicUrl, SessionLimits},
    mail::Mailer,
    passwords::Passwords,
};

pub use accounts::login::{Credentials, LoggedIn};
pub use error::{AuthError, Field};
pub use outbox::deliver::{ClaimedMail, NextMail};
pub use removal::ExpiryRemoval;
pub use sessions::batch::SessionOutcome;
pub use sessions::manage::{MAX_PAGE_SIZE, SessionPage};
pub use sessions::open::{CheckedSession, LiveSession, OpenedSession};

/// Settings for accounts and sessions.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    /// The rules for new passwords.
    pub password_policy: PasswordPolicy,
    /// The limits on the life of sessions.
    pub session_limits: SessionLimits,
    /// How long a reset token is valid.
    pub reset_ttl: Duration,
    /// The URL below which links in mails lead.
    pub public_url: PublicUrl,
    /// How long entries of the log of revocations are kept.
    pub revocation_retention: Duration,
    /// The largest number of concurrent session look-ups in the database.
    pub look_ups_at_once: usize,
}

/// The resources that the rules work with.
pub struct Resources {
    /// The database.
    pub db: Db,
    /// Hashing.
    pub passwords: Passwords,
    /// Delivery of mail.
    pub mailer: Mailer,
    /// The session cache.
    pub cache: SessionCache,
    /// The follower that keeps the cache fresh.
    pub revocations: Revocations,
}

/// The rules for accounts and sessions. Clones share everything and are cheap.
#[derive(Clone)]
pub struct Auth {
    db: Db,
    passwords: Passwords,
    mail_delivery: MailDelivery,
    cache: SessionCache,
    revocations: Revocations,
    resets: Arc<Semaphore>,
    look_ups: Arc<Semaphore>,
    /// Permits for lists of sessions, a part of those for look-ups.
    listings: Arc<Semaphore>,
    clock: Clock,
    settings: AuthSettings,
    clock_trust: ClockTrust,
    decoys: Decoys,
}

impl Auth {
    /// Combines the rules with their resources.
    pub fn new(resources: Resources, clock: Clock, settings: AuthSettings) -> Self {
        Self {
            decoys: Decoys::new(resources.db.decoy_key()),
            db: resources.db,
            passwords: resources.passwords,
            mail_delivery: MailDelivery::new(resources.mailer),
            cache: resources.cache,
            revocations: resources.revocations,
            look_ups: Arc::new(Semaphore::new(settings.look_ups_at_once)),
            listings: Arc::new(Semaphore::new((settings.look_ups_at_once / 2).max(1))),
            resets: Arc::new(Semaphore::new(accounts::password_reset::REQUESTS_AT_ONCE)),
            clock,
            settings,
            clock_trust: ClockTrust::default(),
        }
    }

    /// Closes connections to the database that have been idle for more than a minute.
    pub fn close_idle_connections(&self) {
        self.db.close_idle_connections();
    }
}
