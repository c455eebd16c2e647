//! What somebody has asked to be filled, remembered across restarts until it is done.

use std::{fs, io, path::PathBuf};

use serde::{Deserialize, Serialize};
use statscache_plugin_sdk::Timestamp;

/// Ranges that are remembered.
const RANGES_MAX: usize = 100;

/// Spans of time, in a file of their own.
#[derive(Debug)]
pub struct Asked {
    path: PathBuf,
    ranges: Vec<Range>,
}

/// `[from, to)`, microseconds UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Range {
    from: i64,
    to: i64,
}

impl Asked {
    /// What is in the file; nothing if there is none, or if it does not read, which is told.
    pub fn open(path: PathBuf) -> Self {
        let ranges = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), "what was asked to be filled does not read, ask again: {error}");
                Vec::new()
            }),
            Err(_) => Vec::new(),
        };
        Self { path, ranges }
    }

    /// All of them.
    pub fn ranges(&self) -> Vec<(Timestamp, Timestamp)> {
        let time = Timestamp::from_micros;
        self.ranges.iter().map(|range| (time(range.from), time(range.to))).collect()
    }

    /// Remembers one more.
    pub fn add(&mut self, from: Timestamp, to: Timestamp) -> io::Result<()> {
        let range = Range { from: from.micros(), to: to.micros() };
        if self.ranges.contains(&range) {
            return Ok(());
        }
        if self.ranges.len() >= RANGES_MAX {
            return Err(io::Error::other(format!("{RANGES_MAX} are waiting; ask again when they are done")));
        }
        let mut ranges = self.ranges.clone();
        ranges.push(range);
        self.write(&ranges)?;
        self.ranges = ranges;
        Ok(())
    }

    /// These are done.
    pub fn done(&mut self, ranges: &[(Timestamp, Timestamp)]) {
        let is_done =
            |range: &Range| ranges.iter().any(|(from, to)| (from.micros(), to.micros()) == (range.from, range.to));
        let left: Vec<Range> = self.ranges.iter().filter(|range| !is_done(range)).copied().collect();
        // Where it cannot be written they are looked at again, and found done.
        if left.len() < self.ranges.len() && self.write(&left).is_ok() {
            self.ranges = left;
        }
    }

    /// The old file or the new one, whatever happens.
    fn write(&self, ranges: &[Range]) -> io::Result<()> {
        let new = self.path.with_extension("new");
        fs::write(&new, serde_json::to_vec(ranges)?)?;
        fs::File::open(&new)?.sync_all()?;
        fs::rename(&new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_is_remembered_until_it_is_done() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("asked.json");
        let time = Timestamp::from_secs;
        let mut asked = Asked::open(path.clone());
        asked.add(time(1), time(2)).expect("it is ours");
        asked.add(time(5), time(9)).expect("it is ours");
        asked.add(time(1), time(2)).expect("known");
        let mut asked = Asked::open(path.clone());
        assert_eq!(asked.ranges(), [(time(1), time(2)), (time(5), time(9))]);
        asked.done(&[(time(1), time(2)), (time(7), time(8))]);
        assert_eq!(Asked::open(path.clone()).ranges(), [(time(5), time(9))]);
        fs::write(&path, "{").expect("it is ours");
        assert!(Asked::open(path).ranges().is_empty());
    }
}
