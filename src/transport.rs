//! Connections: accepts them, limits their number and runs HTTP over each. Independent of the
//! services that handle the requests.

pub(crate) mod client_address;
pub(crate) mod connection;
pub(crate) mod connection_limits;
pub(crate) mod fair_executor;
pub(crate) mod fd_limit;
pub(crate) mod head_timer;
pub(crate) mod http_server;
pub(crate) mod known_callers;
pub(crate) mod listener;
pub(crate) mod outgoing_frames;
pub(crate) mod refusal_log;
pub(crate) mod reply;
pub(crate) mod request_handler;
pub(crate) mod request_service;
pub(crate) mod stream;
pub(crate) mod write_timeout;
