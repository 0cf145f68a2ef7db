//! The reasons for refusing a stored hash, for all formats.

use thiserror::Error;

use super::{
    PepperScheme,
    limits::{
        MAX_ARGON2_KIB, MAX_ARGON2_LANES, MAX_ARGON2_WORK_KIB, MAX_COST, MAX_SCRYPT_R_AND_P,
        MAX_SCRYPT_SPACE, MAX_SCRYPT_WORK, MIN_COST,
    },
};

/// The reason for which a stored hash cannot be verified. The texts are for operators, and
/// contain no part of the hash except its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UnreadableHash {
    /// The format is unknown, or the hash is damaged.
    #[error("it is damaged or not in a format that this version knows")]
    Format,
    /// The placeholder for an account without a password.
    #[error("the account has no password")]
    NoPassword,
    /// The hash was made with the pepper of another service, which is not set.
    #[error("it was made with the pepper of {0}, and --pepper-file is not set")]
    NoPepper(PepperScheme),
    /// A bcrypt cost outside [`MIN_COST`] to [`MAX_COST`].
    #[error("its bcrypt cost of {0} is not between {MIN_COST} and {MAX_COST}")]
    Cost(u32),
    /// A number of PBKDF2 iterations beyond the limits.
    #[error("its {iterations} PBKDF2 iterations are not between 1 and {most}")]
    Iterations {
        /// The number in the hash.
        iterations: u32,
        /// The highest number for its hash function.
        most: u32,
    },
    /// scrypt parameters beyond the limits.
    #[error(
        "its scrypt parameters N={n}, r={r}, p={p} are out of bounds: N is a power of two, \
         r and p at most {MAX_SCRYPT_R_AND_P}, N*r at most {MAX_SCRYPT_SPACE}, N*r*p at most {MAX_SCRYPT_WORK}"
    )]
    Scrypt {
        /// The number of blocks of memory, and of rounds.
        n: u32,
        /// The size of a block, in units of 128 bytes.
        r: u32,
        /// The number of repetitions.
        p: u32,
    },
    /// Argon2 parameters beyond the limits.
    #[error(
        "its Argon2 parameters m={m}, t={t}, p={p} are out of bounds: m is 8*p to \
         {MAX_ARGON2_KIB}, m*t at most {MAX_ARGON2_WORK_KIB}, p 1 to {MAX_ARGON2_LANES}"
    )]
    Argon2 {
        /// Memory in KiB.
        m: u32,
        /// The number of passes over the memory.
        t: u32,
        /// The number of lanes.
        p: u32,
    },
}
