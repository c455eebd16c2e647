//! State on disk: what is a row, and what is one commit. One commit is one atomic write.
//!
//! | row | key (`keys.rs`) | value |
//! |---|---|---|
//! | format | `F` | version, u32 |
//! | coverage of the bus | `V` | [`Coverage`] |
//! | namespace: state of one instance under one configuration | `N` ns | JSON [`NamespaceRecord`] |
//! | cursor | `P` ns | [`Cursor`] |
//! | what the instance has read | `R` ns | [`Reading`] |
//! | label sets | `S` ns metric first-series | [`SeriesChunk`] |
//! | segment | `I` ns metric tier partition form commit | 0 and its directory; or 1, its directory and its only chunk |
//! | chunk of a segment that is not in its index row | `D` ns metric tier partition form commit number | [`crate::segment`] |
//! | segment to be removed | `G` ns metric tier partition form commit | number of its chunks |
//!
//! Numbers in keys are big-endian, so that a range of keys is a range of time; signed ones have
//! their sign bit flipped. Every value ends in a CRC-32 of what precedes it. Cells come as
//! **deltas**: a commit adds segments, it reads none; segments of one partition are merged by
//! later commits, and written as columns when the partition is closed ([`crate::engine::Committer`]).
//!
//! Opening reads everything but chunks. What a segment that was replaced leaves behind is removed
//! a while later, because views that are being read may still want it, and in several writes,
//! because it may be much: until then a row says that it is garbage.

pub mod backend;
mod cache;
pub mod check;
pub mod export;
pub mod import;
mod keys;
mod migrate;
mod rows;
mod sled;
pub mod stats;
mod values;

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use statscache_plugin_sdk::{MetricDescriptor, Timestamp};

use crate::{
    bytes::{Corrupt, Input},
    coverage::{Coverage, Reading},
    limits::STORE_BATCH_ROWS_MAX,
    segment::{ChunkMeta, ChunkSource, Form, PackedChunk, ReadError, Segment, SegmentKey},
    series::SeriesChunk,
};
use backend::{Backend, BackendError};
use rows::{Uncached, Visit, chunk_of, format_of, scan};

pub use self::sled::SledBackend;
pub use backend::MemoryBackend;
pub use cache::Chunks;

/// Version of the rows and their bytes. Raise it with every change, and teach `migrate.rs` to
/// bring the version before up to it.
pub const FORMAT_VERSION: u32 = 2;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
    /// Updates refused or changed because of a limit; those folded and refused are among them.
    pub limited: u64,
    /// Sequences that the journal had dropped before it read them.
    pub missed: u64,
    /// Updates with a label set beyond the limit of series, counted as `__other__`.
    pub folded: u64,
    /// Values that were refused: too long, too deep, no finite number.
    pub refused: u64,
    /// Updates too late for the finest tier, which went to the coarser ones.
    pub late: u64,
    /// Updates too late for every tier.
    pub too_late: u64,
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

    /// What an instance has read.
    pub fn put_reading(&mut self, ns: NamespaceId, reading: &Reading) {
        self.put(keys::reading(ns), values::reading(reading));
    }

    /// When the bus was seen.
    pub fn put_coverage(&mut self, coverage: &Coverage) {
        self.put(keys::COVERAGE.to_vec(), values::coverage(coverage));
    }

    /// A new segment, if it has cells. Rows of one chunk go into the index row and stay in memory:
    /// they are soon merged with others.
    pub fn put_segment(&mut self, key: SegmentKey, mut chunks: Vec<PackedChunk>) -> Option<Segment> {
        if key.form == Form::Rows && chunks.len() == 1 {
            let segment = Segment::resident(key, chunks.remove(0));
            self.put(keys::index(key), values::index(&segment));
            return Some(segment);
        }
        let directory: Vec<ChunkMeta> = chunks.iter().map(PackedChunk::meta).collect();
        for (number, chunk) in chunks.into_iter().enumerate() {
            self.put_chunk(key, number as u32, chunk);
        }
        (!directory.is_empty()).then(|| self.put_index(key, directory))
    }

    /// A chunk of a segment whose index follows.
    pub fn put_chunk(&mut self, key: SegmentKey, number: u32, chunk: PackedChunk) {
        self.put(keys::chunk(key, number), chunk.bytes);
    }

    /// The index of a segment whose chunks are written.
    pub fn put_index(&mut self, key: SegmentKey, directory: Vec<ChunkMeta>) -> Segment {
        let segment = Segment::stored(key, directory);
        self.put(keys::index(key), values::index(&segment));
        segment
    }

    /// Says that chunks of this segment belong to nobody: from now on, or until its index is written.
    pub fn put_garbage(&mut self, garbage: Garbage) {
        self.put(keys::garbage(garbage.key), values::garbage(garbage.chunks));
    }

    /// Says that all chunks of this segment are removed, or belong to it.
    pub fn remove_garbage(&mut self, key: SegmentKey) {
        self.rows.push((keys::garbage(key), None));
    }

    /// Removes a segment; its chunks, if they have rows of their own, are garbage then.
    pub fn remove_segment(&mut self, segment: &Segment) -> Option<Garbage> {
        let key = segment.key();
        self.rows.push((keys::index(key), None));
        if segment.resident_bytes().is_some() {
            return None;
        }
        let garbage = Garbage { key, chunks: segment.chunks().len() as u32 };
        self.put_garbage(garbage);
        Some(garbage)
    }

    /// Removes some chunks, by their numbers.
    pub fn remove_chunks(&mut self, key: SegmentKey, numbers: std::ops::Range<u32>) {
        self.rows.extend(numbers.map(|number| (keys::chunk(key, number), None)));
    }

    /// Removes label sets that are part of another row now.
    pub fn remove_series(&mut self, ns: NamespaceId, metric: u16, first: crate::series::SeriesId) {
        self.rows.push((keys::series(ns, metric, first), None));
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
    pub segments: Vec<Vec<Arc<Segment>>>,
    /// What it has read; none before the first commit.
    pub reading: Option<Reading>,
}

/// Chunks that no index leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// Whose they were.
    pub key: SegmentKey,
    /// How many there may be.
    pub chunks: u32,
}

/// What a store holds, without the chunks.
#[derive(Debug, Default)]
pub struct Contents {
    /// By number.
    pub namespaces: BTreeMap<NamespaceId, Namespace>,
    /// When the bus was seen.
    pub coverage: Coverage,
    /// What is still to be removed.
    pub garbage: Vec<Garbage>,
}

impl Namespace {
    /// Nothing yet.
    pub fn new(record: NamespaceRecord, cursor: Cursor) -> Self {
        let metrics = record.metrics.len();
        let (series, segments) = (vec![Vec::new(); metrics], vec![Vec::new(); metrics]);
        Self { record, cursor, series, segments, reading: None }
    }

    /// Number of the last commit that wrote a segment of it.
    pub fn last_commit(&self) -> Option<u64> {
        self.segments.iter().flatten().map(|segment| segment.key().commit).max()
    }
}

/// The state on disk. Cheap to share: it holds no state of its own.
pub struct Store {
    backend: Box<dyn Backend>,
}

impl Store {
    /// Opens what is there, or starts empty; reads everything but chunks. Brings an older format up to
    /// this one, and finishes removals of namespaces that were interrupted.
    pub fn open(backend: Box<dyn Backend>) -> Result<(Self, Contents), StoreError> {
        let store = Self { backend };
        store.check_format()?;
        let (namespaces, half_removed) = store.read_namespaces()?;
        for ns in half_removed {
            store.remove_namespace(ns)?;
        }
        let mut contents = Contents { namespaces, ..Contents::default() };
        store.scan(keys::COVERAGE, &mut |_, value| {
            contents.coverage = values::read_coverage(values::open(value)?)?;
            Ok(true)
        })?;
        store.scan(keys::GARBAGE, &mut |key, value| {
            let chunks = values::read_garbage(values::open(value)?)?;
            contents.garbage.push(Garbage { key: keys::read_segment(key)?, chunks });
            Ok(true)
        })?;
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
            Some(_) => {
                migrate::from_1(self)?;
                self.put_format()
            }
            None if self.is_empty()? => self.put_format(),
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

    fn put_format(&self) -> Result<(), StoreError> {
        let mut batch = Batch::default();
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

    /// All namespaces, and those whose removal was interrupted.
    fn read_namespaces(&self) -> Result<(BTreeMap<NamespaceId, Namespace>, Vec<NamespaceId>), StoreError> {
        let (mut namespaces, mut half_removed) = (BTreeMap::new(), Vec::new());
        for (ns, record) in self.read_records()? {
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
        self.scan(&keys::all_indexes(ns), &mut |key, value| {
            let segment = values::read_index(keys::read_segment(key)?, Input(values::open(value)?))?;
            let segments = namespace.segments.get_mut(usize::from(segment.key().metric));
            segments.ok_or(UNKNOWN)?.push(Arc::new(segment));
            Ok(true)
        })?;
        self.scan(&keys::reading(ns), &mut |_, value| {
            namespace.reading = Some(values::read_reading(values::open(value)?)?);
            Ok(true)
        })
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
