//! The notice of a changed password, in case another person changed it.

use chrono::{DateTime, TimeDelta, Utc};

use super::moment;
use crate::{
    domain::{Email, PublicUrl},
    mail::Message,
};

/// The age at which it is given up: as long as mail servers usually retry.
pub(super) const GIVE_UP_AFTER: TimeDelta = TimeDelta::days(3);

pub(super) fn message(to: &Email, public_url: &PublicUrl, changed_at: DateTime<Utc>) -> Message {
    Message {
        to: to.clone(),
        subject: "Your password was changed".to_owned(),
        body: format!(
            "The password of the account\n\
             {to} at {public_url}\n\
             was changed at {}. Every device was logged out.\n\n\
             If that was you, there is nothing to do. If it was not, somebody else knows\n\
             your password or reads your mail: ask for a new password at once, and tell\n\
             those who run the service.\n",
            moment(changed_at)
        ),
        expires_at: None,
    }
}
