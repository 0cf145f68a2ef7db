//! What every request for a gRPC service passes, from the outside in.

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
    grpc_call::GrpcCallFuture,
    response_future::ResponseFuture,
    services::{BoxedResponse, GrpcService, Services},
    unread_body::TrackedBody,
};

/// The gRPC services of one port, and what stands before them.
pub(crate) struct Grpc {
    services: Services,
    limit: RequestLimits<Response<Body>>,
    cors: Option<CorsLayer>,
}

impl Grpc {
    /// Services whose calls may take so long, and which pages of no other
    /// origin may call.
    pub(crate) fn new(services: Services, timeout: Duration) -> Self {
        Self {
            services,
            limit: RequestLimits::grpc(timeout),
            cors: None,
        }
    }

    /// Tells browsers whose pages may call.
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

    /// The answer to a native call of this service.
    pub(crate) fn answer(
        &self,
        service: &dyn GrpcService,
        request: Request<Incoming>,
    ) -> ResponseFuture {
        self.behind_cors(request, |request| {
            self.call(request, |request| service.call(request))
        })
    }

    /// The answer to any other request for this service, by what the gate says of it: to
    /// a call that has to be translated, or in plain HTTP to what is no call.
    pub(crate) fn answer_translated(
        &self,
        service: &dyn GrpcService,
        protocol: Result<GrpcProtocol, ProtocolError>,
        request: Request<TrackedBody>,
    ) -> ResponseFuture {
        self.behind_cors(request, |request| match protocol {
            Ok(_) => {
                let mut translated = GrpcWebLayer::new().layer(service_fn(|request| {
                    let call = self.call(request, |request| service.call_translated(request));
                    async { Ok::<_, Infallible>(call.await) }
                }));
                ResponseFuture::other(translated.call(request))
            }
            Err(refusal) => {
                drop(request);
                ResponseFuture::ready(fallback::refused(refusal).map(Body::new))
            }
        })
    }

    fn behind_cors<B>(
        &self,
        request: Request<B>,
        admit: impl Fn(Request<B>) -> ResponseFuture,
    ) -> ResponseFuture {
        let Some(cors) = &self.cors else {
            return admit(request);
        };
        let mut admit = cors.layer(service_fn(|request| {
            let answer = admit(request);
            async { Ok::<_, Infallible>(answer.await) }
        }));
        ResponseFuture::other(admit.call(request))
    }

    /// Begins a call, unless its connection has its share in progress.
    fn call<B>(
        &self,
        request: Request<B>,
        call: impl FnOnce(Request<B>) -> BoxedResponse,
    ) -> ResponseFuture {
        match self
            .limit
            .hold(request, |request| GrpcCallFuture::new(call(request)))
        {
            Ok(call) => ResponseFuture::GrpcCallFuture(call),
            Err(full) => ResponseFuture::ready(full),
        }
    }
}
