//! The engine as its callers see it: real threads, real hashes.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Instant,
};

use tokio::{
    task::{self, JoinHandle},
    time,
};

use crate::passwords::engine::*;
use crate::passwords::{ALL_CORES, kernel::reference};

/// Longer than any forecast on a machine that is busy with something else.
const LONG: Duration = Duration::from_secs(3_600);

/// Longer than anything here takes.
const IN_TIME: Duration = Duration::from_secs(20);

fn demand(purpose: Purpose, patience: Duration) -> Demand {
    Demand {
        purpose,
        deadline: Deadline::after(patience),
        only_if_idle: false,
    }
}

fn login() -> Demand {
    demand(Purpose::Login, LONG)
}

fn input(number: u8, cost: u32) -> Input {
    Input::new(&[b'k', number], cost, [number; 16])
}

fn start(engine: &Engine, input: Input, demand: Demand) -> JoinHandle<Result<Digest, EngineError>> {
    let engine = engine.clone();
    task::spawn(async move { engine.bcrypt(input, demand).await })
}

/// How many are in lanes and how many wait.
fn load(engine: &Engine) -> (usize, usize) {
    engine.0.bcrypt.load()
}

async fn until(engine: &Engine, is_so: impl Fn((usize, usize)) -> bool) {
    let is_so = async {
        while !is_so(load(engine)) {
            time::sleep(Duration::from_micros(200)).await;
        }
    };
    let in_time = time::timeout(IN_TIME, is_so).await;
    assert!(in_time.is_ok(), "it never is so: {:?}", load(engine));
}

/// How long one takes alone.
async fn alone(engine: &Engine, cost: u32) -> Duration {
    let begun = Instant::now();
    engine.bcrypt(input(0, cost), login()).await.unwrap();
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mixed_costs_that_join_and_leave_come_to_the_right_digests() {
    let engine = Engine::start(2, LONG, DEFAULT_SHARE).unwrap();
    let jobs: Vec<_> = (0..200_u8)
        .map(|number| {
            let input = input(number, 4 + u32::from(number % 5));
            (input.clone(), start(&engine, input, login()))
        })
        .collect();
    for (number, (input, job)) in jobs.into_iter().enumerate() {
        if number % 7 == 3 {
            job.abort();
            continue;
        }
        assert!(job.await.unwrap().unwrap() == reference(&input), "{number}");
    }
}

#[tokio::test]
async fn nobody_waits_for_a_batch_and_who_joins_is_not_behind_who_is_there() {
    let _alone = ALL_CORES.lock().await;
    let engine = Engine::start(1, LONG, DEFAULT_SHARE).unwrap();
    let long = start(&engine, input(1, 14), login());
    until(&engine, |load| load == (1, 0)).await;
    engine.bcrypt(input(2, 4), login()).await.unwrap();
    assert!(!long.is_finished(), "the long one has ended before");
    long.abort();
}

/// The lanes that cost nothing are filled before another thread is woken; then
/// the threads share evenly.
#[tokio::test]
async fn lanes_are_filled_then_spread() {
    let _alone = ALL_CORES.lock().await;
    let engine = Engine::start(3, LONG, DEFAULT_SHARE).unwrap();
    while engine.0.bcrypt.asleep() < 3 {
        time::sleep(Duration::from_millis(1)).await;
    }
    let mut jobs = Vec::new();
    let expected = [
        [1, 0, 0],
        [2, 0, 0],
        [3, 0, 0],
        [3, 1, 0],
        [3, 2, 0],
        [3, 3, 0],
        [3, 3, 1],
        [3, 3, 2],
        [3, 3, 3],
        [4, 3, 3],
        [4, 4, 3],
        [4, 4, 4],
        [5, 4, 4],
    ];
    for (number, expected) in expected.into_iter().enumerate() {
        jobs.push(start(&engine, input(number as u8, 15), login()));
        until(&engine, |load| load == (number + 1, 0)).await;
        let mut threads = engine.0.bcrypt.load_by_thread();
        threads.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(threads, expected);
        // Whoever was woken for nothing would take the next one.
        let idle = expected.iter().filter(|&&lanes| lanes == 0).count();
        while engine.0.bcrypt.asleep() < idle {
            time::sleep(Duration::from_millis(1)).await;
        }
    }
    for job in jobs {
        job.abort();
    }
    until(&engine, |load| load == (0, 0)).await;
}

#[tokio::test]
async fn who_leaves_is_out_of_the_lanes_at_once() {
    let _alone = ALL_CORES.lock().await;
    let engine = Engine::start(1, LONG, DEFAULT_SHARE).unwrap();
    let jobs: Vec<_> = (0..12)
        .map(|number| start(&engine, input(number, 15), login()))
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
        "{waited:?}, a half of one hash is {:?}",
        hash * 4
    );
}

#[tokio::test]
async fn what_cannot_be_done_in_time_is_refused_at_once() {
    let _alone = ALL_CORES.lock().await;
    let engine = Engine::start(1, LONG, DEFAULT_SHARE).unwrap();
    let hash = alone(&engine, 10).await;
    // Not even on an idle core.
    let begun = Instant::now();
    let refused = engine
        .bcrypt(input(1, 16), demand(Purpose::Login, hash))
        .await;
    assert!(matches!(refused, Err(EngineError::Overloaded { .. })));
    assert!(begun.elapsed() < hash);
    until(&engine, |load| load == (0, 0)).await;

    // Not behind those that are there.
    let jobs: Vec<_> = (0..2 * MAX_LANES as u8)
        .map(|number| start(&engine, input(number, 16), login()))
        .collect();
    until(&engine, |load| load == (MAX_LANES, MAX_LANES)).await;
    let begun = Instant::now();
    let patient = demand(Purpose::Login, hash * 20);
    let Err(EngineError::Overloaded { retry_after }) = engine.bcrypt(input(99, 10), patient).await
    else {
        panic!("it was not refused");
    };
    assert!(begun.elapsed() < hash * 10, "{:?}", begun.elapsed());
    assert!(retry_after > Duration::ZERO);
    assert_eq!(load(&engine), (MAX_LANES, MAX_LANES));
    for job in jobs {
        job.abort();
    }
}

#[tokio::test]
async fn nobody_who_was_let_in_waits_longer_than_the_longest_wait() {
    let _alone = ALL_CORES.lock().await;
    let engine = Engine::start(1, LONG, DEFAULT_SHARE).unwrap();
    // All lanes at once take about twice as long as one alone.
    let hash = alone(&engine, 10).await;
    let max_wait = hash * 4;
    let engine = Engine::start(1, max_wait, DEFAULT_SHARE).unwrap();
    let begun = Instant::now();
    let jobs: Vec<_> = (0..=255)
        .map(|number| start(&engine, input(number, 10), login()))
        .collect();
    let (mut done, mut refused) = (0, 0);
    for job in jobs {
        match job.await.unwrap() {
            Ok(_) => done += 1,
            Err(EngineError::Overloaded { .. }) => refused += 1,
            Err(EngineError::Broken) => panic!("broken"),
        }
    }
    assert!(
        done >= MAX_LANES && refused > 0,
        "{done} done, {refused} refused"
    );
    // A forecast may be off where the machine is busy with something else.
    assert!(
        begun.elapsed() < max_wait * 3 + hash * 12,
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn everyone_who_comes_back_when_told_is_let_in() {
    let _alone = ALL_CORES.lock().await;
    let engine = Engine::start(1, LONG, DEFAULT_SHARE).unwrap();
    let hash = alone(&engine, 10).await;
    let engine = Engine::start(1, hash * 4, DEFAULT_SHARE).unwrap();
    let tries: Vec<_> = (0..150_u8)
        .map(|number| {
            let engine = engine.clone();
            task::spawn(async move {
                let first = engine.bcrypt(input(number, 10), login()).await;
                let Err(EngineError::Overloaded { retry_after }) = first else {
                    return None;
                };
                time::sleep(retry_after).await;
                Some(engine.bcrypt(input(number, 10), login()).await.is_ok())
            })
        })
        .collect();
    let mut came_back = Vec::new();
    for tried in tries {
        came_back.extend(tried.await.unwrap());
    }
    let let_in = came_back.iter().filter(|&&is_in| is_in).count();
    assert!(came_back.len() >= 8, "{} were refused", came_back.len());
    // The pace may fall meanwhile, where the machine is busy with something else.
    assert!(
        let_in * 3 >= came_back.len(),
        "{let_in} of {}",
        came_back.len()
    );
}

/// A flood of one purpose, whichever it is, does not hold up another.
#[tokio::test]
async fn a_flood_of_one_purpose_starves_no_other() {
    let _alone = ALL_CORES.lock().await;
    for (flood, other) in [
        (Purpose::Login, Purpose::Registration),
        (Purpose::Registration, Purpose::Login),
        (Purpose::PasswordReset, Purpose::PasswordChange),
        (Purpose::Login, Purpose::PasswordReset),
    ] {
        let engine = Engine::start(1, LONG, DEFAULT_SHARE).unwrap();
        let flooded: Vec<_> = (0..140)
            .map(|number| start(&engine, input(number, 9), demand(flood, LONG)))
            .collect();
        until(&engine, |(lanes, waiting)| {
            lanes == MAX_LANES && waiting > 100
        })
        .await;
        for number in 0..3 {
            let one = demand(other, LONG);
            engine.bcrypt(input(number, 9), one).await.unwrap();
        }
        let (_, still_waiting) = load(&engine);
        assert!(
            still_waiting > 60,
            "{other:?} waited for {} of {flood:?}",
            140 - still_waiting
        );
        for job in flooded {
            job.abort();
        }
    }
}

#[tokio::test]
async fn a_late_flood_crowds_out_the_last_of_the_first_at_once() {
    let _alone = ALL_CORES.lock().await;
    let engine = Engine::start(1, LONG, DEFAULT_SHARE).unwrap();
    let hash = alone(&engine, 10).await;
    let max_wait = hash * 6;
    let engine = Engine::start(1, max_wait, DEFAULT_SHARE).unwrap();
    let logins: Vec<_> = (0..=255)
        .map(|number| start(&engine, input(number, 10), login()))
        .collect();
    let registrations: Vec<_> = (0..=255)
        .map(|number| {
            let registration = demand(Purpose::Registration, LONG);
            start(&engine, input(number, 10), registration)
        })
        .collect();
    let mut done = [0, 0];
    for (purpose, jobs) in [logins, registrations].into_iter().enumerate() {
        for job in jobs {
            done[purpose] += usize::from(job.await.unwrap().is_ok());
        }
    }
    let [logins, registrations] = done;
    assert!(
        logins > 0 && registrations > 0 && logins + registrations >= MAX_LANES,
        "{done:?}"
    );
    assert!(logins < 256 && registrations < 256, "{done:?}");
}

#[tokio::test]
async fn only_if_idle_means_that_it_costs_nobody_time() {
    let engine = Engine::start(1, LONG, DEFAULT_SHARE).unwrap();
    let if_idle = || Demand {
        only_if_idle: true,
        ..login()
    };
    engine.bcrypt(input(1, 4), if_idle()).await.unwrap();
    let jobs: Vec<_> = (0..LANES_FOR_NOTHING as u8)
        .map(|number| start(&engine, input(number, 15), login()))
        .collect();
    until(&engine, |load| load == (LANES_FOR_NOTHING, 0)).await;
    let refused = engine.bcrypt(input(1, 4), if_idle()).await;
    assert!(matches!(refused, Err(EngineError::Overloaded { .. })));
    engine.bcrypt(input(1, 4), login()).await.unwrap();
    for job in jobs {
        job.abort();
    }
}

#[tokio::test]
async fn one_that_panics_takes_no_other_down() {
    let engine = Engine::start(1, LONG, DEFAULT_SHARE).unwrap();
    let others: Vec<_> = (0..4)
        .map(|number| start(&engine, input(number, 11), login()))
        .collect();
    until(&engine, |load| load == (4, 0)).await;
    let mut impossible = input(9, 4);
    impossible.make_panic();
    let broken = start(&engine, impossible, login()).await.unwrap();
    assert!(matches!(broken, Err(EngineError::Broken)));
    let broken = engine.whole(|| panic!("on purpose"), login()).await;
    assert!(matches!(broken, Err::<(), _>(EngineError::Broken)));
    for (number, other) in (0..).zip(others) {
        assert!(other.await.unwrap().unwrap() == reference(&input(number, 11)));
    }
    assert!(engine.bcrypt(input(1, 4), login()).await.is_ok());
    assert_eq!(engine.whole(|| 7, login()).await.ok(), Some(7));
}

/// On every core something of the usual priority wants all of it.
#[tokio::test]
async fn a_busy_machine_does_not_starve_hashing() {
    let _alone = ALL_CORES.lock().await;
    let engine = Engine::start(1, LONG, DEFAULT_SHARE).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    let busy: Vec<_> = (0..cores)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || while !is_over.load(Ordering::Relaxed) {})
        })
        .collect();
    // A hundredth of a core, which is more than is left, would take a minute.
    let hashed = engine.bcrypt(input(1, 12), login());
    let in_time = time::timeout(IN_TIME, hashed).await;
    is_over.store(true, Ordering::Relaxed);
    for thread in busy {
        thread.join().unwrap();
    }
    assert!(in_time.is_ok_and(|digest| digest.is_ok()), "it was starved");
}

/// Hashes per second of as many callers as keep every lane busy, after a second in which
/// the engine has seen how busy the machine is.
async fn rate(engine: &Engine, threads: usize) -> f64 {
    const WINDOW: Duration = Duration::from_secs(2);
    let hashed = Arc::new(AtomicU64::new(0));
    let mut callers = task::JoinSet::new();
    for number in 0..2 * threads * MAX_LANES {
        let (engine, hashed) = (engine.clone(), Arc::clone(&hashed));
        callers.spawn(async move {
            loop {
                engine
                    .bcrypt(input(number as u8, 7), login())
                    .await
                    .unwrap();
                hashed.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    time::sleep(Duration::from_secs(1)).await;
    let (start, before) = (Instant::now(), hashed.load(Ordering::Relaxed));
    time::sleep(WINDOW).await;
    let done = hashed.load(Ordering::Relaxed) - before;
    done as f64 / start.elapsed().as_secs_f64()
}

/// Half of the cores' time, where the requests of a flood want all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashing_keeps_its_share_on_a_busy_machine() {
    let _alone = ALL_CORES.lock().await;
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    let engine = Engine::start(cores, LONG, DEFAULT_SHARE).unwrap();
    let mut shares = Vec::new();
    // Other work on the machine may take more in one measurement than in the other.
    for _ in 0..5 {
        let undisturbed = rate(&engine, cores).await;
        let is_over = Arc::new(AtomicBool::new(false));
        let busy: Vec<_> = (0..cores)
            .map(|_| {
                let is_over = Arc::clone(&is_over);
                thread::spawn(move || while !is_over.load(Ordering::Relaxed) {})
            })
            .collect();
        let disturbed = rate(&engine, cores).await;
        is_over.store(true, Ordering::Relaxed);
        for thread in busy {
            thread.join().unwrap();
        }
        shares.push(disturbed / undisturbed);
        // At the priority of a thread that merely gives way, it would be an eighth.
        if shares.last().is_some_and(|share| *share > 0.3) {
            return;
        }
    }
    panic!("hashing had these parts of its usual rate: {shares:?}");
}

/// Other requests are served on the threads on which callers wait.
#[tokio::test]
async fn a_caller_does_not_block_its_thread_for_the_lock() {
    let engine = Engine::start(1, LONG, DEFAULT_SHARE).unwrap();
    let held = engine.0.bcrypt.hold();
    assert!(engine.look(1, login()).is_ok());
    let job = start(&engine, input(1, 4), login());
    let left = start(&engine, input(2, 4), login());
    for _ in 0..20 {
        time::sleep(Duration::from_millis(1)).await;
    }
    left.abort();
    assert!(!job.is_finished());
    drop(held);
    assert!(job.await.unwrap().is_ok());
    until(&engine, |load| load == (0, 0)).await;
}

/// With jobs in its lanes and in its queue.
#[tokio::test]
async fn an_engine_that_nobody_has_any_more_ends() {
    let engine = Engine::start(2, LONG, DEFAULT_SHARE).unwrap();
    let pool = Arc::downgrade(&engine.0.bcrypt);
    let whole = Arc::downgrade(&engine.0.whole);
    let jobs: Vec<_> = (0..30)
        .map(|number| start(&engine, input(number, 15), login()))
        .collect();
    until(&engine, |(lanes, waiting)| {
        lanes >= MAX_LANES && waiting > 0
    })
    .await;
    drop(engine);
    for job in &jobs {
        job.abort();
    }
    for job in jobs {
        let _ = job.await;
    }
    let ended = async {
        while pool.strong_count() + whole.strong_count() > 0 {
            time::sleep(Duration::from_millis(1)).await;
        }
    };
    time::timeout(IN_TIME, ended)
        .await
        .expect("its threads go on");
}

#[tokio::test]
async fn lanes_that_are_wrong_are_not_used() {
    let engine = Engine::start_with(1, LONG, DEFAULT_SHARE, None).unwrap();
    let digest = engine.bcrypt(input(1, 6), login()).await.unwrap();
    assert!(digest == reference(&input(1, 6)));
    // With the lanes' threads gone home there is still an answer.
    engine.0.bcrypt.close();
    assert!(engine.bcrypt(input(2, 4), login()).await.is_ok());
}

#[tokio::test]
async fn what_has_no_lanes_is_refused_and_left_too() {
    let engine = Engine::start(1, LONG, DEFAULT_SHARE).unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let first = {
        let engine = engine.clone();
        task::spawn(async move { engine.whole(move || held.recv().is_err(), login()).await })
    };
    while engine.0.whole.load() != (1, 0) {
        task::yield_now().await;
    }
    let impatient = demand(Purpose::Login, WHOLE_GUESS / 2);
    let refused = engine.whole(|| (), impatient).await;
    assert!(matches!(refused, Err(EngineError::Overloaded { .. })));

    let has_run = Arc::new(AtomicBool::new(false));
    let left = {
        let (engine, has_run) = (engine.clone(), Arc::clone(&has_run));
        task::spawn(async move {
            engine
                .whole(move || has_run.store(true, Ordering::SeqCst), login())
                .await
        })
    };
    while engine.0.whole.load() != (1, 1) {
        task::yield_now().await;
    }
    left.abort();
    let _ = left.await;
    assert_eq!(engine.0.whole.load(), (1, 0));
    drop(release);
    assert!(first.await.unwrap().unwrap());
    engine.whole(|| (), login()).await.unwrap();
    assert!(!has_run.load(Ordering::SeqCst));
}
