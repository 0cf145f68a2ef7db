//! Session checks against the bare server, alternating on the same core.

use bienvenue::clock::Clock;

use crate::{
    Context,
    database::Database,
    databases::MANY,
    filling,
    flood::Width,
    measure,
    server::Server,
    statistics::Spread,
    table::{Measured, Row, Target},
    workload::Workload,
};

const ROUNDS: usize = 15;

pub const WIDTH: Width = Width {
    connections: 6,
    calls: 40,
};

/// The figures on both databases.
pub fn rows(context: &Context) -> Vec<Row> {
    let sqlite = compare(context, context.databases.sqlite(), "SQLite");
    let postgres = context.databases.postgres();
    let postgres = postgres.and_then(|database| compare(context, database, "PostgreSQL"));
    let [rate, cost] = figures(
        sqlite,
        "`GetUserBySession` requests per second against a bare unary call, 1,000,000 sessions, \
         SQLite",
        "the server's CPU time per request against the same, SQLite",
    );
    let [postgres_rate, postgres_cost] = figures(
        postgres,
        "`GetUserBySession` requests per second against a bare unary call, 1,000,000 sessions, \
         PostgreSQL",
        "the server's CPU time per request against the same, PostgreSQL",
    );
    vec![rate, postgres_rate, cost, postgres_cost]
}

/// The ratios to the bare server in each round.
#[derive(Default)]
struct Compared {
    rates: Vec<f64>,
    costs: Vec<f64>,
    notes: Vec<String>,
}

fn compare(context: &Context, database: &Database, name: &str) -> Result<Compared, String> {
    let core = context.cores.of_server();
    context.cores.leave_to_servers(1);
    let (ours, bare) = (Server::start(core, database), Server::start_bare(core));
    let workload = Workload::Check(0..MANY);
    // Warm-up.
    measure::one(&bare, &workload, WIDTH)?;
    measure::one(&ours, &workload, WIDTH)?;

    let start = filling::time(Clock::system().now()).to_string();
    let mut answers = [0; 2];
    let mut compared = Compared::default();
    let (mut rates, mut costs) = ([const { Vec::new() }; 2], [const { Vec::new() }; 2]);
    let (mut least_busy, mut own_cores): (f64, f64) = (1.0, 0.0);
    for round in 1..=ROUNDS {
        eprintln!("checks on {name}, round {round} of {ROUNDS}");
        for (server, which) in [(&bare, 0), (&ours, 1)] {
            let alone = measure::one(server, &workload, WIDTH)?;
            rates[which].push(alone.speed.rate);
            costs[which].push(alone.speed.cost);
            least_busy = least_busy.min(alone.speed.busy);
            own_cores = own_cores.max(alone.own_cores);
            answers[which] += alone.answers;
        }
        compared
            .rates
            .push(rates[1][round - 1] / rates[0][round - 1]);
        compared
            .costs
            .push(costs[1][round - 1] / costs[0][round - 1]);
    }
    let ([bare_rates, our_rates], [bare_costs, our_costs]) = (rates, costs);
    compared.notes = vec![
        format!(
            "{name}, one core (median, least to most of {ROUNDS} rounds): requests per second {} \
             against {} of the bare server; µs of CPU for each {} against {}.",
            Spread::of(our_rates),
            Spread::of(bare_rates),
            Spread::of(our_costs),
            Spread::of(bare_costs),
        ),
        format!(
            "`last_seen_at` moved meanwhile of {} sessions, in {} checks.",
            database.text(&format!(
                "SELECT CAST(count(*) AS TEXT) FROM sessions WHERE last_seen_at > '{start}'"
            )),
            answers[1],
        ),
        measure::note_on_limits(&format!("Checks on {name}"), least_busy, own_cores),
    ];
    Ok(compared)
}

fn figures(
    compared: Result<Compared, String>,
    of_rate: &'static str,
    of_cost: &'static str,
) -> [Row; 2] {
    let row = |figure, target, measured, notes| Row {
        figure,
        target,
        unit: "",
        measured,
        notes,
    };
    let of_rounds = |ratios| Measured::of_rounds(&Spread::of(ratios));
    let (rate, cost, notes) = match compared {
        Ok(Compared {
            rates,
            costs,
            notes,
        }) => (Ok(of_rounds(rates)), Ok(of_rounds(costs)), notes),
        Err(why) => (Err(why.clone()), Err(why), vec![]),
    };
    [
        row(of_rate, Target::AtLeast(0.95), rate, notes),
        row(of_cost, Target::AtMost(1.08), cost, vec![]),
    ]
}
