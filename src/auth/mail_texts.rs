//! What is written to users. Plain text, for people; the address is the stored
//! one, and every link is below the public URL.

use chrono::{DateTime, Utc};

use crate::{
    domain::{Email, PublicUrl, ResetToken},
    mail::Message,
};

/// Where a link leads, below the public URL: the route that takes the token.
const RESET_PATH: &str = "reset_password";

/// To whoever may set a new password with this token.
pub(super) fn password_reset(
    to: &Email,
    public_url: &PublicUrl,
    token: &ResetToken,
    expires_at: DateTime<Utc>,
) -> Message {
    let parameters = [("email", to.as_str()), ("reset_token", token.expose())];
    let link = public_url.link(RESET_PATH, parameters);
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
    }
}

/// To a user whose password was changed, in case it was not they who did it.
pub(super) fn password_changed(
    to: &Email,
    public_url: &PublicUrl,
    changed_at: DateTime<Utc>,
) -> Message {
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
    }
}

fn moment(time: DateTime<Utc>) -> impl std::fmt::Display {
    time.format("%H:%M UTC on %-d %B %Y")
}
