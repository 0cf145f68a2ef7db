//! What a hash is computed for.

/// Why somebody waits for a hash. No kind takes the cores from the others,
/// however much of it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Somebody creates an account.
    Registration,
    /// Somebody logs in.
    Login,
    /// Somebody who knows their password sets another: it is verified, and
    /// the new one hashed.
    PasswordChange,
    /// Somebody who was given a reset token sets a new password.
    PasswordReset,
}
