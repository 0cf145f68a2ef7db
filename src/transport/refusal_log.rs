//! Logs the connections and requests refused by the limits of the transport: one line for
//! each kind at most every ten seconds, with counts. Most of these refusals are logged nowhere
//! else: excess connections are closed, and hyper refuses streams by itself.

mod aggregated_warning;

use std::{sync::Arc, time::Duration};

use self::aggregated_warning::AggregatedWarning;
use super::connection_limits::ConnectionRefusal;
use crate::domain::Network;

/// The least interval between two lines of one kind.
const INTERVAL: Duration = Duration::from_secs(10);

/// A refusal on an open connection, by the limit that caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusalKind {
    /// A request arrived while `max-requests-per-connection` were in progress.
    Requests,
    /// A stream was refused: `max-concurrent-streams` were open.
    Streams,
    /// A stream was reset: its frames violated HTTP/2, or its head was over
    /// `max-header-list-size` and not the first such head on its connection.
    Reset,
    /// The head of a request was over `max-header-list-size`; over HTTP/2, the first such head
    /// on its connection.
    Head,
    /// The connection was closed: over `max-local-error-reset-streams` of its streams were
    /// refused or reset.
    StreamErrors,
    /// The connection was closed: a reply was not read within `send-timeout`.
    Unread,
}

/// The refusals of one listener.
pub(crate) struct RefusalLog {
    connections: Arc<AggregatedWarning<4>>,
    requests: Arc<AggregatedWarning<6>>,
    tls: Arc<AggregatedWarning<1>>,
}

impl RefusalLog {
    /// Counts a refused connection.
    pub(crate) fn record_connection(&self, refusal: ConnectionRefusal, network: Network) {
        let index = match refusal {
            ConnectionRefusal::Network => 0,
            ConnectionRefusal::WideNetwork => 1,
            ConnectionRefusal::Total => 2,
        };
        self.connections.add(index, network);
    }

    /// Counts an idle connection closed for a new one from this network.
    pub(crate) fn record_eviction(&self, network: Network) {
        self.connections.add(3, network);
    }

    /// Counts a refusal on an open connection.
    pub(crate) fn record(&self, kind: RefusalKind, network: Network) {
        self.requests.add(kind as usize, network);
    }

    /// Counts a connection that began with a TLS handshake.
    pub(crate) fn record_tls(&self, network: Network) {
        self.tls.add(0, network);
    }
}

impl Default for RefusalLog {
    fn default() -> Self {
        Self {
            connections: AggregatedWarning::new(INTERVAL, write_connections),
            requests: AggregatedWarning::new(INTERVAL, write_requests),
            tls: AggregatedWarning::new(INTERVAL, write_tls),
        }
    }
}

fn write_connections(counts: [u64; 4], network: Option<Network>) {
    let [
        refused_per_peer,
        refused_per_wide_network,
        refused,
        ended_idle,
    ] = counts;
    tracing::warn!(
        refused_per_peer,
        refused_per_wide_network,
        refused,
        ended_idle,
        network = network.map(|network| network.to_string()),
        "connections were refused, or closed while idle for new ones: if their callers are \
         legitimate, raise {}",
        settings([
            (refused_per_peer, "--max-connections-per-peer"),
            (
                refused_per_wide_network,
                "--max-connections-per-wide-network"
            ),
            (refused + ended_idle, "--max-connections"),
        ])
    );
}

fn write_requests(counts: [u64; 6], network: Option<Network>) {
    let [requests, streams, resets, heads, stream_errors, unread] = counts;
    tracing::warn!(
        refused_requests = requests,
        refused_streams = streams,
        reset_streams = resets,
        refused_heads = heads,
        closed_connections = stream_errors,
        unread_replies = unread,
        network = network.map(|network| network.to_string()),
        "requests were refused, or their connections closed, by the limits on one connection: \
         if their callers read replies and respect the HTTP/2 settings, raise {}",
        settings([
            (requests, "--max-requests-per-connection"),
            (streams, "--max-concurrent-streams"),
            (resets + heads, "--max-header-list-size"),
            (stream_errors, "--max-local-error-reset-streams"),
            (unread, "--send-timeout"),
        ])
    );
}

fn write_tls([connections]: [u64; 1], network: Option<Network>) {
    tracing::warn!(
        connections,
        network = network.map(|network| network.to_string()),
        "callers began a TLS handshake, but this port does not speak TLS: call it without TLS \
         (http://, grpcurl -plaintext) or through a proxy that terminates TLS"
    );
}

/// The settings whose limits were reached.
fn settings<const N: usize>(counts: [(u64, &str); N]) -> String {
    let reached = counts.into_iter().filter(|(count, _)| *count > 0);
    let names: Vec<&str> = reached.map(|(_, name)| name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_with_a_count_are_named() {
        let counts = [(1, "--one"), (0, "--two"), (2, "--three")];
        assert_eq!(settings(counts), "--one, --three");
    }
}
