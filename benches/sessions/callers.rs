//! Callers with valid sessions, at a steady rate, during a flood of unknown `session_id`s.

use std::{
    io,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Compared, Context,
    connection::Connection,
    databases::MANY,
    flood::{Flood, Width},
    ids::Random,
    pace,
    server::Server,
    statistics::{Spread, milliseconds, p99_ms},
    table::{Measured, Row, Target},
    workload::{CHECK, OK, Workload},
};

const ROUNDS: usize = 5;

const WINDOW: Duration = Duration::from_secs(2);
const RAMP: Duration = Duration::from_millis(300);

/// The number of callers, each on its own connection, and the interval of each.
const CALLERS: u32 = 4;
const INTERVAL: Duration = Duration::from_millis(10);

/// Enough to keep the server's core busy.
const FLOOD: Width = Width {
    connections: 2,
    calls: 32,
};

/// The figure.
pub fn row(context: &Context) -> Row {
    crate::row(
        "valid callers' p99 while random `session_id`s come at full speed, against without",
        Target::AtMost(2.0),
        compare(context),
    )
}

fn compare(context: &Context) -> Compared {
    context.cores.leave_to_servers(1);
    let server = Server::start(context.cores.of_server(), context.databases.sqlite());
    let (mut without, mut among_unknown, mut among_valid) = (Vec::new(), Vec::new(), Vec::new());
    let mut refused = Vec::new();
    context.cores.take_for_callers();
    for round in 1..=ROUNDS {
        eprintln!("valid callers, round {round} of {ROUNDS}");
        without.extend(call(server.address())?);
        for (workload, times) in [
            (Workload::Unknown, &mut among_unknown),
            (Workload::Check(0..MANY), &mut among_valid),
        ] {
            context.cores.take_for_flood();
            let flood = Flood::start(server.address(), &workload, FLOOD);
            context.cores.take_for_callers();
            thread::sleep(RAMP);
            let (start, before) = (Instant::now(), flood.answers());
            times.extend(call(server.address())?);
            let answers = (flood.answers() - before) as f64;
            if matches!(workload, Workload::Unknown) {
                refused.push(answers / start.elapsed().as_secs_f64());
            }
            flood.stop()?;
        }
    }
    let checks = without.len();
    let [without, unknown, valid] =
        [&mut without, &mut among_unknown, &mut among_valid].map(|times| {
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
        unknown.0,
        refused.median,
        valid.0,
        valid.1,
    )];
    let measured = Measured {
        value: unknown.1 / without.1,
        context: format!("{:.2} ms against {:.2} ms", unknown.1, without.1),
    };
    Ok((measured, notes))
}

/// Checks for a while; returns the time of each since it was due.
fn call(address: SocketAddr) -> Result<Vec<Duration>, String> {
    let start = Instant::now() + RAMP;
    let callers: Vec<_> = (0..CALLERS)
        .map(|number| {
            let first = start + INTERVAL * number / CALLERS;
            thread::spawn(move || one(address, first, Random::new(u64::from(number))))
        })
        .collect();
    let mut times = Vec::new();
    for caller in callers {
        let caller = caller.join().map_err(|_| "a caller panicked".to_owned())?;
        times.extend(caller.map_err(|error| error.to_string())?);
    }
    Ok(times)
}

/// Runs one caller on this thread.
fn one(address: SocketAddr, first: Instant, mut random: Random) -> io::Result<Vec<Duration>> {
    let mut connection = Connection::open(address, CHECK)?;
    let (workload, mut message) = (Workload::Check(0..MANY), Vec::new());
    let mut check = || {
        workload.write(&mut message, &mut random);
        match connection.call(&message)? {
            OK => Ok(()),
            status => Err(io::Error::other(format!(
                "a check ended with grpc-status {status}"
            ))),
        }
    };
    // The first calls on a connection take longer.
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
