//! Segments: the cells of one metric, tier and partition that were written together. Immutable.
//!
//! A segment is a run of **chunks** in ascending order of series; a chunk is one value in the store
//! and reads on its own. What is small is stored in one row and stays in memory. Of the rest
//! only the directory does: chunks are read when somebody asks ([`ChunkSource`]).
//!
//! The first byte of a chunk says how the rest is laid out: 0 is [`rows`], others are those of
//! [`crate::columns`]. Commits write rows, which are cheap to write and to merge; a partition that
//! is closed is written again as columns, which are small.

pub mod rows;

use std::{ops::RangeInclusive, sync::Arc};

use crate::{
    bucket::Partition,
    bytes::{Corrupt, Input, put_u64},
    columns,
    kind::Rule,
    series::SeriesId,
    store::{NamespaceId, StoreError},
};

/// State of one series in one bucket; kinds without buckets have place 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell<S> {
    /// Which label set.
    pub series: SeriesId,
    /// Which bucket of the partition.
    pub place: u32,
    /// What is there.
    pub state: S,
}

/// How the chunks of a segment are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// As closed partitions are kept.
    Columns,
    /// As commits write them.
    Rows,
}

/// Which segment: cells of one metric, tier and partition that one commit wrote in one form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentKey {
    /// Whose.
    pub ns: NamespaceId,
    /// Position of the metric.
    pub metric: u16,
    /// Position of the tier; 0 for kinds without buckets.
    pub tier: u8,
    /// Which stretch of time; 0 for kinds without buckets.
    pub partition: Partition,
    /// In what form.
    pub form: Form,
    /// Number of the commit.
    pub commit: u64,
}

/// What the directory of a segment says of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkMeta {
    /// Its first series.
    pub first: SeriesId,
    /// Its last series.
    pub last: SeriesId,
    /// Its number of cells.
    pub cells: u32,
    /// Its bytes.
    pub len: u32,
}

/// A chunk as it was packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedChunk {
    /// Its first series.
    pub first: SeriesId,
    /// Its last series.
    pub last: SeriesId,
    /// Its number of cells.
    pub cells: u32,
    /// As stored.
    pub bytes: Vec<u8>,
}

impl PackedChunk {
    /// What the directory says of it.
    pub fn meta(&self) -> ChunkMeta {
        ChunkMeta { first: self.first, last: self.last, cells: self.cells, len: self.bytes.len() as u32 }
    }
}

/// Where chunks that are not in memory come from.
pub trait ChunkSource: Send + Sync {
    /// The chunk with this number.
    fn chunk(&self, key: SegmentKey, number: u32) -> Result<Arc<[u8]>, ReadError>;
}

/// Why a segment cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not there: what asks has a view so old that the segment has been replaced since.
    #[error("chunk {1} of {0:?} is not there")]
    Gone(SegmentKey, u32),
    /// Its bytes do not read.
    #[error("chunk {1} of {0:?} is damaged")]
    Damaged(SegmentKey, u32, #[source] Corrupt),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Series that somebody wants to read.
pub trait Selection {
    /// Whether it is one of them.
    fn has(&self, series: SeriesId) -> bool;
    /// Whether one of them may be in this range.
    fn may_have(&self, range: RangeInclusive<SeriesId>) -> bool;
}

/// Every series.
#[derive(Clone, Copy, Debug)]
pub struct All;

impl Selection for All {
    fn has(&self, _: SeriesId) -> bool {
        true
    }

    fn may_have(&self, _: RangeInclusive<SeriesId>) -> bool {
        true
    }
}

/// Cells in ascending order of (series, place), each pair once.
#[derive(Clone, Debug)]
pub struct Segment {
    key: SegmentKey,
    chunks: Vec<ChunkMeta>,
    /// The only chunk, where it is in memory.
    resident: Option<Arc<[u8]>>,
}

impl Segment {
    /// A segment whose only chunk is in memory.
    pub fn resident(key: SegmentKey, chunk: PackedChunk) -> Self {
        Self { key, chunks: vec![chunk.meta()], resident: Some(chunk.bytes.into()) }
    }

    /// A segment whose chunks are in the store.
    pub fn stored(key: SegmentKey, chunks: Vec<ChunkMeta>) -> Self {
        Self { key, chunks, resident: None }
    }

    /// Which it is.
    pub fn key(&self) -> SegmentKey {
        self.key
    }

    /// Its directory.
    pub fn chunks(&self) -> &[ChunkMeta] {
        &self.chunks
    }

    /// Bytes of the chunk that is in memory.
    pub fn resident_bytes(&self) -> Option<&[u8]> {
        self.resident.as_deref()
    }

    /// Packed size.
    pub fn bytes_len(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.len)).sum()
    }

    /// Number of cells.
    pub fn cells(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.cells)).sum()
    }

    /// Memory that it takes.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.chunks.len() * size_of::<ChunkMeta>() + self.resident.as_ref().map_or(0, |it| it.len())
    }

    /// Visits the cells of the wanted series, in order. Chunks without any are not read.
    pub fn for_each<R: Rule>(
        &self,
        rule: R,
        source: &dyn ChunkSource,
        wanted: &impl Selection,
        mut visit: impl FnMut(Cell<R::State>),
    ) -> Result<(), ReadError> {
        for (number, chunk) in self.chunks.iter().enumerate() {
            if wanted.may_have(chunk.first..=chunk.last) {
                self.for_each_in(rule, source, number, wanted, &mut visit)?;
            }
        }
        Ok(())
    }

    /// Visits the cells of the wanted series in one chunk.
    fn for_each_in<R: Rule>(
        &self,
        rule: R,
        source: &dyn ChunkSource,
        number: usize,
        wanted: &impl Selection,
        visit: &mut impl FnMut(Cell<R::State>),
    ) -> Result<(), ReadError> {
        let number = number as u32;
        let bytes = match &self.resident {
            Some(bytes) => bytes.clone(),
            None => source.chunk(self.key, number)?,
        };
        read_chunk(&bytes, rule, wanted, visit).map_err(|corrupt| ReadError::Damaged(self.key, number, corrupt))
    }

    /// Appends the directory: number of chunks; per chunk its first series (minus the last of the one
    /// before), last minus first, cells, bytes.
    pub fn encode_directory(chunks: &[ChunkMeta], out: &mut Vec<u8>) {
        put_u64(out, chunks.len() as u64);
        let mut before = 0;
        for chunk in chunks {
            for n in [chunk.first - before, chunk.last - chunk.first, chunk.cells, chunk.len] {
                put_u64(out, u64::from(n));
            }
            before = chunk.last;
        }
    }

    /// Reads what [`Segment::encode_directory`] wrote.
    pub fn decode_directory(input: &mut Input<'_>) -> Result<Vec<ChunkMeta>, Corrupt> {
        let len = input.u64()?;
        let mut chunks: Vec<ChunkMeta> = Vec::with_capacity(len.min(input.0.len() as u64 / 4) as usize);
        for _ in 0..len {
            let too_large = Corrupt("a series is too large");
            let before = chunks.last().map(|chunk| chunk.last);
            let delta = input.u32()?;
            if before.is_some() && delta == 0 {
                return Err(Corrupt("chunks of a segment overlap"));
            }
            let first = before.unwrap_or(0).checked_add(delta).ok_or(too_large)?;
            let last = first.checked_add(input.u32()?).ok_or(too_large)?;
            chunks.push(ChunkMeta { first, last, cells: input.u32()?, len: input.u32()? });
        }
        Ok(chunks)
    }
}

/// Visits the cells of the wanted series of one chunk, in whatever layout.
pub fn read_chunk<R: Rule>(
    bytes: &[u8],
    rule: R,
    wanted: &impl Selection,
    visit: &mut impl FnMut(Cell<R::State>),
) -> Result<(), Corrupt> {
    match bytes.first() {
        Some(&rows::LAYOUT) => rows::for_each(&bytes[1..], rule, wanted, visit),
        Some(_) => columns::for_each(bytes, rule, wanted, visit),
        None => Err(Corrupt("a chunk is empty")),
    }
}

/// Sorts cells and merges those of one (series, place).
pub fn merge_sorted<R: Rule>(rule: R, mut cells: Vec<Cell<R::State>>) -> Vec<Cell<R::State>> {
    cells.sort_by_key(|cell| (cell.series, cell.place));
    cells.dedup_by(|from, into| {
        let same = (from.series, from.place) == (into.series, into.place);
        if same {
            rule.merge(&mut into.state, std::mem::take(&mut from.state));
        }
        same
    });
    cells
}

/// The cells of several segments in ascending order, states merged where they meet. Holds one chunk
/// of each in memory at a time.
pub struct Merged<'s, R: Rule> {
    rule: R,
    source: &'s dyn ChunkSource,
    heads: Vec<Head<'s, R>>,
    failed: bool,
}

/// How far one segment is read.
struct Head<'s, R: Rule> {
    segment: &'s Segment,
    next_chunk: usize,
    /// Cells of the present chunk, last first.
    cells: Vec<Cell<R::State>>,
}

/// Series from this one on.
struct From(SeriesId);

impl Selection for From {
    fn has(&self, series: SeriesId) -> bool {
        series >= self.0
    }

    fn may_have(&self, range: RangeInclusive<SeriesId>) -> bool {
        *range.end() >= self.0
    }
}

impl<'s, R: Rule> Merged<'s, R> {
    /// From this series on.
    pub fn new(
        rule: R,
        source: &'s dyn ChunkSource,
        segments: impl IntoIterator<Item = &'s Segment>,
        from: SeriesId,
    ) -> Result<Self, ReadError> {
        let mut heads = Vec::new();
        for segment in segments {
            let next_chunk = segment.chunks.partition_point(|chunk| chunk.last < from);
            let mut head = Head { segment, next_chunk, cells: Vec::new() };
            head.load(rule, source, &From(from))?;
            heads.push(head);
        }
        Ok(Self { rule, source, heads, failed: false })
    }

    fn step(&mut self) -> Result<Option<Cell<R::State>>, ReadError> {
        let place = |cell: &Cell<R::State>| (cell.series, cell.place);
        let Some(least) = self.heads.iter().filter_map(|head| head.cells.last().map(place)).min() else {
            return Ok(None);
        };
        let mut merged: Option<Cell<R::State>> = None;
        for head in &mut self.heads {
            let Some(cell) = head.cells.pop_if(|cell| place(cell) == least) else { continue };
            match &mut merged {
                Some(into) => self.rule.merge(&mut into.state, cell.state),
                None => merged = Some(cell),
            }
            head.load(self.rule, self.source, &All)?;
        }
        Ok(merged)
    }
}

impl<R: Rule> Head<'_, R> {
    /// Reads on until there are cells, or no chunks.
    fn load(&mut self, rule: R, source: &dyn ChunkSource, wanted: &impl Selection) -> Result<(), ReadError> {
        while self.cells.is_empty() && self.next_chunk < self.segment.chunks.len() {
            let cells = &mut self.cells;
            self.segment.for_each_in(rule, source, self.next_chunk, wanted, &mut |cell| cells.push(cell))?;
            self.cells.reverse();
            self.next_chunk += 1;
        }
        Ok(())
    }
}

impl<R: Rule> Iterator for Merged<'_, R> {
    type Item = Result<Cell<R::State>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step();
        self.failed = step.is_err();
        step.transpose()
    }
}

#[cfg(test)]
mod tests;
