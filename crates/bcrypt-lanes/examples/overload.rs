//! Two addresses request hashes, one of them far too many: `cargo run --release -p
//! bcrypt-lanes --example overload`.
//!
//! Prints how many hashes of each address are computed and refused. The address with few
//! requests gets all of its hashes, whatever the other one does.

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use bcrypt_lanes::{Engine, EngineConfig, EngineError, Input, JobOptions};
use tokio::{task::JoinSet, time};

const COST: u32 = 8;

/// The time for which a caller waits.
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let engine = Engine::start(EngineConfig {
        max_wait: Duration::from_millis(500),
        ..EngineConfig::default()
    })?;
    let [flooding, other] = [1, 2].map(|last| IpAddr::from(Ipv4Addr::new(192, 0, 2, last)));

    let mut callers = JoinSet::new();
    for number in 0..500 {
        callers.spawn(hash(engine.clone(), flooding, number));
    }
    for number in 0..8 {
        callers.spawn(hash(engine.clone(), other, number));
        time::sleep(Duration::from_millis(20)).await;
    }

    let mut counts = [[0; 2]; 2];
    let mut longest_retry = Duration::ZERO;
    while let Some(result) = callers.join_next().await {
        let (address, result) = result?;
        let [computed, refused] = &mut counts[usize::from(address == other)];
        match result {
            Ok(()) => *computed += 1,
            Err(EngineError::Overloaded { retry_after }) => {
                *refused += 1;
                longest_retry = longest_retry.max(retry_after);
            }
            Err(error) => return Err(error.into()),
        }
    }
    for (address, [computed, refused]) in [flooding, other].into_iter().zip(counts) {
        println!("{address}: {computed} hashes computed, {refused} refused");
    }
    println!("the last refused caller may retry after {longest_retry:?}");
    Ok(())
}

async fn hash(
    engine: Engine<IpAddr>,
    address: IpAddr,
    number: u32,
) -> (IpAddr, Result<(), EngineError>) {
    let options = JobOptions::new(address, Instant::now() + PATIENCE);
    // A real caller uses a random salt for a new hash, and the stored one to verify.
    let mut salt = [7; 16];
    salt[..4].copy_from_slice(&number.to_be_bytes());
    let input = Input::new(b"correct horse", COST, salt);
    (address, engine.bcrypt(input, options).await.map(drop))
}

#[test]
fn the_example_runs() {
    main().expect("the hashes");
}
