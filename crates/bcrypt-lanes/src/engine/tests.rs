//! The engine as its callers see it: real threads, real hashes.

mod threads;

use std::{
    num::NonZeroU16,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use tokio::{
    task::{self, JoinHandle},
    time,
};

use super::*;
use crate::ALL_CORES;

/// Longer than any estimate on a busy machine.
const LONG: Duration = Duration::from_secs(3_600);

/// Longer than any step of these tests takes.
const IN_TIME: Duration = Duration::from_secs(20);

// Classes, as an application might have them.
const CLASS_A: usize = 0;
const CLASS_B: usize = 1;
const CLASS_C: usize = 2;
const CLASS_D: usize = 3;

fn config(threads: usize, max_wait: Duration) -> EngineConfig {
    EngineConfig {
        threads,
        max_wait,
        share: DEFAULT_SHARE,
        class_weights: vec![NonZeroU16::MIN; 4],
    }
}

fn new_engine(threads: usize, max_wait: Duration) -> Engine<()> {
    Engine::start(config(threads, max_wait)).unwrap()
}

fn options(class: usize, patience: Duration) -> JobOptions<()> {
    JobOptions {
        class,
        ..JobOptions::new((), Instant::now() + patience)
    }
}

fn class_b() -> JobOptions<()> {
    options(CLASS_B, LONG)
}

fn input(number: u8, cost: u32) -> Input {
    Input::new(&[b'k', number], cost, [number; 16])
}

fn start(
    engine: &Engine<()>,
    input: Input,
    options: JobOptions<()>,
) -> JoinHandle<Result<Digest, EngineError>> {
    let engine = engine.clone();
    task::spawn(async move { engine.bcrypt(input, options).await })
}

/// The numbers of jobs in lanes and of jobs that wait.
fn load(engine: &Engine<()>) -> (usize, usize) {
    engine.0.bcrypt.load()
}

async fn until(engine: &Engine<()>, condition: impl Fn((usize, usize)) -> bool) {
    let condition = async {
        while !condition(load(engine)) {
            time::sleep(Duration::from_micros(200)).await;
        }
    };
    let in_time = time::timeout(IN_TIME, condition).await;
    assert!(in_time.is_ok(), "the load stays at {:?}", load(engine));
}

/// The time of one hash on an idle engine.
async fn alone(engine: &Engine<()>, cost: u32) -> Duration {
    let start = Instant::now();
    engine.bcrypt(input(0, cost), class_b()).await.unwrap();
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mixed_costs_have_the_right_digests() {
    let engine = new_engine(2, LONG);
    let jobs: Vec<_> = (0..200_u8)
        .map(|number| {
            let input = input(number, 4 + u32::from(number % 5));
            (input.clone(), start(&engine, input, class_b()))
        })
        .collect();
    for (number, (input, job)) in jobs.into_iter().enumerate() {
        if number % 7 == 3 {
            job.abort();
            continue;
        }
        assert!(
            job.await.unwrap().unwrap() == input.reference_digest(),
            "{number}"
        );
    }
}

#[tokio::test]
async fn a_short_hash_overtakes_a_long_one_on_the_same_core() {
    let _all_cores = ALL_CORES.lock().await;
    let engine = new_engine(1, LONG);
    let long = start(&engine, input(1, 14), class_b());
    until(&engine, |load| load == (1, 0)).await;
    engine.bcrypt(input(2, 4), class_b()).await.unwrap();
    assert!(!long.is_finished(), "the long hash ended first");
    long.abort();
}

#[tokio::test]
async fn a_cancelled_job_leaves_its_lane_at_once() {
    let _all_cores = ALL_CORES.lock().await;
    let engine = new_engine(1, LONG);
    let jobs: Vec<_> = (0..12)
        .map(|number| start(&engine, input(number, 15), class_b()))
        .collect();
    until(&engine, |load| load == (MAX_LANES, 12 - MAX_LANES)).await;
    let begun = Instant::now();
    for job in jobs {
        job.abort();
    }
    until(&engine, |load| load == (0, 0)).await;
    let waited = begun.elapsed();
    let hash = alone(&engine, 12).await;
    assert!(
        waited < hash * 4,
        "{waited:?}, half of one hash is {:?}",
        hash * 4
    );
}

#[tokio::test]
async fn a_job_that_would_miss_its_deadline_is_refused_at_once() {
    let _all_cores = ALL_CORES.lock().await;
    let engine = new_engine(1, LONG);
    let hash = alone(&engine, 10).await;
    // On an idle core.
    let begun = Instant::now();
    let refused = engine.bcrypt(input(1, 16), options(CLASS_B, hash)).await;
    assert!(matches!(refused, Err(EngineError::Overloaded { .. })));
    assert!(begun.elapsed() < hash);
    until(&engine, |load| load == (0, 0)).await;

    // Behind other jobs.
    let jobs: Vec<_> = (0..2 * MAX_LANES as u8)
        .map(|number| start(&engine, input(number, 16), class_b()))
        .collect();
    until(&engine, |load| load == (MAX_LANES, MAX_LANES)).await;
    let begun = Instant::now();
    let patient = options(CLASS_B, hash * 20);
    let Err(EngineError::Overloaded { retry_after }) = engine.bcrypt(input(99, 10), patient).await
    else {
        panic!("the job was not refused");
    };
    assert!(begun.elapsed() < hash * 10, "{:?}", begun.elapsed());
    assert!(retry_after > Duration::ZERO);
    assert_eq!(load(&engine), (MAX_LANES, MAX_LANES));
    for job in jobs {
        job.abort();
    }
}

#[tokio::test]
async fn an_admitted_job_waits_no_longer_than_the_longest_wait() {
    let _all_cores = ALL_CORES.lock().await;
    let engine = new_engine(1, LONG);
    // All lanes at once take about twice as long as one alone.
    let hash = alone(&engine, 10).await;
    let max_wait = hash * 4;
    let engine = new_engine(1, max_wait);
    let begun = Instant::now();
    let jobs: Vec<_> = (0..=255)
        .map(|number| start(&engine, input(number, 10), class_b()))
        .collect();
    let (mut done, mut refused) = (0, 0);
    for job in jobs {
        match job.await.unwrap() {
            Ok(_) => done += 1,
            Err(EngineError::Overloaded { .. }) => refused += 1,
            Err(EngineError::Panicked) => panic!("a hash panicked"),
        }
    }
    assert!(
        done >= MAX_LANES && refused > 0,
        "{done} done, {refused} refused"
    );
    // The estimate may be wrong while the machine is busy with something else.
    assert!(
        begun.elapsed() < max_wait * 3 + hash * 12,
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn retries_after_the_given_time_are_admitted() {
    let _all_cores = ALL_CORES.lock().await;
    let engine = new_engine(1, LONG);
    let hash = alone(&engine, 10).await;
    let engine = new_engine(1, hash * 4);
    let tries: Vec<_> = (0..150_u8)
        .map(|number| {
            let engine = engine.clone();
            task::spawn(async move {
                let first = engine.bcrypt(input(number, 10), class_b()).await;
                let Err(EngineError::Overloaded { retry_after }) = first else {
                    return None;
                };
                time::sleep(retry_after).await;
                Some(engine.bcrypt(input(number, 10), class_b()).await.is_ok())
            })
        })
        .collect();
    let mut retried = Vec::new();
    for tried in tries {
        retried.extend(tried.await.unwrap());
    }
    let admitted = retried.iter().filter(|&&is_admitted| is_admitted).count();
    assert!(retried.len() >= 8, "{} were refused", retried.len());
    // The machine may become slower meanwhile.
    assert!(
        admitted * 3 >= retried.len(),
        "{admitted} of {}",
        retried.len()
    );
}

#[tokio::test]
async fn a_flood_of_one_class_does_not_starve_another() {
    let _all_cores = ALL_CORES.lock().await;
    for (flood, other) in [
        (CLASS_B, CLASS_A),
        (CLASS_A, CLASS_B),
        (CLASS_D, CLASS_C),
        (CLASS_B, CLASS_D),
    ] {
        let engine = new_engine(1, LONG);
        let flooded: Vec<_> = (0..140)
            .map(|number| start(&engine, input(number, 9), options(flood, LONG)))
            .collect();
        until(&engine, |(lanes, waiting)| {
            lanes == MAX_LANES && waiting > 100
        })
        .await;
        for number in 0..3 {
            let one = options(other, LONG);
            engine.bcrypt(input(number, 9), one).await.unwrap();
        }
        let (_, still_waiting) = load(&engine);
        assert!(
            still_waiting > 60,
            "class {other} waited for {} of class {flood}",
            140 - still_waiting
        );
        for job in flooded {
            job.abort();
        }
    }
}

#[tokio::test]
async fn a_second_flood_evicts_the_last_jobs_of_the_first() {
    let _all_cores = ALL_CORES.lock().await;
    let engine = new_engine(1, LONG);
    let hash = alone(&engine, 10).await;
    let max_wait = hash * 6;
    let engine = new_engine(1, max_wait);
    let first_jobs: Vec<_> = (0..=255)
        .map(|number| start(&engine, input(number, 10), class_b()))
        .collect();
    let second_jobs: Vec<_> = (0..=255)
        .map(|number| {
            let second = options(CLASS_A, LONG);
            start(&engine, input(number, 10), second)
        })
        .collect();
    let mut done = [0, 0];
    for (class, jobs) in [first_jobs, second_jobs].into_iter().enumerate() {
        for job in jobs {
            done[class] += usize::from(job.await.unwrap().is_ok());
        }
    }
    let [first_jobs, second_jobs] = done;
    assert!(
        first_jobs > 0 && second_jobs > 0 && first_jobs + second_jobs >= MAX_LANES,
        "{done:?}"
    );
    assert!(first_jobs < 256 && second_jobs < 256, "{done:?}");
}

#[tokio::test]
async fn only_if_idle_refuses_a_job_that_would_slow_others_down() {
    let engine = new_engine(1, LONG);
    let if_idle = || JobOptions {
        only_if_idle: true,
        ..class_b()
    };
    engine.bcrypt(input(1, 4), if_idle()).await.unwrap();
    let jobs: Vec<_> = (0..CHEAP_LANES as u8)
        .map(|number| start(&engine, input(number, 15), class_b()))
        .collect();
    until(&engine, |load| load == (CHEAP_LANES, 0)).await;
    let refused = engine.bcrypt(input(1, 4), if_idle()).await;
    assert!(matches!(refused, Err(EngineError::Overloaded { .. })));
    engine.bcrypt(input(1, 4), class_b()).await.unwrap();
    for job in jobs {
        job.abort();
    }
}

#[tokio::test]
async fn a_oneshot_job_is_refused_and_cancelled_too() {
    let engine = new_engine(1, LONG);
    let (release, released) = std::sync::mpsc::channel::<()>();
    let first = {
        let engine = engine.clone();
        task::spawn(async move {
            engine
                .run(move || released.recv().is_err(), class_b())
                .await
        })
    };
    while engine.0.oneshot.load() != (1, 0) {
        task::yield_now().await;
    }
    let too_short = options(CLASS_B, ONESHOT_GUESS / 2);
    let refused = engine.run(|| (), too_short).await;
    assert!(matches!(refused, Err(EngineError::Overloaded { .. })));

    let has_run = Arc::new(AtomicBool::new(false));
    let cancelled = {
        let (engine, has_run) = (engine.clone(), Arc::clone(&has_run));
        task::spawn(async move {
            engine
                .run(move || has_run.store(true, Ordering::SeqCst), class_b())
                .await
        })
    };
    while engine.0.oneshot.load() != (1, 1) {
        task::yield_now().await;
    }
    cancelled.abort();
    let _ = cancelled.await;
    assert_eq!(engine.0.oneshot.load(), (1, 0));
    drop(release);
    assert!(first.await.unwrap().unwrap());
    engine.run(|| (), class_b()).await.unwrap();
    assert!(!has_run.load(Ordering::SeqCst));
}

#[tokio::test]
async fn settings_out_of_range_are_refused() {
    let valid = config(1, LONG);
    for invalid in [
        EngineConfig {
            threads: 0,
            ..valid.clone()
        },
        EngineConfig {
            share: 0,
            ..valid.clone()
        },
        EngineConfig {
            share: 51,
            ..valid.clone()
        },
        EngineConfig {
            class_weights: Vec::new(),
            ..valid
        },
    ] {
        let error = Engine::<()>::start(invalid).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}

#[tokio::test]
#[should_panic(expected = "class 4 of 4 classes")]
async fn a_class_out_of_range_panics() {
    let _ = new_engine(1, LONG).check_admission(4, options(4, LONG));
}
