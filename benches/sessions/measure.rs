//! Measures the rate of replies and the CPU time of servers.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    flood::{Flood, Width},
    machine::OwnCpu,
    process::ThreadTimes,
    server::Server,
    workload::Workload,
};

/// The warm-up before a measurement.
const RAMP: Duration = Duration::from_millis(250);

const WINDOW: Duration = Duration::from_millis(750);

/// The share of a core below which a server counts as idle.
const QUIET: f64 = 0.02;
const QUIET_FOR: Duration = Duration::from_millis(100);
const LONGEST_QUIET: Duration = Duration::from_secs(3);

/// Below this share of a core, the server was not the limit.
const BUSY: f64 = 0.97;

/// The result of one server.
pub struct Speed {
    /// Calls per second.
    pub rate: f64,
    /// CPU time of a call, in microseconds.
    pub cost: f64,
    /// The used share of its core.
    pub busy: f64,
}

/// The result of servers under load at once.
pub struct Measurement {
    pub servers: Vec<Speed>,
    /// The cores used by the generator.
    pub own_cores: f64,
    /// All calls, including those before and after the measurement.
    pub answers: u64,
}

/// Measures several servers at full load at once.
pub fn all(servers: &[&Server], workload: &Workload, width: Width) -> Result<Measurement, String> {
    let floods: Vec<Flood> = servers
        .iter()
        .map(|server| Flood::start(server.address(), workload, width))
        .collect();
    thread::sleep(RAMP);
    let own = OwnCpu::count();
    let readings: Vec<Reading> = servers.iter().zip(&floods).map(Reading::take).collect();
    thread::sleep(WINDOW);
    let speeds = servers.iter().zip(&floods).zip(readings);
    let speeds = speeds.map(|(now, before)| before.until(now)).collect();
    let own_cores = own.cores();
    let mut answers = 0;
    for flood in floods {
        answers += flood.stop()?;
    }
    for server in servers {
        wait_until_quiet(server);
    }
    Ok(Measurement {
        servers: speeds,
        own_cores,
        answers,
    })
}

/// Measures one server at full load.
pub fn one(server: &Server, workload: &Workload, width: Width) -> Result<Alone, String> {
    let measured = all(&[server], workload, width)?;
    let speed = measured.servers.into_iter().next();
    Ok(Alone {
        speed: speed.ok_or("nothing was measured")?,
        own_cores: measured.own_cores,
        answers: measured.answers,
    })
}

/// The result of one server measured alone.
pub struct Alone {
    pub speed: Speed,
    pub own_cores: f64,
    pub answers: u64,
}

/// The counters of a server and its load at one time.
struct Reading {
    at: Instant,
    answers: u64,
    spent: ThreadTimes,
}

impl Reading {
    fn take((server, flood): (&&Server, &Flood)) -> Self {
        Self {
            at: Instant::now(),
            answers: flood.answers(),
            spent: server.threads(),
        }
    }

    fn until(self, now: (&&Server, &Flood)) -> Speed {
        let now = Self::take(now);
        let answers = (now.answers - self.answers) as f64;
        let (spent, took) = (now.spent.since(&self.spent), now.at - self.at);
        Speed {
            rate: answers / took.as_secs_f64(),
            cost: spent.as_secs_f64() * 1e6 / answers,
            busy: spent.div_duration_f64(took),
        }
    }
}

/// Waits for a server's deferred work, so that it does not affect the next measurement.
fn wait_until_quiet(server: &Server) {
    let start = Instant::now();
    while start.elapsed() < LONGEST_QUIET {
        let before = server.threads();
        thread::sleep(QUIET_FOR);
        if server.threads().since(&before) < QUIET_FOR.mul_f64(QUIET) {
            return;
        }
    }
}

/// A note on whether the servers were the limit, from the share of the least busy one and the
/// generator's maximum.
pub fn note_on_limits(what: &str, least_busy: f64, own_cores: f64) -> String {
    let verdict = if least_busy < BUSY {
        "**WARNING: something else was the limit**"
    } else {
        "the servers were the limit"
    };
    format!(
        "{what}: the servers took at least {:.0} % of their cores, the generator at most {own_cores:.2} \
         cores of its own: {verdict}.",
        least_busy * 100.0
    )
}
