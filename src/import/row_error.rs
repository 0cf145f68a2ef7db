//! The reasons why rows cannot be imported.

use std::fmt;

use thiserror::Error;

use crate::{
    domain::{EmailError, UserId},
    passwords::UnreadableHash,
};

/// The highest valid id. As many higher ids remain for users who register.
pub(super) const MAX_ID: i64 = 1 << 62;

/// The reason why a row cannot be imported, with advice.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RowError {
    /// The id is not a number, or out of range.
    #[error("its id is not a whole number from 1 to {MAX_ID}; give it another")]
    Id,
    /// An earlier row has the id.
    #[error("the row before it has the same id; give it another")]
    SameId,
    /// The e-mail is NULL or empty.
    #[error("it has no e-mail; give it one, or delete it")]
    NoEmail,
    /// The e-mail is not UTF-8.
    #[error("its e-mail is not a text in UTF-8; correct it, or delete the row")]
    EmailNotText,
    /// The e-mail is not a valid address of an account.
    #[error("its e-mail {0}")]
    Email(EmailError),
    /// An earlier row has the address, possibly in another spelling.
    #[error("it has the same address as {0}; change or delete one of the two")]
    SameEmail(EarlierRow),
    /// The hash is NULL or empty.
    #[error("it has no hashed_password; set one, or delete it")]
    NoHash,
    /// The hash is longer than any valid one.
    #[error(
        "its hashed_password is too long for a hash; let its owner set a new password there, or \
         delete the row"
    )]
    HashTooLong,
    /// The hash has no supported format, or a cost beyond the limits.
    #[error(
        "its hashed_password cannot be used: {0}; let its owner set a new password there, or \
         delete the row"
    )]
    Hash(UnreadableHash),
    /// The target has another user with the id.
    #[error("its id belongs to {0:?} in the target; give it another")]
    IdTaken(String),
    /// The target has the address with another id.
    #[error("its address belongs to id {} in the target; change or delete one of the two", .0.0)]
    EmailTaken(UserId),
}

impl RowError {
    /// Whether only the password of the row is invalid.
    pub(super) fn is_of_password(&self) -> bool {
        matches!(self, Self::NoHash | Self::HashTooLong | Self::Hash(_))
    }
}

/// An earlier row with the same e-mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlierRow {
    /// Its id, if ids are kept.
    Id(UserId),
    /// Its number in the order of the ids, from 1, if users get new ids.
    Row(u64),
}

impl fmt::Display for EarlierRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "id {}", id.0),
            Self::Row(number) => write!(f, "row {number}"),
        }
    }
}
