//! Callers that met a limit of the transport: counted, and said in one line of the log for
//! each kind at most every ten seconds, however many there are. Nothing else tells of most
//! of them: a connection without a place is closed, and hyper refuses streams by itself.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{self, Instant},
};

use super::connection_limits::ConnectionRefusal;
use crate::domain::Network;

/// How often to say so.
const EVERY: Duration = Duration::from_secs(10);

/// A limit that was met on a connection that has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusalKind {
    /// A request came while `max-requests-per-connection` were in progress.
    Requests,
    /// A stream was refused: `max-concurrent-streams` were open.
    Streams,
    /// A stream was reset: its frames broke the rules of HTTP/2, or its head was over
    /// `max-header-list-size`, again.
    Reset,
    /// The head of a request was over `max-header-list-size`; over HTTP/2 for the first time
    /// on its connection.
    Head,
    /// The connection was closed: over `max-local-error-reset-streams` of its streams were
    /// refused or reset.
    StreamErrors,
    /// The connection was closed: a reply was not read within `send-timeout`.
    Unread,
}

/// The counts of one port.
pub(crate) struct RefusalLog {
    connections: Arc<Line<4>>,
    calls: Arc<Line<6>>,
    tls: Arc<Line<1>>,
}

impl RefusalLog {
    /// Counts a connection that was refused.
    pub(crate) fn refused(&self, why: ConnectionRefusal, network: Network) {
        let index = match why {
            ConnectionRefusal::Network => 0,
            ConnectionRefusal::WideNetwork => 1,
            ConnectionRefusal::All => 2,
        };
        self.connections.add(index, network);
    }

    /// Counts an idle connection that was ended for a new one, from this network.
    pub(crate) fn ended_idle(&self, network: Network) {
        self.connections.add(3, network);
    }

    /// Counts a refusal by a limit of a connection.
    pub(crate) fn met(&self, what: RefusalKind, network: Network) {
        self.calls.add(what as usize, network);
    }

    /// Counts a connection that began with TLS.
    pub(crate) fn began_with_tls(&self, network: Network) {
        self.tls.add(0, network);
    }
}

impl Default for RefusalLog {
    fn default() -> Self {
        Self {
            connections: Line::new(EVERY, write_connections),
            calls: Line::new(EVERY, write_calls),
            tls: Line::new(EVERY, write_tls),
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
        "connections were refused, or ended while idle to make room: where their callers mean \
         well, raise {}",
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

fn write_calls(counts: [u64; 6], network: Option<Network>) {
    let [requests, streams, resets, heads, stream_errors, unread] = counts;
    tracing::warn!(
        refused_requests = requests,
        refused_streams = streams,
        reset_streams = resets,
        refused_heads = heads,
        closed_connections = stream_errors,
        unread_replies = unread,
        network = network.map(|network| network.to_string()),
        "requests were refused, or their connections closed, by the limits of a connection: \
         where their callers read their replies and keep to what is announced to them, raise {}",
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
        "callers began with TLS, which this port does not speak: let them call without \
         (http://, grpcurl -plaintext), or through a proxy that ends TLS"
    );
}

/// The settings that were met.
fn settings<const N: usize>(counts: [(u64, &str); N]) -> String {
    let met = counts.into_iter().filter(|(count, _)| *count > 0);
    let names: Vec<&str> = met.map(|(_, name)| name).collect();
    names.join(", ")
}

/// The counts that are said in one line.
struct Line<const N: usize> {
    state: Mutex<State<N>>,
    every: Duration,
    write: fn([u64; N], Option<Network>),
}

struct State<const N: usize> {
    /// The counts since the last line.
    counts: [u64; N],
    /// Where all of that comes from; `None` where that is more than one network.
    only: Option<Network>,
    said: Option<Instant>,
    /// Whether it will be said at its time.
    is_scheduled: bool,
}

impl<const N: usize> Line<N> {
    fn new(every: Duration, write: fn([u64; N], Option<Network>)) -> Arc<Self> {
        let state = State {
            counts: [0; N],
            only: None,
            said: None,
            is_scheduled: false,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            every,
            write,
        })
    }

    /// The first is said at once, the next ones together when it is time again.
    fn add(self: &Arc<Self>, index: usize, network: Network) {
        let mut state = self.lock();
        if state.counts == [0; N] {
            state.only = Some(network);
        } else if state.only != Some(network) {
            state.only = None;
        }
        state.counts[index] += 1;
        let due = state.said.map(|said| said + self.every);
        let Some(due) = due.filter(|due| *due > Instant::now()) else {
            drop(state);
            self.say();
            return;
        };
        if !state.is_scheduled
            && let Ok(runtime) = Handle::try_current()
        {
            state.is_scheduled = true;
            let line = Arc::downgrade(self);
            runtime.spawn(async move {
                time::sleep_until(due).await;
                if let Some(line) = line.upgrade() {
                    line.lock().is_scheduled = false;
                    line.say();
                }
            });
        }
    }

    fn say(&self) {
        let mut state = self.lock();
        let counts = std::mem::replace(&mut state.counts, [0; N]);
        let network = state.only.take();
        if counts == [0; N] {
            return;
        }
        state.said = Some(Instant::now());
        drop(state);
        (self.write)(counts, network);
    }

    fn lock(&self) -> MutexGuard<'_, State<N>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const N: usize> Drop for Line<N> {
    fn drop(&mut self) {
        self.say();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_the_settings_that_were_met() {
        let met = [(1, "--one"), (0, "--two"), (2, "--three")];
        assert_eq!(settings(met), "--one, --three");
    }

    #[tokio::test]
    async fn the_first_is_said_at_once_and_the_rest_together() {
        static SAID: Mutex<Vec<(u64, bool)>> = Mutex::new(Vec::new());
        let line = Line::new(Duration::from_secs(1), |[count]: [u64; 1], network| {
            SAID.lock().unwrap().push((count, network.is_some()));
        });
        let said = || std::mem::take(&mut *SAID.lock().unwrap());
        let [one, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(|ip| Network::of(ip.into()));
        line.add(0, one);
        assert_eq!(said(), [(1, true)]);
        for network in [one, one, other] {
            line.add(0, network);
        }
        assert_eq!(said(), []);
        while SAID.lock().unwrap().is_empty() {
            time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(said(), [(3, false)], "the networks are two");
        line.add(0, other);
        drop(line);
        assert_eq!(said(), [(1, true)]);
    }
}
