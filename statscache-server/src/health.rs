//! What keeps the daemon from doing its work, for `/readyz`, the service manager and the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use statscache_core::segment::SegmentKey;

/// How long nothing may be published before that is a standstill, at the usual commit interval.
const STANDSTILL: Duration = Duration::from_secs(10);

/// Without a new view for longer than that, something stands still: a plugin that does not return, a disk that does not
/// answer.
pub fn standstill_after(commit_interval: Duration) -> Duration {
    STANDSTILL.max(5 * commit_interval)
}

/// Parts that can be in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Messages cannot be accepted.
    Journal,
    /// Instances that lag cannot read what was accepted.
    CatchUp,
    /// Commits cannot be written.
    Store,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Journal, Self::CatchUp, Self::Store];

    /// Name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::CatchUp => "catch_up",
            Self::Store => "store",
        }
    }
}

/// What is wrong with a part.
#[derive(Debug)]
struct Trouble {
    what: String,
    /// When it was found so last.
    tried: Instant,
}

/// Present trouble. Shared by all threads.
#[derive(Debug, Default)]
pub struct Health {
    trouble: Mutex<BTreeMap<Part, Trouble>>,
    /// Segments of the state that somebody could not read.
    doubts: Mutex<BTreeSet<SegmentKey>>,
}

impl Health {
    /// A part is in trouble, or in another than before. Logged when it is news.
    pub fn trouble(&self, part: Part, what: String) {
        let mut trouble = self.lock();
        if trouble.get(&part).is_none_or(|known| known.what != what) {
            tracing::error!(part = part.as_str(), "{what}; it is tried again every second");
        }
        trouble.insert(part, Trouble { what, tried: Instant::now() });
    }

    /// When a part in trouble was last tried.
    pub fn tried(&self, part: Part) -> Option<Instant> {
        self.lock().get(&part).map(|trouble| trouble.tried)
    }

    /// A part does its work again.
    pub fn well(&self, part: Part) {
        if self.lock().remove(&part).is_some() {
            tracing::info!(part = part.as_str(), "works again");
        }
    }

    /// A segment of the state could not be read; whoever writes the state looks at it.
    pub fn doubt(&self, segment: SegmentKey) {
        self.doubts.lock().unwrap_or_else(PoisonError::into_inner).insert(segment);
    }

    /// Takes what was doubted.
    pub fn take_doubts(&self) -> BTreeSet<SegmentKey> {
        std::mem::take(&mut *self.doubts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All present trouble.
    pub fn all(&self) -> Vec<(Part, String)> {
        self.lock().iter().map(|(part, trouble)| (*part, trouble.what.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Part, Trouble>> {
        // The map is whole at any moment.
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error with its causes, in a line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
