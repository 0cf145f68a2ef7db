//! The words of the trade, each a type that cannot hold a wrong value.

mod common_passwords;
mod email;
mod password;
mod session;
mod token;
mod user;

pub use email::{Email, EmailError};
pub use password::{HashedPassword, NewPassword, Password, PasswordPolicy, PasswordPolicyError};
pub use session::{Client, Session, SessionHandle, SessionLimits};
pub use token::{SessionToken, TokenDigest};
pub use user::{User, UserId};
