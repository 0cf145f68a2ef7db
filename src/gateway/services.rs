//! The gRPC services of one port, found by the path of a request.

use std::{convert::Infallible, pin::Pin};

use axum::http::{Request, Response};
use hyper::body::Incoming;
use tonic::{body::Body, server::NamedService};
use tower::Service;

/// What generated services answer with. It is boxed already, so that to call
/// one by its trait costs no more than to name it.
pub(crate) type BoxedResponse =
    Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send + 'static>>;

/// A generated service.
pub(crate) trait GrpcService: Send + Sync {
    /// Takes a call as it came off the wire.
    fn call(&self, request: Request<Incoming>) -> BoxedResponse;

    /// Takes a call that was translated from gRPC-Web.
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

/// Services by their names.
#[derive(Default)]
pub(crate) struct Services(Vec<(&'static str, Box<dyn GrpcService>)>);

impl Services {
    /// These and one more.
    pub(crate) fn with<S: GrpcService + NamedService + 'static>(mut self, service: S) -> Self {
        self.0.push((S::NAME, Box::new(service)));
        self
    }

    /// Their names.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }

    /// The service that a path belongs to, whether it has that method or not.
    pub(crate) fn of_path(&self, path: &str) -> Option<&dyn GrpcService> {
        // Few enough to be compared faster than a hash is computed.
        let (name, method) = path.strip_prefix('/')?.split_once('/')?;
        let (_, service) = self.0.iter().find(|(own, _)| *own == name)?;
        (!method.is_empty()).then_some(service.as_ref())
    }
}
