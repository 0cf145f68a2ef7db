//! One call of a gRPC service.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use axum::http::Response;
use tonic::body::Body;

use super::services::BoxedResponse;
use crate::rpc::status;

/// What comes of a call, in our words if it fails. A panic fails this call and
/// nothing else.
pub(crate) struct GrpcCallFuture(BoxedResponse);

impl GrpcCallFuture {
    pub(crate) fn new(answer: BoxedResponse) -> Self {
        Self(answer)
    }
}

impl Future for GrpcCallFuture {
    type Output = Response<Body>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Nobody looks at a call again that has panicked.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(answer) => answer.map(|Ok(response)| status::complete(response)),
            Err(said) => Poll::Ready(status::panicked(said)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_internal_error_that_quotes_nothing() {
        let call = GrpcCallFuture::new(Box::pin(async { panic!("canary") }));
        let response = call.await;
        let status: &Status = response.extensions().get().unwrap();
        assert_eq!(status.code(), Code::Internal);
        assert!(!format!("{status:?}").contains("canary"), "{status:?}");
    }
}
