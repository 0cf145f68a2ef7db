//! What connections ask of the services behind them.

use std::{convert::Infallible, sync::Arc};

use axum::http::{Method, Request, Response};
use hyper::body::Incoming;
use tonic::body::Body;

/// Answers the requests of connections.
pub(crate) trait RequestHandler: Send + Sync + 'static {
    /// The future of a response.
    type Response: Future<Output = Result<Response<Body>, Infallible>> + Send + Unpin + 'static;

    /// Answers a request. Its extensions hold the [`Peer`](crate::peer::Peer).
    fn handle(self: &Arc<Self>, request: Request<Incoming>) -> Self::Response;

    /// How a successful request shows that its caller has an account.
    fn evidence(&self, method: &Method, path: &str) -> CallerEvidence;
}

/// How a successful request shows that its caller has an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallerEvidence {
    /// Success shows nothing.
    None,
    /// Success shows it: the request fails without a session or a password.
    Success,
    /// The request always succeeds; its handler notes in the connection's
    /// [`Traffic`](crate::peer::Traffic) whether it recognised a session.
    RecognisedSession,
}
