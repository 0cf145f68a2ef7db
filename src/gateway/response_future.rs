//! The future of a response, and that of a gRPC call within it.

use std::{
    convert::Infallible,
    future::{self, Ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use axum::http::Response;
use tonic::body::Body;

use super::{deadlines::TimedFuture, services::BoxedResponse};
use crate::rpc::status;

/// The future of a response. Each request allocates the size of the largest variant, so all
/// are boxed except the frequent ones.
pub(crate) enum ResponseFuture {
    /// A response without waiting.
    Ready(Ready<Response<Body>>),
    /// A native gRPC call.
    Call(TimedFuture<Response<Body>, GrpcCallFuture>),
    /// The response of a layer or a router.
    Other(Pin<Box<dyn Future<Output = Response<Body>> + Send>>),
}

impl ResponseFuture {
    pub(crate) fn ready(response: Response<Body>) -> Self {
        Self::Ready(future::ready(response))
    }

    pub(crate) fn other(
        response: impl Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
    ) -> Self {
        Self::Other(Box::pin(async {
            let Ok(response) = response.await;
            response
        }))
    }
}

impl Future for ResponseFuture {
    type Output = Response<Body>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Ready(ready) => Pin::new(ready).poll(context),
            Self::Call(call) => Pin::new(call).poll(context),
            Self::Other(other) => other.as_mut().poll(context),
        }
    }
}

/// The response of a gRPC call. Errors of tonic get our texts and details, and a panic fails
/// this call only.
pub(crate) struct GrpcCallFuture(BoxedResponse);

impl GrpcCallFuture {
    pub(crate) fn new(response: BoxedResponse) -> Self {
        Self(response)
    }
}

impl Future for GrpcCallFuture {
    type Output = Response<Body>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Unwind safe: the call is not polled again after a panic.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(polled) => polled.map(|Ok(response)| status::complete(response)),
            Err(panic) => Poll::Ready(status::panicked(panic)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_internal_error_without_its_message() {
        let call = GrpcCallFuture::new(Box::pin(async { panic!("canary") }));
        let response = call.await;
        let status: &Status = response.extensions().get().unwrap();
        assert_eq!(status.code(), Code::Internal);
        assert!(!format!("{status:?}").contains("canary"), "{status:?}");
    }
}
