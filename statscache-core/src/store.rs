//! State on disk: what is a row, and what is one commit. One commit is one atomic write.
//!
//! | row | key (`keys.rs`) | value |
//! |---|---|---|
//! | format | `F` | version, u32 |
//! | coverage of the bus | `V` | [`crate::coverage::Coverage`] |
//! | namespace: state of one instance under one configuration | `N` ns | JSON [`NamespaceRecord`] |
//! | cursor | `P` ns | [`Cursor`] |
//! | what the instance has read | `R` ns | [`crate::coverage::Reading`] |
//! | label sets | `S` ns metric first-series | [`crate::series::SeriesChunk`] |
//! | segment | `I` ns metric tier partition form commit | 0 and its directory; or 1, its directory and its only chunk |
//! | chunk of a segment that is not in its index row | `D` ns metric tier partition form commit number | [`crate::segment`] |
//! | segment that is set aside | `X` ns metric tier partition form commit | why; its index row |
//! | segment to be removed | `G` ns metric tier partition form commit | number of its chunks |
//!
//! Numbers in keys are big-endian, so that a range of keys is a range of time; signed ones have
//! their sign bit flipped. Every value ends in a CRC-32 of what precedes it. Cells come as
//! **deltas**: a commit adds segments, it reads none; segments of one partition are merged by
//! later commits, and written as columns when the partition is closed ([`crate::engine::Committer`]).
//!
//! Opening reads everything but chunks, and sets aside what is damaged (`open.rs`). What a segment that was replaced leaves behind is removed
//! a while later, because views that are being read may still want it, and in several writes,
//! because it may be much: until then a row says that it is garbage.

pub mod backend;
mod batch;
mod cache;
pub mod check;
pub mod export;
pub mod import;
mod keys;
mod migrate;
mod open;
mod record;
mod rows;
mod sled;
pub mod stats;
mod values;

use std::sync::Arc;

use crate::{
    bytes::Corrupt,
    limits::STORE_BATCH_ROWS_MAX,
    segment::{ChunkSource, ReadError, SegmentKey},
};
use backend::{Backend, BackendError};
use rows::{Uncached, Visit, chunk_of, format_of, scan};

pub use self::sled::SledBackend;
pub use backend::MemoryBackend;
pub use batch::{Batch, Garbage};
pub use cache::Chunks;
pub use open::{Contents, DamagedRow, Namespace};
pub use record::{Cursor, NamespaceRecord, NamespaceState};

/// Version of the rows and their bytes. Raise it with every change, and teach `migrate.rs` to
/// bring the version before up to it.
pub const FORMAT_VERSION: u32 = 3;

/// Number of a namespace.
pub type NamespaceId = u32;

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The layer below failed.
    #[error("the store cannot {action}")]
    Backend {
        /// What it was doing.
        action: &'static str,
        /// Why not.
        source: BackendError,
    },
    /// A row that does not read.
    #[error(
        "row {key} of the store is damaged; restore a backup, or remove the store to build it anew from the journal"
    )]
    Damaged {
        /// Which, as letters and numbers.
        key: String,
        /// What is wrong with it.
        source: Corrupt,
    },
    /// Written by an earlier version, and only looked at.
    #[error(
        "the store has format {found}; start the daemon of this version on it once, which brings it up to format {FORMAT_VERSION}"
    )]
    FormatTooOld {
        /// Its version.
        found: u32,
    },
    /// Written by a later version.
    #[error(
        "the store has format {found}, this version reads up to {FORMAT_VERSION}; run the version that wrote it, or a later one"
    )]
    FormatTooNew {
        /// Its version.
        found: u32,
    },
}

/// The state on disk. Cheap to share: it holds no state of its own.
pub struct Store {
    backend: Box<dyn Backend>,
}

impl Store {
    /// Opens what is there, or starts empty; reads everything but chunks. Brings an older format up to
    /// this one, and finishes removals of namespaces that were interrupted. What is damaged is set aside
    /// and told in the contents; only without a format that reads nothing is opened.
    pub fn open(backend: Box<dyn Backend>) -> Result<(Self, Contents), StoreError> {
        let store = Self { backend };
        store.check_format()?;
        let contents = store.contents()?;
        Ok((store, contents))
    }

    /// Writes a batch, atomically. It survives the end of the process from here on.
    pub fn apply(&self, batch: &Batch) -> Result<(), StoreError> {
        self.backend.apply(&batch.rows).map_err(|source| StoreError::Backend { action: "write", source })
    }

    /// Makes everything applied so far survive a power cut as well.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.backend.sync().map_err(|source| StoreError::Backend { action: "sync", source })
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.backend.disk_bytes()
    }

    /// Removes everything of a namespace, in several writes. The cursor goes first: without one, a
    /// namespace is known to be half removed, and nobody takes up what an interruption leaves. The
    /// record goes last, so that it is found again.
    pub fn remove_namespace(&self, ns: NamespaceId) -> Result<(), StoreError> {
        for prefix in [
            keys::cursor(ns),
            keys::reading(ns),
            keys::all_indexes(ns),
            keys::all_set_aside(ns),
            keys::all_chunks(ns),
            keys::all_garbage(ns),
            keys::all_series(ns),
            keys::namespace(ns),
        ] {
            loop {
                let mut rows = Vec::new();
                self.scan(&prefix, &mut |key, _| {
                    rows.push((key.to_vec(), None));
                    Ok(rows.len() < STORE_BATCH_ROWS_MAX)
                })?;
                if rows.is_empty() {
                    break;
                }
                self.apply(&Batch { rows })?;
            }
        }
        self.sync()
    }

    fn scan(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreError> {
        scan(&*self.backend, prefix, visit)
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let mut found = None;
        self.scan(keys::FORMAT, &mut |_, value| {
            found = Some(values::format(values::open(value)?)?);
            Ok(true)
        })?;
        match found {
            Some(found) if found > FORMAT_VERSION => Err(StoreError::FormatTooNew { found }),
            Some(FORMAT_VERSION) => Ok(()),
            Some(found) => {
                if found < 2 {
                    migrate::from_1(self)?;
                }
                let mut batch = Batch::default();
                migrate::from_2(self, &mut batch)?;
                self.put_format(batch)
            }
            None if self.is_empty()? => self.put_format(Batch::default()),
            None => {
                let source = Corrupt("it is missing, and there are others");
                Err(StoreError::Damaged { key: "F".to_owned(), source })
            }
        }
    }

    fn is_empty(&self) -> Result<bool, StoreError> {
        let mut is_empty = true;
        self.scan(b"", &mut |_, _| {
            is_empty = false;
            Ok(false)
        })?;
        Ok(is_empty)
    }

    /// Writes the version, and whatever is to be written with it.
    fn put_format(&self, mut batch: Batch) -> Result<(), StoreError> {
        batch.put(keys::FORMAT.to_vec(), FORMAT_VERSION.to_be_bytes().to_vec());
        self.apply(&batch)?;
        self.sync()
    }

    fn read_records(&self) -> Result<Vec<(NamespaceId, NamespaceRecord)>, StoreError> {
        let mut records = Vec::new();
        self.scan(keys::NAMESPACES, &mut |key, value| {
            records.push((keys::read_namespace(key)?, values::read_namespace(values::open(value)?)?));
            Ok(true)
        })?;
        Ok(records)
    }
}

impl ChunkSource for Store {
    fn chunk(&self, key: SegmentKey, number: u32) -> Result<Arc<[u8]>, ReadError> {
        chunk_of(&*self.backend, key, number)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tools_tests;
