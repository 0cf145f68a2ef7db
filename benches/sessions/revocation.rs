//! The time until a session ended on one node is refused by the others.

use std::{
    io,
    net::SocketAddr,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Context,
    connection::Connection,
    databases::TO_END,
    ids::{Random, session_id},
    nodes,
    statistics::{milliseconds, p99_ms},
    table::{Measured, Row, Target},
    workload::{CHECK, LOGOUT, OK, UNAUTHENTICATED, about},
};

const SESSIONS: usize = 500;

/// The cores of the three nodes; the rest is for callers and PostgreSQL.
const CORES: usize = 2;

/// The longest time between a session's first check and its end, in microseconds.
const LONGEST_BEFORE: u64 = 20_000;

/// Both figures.
pub fn rows(context: &Context) -> Vec<Row> {
    let (median, p99) = match lags(context) {
        Ok(mut lags) => {
            let p99 = p99_ms(&mut lags);
            let median = milliseconds(lags[lags.len() / 2]);
            let most = milliseconds(lags[lags.len() - 1]);
            let context = format!("{} refusals, most {most:.2} ms", lags.len());
            let measured = |value| {
                let context = context.clone();
                Ok(Measured { value, context })
            };
            (measured(median), measured(p99))
        }
        Err(why) => (Err(why.clone()), Err(why)),
    };
    let row = |figure, most, measured| Row {
        figure,
        target: Target::AtMost(most),
        unit: " ms",
        measured,
        notes: vec![],
    };
    vec![
        row(
            "from the reply to a logout on one node to the refusal on another, p50",
            2.0,
            median,
        ),
        row("the same, p99", 20.0, p99),
    ]
}

/// For each session and each other node, the time from the reply to the logout to the first
/// refusal.
fn lags(context: &Context) -> Result<Vec<Duration>, String> {
    let nodes = nodes::start(context, CORES)?;
    eprintln!("revocations");
    let (ended, others) = nodes.split_first().ok_or("no node")?;
    let watchers: Vec<Watcher> = others
        .iter()
        .map(|node| Watcher::start(node.address()))
        .collect();
    let failed = |error: io::Error| error.to_string();
    let (mut lags, mut random) = (Vec::new(), Random::new(7));
    for number in TO_END.take(SESSIONS) {
        let message = about(&session_id(number));
        // A new connection, since the server may close an idle one.
        let mut connection = Connection::open(ended.address(), LOGOUT).map_err(failed)?;
        for watcher in &watchers {
            watcher.watch(&message)?;
        }
        thread::sleep(Duration::from_micros(random.below(LONGEST_BEFORE)));
        let status = connection.call(&message).map_err(failed)?;
        let replied = Instant::now();
        if status != OK {
            return Err(format!("a logout ended with grpc-status {status}"));
        }
        for watcher in &watchers {
            lags.push(watcher.refused()?.saturating_duration_since(replied));
        }
    }
    Ok(lags)
}

/// Checks a session on one node repeatedly.
struct Watcher {
    messages: Sender<Vec<u8>>,
    events: Receiver<io::Result<Event>>,
}

enum Event {
    /// The session is accepted.
    Known,
    Refused(Instant),
}

impl Watcher {
    fn start(address: SocketAddr) -> Self {
        let (messages, to_watch) = mpsc::channel::<Vec<u8>>();
        let (tell, events) = mpsc::channel();
        thread::spawn(move || {
            for message in to_watch {
                if let Err(error) = follow(address, &message, &tell) {
                    let _ = tell.send(Err(error));
                    return;
                }
            }
        });
        Self { messages, events }
    }

    /// Begins with a session, and waits until the node accepts it.
    fn watch(&self, message: &[u8]) -> Result<(), String> {
        let sent = self.messages.send(message.to_vec());
        sent.map_err(|error| error.to_string())?;
        match self.next()? {
            Event::Known => Ok(()),
            Event::Refused(_) => Err("a session was refused before it ended".to_owned()),
        }
    }

    /// Waits until the session is refused, and returns that time.
    fn refused(&self) -> Result<Instant, String> {
        match self.next()? {
            Event::Refused(at) => Ok(at),
            Event::Known => Err("a session was known twice".to_owned()),
        }
    }

    fn next(&self) -> Result<Event, String> {
        let event = self.events.recv().map_err(|error| error.to_string())?;
        event.map_err(|error| error.to_string())
    }
}

/// Longer than a revocation may take.
const PATIENCE: Duration = Duration::from_secs(10);

fn follow(address: SocketAddr, message: &[u8], tell: &Sender<io::Result<Event>>) -> io::Result<()> {
    let mut connection = Connection::open(address, CHECK)?;
    let (start, mut is_known) = (Instant::now(), false);
    while start.elapsed() < PATIENCE {
        match connection.call(message)? {
            OK if is_known => {}
            OK => {
                is_known = true;
                let _ = tell.send(Ok(Event::Known));
            }
            UNAUTHENTICATED => {
                let _ = tell.send(Ok(Event::Refused(Instant::now())));
                return Ok(());
            }
            status => {
                let what = format!("a check ended with grpc-status {status}");
                return Err(io::Error::other(what));
            }
        }
    }
    Err(io::Error::other("an ended session was not refused"))
}
