//! The thread that follows the log of revocations.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{
    LogEvent, Shared,
    commands::{Command, Stopped},
    lease::ReadStart,
};
use crate::{
    auth::sessions::cache::SessionCache,
    backoff::Backoff,
    clock::Clock,
    db::{DbError, LogRead, LogReader},
    domain::{Revocation, RevocationEvent},
    error_chain::with_causes,
};

/// The interval at which the socket is checked for notifications. Diesel does not expose
/// libpq's own wait for them.
const LOOK: Duration = Duration::from_millis(1);

/// The shortest time between two queries for opened sessions, whatever the number of
/// requests.
const LEAST_BETWEEN: Duration = Duration::from_millis(1);

/// The delays before reconnecting.
const FIRST_RETRY: Duration = Duration::from_millis(20);
const LAST_RETRY: Duration = Duration::from_secs(1);

pub(super) struct Follower {
    reader: LogReader,
    cache: SessionCache,
    clock: Clock,
    interval: Duration,
    shared: Arc<Shared>,
    /// Whether the log was read before.
    has_begun: bool,
    next_reading: Instant,
    last_opened: Instant,
    backoff: Backoff,
}

impl Follower {
    pub(super) fn new(
        reader: LogReader,
        cache: SessionCache,
        clock: Clock,
        interval: Duration,
        shared: Arc<Shared>,
    ) -> Self {
        let now = Instant::now();
        Self {
            reader,
            cache,
            clock,
            interval,
            shared,
            has_begun: false,
            next_reading: now,
            last_opened: now,
            backoff: Backoff::new(FIRST_RETRY, LAST_RETRY),
        }
    }

    pub(super) fn spawn(self) -> io::Result<()> {
        let thread = thread::Builder::new().name("revocations".to_owned());
        thread.spawn(|| self.run()).map(drop)
    }

    fn run(mut self) {
        while let Ok(command) = self.next_command() {
            match self.execute(command) {
                Ok(()) => {
                    if self.backoff.has_failed() {
                        tracing::info!("the log of revocations is followed again");
                    }
                    self.backoff.reset();
                }
                Err(error) => self.back_off(&error),
            }
        }
    }

    fn next_command(&self) -> Result<Command, Stopped> {
        let until = if self.reader.has_others() && self.reader.is_connected() {
            self.next_reading.min(Instant::now() + LOOK)
        } else {
            self.next_reading
        };
        self.shared.commands.wait(until)
    }

    fn execute(&mut self, command: Command) -> Result<(), DbError> {
        if !self.reader.is_connected() {
            self.connect()?;
        }
        let is_due = self.next_reading <= Instant::now();
        if is_due || command.opened.is_some() {
            self.learn_opened_sessions()?;
        }
        if let Some(up_to) = command.opened {
            self.shared.commands.answer(up_to, true);
        }
        if is_due || command.log || self.reader.is_notified()? {
            self.read()?;
        }
        if is_due {
            self.next_reading = Instant::now() + self.interval;
            if let Some(revision) = self.shared.lease.valid_revision(self.clock.now()) {
                let _ = self.shared.events.send(LogEvent::Current(revision));
            }
        }
        Ok(())
    }

    /// Connects and reads the log before any command is executed: the first reading after a
    /// reconnect tells whether the cache and the database share their history.
    fn connect(&mut self) -> Result<(), DbError> {
        self.reader.connect()?;
        self.read()?;
        self.next_reading = Instant::now();
        Ok(())
    }

    /// Clears the cache and starts a new load, from a state of the database that includes
    /// the whole log up to here.
    fn restart(&mut self) {
        self.shared.lease.revoke();
        let generation = self.cache.clear();
        let event = if std::mem::replace(&mut self.has_begun, true) {
            tracing::warn!(
                "the session cache is loaded anew: the database was restarted, restored or changed \
                 by hand, and the log cannot be proven to be the same, or this node has lagged far \
                 behind"
            );
            LogEvent::Interrupted
        } else {
            LogEvent::Started
        };
        let _ = self.shared.events.send(event);
        self.shared.loads.send_replace(Some(generation));
    }

    fn learn_opened_sessions(&mut self) -> Result<(), DbError> {
        // Endless requests must not keep the database busy.
        let pause = LEAST_BETWEEN.saturating_sub(self.last_opened.elapsed());
        if !pause.is_zero() {
            thread::sleep(pause);
        }
        self.last_opened = Instant::now();
        let reading = self.cache.begin_reading();
        match self.reader.opened()? {
            Some(opened) => self.cache.insert_known(reading, opened),
            None => self.read()?,
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), DbError> {
        let began = ReadStart {
            instant: Instant::now(),
            wall: self.clock.now(),
        };
        loop {
            let revision = match self.reader.read()? {
                LogRead::Continued {
                    revocations,
                    revision,
                    has_more,
                } => {
                    for revocation in &revocations {
                        self.apply(revocation);
                    }
                    if has_more {
                        continue;
                    }
                    revision
                }
                LogRead::Restarted(head) => {
                    self.restart();
                    head
                }
            };
            self.shared.lease.renew(began, revision);
            return Ok(());
        }
    }

    fn apply(&self, revocation: &Revocation) {
        match revocation.event {
            RevocationEvent::SessionEnded { digest, .. } => self.cache.remove(digest),
            RevocationEvent::UserSessionsEnded | RevocationEvent::UserChanged => {
                self.cache.mark_user_stale(revocation.user_id);
            }
        }
        let _ = self.shared.events.send(LogEvent::Revoked(*revocation));
    }

    fn back_off(&mut self, error: &DbError) {
        self.reader.disconnect();
        if !self.backoff.has_failed() {
            tracing::warn!(
                cause = with_causes(error),
                "the log of revocations cannot be followed for now: session checks ask the \
                 database"
            );
        }
        self.shared.commands.fail();
        self.shared.commands.rest(self.backoff.next_wait());
        self.shared.commands.fail();
    }
}
