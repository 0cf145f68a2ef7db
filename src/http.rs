//! Plain HTTP: the routes of the Flask service that Bienvenue replaces, and its web pages.

pub mod account;
pub mod flask;
pub mod replies;
