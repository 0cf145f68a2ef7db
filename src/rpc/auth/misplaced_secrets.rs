//! Error messages for values other than the secret that a field asks for. They depend
//! on the shape of the request alone: a first caller learns which value to send, and an
//! attacker learns nothing about a session or an account.

use std::sync::LazyLock;

use tonic::{Status, metadata::MetadataMap};
use uuid::Uuid;

use crate::rpc::status;
use crate::{
    auth::AuthError,
    domain::{ResetToken, SessionToken},
};

/// Metadata keys in which first callers send their `session_id`.
const METADATA: [&str; 6] = [
    "authorization",
    "cookie",
    "session-id",
    "session_id",
    "sessionid",
    "x-session-id",
];

/// Why a text cannot be a `session_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionIdMistake {
    Missing,
    InMetadata,
    Handle,
    ResetToken,
    NoPrefix,
    Other,
}

impl SessionIdMistake {
    const ALL: [Self; 6] = [
        Self::Missing,
        Self::InMetadata,
        Self::Handle,
        Self::ResetToken,
        Self::NoPrefix,
        Self::Other,
    ];

    /// `None` for a text with the shape of a `session_id`.
    fn of(session_id: &str, metadata: &MetadataMap) -> Option<Self> {
        if SessionToken::parse(session_id).is_some() {
            return None;
        }
        let is_in_metadata = || METADATA.iter().any(|name| metadata.contains_key(*name));
        Some(match session_id {
            "" if is_in_metadata() => Self::InMetadata,
            "" => Self::Missing,
            text if Uuid::parse_str(text).is_ok() => Self::Handle,
            text if ResetToken::has_prefix(text) => Self::ResetToken,
            text if SessionToken::lacks_prefix(text) => Self::NoPrefix,
            _ => Self::Other,
        })
    }

    fn message(self) -> &'static str {
        match self {
            Self::Missing => {
                "session_id is missing: send the one that Login returned, in the message, as \
                 {\"session_id\": \"sess_...\"}"
            }
            Self::InMetadata => {
                "session_id is missing from the message: it is read from there alone, and not \
                 from metadata such as authorization or cookie; send the one that Login \
                 returned, as {\"session_id\": \"sess_...\"}"
            }
            Self::Handle => {
                "session_id is a handle, which names a session and proves nothing: send the \
                 session_id that Login returned, which begins with sess_"
            }
            Self::ResetToken => {
                "session_id is a reset token, which is for ResetPassword alone: send the \
                 session_id that Login returned, which begins with sess_"
            }
            Self::NoPrefix => "session_id lacks its beginning: send it whole, with sess_",
            Self::Other => {
                "session_id is not as Login returned it: sess_ and 43 more characters, with \
                 nothing before or after them; copy it whole, or log in again"
            }
        }
    }
}

/// Built once, since invented ids are cheaper to send than any other request.
static MISTAKE_STATUSES: LazyLock<[Status; 6]> =
    LazyLock::new(|| SessionIdMistake::ALL.map(|why| status::session_invalid(why.message())));

/// The status of a failed call whose message has a `session_id`.
pub(crate) fn of_session(
    session_id: &str,
    metadata: &MetadataMap,
) -> impl FnOnce(AuthError) -> Status {
    |error| match (&error, SessionIdMistake::of(session_id, metadata)) {
        (AuthError::SessionInvalid, Some(why)) => MISTAKE_STATUSES[why as usize].clone(),
        _ => error.into(),
    }
}

/// The status of a failed call whose message has a `reset_token`.
pub(crate) fn of_reset(error: AuthError, reset_token: &str) -> Status {
    if !matches!(error, AuthError::ResetTokenInvalid) || ResetToken::parse(reset_token).is_some() {
        return error.into();
    }
    status::reset_token_invalid(match reset_token {
        "" => "reset_token is missing: send the one from the link in the mail; it begins with rst_",
        text if text.contains("reset_token=") => {
            "reset_token is a whole link: send only the part after reset_token=, which begins with \
             rst_"
        }
        text if SessionToken::has_prefix(text) => {
            "reset_token is a session_id: send the reset_token from the link in the mail, which \
             begins with rst_; ChangePassword is for users who are logged in"
        }
        _ => {
            "reset_token is not as it was mailed: rst_ and 43 more characters, with nothing \
             before or after them; copy it whole, or ask for a new one"
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_recognised_by_shape() {
        let secret = "rCYBKRX6_7Ecgzm0nsc2MLHfJs6EiP5QPUikUFM04CU";
        let id = format!("sess_{secret}");
        let mut in_metadata = MetadataMap::new();
        in_metadata.insert("authorization", format!("Bearer {id}").parse().unwrap());
        let none = MetadataMap::new();
        for (text, metadata, why) in [
            (id.as_str(), &none, None),
            ("", &none, Some(SessionIdMistake::Missing)),
            ("", &in_metadata, Some(SessionIdMistake::InMetadata)),
            (&id, &in_metadata, None),
            (
                "db530ae7-4a52-4273-9f75-a5ac0b12ac11",
                &none,
                Some(SessionIdMistake::Handle),
            ),
            (
                &format!("rst_{secret}"),
                &none,
                Some(SessionIdMistake::ResetToken),
            ),
            (secret, &none, Some(SessionIdMistake::NoPrefix)),
            (
                &format!("Bearer {id}"),
                &none,
                Some(SessionIdMistake::Other),
            ),
            (&id[..40], &none, Some(SessionIdMistake::Other)),
            ("ada@example.com", &none, Some(SessionIdMistake::Other)),
        ] {
            assert_eq!(SessionIdMistake::of(text, metadata), why, "{text:?}");
        }
        for (index, why) in SessionIdMistake::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, index);
            assert_eq!(MISTAKE_STATUSES[index].message(), why.message());
        }
    }
}
