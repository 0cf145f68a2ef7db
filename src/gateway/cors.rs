//! Which other sites' pages may call the gRPC services.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::observe::REQUEST_ID;

/// How long a browser may remember what a preflight told it.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(3_600);

/// Request headers that pages send without their author's doing. A call fails when its
/// page sends one that is not allowed. None of them means anything here but those of
/// gRPC-Web.
const REQUEST_HEADERS: [&str; 34] = [
    // gRPC-Web: grpc-web, connect-web, and the pages in Envoy's documentation.
    "content-type",
    "grpc-timeout",
    "x-accept-content-transfer-encoding",
    "x-accept-response-streaming",
    "x-grpc-web",
    "x-user-agent",
    // connect-web's own (connectrpc.com/docs/cors).
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

/// Response headers that a page gets to see.
const RESPONSE_HEADERS: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];

/// The exact origins, which may send more headers than usual; no credentials: a gRPC-Web
/// client sends its `session_id` itself.
pub(crate) fn layer(origins: &[String], more_headers: &[String]) -> CorsLayer {
    let origins = origins
        .iter()
        .filter_map(|origin| HeaderValue::from_str(origin).ok());
    let more_headers = more_headers
        .iter()
        .filter_map(|name| HeaderName::try_from(name).ok());
    let headers = REQUEST_HEADERS.map(HeaderName::from_static);
    let shown = RESPONSE_HEADERS.map(HeaderName::from_static);
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::POST])
        .allow_headers(headers.into_iter().chain(more_headers).collect::<Vec<_>>())
        .expose_headers(shown.into_iter().chain([REQUEST_ID]).collect::<Vec<_>>())
        .max_age(PREFLIGHT_MAX_AGE)
}
