//! Between the domain's types and the bytes of the messages.

pub(crate) mod fields;
pub(crate) mod messages;
pub(crate) mod reply_room;
pub(crate) mod session_answers;
pub(crate) mod session_ids;
