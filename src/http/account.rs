//! The pages on which people manage their accounts.

pub(in crate::http) mod reset_page;
