//! Plain HTTP: the routes of the Flask service that Bienvenue replaces, and the pages for
//! people.

pub mod account;
pub mod flask;
