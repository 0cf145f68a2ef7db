//! A limit on the lines of one kind in a second, so that a library that logs each frame of a
//! hostile peer does not fill a disk.

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

use crate::request_line::{EXPENDABLE_LINE, REQUEST_LINE};

const LINES: u32 = 50;
const PERIOD: Duration = Duration::from_secs(1);

/// A number of lines per second for each place in the code. Further lines are counted, and their
/// number is logged once a second. Clones share the counts.
///
/// Not limited are the lines about requests, which have quotas of their own, lines of this service
/// at the level info, and lines of debug and trace, which the operator has enabled.
#[derive(Clone, Default)]
pub(super) struct CallsiteQuota(Arc<Mutex<Counts>>);

/// The counts by place in the code.
type Counts = HashMap<Identifier, Count>;

struct Count {
    start: Instant,
    lines: u32,
    dropped: u64,
    /// The module of the code.
    source: &'static str,
}

impl CallsiteQuota {
    /// Counts a line, and returns whether to write it.
    fn take(&self, metadata: &'static Metadata<'static>) -> bool {
        let mut counts = self.lock();
        let count = counts.entry(metadata.callsite()).or_insert_with(|| Count {
            start: Instant::now(),
            lines: 0,
            dropped: 0,
            source: metadata.target(),
        });
        if count.start.elapsed() >= PERIOD {
            (count.start, count.lines) = (Instant::now(), 0);
        }
        if count.lines < LINES {
            count.lines += 1;
            return true;
        }
        count.dropped += 1;
        let is_first = count.dropped == 1;
        drop(counts);
        if is_first {
            let quota = self.clone();
            // In another thread, since a filter cannot log.
            let reporter = thread::Builder::new().name("log-quota".to_owned());
            let _ = reporter.spawn(move || {
                thread::sleep(PERIOD);
                quota.report();
            });
        }
        false
    }

    /// Logs the numbers of dropped lines.
    pub(super) fn report(&self) {
        let mut dropped = Vec::new();
        for count in self.lock().values_mut() {
            if count.dropped > 0 {
                dropped.push((count.source, std::mem::take(&mut count.dropped)));
            }
        }
        for (source, lines) in dropped {
            tracing::warn!(
                lines,
                source,
                "lines were dropped: too many of one kind in a second"
            );
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Filter<S> for CallsiteQuota
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

    /// The maximum, so that the hint of the filter from the settings applies.
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
