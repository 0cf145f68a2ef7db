//! Domain types. Each constructor checks its invariants, so that no value is invalid.

mod common_passwords;
mod decoy;
mod email;
mod network;
mod odd_character;
mod one_line;
mod password;
mod public_url;
mod reset;
mod revocation;
mod session;
mod session_position;
mod token;
mod user;

pub use decoy::{DecoySlot, give_slots, refill_slots};
pub use email::{Email, EmailError};
pub use network::{Network, WideNetwork};
pub use odd_character::OddCharacter;
pub use one_line::on_one_line;
pub use password::{HashedPassword, NewPassword, Password, PasswordPolicy, PasswordPolicyError};
pub use public_url::{PublicUrl, PublicUrlError};
pub use reset::{NewReset, PendingReset, ResetTokens};
pub use revocation::{Revision, Revocation, RevocationEvent};
pub use session::{
    CLOCK_SKEW, Client, Session, SessionHandle, SessionLimits, SessionTimes, SessionUse,
};
pub use session_position::SessionPosition;
pub use token::{ResetDigest, ResetToken, SessionDigest, SessionToken, Token, TokenDigest};
pub use user::{CredentialVersion, SessionOwner, User, UserId};
