//! 256 sessions in one call, against single checks.

use crate::{
    Compared, Context,
    checks::WIDTH,
    databases::MANY,
    flood::Width,
    measure, row,
    server::Server,
    statistics::Spread,
    table::{Measured, Row, Target},
    workload::{BATCH, Workload},
};

const ROUNDS: usize = 11;

/// As much as a connection's window allows, and more connections than cores.
const BATCHES: Width = Width {
    connections: 6,
    calls: 8,
};

/// The figure.
pub fn rows(context: &Context) -> Vec<Row> {
    vec![row(
        "sessions per second of the server's CPU time through `BatchGetUserBySession` of 256, \
         against single calls",
        Target::AtLeast(15.0),
        compare(context),
    )]
}

fn compare(context: &Context) -> Compared {
    context.cores.leave_to_servers(1);
    let server = Server::start(context.cores.of_server(), context.databases.sqlite());
    let (single, batch) = (Workload::Check(0..MANY), Workload::BatchCheck(0..MANY));
    measure::one(&server, &batch, BATCHES)?;
    let (mut ratios, mut singles, mut batches) = (Vec::new(), Vec::new(), Vec::new());
    let (mut least_busy, mut own_cores): (f64, f64) = (1.0, 0.0);
    for round in 1..=ROUNDS {
        eprintln!("batches, round {round} of {ROUNDS}");
        singles.push(measure::one(&server, &single, WIDTH)?.speed.cost);
        let batch = measure::one(&server, &batch, BATCHES)?;
        batches.push(batch.speed.cost / BATCH as f64);
        least_busy = least_busy.min(batch.speed.busy);
        own_cores = own_cores.max(batch.own_cores);
        ratios.push(singles[round - 1] / batches[round - 1]);
    }
    let notes = vec![
        format!(
            "µs of CPU for each session (median, least to most of {ROUNDS} rounds): {} in batches \
             of {BATCH}, {} alone.",
            Spread::of(batches),
            Spread::of(singles),
        ),
        measure::note_on_limits("Batches", least_busy, own_cores),
    ];
    Ok((Measured::of_rounds(&Spread::of(ratios)), notes))
}
