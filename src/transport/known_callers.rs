//! Which requests show that a network has callers whom the service knows: only somebody
//! with an account succeeds with them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use axum::http::{HeaderMap, Method, Request, Response, StatusCode, Uri};

use super::connection_limits::Places;
use crate::peer::Traffic;

const AUTH: &str = "/bienvenue.v1.AuthService/";

/// Methods that fail for everybody who has no session and no password.
const METHODS: [&str; 7] = [
    "GetUserBySession",
    "Login",
    "Logout",
    "ListSessions",
    "RevokeSession",
    "RevokeOtherSessions",
    "ChangePassword",
];

/// It succeeds for everybody; its handler notes whether a session was recognised.
const BATCH: &str = "BatchGetUserBySession";

/// The same over plain HTTP.
const ROUTES: [(Method, &str); 3] = [
    (Method::POST, "/sessions"),
    (Method::DELETE, "/sessions"),
    (Method::GET, "/profile"),
];

/// Whether the network of a connection is known to have callers of the service. Clones
/// share the answer.
#[derive(Clone)]
pub(crate) struct Standing(Arc<Inner>);

struct Inner {
    places: Arc<Places>,
    connection: u64,
    is_known: AtomicBool,
}

/// A request whose success tells something that was not known.
pub(crate) struct Proof {
    standing: Standing,
    /// Which counts if a session was recognised, although the call succeeds anyway.
    of_batch: Option<Arc<Traffic>>,
}

impl Standing {
    pub(crate) fn new(places: &Arc<Places>, connection: u64) -> Self {
        Self(Arc::new(Inner {
            places: Arc::clone(places),
            connection,
            is_known: AtomicBool::new(false),
        }))
    }

    /// What the success of a request would show, if anything.
    pub(crate) fn proof<B>(&self, request: &Request<B>, traffic: &Arc<Traffic>) -> Option<Proof> {
        if self.0.is_known.load(Relaxed) {
            return None;
        }
        let is_batch = is_batch(request.uri());
        (is_batch || proves(request.method(), request.uri())).then(|| Proof {
            standing: self.clone(),
            of_batch: is_batch.then(|| Arc::clone(traffic)),
        })
    }
}

impl Proof {
    /// Looks at the answer, and notes the network of a request that succeeded.
    pub(crate) fn note<B>(self, response: &Response<B>) {
        let recognised = |traffic: &Arc<Traffic>| traffic.has_recognised();
        if !is_success(response.status(), response.headers())
            || !self.of_batch.as_ref().is_none_or(recognised)
        {
            return;
        }
        let inner = &self.standing.0;
        if !inner.is_known.swap(true, Relaxed) {
            inner.places.note_known(inner.connection);
        }
    }
}

fn is_batch(uri: &Uri) -> bool {
    uri.path().strip_prefix(AUTH) == Some(BATCH)
}

fn proves(method: &Method, uri: &Uri) -> bool {
    match uri.path().strip_prefix(AUTH) {
        Some(name) => METHODS.contains(&name),
        None => ROUTES
            .iter()
            .any(|(own, path)| own == method && *path == uri.path()),
    }
}

/// A call that fails says so in its head; one that succeeds does in its trailers.
fn is_success(status: StatusCode, headers: &HeaderMap) -> bool {
    (status.is_success() || status.is_redirection()) && !headers.contains_key("grpc-status")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_an_account_proves_anything() {
        let service = "/bienvenue.v1.AuthService";
        for (method, path, expected) in [
            (Method::POST, format!("{service}/Login"), true),
            (Method::POST, format!("{service}/GetUserBySession"), true),
            (Method::POST, format!("{service}/Register"), false),
            (
                Method::POST,
                format!("{service}/RequestPasswordReset"),
                false,
            ),
            (
                Method::POST,
                "/grpc.health.v1.Health/Check".to_owned(),
                false,
            ),
            (Method::POST, "/sessions".to_owned(), true),
            (Method::GET, "/profile".to_owned(), true),
            (Method::GET, "/".to_owned(), false),
            (Method::GET, "/sessions".to_owned(), false),
        ] {
            let uri: Uri = path.parse().unwrap();
            assert_eq!(proves(&method, &uri), expected, "{method} {path}");
        }
        let mut headers = HeaderMap::new();
        assert!(is_success(StatusCode::OK, &headers));
        assert!(is_success(StatusCode::FOUND, &headers));
        assert!(!is_success(StatusCode::UNAUTHORIZED, &headers));
        headers.insert("grpc-status", "16".parse().unwrap());
        assert!(!is_success(StatusCode::OK, &headers));
    }
}
