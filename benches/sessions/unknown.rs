//! A flood of unknown `session_id`s at full speed.

use crate::{
    Compared, Context, callers, checks,
    databases::MANY,
    flood::Width,
    measure::{self, Measurement},
    nodes, row,
    server::Server,
    statistics::Spread,
    table::{Measured, Row, Target},
    workload::Workload,
};

const ROUNDS: usize = 11;

/// The cores of three nodes: one generator could not saturate three cores.
const CORES: usize = 2;

/// The rate of refusals on both databases, and the effect on valid callers.
pub fn rows(context: &Context) -> Vec<Row> {
    context.cores.leave_to_servers(1);
    let server = || Server::start(context.cores.of_server(), context.databases.sqlite());
    let sqlite = compare(&[server()], 1, checks::WIDTH, "SQLite");
    let postgres = nodes::start(context, CORES).and_then(|nodes| {
        let cores = context.cores.of_servers(CORES).len();
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
        callers::row(context),
    ]
}

fn compare(servers: &[Server], cores: usize, width: Width, name: &str) -> Compared {
    let servers: Vec<&Server> = servers.iter().collect();
    let rate_of = |workload| measure::all(&servers, &workload, width);
    rate_of(Workload::Check(0..MANY))?;
    rate_of(Workload::Unknown)?;
    let (mut ratios, mut valid, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    let (mut least_busy, mut own_cores): (f64, f64) = (1.0, 0.0);
    for round in 1..=ROUNDS {
        eprintln!("random session_ids on {name}, round {round} of {ROUNDS}");
        for (workload, rates) in [
            (Workload::Check(0..MANY), &mut valid),
            (Workload::Unknown, &mut unknown),
        ] {
            let measured = rate_of(workload)?;
            rates.push(rate(&measured));
            let busy: f64 = measured.servers.iter().map(|speed| speed.busy).sum();
            least_busy = least_busy.min(busy / cores as f64);
            own_cores = own_cores.max(measured.own_cores);
        }
        ratios.push(unknown[round - 1] / valid[round - 1]);
    }
    let notes = vec![
        format!(
            "{name}, answers per second (median, least to most of {ROUNDS} rounds): {} to random \
             ones, {} to valid ones.",
            Spread::of(unknown),
            Spread::of(valid),
        ),
        measure::note_on_limits(&format!("Random ones on {name}"), least_busy, own_cores),
    ];
    Ok((Measured::of_rounds(&Spread::of(ratios)), notes))
}

fn rate(measured: &Measurement) -> f64 {
    measured.servers.iter().map(|speed| speed.rate).sum()
}
