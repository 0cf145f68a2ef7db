//! The web pages for account owners.

pub(in crate::http) mod reset_page;
