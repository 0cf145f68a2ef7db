//! The gRPC services of one port, by the path of a request.

use std::{convert::Infallible, pin::Pin};

use axum::http::{Request, Response};
use hyper::body::Incoming;
use tonic::{body::Body, server::NamedService};
use tower::Service;

/// The future that generated services return. It is boxed already, so a call through the
/// trait object costs no further allocation.
pub(crate) type BoxedResponse =
    Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send + 'static>>;

/// A generated gRPC service.
pub(crate) trait GrpcService: Send + Sync {
    /// Handles a native gRPC call.
    fn call(&self, request: Request<Incoming>) -> BoxedResponse;

    /// Handles a call translated from gRPC-Web.
    fn call_translated(&self, request: Request<Body>) -> BoxedResponse;
}

impl<S> GrpcService for S
where
    S: Service<
            Request<Incoming>,
            Response = Response<Body>,
            Error = Infallible,
            Future = BoxedResponse,
        > + Service<
            Request<Body>,
            Response = Response<Body>,
            Error = Infallible,
            Future = BoxedResponse,
        > + Clone
        + Send
        + Sync,
{
    fn call(&self, request: Request<Incoming>) -> BoxedResponse {
        Service::call(&mut self.clone(), request)
    }

    fn call_translated(&self, request: Request<Body>) -> BoxedResponse {
        Service::call(&mut self.clone(), request)
    }
}

/// Services by name.
#[derive(Default)]
pub(crate) struct Services(Vec<(&'static str, Box<dyn GrpcService>)>);

impl Services {
    /// Adds a service.
    pub(crate) fn with<S: GrpcService + NamedService + 'static>(mut self, service: S) -> Self {
        self.0.push((S::NAME, Box::new(service)));
        self
    }

    /// The names of the services.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }

    /// The service of a path, whether or not it has the method.
    pub(crate) fn of_path(&self, path: &str) -> Option<&dyn GrpcService> {
        // With so few services, comparing is faster than hashing.
        let (name, method) = path.strip_prefix('/')?.split_once('/')?;
        let (_, service) = self.0.iter().find(|(known, _)| *known == name)?;
        (!method.is_empty()).then_some(service.as_ref())
    }
}
