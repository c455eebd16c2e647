//! State on disk: what is a row, and what is one commit. One commit is one atomic write.
//!
//! | row | key (`keys.rs`) | value |
//! |---|---|---|
//! | format | `F` | version, u32 |
//! | namespace: state of one instance under one configuration | `N` ns | JSON [`NamespaceRecord`] |
//! | cursor | `C` ns | [`Cursor`] |
//! | label sets | `S` ns metric first-series | [`SeriesChunk`] |
//! | cells | `B` ns metric tier partition commit chunk | [`crate::segment`] |
//!
//! Numbers in keys are big-endian, so that a range of keys is a range of time; signed ones have
//! their sign bit flipped. Every value ends in a CRC-32 of what precedes it. Cells come as
//! **deltas**: a commit adds segments, it reads none; segments of one partition are merged by
//! later commits ([`crate::engine::Committer`]).

pub mod backend;
mod keys;
mod sled;
mod values;

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use statscache_plugin_sdk::{MetricDescriptor, Timestamp};

use crate::{
    bytes::Corrupt,
    limits::STORE_BATCH_ROWS_MAX,
    segment::{Chunk, Segment},
    series::SeriesChunk,
};
use backend::{Backend, BackendError};

pub use self::sled::SledBackend;
pub use backend::MemoryBackend;
pub use keys::SegmentKey;

/// Version of the rows and their bytes. Raise it with every change, and teach
/// [`Store::open`] to read the version before.
pub const FORMAT_VERSION: u32 = 1;

/// Number of a namespace.
pub type NamespaceId = u32;

/// State of one instance under one configuration of one version of its plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamespaceRecord {
    /// Id of the instance.
    pub instance: String,
    /// Id of the plugin.
    pub plugin: String,
    /// What its numbers depend on: where this differs, the numbers mean something else.
    pub fingerprint: String,
    /// Its metrics; their positions are in keys.
    pub metrics: Vec<MetricDescriptor>,
}

impl NamespaceRecord {
    /// Whether numbers of the one are numbers of the other: what people read about a metric may differ.
    pub fn counts_as(&self, other: &Self) -> bool {
        let counts = |metric: &MetricDescriptor| {
            (metric.name.clone(), metric.kind, metric.dimensions.clone(), metric.tiers.clone())
        };
        self.instance == other.instance
            && self.plugin == other.plugin
            && self.fingerprint == other.fingerprint
            && self.metrics.iter().map(counts).eq(other.metrics.iter().map(counts))
    }
}

/// How far an instance has got, and what it did until there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The first sequence that is not in its state.
    pub next: u64,
    /// Newest event time of everything before `next`, whether or not the instance wanted it.
    pub watermark: Option<Timestamp>,
    /// Messages that it was handed.
    pub processed: u64,
    /// Messages on which it failed.
    pub failed: u64,
    /// Updates that it made.
    pub updates: u64,
    /// Updates refused or changed because of a limit.
    pub limited: u64,
    /// Sequences that the journal had dropped before it read them.
    pub missed: u64,
}

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
    /// Written by a later version.
    #[error(
        "the store has format {found}, this version reads up to {FORMAT_VERSION}; run the version that wrote it, or a later one"
    )]
    FormatTooNew {
        /// Its version.
        found: u32,
    },
}

/// Rows that are written together or not at all.
#[derive(Debug, Default)]
pub struct Batch {
    rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of keys and values.
    pub fn bytes_len(&self) -> usize {
        self.rows.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum()
    }

    /// Appends all rows of another.
    pub fn append(&mut self, other: &mut Self) {
        self.rows.append(&mut other.rows);
    }

    /// A namespace.
    pub fn put_namespace(&mut self, ns: NamespaceId, record: &NamespaceRecord) {
        self.put(keys::namespace(ns), values::namespace(record));
    }

    /// An instance's cursor.
    pub fn put_cursor(&mut self, ns: NamespaceId, cursor: &Cursor) {
        self.put(keys::cursor(ns), values::cursor(cursor));
    }

    /// New label sets.
    pub fn put_series(&mut self, ns: NamespaceId, metric: u16, chunk: &SeriesChunk) {
        self.put(keys::series(ns, metric, chunk.first), chunk.bytes.to_vec());
    }

    /// A new segment.
    pub fn put_segment(&mut self, key: SegmentKey, segment: &Segment) {
        for (number, chunk) in segment.chunks().iter().enumerate() {
            self.put(keys::chunk(key, number as u32), chunk.bytes().to_vec());
        }
    }

    /// Removes a segment.
    pub fn remove_segment(&mut self, key: SegmentKey, segment: &Segment) {
        for number in 0..segment.chunks().len() {
            self.rows.push((keys::chunk(key, number as u32), None));
        }
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.rows.push((key, Some(values::seal(value))));
    }
}

/// All that the store holds of one namespace.
#[derive(Debug)]
pub struct Namespace {
    /// What it is.
    pub record: NamespaceRecord,
    /// How far it has got.
    pub cursor: Cursor,
    /// By metric, in order of their numbers.
    pub series: Vec<Vec<Arc<SeriesChunk>>>,
    /// By metric: segments in order of their keys.
    pub segments: Vec<BTreeMap<SegmentKey, Arc<Segment>>>,
}

impl Namespace {
    /// Nothing yet.
    pub fn new(record: NamespaceRecord, cursor: Cursor) -> Self {
        let metrics = record.metrics.len();
        Self { record, cursor, series: vec![Vec::new(); metrics], segments: vec![BTreeMap::new(); metrics] }
    }

    /// Number of the last commit that wrote a segment of it.
    pub fn last_commit(&self) -> Option<u64> {
        self.segments.iter().flat_map(|segments| segments.keys()).map(|key| key.commit).max()
    }
}

/// Takes a row; says whether it wants more.
type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> Result<bool, Corrupt> + 'v;

/// The state on disk. Cheap to share: it holds no state of its own.
pub struct Store {
    backend: Box<dyn Backend>,
}

impl Store {
    /// Opens what is there, or starts empty; reads everything. Finishes removals that were
    /// interrupted.
    pub fn open(backend: Box<dyn Backend>) -> Result<(Self, BTreeMap<NamespaceId, Namespace>), StoreError> {
        let store = Self { backend };
        store.check_format()?;
        let (namespaces, half_removed) = store.read_namespaces()?;
        for ns in half_removed {
            store.remove_namespace(ns)?;
        }
        Ok((store, namespaces))
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
        for prefix in [keys::cursor(ns), keys::all_cells(ns), keys::all_series(ns), keys::namespace(ns)] {
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
        let mut damaged = None;
        let mut visit = |key: &[u8], value: &[u8]| match visit(key, value) {
            Ok(go_on) => go_on,
            Err(source) => {
                damaged = Some(StoreError::Damaged { key: keys::describe(key), source });
                false
            }
        };
        let scanned = self.backend.scan(prefix, &mut visit);
        scanned.map_err(|source| StoreError::Backend { action: "read", source })?;
        damaged.map_or(Ok(()), Err)
    }

    fn check_format(&self) -> Result<(), StoreError> {
        let mut found = None;
        self.scan(keys::FORMAT, &mut |_, value| {
            found = Some(values::format(values::open(value)?)?);
            Ok(true)
        })?;
        match found {
            Some(found) if found > FORMAT_VERSION => Err(StoreError::FormatTooNew { found }),
            Some(_) => Ok(()),
            None => {
                let mut batch = Batch::default();
                batch.put(keys::FORMAT.to_vec(), FORMAT_VERSION.to_be_bytes().to_vec());
                self.apply(&batch)?;
                self.sync()
            }
        }
    }

    /// All namespaces, and those whose removal was interrupted.
    fn read_namespaces(&self) -> Result<(BTreeMap<NamespaceId, Namespace>, Vec<NamespaceId>), StoreError> {
        let mut records = Vec::new();
        self.scan(keys::NAMESPACES, &mut |key, value| {
            records.push((keys::read_namespace(key)?, values::read_namespace(values::open(value)?)?));
            Ok(true)
        })?;
        let (mut namespaces, mut half_removed) = (BTreeMap::new(), Vec::new());
        for (ns, record) in records {
            let mut cursor = None;
            self.scan(&keys::cursor(ns), &mut |_, value| {
                cursor = Some(values::read_cursor(values::open(value)?)?);
                Ok(true)
            })?;
            let Some(cursor) = cursor else {
                half_removed.push(ns);
                continue;
            };
            let mut namespace = Namespace::new(record, cursor);
            self.read_namespace(ns, &mut namespace)?;
            namespaces.insert(ns, namespace);
        }
        Ok((namespaces, half_removed))
    }

    fn read_namespace(&self, ns: NamespaceId, namespace: &mut Namespace) -> Result<(), StoreError> {
        const UNKNOWN: Corrupt = Corrupt("the metric is not declared");
        self.scan(&keys::all_series(ns), &mut |key, value| {
            let (metric, first) = keys::read_series(key)?;
            let chunk = SeriesChunk { first, bytes: values::open(value)?.into() };
            namespace.series.get_mut(usize::from(metric)).ok_or(UNKNOWN)?.push(Arc::new(chunk));
            Ok(true)
        })?;
        let mut chunks: BTreeMap<SegmentKey, Vec<Chunk>> = BTreeMap::new();
        self.scan(&keys::all_cells(ns), &mut |key, value| {
            let (segment, number) = keys::read_chunk(key)?;
            let chunks = chunks.entry(segment).or_default();
            if number as usize != chunks.len() {
                return Err(Corrupt("a chunk of its segment is missing"));
            }
            chunks.push(Chunk::from_bytes(values::open(value)?.into())?);
            Ok(true)
        })?;
        for (key, chunks) in chunks {
            let damaged = |source| StoreError::Damaged { key: format!("{key:?}"), source };
            let segments = namespace.segments.get_mut(usize::from(key.metric));
            let segments = segments.ok_or(damaged(UNKNOWN))?;
            segments.insert(key, Arc::new(Segment::from_chunks(chunks).map_err(damaged)?));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
