//! The mails to users, one kind a file: plain text, to the stored address, with links below
//! the public URL.

mod password_changed;
mod password_reset;

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    db::{Claim, MailKind, OutgoingMail},
    domain::PublicUrl,
    mail::Message,
};

/// The age at which an unsent mail of a kind is given up.
pub(super) fn give_up_after(kind: MailKind) -> TimeDelta {
    match kind {
        MailKind::PasswordChanged => password_changed::GIVE_UP_AFTER,
        MailKind::PasswordReset => password_reset::GIVE_UP_AFTER,
    }
}

/// The message of a mail; `None` if its address has no account.
pub(super) fn message(
    mail: &OutgoingMail,
    claim: &Claim,
    public_url: &PublicUrl,
) -> Option<Message> {
    let to = &mail.user.as_ref()?.email;
    Some(match mail.kind {
        MailKind::PasswordReset => password_reset::message(to, public_url, claim.reset.as_ref()?),
        MailKind::PasswordChanged => password_changed::message(to, public_url, mail.created_at),
    })
}

fn moment(time: DateTime<Utc>) -> impl std::fmt::Display {
    time.format("%H:%M UTC on %-d %B %Y")
}
