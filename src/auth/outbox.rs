//! Mails to users, and their delivery.

pub(crate) mod deliver;
mod mails;
