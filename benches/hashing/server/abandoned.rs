//! A login whose caller leaves in the middle of its hash: how much is still spent
//! on it.

use std::time::{Duration, Instant};

use tokio::{
    runtime::{Builder, Runtime},
    time,
};

use super::{client::Client, process::Process};
use crate::{
    statistics::{Spread, milliseconds},
    table::{Measured, Row, Target},
};

/// A hash takes about a second.
const SETTINGS: &[&str] = &["--bcrypt-cost=14"];

const TRIES: usize = 20;
const FEWEST_TRIES: usize = 15;

/// How long the caller stays.
const STAY: Duration = Duration::from_millis(100);

/// How long the server is watched after that, and before.
const WATCH: Duration = Duration::from_millis(300);

/// What an idle server may spend in [`WATCH`].
const IDLE: Duration = Duration::from_millis(5);

/// The CPU time that is spent for nobody.
pub fn row() -> Row {
    eprintln!("callers that leave");
    let process = Process::start(SETTINGS);
    // One thread for caller and connection: what is dropped is told at once.
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let client = runtime.block_on(async {
        let client = Client::connect(process.address).await;
        client.register(0..1).await;
        client
    });

    let (mut spent, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..TRIES {
        idle.push(milliseconds(idle_time(&runtime, &process)));
        spent.extend(leave(&runtime, &process, &client).map(milliseconds));
    }
    let idle = Spread::of(idle);
    let tries = spent.len();
    let measured = if tries < FEWEST_TRIES {
        Err(format!(
            "only {tries} of {TRIES} were hashing when they were cancelled"
        ))
    } else {
        let spent = Spread::of(spent);
        Ok(Measured {
            value: spent.most - idle.median,
            context: format!(
                "the most of {tries}; median {:.2} ms",
                spent.median - idle.median
            ),
        })
    };
    Row {
        figure: "CPU spent on a login whose caller left",
        target: Target::AtMost(1.0),
        unit: " ms",
        measured,
        notes: vec![format!(
            "A caller that left: an idle server spends {:.2} ms in the same {} ms, which are \
             taken off.",
            idle.median,
            WATCH.as_millis(),
        )],
    }
}

/// What the server spends when nobody asks for anything. Waits for that.
fn idle_time(runtime: &Runtime, process: &Process) -> Duration {
    loop {
        let before = process.threads();
        runtime.block_on(async { time::sleep(WATCH).await });
        let spent = process.threads().since(&before);
        if spent < IDLE {
            return spent;
        }
    }
}

/// What is spent after a login was cancelled; nothing if it was not hashing.
fn leave(runtime: &Runtime, process: &Process, client: &Client) -> Option<Duration> {
    runtime.block_on(async {
        let before = process.threads();
        let mut login = Box::pin(client.login(0));
        if time::timeout(STAY, &mut login).await.is_ok() {
            return None;
        }
        let mut at_leave = process.threads();
        let (hashing, spent) = at_leave
            .each_since(&before)
            .max_by_key(|(_, spent)| *spent)?;
        if spent < STAY / 4 {
            return None;
        }
        let up_to_date = after_a_tick(process, hashing)?;
        drop(login);
        at_leave.0.insert(hashing, up_to_date);
        time::sleep(WATCH).await;
        Some(process.threads().since(&at_leave))
    })
}

/// The CPU time of a thread that runs, at the moment when the kernel has just
/// brought it up to date: else up to a tick of before would count as of after.
fn after_a_tick(process: &Process, thread: u32) -> Option<Duration> {
    let (start, before) = (Instant::now(), process.thread(thread)?);
    while start.elapsed() < WATCH {
        let now = process.thread(thread)?;
        if now != before {
            return Some(now);
        }
    }
    None
}
