//! The context and the peer of a request, from its metadata and extensions.

use tonic::{
    Extensions, Request,
    metadata::{MetadataMap, MetadataValue},
};

use crate::{auth::AuthError, peer::Peer, request_context::RequestContext};

/// The context of a request, for handlers that go on to use the request.
pub(crate) fn context<T>(request: &Request<T>) -> Result<RequestContext<'_>, AuthError> {
    context_of(request.metadata(), request.extensions())
}

/// The context of a request taken apart.
pub(crate) fn context_of<'a>(
    metadata: &'a MetadataMap,
    extensions: &Extensions,
) -> Result<RequestContext<'a>, AuthError> {
    let context: Option<&RequestContext<'static>> = extensions.get();
    let context =
        context.ok_or_else(|| AuthError::Internal("the request has no context".into()))?;
    let user_agent = metadata.get("user-agent").map(MetadataValue::as_bytes);
    Ok(context.with_user_agent(user_agent))
}

/// The peer of the request's connection.
pub(crate) fn peer<T>(request: &Request<T>) -> Result<&Peer, AuthError> {
    let peer = request.extensions().get();
    peer.ok_or_else(|| AuthError::Internal("the request has no peer".into()))
}
