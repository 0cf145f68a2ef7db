//! Where the log goes and what it looks like: structured lines on standard
//! error, times in UTC.
//!
//! A thread writes the lines, so that no request waits for whoever reads them. When that
//! reader is too slow, lines are lost rather than requests held up: first those that no
//! one will miss, and how many is said as soon as the reader has caught up.

mod line_quota;
mod output;

use std::{io, panic};

use tracing_subscriber::{
    Registry,
    filter::FilterExt as _,
    fmt,
    layer::{Layer as _, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

use self::{
    line_quota::LineQuota,
    output::{Flush, Output},
};
use crate::config::{LogFormat, LogSettings};

/// Writes what is still to be written when it is dropped.
pub struct LogGuard {
    quota: LineQuota,
    _flush: Flush,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.quota.tell();
    }
}

/// Starts logging for the whole process; what is written is flushed when the
/// returned guard is dropped. A second call changes nothing.
pub fn start(settings: &LogSettings) -> LogGuard {
    let (output, flush) = Output::new();
    let quota = LineQuota::default();
    let lines = fmt::layer().with_target(false).with_writer(output);
    let lines = match settings.log_format {
        LogFormat::Text => lines
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let filter = settings.log.clone().and(quota.clone());
    let started = Registry::default()
        .with(lines.with_filter(filter))
        .try_init();
    if started.is_ok() {
        // A panic is an event like any other, and one line like any other. Its
        // message stays out: it may quote what it choked on.
        panic::set_hook(Box::new(|panic| {
            let location = panic.location().map(ToString::to_string);
            tracing::error!(location, "a thread panicked");
        }));
    }
    LogGuard {
        quota,
        _flush: flush,
    }
}
