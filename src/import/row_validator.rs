//! The validation of rows to import.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};

use super::row_error::{EarlierRow, MAX_ID, RowError};
use crate::{
    db::import::{ExistingUsers, SourceId, SourceRow, SourceValue},
    domain::{CredentialVersion, Email, EmailError, HashedPassword, ResetTokens, User, UserId},
    passwords::{self, PepperScheme, UnreadableHash},
};

/// The most rows for which memory is reserved at the start.
const MAX_EXPECTED: u64 = 1 << 20;

/// The rules for the rows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    /// Whether to import users with an unusable hash without a password.
    pub(super) allows_missing_password: bool,
    /// The scheme by which a secret was mixed into the passwords, if any.
    pub(super) pepper: Option<PepperScheme>,
}

/// The ids of the imported users.
#[derive(Clone, Copy, Debug)]
pub(super) enum IdPolicy {
    /// Those of the source.
    Keep,
    /// New ones, beginning with this one.
    AssignFrom(UserId),
}

/// A row, validated on its own.
pub(super) struct ReadRow {
    pub(super) id: Option<SourceId>,
    /// The unchanged value.
    pub(super) email: Option<String>,
    pub(super) user: Result<User, RowError>,
}

/// The outcome for a valid row.
pub(super) enum RowOutcome {
    Import(User),
    /// The user exists with this id.
    AlreadyExists(UserId),
}

/// Validates rows on their own and against earlier ones, of which it keeps some 50 bytes each.
pub(super) struct RowValidator {
    /// The earlier rows by half a SHA-256 of the canonical e-mail, which is unique enough and
    /// shorter than most addresses.
    emails: HashMap<[u8; 16], EarlierRow>,
    last_id: Option<UserId>,
    ids: IdPolicy,
    rules: Rules,
}

impl RowValidator {
    pub(super) fn new(expected: u64, ids: IdPolicy, rules: Rules) -> Self {
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
            SourceValue::Text(text) => Some(text.clone()),
            SourceValue::Null | SourceValue::NotUtf8 | SourceValue::TooLong => None,
        };
        ReadRow {
            id: row.id.clone(),
            email,
            user: self.to_user(row, now),
        }
    }

    fn to_user(&self, row: SourceRow, now: DateTime<Utc>) -> Result<User, RowError> {
        let id = match (self.ids, row.id) {
            (IdPolicy::Keep, Some(SourceId::Number(id))) if (1..=MAX_ID).contains(&id) => {
                UserId(id)
            }
            (IdPolicy::Keep, _) => return Err(RowError::Id),
            // The id is assigned with the outcome.
            (IdPolicy::AssignFrom(_), _) => UserId(0),
        };
        let email = match row.email {
            SourceValue::Null => Err(RowError::NoEmail),
            SourceValue::NotUtf8 => Err(RowError::EmailNotText),
            SourceValue::TooLong => Err(RowError::Email(EmailError::TooLong)),
            SourceValue::Text(text) => Email::parse(&text).map_err(|error| match error {
                EmailError::Missing => RowError::NoEmail,
                other => RowError::Email(other),
            }),
        }?;
        let hashed_password = match self.to_hash(row.hashed_password) {
            Err(_) if self.rules.allows_missing_password => HashedPassword::none(),
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

    /// Trims white space, which columns of a fixed width and files loaded line by line add.
    fn to_hash(&self, field: SourceValue) -> Result<HashedPassword, RowError> {
        let text = match field {
            SourceValue::Null => return Err(RowError::NoHash),
            SourceValue::NotUtf8 => return Err(RowError::Hash(UnreadableHash::Format)),
            SourceValue::TooLong => return Err(RowError::HashTooLong),
            SourceValue::Text(text) => text,
        };
        let hash = text.trim_ascii();
        if hash.is_empty() {
            return Err(RowError::NoHash);
        }
        passwords::check(hash).map_err(RowError::Hash)?;
        Ok(match self.rules.pepper {
            Some(scheme) => passwords::peppered(hash, scheme),
            None => HashedPassword::new(hash.to_owned()),
        })
    }

    /// Determines the outcome for a row. Rows must come in the order of their ids; `number`
    /// counts them from 1.
    pub(super) fn decide(
        &mut self,
        mut user: User,
        number: u64,
        existing: &ExistingUsers,
    ) -> Result<RowOutcome, RowError> {
        let is_kept = matches!(self.ids, IdPolicy::Keep);
        if is_kept && self.last_id == Some(user.id) {
            return Err(RowError::SameId);
        }
        let key = key(&user.email);
        if let Some(before) = self.emails.get(&key) {
            return Err(RowError::SameEmail(*before));
        }
        let has_email = existing.emails.get(user.email.as_str()).copied();
        let outcome = match &mut self.ids {
            IdPolicy::Keep => match (existing.ids.get(&user.id), has_email) {
                (Some(email), _) if email == user.email.as_str() => {
                    RowOutcome::AlreadyExists(user.id)
                }
                (Some(email), _) => return Err(RowError::IdTaken(email.clone())),
                (None, Some(id)) => return Err(RowError::EmailTaken(id)),
                (None, None) => RowOutcome::Import(user.clone()),
            },
            IdPolicy::AssignFrom(next) => match has_email {
                Some(id) => RowOutcome::AlreadyExists(id),
                None if next.0 > MAX_ID => return Err(RowError::Id),
                None => {
                    user.id = *next;
                    next.0 += 1;
                    RowOutcome::Import(user.clone())
                }
            },
        };
        self.last_id = Some(user.id);
        let before = if is_kept {
            EarlierRow::Id(user.id)
        } else {
            EarlierRow::Row(number)
        };
        self.emails.insert(key, before);
        Ok(outcome)
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
            email: SourceValue::Text(email.to_owned()),
            hashed_password: SourceValue::Text(hash.to_owned()),
        }
    }

    fn validator(ids: IdPolicy) -> RowValidator {
        RowValidator::new(0, ids, Rules::default())
    }

    fn read(row: SourceRow) -> Result<User, RowError> {
        validator(IdPolicy::Keep)
            .read(row, DateTime::UNIX_EPOCH)
            .user
    }

    fn decide(
        validator: &mut RowValidator,
        id: i64,
        email: &str,
        existing: &ExistingUsers,
    ) -> Option<RowError> {
        let user = read(row(id, email, HASH)).unwrap();
        validator.decide(user, id.unsigned_abs(), existing).err()
    }

    fn same(id: i64) -> Option<RowError> {
        Some(RowError::SameEmail(EarlierRow::Id(UserId(id))))
    }

    #[test]
    fn a_row_is_validated_on_its_own() {
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
            (row(None, "ada@example.com", HASH), RowError::Id),
            (row(0, "ada@example.com", HASH), RowError::Id),
            (row(-1, "ada@example.com", HASH), RowError::Id),
            (row(MAX_ID + 1, "ada@example.com", HASH), RowError::Id),
            (row(7, "", HASH), RowError::NoEmail),
            (
                without(|row| row.email = SourceValue::Null),
                RowError::NoEmail,
            ),
            (
                without(|row| row.email = SourceValue::NotUtf8),
                RowError::EmailNotText,
            ),
            (
                without(|row| row.email = SourceValue::TooLong),
                RowError::Email(EmailError::TooLong),
            ),
            (row(7, "ada", HASH), RowError::Email(EmailError::NotOneAt)),
            (
                without(|row| row.hashed_password = SourceValue::Null),
                RowError::NoHash,
            ),
            (
                without(|row| row.hashed_password = SourceValue::NotUtf8),
                RowError::Hash(UnreadableHash::Format),
            ),
            (
                without(|row| row.hashed_password = SourceValue::TooLong),
                RowError::HashTooLong,
            ),
            (
                row(7, "ada@example.com", "hunter2"),
                RowError::Hash(UnreadableHash::Format),
            ),
            (
                row(7, "ada@example.com", &HASH.replace("$05$", "$31$")),
                RowError::Hash(UnreadableHash::Cost(31)),
            ),
        ] {
            assert_eq!(read(row).unwrap_err(), reason);
        }
    }

    #[test]
    fn white_space_around_a_hash_is_trimmed() {
        for padded in [format!(" {HASH}"), format!("\t{HASH} \r\n")] {
            let user = read(row(7, "ada@example.com", &padded)).unwrap();
            assert_eq!(user.hashed_password.expose(), HASH);
        }
        let blank = read(row(7, "ada@example.com", " \n"));
        assert_eq!(blank.unwrap_err(), RowError::NoHash);
    }

    #[test]
    fn a_user_with_an_unusable_hash_is_imported_without_a_password() {
        let rules = Rules {
            allows_missing_password: true,
            pepper: Some(PepperScheme::Devise),
        };
        let validator = RowValidator::new(0, IdPolicy::Keep, rules);
        let read = |hashed_password: SourceValue| {
            let mut row = row(7, "ada@example.com", "");
            row.hashed_password = hashed_password;
            validator.read(row, DateTime::UNIX_EPOCH).user.unwrap()
        };
        let text = |text: &str| SourceValue::Text(text.to_owned());
        for lost in [
            SourceValue::Null,
            SourceValue::NotUtf8,
            SourceValue::TooLong,
            text(""),
            text("!unusable"),
            text("$P$BEMEtEjOZqXXu.WnRFQbBNyHrkHgWk0"),
            text(&HASH.replace("$05$", "$31$")),
        ] {
            assert_eq!(read(lost).hashed_password, HashedPassword::none());
        }
        // A usable hash is kept.
        assert_eq!(
            read(text(HASH)).hashed_password.expose(),
            format!("devise+{HASH}")
        );
        let mut invalid = row(7, "ada", HASH);
        invalid.hashed_password = SourceValue::Null;
        let refused = validator
            .read(invalid, DateTime::UNIX_EPOCH)
            .user
            .unwrap_err();
        assert_eq!(refused, RowError::Email(EmailError::NotOneAt));
    }

    #[test]
    fn users_without_numeric_ids_get_new_ones() {
        let there = ExistingUsers {
            ids: HashMap::from([(UserId(1), "ada@example.com".to_owned())]),
            emails: HashMap::from([("ada@example.com".to_owned(), UserId(1))]),
        };
        let mut validator = validator(IdPolicy::AssignFrom(UserId(7)));
        let mut decide = |number: u64, id: Option<&str>, email: &str| {
            let mut row = row(None, email, HASH);
            row.id = id.map(|id| SourceId::Text(id.to_owned()));
            let user = validator.read(row, DateTime::UNIX_EPOCH).user.unwrap();
            validator
                .decide(user, number, &there)
                .map(|outcome| match outcome {
                    RowOutcome::Import(user) => (true, user.id.0),
                    RowOutcome::AlreadyExists(id) => (false, id.0),
                })
        };
        assert_eq!(decide(1, Some("a"), "bob@example.com"), Ok((true, 7)));
        assert_eq!(decide(2, Some("a"), "Ada@example.com"), Ok((false, 1)));
        let same = Err(RowError::SameEmail(EarlierRow::Row(1)));
        assert_eq!(decide(3, Some("b"), "BOB@example.com"), same);
        assert_eq!(decide(4, None, "eve@example.com"), Ok((true, 8)));
    }

    #[test]
    fn a_row_is_validated_against_earlier_ones() {
        let mut validator = self::validator(IdPolicy::Keep);
        let none = ExistingUsers::default();
        for (id, email, refused) in [
            (1, "ada@example.com", None),
            (2, "ADA@example.com", same(1)),
            (3, "bob@example.com", None),
            (3, "eve@example.com", Some(RowError::SameId)),
            // The invalid row before does not occupy the address.
            (4, "eve@example.com", None),
            (5, "Bob@example.com", same(3)),
        ] {
            assert_eq!(decide(&mut validator, id, email, &none), refused, "{id}");
        }
    }

    #[test]
    fn a_row_is_validated_against_existing_users() {
        let there = ExistingUsers {
            ids: HashMap::from([(UserId(1), "ada@example.com".to_owned())]),
            emails: HashMap::from([("ada@example.com".to_owned(), UserId(1))]),
        };
        let mut validator = self::validator(IdPolicy::Keep);
        let taken = RowError::IdTaken("ada@example.com".to_owned());
        assert_eq!(
            decide(&mut validator, 1, "bob@example.com", &there),
            Some(taken)
        );
        let ada = read(row(1, "Ada@example.com", HASH)).unwrap();
        let decided = validator.decide(ada, 1, &there);
        assert!(matches!(decided, Ok(RowOutcome::AlreadyExists(UserId(1)))));
        // The error is the same whether the first of the two existed already or not.
        assert_eq!(
            decide(&mut validator, 2, "ada@example.com", &there),
            same(1)
        );
        let mut validator = self::validator(IdPolicy::Keep);
        let taken = RowError::EmailTaken(UserId(1));
        assert_eq!(
            decide(&mut validator, 2, "ada@example.com", &there),
            Some(taken)
        );
    }
}
