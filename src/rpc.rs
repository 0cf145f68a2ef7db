//! gRPC: each service as thin as can be, and the edge that all of them share.

mod admin_service;
mod admin_token;
mod auth_service;
mod fields;
pub mod gate;
mod messages;
mod methods;
mod misplaced;
mod reply_room;
mod session_answers;
mod session_ids;
pub mod status;

pub use admin_service::AdminRpc;
pub use admin_token::{AdminToken, AdminTokenError};
pub use session_answers::AuthServer;
