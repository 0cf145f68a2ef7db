//! The names of message files: the time of writing and, for a message with a secret, the time
//! of its expiry, so that any later process can remove the file by its name alone.
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

/// A name without its extension.
pub(super) struct FileName(String);

impl FileName {
    /// A unique name.
    ///
    /// # Errors
    ///
    /// When there are no random bytes.
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

    /// The name of a complete message.
    pub(super) fn finished(&self) -> String {
        format!("{}{FINISHED}", self.0)
    }

    /// The name of an unfinished message.
    pub(super) fn unfinished(&self) -> String {
        let (before, after) = UNFINISHED;
        format!("{before}{}{after}", self.0)
    }

    /// The time when the message in a file expires; `None` if it does not, and for files of
    /// other programs.
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

/// A time in exactly this format.
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
    fn a_name_contains_the_expiry() {
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
    fn names_of_other_files_do_not_expire() {
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
