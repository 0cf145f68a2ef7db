//! The log: structured lines on standard error, with times in UTC.
//!
//! Threads write the lines, so that no request waits for the reader of the log. When the reader
//! is too slow, lines are dropped, the expendable ones first; their number is logged when the
//! reader has caught up.

mod callsite_quota;
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
    callsite_quota::CallsiteQuota,
    output::{Flush, Output},
};
use crate::config::{LogFormat, LogSettings};

/// Writes the remaining lines when it is dropped.
pub struct LogGuard {
    quota: CallsiteQuota,
    _flush: Flush,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.quota.report();
    }
}

/// Starts logging for the whole process, until the returned guard is dropped. A second call has
/// no effect.
pub fn start(settings: &LogSettings) -> LogGuard {
    let (output, flush) = Output::new();
    let quota = CallsiteQuota::default();
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
        // A panic is logged on one line like any other event. Its message stays out:
        // it may contain user data.
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
