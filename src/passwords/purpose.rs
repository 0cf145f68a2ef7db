//! What a hash is computed for.

/// Those that wait for the same purpose are served in order; the purposes share
/// the cores evenly, so that a flood of one starves none of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Somebody opens an account.
    Registration,
    /// Somebody logs in.
    Login,
    /// A user changes their password.
    PasswordChange,
    /// Somebody sets a new password with a reset token.
    PasswordReset,
}

impl Purpose {
    /// In the order of their declaration.
    pub(super) const ALL: [Self; 4] = [
        Self::Registration,
        Self::Login,
        Self::PasswordChange,
        Self::PasswordReset,
    ];
}
