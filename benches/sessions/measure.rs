//! How fast servers answer, and what they spend on it.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    flood::{Flood, Width},
    machine::OwnCpu,
    process::ThreadTimes,
    question::Question,
    server::Server,
};

/// Until everything flows.
const RAMP: Duration = Duration::from_millis(250);

const WINDOW: Duration = Duration::from_millis(750);

/// What a server may still do when it is done: less than this part of a core.
const QUIET: f64 = 0.02;
const QUIET_FOR: Duration = Duration::from_millis(100);
const LONGEST_QUIET: Duration = Duration::from_secs(3);

/// Below this part of a core, a server that is asked as fast as it can answer was
/// not.
const BUSY: f64 = 0.97;

/// What came of one server.
pub struct Speed {
    /// Calls per second.
    pub rate: f64,
    /// CPU time of a call, in microseconds.
    pub cost: f64,
    /// How much of its core it took.
    pub busy: f64,
}

/// What came of all that were asked together.
pub struct Measurement {
    pub servers: Vec<Speed>,
    /// What the generator took.
    pub own_cores: f64,
    /// Calls in all, the time before and after that of the measurement included.
    pub answers: u64,
}

/// Asks servers at full speed, all at once.
pub fn all(servers: &[&Server], question: &Question, width: Width) -> Result<Measurement, String> {
    let floods: Vec<Flood> = servers
        .iter()
        .map(|server| Flood::start(server.address(), question, width))
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

/// Asks one server at full speed.
pub fn one(server: &Server, question: &Question, width: Width) -> Result<Alone, String> {
    let measured = all(&[server], question, width)?;
    let speed = measured.servers.into_iter().next();
    Ok(Alone {
        speed: speed.ok_or("nothing was measured")?,
        own_cores: measured.own_cores,
        answers: measured.answers,
    })
}

/// What came of one server that was asked alone.
pub struct Alone {
    pub speed: Speed,
    pub own_cores: f64,
    pub answers: u64,
}

/// A server and its flood at one time.
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

/// What a server put off until nobody asks must not weigh on the next one.
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

/// Whether the servers were what held everything up, for a note: how busy the least
/// busy of them was, and what the generator took at most.
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
