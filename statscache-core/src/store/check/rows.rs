//! Every row on its own, and against those that it belongs to.

use std::collections::{BTreeMap, HashSet};

use xxhash_rust::xxh3::xxh3_128;

use super::{Checker, Indexed, Known, RESTORE};
use crate::{
    bytes::{Corrupt, Input, put_bytes},
    kind::with_rule,
    limits::PARTITION_BUCKETS,
    segment::{All, ChunkMeta, Form, SegmentKey, read_chunk},
    series::SeriesChunk,
    store::{FORMAT_VERSION, NamespaceId, StoreError, keys, values},
};

const UNKNOWN: Corrupt = Corrupt("it belongs to no metric or tier that is declared");

/// What is learnt from rows that belong to several others.
#[derive(Default)]
struct Loose {
    /// Segments whose chunks are nobody's.
    garbage: BTreeMap<SegmentKey, u32>,
    /// Rows of namespaces that have no record.
    strays: BTreeMap<NamespaceId, u64>,
}

/// What is wrong with one row.
type Verdict = Result<(), String>;

/// Judges the key and the value of a row.
type Visit<'v, 'c> = dyn FnMut(&mut Checker<'c>, &[u8], &[u8]) -> Verdict + 'v;
/// The same, also of a row whose checksum is wrong.
type VisitUnread<'v, 'c> = dyn FnMut(&mut Checker<'c>, &[u8], Result<&[u8], Corrupt>) -> Verdict + 'v;

fn corrupt(error: Corrupt) -> String {
    error.to_string()
}

impl<'c> Checker<'c> {
    pub(super) fn rows(&mut self) -> Result<(), StoreError> {
        let mut loose = Loose::default();
        let mut has_format = false;
        self.each_unread(keys::FORMAT, &mut |_, _, value| {
            has_format = true;
            match value.and_then(values::format).map_err(corrupt)? {
                FORMAT_VERSION => Ok(()),
                other => Err(format!("format {other} beside another")),
            }
        })?;
        self.each(keys::COVERAGE, &mut |_, _, value| values::read_coverage(value).map(drop).map_err(corrupt))?;
        self.records()?;
        self.cursors_and_readings(&mut loose)?;
        self.label_sets(&mut loose)?;
        self.indexes(&mut loose)?;
        self.each(keys::GARBAGE, &mut |checker, key, value| {
            let segment = keys::read_segment(key).map_err(corrupt)?;
            checker.of_namespace(segment.ns, &mut loose);
            loose.garbage.insert(segment, values::read_garbage(value).map_err(corrupt)?);
            Ok(())
        })?;
        self.set_aside(&mut loose)?;
        self.chunks(&mut loose)?;
        self.missing_chunks();
        for tag in (0..=u8::MAX).filter(|tag| keys::kind(&[*tag]).is_none()) {
            self.each(&[tag], &mut |_, _, _| Err("nothing is known of such a row".to_owned()))?;
        }
        for (ns, rows) in loose.strays {
            let what = format!("{rows} rows of namespace {ns}, which has no record that reads");
            self.problem(None, what, RESTORE);
        }
        self.half_removed();
        if !has_format && self.rows > 0 {
            self.problem(None, "the row that says the format is missing".to_owned(), RESTORE);
        }
        Ok(())
    }

    /// Visits rows whose checksum is right; tells of the others, and of what `visit` says.
    fn each(&mut self, prefix: &[u8], visit: &mut Visit<'_, 'c>) -> Result<(), StoreError> {
        self.each_unread(prefix, &mut |checker, key, value| visit(checker, key, value.map_err(corrupt)?))
    }

    fn each_unread(&mut self, prefix: &[u8], visit: &mut VisitUnread<'_, 'c>) -> Result<(), StoreError> {
        let backend = self.backend;
        let scanned = backend.scan(prefix, &mut |key, value| {
            self.rows += 1;
            if let Err(why) = visit(self, key, values::open(value)) {
                let ns = keys::read_namespace(key).ok().filter(|ns| self.known.contains_key(ns));
                self.problem(ns, format!("row {}: {why}", keys::describe(key)), RESTORE);
            }
            true
        });
        scanned.map_err(|source| StoreError::Backend { action: "read", source })
    }

    fn records(&mut self) -> Result<(), StoreError> {
        self.each(keys::NAMESPACES, &mut |checker, key, value| {
            let ns = keys::read_namespace(key).map_err(corrupt)?;
            checker.known.insert(ns, Known::new(ns, values::read_namespace(value).map_err(corrupt)?));
            Ok(())
        })
    }

    /// The namespace of a row; if there is none, that is remembered.
    fn of_namespace(&mut self, ns: NamespaceId, loose: &mut Loose) -> Option<&mut Known> {
        let known = self.known.get_mut(&ns);
        if known.is_none() {
            *loose.strays.entry(ns).or_default() += 1;
        }
        known
    }

    fn cursors_and_readings(&mut self, loose: &mut Loose) -> Result<(), StoreError> {
        self.each_unread(keys::CURSORS, &mut |checker, key, value| {
            let Some(known) = checker.of_namespace(keys::read_namespace(key).map_err(corrupt)?, loose) else {
                return Ok(());
            };
            known.has_cursor = true;
            known.cursor = Some(value.and_then(values::read_cursor).map_err(corrupt)?);
            Ok(())
        })?;
        self.each(keys::READINGS, &mut |checker, key, value| {
            let reading = values::read_reading(value).map_err(corrupt)?;
            if let Some(known) = checker.of_namespace(keys::read_namespace(key).map_err(corrupt)?, loose) {
                known.reading = Some(reading);
            }
            Ok(())
        })
    }

    fn label_sets(&mut self, loose: &mut Loose) -> Result<(), StoreError> {
        let mut of = None;
        let mut seen: HashSet<u128> = HashSet::new();
        self.each(keys::ALL_SERIES, &mut |checker, key, value| {
            let ns = keys::read_namespace(key).map_err(corrupt)?;
            let (position, first) = keys::read_series(key).map_err(corrupt)?;
            let Some(known) = checker.of_namespace(ns, loose) else { return Ok(()) };
            if of.replace((ns, position)) != Some((ns, position)) {
                seen.clear();
            }
            let metric = known.record.metrics.get(usize::from(position)).ok_or_else(|| corrupt(UNKNOWN))?;
            let chunk = SeriesChunk { first, bytes: value.into() };
            let (mut count, mut twice) = (0_u64, 0_u64);
            let mut bytes = Vec::new();
            let read = chunk.for_each(metric.dimensions.len(), |labels| {
                bytes.clear();
                labels.iter().for_each(|label| put_bytes(&mut bytes, label.as_bytes()));
                twice += u64::from(!seen.insert(xxh3_128(&bytes)));
                count += 1;
            });
            let expected = std::mem::replace(&mut known.series[usize::from(position)], u64::from(first) + count);
            known.report.series += count;
            read.map_err(corrupt)?;
            match (u64::from(first) == expected, twice) {
                (false, _) => Err(format!("it begins with label set {first}, but {expected} would be the next")),
                (true, 0) => Ok(()),
                (true, twice) => Err(format!("{twice} of its label sets are there already")),
            }
        })
    }

    fn indexes(&mut self, loose: &mut Loose) -> Result<(), StoreError> {
        self.each_unread(keys::ALL_INDEXES, &mut |checker, key, value| {
            let key = keys::read_segment(key).map_err(corrupt)?;
            let Some(known) = checker.of_namespace(key.ns, loose) else { return Ok(()) };
            let segment = match value.and_then(|value| values::read_index(key, Input(value))) {
                Ok(segment) => segment,
                Err(error) => {
                    known.unreadable.insert(key);
                    return Err(corrupt(error));
                }
            };
            known.report.segments += 1;
            let verdict = match (segment.resident_bytes(), segment.chunks()) {
                (Some(bytes), [meta]) => known.cells(key, bytes, *meta),
                (_, []) => Err("it has no chunks".to_owned()),
                _ => known.metric(key).map(drop).map_err(corrupt),
            };
            let next_chunk = u32::from(segment.resident_bytes().is_some());
            known.segments.insert(key, Indexed { segment, next_chunk, is_sound: verdict.is_ok() });
            verdict
        })
    }

    /// Segments that are set aside: each is a problem, whatever its row is like.
    fn set_aside(&mut self, loose: &mut Loose) -> Result<(), StoreError> {
        self.each_unread(keys::SET_ASIDE, &mut |checker, key, value| {
            let key = keys::read_segment(key).map_err(corrupt)?;
            if let Some(known) = checker.of_namespace(key.ns, loose) {
                known.unreadable.insert(key);
            }
            let (why, segment) = value.and_then(|value| values::read_set_aside(key, value)).map_err(corrupt)?;
            Err(format!("its {} cells count in no answer, because {why}", segment.cells()))
        })
    }

    fn chunks(&mut self, loose: &mut Loose) -> Result<(), StoreError> {
        self.each_unread(keys::ALL_CHUNKS, &mut |checker, key, value| {
            let (key, number) = keys::read_chunk(key).map_err(corrupt)?;
            let Some(known) = checker.of_namespace(key.ns, loose) else { return value.map(drop).map_err(corrupt) };
            let Some(indexed) = known.segments.get_mut(&key) else {
                let is_explained = !known.has_cursor
                    || known.unreadable.contains(&key)
                    || loose.garbage.get(&key).is_some_and(|chunks| number < *chunks);
                // Nobody reads it: what is wrong in it would be no loss.
                return if is_explained { Ok(()) } else { Err("no index and no garbage row leads to it".to_owned()) };
            };
            let Some(meta) = indexed.segment.chunks().get(number as usize).copied() else {
                return Err("its index ends before it".to_owned());
            };
            if indexed.segment.resident_bytes().is_some() {
                return Err("its segment has its only chunk in the index row".to_owned());
            }
            let is_next = std::mem::replace(&mut indexed.next_chunk, number + 1) == number;
            indexed.is_sound &= is_next;
            let verdict = value.map_err(corrupt).and_then(|value| known.cells(key, value, meta));
            if let Some(indexed) = known.segments.get_mut(&key) {
                indexed.is_sound &= verdict.is_ok();
            }
            verdict?;
            if is_next { Ok(()) } else { Err("the chunk before it is missing".to_owned()) }
        })
    }

    /// Those at the end; those in between have been noticed by the one that follows.
    fn missing_chunks(&mut self) {
        let mut missing = Vec::new();
        for (ns, known) in self.known.iter_mut().filter(|(_, known)| known.has_cursor) {
            for (key, indexed) in &mut known.segments {
                let chunks = indexed.segment.chunks().len() as u32;
                if indexed.next_chunk < chunks {
                    indexed.is_sound = false;
                    missing.push((*ns, keys::describe(&keys::index(*key)), indexed.next_chunk, chunks));
                }
            }
        }
        for (ns, index, from, chunks) in missing {
            let what = format!("row {index}: of its {chunks} chunks, those from number {from} on are missing");
            self.problem(Some(ns), what, RESTORE);
        }
    }

    fn half_removed(&mut self) {
        let half: Vec<NamespaceId> =
            self.known.iter().filter(|(_, known)| !known.has_cursor).map(|(ns, _)| *ns).collect();
        for ns in half {
            self.note(
                Some(ns),
                "it is half removed, or half imported; the next start of the daemon removes it".to_owned(),
            );
        }
    }
}

impl Known {
    /// Label sets of the metric of a segment, and buckets in its partition.
    fn metric(&self, key: SegmentKey) -> Result<(statscache_plugin_sdk::Kind, u64, u32), Corrupt> {
        let metric = self.record.metrics.get(usize::from(key.metric)).ok_or(UNKNOWN)?;
        let (tiers, places) = match metric.kind.is_bucketed() {
            true => (metric.tiers.as_slice().len(), PARTITION_BUCKETS as u32),
            false => (1, 1),
        };
        if usize::from(key.tier) >= tiers || (!metric.kind.is_bucketed() && key.partition != 0) {
            return Err(UNKNOWN);
        }
        Ok((metric.kind, self.series[usize::from(key.metric)], places))
    }

    /// Reads every cell of a chunk, and compares them with what its directory says.
    fn cells(&mut self, key: SegmentKey, bytes: &[u8], meta: ChunkMeta) -> Verdict {
        let (kind, series, places) = self.metric(key).map_err(corrupt)?;
        if bytes.len() != meta.len as usize {
            return Err(format!("it has {} bytes, its index says {}", bytes.len(), meta.len));
        }
        if key.form == Form::Rows && bytes.first() != Some(&crate::segment::rows::LAYOUT) {
            return Err("its key says rows, its first byte columns".to_owned());
        }
        let (mut cells, mut range, mut last, mut wrong) = (0_u32, None, None, None);
        let read = with_rule!(kind, rule => read_chunk(bytes, rule, &All, &mut |cell| {
            cells += 1;
            let place = (cell.series, cell.place);
            range = Some((range.map_or(cell.series, |(first, _)| first), cell.series));
            if last.replace(place).is_some_and(|last| last >= place) {
                wrong = wrong.or(Some("its cells are not in order"));
            }
            if u64::from(cell.series) >= series {
                wrong = wrong.or(Some("it has a cell of a label set that is not there"));
            }
            if cell.place >= places {
                wrong = wrong.or(Some("it has a cell beyond its partition"));
            }
        }));
        read.map_err(corrupt)?;
        self.report.chunks += 1;
        self.report.cells += u64::from(cells);
        if let Some(wrong) = wrong {
            return Err(wrong.to_owned());
        }
        match range {
            _ if cells != meta.cells => Err(format!("it has {cells} cells, its index says {}", meta.cells)),
            Some(range) if range == (meta.first, meta.last) => Ok(()),
            Some((first, last)) => {
                Err(format!("its series go from {first} to {last}, its index says {} to {}", meta.first, meta.last))
            }
            None => Err("it has no cells".to_owned()),
        }
    }
}
