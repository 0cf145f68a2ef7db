//! Where the log goes and what it looks like: structured lines on standard
//! error, times in UTC.

use std::{io, panic};

use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_subscriber::{
    Registry, fmt,
    layer::{Layer as _, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

use crate::config::{LogFormat, LogSettings};

/// Starts logging for the whole process; what is written is flushed when the
/// returned guard is dropped. A second call changes nothing.
///
/// A thread of its own writes the lines. One that cannot keep up, since nobody
/// reads what it writes, loses lines rather than hold requests up.
pub fn start(settings: &LogSettings) -> WorkerGuard {
    let (writer, guard) = NonBlocking::new(io::stderr());
    let lines = fmt::layer().with_target(false).with_writer(writer);
    let lines = match settings.log_format {
        LogFormat::Text => lines
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let started = Registry::default()
        .with(lines.with_filter(settings.log.clone()))
        .try_init();
    if started.is_ok() {
        // A panic is an event like any other, and one line like any other. Its
        // message stays out: it may quote what it choked on.
        panic::set_hook(Box::new(|panic| {
            let location = panic.location().map(ToString::to_string);
            tracing::error!(location, "a thread panicked");
        }));
    }
    guard
}
