//! The purposes of hashes.

use std::num::NonZeroU16;

/// The reason for computing a hash. The purposes share the cores evenly, and so do the
/// sources within a purpose; the hashes of one source are computed in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A new account.
    Registration,
    /// A login.
    Login,
    /// A change of the password by its user.
    PasswordChange,
    /// A new password, set with a reset token.
    PasswordReset,
}

impl Purpose {
    /// The weights of all purposes, in the order of their declaration.
    pub(super) const WEIGHTS: [NonZeroU16; 4] = [NonZeroU16::MIN; 4];

    /// The engine's class for this purpose.
    pub(super) fn class(self) -> usize {
        self as usize
    }
}
