//! Makes a store of what [`super::export`] wrote. Label sets keep their numbers, so an instance with
//! the same configuration goes on where it was.
//!
//! Cursors are written last, in one write: until then every namespace looks half removed, and the
//! next [`Store::open`] clears an interrupted import away.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read as _},
};

use statscache_plugin_sdk::{Declaration, Kind, MetricDescriptor};

use super::{
    Batch, Cursor, FORMAT_VERSION, NamespaceId, NamespaceRecord, Store, StoreError,
    backend::Backend,
    export::{Cells, EXPORT_VERSION, FORMAT_OLDEST, Header, Intervals, Line, Moved, state_of},
};
use crate::{
    bucket,
    bytes::{Corrupt, Input, put_i64},
    columns,
    coverage::{Coverage, Reading},
    kind::{Rule, with_rule},
    limits::{IMPORT_CELLS_MAX, IMPORT_LINE_BYTES_MAX, IMPORT_STATE_BYTES_MAX},
    segment::{Cell, ChunkMeta, Form, PackedChunk, SegmentKey},
    series::{SeriesId, SeriesTable},
};

/// Rows that are written at a time.
const BATCH_ROWS: usize = 500;
/// Label sets in one row.
const SERIES_ROW: usize = 8192;

/// Why an export cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is something already.
    #[error("the store is not empty: it has state of {}; import into an empty [data] dir", .instances.join(", "))]
    NotEmpty {
        /// Instances that it has.
        instances: Vec<String>,
    },
    /// A line that does not fit.
    #[error("line {number}: {why}")]
    Line {
        /// Its number, from 1 on.
        number: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The lines cannot be read.
    #[error("the lines cannot be read")]
    Read(#[from] io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a line says that is wrong.
#[derive(Debug)]
enum Wrong {
    Said(String),
    Store(StoreError),
}

impl From<StoreError> for Wrong {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<String> for Wrong {
    fn from(why: String) -> Self {
        Self::Said(why)
    }
}

impl From<&str> for Wrong {
    fn from(why: &str) -> Self {
        Self::Said(why.to_owned())
    }
}

impl From<Corrupt> for Wrong {
    fn from(corrupt: Corrupt) -> Self {
        Self::Said(corrupt.to_string())
    }
}

/// Reads lines into an empty store. After an error the store is as empty as before.
pub fn import(backend: Box<dyn Backend>, lines: &mut dyn BufRead) -> Result<Moved, ImportError> {
    let (store, contents) = Store::open(backend)?;
    // What is set aside is there as well, and keeps its number.
    let damaged = contents.damaged.into_iter().filter_map(|row| row.namespace);
    let mut damaged: Vec<String> =
        damaged.map(|(ns, instance)| instance.unwrap_or_else(|| format!("namespace {ns}, which is damaged"))).collect();
    damaged.dedup();
    if !contents.namespaces.is_empty() || !damaged.is_empty() {
        let whole = contents.namespaces.into_values().map(|namespace| namespace.record.instance);
        let instances = whole.chain(damaged).collect();
        return Err(ImportError::NotEmpty { instances });
    }
    let mut importer = Importer {
        store,
        batch: Batch::default(),
        namespaces: BTreeMap::new(),
        coverage: Coverage::new(),
        open: None,
        moved: Moved::default(),
    };
    let imported = importer.run(lines);
    if imported.is_err() {
        for ns in importer.namespaces.keys() {
            // What cannot be removed now is at the next open: no cursor is written yet.
            let _ = importer.store.remove_namespace(*ns);
        }
    }
    imported
}

struct Importer {
    store: Store,
    batch: Batch,
    namespaces: BTreeMap<NamespaceId, Incoming>,
    coverage: Coverage,
    /// The segment to which cells are being added.
    open: Option<Open>,
    moved: Moved,
}

/// A namespace that is being imported.
struct Incoming {
    record: NamespaceRecord,
    cursor: Option<Cursor>,
    reading: Option<Reading>,
    /// By metric.
    series: Vec<SeriesTable>,
}

/// A segment that is being made.
struct Open {
    key: SegmentKey,
    kind: Kind,
    last: SeriesId,
    /// Not packed yet, their states encoded; and their bytes.
    cells: Vec<(SeriesId, u32, Vec<u8>)>,
    bytes: usize,
    directory: Vec<ChunkMeta>,
}

impl Importer {
    fn run(&mut self, lines: &mut dyn BufRead) -> Result<Moved, ImportError> {
        let mut line = Vec::new();
        loop {
            line.clear();
            lines.take(IMPORT_LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
            let read = match line.strip_suffix(b"\n") {
                Some(line) if self.moved.lines == 0 => header(line).map(|()| false),
                Some(line) => self.line(line),
                None if line.len() as u64 >= IMPORT_LINE_BYTES_MAX => Err("it is too long".into()),
                None => Err("it is not whole: the export ends early".into()),
            };
            self.moved.lines += 1;
            let number = self.moved.lines;
            let failed = |wrong| match wrong {
                Wrong::Said(why) => ImportError::Line { number, why },
                Wrong::Store(error) => error.into(),
            };
            if read.map_err(failed)? {
                if !lines.fill_buf()?.is_empty() {
                    return Err(ImportError::Line { number: number + 1, why: "something follows the end".to_owned() });
                }
                self.finish().map_err(failed)?;
                return Ok(self.moved);
            }
        }
    }

    /// Takes one line; says whether it was the last.
    fn line(&mut self, line: &[u8]) -> Result<bool, Wrong> {
        let line: Line = serde_json::from_slice(line).map_err(|error| format!("it does not read: {error}"))?;
        match line {
            Line::Namespace { number, record } => self.namespace(number, record)?,
            Line::Cursor { namespace, cursor } => self.incoming(namespace)?.cursor = Some(cursor),
            Line::Reading { namespace, until, read, filled } => {
                let mut bytes = Vec::new();
                put_i64(&mut bytes, until.micros());
                coverage(&read)?.encode(&mut bytes);
                coverage(&filled)?.encode(&mut bytes);
                self.incoming(namespace)?.reading = Some(Reading::decode(&mut Input(&bytes))?);
            }
            Line::Coverage(intervals) => self.coverage = coverage(&intervals)?,
            Line::Labels { namespace, metric, series, labels } => self.labels(namespace, &metric, series, &labels)?,
            Line::Cells(cells) => self.cells(&cells)?,
            Line::End(lines) if lines == self.moved.lines => return Ok(true),
            Line::End(lines) => {
                return Err(
                    format!("the export had {lines} lines before this one, here are {}", self.moved.lines).into()
                );
            }
        }
        Ok(false)
    }

    fn incoming(&mut self, ns: NamespaceId) -> Result<&mut Incoming, Wrong> {
        self.namespaces.get_mut(&ns).ok_or_else(|| format!("there is no namespace {ns}").into())
    }

    fn namespace(&mut self, ns: NamespaceId, record: NamespaceRecord) -> Result<(), Wrong> {
        if self.namespaces.last_key_value().is_some_and(|(last, _)| *last >= ns) {
            return Err(format!("namespace {ns} is not behind those before it").into());
        }
        if record.metrics.len() > usize::from(u16::MAX)
            || record.metrics.iter().any(|metric| metric.dimensions.len() > Declaration::DIMENSIONS_MAX)
        {
            return Err(format!("namespace {ns} has more metrics, or a metric more labels, than there can be").into());
        }
        let mut batch = Batch::default();
        batch.put_namespace(ns, &record);
        self.store.apply(&batch)?;
        let series = record.metrics.iter().map(|metric| SeriesTable::new(metric.dimensions.len(), u32::MAX)).collect();
        self.namespaces.insert(ns, Incoming { record, cursor: None, reading: None, series });
        self.moved.namespaces += 1;
        Ok(())
    }

    fn labels(&mut self, ns: NamespaceId, metric: &str, series: SeriesId, labels: &[String]) -> Result<(), Wrong> {
        let incoming = self.incoming(ns)?;
        let (position, descriptor) = incoming.metric(metric)?;
        if labels.len() != descriptor.dimensions.len() {
            return Err(
                format!("metric {metric} has {} labels, not {}", descriptor.dimensions.len(), labels.len()).into()
            );
        }
        let table = &mut incoming.series[usize::from(position)];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let expected = table.len();
        if series as usize != expected {
            return Err(format!("label set {expected} of metric {metric} would be the next, not {series}").into());
        }
        if table.resolve(&labels) != series {
            return Err(format!("metric {metric} has this label set already").into());
        }
        let chunk = if (series as usize + 1).is_multiple_of(SERIES_ROW) { table.take_new() } else { None };
        if let Some(chunk) = chunk {
            self.batch.put_series(ns, position, &chunk);
        }
        self.moved.series += 1;
        self.write_if_full()
    }

    fn cells(&mut self, line: &Cells) -> Result<(), Wrong> {
        let incoming = self.incoming(line.namespace)?;
        let (metric, descriptor) = incoming.metric(&line.metric)?;
        let labels: Vec<&str> = line.labels.iter().map(String::as_str).collect();
        let (kind, tiers) = (descriptor.kind, descriptor.tiers.clone());
        let table = &mut incoming.series[usize::from(metric)];
        if labels.len() != table.dimensions()
            || line.series as usize >= table.len()
            || table.resolve(&labels) != line.series
        {
            return Err(format!("these are not the labels of label set {}", line.series).into());
        }
        let tier = match (&line.tier, kind.is_bucketed()) {
            (Some(name), true) => {
                let position = tiers.as_slice().iter().position(|tier| tier.resolution.to_string() == *name);
                Some(position.ok_or_else(|| format!("metric {} has no tier {name}", line.metric))?)
            }
            (None, false) if line.partition == 0 => None,
            _ => return Err(format!("the tier or the partition is none of a {}", kind.as_str()).into()),
        };
        let key = SegmentKey {
            ns: line.namespace,
            metric,
            tier: tier.unwrap_or(0) as u8,
            partition: line.partition,
            form: Form::Columns,
            commit: 1,
        };
        self.segment(key, kind, line.series)?;
        let mut next = 0;
        for (start, state) in &line.cells {
            let place = match (start, tier.map(|tier| tiers.as_slice()[tier].resolution)) {
                (None, None) => 0,
                (Some(start), Some(resolution)) => match bucket::locate(*start, resolution) {
                    (partition, place) if partition == line.partition && *start == start.floor(resolution) => place,
                    _ => return Err(format!("no bucket of its partition starts at {}", start.micros()).into()),
                },
                _ => return Err("a start is missing, or is there where none belongs".into()),
            };
            if place < next {
                return Err("its cells are not in order".into());
            }
            next = place + 1;
            let state = state_of(kind, state)?;
            if let Some(open) = &mut self.open {
                open.bytes += state.len();
                open.cells.push((line.series, place, state));
            }
            self.moved.cells += 1;
        }
        if self.open.as_ref().is_some_and(|open| open.is_full()) {
            self.pack()?;
        }
        Ok(())
    }

    /// Goes on with this segment, or begins it.
    fn segment(&mut self, key: SegmentKey, kind: Kind, series: SeriesId) -> Result<(), Wrong> {
        match &mut self.open {
            Some(open) if open.key == key && open.last < series => open.last = series,
            Some(open) if open.key >= key => return Err("it is not behind the cells before it".into()),
            _ => {
                self.close()?;
                self.open = Some(Open { key, kind, last: series, cells: Vec::new(), bytes: 0, directory: Vec::new() });
            }
        }
        Ok(())
    }

    /// Packs the cells that are there.
    fn pack(&mut self) -> Result<(), Wrong> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let cells = std::mem::take(&mut open.cells);
        open.bytes = 0;
        for chunk in with_rule!(open.kind, rule => pack(rule, cells))? {
            let number = open.directory.len() as u32;
            open.directory.push(chunk.meta());
            self.batch.put_chunk(open.key, number, chunk);
        }
        self.write_if_full()
    }

    fn close(&mut self) -> Result<(), Wrong> {
        self.pack()?;
        if let Some(open) = self.open.take().filter(|open| !open.directory.is_empty()) {
            self.batch.put_index(open.key, open.directory);
        }
        Ok(())
    }

    fn write_if_full(&mut self) -> Result<(), Wrong> {
        if self.batch.len() >= BATCH_ROWS {
            self.store.apply(&std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }

    /// Writes what is left, and then what makes it count.
    fn finish(&mut self) -> Result<(), Wrong> {
        self.close()?;
        let mut last = Batch::default();
        for (ns, incoming) in &mut self.namespaces {
            for (metric, table) in incoming.series.iter_mut().enumerate() {
                if let Some(chunk) = table.take_new() {
                    self.batch.put_series(*ns, metric as u16, &chunk);
                }
            }
            let cursor = incoming.cursor.ok_or_else(|| format!("namespace {ns} has no cursor"))?;
            last.put_cursor(*ns, &cursor);
            if let Some(reading) = &incoming.reading {
                last.put_reading(*ns, reading);
            }
        }
        last.put_coverage(&self.coverage);
        self.store.apply(&std::mem::take(&mut self.batch))?;
        self.store.apply(&last)?;
        Ok(self.store.sync()?)
    }
}

impl Incoming {
    fn metric(&self, name: &str) -> Result<(u16, &MetricDescriptor), Wrong> {
        let position = self.record.metrics.iter().position(|metric| metric.name == name);
        let position = position.ok_or_else(|| format!("instance {} has no metric {name}", self.record.instance))?;
        Ok((position as u16, &self.record.metrics[position]))
    }
}

impl Open {
    fn is_full(&self) -> bool {
        self.cells.len() >= IMPORT_CELLS_MAX || self.bytes >= IMPORT_STATE_BYTES_MAX
    }
}

fn header(line: &[u8]) -> Result<(), Wrong> {
    let header: Header = serde_json::from_slice(line).map_err(|_| "it is not the first line of an export")?;
    let formats = FORMAT_OLDEST..=FORMAT_VERSION;
    if header.statscache_export != EXPORT_VERSION || !formats.contains(&header.format) {
        let Header { statscache_export, format } = header;
        return Err(format!(
            "the export has version {statscache_export} and is of a store of format {format}; \
             this version reads {EXPORT_VERSION}, and {FORMAT_OLDEST} to {FORMAT_VERSION}: import it with the version that wrote it"
        )
        .into());
    }
    Ok(())
}

fn coverage(intervals: &Intervals) -> Result<Coverage, Wrong> {
    let mut coverage = Coverage::new();
    let mut before = None;
    for (start, end, level) in intervals {
        if start >= end || before.is_some_and(|before| before > *start) {
            return Err("intervals of a coverage are not in order".into());
        }
        before = Some(*end);
        coverage.add(*start, *end, (*level).into());
    }
    Ok(coverage)
}

fn pack<R: Rule>(rule: R, cells: Vec<(SeriesId, u32, Vec<u8>)>) -> Result<Vec<PackedChunk>, Corrupt> {
    let mut decoded = Vec::with_capacity(cells.len());
    for (series, place, bytes) in cells {
        decoded.push(Cell { series, place, state: rule.decode(&mut Input(&bytes))? });
    }
    let mut chunks = Vec::new();
    columns::pack(rule, decoded.into_iter(), |chunk| chunks.push(chunk));
    Ok(chunks)
}
