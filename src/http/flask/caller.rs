//! The extractor for the circumstances of a request.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, header, request::Parts},
};

use super::HttpState;
use crate::{auth::AuthError, http::replies::ErrorReply, request_context::RequestContext};

/// The caller of a request. It owns the header that its [`context`](Self::context) borrows.
pub(crate) struct Caller {
    context: RequestContext<'static>,
    user_agent: Option<HeaderValue>,
}

impl Caller {
    /// The context to pass to the rules.
    pub(crate) fn context(&self) -> RequestContext<'_> {
        let user_agent = self.user_agent.as_ref().map(HeaderValue::as_bytes);
        self.context.with_user_agent(user_agent)
    }
}

impl FromRequestParts<Arc<HttpState>> for Caller {
    type Rejection = ErrorReply;

    async fn from_request_parts(
        parts: &mut Parts,
        _state: &Arc<HttpState>,
    ) -> Result<Self, ErrorReply> {
        let context: Option<&RequestContext<'static>> = parts.extensions.get();
        let context =
            context.ok_or_else(|| AuthError::Internal("the request has no context".into()))?;
        Ok(Self {
            context: *context,
            user_agent: parts.headers.get(header::USER_AGENT).cloned(),
        })
    }
}
