//! A flood on one connection, and the part of the logins on another one that are served.

use std::time::{Duration, Instant};

use tokio::{runtime::Builder, task::JoinSet, time};

use super::{client::Client, flood::Flood, subject::Subject};
use crate::{
    generator,
    machine::OwnCpu,
    table::{Measured, Row, Target},
};

/// The default of `max-requests-per-connection`.
const CALLERS: usize = 256;

/// The time until the queue is full.
const RAMP: Duration = Duration::from_secs(2);

/// Logins on the other connection at a steady rate, fewer than the cores can serve.
const LOGINS: u32 = 70;
const INTERVAL: Duration = Duration::from_millis(230);

/// The part of the other logins that are served.
pub fn row() -> Row {
    eprintln!("others during a flood");
    let process = Subject::start(&[]);
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let (served, flood, own_cores) = runtime.block_on(async {
        let flooding = Client::connect(process.address).await;
        let others = Client::connect(process.address).await;
        others.register(0..2).await;
        let own = OwnCpu::count();
        let flood = Flood::start(&[flooding], CALLERS, 1);
        time::sleep(RAMP).await;
        let mut logins = JoinSet::new();
        let (start, before) = (Instant::now(), flood.counts());
        for number in 0..LOGINS {
            time::sleep_until((start + INTERVAL * number).into()).await;
            let others = others.clone();
            logins.spawn(async move { others.login(1).await.is_ok() });
        }
        let served = logins
            .join_all()
            .await
            .into_iter()
            .filter(|served| *served)
            .count();
        let after = flood.counts();
        let flood = [after[0] - before[0], after[1] - before[1]];
        (served, flood, own.cores())
    });
    runtime.shutdown_background();
    let [flood_served, flood_refused] = flood;
    let over = INTERVAL * LOGINS;
    Row {
        figure: "logins of others served during a flood of one connection",
        target: Target::AtLeast(0.95),
        unit: "",
        measured: Ok(Measured {
            value: served as f64 / f64::from(LOGINS),
            context: format!("{served} of {LOGINS}"),
        }),
        notes: vec![
            format!(
                "Of the flood of {CALLERS} callers meanwhile, in {:.0} s, {flood_served} logins \
                 were served and {flood_refused} refused.",
                over.as_secs_f64(),
            ),
            generator::note("flooding", own_cores),
        ],
    }
}
