//! The cost of a check, and the memory, with a growing number of sessions.

use crate::{
    Context,
    checks::WIDTH,
    databases::{FEW, MANY, TO_END},
    measure,
    server::Server,
    statistics::Spread,
    table::{Measured, Row, Target},
    workload::Workload,
};

const ROUNDS: usize = 15;

/// Both figures.
pub fn rows(context: &Context) -> Vec<Row> {
    let (cost, memory) = match compare(context) {
        Ok((costs, memory)) => (Ok(Measured::of_rounds(&Spread::of(costs))), Ok(memory)),
        Err(why) => (Err(why.clone()), Err(why)),
    };
    vec![
        Row {
            figure: "the server's CPU time per request with 1,000,000 sessions against 10,000",
            target: Target::AtMost(1.05),
            unit: "",
            measured: cost,
            notes: vec![],
        },
        Row {
            figure: "memory per session held",
            target: Target::AtMost(200.0),
            unit: " bytes",
            measured: memory,
            notes: vec![],
        },
    ]
}

/// The ratio of each round, and the memory after all of them.
fn compare(context: &Context) -> Result<(Vec<f64>, Measured), String> {
    let core = context.cores.of_server();
    context.cores.leave_to_servers(1);
    let few = (
        Server::start(core, context.databases.few()),
        Workload::Check(0..FEW),
    );
    let many = (
        Server::start(core, context.databases.sqlite()),
        Workload::Check(0..MANY),
    );
    let at_start = many.0.memory() - few.0.memory();
    for (server, workload) in [&few, &many] {
        measure::one(server, workload, WIDTH)?;
    }
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        eprintln!("few and many sessions, round {round} of {ROUNDS}");
        let cost = |(server, workload): &(Server, Workload)| {
            Ok::<_, String>(measure::one(server, workload, WIDTH)?.speed.cost)
        };
        let few = cost(&few)?;
        ratios.push(cost(&many)? / few);
    }
    let more = (TO_END.end - FEW) as f64;
    let (few, many) = (few.0.memory(), many.0.memory());
    let memory = Measured {
        value: (many - few) / more,
        context: format!(
            "{:.0} MiB against {:.0} MiB after the checks; before them {:.0} bytes",
            many / MEBIBYTE,
            few / MEBIBYTE,
            at_start / more,
        ),
    };
    Ok((ratios, memory))
}

const MEBIBYTE: f64 = 1_048_576.0;
