//! Hashing on the calling thread, without an engine, for the tests of the formats.

use super::{Family, NewHash, StoredHash, Verdict};
use crate::domain::{HashedPassword, Password};

pub(in crate::passwords) fn hash(
    password: &[u8],
    cost: u32,
) -> Result<HashedPassword, getrandom::Error> {
    let new = NewHash::of(password, cost)?;
    Ok(new.with(&new.input(password).digest()))
}

pub(in crate::passwords) fn matches(stored: &StoredHash, password: &[u8]) -> bool {
    let password = &*stored.with_pepper(password);
    match &stored.family {
        Family::Bcrypt(hash) => hash.matches(password, &hash.input(password).digest()),
        Family::Foreign(hash) => hash.matches(password),
    }
}

pub(in crate::passwords) fn verdict(
    stored: &StoredHash,
    password: &Password,
    cost: u32,
) -> Verdict {
    let presented = password.unnormalized();
    stored.verdict(
        password,
        cost,
        matches(stored, password.as_bytes()),
        presented.is_some_and(|presented| matches(stored, presented)),
    )
}
