//! The one table of error cases: the gRPC code, the HTTP status and the reason of each.
//! `AuthError::code` and `OverLimit::code` name the case of an error. Replies to malformed HTTP
//! have more specific statuses (`gateway/protocol.rs`, `http/flask/forms.rs`).

/// Numbers of `google.rpc.Code`.
const INVALID_ARGUMENT: i32 = 3;
const DEADLINE_EXCEEDED: i32 = 4;
const NOT_FOUND: i32 = 5;
const ALREADY_EXISTS: i32 = 6;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const OUT_OF_RANGE: i32 = 11;
const UNIMPLEMENTED: i32 = 12;
const INTERNAL: i32 = 13;
const UNAVAILABLE: i32 = 14;
const UNAUTHENTICATED: i32 = 16;

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])* $code:ident: $reason:literal, $grpc:ident, $http:literal;)*) => {
        /// The case of an error, for programs and the log.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ErrorCode {
            $($(#[doc = $doc])* $code,)*
        }

        impl ErrorCode {
            /// Every case.
            pub const ALL: &[Self] = &[$(Self::$code),*];

            /// The case in one word. It is the `reason` of `google.rpc.ErrorInfo`, and
            /// every protocol logs the same one.
            pub const fn reason(self) -> &'static str {
                match self {
                    $(Self::$code => $reason,)*
                }
            }

            /// The number of the gRPC status code, as in `google.rpc.Code`.
            pub const fn grpc(self) -> i32 {
                match self {
                    $(Self::$code => $grpc,)*
                }
            }

            /// The status of plain HTTP.
            pub const fn http(self) -> u16 {
                match self {
                    $(Self::$code => $http,)*
                }
            }
        }
    };
}

error_codes! {
    /// A field is missing or invalid.
    InvalidField: "INVALID_FIELD", INVALID_ARGUMENT, 400;
    /// The bytes are not a request.
    MalformedRequest: "MALFORMED_REQUEST", INVALID_ARGUMENT, 400;
    /// The e-mail has an account.
    EmailTaken: "EMAIL_TAKEN", ALREADY_EXISTS, 400;
    /// The e-mail is unknown or the password is wrong.
    InvalidCredentials: "INVALID_CREDENTIALS", UNAUTHENTICATED, 401;
    /// The session is missing, expired or revoked.
    SessionInvalid: "SESSION_INVALID", UNAUTHENTICATED, 403;
    /// The reset token is unknown, used or expired.
    ResetTokenInvalid: "RESET_TOKEN_INVALID", UNAUTHENTICATED, 403;
    /// The token of the internal listener is missing or wrong.
    AdminTokenInvalid: "ADMIN_TOKEN_INVALID", UNAUTHENTICATED, 401;
    /// The e-mail has no account, where the caller is trusted to know.
    UnknownEmail: "UNKNOWN_EMAIL", NOT_FOUND, 403;
    /// A browser sent the request for a page of another site.
    CrossSite: "CROSS_SITE", PERMISSION_DENIED, 403;
    /// A resource has no capacity for the request now.
    Overloaded: "OVERLOADED", RESOURCE_EXHAUSTED, 503;
    /// The reader of a stream is too slow.
    SlowReader: "SLOW_READER", RESOURCE_EXHAUSTED, 503;
    /// The request took longer than the server allows.
    DeadlineExceeded: "DEADLINE_EXCEEDED", DEADLINE_EXCEEDED, 503;
    /// The log of revocations no longer has the entries after the requested revision.
    RevisionSwept: "REVISION_SWEPT", OUT_OF_RANGE, 400;
    /// The database is unavailable, or the node stops.
    Unavailable: "UNAVAILABLE", UNAVAILABLE, 503;
    /// The service or method does not exist, or messages are compressed.
    Unimplemented: "UNIMPLEMENTED", UNIMPLEMENTED, 501;
    /// The named item does not exist.
    NotFound: "NOT_FOUND", NOT_FOUND, 404;
    /// A bug, or damaged data.
    Internal: "INTERNAL", INTERNAL, 500;
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use tonic::Code;

    use super::*;

    /// What callers get today. A change here is a change of the contract.
    #[test]
    fn the_table_is_the_contract() {
        let expected = [
            ("INVALID_FIELD", Code::InvalidArgument, 400),
            ("MALFORMED_REQUEST", Code::InvalidArgument, 400),
            ("EMAIL_TAKEN", Code::AlreadyExists, 400),
            ("INVALID_CREDENTIALS", Code::Unauthenticated, 401),
            ("SESSION_INVALID", Code::Unauthenticated, 403),
            ("RESET_TOKEN_INVALID", Code::Unauthenticated, 403),
            ("ADMIN_TOKEN_INVALID", Code::Unauthenticated, 401),
            ("UNKNOWN_EMAIL", Code::NotFound, 403),
            ("CROSS_SITE", Code::PermissionDenied, 403),
            ("OVERLOADED", Code::ResourceExhausted, 503),
            ("SLOW_READER", Code::ResourceExhausted, 503),
            ("DEADLINE_EXCEEDED", Code::DeadlineExceeded, 503),
            ("REVISION_SWEPT", Code::OutOfRange, 400),
            ("UNAVAILABLE", Code::Unavailable, 503),
            ("UNIMPLEMENTED", Code::Unimplemented, 501),
            ("NOT_FOUND", Code::NotFound, 404),
            ("INTERNAL", Code::Internal, 500),
        ];
        let actual = ErrorCode::ALL.iter().map(|code| {
            let grpc = Code::from_i32(code.grpc());
            (code.reason(), grpc, code.http())
        });
        assert_eq!(actual.collect::<Vec<_>>(), expected);
        for code in ErrorCode::ALL {
            let status = StatusCode::from_u16(code.http()).unwrap();
            assert!(status.is_client_error() || status.is_server_error());
        }
    }
}
