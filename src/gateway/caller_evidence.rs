//! The requests whose success shows that their caller has an account.

use axum::http::Method;

use crate::{rpc::methods, transport::request_handler::CallerEvidence};

/// HTTP routes that require a valid session or password.
const ROUTES: [(Method, &str); 3] = [
    (Method::POST, "/sessions"),
    (Method::DELETE, "/sessions"),
    (Method::GET, "/profile"),
];

/// Whether the success of a request shows that its caller has an account.
pub(crate) fn of(method: &Method, path: &str) -> CallerEvidence {
    // It succeeds whether or not it recognises a session.
    if path == methods::BATCH_CHECK {
        return CallerEvidence::RecognisedSession;
    }
    let needs_account = methods::proves_account(path)
        || ROUTES
            .iter()
            .any(|(own, route)| own == method && *route == path);
    if needs_account {
        CallerEvidence::Success
    } else {
        CallerEvidence::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_that_need_an_account_are_evidence() {
        use CallerEvidence::{None, RecognisedSession, Success};
        let service = "/bienvenue.v1.AuthService";
        for (method, path, expected) in [
            (Method::POST, format!("{service}/Login"), Success),
            (Method::POST, format!("{service}/GetUserBySession"), Success),
            (
                Method::POST,
                format!("{service}/BatchGetUserBySession"),
                RecognisedSession,
            ),
            (Method::POST, format!("{service}/Register"), None),
            (
                Method::POST,
                format!("{service}/RequestPasswordReset"),
                None,
            ),
            (
                Method::POST,
                "/grpc.health.v1.Health/Check".to_owned(),
                None,
            ),
            (Method::POST, "/sessions".to_owned(), Success),
            (Method::GET, "/profile".to_owned(), Success),
            (Method::GET, "/".to_owned(), None),
            (Method::GET, "/sessions".to_owned(), None),
        ] {
            assert_eq!(of(&method, &path), expected, "{method} {path}");
        }
    }
}
