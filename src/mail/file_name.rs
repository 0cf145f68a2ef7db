//! How a message's file is named: by when it was written and, where it holds a secret, by
//! when that expires, so that it can be removed by its name alone, by any later process.
//!
//! `20261121T010042.123456Z-<32 hexadecimal digits>.eml`, or
//! `20261121T010042.123456Z-<32 hexadecimal digits>-expires-20261121T011042Z.eml`.

use chrono::{DateTime, NaiveDateTime, Utc};

use super::{error::MailError, message::random_name};

const WRITTEN: &str = "%Y%m%dT%H%M%S%.6fZ";
const EXPIRES: &str = "%Y%m%dT%H%M%SZ";
const MARK: &str = "-expires-";
const FINISHED: &str = ".eml";
const UNFINISHED: (&str, &str) = (".", ".tmp");

/// A name, but for its ending.
pub(super) struct FileName(String);

impl FileName {
    /// A name that no other message has.
    ///
    /// # Errors
    ///
    /// When there is no randomness.
    pub(super) fn new(
        now: DateTime<Utc>,
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<Self, MailError> {
        let mut name = format!("{}-{}", now.format(WRITTEN), random_name()?);
        if let Some(expires_at) = expires_at {
            name.push_str(&format!("{MARK}{}", expires_at.format(EXPIRES)));
        }
        Ok(Self(name))
    }

    /// The name of a whole message.
    pub(super) fn finished(&self) -> String {
        format!("{}{FINISHED}", self.0)
    }

    /// Its name while it is written.
    pub(super) fn unfinished(&self) -> String {
        let (before, after) = UNFINISHED;
        format!("{before}{}{after}", self.0)
    }

    /// When the message in a file expires; `None` for one that does not, and for every
    /// name that this service does not give.
    pub(super) fn expiry(file: &str) -> Option<DateTime<Utc>> {
        let (before, after) = UNFINISHED;
        let unfinished = || file.strip_prefix(before)?.strip_suffix(after);
        let name = file.strip_suffix(FINISHED).or_else(unfinished)?;
        let (head, expires_at) = name.split_once(MARK)?;
        let (written, random) = head.split_once('-')?;
        let written = read(written, WRITTEN)?;
        let is_random = random.len() == 32
            && random
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let expires_at = read(expires_at, EXPIRES)?;
        (is_random && written <= expires_at).then_some(expires_at)
    }
}

/// A time that is written exactly so.
fn read(text: &str, format: &str) -> Option<DateTime<Utc>> {
    let time = NaiveDateTime::parse_from_str(text, format).ok()?.and_utc();
    (time.format(format).to_string() == text).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_222_842 + second, 123_456_000).unwrap()
    }

    #[test]
    fn a_name_says_when_it_expires() {
        let lasting = FileName::new(at(0), None).unwrap();
        let expiring = FileName::new(at(0), Some(at(600))).unwrap();
        for (name, expiry) in [(&lasting, None), (&expiring, Some(1_795_223_442))] {
            for file in [name.finished(), name.unfinished()] {
                let found = FileName::expiry(&file).map(|time| time.timestamp());
                assert_eq!(found, expiry, "{file}");
            }
        }
        assert!(
            expiring
                .finished()
                .ends_with("-expires-20261121T011042Z.eml")
        );
        assert!(expiring.finished() < FileName::new(at(1), None).unwrap().finished());
    }

    #[test]
    fn a_name_of_others_does_not_expire() {
        let ours = FileName::new(at(0), Some(at(600))).unwrap().finished();
        assert!(FileName::expiry(&ours).is_some());
        for name in [
            "",
            ".eml",
            "-expires-20261121T011042Z.eml",
            "notes-expires-20261121T011042Z.eml",
            &ours.replace(".eml", ".txt"),
            &ours.replace(".eml", ".eml.bak"),
            &format!("copy of {ours}"),
            &ours.replace("-expires-", "-expired-"),
            &ours.replace("20261121T011042Z", "20261321T011042Z"),
            &ours.replace("20261121T011042Z", "2026-11-21"),
            &ours.replace("20261121T011042Z", ""),
            // Before it was written.
            &ours.replace("20261121T011042Z", "20261121T010041Z"),
            &ours.replacen("Z-", "Z-0", 1),
            &ours.to_uppercase(),
        ] {
            assert_eq!(FileName::expiry(name), None, "{name}");
        }
    }
}
