//! The phases of a process from the first signal to its end. The steps of a shutdown are in
//! `Server::run`.

use std::{fs, io, process, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time,
};

/// The phase of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves.
    Serving,
    /// It serves, and its health check reports that it is about to stop, so that load balancers
    /// choose other nodes.
    Unready,
    /// It finishes the requests in progress and accepts no new ones.
    Stopping,
}

/// SIGTERM, SIGINT and SIGHUP, from the creation of this value on.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` if the process was started with the signal ignored, as by nohup.
    hang_up: Option<Signal>,
}

impl Signals {
    /// Starts to listen for the signals. Must be called within the runtime.
    ///
    /// # Errors
    ///
    /// When the operating system refuses.
    pub fn listen() -> io::Result<Self> {
        let hang_up = match is_ignored(SignalKind::hangup()) {
            true => None,
            false => Some(signal(SignalKind::hangup())?),
        };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up,
        })
    }

    /// Resolves at the next signal.
    pub async fn next(&mut self) {
        let Self {
            terminate,
            interrupt,
            hang_up,
        } = self;
        let hung_up = async {
            match hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hung_up => {}
        }
    }

    /// The phases that signals cause. The first signal makes the process unready for `delay`,
    /// which a second signal ends; the next one ends the process at once, with the exit code
    /// `exit_at_once`.
    pub fn phases(mut self, delay: Duration, exit_at_once: u8) -> watch::Receiver<Phase> {
        let (sender, phases) = watch::channel(Phase::Serving);
        tokio::spawn(async move {
            self.next().await;
            if !delay.is_zero() {
                tracing::info!(
                    "about to stop: not ready, and still serving for {}; a second signal ends \
                     this wait",
                    humantime::format_duration(delay)
                );
                let _ = sender.send(Phase::Unready);
                tokio::select! {
                    () = time::sleep(delay) => {}
                    () = self.next() => {}
                }
            }
            tracing::info!("stopping: no new requests; another signal stops at once");
            let _ = sender.send(Phase::Stopping);
            self.next().await;
            process::exit(exit_at_once.into());
        });
        phases
    }
}

/// Whether the process was started with a signal ignored; always false except on Linux.
fn is_ignored(signal: SignalKind) -> bool {
    let Ok(status) = fs::read_to_string("/proc/self/status") else {
        return false;
    };
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Signals are counted from 1 (proc_pid_status(5)).
    mask.is_some_and(|mask| mask >> (signal.as_raw_value() - 1) & 1 == 1)
}
