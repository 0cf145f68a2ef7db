//! A load with a constant number of calls in flight.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::{connection::Connection, ids::Random, workload::Workload};

/// The concurrency of a load.
#[derive(Clone, Copy)]
pub struct Width {
    /// Connections, each with its own thread.
    pub connections: u64,
    /// Calls in flight on each.
    pub calls: usize,
}

/// A running load.
pub struct Flood {
    threads: Vec<JoinHandle<io::Result<()>>>,
    is_over: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
}

impl Flood {
    pub fn start(address: SocketAddr, workload: &Workload, width: Width) -> Self {
        let mut flood = Self {
            threads: Vec::new(),
            is_over: Arc::default(),
            answers: Arc::default(),
        };
        for number in 0..width.connections {
            let workload = workload.clone();
            let (is_over, answers) = (Arc::clone(&flood.is_over), Arc::clone(&flood.answers));
            flood.threads.push(thread::spawn(move || {
                let random = Random::new(number + u64::from(address.port()) * 100);
                ask(address, &workload, width.calls, random, &is_over, &answers)
            }));
        }
        flood
    }

    /// The number of calls with the expected status so far.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Waits for the calls in flight; returns the number of calls, or the first error.
    pub fn stop(self) -> Result<u64, String> {
        self.is_over.store(true, Ordering::Relaxed);
        let threads = self.threads.into_iter();
        // All threads end before the first error is returned.
        let ended: Vec<_> = threads.map(JoinHandle::join).collect();
        ended.into_iter().try_for_each(|ended| {
            let ended = ended.map_err(|_| "the generator of the load panicked".to_owned())?;
            ended.map_err(|error| error.to_string())
        })?;
        Ok(self.answers.load(Ordering::Relaxed))
    }
}

/// Runs the load of one connection.
fn ask(
    address: SocketAddr,
    workload: &Workload,
    calls: usize,
    mut random: Random,
    is_over: &AtomicBool,
    answers: &AtomicU64,
) -> io::Result<()> {
    let mut connection = Connection::open(address, workload.path())?;
    let (mut message, mut in_flight, mut all) = (Vec::new(), 0, 0);
    workload.write(&mut message, &mut random);
    loop {
        while in_flight < calls && !is_over.load(Ordering::Relaxed) && connection.ask(&message) {
            in_flight += 1;
            workload.write(&mut message, &mut random);
        }
        if in_flight == 0 {
            break;
        }
        connection.send()?;
        let (mut ended, mut wrong) = (0, None);
        connection.receive(|status| {
            ended += 1;
            if status != workload.status() {
                wrong = Some(status);
            }
        })?;
        if let Some(status) = wrong {
            let path = workload.path();
            return Err(io::Error::other(format!(
                "{path} ended with grpc-status {status}"
            )));
        }
        in_flight -= ended;
        all += ended as u64;
        answers.fetch_add(ended as u64, Ordering::Relaxed);
    }
    if connection.message_bytes < all * workload.least_bytes() {
        return Err(io::Error::other("replies too short to be complete"));
    }
    Ok(())
}
