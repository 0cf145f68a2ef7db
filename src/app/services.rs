//! The gRPC services and HTTP routes of the public listener.

use std::sync::Arc;

use axum::middleware;
use tonic_health::{
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};
use tower_http::catch_panic::CatchPanicLayer;

use super::ServerError;
use crate::{
    auth::Auth,
    config::Config,
    gateway::{
        cors,
        deadlines::{self, RequestLimits},
        grpc::Grpc,
        reflection,
        router::Router,
        services::Services,
    },
    http::{
        flask::{self, HttpSettings},
        replies,
    },
    rpc::{AUTH_SERVICE, AuthServer},
};

const HEALTH_SERVICE: &str = "grpc.health.v1.Health";

/// The router of the public listener.
pub(super) async fn public_router(
    config: &Config,
    auth: Auth,
    http: &HttpSettings,
    health: &HealthReporter,
) -> Result<Router, ServerError> {
    let services = grpc_services(config, auth.clone(), health).await?;
    let timeout = config.limits.request_timeout;
    let origins = &config.network.cors_origin;
    let cors = (!origins.is_empty()).then(|| cors::layer(origins, &config.network.cors_header));
    let as_original = http.as_original;
    let http = flask::routes(auth, http)
        .route_layer(CatchPanicLayer::custom(replies::panicked))
        .route_layer(middleware::from_fn_with_state(
            Arc::new(RequestLimits::http(timeout)),
            deadlines::enforce,
        ));
    let router = Router::new(Grpc::new(services, timeout).with_cors(cors), http);
    if !as_original {
        return Ok(router);
    }
    // Wraps the router, since that adds the header `Allow` last.
    let layer = middleware::from_fn(flask::as_original);
    Ok(router.with_http(|http| axum::Router::new().fallback_service(http).layer(layer)))
}

async fn grpc_services(
    config: &Config,
    auth: Auth,
    health: &HealthReporter,
) -> Result<Services, ServerError> {
    let max_message_size = config.limits.max_message_size;
    health.set_serving::<AuthServer>().await;
    let health = HealthServer::new(HealthService::from_health_reporter(health.clone()));
    let services = Services::default()
        .with(AuthServer::new(auth, max_message_size))
        .with(health.max_decoding_message_size(max_message_size));
    if config.network.reflects(config.network.listen) {
        let described = [AUTH_SERVICE, HEALTH_SERVICE];
        Ok(reflection::add(services, &described, max_message_size)?)
    } else {
        Ok(services)
    }
}
