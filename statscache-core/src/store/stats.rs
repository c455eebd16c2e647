//! What takes how much of a store: rows by what they are, and cells by metric and tier.
//!
//! Reads every row once and keeps sums only.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    NamespaceId, NamespaceRecord, NamespaceState, StoreError,
    backend::Backend,
    keys::{self, RowKind},
    scan, values,
};
use crate::{
    bytes::{Corrupt, Input},
    segment::{Form, Segment},
};

/// What a store takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoreStats {
    /// Version of its rows.
    pub format: u32,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// By what rows are for.
    pub rows: BTreeMap<&'static str, RowStats>,
    /// Intervals in the coverage of the bus.
    pub coverage_intervals: usize,
    /// In order of their numbers.
    pub namespaces: Vec<NamespaceStats>,
    /// What is still to be removed.
    pub garbage: GarbageStats,
    /// Segments with damaged chunks, which count in no answer.
    pub set_aside: FormStats,
}

/// Rows of one sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RowStats {
    /// How many.
    pub rows: u64,
    /// Bytes of their keys.
    pub key_bytes: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
}

/// Chunks of segments that were replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GarbageStats {
    /// How many segments.
    pub segments: u64,
    /// How many chunks they may have left.
    pub chunks: u64,
}

/// One namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NamespaceStats {
    /// Its number.
    pub number: NamespaceId,
    /// Id of the instance.
    pub instance: String,
    /// Id of the plugin.
    pub plugin: String,
    /// What it is for at present.
    pub state: NamespaceState,
    /// Its removal was interrupted; the next start of the daemon finishes it.
    pub is_half_removed: bool,
    /// In order of declaration.
    pub metrics: Vec<MetricStats>,
}

/// One metric.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MetricStats {
    /// Its name.
    pub name: String,
    /// Name of its kind.
    pub kind: &'static str,
    /// Label sets.
    pub series: u64,
    /// Bytes of label sets.
    pub series_bytes: u64,
    /// By tier; kinds without buckets have one.
    pub tiers: Vec<TierStats>,
}

/// One tier of a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TierStats {
    /// As configured; empty for kinds without buckets.
    pub tier: String,
    /// Stretches of time in which there is something.
    pub partitions: u64,
    /// Segments as commits write them.
    pub rows: FormStats,
    /// Segments as closed partitions are kept.
    pub columns: FormStats,
}

/// Segments of one form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FormStats {
    /// How many.
    pub segments: u64,
    /// Their chunks.
    pub chunks: u64,
    /// Their cells.
    pub cells: u64,
    /// Bytes of the chunks.
    pub bytes: u64,
}

impl FormStats {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            segments: self.segments + other.segments,
            chunks: self.chunks + other.chunks,
            cells: self.cells + other.cells,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl NamespaceStats {
    fn new(number: NamespaceId, record: NamespaceRecord) -> Self {
        let metric = |metric: statscache_plugin_sdk::MetricDescriptor| {
            let tiers: Vec<String> = match metric.kind.is_bucketed() {
                true => metric.tiers.as_slice().iter().map(ToString::to_string).collect(),
                false => vec![String::new()],
            };
            let tier = |tier| TierStats { tier, ..TierStats::default() };
            let (name, kind) = (metric.name, metric.kind.as_str());
            MetricStats { name, kind, tiers: tiers.into_iter().map(tier).collect(), ..MetricStats::default() }
        };
        let NamespaceRecord { instance, plugin, metrics, state, .. } = record;
        let metrics = metrics.into_iter().map(metric).collect();
        Self { number, instance, plugin, state, is_half_removed: true, metrics }
    }
}

/// Adds everything up. The first damaged row ends it: [`super::check`] finds them all.
pub fn stats(backend: &dyn Backend) -> Result<StoreStats, StoreError> {
    let format = super::format_of(backend)?;
    let mut stats = StoreStats { format, disk_bytes: backend.disk_bytes(), ..StoreStats::default() };
    let mut namespaces: BTreeMap<NamespaceId, NamespaceStats> = BTreeMap::new();
    scan(backend, keys::NAMESPACES, &mut |key, value| {
        let (ns, record) = (keys::read_namespace(key)?, values::read_namespace(values::open(value)?)?);
        namespaces.insert(ns, NamespaceStats::new(ns, record));
        Ok(true)
    })?;
    let mut last_partition = None;
    scan(backend, b"", &mut |key, value| {
        let rows = stats.rows.entry(keys::what(key)).or_default();
        rows.rows += 1;
        rows.key_bytes += key.len() as u64;
        rows.value_bytes += value.len() as u64;
        match keys::kind(key) {
            Some(RowKind::Coverage) => {
                stats.coverage_intervals = values::read_coverage(values::open(value)?)?.intervals().count();
            }
            Some(RowKind::Garbage) => {
                stats.garbage.segments += 1;
                stats.garbage.chunks += u64::from(values::read_garbage(values::open(value)?)?);
            }
            Some(RowKind::SetAside) => {
                let (_, segment) = values::read_set_aside(keys::read_segment(key)?, values::open(value)?)?;
                stats.set_aside = stats.set_aside.plus(of_segment(&segment));
            }
            Some(RowKind::Cursor) => {
                if let Some(namespace) = namespaces.get_mut(&keys::read_namespace(key)?) {
                    namespace.is_half_removed = false;
                }
            }
            Some(RowKind::Series) => {
                let (position, _) = keys::read_series(key)?;
                let bytes = values::open(value)?;
                let metric = metric(&mut namespaces, keys::read_namespace(key)?, position)?;
                metric.series += u64::from(Input(bytes).u32()?);
                metric.series_bytes += bytes.len() as u64;
            }
            Some(RowKind::Index) => {
                let key = keys::read_segment(key)?;
                let segment = values::read_index(key, Input(values::open(value)?))?;
                let metric = metric(&mut namespaces, key.ns, key.metric)?;
                let tier = metric.tiers.get_mut(usize::from(key.tier)).ok_or(UNKNOWN)?;
                let partition = (key.ns, key.metric, key.tier, key.partition);
                tier.partitions += u64::from(last_partition.replace(partition) != Some(partition));
                let form = match key.form {
                    Form::Rows => &mut tier.rows,
                    Form::Columns => &mut tier.columns,
                };
                *form = form.plus(of_segment(&segment));
            }
            _ => {}
        }
        Ok(true)
    })?;
    stats.namespaces = namespaces.into_values().collect();
    Ok(stats)
}

const UNKNOWN: Corrupt = Corrupt("it belongs to no metric or tier that is declared");

fn of_segment(segment: &Segment) -> FormStats {
    let chunks = segment.chunks().len() as u64;
    FormStats { segments: 1, chunks, cells: segment.cells(), bytes: segment.bytes_len() }
}

fn metric(
    namespaces: &mut BTreeMap<NamespaceId, NamespaceStats>,
    ns: NamespaceId,
    position: u16,
) -> Result<&mut MetricStats, Corrupt> {
    let namespace = namespaces.get_mut(&ns).ok_or(UNKNOWN)?;
    namespace.metrics.get_mut(usize::from(position)).ok_or(UNKNOWN)
}
