//! The CPU time spent on a login after its caller has left in the middle of the hash.

use std::time::{Duration, Instant};

use tokio::{
    runtime::{Builder, Runtime},
    time,
};

use super::{client::Client, subject::Subject};
use crate::{
    process::Process,
    statistics::{Spread, milliseconds},
    table::{Measured, Row, Target},
};

/// A hash takes about a second; on a busy machine, much longer.
const SETTINGS: &[&str] = &[
    "--bcrypt-cost=14",
    "--hash-max-wait=50s",
    "--request-timeout=60s",
];

const TRIES: usize = 20;
const FEWEST_TRIES: usize = 15;

/// The time until the caller leaves.
const STAY: Duration = Duration::from_millis(100);

/// The time for which the server is observed before and after that.
const WATCH: Duration = Duration::from_millis(300);

/// The CPU time that an idle server may use in [`WATCH`].
const IDLE: Duration = Duration::from_millis(5);

/// The CPU time after the caller has left.
pub fn row() -> Row {
    eprintln!("callers that leave");
    let process = Subject::start(SETTINGS);
    // One thread for caller and connection, so that a cancellation is sent at once.
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let client = runtime.block_on(async {
        let client = Client::connect(process.address).await;
        client.register(0..1).await;
        client
    });

    let (mut spent, mut hashing, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TRIES {
        idle.push(milliseconds(idle_time(&runtime, &process)));
        if let Some(left) = leave(&runtime, &process, &client) {
            spent.push(milliseconds(left.all));
            hashing.push(milliseconds(left.hashing));
        }
    }
    let idle = Spread::of(idle);
    let mut notes = vec![format!(
        "A caller that left: an idle server uses {:.2} ms in the same {} ms, which are subtracted.",
        idle.median,
        WATCH.as_millis(),
    )];
    let tries = spent.len();
    let measured = if tries < FEWEST_TRIES {
        Err(format!(
            "only {tries} of {TRIES} were hashing when they were cancelled"
        ))
    } else {
        let (spent, hashing) = (Spread::of(spent), Spread::of(hashing));
        notes.push(format!(
            "The hashing thread's part of it: median {:.2} ms, maximum {:.2} ms. The rest is for \
             handling the cancellation and for the log.",
            hashing.median, hashing.most,
        ));
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
        notes,
    }
}

/// The CPU time of the server without requests. Waits until it is idle.
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

/// The CPU time after a login was cancelled.
struct Left {
    /// Of the whole process.
    all: Duration,
    /// Of the hashing thread.
    hashing: Duration,
}

/// Cancels a login. Returns `None` if it was not being hashed.
fn leave(runtime: &Runtime, process: &Process, client: &Client) -> Option<Left> {
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
        let later = process.threads();
        Some(Left {
            all: later.since(&at_leave),
            hashing: later.0.get(&hashing)?.saturating_sub(up_to_date),
        })
    })
}

/// The CPU time of a running thread, just after the kernel has updated it. Otherwise up to
/// a tick from before the cancellation would count as time after it.
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
