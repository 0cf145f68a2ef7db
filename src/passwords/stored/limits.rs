//! The limits on the cost of stored hashes. Hashes beyond them are refused and not computed,
//! since one damaged or planted row could occupy a core, or the memory, for days. The limit
//! of each format takes at most about the time of bcrypt's, and exceeds all defaults of the
//! other services.

/// The lowest bcrypt cost.
pub const MIN_COST: u32 = bcrypt_lanes::MIN_COST;

/// The highest bcrypt cost, a few seconds of one core. Each step doubles the work: a cost of
/// 31 would occupy a core for days.
pub const MAX_COST: u32 = 16;

/// The most iterations of PBKDF2 with SHA-1 or SHA-256: 1.5 seconds of a core with SHA
/// instructions, or about the time of bcrypt's highest cost without them. The defaults of
/// Werkzeug and Django are at 1,000,000 and grow with each release.
pub(super) const MAX_ITERATIONS: u32 = 10_000_000;

/// The most iterations with SHA-512, for which most CPUs have no instructions: three seconds
/// of a core. passlib's default is 25,000; Werkzeug leaves the number to the service.
pub(super) const MAX_ITERATIONS_SHA512: u32 = 4_000_000;

/// The largest `N*r` of scrypt, for 128 MiB of memory: OWASP's recommendation, and four
/// times Werkzeug's default.
pub(super) const MAX_SCRYPT_SPACE: u64 = 1 << 20;

/// The largest `N*r*p` of scrypt: under two seconds of a core, less than bcrypt's
/// highest cost. Werkzeug's default is a sixteenth of it.
pub(super) const MAX_SCRYPT_WORK: u64 = 1 << 22;

/// The largest `r` and `p` of scrypt, for the memory that `MAX_SCRYPT_SPACE` does not
/// cover. Werkzeug's defaults are 8 and 1.
pub(super) const MAX_SCRYPT_R_AND_P: u32 = 32;

/// The most memory of Argon2, in KiB. Django's default is 100 MiB, argon2-cffi's 64 MiB.
pub(super) const MAX_ARGON2_KIB: u32 = 128 * 1_024;

/// The most memory that Argon2 writes in all passes together, in KiB: under two seconds of a
/// core, less than bcrypt's highest cost. Both defaults are at about a tenth of it.
pub(super) const MAX_ARGON2_WORK_KIB: u64 = 2 * 1_024 * 1_024;

/// The most lanes of Argon2, which are computed one after the other. PHC's limit.
pub(super) const MAX_ARGON2_LANES: u32 = 255;
