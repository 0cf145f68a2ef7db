//! Where a page of a user's sessions ends, and the next begins.

use std::ops::RangeInclusive;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};

use super::SessionHandle;

/// The first byte of a token, so that another form can be told from this one.
const VERSION: u8 = 1;

const TIME_BYTES: usize = 8;

/// The times that every database keeps, in microseconds: 1970 to 9999.
const TIMES: RangeInclusive<i64> = 0..=253_402_300_799_999_999;

/// A place in the order of a user's sessions: those opened last come first, and of
/// those opened at the same time the one with the smaller handle. Neither changes
/// while a session is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionPosition {
    /// When the session was opened.
    pub created_at: DateTime<Utc>,
    /// The session's handle.
    pub handle: SessionHandle,
}

impl SessionPosition {
    /// The position as a `page_token`. It holds no secret.
    pub fn to_token(self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(self.created_at.timestamp_micros().to_be_bytes());
        bytes.extend(self.handle.encode(&mut [0; 36]).as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a `page_token`; `None` for anything that [`to_token`](Self::to_token)
    /// cannot have made.
    pub fn from_token(token: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (version, rest) = bytes.split_first()?;
        let (time, handle) = rest.split_first_chunk::<TIME_BYTES>()?;
        let time = i64::from_be_bytes(*time);
        let position = Self {
            created_at: DateTime::from_timestamp_micros(time)?,
            handle: SessionHandle::parse(std::str::from_utf8(handle).ok()?)?,
        };
        (*version == VERSION && TIMES.contains(&time)).then_some(position)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_leads_to_where_it_was_made(
            micros in 0..4_000_000_000_000_000_i64,
        ) {
            let position = SessionPosition {
                created_at: DateTime::from_timestamp_micros(micros).unwrap(),
                handle: SessionHandle::generate(),
            };
            let token = position.to_token();
            prop_assert_eq!(SessionPosition::from_token(&token), Some(position));
            prop_assert_eq!(SessionPosition::from_token(&token[1..]), None);
        }

        /// A time that a database cannot compare with would be its error, not the caller's.
        #[test]
        fn no_time_is_taken_that_a_database_cannot_keep(micros in any::<i64>()) {
            let mut bytes = vec![VERSION];
            bytes.extend(micros.to_be_bytes());
            bytes.extend(SessionHandle::generate().encode(&mut [0; 36]).as_bytes());
            let position = SessionPosition::from_token(&URL_SAFE_NO_PAD.encode(bytes));
            prop_assert_eq!(position.is_some(), TIMES.contains(&micros));
        }

        #[test]
        fn no_text_is_a_token_by_chance(text in "\\PC{0,60}") {
            if let Some(position) = SessionPosition::from_token(&text) {
                prop_assert_eq!(position.to_token(), text);
            }
        }
    }
}
