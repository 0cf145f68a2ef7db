//! Session checks at a steady rate, as services request them.

use std::{
    net::SocketAddr,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::Builder;

use super::client::Client;
use crate::pace;

/// The number of callers, each with its own connection and thread.
pub const CALLERS: u32 = 4;

/// The time between two checks of a caller.
const INTERVAL: Duration = Duration::from_millis(20);

/// The checks per second of all callers.
pub const PER_SECOND: f64 = CALLERS as f64 * 1_000.0 / INTERVAL.as_millis() as f64;

/// Checks sessions for this time. Returns the time of each check from its due time.
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

/// One caller, with its connection on the same thread, so that no other thread has to wake up.
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
    // The first checks on a connection take longer.
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
