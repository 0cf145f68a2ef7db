//! An answer that is on its way.

use std::{
    convert::Infallible,
    future::{self, Ready},
    pin::Pin,
    task::{Context, Poll},
};

use axum::http::Response;
use tonic::body::Body;

use super::{deadlines::TimedFuture, grpc_call::GrpcCallFuture};

/// The ways in which an answer comes. Every request makes room for the largest,
/// so all are boxed but those that are taken all day.
pub(crate) enum ResponseFuture {
    /// It is there already.
    Ready(Ready<Response<Body>>),
    /// A call, as it came off the wire.
    GrpcCallFuture(TimedFuture<Response<Body>, GrpcCallFuture>),
    /// Anything else.
    Other(Pin<Box<dyn Future<Output = Response<Body>> + Send>>),
}

impl ResponseFuture {
    pub(crate) fn ready(response: Response<Body>) -> Self {
        Self::Ready(future::ready(response))
    }

    /// What a layer or a router makes of a request.
    pub(crate) fn other(
        answer: impl Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
    ) -> Self {
        Self::Other(Box::pin(async {
            let Ok(response) = answer.await;
            response
        }))
    }
}

impl Future for ResponseFuture {
    type Output = Response<Body>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Ready(ready) => Pin::new(ready).poll(context),
            Self::GrpcCallFuture(call) => Pin::new(call).poll(context),
            Self::Other(other) => other.as_mut().poll(context),
        }
    }
}
