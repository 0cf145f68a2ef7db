//! Many concurrent callers, and the outcomes of their calls.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinHandle, time::sleep};
use tonic::{Code, Status};

use super::{eventually, refused, server::Client};

/// The callers on one connection, far below its limit.
const CALLERS_PER_CONNECTION: usize = 16;

/// The pause of a refused caller, regardless of its `retry-after`.
const IMPATIENCE: Duration = Duration::from_millis(250);

/// A call that needs a hash.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub began: Instant,
    pub ended: Instant,
    pub answer: Answer,
}

/// The outcome, as far as hashing is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The hash was computed.
    Served,
    /// There was no capacity; retry after this.
    Refused { retry_after: Duration },
}

impl Call {
    /// Makes a call. Any outcome except a computed hash, or a refusal for lack of capacity, fails
    /// the test.
    pub async fn make<T>(call: impl Future<Output = Result<T, Status>>) -> Self {
        let began = Instant::now();
        let answer = match call.await {
            Ok(_) => Answer::Served,
            Err(status) => answer(&status),
        };
        Self {
            began,
            ended: Instant::now(),
            answer,
        }
    }

    pub fn took(&self) -> Duration {
        self.ended - self.began
    }

    pub fn is_served(&self) -> bool {
        self.answer == Answer::Served
    }

    /// The time to wait before a retry, where it was refused.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.answer {
            Answer::Served => None,
            Answer::Refused { retry_after } => Some(retry_after),
        }
    }
}

fn answer(status: &Status) -> Answer {
    match status.code() {
        Code::Unauthenticated => {
            refused(status, Code::Unauthenticated, "INVALID_CREDENTIALS");
            Answer::Served
        }
        Code::AlreadyExists => {
            refused(status, Code::AlreadyExists, "EMAIL_TAKEN");
            Answer::Served
        }
        _ => {
            let details = refused(status, Code::ResourceExhausted, "OVERLOADED");
            let retry_after = details.retry_info().and_then(|retry| retry.retry_delay);
            Answer::Refused {
                retry_after: retry_after.expect("a retry delay"),
            }
        }
    }
}

/// Callers that repeat their calls until this is dropped.
pub struct Flood {
    callers: Vec<Caller>,
}

struct Caller {
    answers: Arc<Answers>,
    calling: JoinHandle<()>,
}

/// The numbers of one caller's outcomes.
#[derive(Default)]
struct Answers {
    served: AtomicUsize,
    refused: AtomicUsize,
}

impl Flood {
    pub async fn start<T, C>(
        address: SocketAddr,
        callers: usize,
        call: impl Fn(Client) -> C + Clone + Send + 'static,
    ) -> Self
    where
        C: Future<Output = Result<T, Status>> + Send,
    {
        let mut flood = Self {
            callers: Vec::new(),
        };
        while flood.callers.len() < callers {
            let client = Client::connect(address).await;
            for _ in 0..CALLERS_PER_CONNECTION {
                flood.join(client.clone(), call.clone());
            }
        }
        flood
    }

    fn join<T, C>(&mut self, client: Client, call: impl Fn(Client) -> C + Send + 'static)
    where
        C: Future<Output = Result<T, Status>> + Send,
    {
        let answers = Arc::<Answers>::default();
        let counted = Arc::clone(&answers);
        let calling = tokio::spawn(async move {
            loop {
                if Call::make(call(client.clone())).await.is_served() {
                    counted.served.fetch_add(1, Ordering::Relaxed);
                } else {
                    counted.refused.fetch_add(1, Ordering::Relaxed);
                    sleep(IMPATIENCE).await;
                }
            }
        });
        self.callers.push(Caller { answers, calling });
    }

    /// How often each caller was served. Without refusals, a caller with an unchanged figure is
    /// still waiting.
    pub fn served(&self) -> Vec<usize> {
        let served = self.callers.iter().map(|caller| &caller.answers.served);
        served
            .map(|served| served.load(Ordering::Relaxed))
            .collect()
    }

    /// The number of refused calls.
    pub fn refusals(&self) -> usize {
        let refused = self.callers.iter().map(|caller| &caller.answers.refused);
        refused.map(|refused| refused.load(Ordering::Relaxed)).sum()
    }

    /// Waits until a condition holds.
    pub async fn until(&self, enough: impl Fn(&Self) -> bool) {
        eventually("the condition of the flood", async || {
            let ended = self.callers.iter().any(|one| one.calling.is_finished());
            assert!(!ended, "a caller had an unexpected reply");
            enough(self)
        })
        .await;
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        for caller in &self.callers {
            caller.calling.abort();
        }
    }
}
