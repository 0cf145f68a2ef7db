//! The measured engine, with one thread and one input for each caller.

use std::time::{Duration, Instant};

use bcrypt_lanes::{Digest, Engine, EngineConfig, Input, JobOptions};

/// Longer than any wait during the benchmark.
const PATIENCE: Duration = Duration::from_secs(600);

pub struct Subject {
    engine: Engine<()>,
    cost: u32,
    /// The inputs of all callers with their digests. They differ, so that no caller profits
    /// from another one's hash.
    inputs: Vec<(Input, Digest)>,
}

impl Subject {
    pub fn new(cost: u32, callers: u32) -> Self {
        let engine = Engine::start(EngineConfig {
            threads: 1,
            max_wait: PATIENCE,
            ..EngineConfig::default()
        });
        let inputs = (0..callers).map(|number| {
            let key = format!("correct horse {number}");
            let input = Input::new(key.as_bytes(), cost, [number as u8; 16]);
            let digest = input.reference_digest();
            (input, digest)
        });
        Self {
            engine: engine.expect("an engine"),
            cost,
            inputs: inputs.collect(),
        }
    }

    pub fn caller(&self, number: u32) -> Caller {
        let (input, digest) = &self.inputs[number as usize];
        Caller {
            engine: self.engine.clone(),
            cost: self.cost,
            input: input.clone(),
            digest: digest.clone(),
        }
    }
}

/// A caller that requests the same hash again and again.
pub struct Caller {
    engine: Engine<()>,
    cost: u32,
    input: Input,
    digest: Digest,
}

impl Caller {
    /// Requests one hash and compares it.
    pub async fn hash(&self) {
        let options = JobOptions::new((), Instant::now() + PATIENCE);
        let admission = self.engine.check_admission(self.cost, options);
        admission.expect("room for one more");
        let digest = self.engine.bcrypt(self.input.clone(), options).await;
        assert!(digest.expect("a digest") == self.digest);
    }
}
