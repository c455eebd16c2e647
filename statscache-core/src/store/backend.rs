//! The seam below the store: rows in order of their keys, written atomically.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// What a backend says when it fails.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Another process has it.
    #[error("{} is in use by another process; stop it, or choose another [data] dir", .0.display())]
    InUse(PathBuf),
    /// The operating system refused.
    #[error("{} failed", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The engine below failed.
    #[error("{engine} failed")]
    Engine {
        /// Its name.
        engine: &'static str,
        /// What it said.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// A row to write, or without a value one to remove.
pub type Row = (Vec<u8>, Option<Vec<u8>>);

/// Rows in order of their keys.
pub trait Backend: Send + Sync {
    /// Writes all rows or none. They survive the end of the process; a power cut only after
    /// [`Backend::sync`].
    fn apply(&self, rows: &[Row]) -> Result<(), BackendError>;

    /// Makes everything applied so far durable.
    fn sync(&self) -> Result<(), BackendError>;

    /// The value of this row.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError>;

    /// Visits rows whose key starts with the prefix, in order, until `visit` says false.
    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), BackendError>;

    /// The last of the keys that start with the prefix.
    fn last_key(&self, prefix: &[u8]) -> Result<Option<Vec<u8>>, BackendError>;

    /// Bytes on disk.
    fn disk_bytes(&self) -> u64;
}

/// Rows in memory; clones share them. For tests, which can make it fail.
#[derive(Clone, Default)]
pub struct MemoryBackend {
    rows: Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>,
    fails: Arc<Mutex<bool>>,
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBackend").finish_non_exhaustive()
    }
}

impl MemoryBackend {
    /// From here on every write fails as on a full disk, or works again.
    pub fn set_failing(&self, fails: bool) {
        *self.fails.lock().unwrap_or_else(PoisonError::into_inner) = fails;
    }

    fn check(&self) -> Result<(), BackendError> {
        if *self.fails.lock().unwrap_or_else(PoisonError::into_inner) {
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(BackendError::Io { path: "memory".into(), source });
        }
        Ok(())
    }
}

impl Backend for MemoryBackend {
    fn apply(&self, rows: &[Row]) -> Result<(), BackendError> {
        self.check()?;
        let mut kept = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in rows {
            match value {
                Some(value) => kept.insert(key.clone(), value.clone()),
                None => kept.remove(key),
            };
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), BackendError> {
        self.check()
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), BackendError> {
        let kept = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in kept.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix)) {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        Ok(self.rows.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn last_key(&self, prefix: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        let kept = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = kept.range(prefix.to_vec()..).map(|(key, _)| key).take_while(|key| key.starts_with(prefix));
        Ok(keys.by_ref().last().cloned())
    }

    fn disk_bytes(&self) -> u64 {
        let kept = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}
