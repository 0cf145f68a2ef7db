//! The threads of the engine: their cores, priorities, panics and ends.

use std::sync::atomic::AtomicU64;

use super::*;

/// A thread's cheap lanes are filled before another thread is woken. Then the threads share
/// evenly.
#[tokio::test]
async fn lanes_are_filled_then_spread() {
    let _all_cores = ALL_CORES.lock().await;
    let engine = new_engine(3, LONG);
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
        jobs.push(start(&engine, input(number as u8, 15), class_b()));
        until(&engine, |load| load == (number + 1, 0)).await;
        let mut threads = engine.0.bcrypt.load_by_thread();
        threads.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(threads, expected);
        // A thread woken without need would take the next job.
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
async fn a_panic_does_not_affect_other_jobs() {
    let engine = new_engine(1, LONG);
    let others: Vec<_> = (0..4)
        .map(|number| start(&engine, input(number, 11), class_b()))
        .collect();
    until(&engine, |load| load == (4, 0)).await;
    let mut impossible = input(9, 4);
    impossible.make_panic();
    let panicked = start(&engine, impossible, class_b()).await.unwrap();
    assert!(matches!(panicked, Err(EngineError::Panicked)));
    let panicked = engine.run(|| panic!("on purpose"), class_b()).await;
    assert!(matches!(panicked, Err::<(), _>(EngineError::Panicked)));
    for (number, other) in (0..).zip(others) {
        assert!(other.await.unwrap().unwrap() == input(number, 11).reference_digest());
    }
    assert!(engine.bcrypt(input(1, 4), class_b()).await.is_ok());
    assert_eq!(engine.run(|| 7, class_b()).await.ok(), Some(7));
}

/// One busy thread of the default priority for each core.
#[tokio::test]
async fn a_busy_machine_does_not_starve_hashing() {
    let _all_cores = ALL_CORES.lock().await;
    let engine = new_engine(1, LONG);
    let is_over = Arc::new(AtomicBool::new(false));
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    let busy: Vec<_> = (0..cores)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || while !is_over.load(Ordering::Relaxed) {})
        })
        .collect();
    // Under SCHED_IDLE alone, less than a hundredth of a core is left: a minute.
    let hashed = engine.bcrypt(input(1, 12), class_b());
    let in_time = time::timeout(IN_TIME, hashed).await;
    is_over.store(true, Ordering::Relaxed);
    for thread in busy {
        thread.join().unwrap();
    }
    assert!(
        in_time.is_ok_and(|digest| digest.is_ok()),
        "the hash was starved"
    );
}

/// Hashes per second with every lane in use, after a second in which the engine measures
/// the load of the machine.
async fn rate(engine: &Engine<()>, threads: usize) -> f64 {
    const WINDOW: Duration = Duration::from_secs(2);
    let hashed = Arc::new(AtomicU64::new(0));
    let mut callers = task::JoinSet::new();
    for number in 0..2 * threads * MAX_LANES {
        let (engine, hashed) = (engine.clone(), Arc::clone(&hashed));
        callers.spawn(async move {
            loop {
                engine
                    .bcrypt(input(number as u8, 7), class_b())
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

/// Half of the CPU time against busy threads of the default priority.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashing_keeps_its_share_on_a_busy_machine() {
    let _all_cores = ALL_CORES.lock().await;
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    let engine = new_engine(cores, LONG);
    let mut shares = Vec::new();
    // The other load of the machine may differ between the two measurements.
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
        // For a thread of low priority, it would be an eighth.
        if shares.last().is_some_and(|share| *share > 0.3) {
            return;
        }
    }
    panic!("the rates under load, relative to the usual rate: {shares:?}");
}

#[tokio::test]
async fn a_caller_does_not_block_its_thread_on_the_lock() {
    let engine = new_engine(1, LONG);
    let lock = engine.0.bcrypt.hold_lock();
    assert!(engine.check_admission(4, class_b()).is_ok());
    let job = start(&engine, input(1, 4), class_b());
    let cancelled = start(&engine, input(2, 4), class_b());
    for _ in 0..20 {
        time::sleep(Duration::from_millis(1)).await;
    }
    cancelled.abort();
    assert!(!job.is_finished());
    drop(lock);
    assert!(job.await.unwrap().is_ok());
    until(&engine, |load| load == (0, 0)).await;
}

/// With jobs in the lanes and in the queue.
#[tokio::test]
async fn a_dropped_engine_ends_its_threads() {
    let engine = new_engine(2, LONG);
    let pool = Arc::downgrade(&engine.0.bcrypt);
    let oneshot = Arc::downgrade(&engine.0.oneshot);
    let jobs: Vec<_> = (0..30)
        .map(|number| start(&engine, input(number, 15), class_b()))
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
        while pool.strong_count() + oneshot.strong_count() > 0 {
            time::sleep(Duration::from_millis(1)).await;
        }
    };
    time::timeout(IN_TIME, ended)
        .await
        .expect("its threads are still running");
}

#[tokio::test]
async fn lanes_that_fail_the_proof_are_not_used() {
    let engine = Engine::start_with(config(1, LONG), None).unwrap();
    let digest = engine.bcrypt(input(1, 6), class_b()).await.unwrap();
    assert!(digest == input(1, 6).reference_digest());
    // The threads of the lanes are not needed.
    engine.0.bcrypt.close();
    assert!(engine.bcrypt(input(2, 4), class_b()).await.is_ok());
}
