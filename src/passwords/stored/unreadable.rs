//! Why a stored hash is refused, for every format.

use thiserror::Error;

use super::{
    PepperScheme,
    limits::{
        MAX_ARGON2_KIB, MAX_ARGON2_LANES, MAX_ARGON2_WORK_KIB, MAX_COST, MAX_SCRYPT_R_AND_P,
        MAX_SCRYPT_SPACE, MAX_SCRYPT_WORK, MIN_COST,
    },
};

/// Why a stored hash cannot be compared with. The texts are for whoever runs
/// the service; none holds a part of the hash but its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UnreadableHash {
    /// Not one of the formats, or damaged.
    #[error("it is damaged or not in a format that this version knows")]
    Format,
    /// What stands there in place of a hash, for an account without a password.
    #[error("the account has no password")]
    NoPassword,
    /// Made with the pepper of another service, which is not there.
    #[error("it was made with the pepper of {0}, and --pepper-file is not set")]
    NoPepper(PepperScheme),
    /// A bcrypt cost outside [`MIN_COST`] to [`MAX_COST`].
    #[error("its bcrypt cost of {0} is not between {MIN_COST} and {MAX_COST}")]
    Cost(u32),
    /// A number of PBKDF2 iterations that is not computed.
    #[error("its {iterations} PBKDF2 iterations are not between 1 and {most}")]
    Iterations {
        /// How many it has.
        iterations: u32,
        /// The most that are computed of its function.
        most: u32,
    },
    /// scrypt parameters that are not computed.
    #[error(
        "its scrypt parameters N={n}, r={r}, p={p} are out of bounds: N is a power of two, \
         r and p at most {MAX_SCRYPT_R_AND_P}, N*r at most {MAX_SCRYPT_SPACE}, N*r*p at most {MAX_SCRYPT_WORK}"
    )]
    Scrypt {
        /// Rounds, and blocks of memory.
        n: u32,
        /// 128-byte units of a block.
        r: u32,
        /// Repetitions.
        p: u32,
    },
    /// Argon2 parameters that are not computed.
    #[error(
        "its Argon2 parameters m={m}, t={t}, p={p} are out of bounds: m is 8*p to \
         {MAX_ARGON2_KIB}, m*t at most {MAX_ARGON2_WORK_KIB}, p 1 to {MAX_ARGON2_LANES}"
    )]
    Argon2 {
        /// KiB of memory.
        m: u32,
        /// Passes over the memory.
        t: u32,
        /// Lanes.
        p: u32,
    },
}
