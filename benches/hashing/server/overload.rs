//! The time until a login is refused while more of them arrive than can be served.

use std::{
    mem,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{runtime::Builder, task::JoinSet};

use super::{
    client::{Client, is_overloaded},
    subject::Subject,
};
use crate::{
    generator,
    machine::{self, OwnCpu},
    pace, reference,
    statistics::{milliseconds, p99_ms},
    table::{Measured, Row, Target},
};

/// The default cost. The other settings are the defaults, too.
const COST: u32 = 12;

/// Above the highest possible ratio to the crate.
const BEST: f64 = 6.0;

const REFUSALS: usize = 1_200;
const FEWEST_REFUSALS: usize = 1_000;
/// Refusals that take longer are counted in a note.
const AT_ONCE: Duration = Duration::from_millis(10);

/// The longest time to wait for these refusals.
const LONGEST: Duration = Duration::from_secs(20);

const USERS: usize = 8;

/// The results of the logins.
#[derive(Default)]
struct Replies {
    refusals: Vec<Duration>,
    served: usize,
    others: Vec<String>,
}

/// The time to a refusal.
pub fn row() -> Row {
    eprintln!("overload");
    let rate = 2.0 * BEST * machine::cores() as f64 * reference::rate(COST, 4);
    let process = Subject::start(&[]);
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let clients = runtime.block_on(async {
        let connections = 4 * machine::cores();
        let clients = Client::connect_many(process.address, connections).await;
        clients[0].register(0..USERS).await;
        clients
    });

    let mut logins = JoinSet::new();
    let replies = Arc::new(Mutex::new(Replies::default()));
    let (start, own) = (Instant::now(), OwnCpu::count());
    let interval = Duration::from_secs_f64(rate.recip());
    for (number, due) in pace::every(interval, start).enumerate() {
        let client = clients[number % clients.len()].clone();
        let all = Arc::clone(&replies);
        let login = async move {
            let login = client.login(number % USERS).await;
            let took = due.elapsed();
            let mut replies = all.lock().expect("the replies");
            match login {
                Ok(_) => replies.served += 1,
                Err(status) if is_overloaded(&status) => replies.refusals.push(took),
                Err(status) => replies.others.push(status.message().to_owned()),
            }
        };
        logins.spawn_on(login, runtime.handle());
        let refused = replies.lock().expect("the replies").refusals.len();
        if refused >= REFUSALS || start.elapsed() > LONGEST {
            break;
        }
    }
    let (own_cores, took) = (own.cores(), start.elapsed());
    // Some of them may be refused late.
    runtime.block_on(logins.join_all());
    let Replies {
        mut refusals,
        served,
        others,
    } = mem::take(&mut *replies.lock().expect("the replies"));

    let mut notes = vec![
        format!(
            "Overload: {rate:.0} logins per second at cost {COST} for {:.1} s, of which {} were \
             refused ({} of them after more than {} ms) and {served} served.",
            took.as_secs_f64(),
            refusals.len(),
            refusals.iter().filter(|took| **took > AT_ONCE).count(),
            AT_ONCE.as_millis(),
        ),
        generator::note("overloading the server", own_cores),
    ];
    if let Some(other) = others.first() {
        notes.push(format!(
            "**WARNING: {} logins failed in another way, such as: {other}.**",
            others.len()
        ));
    }
    Row {
        figure: "time from overload to the RESOURCE_EXHAUSTED reply, p99",
        target: Target::AtMost(10.0),
        unit: " ms",
        measured: if refusals.len() < FEWEST_REFUSALS {
            Err(format!("only {} refusals", refusals.len()))
        } else {
            let p99 = p99_ms(&mut refusals);
            let context = format!(
                "median {:.2} ms, most {:.2} ms",
                milliseconds(refusals[refusals.len() / 2]),
                milliseconds(refusals[refusals.len() - 1]),
            );
            Ok(Measured {
                value: p99,
                context,
            })
        },
        notes,
    }
}
