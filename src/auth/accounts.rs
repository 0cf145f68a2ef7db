//! Accounts: registering, logging in, and changing or resetting a password.

pub(crate) mod decoys;
pub(crate) mod login;
pub(crate) mod password_change;
pub(crate) mod password_reset;
pub(crate) mod registration;
