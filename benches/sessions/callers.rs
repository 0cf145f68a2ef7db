//! Callers with valid sessions, at a steady rate, while somebody else makes
//! `session_id`s up.

use std::{
    io,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Compared, Given,
    connection::Connection,
    databases::MANY,
    flood::{Flood, Width},
    ids::Dice,
    pace,
    question::{CHECK, OK, Question},
    server::Server,
    statistics::{Spread, milliseconds, p99_ms},
    table::{Measured, Row, Target},
};

const ROUNDS: usize = 5;

const WINDOW: Duration = Duration::from_secs(2);
const RAMP: Duration = Duration::from_millis(300);

/// How many ask, each on a connection of its own, and how often each of them does.
const CALLERS: u32 = 4;
const INTERVAL: Duration = Duration::from_millis(10);

/// Enough to keep the server's core busy.
const FLOOD: Width = Width {
    connections: 2,
    calls: 32,
};

/// The figure.
pub fn row(given: &Given) -> Row {
    crate::row(
        "valid callers' p99 while random `session_id`s come at full speed, against without",
        Target::AtMost(2.0),
        compare(given),
    )
}

fn compare(given: &Given) -> Compared {
    given.cores.leave_to_servers(1);
    let server = Server::start(given.cores.of_server(), given.databases.sqlite());
    let (mut without, mut among_forged, mut among_valid) = (Vec::new(), Vec::new(), Vec::new());
    let mut refused = Vec::new();
    given.cores.take_for_callers();
    for round in 1..=ROUNDS {
        eprintln!("valid callers, round {round} of {ROUNDS}");
        without.extend(call(server.address())?);
        for (question, times) in [
            (Question::Forged, &mut among_forged),
            (Question::Check(0..MANY), &mut among_valid),
        ] {
            given.cores.take_for_flood();
            let flood = Flood::start(server.address(), &question, FLOOD);
            given.cores.take_for_callers();
            thread::sleep(RAMP);
            let (start, before) = (Instant::now(), flood.answers());
            times.extend(call(server.address())?);
            let answers = (flood.answers() - before) as f64;
            if matches!(question, Question::Forged) {
                refused.push(answers / start.elapsed().as_secs_f64());
            }
            flood.stop()?;
        }
    }
    let checks = without.len();
    let [without, forged, valid] =
        [&mut without, &mut among_forged, &mut among_valid].map(|times| {
            let p99 = p99_ms(times);
            (milliseconds(times[times.len() / 2]), p99)
        });
    let refused = Spread::of(refused);
    let notes = vec![format!(
        "Valid callers, {checks} checks each time, {:.0} per second: median {:.2} ms without, \
         {:.2} ms among random ones ({:.0} refused per second); among as many valid ones, median \
         {:.2} ms, p99 {:.2} ms.",
        f64::from(CALLERS) / INTERVAL.as_secs_f64(),
        without.0,
        forged.0,
        refused.median,
        valid.0,
        valid.1,
    )];
    let measured = Measured {
        value: forged.1 / without.1,
        context: format!("{:.2} ms against {:.2} ms", forged.1, without.1),
    };
    Ok((measured, notes))
}

/// Checks for a while; returns how long each took from when it was due.
fn call(address: SocketAddr) -> Result<Vec<Duration>, String> {
    let start = Instant::now() + RAMP;
    let callers: Vec<_> = (0..CALLERS)
        .map(|number| {
            let first = start + INTERVAL * number / CALLERS;
            thread::spawn(move || one(address, first, Dice::new(u64::from(number))))
        })
        .collect();
    let mut times = Vec::new();
    for caller in callers {
        let caller = caller.join().map_err(|_| "a caller panicked".to_owned())?;
        times.extend(caller.map_err(|error| error.to_string())?);
    }
    Ok(times)
}

/// One caller, on the thread that it is called on.
fn one(address: SocketAddr, first: Instant, mut dice: Dice) -> io::Result<Vec<Duration>> {
    let mut connection = Connection::open(address, CHECK)?;
    let (question, mut message) = (Question::Check(0..MANY), Vec::new());
    let mut check = || {
        question.write(&mut message, &mut dice);
        match connection.call(&message)? {
            OK => Ok(()),
            status => Err(io::Error::other(format!(
                "a check ended with grpc-status {status}"
            ))),
        }
    };
    // The first on a connection take longer.
    for _ in 0..5 {
        check()?;
    }
    let mut times = Vec::new();
    for due in pace::every(INTERVAL, first) {
        if due >= first + WINDOW {
            break;
        }
        check()?;
        times.push(due.elapsed());
    }
    Ok(times)
}
