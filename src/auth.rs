//! The rules: who may register, who is logged in. One use case per file.
//!
//! The names are those of the service that Bienvenue replaces.

pub(crate) mod accounts;
mod error;
pub(crate) mod outbox;
mod removal;
pub mod sessions;

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use self::sessions::{cache::SessionIndex, freshness::Revocations};
use self::{accounts::decoys::Decoys, outbox::deliver::MailDelivery, removal::Sweeping};
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
pub use removal::Sweeper;
pub use sessions::manage::{MOST_LISTED, SessionPage};
pub use sessions::open::{CheckedSession, LiveSession, OpenedSession};

/// What an operator decides about accounts.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    /// Which passwords may be set.
    pub password_policy: PasswordPolicy,
    /// How long sessions live.
    pub session_limits: SessionLimits,
    /// How long a reset token is good.
    pub reset_ttl: Duration,
    /// What links in mails lead to.
    pub public_url: PublicUrl,
    /// How long the log of revocations is kept.
    pub revocation_retention: Duration,
    /// How many session checks may ask the database at once.
    pub look_ups_at_once: usize,
}

/// What accounts and sessions are made of.
pub struct Resources {
    /// What is kept.
    pub db: Db,
    /// Hashing.
    pub passwords: Passwords,
    /// Where mail goes.
    pub mailer: Mailer,
    /// Sessions in memory.
    pub index: SessionIndex,
    /// What tells whether memory may be relied on.
    pub revocations: Revocations,
}

/// Accounts and sessions, shared by everyone. Cheap to clone.
#[derive(Clone)]
pub struct Auth {
    db: Db,
    passwords: Passwords,
    mail_delivery: MailDelivery,
    index: SessionIndex,
    revocations: Revocations,
    resets: Arc<Semaphore>,
    look_ups: Arc<Semaphore>,
    /// Connections that lists of sessions may have, a part of those for look-ups.
    listings: Arc<Semaphore>,
    clock: Clock,
    settings: AuthSettings,
    sweeping: Sweeping,
    decoys: Decoys,
}

impl Auth {
    /// Builds the rules from the resources that they use.
    pub fn new(resources: Resources, clock: Clock, settings: AuthSettings) -> Self {
        Self {
            decoys: Decoys::new(resources.db.decoy_key()),
            db: resources.db,
            passwords: resources.passwords,
            mail_delivery: MailDelivery::new(resources.mailer),
            index: resources.index,
            revocations: resources.revocations,
            look_ups: Arc::new(Semaphore::new(settings.look_ups_at_once)),
            listings: Arc::new(Semaphore::new((settings.look_ups_at_once / 2).max(1))),
            resets: Arc::new(Semaphore::new(accounts::password_reset::REQUESTS_AT_ONCE)),
            clock,
            settings,
            sweeping: Sweeping::default(),
        }
    }
}
