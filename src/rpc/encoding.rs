//! The encoding of domain types as messages, and the decoding of one message.

pub(crate) mod fields;
pub(crate) mod messages;
mod session_fields;
pub(crate) mod session_ids;
pub(crate) mod session_replies;
