//! Units of work over several tables.

mod change_password;
mod claim_mail;
mod end_sessions;
mod login_target;
mod open_session;

pub use self::{
    change_password::{ChangePasswordError, ChangeProof, ChangedPassword, PasswordChange},
    claim_mail::{Claim, Claimed, OfferedReset, OutgoingMail, Preference},
    login_target::LoginTarget,
};
