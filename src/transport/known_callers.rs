//! Networks with known callers: places are kept for them when connections run out. A
//! network is known once a request from it succeeded that needs an account.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use axum::http::{HeaderMap, Response, StatusCode};

use super::{connection_limits::ConnectionLimits, request_handler::CallerEvidence};
use crate::peer::Traffic;

/// Whether the network of a connection is known to have callers of the service. Clones
/// share the answer.
#[derive(Clone)]
pub(crate) struct KnownCallers(Arc<Inner>);

struct Inner {
    connection_limits: Arc<ConnectionLimits>,
    connection: u64,
    is_known: AtomicBool,
}

/// A request whose success tells something that was not known.
pub(crate) struct CallerProof {
    known_callers: KnownCallers,
    /// The connection on which a session has to have been recognised, for a call that
    /// succeeds anyway.
    recognised_by: Option<Arc<Traffic>>,
}

impl KnownCallers {
    pub(crate) fn new(connection_limits: &Arc<ConnectionLimits>, connection: u64) -> Self {
        Self(Arc::new(Inner {
            connection_limits: Arc::clone(connection_limits),
            connection,
            is_known: AtomicBool::new(false),
        }))
    }

    /// The evidence that the success of a request would add, if any.
    pub(crate) fn proof(
        &self,
        evidence: CallerEvidence,
        traffic: &Arc<Traffic>,
    ) -> Option<CallerProof> {
        if self.0.is_known.load(Relaxed) {
            return None;
        }
        let recognised_by = match evidence {
            CallerEvidence::None => return None,
            CallerEvidence::Success => None,
            CallerEvidence::RecognisedSession => Some(Arc::clone(traffic)),
        };
        Some(CallerProof {
            known_callers: self.clone(),
            recognised_by,
        })
    }
}

impl CallerProof {
    /// Looks at the answer, and notes the network of a request that succeeded.
    pub(crate) fn note<B>(self, response: &Response<B>) {
        let recognised = |traffic: &Arc<Traffic>| traffic.has_recognised();
        if !is_success(response.status(), response.headers())
            || !self.recognised_by.as_ref().is_none_or(recognised)
        {
            return;
        }
        let inner = &self.known_callers.0;
        if !inner.is_known.swap(true, Relaxed) {
            inner.connection_limits.note_known(inner.connection);
        }
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
    fn an_error_status_of_either_protocol_is_no_success() {
        let mut headers = HeaderMap::new();
        assert!(is_success(StatusCode::OK, &headers));
        assert!(is_success(StatusCode::FOUND, &headers));
        assert!(!is_success(StatusCode::UNAUTHORIZED, &headers));
        headers.insert("grpc-status", "16".parse().unwrap());
        assert!(!is_success(StatusCode::OK, &headers));
    }
}
