//! Connections: accepting them, limiting how many there are, and running HTTP over each.
//! Nothing here depends on the services that answer the requests.

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
pub(crate) mod stream;
pub(crate) mod write_timeout;
