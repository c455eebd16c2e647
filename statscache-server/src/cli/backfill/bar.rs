//! How far a backfill is, in a line.

use statscache_plugin_sdk::Timestamp;

use crate::{
    history::progress::{BackfillRange, BackfillState},
    http::time,
};

/// Cells of the bar.
const WIDTH: usize = 30;

/// How far the ranges are that have a part in a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Progress {
    pub(super) ranges: usize,
    /// Of them, the finished.
    done: usize,
    /// Microseconds: filled, and in all.
    filled: i64,
    all: i64,
    /// Where the first unfinished one is.
    at: Option<String>,
    pub(super) messages: u64,
    pub(super) duplicates: u64,
    pub(super) error: Option<String>,
}

impl Progress {
    pub(super) fn of(ranges: &[BackfillRange], (from, to): (Timestamp, Timestamp)) -> Self {
        let mut progress = Self::default();
        // The texts are times of their own; the present is in none of them.
        let read = |text: &str| time::parse(text, from);
        for range in ranges {
            let times = (read(&range.from), read(&range.to), read(&range.done_until));
            let (Some(start), Some(end), Some(until)) = times else { continue };
            if start >= to || end <= from {
                continue;
            }
            progress.ranges += 1;
            progress.all += end.micros() - start.micros();
            progress.filled += until.micros().clamp(start.micros(), end.micros()) - start.micros();
            progress.messages += range.messages;
            progress.duplicates += range.duplicates;
            if range.is_done() {
                progress.done += 1;
            } else {
                progress.at.get_or_insert_with(|| range.done_until.clone());
                progress.error = progress.error.or_else(|| range.error.clone());
            }
        }
        progress
    }

    pub(super) fn is_done(&self) -> bool {
        self.ranges > 0 && self.done == self.ranges
    }

    /// Whole percent; 100 only when it is done.
    fn percent(&self) -> u64 {
        match self.is_done() {
            true => 100,
            false => ((self.filled as f64 / self.all.max(1) as f64 * 100.0) as u64).min(99),
        }
    }

    /// For a terminal.
    pub(super) fn bar(&self, state: BackfillState) -> String {
        let full = WIDTH * self.percent() as usize / 100;
        format!("[{}{}] {}", "#".repeat(full), "-".repeat(WIDTH - full), self.line(state))
    }

    /// For a log.
    pub(super) fn line(&self, state: BackfillState) -> String {
        let at = self.at.as_ref().map_or(String::new(), |at| format!(" at {at},"));
        let mut line = format!("{:>3} %,{at} {} messages, {} known", self.percent(), self.messages, self.duplicates);
        if let (BackfillState::Waiting, Some(error)) = (state, &self.error) {
            line.push_str(&format!("; waiting: {error}"));
        }
        line
    }
}
