//! The mail with a link to set a new password. The link holds a reset token.

use chrono::TimeDelta;

use super::moment;
use crate::{
    domain::{Email, NewReset, PublicUrl},
    mail::Message,
};

/// The age at which it is given up: by then its user has asked again.
pub(super) const GIVE_UP_AFTER: TimeDelta = TimeDelta::hours(1);

/// The path of the link below the public URL.
const PATH: &str = "reset_password";

pub(super) fn message(to: &Email, public_url: &PublicUrl, reset: &NewReset) -> Message {
    let expires_at = reset.pending.expires_at;
    let parameters = [
        ("email", to.as_str()),
        ("reset_token", reset.token.expose()),
    ];
    let link = public_url.link(PATH, parameters);
    Message {
        to: to.clone(),
        subject: "Set a new password".to_owned(),
        body: format!(
            "Somebody, probably you, asked for a new password for the account\n\
             {to} at {public_url}\n\n\
             To choose one, open this link before {}:\n\n\
             {link}\n\n\
             It works once, and not after your password was changed in another way. If\n\
             you did not ask for it, do nothing: your password stays as it is.\n",
            moment(expires_at)
        ),
        expires_at: Some(expires_at),
    }
}
