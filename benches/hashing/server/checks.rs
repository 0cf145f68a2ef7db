//! Session checks at a steady rate, as services ask them.

use std::{
    net::SocketAddr,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::Builder;

use super::client::Client;
use crate::pace;

/// How many ask, each on a connection and a thread of its own.
pub const CALLERS: u32 = 4;

/// How often each of them does.
const INTERVAL: Duration = Duration::from_millis(20);

/// What they ask together.
pub const PER_SECOND: f64 = CALLERS as f64 * 1_000.0 / INTERVAL.as_millis() as f64;

/// Checks for a while; returns how long each took from when it was due.
pub fn during(window: Duration, address: SocketAddr, sessions: &[String]) -> Vec<Duration> {
    let ready = Barrier::new(sessions.len());
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .zip(sessions)
            .map(|(number, session_id)| {
                let ready = &ready;
                scope.spawn(move || call(window, address, session_id, ready, number))
            })
            .collect();
        let times = callers.into_iter().map(|caller| caller.join());
        times.flat_map(|times| times.expect("checks")).collect()
    })
}

/// One caller, on the thread that it is called on: no other has to wake up first.
fn call(
    window: Duration,
    address: SocketAddr,
    session_id: &str,
    ready: &Barrier,
    number: u32,
) -> Vec<Duration> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let client = runtime.block_on(Client::connect(address));
    let check = || {
        runtime
            .block_on(client.check(session_id))
            .expect("a session")
    };
    // The first on a connection take longer.
    for _ in 0..5 {
        check();
    }
    ready.wait();
    let start = Instant::now() + INTERVAL * number / CALLERS;
    pace::every(INTERVAL, start)
        .take_while(|due| *due < start + window)
        .map(|due| {
            check();
            due.elapsed()
        })
        .collect()
}
