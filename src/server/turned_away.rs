//! Connections that have no place, or lost it: counted, and said in one line of the log
//! at most every ten seconds, however many there are.

use std::{future, time::Duration};

use tokio::time::{self, Instant};

use super::places::NoPlace;

/// How often to say so.
const EVERY: Duration = Duration::from_secs(10);

/// What has not been said yet.
#[derive(Default)]
pub(super) struct TurnedAway {
    counts: Counts,
    said: Option<Instant>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    per_peer: u64,
    per_wide_network: u64,
    refused: u64,
    ended_idle: u64,
}

impl TurnedAway {
    /// Counts a connection that was refused.
    pub(super) fn refused(&mut self, why: NoPlace) {
        match why {
            NoPlace::Network => self.counts.per_peer += 1,
            NoPlace::WideNetwork => self.counts.per_wide_network += 1,
            NoPlace::All => self.counts.refused += 1,
        }
        self.say_if_due();
    }

    /// Counts an idle connection that was ended for a new one.
    pub(super) fn ended_idle(&mut self) {
        self.counts.ended_idle += 1;
        self.say_if_due();
    }

    /// Waits until there is something to say, and it may be said.
    pub(super) async fn due(&self) {
        match self.said {
            Some(said) if self.counts != Counts::default() => time::sleep_until(said + EVERY).await,
            _ => future::pending().await,
        }
    }

    fn say_if_due(&mut self) {
        if self.said.is_none_or(|said| said.elapsed() >= EVERY) {
            self.say();
        }
    }

    /// Writes the line.
    pub(super) fn say(&mut self) {
        let counts = std::mem::take(&mut self.counts);
        if counts == Counts::default() {
            return;
        }
        self.said = Some(Instant::now());
        tracing::warn!(
            refused_per_peer = counts.per_peer,
            refused_per_wide_network = counts.per_wide_network,
            refused = counts.refused,
            ended_idle = counts.ended_idle,
            "connections were refused, or ended while idle to make room: where their callers \
             mean well, raise {}",
            counts.settings()
        );
    }
}

impl Drop for TurnedAway {
    fn drop(&mut self) {
        self.say();
    }
}

impl Counts {
    /// Those that would have to be raised.
    fn settings(self) -> String {
        let settings = [
            (self.per_peer, "--max-connections-per-peer"),
            (self.per_wide_network, "--max-connections-per-wide-network"),
            (self.refused + self.ended_idle, "--max-connections"),
        ];
        let met = settings.iter().filter(|(count, _)| *count > 0);
        let names: Vec<&str> = met.map(|(_, name)| *name).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_the_settings_that_were_met() {
        let counts = Counts {
            per_peer: 1,
            ended_idle: 2,
            ..Counts::default()
        };
        let settings = counts.settings();
        assert_eq!(settings, "--max-connections-per-peer, --max-connections");
    }
}
