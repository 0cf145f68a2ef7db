//! One core of the engine.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Instant,
};

use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};

use crate::{
    reference,
    statistics::Spread,
    subject::Subject,
    table::{Measured, Row, Target},
};

/// A usual cost.
const COST: u32 = 12;

const ROUNDS: usize = 5;

/// The hashes per round of the crate and of a lone caller.
const HASHES: u32 = 3;

/// The number of callers, and of each caller's timed hashes per round.
const FEW: (u32, u32) = (4, 4);
const MANY: (u32, u32) = (32, 2);

/// The figures of one core.
pub fn rows() -> Vec<Row> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let subject = Subject::new(COST, MANY.0);
    // Excludes the costs of the first use.
    rate(&runtime, &subject, (1, 1));

    let mut crate_rates = vec![reference::rate(COST, HASHES)];
    let (mut lone, mut few, mut many) = (Vec::new(), Vec::new(), Vec::new());
    let mut ratios = [const { Vec::new() }; 3];
    for round in 1..=ROUNDS {
        eprintln!("one core, round {round} of {ROUNDS}");
        lone.push(rate(&runtime, &subject, (1, HASHES)));
        few.push(rate(&runtime, &subject, FEW));
        many.push(rate(&runtime, &subject, MANY));
        crate_rates.push(reference::rate(COST, HASHES));
        let around = f64::midpoint(crate_rates[round - 1], crate_rates[round]);
        for (ratios, rates) in ratios.iter_mut().zip([&few, &many, &lone]) {
            ratios.push(rates[round - 1] / around);
        }
    }
    let [few_ratios, many_ratios, lone_ratios] = ratios;
    // The figure of a lone job is its time.
    let lone_ratios = lone_ratios.into_iter().map(f64::recip).collect();

    let notes = vec![format!(
        "Hashes per second on one core at cost {COST} (median, least to most of {ROUNDS} rounds): \
         the crate {}; a lone job {}; {} concurrent {}; {} concurrent {}.",
        Spread::of(crate_rates),
        Spread::of(lone),
        FEW.0,
        Spread::of(few),
        MANY.0,
        Spread::of(many),
    )];
    let row = |figure, target, ratios, notes| Row {
        figure,
        target,
        unit: "",
        measured: Ok(Measured::of_rounds(&Spread::of(ratios))),
        notes,
    };
    vec![
        row(
            "hashes per second on one core, 4 concurrent jobs, against the `bcrypt` crate one at a \
             time",
            Target::AtLeast(4.0),
            few_ratios,
            notes,
        ),
        row(
            "the same at saturation",
            Target::AtLeast(4.5),
            many_ratios,
            vec![],
        ),
        row(
            "a lone job's time against the crate's",
            Target::AtMost(1.0),
            lone_ratios,
            vec![],
        ),
    ]
}

/// Hashes per second of callers that each request a hash as soon as they have the previous
/// one.
///
/// Each caller is timed over whole hashes, and all continue until the last one has been
/// timed, so the number of hashes in progress is constant. The result is the sum of the
/// callers' rates.
fn rate(runtime: &Runtime, subject: &Subject, (callers, hashes): (u32, u32)) -> f64 {
    let timed = Arc::new(AtomicU32::new(0));
    let rates = runtime.block_on(async {
        let calls = (0..callers).map(|number| {
            let (caller, timed) = (subject.caller(number), Arc::clone(&timed));
            async move {
                // The first hash begins on an idle engine.
                caller.hash().await;
                let start = Instant::now();
                for _ in 0..hashes {
                    caller.hash().await;
                }
                let rate = f64::from(hashes) / start.elapsed().as_secs_f64();
                timed.fetch_add(1, Ordering::Relaxed);
                while timed.load(Ordering::Relaxed) < callers {
                    caller.hash().await;
                }
                rate
            }
        });
        calls.collect::<JoinSet<f64>>().join_all().await
    });
    rates.into_iter().sum()
}
