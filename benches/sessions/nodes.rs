//! Three nodes on one PostgreSQL, against each of them alone.

use crate::{
    Compared, Context,
    databases::MANY,
    flood::Width,
    measure::{self, Measurement},
    row,
    server::Server,
    statistics::Spread,
    table::{Measured, Row, Target},
    workload::Workload,
};

pub const NODES: usize = 3;

const ROUNDS: usize = 11;

/// The load on each node.
pub const WIDTH: Width = Width {
    connections: 3,
    calls: 60,
};

/// The figure.
pub fn rows(context: &Context) -> Vec<Row> {
    vec![row(
        "session checks per second of the servers' CPU time, three nodes on one PostgreSQL against \
         three times one node",
        Target::AtLeast(0.95),
        compare(context),
    )]
}

/// Starts all nodes, distributed over these cores.
pub fn start(context: &Context, cores: usize) -> Result<Vec<Server>, String> {
    let database = context.databases.postgres()?;
    context.cores.leave_to_servers(cores);
    let cores = context.cores.of_servers(cores).iter().cycle().take(NODES);
    Ok(cores.map(|core| Server::start(*core, database)).collect())
}

fn compare(context: &Context) -> Compared {
    let nodes = start(context, NODES)?;
    let cores = context.cores.of_servers(NODES).iter().cycle().take(NODES);
    let bare: Vec<Server> = cores.map(|core| Server::start_bare(*core)).collect();
    let all = |servers: &[&Server]| measure::all(servers, &Workload::Check(0..MANY), WIDTH);
    let together: Vec<&Server> = nodes.iter().collect();
    all(&together)?;

    let (mut ratios, mut of_lone) = (Vec::new(), Vec::new());
    let (mut busy, mut own_cores): (_, f64) = (Vec::new(), 0.0);
    for round in 1..=ROUNDS {
        eprintln!("three nodes, round {round} of {ROUNDS}");
        let three = all(&together)?;
        busy.extend(three.servers.iter().map(|speed| speed.busy));
        own_cores = own_cores.max(three.own_cores);
        let three = per_cpu(&three);
        let mut each = 0.0;
        for (number, node) in nodes.iter().enumerate() {
            // Bare servers replace the others, sharing only the machine.
            let mut beside: Vec<&Server> = bare.iter().collect();
            beside[number] = node;
            each += all(&beside)?.servers[number].cost.recip();
        }
        ratios.push(three / each);
        of_lone.push(three / (NODES as f64 * per_cpu(&all(&together[..1])?)));
    }
    let notes = vec![
        format!(
            "Three nodes against three times one on an otherwise idle machine, whose \
             caches and clock speed it does not share: {}.",
            spread(of_lone),
        ),
        format!(
            "How busy each of the three kept its core: {}; the generator took at most \
             {own_cores:.2} cores.",
            spread(busy),
        ),
    ];
    Ok((Measured::of_rounds(&Spread::of(ratios)), notes))
}

/// The sum of all servers' checks per microsecond of CPU time.
fn per_cpu(measured: &Measurement) -> f64 {
    let costs = measured.servers.iter().map(|speed| speed.cost);
    costs.map(f64::recip).sum()
}

fn spread(values: Vec<f64>) -> String {
    let Spread {
        least,
        median,
        most,
    } = Spread::of(values);
    format!("{median:.2} ({least:.2} to {most:.2})")
}
