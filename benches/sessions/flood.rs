//! Calls of which so many are always in flight.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::{connection::Connection, ids::Dice, question::Question};

/// How much is asked at once.
#[derive(Clone, Copy)]
pub struct Width {
    /// Each with a thread of its own.
    pub connections: u64,
    /// Calls in flight on each.
    pub calls: usize,
}

/// Runs until it is stopped.
pub struct Flood {
    threads: Vec<JoinHandle<io::Result<()>>>,
    is_over: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
}

impl Flood {
    pub fn start(address: SocketAddr, question: &Question, width: Width) -> Self {
        let mut flood = Self {
            threads: Vec::new(),
            is_over: Arc::default(),
            answers: Arc::default(),
        };
        for number in 0..width.connections {
            let question = question.clone();
            let (is_over, answers) = (Arc::clone(&flood.is_over), Arc::clone(&flood.answers));
            flood.threads.push(thread::spawn(move || {
                let dice = Dice::new(number + u64::from(address.port()) * 100);
                ask(address, &question, width.calls, dice, &is_over, &answers)
            }));
        }
        flood
    }

    /// How many calls were answered so far, as they should be.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Lets what is in flight end; returns how many calls there were. Or says what
    /// went wrong.
    pub fn stop(self) -> Result<u64, String> {
        self.is_over.store(true, Ordering::Relaxed);
        let threads = self.threads.into_iter();
        // All of them end before the first error is told.
        let ended: Vec<_> = threads.map(JoinHandle::join).collect();
        ended.into_iter().try_for_each(|ended| {
            let ended = ended.map_err(|_| "the generator of the load panicked".to_owned())?;
            ended.map_err(|error| error.to_string())
        })?;
        Ok(self.answers.load(Ordering::Relaxed))
    }
}

/// One connection.
fn ask(
    address: SocketAddr,
    question: &Question,
    calls: usize,
    mut dice: Dice,
    is_over: &AtomicBool,
    answers: &AtomicU64,
) -> io::Result<()> {
    let mut connection = Connection::open(address, question.path())?;
    let (mut message, mut in_flight, mut all) = (Vec::new(), 0, 0);
    question.write(&mut message, &mut dice);
    loop {
        while in_flight < calls && !is_over.load(Ordering::Relaxed) && connection.ask(&message) {
            in_flight += 1;
            question.write(&mut message, &mut dice);
        }
        if in_flight == 0 {
            break;
        }
        connection.send()?;
        let (mut ended, mut wrong) = (0, None);
        connection.receive(|status| {
            ended += 1;
            if status != question.status() {
                wrong = Some(status);
            }
        })?;
        if let Some(status) = wrong {
            let path = question.path();
            return Err(io::Error::other(format!(
                "{path} ended with grpc-status {status}"
            )));
        }
        in_flight -= ended;
        all += ended as u64;
        answers.fetch_add(ended as u64, Ordering::Relaxed);
    }
    if connection.message_bytes < all * question.least_bytes() {
        return Err(io::Error::other("answers too short to be whole"));
    }
    Ok(())
}
