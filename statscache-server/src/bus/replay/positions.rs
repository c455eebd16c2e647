//! Where each numbering stands, in a small file, so that what was published while the daemon was down is a gap like any
//! other.
//!
//! It is JSON, replaced as a whole. What is in it was so [`LAG`] before it was written: what had been received, but was
//! not accepted or not durable when a crash came, is asked for again, and dropped where it is not new. To lose the file
//! is to miss nothing but the gap of that downtime.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::numbering::Position;
use super::watcher::ReplayStatus;

/// How often the file is written, and how old what it says is by then.
const LAG: Duration = Duration::from_secs(5);
/// The file's version.
const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct File {
    version: u32,
    endpoints: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    seq_id: i64,
    at_us: i64,
    /// Nothing behind it has come.
    exact: bool,
}

/// The file, and whose positions it keeps.
#[derive(Debug)]
pub struct ReplayPositions {
    path: PathBuf,
    read: BTreeMap<String, Entry>,
    watched: Mutex<Vec<(String, Arc<ReplayStatus>)>>,
    written: Mutex<Written>,
}

/// What the file holds.
#[derive(Debug, Default)]
enum Written {
    #[default]
    Unknown,
    File(File),
    /// The last, and nothing comes after it.
    Closed,
}

impl ReplayPositions {
    /// Reads the file, which need not be there. A position that is not exact, and older than what duplicates are known
    /// by at `now_us`, is of no use: behind it may be what was counted before and is no longer known.
    pub fn open(path: &Path, now_us: i64, dedupe_window: Duration) -> Self {
        let window = i64::try_from(dedupe_window.as_micros()).unwrap_or(i64::MAX);
        let mut read = match read(path) {
            Ok(file) => file.endpoints,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, "cannot read where numberings stood; what was missed since is not asked for: {error}");
                BTreeMap::new()
            }
        };
        read.retain(|_, entry| entry.exact || now_us.saturating_sub(entry.at_us) < window);
        Self { path: path.to_owned(), read, watched: Mutex::default(), written: Mutex::default() }
    }

    /// Where the numbering of an endpoint stood.
    pub(super) fn position(&self, endpoint: &str) -> Option<Position> {
        self.read.get(endpoint).map(|entry| Position { seq_id: entry.seq_id, at_us: entry.at_us })
    }

    /// Keeps the position of an endpoint from now on.
    pub(super) fn watch(&self, endpoint: &str, status: Arc<ReplayStatus>) {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).push((endpoint.to_owned(), status));
    }

    /// Writes now and then, for ever; at once done when there is nothing to keep.
    pub async fn keep(self: Arc<Self>) {
        let mut lagging = self.now();
        while !self.is_empty() {
            sleep(LAG).await;
            let then = self.turn(&mut lagging);
            let positions = Arc::clone(&self);
            let written = tokio::task::spawn_blocking(move || positions.write(then)).await;
            if let Ok(Err(error)) = written {
                tracing::debug!(path = %self.path.display(), "positions not written: {error}");
            }
        }
    }

    /// What was so at the last turn, to be written now.
    fn turn(&self, lagging: &mut File) -> File {
        let mut then = std::mem::replace(lagging, self.now());
        // More may have come behind it when a crash comes.
        then.endpoints.values_mut().for_each(|entry| entry.exact = false);
        then
    }

    /// Writes what is so now, for the last time: everything that came is accepted and durable, and nothing more will
    /// come.
    pub fn close(&self) {
        if self.is_empty() {
            return;
        }
        let mut written = self.lock_written();
        if let Err(error) = self.replace(&mut written, self.now()) {
            tracing::warn!(path = %self.path.display(), "cannot write where numberings stand: {error}");
        }
        *written = Written::Closed;
    }

    fn write(&self, file: File) -> io::Result<()> {
        self.replace(&mut self.lock_written(), file)
    }

    /// Replaces the file, if anything has changed: after a power cut it is the old one or the new one.
    fn replace(&self, written: &mut Written, file: File) -> io::Result<()> {
        match written {
            Written::Closed => return Ok(()),
            Written::File(last) if *last == file => return Ok(()),
            _ => {}
        }
        let beside = self.path.with_extension("tmp");
        let mut out = std::fs::File::create(&beside)?;
        out.write_all(&serde_json::to_vec(&file)?)?;
        out.sync_data()?;
        std::fs::rename(&beside, &self.path)?;
        *written = Written::File(file);
        Ok(())
    }

    fn lock_written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_empty(&self) -> bool {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// What is known by now; of endpoints that have sent nothing yet, what was read.
    fn now(&self) -> File {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoints = watched.iter().filter_map(|(endpoint, status)| {
            let (Position { seq_id, at_us }, is_all) = status.position()?;
            // As long as nothing came, it is as exact as it was.
            let read =
                self.read.get(endpoint).is_none_or(|read| read.exact || (read.seq_id, read.at_us) != (seq_id, at_us));
            Some((endpoint.clone(), Entry { seq_id, at_us, exact: is_all && read }))
        });
        File { version: VERSION, endpoints: endpoints.collect() }
    }
}

fn read(path: &Path) -> io::Result<File> {
    let file: File = serde_json::from_slice(&std::fs::read(path)?)?;
    if file.version != VERSION {
        return Err(io::Error::other(format!("its version is {}, not {VERSION}", file.version)));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::queue::Tap;
    use crate::bus::{Batch, Endpoint, EndpointStatus};

    const HOUR: Duration = Duration::from_secs(3600);
    const HOUR_US: i64 = 3_600_000_000;

    fn watch(positions: &ReplayPositions) -> Arc<ReplayStatus> {
        let endpoint: Endpoint = "tcp://127.0.0.1:1".parse().expect("valid");
        let status = Arc::new(ReplayStatus::new(&endpoint, positions.position("a")));
        positions.watch("a", Arc::clone(&status));
        status
    }

    fn see(status: &ReplayStatus, numbers: &[i64]) {
        let endpoint: Endpoint = "tcp://127.0.0.1:1".parse().expect("valid");
        let mut batch = Batch::new(EndpointStatus::new(&endpoint, "test"));
        batch.set_received_us(HOUR_US);
        numbers.iter().for_each(|number| batch.push(b"a.b", format!("{{\"seq_id\":{number}}}").as_bytes()));
        status.sees(&batch);
    }

    fn reopened(path: &Path, now_us: i64) -> Option<i64> {
        ReplayPositions::open(path, now_us, HOUR).position("a").map(|position| position.seq_id)
    }

    #[test]
    fn a_position_is_found_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("replay.json");
        let positions = ReplayPositions::open(&path, 0, HOUR);
        positions.close();
        assert!(!path.exists(), "nothing to keep, no file");
        let status = watch(&positions);
        see(&status, &[4, 5]);
        positions.close();
        assert_eq!(reopened(&path, 100 * HOUR_US), Some(5), "exact, so of any age");
        // One that waits for what it missed goes on before that, and not after an hour.
        let positions = ReplayPositions::open(&path, 0, HOUR);
        let status = watch(&positions);
        see(&status, &[9]);
        positions.close();
        assert_eq!((reopened(&path, 2 * HOUR_US - 1), reopened(&path, 2 * HOUR_US)), (Some(5), None));
        // And not even if in between a daemon was there that heard nothing.
        let again = ReplayPositions::open(&path, HOUR_US, HOUR);
        let _heard_nothing = watch(&again);
        again.close();
        assert_eq!((reopened(&path, 2 * HOUR_US - 1), reopened(&path, 2 * HOUR_US)), (Some(5), None));
    }

    #[test]
    fn a_file_that_is_none_is_passed_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("replay.json");
        for text in ["", "{", r#"{"version":2,"endpoints":{"a":{"seq_id":1,"at_us":1,"exact":true}}}"#] {
            std::fs::write(&path, text).expect("written");
            assert_eq!(reopened(&path, 0), None, "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_written_meanwhile_lags_and_is_not_exact() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("replay.json");
        let positions = Arc::new(ReplayPositions::open(&path, 0, HOUR));
        Arc::clone(&positions).keep().await;
        let status = watch(&positions);
        see(&status, &[4]);
        let mut lagging = positions.now();
        for (number, expect) in [(5, 4), (6, 5)] {
            see(&status, &[number]);
            positions.write(positions.turn(&mut lagging)).expect("written");
            let entry = read(&path).expect("a file").endpoints["a"];
            assert_eq!((entry.seq_id, entry.exact), (expect, false));
        }
        positions.close();
        positions.write(positions.turn(&mut lagging)).expect("not written");
        let entry = read(&path).expect("a file").endpoints["a"];
        assert_eq!((entry.seq_id, entry.exact), (6, true), "nothing comes after the last");
    }
}
