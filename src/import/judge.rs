//! Which rows can be taken.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::{
    db::import::{Field, Occupied, SourceRow},
    domain::{CredentialVersion, Email, EmailError, HashedPassword, ResetTokens, User, UserId},
    passwords::{self, UnreadableHash},
};

/// The highest id that is taken: after it, as many again are left for those who
/// register.
const MAX_ID: i64 = 1 << 62;

/// The most rows that memory is set aside for at the start.
const MAX_EXPECTED: u64 = 1 << 20;

/// Why a row cannot be taken, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Reason {
    /// No number, or one that cannot be an id.
    #[error("its id is not a whole number from 1 to {MAX_ID}; give it another")]
    Id,
    /// Another row before it has the id.
    #[error("the row before it has the same id; give it another")]
    SameId,
    /// NULL or empty.
    #[error("it has no e-mail; give it one, or delete it")]
    NoEmail,
    /// Bytes that are not UTF-8.
    #[error("its e-mail is not a text in UTF-8; write it anew, or delete the row")]
    EmailNotText,
    /// Not an address that an account can have.
    #[error("its e-mail {0}")]
    Email(EmailError),
    /// Another row before it has the address, perhaps in another spelling.
    #[error("it has the same address as id {}; change or delete one of the two", .0.0)]
    SameEmail(UserId),
    /// NULL.
    #[error("it has no hashed_password; set one, or delete it")]
    NoHash,
    /// Longer than a stored hash can be.
    #[error(
        "its hashed_password is too long for a hash; let its owner set a new password there, or \
         delete the row"
    )]
    HashTooLong,
    /// Nothing that a password can be compared with.
    #[error(
        "its hashed_password cannot be used: {0}; let its owner set a new password there, or \
         delete the row"
    )]
    Hash(UnreadableHash),
    /// The target has another user under the id.
    #[error("its id belongs to {0:?} where it would go; give it another")]
    IdTaken(String),
    /// The target has the address under another id.
    #[error("its address belongs to id {} where it would go; change or delete one of the two", .0.0)]
    EmailTaken(UserId),
}

/// A row, after everything that can be told from it alone.
pub(super) struct ReadRow {
    pub(super) id: Option<i64>,
    /// As it stands there.
    pub(super) email: Option<String>,
    pub(super) user: Result<User, Reason>,
}

/// What becomes of a row that can be taken.
pub(super) enum Verdict {
    Take(User),
    IsThere,
}

/// Remembers the rows before, some 50 bytes of each.
pub(super) struct Judge {
    /// By half a SHA-256 of the canonical e-mail, which is as good as the whole
    /// address and shorter than most.
    emails: HashMap<[u8; 16], UserId>,
    last_id: Option<UserId>,
}

impl Judge {
    pub(super) fn new(expected: u64) -> Self {
        let expected = usize::try_from(expected.min(MAX_EXPECTED)).unwrap_or_default();
        Self {
            emails: HashMap::with_capacity(expected),
            last_id: None,
        }
    }

    pub(super) fn read(row: SourceRow, now: DateTime<Utc>) -> ReadRow {
        let email = match &row.email {
            Field::Text(text) => Some(text.clone()),
            Field::Absent | Field::Other | Field::TooLong => None,
        };
        ReadRow {
            id: row.id,
            email,
            user: to_user(row, now),
        }
    }

    /// Rows are to be decided in the order of their ids.
    pub(super) fn decide(&mut self, user: User, occupied: &Occupied) -> Result<Verdict, Reason> {
        if self.last_id == Some(user.id) {
            return Err(Reason::SameId);
        }
        let key = key(&user.email);
        if let Some(id) = self.emails.get(&key) {
            return Err(Reason::SameEmail(*id));
        }
        let verdict = match (
            occupied.ids.get(&user.id),
            occupied.emails.get(user.email.as_str()),
        ) {
            (Some(email), _) if email == user.email.as_str() => Verdict::IsThere,
            (Some(email), _) => return Err(Reason::IdTaken(email.clone())),
            (None, Some(id)) => return Err(Reason::EmailTaken(*id)),
            (None, None) => Verdict::Take(user.clone()),
        };
        self.last_id = Some(user.id);
        self.emails.insert(key, user.id);
        Ok(verdict)
    }
}

fn to_user(row: SourceRow, now: DateTime<Utc>) -> Result<User, Reason> {
    let id = row.id.filter(|id| (1..=MAX_ID).contains(id));
    let id = UserId(id.ok_or(Reason::Id)?);
    let email = match row.email {
        Field::Absent => Err(Reason::NoEmail),
        Field::Other => Err(Reason::EmailNotText),
        Field::TooLong => Err(Reason::Email(EmailError::TooLong)),
        Field::Text(text) => Email::parse(&text).map_err(|error| match error {
            EmailError::Missing => Reason::NoEmail,
            other => Reason::Email(other),
        }),
    }?;
    let hashed_password = match row.hashed_password {
        Field::Absent => return Err(Reason::NoHash),
        Field::Other => return Err(Reason::Hash(UnreadableHash::Format)),
        Field::TooLong => return Err(Reason::HashTooLong),
        Field::Text(text) => text,
    };
    passwords::check(&hashed_password).map_err(Reason::Hash)?;
    Ok(User {
        id,
        email,
        hashed_password: HashedPassword::new(hashed_password),
        created_at: now,
        credential_version: CredentialVersion(0),
        resets: ResetTokens::default(),
    })
}

fn key(email: &Email) -> [u8; 16] {
    let digest = Sha256::digest(email.as_str());
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

    fn row(id: impl Into<Option<i64>>, email: &str, hash: &str) -> SourceRow {
        SourceRow {
            id: id.into(),
            email: Field::Text(email.to_owned()),
            hashed_password: Field::Text(hash.to_owned()),
        }
    }

    fn read(row: SourceRow) -> Result<User, Reason> {
        Judge::read(row, DateTime::UNIX_EPOCH).user
    }

    fn decide(judge: &mut Judge, id: i64, email: &str, occupied: &Occupied) -> Option<Reason> {
        let user = read(row(id, email, HASH)).unwrap();
        judge.decide(user, occupied).err()
    }

    #[test]
    fn what_a_row_tells_by_itself() {
        let user = read(row(7, "Ada@Example.COM", HASH)).unwrap();
        assert_eq!(
            (user.id, user.email.as_str()),
            (UserId(7), "ada@example.com")
        );
        assert_eq!(user.hashed_password.expose(), HASH);
        let without = |change: fn(&mut SourceRow)| {
            let mut row = row(7, "ada@example.com", HASH);
            change(&mut row);
            row
        };
        for (row, reason) in [
            (row(None, "ada@example.com", HASH), Reason::Id),
            (row(0, "ada@example.com", HASH), Reason::Id),
            (row(-1, "ada@example.com", HASH), Reason::Id),
            (row(MAX_ID + 1, "ada@example.com", HASH), Reason::Id),
            (row(7, "", HASH), Reason::NoEmail),
            (without(|row| row.email = Field::Absent), Reason::NoEmail),
            (
                without(|row| row.email = Field::Other),
                Reason::EmailNotText,
            ),
            (
                without(|row| row.email = Field::TooLong),
                Reason::Email(EmailError::TooLong),
            ),
            (row(7, "ada", HASH), Reason::Email(EmailError::NotOneAt)),
            (
                without(|row| row.hashed_password = Field::Absent),
                Reason::NoHash,
            ),
            (
                without(|row| row.hashed_password = Field::Other),
                Reason::Hash(UnreadableHash::Format),
            ),
            (
                without(|row| row.hashed_password = Field::TooLong),
                Reason::HashTooLong,
            ),
            (
                row(7, "ada@example.com", "hunter2"),
                Reason::Hash(UnreadableHash::Format),
            ),
            (
                row(7, "ada@example.com", &HASH.replace("$05$", "$31$")),
                Reason::Hash(UnreadableHash::Cost(31)),
            ),
        ] {
            assert_eq!(read(row).unwrap_err(), reason);
        }
    }

    #[test]
    fn what_the_rows_before_tell() {
        let mut judge = Judge::new(0);
        let nobody = Occupied::default();
        for (id, email, refused) in [
            (1, "ada@example.com", None),
            (2, "ADA@example.com", Some(Reason::SameEmail(UserId(1)))),
            (3, "bob@example.com", None),
            (3, "eve@example.com", Some(Reason::SameId)),
            // What could not be taken is in nobody's way.
            (4, "eve@example.com", None),
            (5, "Bob@example.com", Some(Reason::SameEmail(UserId(3)))),
        ] {
            assert_eq!(decide(&mut judge, id, email, &nobody), refused, "{id}");
        }
    }

    #[test]
    fn what_is_there_already_tells() {
        let there = Occupied {
            ids: HashMap::from([(UserId(1), "ada@example.com".to_owned())]),
            emails: HashMap::from([("ada@example.com".to_owned(), UserId(1))]),
        };
        let mut judge = Judge::new(0);
        let taken = Reason::IdTaken("ada@example.com".to_owned());
        assert_eq!(
            decide(&mut judge, 1, "bob@example.com", &there),
            Some(taken)
        );
        let ada = read(row(1, "Ada@example.com", HASH)).unwrap();
        assert!(matches!(judge.decide(ada, &there), Ok(Verdict::IsThere)));
        // The same words whether the first of the two was there already or not.
        let same = Reason::SameEmail(UserId(1));
        assert_eq!(decide(&mut judge, 2, "ada@example.com", &there), Some(same));
        let mut judge = Judge::new(0);
        let taken = Reason::EmailTaken(UserId(1));
        assert_eq!(
            decide(&mut judge, 2, "ada@example.com", &there),
            Some(taken)
        );
    }
}
