//! Which rows can be taken.

use std::{collections::HashMap, fmt};

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::{
    db::import::{Field, Occupied, SourceId, SourceRow},
    domain::{CredentialVersion, Email, EmailError, HashedPassword, ResetTokens, User, UserId},
    passwords::{self, PepperScheme, UnreadableHash},
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
    #[error("it has the same address as {0}; change or delete one of the two")]
    SameEmail(Before),
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

impl Reason {
    /// Whether there is nothing wrong with the row but its password.
    pub(super) fn is_about_the_password(&self) -> bool {
        matches!(self, Self::NoHash | Self::HashTooLong | Self::Hash(_))
    }
}

/// A row before another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// By its id, where that is a number.
    Id(UserId),
    /// By its place in the order of the ids, from 1, where users get new ones.
    Row(u64),
}

impl fmt::Display for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "id {}", id.0),
            Self::Row(number) => write!(f, "row {number}"),
        }
    }
}

/// What is asked of the rows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    /// Whether a user comes along whose password does not.
    pub(super) takes_without_password: bool,
    /// What is mixed into the passwords, where something is.
    pub(super) pepper: Option<PepperScheme>,
}

/// Where the ids of users are from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ids {
    /// The source.
    Kept,
    /// They are new, from this one on.
    New(UserId),
}

/// A row, after everything that can be told from it alone.
pub(super) struct ReadRow {
    pub(super) id: Option<SourceId>,
    /// As it stands there.
    pub(super) email: Option<String>,
    pub(super) user: Result<User, Reason>,
}

/// What becomes of a row that can be taken.
pub(super) enum Verdict {
    Take(User),
    /// Under this id.
    IsThere(UserId),
}

/// Remembers the rows before, some 50 bytes of each.
pub(super) struct Judge {
    /// By half a SHA-256 of the canonical e-mail, which is as good as the whole
    /// address and shorter than most.
    emails: HashMap<[u8; 16], Before>,
    last_id: Option<UserId>,
    ids: Ids,
    rules: Rules,
}

impl Judge {
    pub(super) fn new(expected: u64, ids: Ids, rules: Rules) -> Self {
        let expected = usize::try_from(expected.min(MAX_EXPECTED)).unwrap_or_default();
        Self {
            emails: HashMap::with_capacity(expected),
            last_id: None,
            ids,
            rules,
        }
    }

    pub(super) fn read(&self, row: SourceRow, now: DateTime<Utc>) -> ReadRow {
        let email = match &row.email {
            Field::Text(text) => Some(text.clone()),
            Field::Absent | Field::Other | Field::TooLong => None,
        };
        ReadRow {
            id: row.id.clone(),
            email,
            user: self.to_user(row, now),
        }
    }

    fn to_user(&self, row: SourceRow, now: DateTime<Utc>) -> Result<User, Reason> {
        let id = match (self.ids, row.id) {
            (Ids::Kept, Some(SourceId::Number(id))) if (1..=MAX_ID).contains(&id) => UserId(id),
            (Ids::Kept, _) => return Err(Reason::Id),
            // It is given one when it is taken.
            (Ids::New(_), _) => UserId(0),
        };
        let email = match row.email {
            Field::Absent => Err(Reason::NoEmail),
            Field::Other => Err(Reason::EmailNotText),
            Field::TooLong => Err(Reason::Email(EmailError::TooLong)),
            Field::Text(text) => Email::parse(&text).map_err(|error| match error {
                EmailError::Missing => Reason::NoEmail,
                other => Reason::Email(other),
            }),
        }?;
        let hashed_password = match self.to_hash(row.hashed_password) {
            Err(_) if self.rules.takes_without_password => HashedPassword::none(),
            other => other?,
        };
        Ok(User {
            id,
            email,
            hashed_password,
            created_at: now,
            credential_version: CredentialVersion(0),
            resets: ResetTokens::default(),
        })
    }

    /// No hash has white space around it, but a column of a fixed width has, and a file
    /// that was loaded line by line.
    fn to_hash(&self, field: Field) -> Result<HashedPassword, Reason> {
        let text = match field {
            Field::Absent => return Err(Reason::NoHash),
            Field::Other => return Err(Reason::Hash(UnreadableHash::Format)),
            Field::TooLong => return Err(Reason::HashTooLong),
            Field::Text(text) => text,
        };
        let hash = text.trim_ascii();
        if hash.is_empty() {
            return Err(Reason::NoHash);
        }
        passwords::check(hash).map_err(Reason::Hash)?;
        Ok(match self.rules.pepper {
            Some(scheme) => passwords::peppered(hash, scheme),
            None => HashedPassword::new(hash.to_owned()),
        })
    }

    /// Rows are to be decided in the order of their ids; `number` counts them from 1.
    pub(super) fn decide(
        &mut self,
        mut user: User,
        number: u64,
        occupied: &Occupied,
    ) -> Result<Verdict, Reason> {
        let is_kept = matches!(self.ids, Ids::Kept);
        if is_kept && self.last_id == Some(user.id) {
            return Err(Reason::SameId);
        }
        let key = key(&user.email);
        if let Some(before) = self.emails.get(&key) {
            return Err(Reason::SameEmail(*before));
        }
        let has_email = occupied.emails.get(user.email.as_str()).copied();
        let verdict = match &mut self.ids {
            Ids::Kept => match (occupied.ids.get(&user.id), has_email) {
                (Some(email), _) if email == user.email.as_str() => Verdict::IsThere(user.id),
                (Some(email), _) => return Err(Reason::IdTaken(email.clone())),
                (None, Some(id)) => return Err(Reason::EmailTaken(id)),
                (None, None) => Verdict::Take(user.clone()),
            },
            Ids::New(next) => match has_email {
                Some(id) => Verdict::IsThere(id),
                None if next.0 > MAX_ID => return Err(Reason::Id),
                None => {
                    user.id = *next;
                    next.0 += 1;
                    Verdict::Take(user.clone())
                }
            },
        };
        self.last_id = Some(user.id);
        let before = if is_kept {
            Before::Id(user.id)
        } else {
            Before::Row(number)
        };
        self.emails.insert(key, before);
        Ok(verdict)
    }
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
            id: id.into().map(SourceId::Number),
            email: Field::Text(email.to_owned()),
            hashed_password: Field::Text(hash.to_owned()),
        }
    }

    fn judge(ids: Ids) -> Judge {
        Judge::new(0, ids, Rules::default())
    }

    fn read(row: SourceRow) -> Result<User, Reason> {
        judge(Ids::Kept).read(row, DateTime::UNIX_EPOCH).user
    }

    fn decide(judge: &mut Judge, id: i64, email: &str, occupied: &Occupied) -> Option<Reason> {
        let user = read(row(id, email, HASH)).unwrap();
        judge.decide(user, id.unsigned_abs(), occupied).err()
    }

    fn same(id: i64) -> Option<Reason> {
        Some(Reason::SameEmail(Before::Id(UserId(id))))
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
    fn white_space_around_a_hash_is_no_part_of_it() {
        for padded in [format!(" {HASH}"), format!("\t{HASH} \r\n")] {
            let user = read(row(7, "ada@example.com", &padded)).unwrap();
            assert_eq!(user.hashed_password.expose(), HASH);
        }
        let blank = read(row(7, "ada@example.com", " \n"));
        assert_eq!(blank.unwrap_err(), Reason::NoHash);
    }

    #[test]
    fn a_user_comes_along_whose_password_does_not() {
        let rules = Rules {
            takes_without_password: true,
            pepper: Some(PepperScheme::Devise),
        };
        let judge = Judge::new(0, Ids::Kept, rules);
        let read = |hashed_password: Field| {
            let mut row = row(7, "ada@example.com", "");
            row.hashed_password = hashed_password;
            judge.read(row, DateTime::UNIX_EPOCH).user.unwrap()
        };
        let text = |text: &str| Field::Text(text.to_owned());
        for lost in [
            Field::Absent,
            Field::Other,
            Field::TooLong,
            text(""),
            text("!unusable"),
            text("$P$BEMEtEjOZqXXu.WnRFQbBNyHrkHgWk0"),
            text(&HASH.replace("$05$", "$31$")),
        ] {
            assert_eq!(read(lost).hashed_password, HashedPassword::none());
        }
        // One that can be used is.
        assert_eq!(
            read(text(HASH)).hashed_password.expose(),
            format!("devise+{HASH}")
        );
        let mut nobody = row(7, "ada", HASH);
        nobody.hashed_password = Field::Absent;
        let refused = judge.read(nobody, DateTime::UNIX_EPOCH).user.unwrap_err();
        assert_eq!(refused, Reason::Email(EmailError::NotOneAt));
    }

    #[test]
    fn users_without_numbers_get_new_ones() {
        let there = Occupied {
            ids: HashMap::from([(UserId(1), "ada@example.com".to_owned())]),
            emails: HashMap::from([("ada@example.com".to_owned(), UserId(1))]),
        };
        let mut judge = judge(Ids::New(UserId(7)));
        let mut decide = |number: u64, id: Option<&str>, email: &str| {
            let mut row = row(None, email, HASH);
            row.id = id.map(|id| SourceId::Text(id.to_owned()));
            let user = judge.read(row, DateTime::UNIX_EPOCH).user.unwrap();
            judge
                .decide(user, number, &there)
                .map(|verdict| match verdict {
                    Verdict::Take(user) => (true, user.id.0),
                    Verdict::IsThere(id) => (false, id.0),
                })
        };
        assert_eq!(decide(1, Some("a"), "bob@example.com"), Ok((true, 7)));
        assert_eq!(decide(2, Some("a"), "Ada@example.com"), Ok((false, 1)));
        let same = Err(Reason::SameEmail(Before::Row(1)));
        assert_eq!(decide(3, Some("b"), "BOB@example.com"), same);
        assert_eq!(decide(4, None, "eve@example.com"), Ok((true, 8)));
    }

    #[test]
    fn what_the_rows_before_tell() {
        let mut judge = self::judge(Ids::Kept);
        let nobody = Occupied::default();
        for (id, email, refused) in [
            (1, "ada@example.com", None),
            (2, "ADA@example.com", same(1)),
            (3, "bob@example.com", None),
            (3, "eve@example.com", Some(Reason::SameId)),
            // What could not be taken is in nobody's way.
            (4, "eve@example.com", None),
            (5, "Bob@example.com", same(3)),
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
        let mut judge = self::judge(Ids::Kept);
        let taken = Reason::IdTaken("ada@example.com".to_owned());
        assert_eq!(
            decide(&mut judge, 1, "bob@example.com", &there),
            Some(taken)
        );
        let ada = read(row(1, "Ada@example.com", HASH)).unwrap();
        let decided = judge.decide(ada, 1, &there);
        assert!(matches!(decided, Ok(Verdict::IsThere(UserId(1)))));
        // The same words whether the first of the two was there already or not.
        assert_eq!(decide(&mut judge, 2, "ada@example.com", &there), same(1));
        let mut judge = self::judge(Ids::Kept);
        let taken = Reason::EmailTaken(UserId(1));
        assert_eq!(
            decide(&mut judge, 2, "ada@example.com", &there),
            Some(taken)
        );
    }
}
