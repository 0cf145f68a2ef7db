//! The encoding of domain types as messages.

pub(crate) mod fields;
pub(crate) mod messages;
pub(crate) mod reply_room;
mod session_fields;
pub(crate) mod session_ids;
pub(crate) mod session_replies;
