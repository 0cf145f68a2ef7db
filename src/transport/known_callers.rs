//! The proof that a connection has a known caller: a request on it succeeded that requires an
//! account. Some connections are reserved for the networks of such callers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use axum::http::{HeaderMap, Response, StatusCode};

use super::{connection_limits::ConnectionLimits, request_handler::CallerEvidence};
use crate::peer::Traffic;

/// Whether a connection's network is known. Clones share the state.
#[derive(Clone)]
pub(crate) struct KnownCallers(Arc<ConnectionNetwork>);

struct ConnectionNetwork {
    connection_limits: Arc<ConnectionLimits>,
    connection_id: u64,
    is_known: AtomicBool,
}

/// A request whose success makes its network known.
pub(crate) struct CallerProof {
    known_callers: KnownCallers,
    /// For a call that always succeeds: the connection on which a session must have been
    /// recognised.
    recognised_by: Option<Arc<Traffic>>,
}

impl KnownCallers {
    pub(crate) fn new(connection_limits: &Arc<ConnectionLimits>, connection_id: u64) -> Self {
        Self(Arc::new(ConnectionNetwork {
            connection_limits: Arc::clone(connection_limits),
            connection_id,
            is_known: AtomicBool::new(false),
        }))
    }

    /// The proof that the success of a request would add; `None` once the network is known.
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
    /// Marks the network as known if the response is a success.
    pub(crate) fn check<B>(self, response: &Response<B>) {
        let recognised = |traffic: &Arc<Traffic>| traffic.has_recognised();
        if !is_success(response.status(), response.headers())
            || !self.recognised_by.as_ref().is_none_or(recognised)
        {
            return;
        }
        let network = &self.known_callers.0;
        if !network.is_known.swap(true, Relaxed) {
            let connection_id = network.connection_id;
            network.connection_limits.mark_known(connection_id);
        }
    }
}

/// A failed gRPC call has its status in the response head, a successful one in the trailers.
fn is_success(status: StatusCode, headers: &HeaderMap) -> bool {
    (status.is_success() || status.is_redirection()) && !headers.contains_key("grpc-status")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_status_of_either_protocol_is_not_a_success() {
        let mut headers = HeaderMap::new();
        assert!(is_success(StatusCode::OK, &headers));
        assert!(is_success(StatusCode::FOUND, &headers));
        assert!(!is_success(StatusCode::UNAUTHORIZED, &headers));
        headers.insert("grpc-status", "16".parse().unwrap());
        assert!(!is_success(StatusCode::OK, &headers));
    }
}
