//! Buckets of a range, neighbours with the same coverage told as one.

use statscache_plugin_sdk::{Resolution, Timestamp};

use super::{BucketCoverage, Coverage};

/// See [`Coverage::runs`].
#[derive(Clone, Debug)]
pub struct Runs<'a> {
    coverage: &'a Coverage,
    step: Resolution,
    /// Start of the next bucket.
    at: i64,
    /// End of the last bucket.
    end: i64,
    /// Number of the first change after `at`.
    next: usize,
}

impl<'a> Runs<'a> {
    pub(super) fn new(coverage: &'a Coverage, start: Timestamp, end: Timestamp, step: Resolution) -> Self {
        let at = start.floor(step).micros();
        let end = match start < end {
            true => end.plus_micros(-1).floor(step).plus_micros(step.micros()).micros(),
            false => at,
        };
        let next = coverage.changes.partition_point(|change| change.at <= at);
        Self { coverage, step, at, end, next }
    }

    /// Buckets from `at` up to the next change, or the one that it is in: how far, and their coverage.
    fn piece(&mut self) -> Option<(i64, BucketCoverage)> {
        if self.at >= self.end {
            return None;
        }
        let changes = &self.coverage.changes;
        while changes.get(self.next).is_some_and(|change| change.at <= self.at) {
            self.next += 1;
        }
        let change = changes.get(self.next).map_or(i64::MAX, |change| change.at);
        let bucket_end = self.at.saturating_add(self.step.micros()).min(self.end);
        if change < bucket_end {
            return Some((bucket_end, BucketCoverage::Partial));
        }
        let steady = Timestamp::from_micros(change).floor(self.step).micros().clamp(bucket_end, self.end);
        Some((steady, BucketCoverage::of_level(self.coverage.level_before(self.next))))
    }
}

impl Iterator for Runs<'_> {
    type Item = (Timestamp, Timestamp, BucketCoverage);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        let (end, coverage) = self.piece()?;
        self.at = end;
        while let Some((end, _)) = self.piece().filter(|(_, of_piece)| *of_piece == coverage) {
            self.at = end;
        }
        Some((Timestamp::from_micros(start), Timestamp::from_micros(self.at), coverage))
    }
}
