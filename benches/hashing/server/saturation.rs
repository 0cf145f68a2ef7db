//! Logins that keep every core busy: their rate, and the latency of session checks.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};

use super::{checks, client::Client, flood::Flood, subject::Subject};
use crate::{
    generator,
    machine::{self, OwnCpu},
    process::Process,
    reference,
    statistics::{Spread, milliseconds, p99_ms},
    table::{Measured, Row, Target},
};

/// The default cost.
const COST: u32 = 12;

/// No login is refused, however slow the machine is.
const SETTINGS: &[&str] = &[
    "--bcrypt-cost=12",
    "--hash-max-wait=50s",
    "--request-timeout=60s",
];

/// Callers for each core, on one connection: several times the number of lanes, since some
/// of them wait for the database.
const CALLERS: usize = 32;

const ROUNDS: usize = 5;

/// The crate's hashes before and after each round.
const HASHES: u32 = 4;

/// The time until the lanes are full.
const RAMP: Duration = Duration::from_millis(2_500);
const LOGINS: Duration = Duration::from_secs(5);
/// The time of session checks, on the idle and on the saturated server.
const CHECKS: Duration = Duration::from_secs(3);

/// The rate of logins, and the latency of session checks.
pub fn rows() -> Vec<Row> {
    let cores = machine::cores();
    let process = Subject::start(SETTINGS);
    let address = process.address;
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    // Enough users that none of them has many concurrent logins.
    let users = cores * 8;
    let (clients, sessions) = runtime.block_on(async {
        let clients = Client::connect_many(address, cores).await;
        for (client, first) in clients.iter().zip((0..users).step_by(8)) {
            client.register(first..first + 8).await;
        }
        let mut sessions = Vec::new();
        for _ in 0..checks::CALLERS {
            sessions.push(clients[0].login(0).await.expect("a login"));
        }
        (clients, sessions)
    });

    let mut crate_rates = vec![reference::rate(COST, HASHES)];
    let mut logins = Logins::default();
    let (mut idle, mut saturated) = (Vec::new(), Vec::new());
    let mut own_cores: f64 = 0.0;
    for round in 1..=ROUNDS {
        eprintln!("the server at saturation, round {round} of {ROUNDS}");
        idle.extend(checks::during(CHECKS, address, &sessions));
        let flood = {
            let _inside = runtime.enter();
            Flood::start(&clients, CALLERS, users)
        };
        thread::sleep(RAMP);
        logins.measure(&runtime, &process, &flood);
        let own = OwnCpu::count();
        saturated.extend(checks::during(CHECKS, address, &sessions));
        own_cores = own_cores.max(own.cores());
        logins.failed += runtime.block_on(flood.stop());
        crate_rates.push(reference::rate(COST, HASHES));
    }
    vec![
        logins.row(crate_rates),
        row_of_checks(&mut idle, &mut saturated, own_cores),
    ]
}

/// The logins of all rounds.
#[derive(Default)]
struct Logins {
    /// Served per second.
    rates: Vec<f64>,
    /// The cores that the server kept busy, which should be all.
    busy_cores: Vec<f64>,
    /// The cores of the load generator, at most.
    own_cores: f64,
    /// The number of failed logins.
    failed: u64,
}

impl Logins {
    fn measure(&mut self, runtime: &Runtime, process: &Process, flood: &Flood) {
        let (start, own, before) = (Instant::now(), OwnCpu::count(), process.threads());
        self.rates.push(runtime.block_on(flood.rate(LOGINS)));
        let busy = process.threads().since(&before);
        self.busy_cores.push(busy.div_duration_f64(start.elapsed()));
        self.own_cores = self.own_cores.max(own.cores());
    }

    fn row(self, crate_rates: Vec<f64>) -> Row {
        let cores = machine::cores();
        let around = crate_rates
            .windows(2)
            .map(|pair| f64::midpoint(pair[0], pair[1]));
        let ratios = self.rates.iter().zip(around);
        let ratios = Spread::of(
            ratios
                .map(|(rate, one)| rate / (cores as f64 * one))
                .collect(),
        );
        let mut notes = vec![
            format!(
                "Logins per second through the server at cost {COST} (median, minimum to maximum \
                 of {ROUNDS} rounds): {}; the crate on one core {}; cores that the server kept busy, \
                 of {cores}: {}.",
                Spread::of(self.rates),
                Spread::of(crate_rates),
                Spread::of(self.busy_cores),
            ),
            generator::note("logging in", self.own_cores),
        ];
        if self.failed > 0 {
            notes.push(format!("**WARNING: {} logins failed.**", self.failed));
        }
        Row {
            figure: "logins per second through the whole server at saturation, against (cores × \
                     the crate's one-core rate)",
            target: Target::AtLeast(3.8),
            unit: "",
            measured: Ok(Measured::of_rounds(&ratios)),
            notes,
        }
    }
}

fn row_of_checks(idle: &mut [Duration], saturated: &mut [Duration], own_cores: f64) -> Row {
    let (idle_p99, saturated_p99) = (p99_ms(idle), p99_ms(saturated));
    let median = |sorted: &[Duration]| milliseconds(sorted[sorted.len() / 2]);
    Row {
        figure: "`GetUserBySession` p99 while logins saturate every core, against idle",
        target: Target::AtMost(2.0),
        unit: "",
        measured: Ok(Measured {
            value: saturated_p99 / idle_p99,
            context: format!("{saturated_p99:.2} ms against {idle_p99:.2} ms"),
        }),
        notes: vec![
            format!(
                "Session checks, {:.0} per second: {} while idle, median {:.2} ms; {} while \
                 saturated, median {:.2} ms.",
                checks::PER_SECOND,
                idle.len(),
                median(idle),
                saturated.len(),
                median(saturated),
            ),
            generator::note("logging in and checking sessions", own_cores),
        ],
    }
}
