//! How many lines of one kind are written in a second: a library that tells of each frame
//! of a hostile peer is not to fill a disk.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tracing::{Event, Level, Metadata, callsite::Identifier, level_filters::LevelFilter};
use tracing_subscriber::{
    layer::{Context, Filter},
    registry::LookupSpan,
};

use crate::config::{EXPENDABLE_LINE, REQUEST_LINE};

const LINES: u32 = 50;
const PERIOD: Duration = Duration::from_secs(1);

/// A number of lines per second for each place in the code that writes any. What is beyond
/// it is counted, and said in one line a second. Clones share the count.
///
/// Left alone are the lines on requests, which have quotas of their own, lines of this
/// service about what it has done, and those of debug and trace, which somebody asked for.
#[derive(Clone, Default)]
pub(super) struct LineQuota(Arc<Mutex<Counts>>);

/// There are as many as there are places in the code.
type Counts = HashMap<Identifier, Count>;

struct Count {
    start: Instant,
    lines: u32,
    unwritten: u64,
    /// Where in the code it is.
    source: &'static str,
}

impl LineQuota {
    /// Whether a line is to be written.
    fn take(&self, metadata: &'static Metadata<'static>) -> bool {
        let mut counts = self.lock();
        let count = counts.entry(metadata.callsite()).or_insert_with(|| Count {
            start: Instant::now(),
            lines: 0,
            unwritten: 0,
            source: metadata.target(),
        });
        if count.start.elapsed() >= PERIOD {
            (count.start, count.lines) = (Instant::now(), 0);
        }
        if count.lines < LINES {
            count.lines += 1;
            return true;
        }
        count.unwritten += 1;
        let is_first = count.unwritten == 1;
        drop(counts);
        if is_first {
            let quota = self.clone();
            // Not here: no line can be written while one is judged.
            let teller = thread::Builder::new().name("log-quota".to_owned());
            let _ = teller.spawn(move || {
                thread::sleep(PERIOD);
                quota.tell();
            });
        }
        false
    }

    /// Says how many lines were not written.
    pub(super) fn tell(&self) {
        let mut unwritten = Vec::new();
        for count in self.lock().values_mut() {
            if count.unwritten > 0 {
                unwritten.push((count.source, std::mem::take(&mut count.unwritten)));
            }
        }
        for (source, lines) in unwritten {
            tracing::warn!(lines, source, "lines of one kind, too many in a second");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Filter<S> for LineQuota
where
    S: for<'a> LookupSpan<'a>,
{
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        !is_limited(metadata) || self.take(metadata)
    }

    /// More than the filter of the settings has, whose hint then counts.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }
}

fn is_limited(metadata: &Metadata<'_>) -> bool {
    let on_request = [REQUEST_LINE, EXPENDABLE_LINE].contains(&metadata.name());
    if on_request || *metadata.level() > Level::INFO {
        return false;
    }
    let target = metadata.target();
    let is_own = target == "bienvenue" || target.starts_with("bienvenue::");
    !is_own || *metadata.level() < Level::INFO
}
