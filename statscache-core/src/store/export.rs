//! A store as lines of JSON, to move it elsewhere or to look into it. The same state gives the same
//! bytes, however it is cut into segments.
//!
//! | line | what |
//! |---|---|
//! | `{"statscache_export":1,"format":3}` | the first: version of these lines, and of the store that states are from |
//! | `{"namespace":{"number","record"}}` | state of one instance under one configuration |
//! | `{"cursor":{"namespace","cursor"}}` | how far it has got |
//! | `{"reading":{"namespace","until","read","filled"}}` | what it has read of what the bus brought, and what was filled: `[start, end, level]` |
//! | `{"coverage":[…]}` | when the bus was seen, in the same form |
//! | `{"labels":{"namespace","metric","series","labels"}}` | one label set, with its number |
//! | `{"cells":{"namespace","metric","tier","partition","series","labels","cells"}}` | one label set in one partition of one tier: `[start, state]`; tier and start are null for kinds without buckets |
//! | `{"end":n}` | the last: number of lines before it |
//!
//! They come in this order, and those of one sort in that of namespaces, metrics, tiers, partitions,
//! series. Times are microseconds since 1970. A state is a number for `count`; for `latest`
//! `{"removed", "values": [{"time", "id", "value"}]}`, where a value whose text is no single line of
//! JSON is its text under `text`; for the other kinds the bytes of [`Rule::encode`], in hexadecimal.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use statscache_plugin_sdk::{Kind, MetricDescriptor, Timestamp};

use super::{
    Cursor, FORMAT_VERSION, Namespace, NamespaceId, NamespaceRecord, Store, StoreError, backend::Backend, format_of,
};
use crate::{
    bucket::{self, Partition},
    bytes::{Corrupt, Input},
    coverage::{Coverage, Seen},
    kind::{CountRule, LatestRule, LatestState, LatestValue, Rule, with_rule},
    segment::{Cell, Merged, ReadError, Segment},
    series::{SeriesChunk, SeriesId},
};

/// Version of the lines. What a later format of the store has more is optional in them.
pub const EXPORT_VERSION: u32 = 1;

/// Why a store cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A chunk cannot be read.
    #[error(transparent)]
    Chunk(#[from] ReadError),
    /// Label sets do not read.
    #[error("label sets are damaged; `statscache store check` says where")]
    Labels(#[from] Corrupt),
    /// A cell whose label set is not there.
    #[error("a cell of namespace {0} has a label set that is not there; `statscache store check` says where")]
    UnknownSeries(NamespaceId),
    /// The lines cannot be written.
    #[error("the lines cannot be written")]
    Write(#[from] io::Error),
}

/// Oldest format of a store whose export can be imported.
pub(super) const FORMAT_OLDEST: u32 = 2;

/// What was exported, or imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Namespaces.
    pub namespaces: u64,
    /// Label sets.
    pub series: u64,
    /// Cells.
    pub cells: u64,
    /// Lines, all of them.
    pub lines: u64,
}

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) statscache_export: u32,
    pub(super) format: u32,
}

/// Every other line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    Namespace {
        number: NamespaceId,
        record: NamespaceRecord,
    },
    Cursor {
        namespace: NamespaceId,
        cursor: Cursor,
    },
    Reading {
        namespace: NamespaceId,
        until: Timestamp,
        read: Intervals,
        /// Not there in exports of stores of format 2.
        #[serde(default)]
        filled: Intervals,
    },
    Coverage(Intervals),
    Labels {
        namespace: NamespaceId,
        metric: String,
        series: SeriesId,
        labels: Vec<String>,
    },
    Cells(Cells),
    End(u64),
}

/// Cells of one label set in one partition.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cells {
    pub(super) namespace: NamespaceId,
    pub(super) metric: String,
    pub(super) tier: Option<String>,
    pub(super) partition: Partition,
    pub(super) series: SeriesId,
    pub(super) labels: Vec<String>,
    pub(super) cells: Vec<(Option<Timestamp>, Box<RawValue>)>,
}

/// A coverage.
pub(super) type Intervals = Vec<(Timestamp, Timestamp, Level)>;

/// How much was seen.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    Part,
    Whole,
}

impl From<Seen> for Level {
    fn from(seen: Seen) -> Self {
        match seen {
            Seen::Part => Self::Part,
            Seen::Whole => Self::Whole,
        }
    }
}

impl From<Level> for Seen {
    fn from(level: Level) -> Self {
        match level {
            Level::Part => Self::Part,
            Level::Whole => Self::Whole,
        }
    }
}

fn intervals(coverage: &Coverage) -> Intervals {
    coverage.intervals().map(|(start, end, seen)| (start, end, seen.into())).collect()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LatestJson {
    removed: Option<Timestamp>,
    values: Vec<ValueJson>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ValueJson {
    time: Timestamp,
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// An encoded state as JSON.
fn json_of(kind: Kind, state: &[u8]) -> Result<Box<RawValue>, Corrupt> {
    let json = match kind {
        Kind::Count => serde_json::value::to_raw_value(&CountRule.decode(&mut Input(state))?),
        Kind::Latest { n, ttl } => {
            let LatestState { removed, values } = LatestRule { n, ttl }.decode(&mut Input(state))?;
            let value = |LatestValue { time, id, json }| match serde_json::from_str::<Box<RawValue>>(&json) {
                // What stands around a value is not part of it, and would not come back.
                Ok(raw) if raw.get() == json && !json.contains(['\n', '\r']) => {
                    ValueJson { time, id, value: Some(raw), text: None }
                }
                _ => ValueJson { time, id, value: None, text: Some(json) },
            };
            let values = values.into_iter().map(value).collect();
            serde_json::value::to_raw_value(&LatestJson { removed, values })
        }
        _ => serde_json::value::to_raw_value(&state.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    };
    json.map_err(|_| Corrupt("a state has no JSON form"))
}

/// The encoded state that [`json_of`] made JSON of.
pub(super) fn state_of(kind: Kind, json: &RawValue) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let failed = |error: serde_json::Error| format!("a state is no {}: {error}", kind.as_str());
    match kind {
        Kind::Count => CountRule.encode(&serde_json::from_str(json.get()).map_err(failed)?, &mut out),
        Kind::Latest { n, ttl } => {
            let LatestJson { removed, values } = serde_json::from_str(json.get()).map_err(failed)?;
            let value = |ValueJson { time, id, value, text }| match (value, text) {
                (Some(value), None) => Ok(LatestValue { time, id, json: value.get().to_owned() }),
                (None, Some(json)) => Ok(LatestValue { time, id, json }),
                _ => Err("a value has either `value` or `text`".to_owned()),
            };
            let values = values.into_iter().map(value).collect::<Result<_, _>>()?;
            LatestRule { n, ttl }.encode(&LatestState { removed, values }, &mut out);
        }
        _ => {
            let hex: &str = serde_json::from_str(json.get()).map_err(failed)?;
            let digits: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
            let digits = digits.filter(|digits| digits.len() % 2 == 0).ok_or("a state is no hexadecimal number")?;
            out.extend(digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8));
        }
    }
    with_rule!(kind, rule => check_state(rule, &out))?;
    Ok(out)
}

/// Whether these are the bytes of a state as its kind writes them.
fn check_state<R: Rule>(rule: R, bytes: &[u8]) -> Result<(), String> {
    let mut input = Input(bytes);
    let state = rule.decode(&mut input).map_err(|error| format!("a state does not read: {error}"))?;
    if rule.is_neutral(&state) {
        return Err("a state says nothing".to_owned());
    }
    let (mut merged, mut again) = (R::State::default(), Vec::new());
    rule.merge(&mut merged, state);
    rule.encode(&merged, &mut again);
    if input.is_empty() && again == bytes { Ok(()) } else { Err("a state is not written as its kind does".to_owned()) }
}

struct Writer<'w> {
    out: &'w mut dyn Write,
    moved: Moved,
}

impl Writer<'_> {
    fn line(&mut self, line: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut *self.out, line)?;
        self.moved.lines += 1;
        self.out.write_all(b"\n")
    }
}

/// Writes everything that counts of a store; changes nothing in it. What is half removed, what is only
/// waiting to be removed, and segments that are set aside are left out. A damaged row is an error.
pub fn export(backend: Box<dyn Backend>, out: &mut dyn Write) -> Result<Moved, ExportError> {
    format_of(&*backend)?;
    let store = Store { backend };
    let mut damaged = Vec::new();
    let (namespaces, _) = store.read_namespaces(&mut damaged)?;
    let coverage = store.read_coverage(&mut damaged)?;
    if let Some(row) = damaged.into_iter().next() {
        return Err(StoreError::from(row).into());
    }
    let mut writer = Writer { out, moved: Moved::default() };
    writer.line(&Header { statscache_export: EXPORT_VERSION, format: FORMAT_VERSION })?;
    for (number, namespace) in &namespaces {
        writer.line(&Line::Namespace { number: *number, record: namespace.record.clone() })?;
    }
    for (namespace, of) in &namespaces {
        writer.line(&Line::Cursor { namespace: *namespace, cursor: of.cursor })?;
    }
    for (namespace, reading) in namespaces.iter().filter_map(|(ns, of)| Some((ns, of.reading.as_ref()?))) {
        let (until, read, filled) = (reading.until(), intervals(reading.read()), intervals(reading.filled()));
        writer.line(&Line::Reading { namespace: *namespace, until, read, filled })?;
    }
    writer.line(&Line::Coverage(intervals(&coverage)))?;
    for (ns, namespace) in &namespaces {
        writer.labels(*ns, namespace)?;
    }
    for (ns, namespace) in &namespaces {
        writer.namespace(*ns, namespace, &store)?;
    }
    writer.moved.namespaces = namespaces.len() as u64;
    writer.line(&Line::End(writer.moved.lines))?;
    writer.out.flush()?;
    Ok(writer.moved)
}

/// Label sets by their numbers.
fn labels_of(chunks: &[Arc<SeriesChunk>], dimensions: usize) -> Result<Vec<Vec<&str>>, Corrupt> {
    chunks.iter().flat_map(|chunk| chunk.iter(dimensions)).collect()
}

fn owned(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|&label| label.to_owned()).collect()
}

impl Writer<'_> {
    fn labels(&mut self, namespace: NamespaceId, of: &Namespace) -> Result<(), ExportError> {
        for (metric, chunks) in of.record.metrics.iter().zip(&of.series) {
            for (number, labels) in labels_of(chunks, metric.dimensions.len())?.into_iter().enumerate() {
                let (metric, series, labels) = (metric.name.clone(), number as SeriesId, owned(&labels));
                self.line(&Line::Labels { namespace, metric, series, labels })?;
                self.moved.series += 1;
            }
        }
        Ok(())
    }

    fn namespace(&mut self, ns: NamespaceId, of: &Namespace, store: &Store) -> Result<(), ExportError> {
        for ((metric, chunks), segments) in of.record.metrics.iter().zip(&of.series).zip(&of.segments) {
            let labels = labels_of(chunks, metric.dimensions.len())?;
            let mut partitions: BTreeMap<(u8, Partition), Vec<&Segment>> = BTreeMap::new();
            for segment in segments {
                partitions.entry((segment.key().tier, segment.key().partition)).or_default().push(segment);
            }
            for segments in partitions.into_values() {
                with_rule!(metric.kind, rule => self.partition(rule, (ns, metric), &labels, &segments, store))?;
            }
        }
        Ok(())
    }

    fn partition<R: Rule>(
        &mut self,
        rule: R,
        of: (NamespaceId, &MetricDescriptor),
        labels: &[Vec<&str>],
        segments: &[&Segment],
        store: &Store,
    ) -> Result<(), ExportError> {
        let mut cells: Vec<Cell<R::State>> = Vec::new();
        let Some(key) = segments.first().map(|segment| segment.key()) else { return Ok(()) };
        for cell in Merged::new(rule, store, segments.iter().copied(), 0)? {
            let cell = cell?;
            if cells.last().is_some_and(|last| last.series != cell.series) {
                self.cells(rule, of, (key.tier, key.partition), labels, &std::mem::take(&mut cells))?;
            }
            // What has amounted to nothing is not told: it may be there or not.
            if !rule.is_neutral(&cell.state) {
                cells.push(cell);
            }
        }
        self.cells(rule, of, (key.tier, key.partition), labels, &cells)
    }

    fn cells<R: Rule>(
        &mut self,
        rule: R,
        (namespace, metric): (NamespaceId, &MetricDescriptor),
        (tier, partition): (u8, Partition),
        labels: &[Vec<&str>],
        cells: &[Cell<R::State>],
    ) -> Result<(), ExportError> {
        let Some(series) = cells.first().map(|cell| cell.series) else { return Ok(()) };
        let labels = labels.get(series as usize).ok_or(ExportError::UnknownSeries(namespace))?;
        let tier = match metric.kind.is_bucketed() {
            true => Some(*metric.tiers.as_slice().get(usize::from(tier)).ok_or(Corrupt("the tier is not declared"))?),
            false => None,
        };
        let start = |place| tier.map(|tier| bucket::start_of(partition, place, tier.resolution));
        let mut bytes = Vec::new();
        let mut told = Vec::with_capacity(cells.len());
        for cell in cells {
            bytes.clear();
            rule.encode(&cell.state, &mut bytes);
            told.push((start(cell.place), json_of(metric.kind, &bytes)?));
        }
        self.moved.cells += told.len() as u64;
        let (metric, tier) = (metric.name.clone(), tier.map(|tier| tier.resolution.to_string()));
        let labels = owned(labels);
        self.line(&Line::Cells(Cells { namespace, metric, tier, partition, series, labels, cells: told }))?;
        Ok(())
    }
}
