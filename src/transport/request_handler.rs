//! The interface between connections and the services that handle their requests.

use std::{convert::Infallible, sync::Arc};

use axum::http::{Method, Request, Response};
use hyper::body::Incoming;
use tonic::body::Body;

/// Handles the requests of connections.
pub(crate) trait RequestHandler: Send + Sync + 'static {
    /// The future of the response.
    type Response: Future<Output = Result<Response<Body>, Infallible>> + Send + Unpin + 'static;

    /// Handles a request. Its extensions hold the [`Peer`](crate::peer::Peer).
    fn handle(self: &Arc<Self>, request: Request<Incoming>) -> Self::Response;

    /// Whether the success of a request shows that its caller has an account.
    fn evidence(&self, method: &Method, path: &str) -> CallerEvidence;
}

/// Whether the success of a request shows that its caller has an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallerEvidence {
    /// No evidence.
    None,
    /// The request fails without a valid session or password.
    Success,
    /// The request always succeeds; its handler records in the connection's
    /// [`Traffic`](crate::peer::Traffic) whether it recognised a session.
    RecognisedSession,
}
