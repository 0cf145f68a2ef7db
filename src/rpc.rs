//! gRPC: each service as thin as can be, and the edge that all of them share.

mod auth_service;
pub mod gate;
mod messages;
pub mod status;

pub use auth_service::AuthRpc;
