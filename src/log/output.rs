//! The threads that write lines to standard error.

use std::{
    io::{self, Write},
    sync::{Arc, OnceLock},
};

use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::MakeWriter;

use crate::request_line::EXPENDABLE_LINE;

/// The most lines that wait for a slow reader.
const LASTING: usize = 128_000;

/// The most expendable lines that wait for a slow reader.
const EXPENDABLE: usize = 16_000;

/// Two queues of lines, so that lines that any client can cause displace no lines about changes.
pub(super) struct Output {
    lasting: NonBlocking,
    expendable: NonBlocking,
}

/// Writes the queued lines when it is dropped.
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

fn queue(name: &str, max_lines: usize) -> (NonBlocking, WorkerGuard) {
    let dropped = Arc::new(OnceLock::new());
    let lines = Lines {
        dropped_by_queue: Arc::clone(&dropped),
        failed: 0,
        reported: 0,
        is_written: false,
    };
    let (queue, guard) = NonBlockingBuilder::default()
        .thread_name(name)
        .buffered_lines_limit(max_lines)
        .finish(lines);
    let _ = dropped.set(queue.error_counter());
    (queue, guard)
}

/// The writer for the thread of a queue.
struct Lines {
    /// Set when the queue has been created.
    dropped_by_queue: Arc<OnceLock<ErrorCounter>>,
    /// The number of lines that could not be written, for example to a full disk.
    failed: usize,
    /// The number of lost lines reported so far.
    reported: usize,
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

    /// The thread flushes when its queue is empty: the reader has caught up, and the number of
    /// lost lines can be logged.
    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()?;
        let dropped = self.dropped_by_queue.get();
        let dropped = dropped.map_or(0, ErrorCounter::dropped_lines);
        let lost = dropped.saturating_add(self.failed) - self.reported;
        // While no line can be written, this one would be lost as well, again and again.
        if lost > 0 && self.is_written {
            self.reported += lost;
            tracing::warn!(
                lost,
                "lines of the log were lost: they could not be written as fast as they came"
            );
        }
        Ok(())
    }
}
