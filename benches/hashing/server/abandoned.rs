//! A login whose caller leaves in the middle of its hash: how much is still spent
//! on it.

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

/// How long the caller stays.
const STAY: Duration = Duration::from_millis(100);

/// How long the server is watched after that, and before.
const WATCH: Duration = Duration::from_millis(300);

/// What an idle server may spend in [`WATCH`].
const IDLE: Duration = Duration::from_millis(5);

/// The CPU time that is spent for nobody.
pub fn row() -> Row {
    eprintln!("callers that leave");
    let process = Subject::start(SETTINGS);
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
        "A caller that left: an idle server spends {:.2} ms in the same {} ms, which are taken off.",
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
            "Of what is spent, the hashing thread's part: median {:.2} ms, most {:.2} ms; the rest \
             is to hear of it, and the log.",
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

/// What is spent after a login was cancelled.
struct Left {
    /// By the whole process.
    all: Duration,
    /// By the thread that was hashing.
    hashing: Duration,
}

/// Leaves a login; nothing comes of it if that was not hashing.
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
