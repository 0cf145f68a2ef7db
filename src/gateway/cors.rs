//! CORS: the origins whose pages may call the gRPC services; none unless `cors-origin` is set. The
//! form routes have no CORS (`http/flask/origin.rs`).

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::observe::REQUEST_ID;

/// The time for which a browser may cache the response to a preflight request.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(3_600);

/// Request headers that libraries add to the requests of pages. A browser blocks a call with
/// any other header. Only those of gRPC-Web have a meaning here.
const REQUEST_HEADERS: [&str; 34] = [
    // gRPC-Web: grpc-web, connect-web, and the pages in Envoy's documentation.
    "content-type",
    "grpc-timeout",
    "x-accept-content-transfer-encoding",
    "x-accept-response-streaming",
    "x-grpc-web",
    "x-user-agent",
    // Headers specific to connect-web (connectrpc.com/docs/cors).
    "connect-protocol-version",
    "connect-timeout-ms",
    // W3C Trace Context and Baggage: OpenTelemetry.
    "baggage",
    "traceparent",
    "tracestate",
    // OpenTelemetry's other propagators: B3, Jaeger, AWS X-Ray.
    "b3",
    "uber-trace-id",
    "x-amzn-trace-id",
    "x-b3-flags",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-spanid",
    "x-b3-traceid",
    // Sentry, Datadog, New Relic, Elastic, Google Cloud, Application Insights.
    "elastic-apm-traceparent",
    "newrelic",
    "request-context",
    "request-id",
    "sentry-trace",
    "x-cloud-trace-context",
    "x-datadog-origin",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-datadog-tags",
    "x-datadog-trace-id",
    // Headers that interceptors add.
    "authorization",
    "x-correlation-id",
    "x-request-id",
    "x-requested-with",
];

/// Response headers that pages may read.
const RESPONSE_HEADERS: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];

/// Allows exactly these origins, and these request headers besides the usual ones.
/// Credentials are not allowed: a gRPC-Web client sends its `session_id` in the message.
pub(crate) fn layer(origins: &[String], extra_headers: &[String]) -> CorsLayer {
    let origins = origins
        .iter()
        .filter_map(|origin| HeaderValue::from_str(origin).ok());
    let extra_headers = extra_headers
        .iter()
        .filter_map(|name| HeaderName::try_from(name).ok());
    let headers = REQUEST_HEADERS.map(HeaderName::from_static);
    let exposed = RESPONSE_HEADERS.map(HeaderName::from_static);
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::POST])
        .allow_headers(headers.into_iter().chain(extra_headers).collect::<Vec<_>>())
        .expose_headers(exposed.into_iter().chain([REQUEST_ID]).collect::<Vec<_>>())
        .max_age(PREFLIGHT_MAX_AGE)
}
