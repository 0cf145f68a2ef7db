//! The path of a request from its connection to its service: routing, protocol checks,
//! deadlines, CORS, and the one observer of each request.

pub(crate) mod caller_evidence;
pub(crate) mod cors;
pub(crate) mod deadlines;
pub(crate) mod fallback;
pub(crate) mod grpc;
pub(crate) mod grpc_timeout;
pub(crate) mod host;
pub(crate) mod observe;
pub(crate) mod protocol;
pub(crate) mod reflection;
pub(crate) mod response_future;
pub(crate) mod router;
pub(crate) mod services;
pub(crate) mod unread_body;
