//! Checks that a request for a gRPC method is a POST with a content type of gRPC or gRPC-Web.
//! tonic runs a handler for any method and content type, so also for requests that a page of
//! another origin can make a browser send.

use axum::http::{HeaderMap, Method, Request, StatusCode, Version, header};

/// Native gRPC, which needs HTTP/2.
const GRPC: [&str; 2] = ["application/grpc", "application/grpc+proto"];

/// gRPC-Web, over either version of HTTP.
const GRPC_WEB: [&str; 4] = [
    "application/grpc-web",
    "application/grpc-web+proto",
    "application/grpc-web-text",
    "application/grpc-web-text+proto",
];

/// The protocol of a gRPC call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrpcProtocol {
    /// gRPC over HTTP/2.
    Native,
    /// gRPC-Web, which is translated to gRPC.
    Web,
}

/// The reason why a request for a gRPC method is not a gRPC call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProtocolError {
    /// The method is not POST.
    Method,
    /// The content type is none of gRPC's, or there are several.
    ContentType,
    /// Native gRPC over HTTP/1.1.
    Version,
}

impl ProtocolError {
    /// The HTTP status of the reply.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }

    /// The message of the reply, with advice.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Method => {
                "this is a gRPC method: call it with POST, by a gRPC client such as grpcurl"
            }
            Self::ContentType => {
                "this is a gRPC method: call it by a gRPC or gRPC-Web client such as grpcurl, not \
                 with JSON or a form; its content type is application/grpc, application/grpc-web or \
                 application/grpc-web-text"
            }
            Self::Version => {
                "gRPC needs HTTP/2, from the proxy in front, too (nginx: grpc_pass); over HTTP/1.1 \
                 use gRPC-Web"
            }
        }
    }
}

/// The protocol of a request for a gRPC method.
///
/// # Errors
///
/// The reason why the request is not a gRPC call.
pub(crate) fn check<B>(request: &Request<B>) -> Result<GrpcProtocol, ProtocolError> {
    if request.method() != Method::POST {
        return Err(ProtocolError::Method);
    }
    match content_type(request.headers()) {
        Some(content_type) if GRPC_WEB.contains(&content_type) => Ok(GrpcProtocol::Web),
        Some(content_type) if GRPC.contains(&content_type) => {
            if request.version() == Version::HTTP_2 {
                Ok(GrpcProtocol::Native)
            } else {
                Err(ProtocolError::Version)
            }
        }
        _ => Err(ProtocolError::ContentType),
    }
}

/// The content type; `None` without exactly one.
fn content_type(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, version: Version, types: &[&str]) -> Request<()> {
        let mut request = Request::builder().method(method).version(version);
        for content_type in types {
            request = request.header(header::CONTENT_TYPE, *content_type);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn only_grpc_calls_pass() {
        let (h1, h2) = (Version::HTTP_11, Version::HTTP_2);
        let (native, web) = (GrpcProtocol::Native, GrpcProtocol::Web);
        for (method, version, types, expected) in [
            (Method::POST, h2, &["application/grpc"][..], Ok(native)),
            (Method::POST, h2, &["application/grpc+proto"], Ok(native)),
            (Method::POST, h2, &["application/grpc-web+proto"], Ok(web)),
            (Method::POST, h1, &["application/grpc-web-text"], Ok(web)),
            (
                Method::POST,
                h1,
                &["application/grpc"],
                Err(ProtocolError::Version),
            ),
            (
                Method::GET,
                h2,
                &["application/grpc"],
                Err(ProtocolError::Method),
            ),
            (
                Method::PUT,
                h2,
                &["application/grpc"],
                Err(ProtocolError::Method),
            ),
            (Method::OPTIONS, h1, &[], Err(ProtocolError::Method)),
            (Method::POST, h2, &[], Err(ProtocolError::ContentType)),
            (
                Method::POST,
                h2,
                &["text/plain"],
                Err(ProtocolError::ContentType),
            ),
            (
                Method::POST,
                h2,
                &["application/grpc+json"],
                Err(ProtocolError::ContentType),
            ),
            (
                Method::POST,
                h2,
                &["application/grpcx"],
                Err(ProtocolError::ContentType),
            ),
            (
                Method::POST,
                h2,
                &["application/grpc", "text/plain"],
                Err(ProtocolError::ContentType),
            ),
            (
                Method::POST,
                h1,
                &["application/x-www-form-urlencoded"],
                Err(ProtocolError::ContentType),
            ),
        ] {
            let request = request(method.clone(), version, types);
            assert_eq!(check(&request), expected, "{method} {version:?} {types:?}");
        }
    }
}
