//! The threads that write lines to standard error.

use std::{
    io::{self, Write},
    sync::{Arc, OnceLock},
};

use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

use crate::config::EXPENDABLE_LINE;

/// How many lines may wait for a slow reader.
const LASTING: usize = 128_000;

/// The same of lines that may be lost.
const EXPENDABLE: usize = 16_000;

/// Two queues of lines: what anybody can cause to be written displaces no line on what was
/// changed.
pub(super) struct Output {
    lasting: NonBlocking,
    expendable: NonBlocking,
}

/// Writes what is in the queues when it is dropped.
pub(super) struct Flush {
    _lasting: WorkerGuard,
    _expendable: WorkerGuard,
}

impl Output {
    /// Starts the threads.
    pub(super) fn new() -> (Self, Flush) {
        let (lasting, _lasting) = queue("log", LASTING);
        let (expendable, _expendable) = queue("log-expendable", EXPENDABLE);
        (
            Self {
                lasting,
                expendable,
            },
            Flush {
                _lasting,
                _expendable,
            },
        )
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = NonBlocking;

    fn make_writer(&'a self) -> NonBlocking {
        self.lasting.clone()
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> NonBlocking {
        let is_expendable = *metadata.level() > Level::INFO || metadata.name() == EXPENDABLE_LINE;
        if is_expendable {
            self.expendable.clone()
        } else {
            self.lasting.clone()
        }
    }
}

fn queue(name: &str, most: usize) -> (NonBlocking, WorkerGuard) {
    let lost = Arc::new(OnceLock::new());
    let lines = Lines {
        lost_in_queue: Arc::clone(&lost),
        failed: 0,
        said: 0,
        is_written: false,
    };
    let (queue, guard) = NonBlockingBuilder::default()
        .thread_name(name)
        .buffered_lines_limit(most)
        .finish(lines);
    let _ = lost.set(queue.error_counter());
    (queue, guard)
}

/// What the thread of a queue writes to.
struct Lines {
    /// Known as soon as the queue is there.
    lost_in_queue: Arc<OnceLock<ErrorCounter>>,
    /// How many lines could not be written: a disk may be full.
    failed: usize,
    /// How many lost lines have been told of.
    said: usize,
    /// Whether the last line was written.
    is_written: bool,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr().write(bytes)
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let written = io::stderr().write_all(line);
        self.is_written = written.is_ok();
        self.failed += usize::from(written.is_err());
        written
    }

    /// The thread flushes when its queue is empty: the reader has caught up, and there is
    /// room to say what was lost.
    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()?;
        let in_queue = self.lost_in_queue.get();
        let in_queue = in_queue.map_or(0, ErrorCounter::dropped_lines);
        let lost = in_queue.saturating_add(self.failed) - self.said;
        // Where nothing can be written, a line that says so would be lost in turn, for ever.
        if lost > 0 && self.is_written {
            self.said += lost;
            tracing::warn!(
                lost,
                "lines of the log were lost: they could not be written as fast as they came"
            );
        }
        Ok(())
    }
}
