//! Somebody who makes `session_id`s up, as fast as they are refused.

use crate::{
    Compared, Given, callers, checks,
    databases::MANY,
    flood::Width,
    measure::{self, Measurement},
    nodes,
    question::Question,
    row,
    server::Server,
    statistics::Spread,
    table::{Measured, Row, Target},
};

const ROUNDS: usize = 11;

/// Of three nodes: one generator could not keep three busy.
const CORES: usize = 2;

/// How fast they are refused, on both databases, and what others notice of it.
pub fn rows(given: &Given) -> Vec<Row> {
    given.cores.leave_to_servers(1);
    let server = || Server::start(given.cores.of_server(), given.databases.sqlite());
    let sqlite = compare(&[server()], 1, checks::WIDTH, "SQLite");
    let postgres = nodes::start(given, CORES).and_then(|nodes| {
        let cores = given.cores.of_servers(CORES).len();
        compare(&nodes, cores, nodes::WIDTH, "PostgreSQL with three nodes")
    });
    let at_least = Target::AtLeast(0.8);
    vec![
        row(
            "random well-formed `session_id`s at full speed: refused per second against valid \
             ones confirmed, SQLite",
            at_least,
            sqlite,
        ),
        row("the same, PostgreSQL with three nodes", at_least, postgres),
        callers::row(given),
    ]
}

fn compare(servers: &[Server], cores: usize, width: Width, name: &str) -> Compared {
    let servers: Vec<&Server> = servers.iter().collect();
    let rate_of = |question| measure::all(&servers, &question, width);
    rate_of(Question::Check(0..MANY))?;
    rate_of(Question::Forged)?;
    let (mut ratios, mut valid, mut forged) = (Vec::new(), Vec::new(), Vec::new());
    let (mut least_busy, mut own_cores): (f64, f64) = (1.0, 0.0);
    for round in 1..=ROUNDS {
        eprintln!("random session_ids on {name}, round {round} of {ROUNDS}");
        for (question, rates) in [
            (Question::Check(0..MANY), &mut valid),
            (Question::Forged, &mut forged),
        ] {
            let measured = rate_of(question)?;
            rates.push(rate(&measured));
            let busy: f64 = measured.servers.iter().map(|speed| speed.busy).sum();
            least_busy = least_busy.min(busy / cores as f64);
            own_cores = own_cores.max(measured.own_cores);
        }
        ratios.push(forged[round - 1] / valid[round - 1]);
    }
    let notes = vec![
        format!(
            "{name}, answers per second (median, least to most of {ROUNDS} rounds): {} to random \
             ones, {} to valid ones.",
            Spread::of(forged),
            Spread::of(valid),
        ),
        measure::note_on_limits(&format!("Random ones on {name}"), least_busy, own_cores),
    ];
    Ok((Measured::of_rounds(&Spread::of(ratios)), notes))
}

fn rate(measured: &Measurement) -> f64 {
    measured.servers.iter().map(|speed| speed.rate).sum()
}
