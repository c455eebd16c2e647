//! What is found when a store is opened. What is damaged costs no more than it must: a namespace, or
//! the coverage, and it is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Cursor, Garbage, NamespaceId, NamespaceRecord, Store, StoreError, keys, values};
use crate::{
    bytes::{Corrupt, Input},
    coverage::{Coverage, Reading},
    segment::{Segment, SegmentKey},
    series::SeriesChunk,
};

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

/// What a store holds, without the chunks.
#[derive(Debug)]
pub struct Contents {
    /// By number; without those that are set aside.
    pub namespaces: BTreeMap<NamespaceId, Namespace>,
    /// When the bus was seen; empty if that row is damaged.
    pub coverage: Coverage,
    /// What is still to be removed.
    pub garbage: Vec<Garbage>,
    /// Segments with damaged chunks ([`super::Batch::set_aside_segment`]), and why.
    pub set_aside: Vec<(SegmentKey, String)>,
    /// Every row that does not read.
    pub damaged: Vec<DamagedRow>,
    /// Greater than the number of every namespace that any row is of, also of one that is set aside.
    pub next_namespace: NamespaceId,
}

/// A row that does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedRow {
    /// Which, as letters and numbers.
    pub key: String,
    /// The namespace that is set aside because of it, and the id of its instance if its record reads.
    /// All its rows stay as they are until [`Store::remove_namespace`]. If it is none, nothing else
    /// depends on the row.
    pub namespace: Option<(NamespaceId, Option<String>)>,
    /// What is wrong with it.
    pub what: Corrupt,
}

impl From<DamagedRow> for StoreError {
    fn from(row: DamagedRow) -> Self {
        Self::Damaged { key: row.key, source: row.what }
    }
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

/// Namespaces by their numbers, and those whose removal was interrupted.
type Namespaces = (BTreeMap<NamespaceId, Namespace>, Vec<NamespaceId>);

/// Takes the key of a row and its value without the checksum.
type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> Result<(), Corrupt> + 'v;

impl Store {
    /// Reads everything but chunks, and finishes removals that were interrupted.
    pub fn contents(&self) -> Result<Contents, StoreError> {
        let mut damaged = Vec::new();
        let (namespaces, half_removed) = self.read_namespaces(&mut damaged)?;
        for ns in half_removed {
            self.remove_namespace(ns)?;
        }
        let untouched: BTreeSet<NamespaceId> =
            damaged.iter().filter_map(|row| row.namespace.as_ref()).map(|(ns, _)| *ns).collect();
        let (mut garbage, mut set_aside) = (Vec::new(), Vec::new());
        let coverage = self.read_coverage(&mut damaged)?;
        self.each(keys::GARBAGE, &mut damaged, &mut |key, value| {
            let found = Garbage { key: keys::read_segment(key)?, chunks: values::read_garbage(value)? };
            if !untouched.contains(&found.key.ns) {
                garbage.push(found);
            }
            Ok(())
        })?;
        self.each(keys::SET_ASIDE, &mut damaged, &mut |key, value| {
            let key = keys::read_segment(key)?;
            let (why, _) = values::read_set_aside(key, value)?;
            set_aside.push((key, why));
            Ok(())
        })?;
        let next_namespace = self.next_namespace()?;
        Ok(Contents { namespaces, coverage, garbage, set_aside, damaged, next_namespace })
    }

    /// When the bus was seen.
    pub(super) fn read_coverage(&self, damaged: &mut Vec<DamagedRow>) -> Result<Coverage, StoreError> {
        let mut coverage = Coverage::new();
        self.each(keys::COVERAGE, damaged, &mut |_, value| {
            coverage = values::read_coverage(value)?;
            Ok(())
        })?;
        Ok(coverage)
    }

    /// Namespaces whose rows all read, chunks aside.
    pub(super) fn read_namespaces(&self, damaged: &mut Vec<DamagedRow>) -> Result<Namespaces, StoreError> {
        let (mut namespaces, mut half_removed) = (BTreeMap::new(), Vec::new());
        let (mut records, mut unread) = (Vec::new(), Vec::new());
        self.scan(keys::NAMESPACES, &mut |key, value| {
            let ns = keys::read_namespace(key).ok();
            match (ns, values::open(value).and_then(values::read_namespace)) {
                (Some(ns), Ok(record)) => records.push((ns, record)),
                (ns, read) => {
                    let what = read.err().unwrap_or(Corrupt("its key is too short"));
                    let namespace = ns.map(|ns| (ns, None));
                    unread.push(DamagedRow { key: keys::describe(key), namespace, what });
                }
            }
            Ok(true)
        })?;
        damaged.append(&mut unread);
        for (ns, record) in records {
            let instance = record.instance.clone();
            match self.read_namespace(ns, record, &mut unread)? {
                _ if !unread.is_empty() => {
                    let set_aside = Some((ns, Some(instance)));
                    damaged.extend(unread.drain(..).map(|row| DamagedRow { namespace: set_aside.clone(), ..row }));
                }
                Some(namespace) => drop(namespaces.insert(ns, namespace)),
                None => half_removed.push(ns),
            }
        }
        Ok((namespaces, half_removed))
    }

    /// One namespace; none if it has no cursor. What does not read is left out and told.
    fn read_namespace(
        &self,
        ns: NamespaceId,
        record: NamespaceRecord,
        damaged: &mut Vec<DamagedRow>,
    ) -> Result<Option<Namespace>, StoreError> {
        const UNKNOWN: Corrupt = Corrupt("the metric is not declared");
        let mut cursor = None;
        self.each(&keys::cursor(ns), damaged, &mut |_, value| {
            cursor = Some(values::read_cursor(value)?);
            Ok(())
        })?;
        if cursor.is_none() && damaged.is_empty() {
            return Ok(None);
        }
        let mut namespace = Namespace::new(record, cursor.unwrap_or_default());
        self.each(&keys::all_series(ns), damaged, &mut |key, value| {
            let (metric, first) = keys::read_series(key)?;
            let chunk = SeriesChunk { first, bytes: value.into() };
            namespace.series.get_mut(usize::from(metric)).ok_or(UNKNOWN)?.push(Arc::new(chunk));
            Ok(())
        })?;
        self.each(&keys::all_indexes(ns), damaged, &mut |key, value| {
            let segment = values::read_index(keys::read_segment(key)?, Input(value))?;
            let segments = namespace.segments.get_mut(usize::from(segment.key().metric));
            segments.ok_or(UNKNOWN)?.push(Arc::new(segment));
            Ok(())
        })?;
        self.each(&keys::reading(ns), damaged, &mut |_, value| {
            namespace.reading = Some(values::read_reading(value)?);
            Ok(())
        })?;
        Ok(Some(namespace))
    }

    /// Visits all rows with this prefix; those that do not read are told.
    fn each(&self, prefix: &[u8], damaged: &mut Vec<DamagedRow>, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.scan(prefix, &mut |key, value| {
            if let Err(what) = values::open(value).and_then(|value| visit(key, value)) {
                damaged.push(DamagedRow { key: keys::describe(key), namespace: None, what });
            }
            Ok(true)
        })
    }

    fn next_namespace(&self) -> Result<NamespaceId, StoreError> {
        let mut last = 0;
        for tag in keys::OF_NAMESPACES {
            let key = self.backend.last_key(&[tag]);
            let key = key.map_err(|source| StoreError::Backend { action: "read", source })?;
            last = last.max(key.and_then(|key| keys::read_namespace(&key).ok()).unwrap_or(0));
        }
        Ok(last.saturating_add(1))
    }
}
