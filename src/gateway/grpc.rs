//! The path of a request to a gRPC service: CORS, translation of gRPC-Web, limits.

use std::{convert::Infallible, time::Duration};

use axum::http::{Request, Response};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic_web::GrpcWebLayer;
use tower::{Layer as _, Service as _, service_fn};
use tower_http::cors::CorsLayer;

use super::protocol::{GrpcProtocol, ProtocolError};
use super::{
    deadlines::RequestLimits,
    fallback,
    response_future::{GrpcCallFuture, ResponseFuture},
    services::{BoxedResponse, GrpcService, Services},
    unread_body::TrackedBody,
};

/// The gRPC services of one port, with the limits and the CORS policy on calls.
pub(crate) struct Grpc {
    services: Services,
    limits: RequestLimits<Response<Body>>,
    cors: Option<CorsLayer>,
}

impl Grpc {
    /// Services without CORS; `timeout` limits each call.
    pub(crate) fn new(services: Services, timeout: Duration) -> Self {
        Self {
            services,
            limits: RequestLimits::grpc(timeout),
            cors: None,
        }
    }

    /// Sets the CORS policy.
    pub(crate) fn with_cors(self, cors: Option<CorsLayer>) -> Self {
        Self { cors, ..self }
    }

    /// The names of the services.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.services.names()
    }

    /// The service that a path belongs to.
    pub(crate) fn of_path(&self, path: &str) -> Option<&dyn GrpcService> {
        self.services.of_path(path)
    }

    /// Handles a native gRPC call of a service.
    pub(crate) fn handle(
        &self,
        service: &dyn GrpcService,
        request: Request<Incoming>,
    ) -> ResponseFuture {
        self.apply_cors(request, |request| {
            self.call(request, |request| service.call(request))
        })
    }

    /// Handles any other request for a service: a gRPC-Web call by translation, else with the
    /// HTTP reply to the protocol error.
    pub(crate) fn handle_other(
        &self,
        service: &dyn GrpcService,
        protocol: Result<GrpcProtocol, ProtocolError>,
        request: Request<TrackedBody>,
    ) -> ResponseFuture {
        self.apply_cors(request, |request| match protocol {
            Ok(_) => {
                let mut translated = GrpcWebLayer::new().layer(service_fn(|request| {
                    let call = self.call(request, |request| service.call_translated(request));
                    async { Ok::<_, Infallible>(call.await) }
                }));
                ResponseFuture::other(translated.call(request))
            }
            Err(error) => {
                drop(request);
                ResponseFuture::ready(fallback::protocol_error(error).map(Body::new))
            }
        })
    }

    fn apply_cors<B>(
        &self,
        request: Request<B>,
        handle: impl Fn(Request<B>) -> ResponseFuture,
    ) -> ResponseFuture {
        let Some(cors) = &self.cors else {
            return handle(request);
        };
        let mut service = cors.layer(service_fn(|request| {
            let response = handle(request);
            async { Ok::<_, Infallible>(response.await) }
        }));
        ResponseFuture::other(service.call(request))
    }

    /// Starts a call, unless its connection is at its limit.
    fn call<B>(
        &self,
        request: Request<B>,
        call: impl FnOnce(Request<B>) -> BoxedResponse,
    ) -> ResponseFuture {
        match self
            .limits
            .admit(request, |request| GrpcCallFuture::new(call(request)))
        {
            Ok(call) => ResponseFuture::Call(call),
            Err(refused) => ResponseFuture::ready(refused),
        }
    }
}
