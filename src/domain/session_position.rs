//! Positions in the list of a user's sessions, between two pages.

use std::ops::RangeInclusive;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};

use super::SessionHandle;

/// The first byte of a token, for later formats.
const VERSION: u8 = 1;

const TIME_BYTES: usize = 8;

/// The times that every database can store, in microseconds: 1970 to 9999.
const TIMES: RangeInclusive<i64> = 0..=253_402_300_799_999_999;

/// A position in the order of a user's sessions: latest first, and by handle among those
/// opened at the same time. Use of a session does not change the order.
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

    /// Parses a `page_token`; `None` for any other text than [`to_token`](Self::to_token)
    /// makes.
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
        fn a_token_encodes_its_position(
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

        /// A time that the database cannot compare must be the caller's error, not the
        /// database's.
        #[test]
        fn times_outside_the_databases_range_are_refused(micros in any::<i64>()) {
            let mut bytes = vec![VERSION];
            bytes.extend(micros.to_be_bytes());
            bytes.extend(SessionHandle::generate().encode(&mut [0; 36]).as_bytes());
            let position = SessionPosition::from_token(&URL_SAFE_NO_PAD.encode(bytes));
            prop_assert_eq!(position.is_some(), TIMES.contains(&micros));
        }

        #[test]
        fn every_accepted_token_has_one_spelling(text in "\\PC{0,60}") {
            if let Some(position) = SessionPosition::from_token(&text) {
                prop_assert_eq!(position.to_token(), text);
            }
        }
    }
}
