//! The only file that names sled. Version 0.34.7 with guards against what was measured of it:
//!
//! 1. After every batch, epochs are advanced by hand: a large batch starves its garbage
//!    collection, and memory and disk grow without end.
//! 2. Its `flush` is no fsync on Linux: [`Backend::sync`] adds one on its file.
//! 3. A half-written snapshot (`snap.*.generating`) can keep it from opening: removed before.
//! 4. Directories are synced after every open: a power cut could lose what was created, or bring back the
//!    snapshot before this one, whose data sled has zeroed. On creation `conf` is put there whole: a torn one
//!    is refused for ever.
//! 5. Never `flush_async`, which can deadlock; one tree, because a batch is atomic per tree.
//! 6. Batches are bounded by whoever builds them ([`crate::limits::STORE_BATCH_ROWS_MAX`]); it
//!    blocks readers while one is applied, so what is asked for often is kept above it.
//! 7. A leaf of more than 128 KiB becomes a file of its own in `blobs`, and many of those are never
//!    removed. A leaf has up to 16 rows, so values are kept below 7 KiB: larger ones are cut into
//!    rows of their own (`parts.rs`).

mod parts;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::backend::{Backend, BackendError, Row};

/// Chunks that are asked for are cached above it.
const CACHE_BYTES: u64 = 32 << 20;
const FLUSH_MS: u64 = 500;
/// sled's threads let go of its lock a moment after the last handle is dropped, and so does a
/// process that is about to end: worth another second.
const LOCK_TRIES: u32 = 50;
const LOCK_WAIT: Duration = Duration::from_millis(20);

/// State in a directory.
#[derive(Debug)]
pub struct SledBackend {
    path: PathBuf,
    db: sled::Db,
    /// sled's own file, to sync it.
    file: File,
}

impl SledBackend {
    /// Opens the directory, or creates it.
    pub fn open(path: &Path) -> Result<Self, BackendError> {
        let io = |source| BackendError::Io { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(io)?;
        remove_half_snapshots(path).map_err(io)?;
        if !path.join("conf").exists() {
            create_conf(path)?;
        }
        let db = open_when_free(path)?;
        let file = File::options().read(true).write(true).open(path.join("db")).map_err(io)?;
        sync_entries(path).map_err(io)?;
        Ok(Self { path: path.to_owned(), db, file })
    }
}

impl SledBackend {
    /// Writes or removes one row, whatever its size, and what a longer value before it has left.
    fn put(&self, key: &[u8], value: Option<&[u8]>, batch: &mut sled::Batch) -> Result<(), BackendError> {
        let before = self.db.get(key).map_err(engine)?.and_then(|value| parts::count(&value)).unwrap_or(0);
        let mut after = 0;
        match value {
            Some(value) if value.len() > parts::BYTES_MAX => {
                for part in value.chunks(parts::BYTES_MAX) {
                    batch.insert(parts::key(key, after), part);
                    after += 1;
                }
                batch.insert(key, parts::head(after));
            }
            Some(value) => batch.insert(key, value),
            None => batch.remove(key),
        }
        (after..before).for_each(|number| batch.remove(parts::key(key, number)));
        Ok(())
    }

    /// The value of a row, put together if it is in parts. `None` if one of them is not there: the row
    /// is being removed.
    fn whole(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        let Some(count) = parts::count(value) else { return Ok(Some(value.to_vec())) };
        let mut whole = Vec::new();
        for number in 0..count {
            let Some(part) = self.db.get(parts::key(key, number)).map_err(engine)? else { return Ok(None) };
            whole.extend_from_slice(&part);
        }
        Ok(Some(whole))
    }
}

fn open_when_free(path: &Path) -> Result<sled::Db, BackendError> {
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(Some(FLUSH_MS))
        .use_compression(false);
    for _ in 1..LOCK_TRIES {
        match config.open().map_err(|error| open_error(path, error)) {
            Err(BackendError::InUse(_)) => thread::sleep(LOCK_WAIT),
            result => return result,
        }
    }
    config.open().map_err(|error| open_error(path, error))
}

/// Puts sled's `conf` there whole. What sled writes by itself is synced by nobody.
fn create_conf(path: &Path) -> Result<(), BackendError> {
    let io = |source| BackendError::Io { path: path.to_owned(), source };
    let scratch = path.join("creating");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).map_err(io)?;
    }
    drop(open_when_free(&scratch)?);
    let (conf, new) = (fs::read(scratch.join("conf")).map_err(io)?, path.join("conf.new"));
    fs::write(&new, conf).and_then(|()| File::open(&new)?.sync_all()).map_err(io)?;
    fs::remove_dir_all(&scratch).map_err(io)?;
    fs::rename(&new, path.join("conf")).and_then(|()| File::open(path)?.sync_all()).map_err(io)
}

fn remove_half_snapshots(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn sync_entries(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn open_error(path: &Path, error: sled::Error) -> BackendError {
    match error {
        // sled reports a lock that is held as `Other: could not acquire lock on …`.
        sled::Error::Io(source) if source.to_string().contains("could not acquire lock") => {
            BackendError::InUse(path.to_owned())
        }
        error => engine(error),
    }
}

fn engine(error: sled::Error) -> BackendError {
    BackendError::Engine { engine: "sled", source: Box::new(error) }
}

impl Backend for SledBackend {
    fn apply(&self, rows: &[Row]) -> Result<(), BackendError> {
        let mut batch = sled::Batch::default();
        for (key, value) in rows {
            self.put(key, value.as_deref(), &mut batch)?;
        }
        self.db.apply_batch(batch).map_err(engine)?;
        for _ in 0..rows.len() / 64 + 1 {
            crossbeam_epoch::pin().flush();
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), BackendError> {
        self.db.flush().map_err(engine)?;
        self.file.sync_data().map_err(|source| BackendError::Io { path: self.path.join("db"), source })
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        match self.db.get(key).map_err(engine)? {
            Some(value) => self.whole(key, &value),
            None => Ok(None),
        }
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), BackendError> {
        for row in self.db.scan_prefix(prefix) {
            let (key, value) = row.map_err(engine)?;
            let go_on = match parts::count(&value) {
                _ if parts::is_part(&key) => true,
                Some(_) => visit(&key, &self.whole(&key, &value)?.unwrap_or_default()),
                None => visit(&key, &value),
            };
            if !go_on {
                break;
            }
        }
        Ok(())
    }

    fn last_key(&self, prefix: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        for key in self.db.scan_prefix(prefix).keys().rev() {
            let key = key.map_err(engine)?;
            if !parts::is_part(&key) {
                return Ok(Some(key.to_vec()));
            }
        }
        Ok(None)
    }

    fn disk_bytes(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
