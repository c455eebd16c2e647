//! What keeps the daemon from doing its work, for `/readyz` and the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use statscache_core::segment::SegmentKey;

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
    /// Name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::CatchUp => "catch_up",
            Self::Store => "store",
        }
    }
}

/// Present trouble. Shared by all threads.
#[derive(Debug, Default)]
pub struct Health {
    trouble: Mutex<BTreeMap<Part, String>>,
    /// Segments of the state that somebody could not read.
    doubts: Mutex<BTreeSet<SegmentKey>>,
}

impl Health {
    /// A part is in trouble, or in another than before. Logged when it is news.
    pub fn trouble(&self, part: Part, what: String) {
        let mut trouble = self.lock();
        if trouble.get(&part) != Some(&what) {
            tracing::error!(part = part.as_str(), "{what}; it is tried again every second");
            trouble.insert(part, what);
        }
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
        self.lock().iter().map(|(part, what)| (*part, what.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Part, String>> {
        // A map of texts is whole at any moment.
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
