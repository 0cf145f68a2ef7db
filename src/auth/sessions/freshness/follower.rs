//! The thread that follows the log.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{
    News, Shared,
    commands::{Stopped, Wish},
    lease::Moment,
};
use crate::{
    auth::sessions::cache::SessionIndex,
    backoff::Backoff,
    clock::Clock,
    db::{DbError, LogRead, LogReader},
    domain::{Revocation, RevocationEvent},
    error_chain::with_causes,
};

/// How often to look whether the database has told of anything: libpq's own wait
/// for that cannot be had through diesel. It is one look at a socket.
const LOOK: Duration = Duration::from_millis(1);

/// The shortest time between two questions what was opened, however many ask.
const LEAST_BETWEEN: Duration = Duration::from_millis(1);

/// The waits before a connection is tried again.
const FIRST_RETRY: Duration = Duration::from_millis(20);
const LAST_RETRY: Duration = Duration::from_secs(1);

pub(super) struct Follower {
    reader: LogReader,
    index: SessionIndex,
    clock: Clock,
    interval: Duration,
    shared: Arc<Shared>,
    /// Whether the log has been read before.
    has_begun: bool,
    next_reading: Instant,
    last_opened: Instant,
    backoff: Backoff,
}

impl Follower {
    pub(super) fn new(
        reader: LogReader,
        index: SessionIndex,
        clock: Clock,
        interval: Duration,
        shared: Arc<Shared>,
    ) -> Self {
        let now = Instant::now();
        Self {
            reader,
            index,
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
        while let Ok(wish) = self.next_wish() {
            match self.grant(wish) {
                Ok(()) => {
                    if self.backoff.has_failed() {
                        tracing::info!("the log of revocations is followed again");
                    }
                    self.backoff.reset();
                }
                Err(error) => self.give_up(&error),
            }
        }
    }

    fn next_wish(&self) -> Result<Wish, Stopped> {
        let until = if self.reader.has_others() && self.reader.is_connected() {
            self.next_reading.min(Instant::now() + LOOK)
        } else {
            self.next_reading
        };
        self.shared.requests.wait(until)
    }

    fn grant(&mut self, wish: Wish) -> Result<(), DbError> {
        if !self.reader.is_connected() {
            self.connect()?;
        }
        let is_due = self.next_reading <= Instant::now();
        if is_due || wish.opened.is_some() {
            self.find_out_what_is_opened()?;
        }
        if let Some(up_to) = wish.opened {
            self.shared.requests.answer(up_to, true);
        }
        if is_due || wish.log || self.reader.is_notified()? {
            self.read()?;
        }
        if is_due {
            self.next_reading = Instant::now() + self.interval;
            if let Some(revision) = self.shared.currency.at(self.clock.now()) {
                let _ = self.shared.news.send(News::Current(revision));
            }
        }
        Ok(())
    }

    /// The log is read before a wish is granted: after a reconnect, the first reading
    /// tells whether memory is of the same history as the database.
    fn connect(&mut self) -> Result<(), DbError> {
        self.reader.connect()?;
        self.read()?;
        self.next_reading = Instant::now();
        Ok(())
    }

    /// Forgets all that is in memory, and has it loaded again from a state of the
    /// database that includes the whole log up to here.
    fn restart(&mut self) {
        self.shared.currency.doubt();
        let generation = self.index.clear();
        let news = if std::mem::replace(&mut self.has_begun, true) {
            tracing::warn!(
                "the session index is loaded anew: the database was restarted, restored or changed \
                 by hand, so that nothing proves that its history is the same, or this node has \
                 lagged far behind"
            );
            News::Interrupted
        } else {
            News::Begun
        };
        let _ = self.shared.news.send(news);
        self.shared.loads.send_replace(Some(generation));
    }

    fn find_out_what_is_opened(&mut self) -> Result<(), DbError> {
        // Who asks without end is not to keep the database busy without end.
        let pause = LEAST_BETWEEN.saturating_sub(self.last_opened.elapsed());
        if !pause.is_zero() {
            thread::sleep(pause);
        }
        self.last_opened = Instant::now();
        let reading = self.index.begin_reading();
        match self.reader.opened()? {
            Some(opened) => self.index.note(reading, opened),
            None => self.read()?,
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), DbError> {
        let began = Moment {
            instant: Instant::now(),
            calendar: self.clock.now(),
        };
        loop {
            let revision = match self.reader.read()? {
                LogRead::Continued {
                    revocations,
                    revision,
                    has_more,
                } => {
                    for revocation in &revocations {
                        self.take_into_account(revocation);
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
            self.shared.currency.prove(began, revision);
            return Ok(());
        }
    }

    fn take_into_account(&self, revocation: &Revocation) {
        match revocation.event {
            RevocationEvent::SessionEnded { digest, .. } => self.index.end(digest),
            RevocationEvent::UserSessionsEnded | RevocationEvent::UserChanged => {
                self.index.release_user(revocation.user_id);
            }
        }
        let _ = self.shared.news.send(News::Revoked(*revocation));
    }

    fn give_up(&mut self, error: &DbError) {
        self.reader.disconnect();
        if !self.backoff.has_failed() {
            tracing::warn!(
                cause = with_causes(error),
                "the log of revocations cannot be followed for now: session checks ask the \
                 database"
            );
        }
        self.shared.requests.fail();
        self.shared.requests.rest(self.backoff.next_wait());
        self.shared.requests.fail();
    }
}
