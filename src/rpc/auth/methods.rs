//! The methods of `bienvenue.v1.AuthService`, and the answer to the name of any other.

use std::convert::Infallible;

use axum::http::Response;
use tonic::{body::Body, codegen::BoxFuture};

use crate::proto::v1::auth_service_server::SERVICE_NAME as SERVICE;
use crate::rpc::status;

const METHODS: [&str; 11] = [
    "Register",
    "Login",
    "GetUserBySession",
    "BatchGetUserBySession",
    "Logout",
    "ListSessions",
    "RevokeSession",
    "RevokeOtherSessions",
    "ChangePassword",
    "RequestPasswordReset",
    "ResetPassword",
];

/// Whether a path is a method's.
pub(crate) fn is_known(path: &str) -> bool {
    let method = path
        .strip_prefix('/')
        .and_then(|path| path.strip_prefix(SERVICE))
        .and_then(|path| path.strip_prefix('/'));
    method.is_some_and(|method| METHODS.contains(&method))
}

/// The answer where it is not.
pub(crate) fn unknown() -> BoxFuture<Response<Body>, Infallible> {
    let names = METHODS.join(", ");
    let message = format!("{SERVICE} has no such method; it has {names}");
    let response = status::unimplemented(message).into_http();
    Box::pin(async { Ok(response) })
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::proto;

    #[test]
    fn they_are_those_of_the_proto() {
        let files = FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap();
        let services = files.file.iter().flat_map(|file| &file.service);
        let mut services = services.filter(|service| service.name() == "AuthService");
        let methods = services.next().unwrap().method.iter();
        assert_eq!(
            methods.map(|method| method.name()).collect::<Vec<_>>(),
            METHODS
        );
        for method in METHODS {
            assert!(is_known(&format!("/{SERVICE}/{method}")), "{method}");
        }
        for path in [
            "",
            "/",
            "/bienvenue.v1.AuthService/login",
            "/other.Service/Login",
        ] {
            assert!(!is_known(path), "{path}");
        }
    }
}
