//! Segments: the cells of one metric, tier and partition, packed and immutable.
//!
//! A segment is a run of **chunks** in ascending order of series; a chunk is one value in the
//! store. Layout of a chunk (numbers are LEB128, see [`crate::bytes`]):
//!
//! | field | bytes |
//! |---|---|
//! | number of series | 1-5 |
//! | per series: number minus that of the one before | 1-5 |
//! | … number of cells | 1-2 |
//! | … length of the cells that follow, so that a reader of other series skips them | 1-5 |
//! | … per cell: place in the partition minus the one before | 1-2 |
//! | … state, as [`Rule::encode`] writes it | 1- |

use std::sync::Arc;

use crate::{
    bytes::{Corrupt, Input, put_bytes, put_u64},
    kind::Rule,
    limits::CHUNK_BYTES,
    series::SeriesId,
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

/// Packed cells in ascending order of (series, place), each pair once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    chunks: Vec<Chunk>,
}

/// One stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    first: SeriesId,
    last: SeriesId,
    bytes: Arc<[u8]>,
}

impl Chunk {
    /// Takes stored bytes; checks the frame of series and cells, not the states.
    pub fn from_bytes(bytes: Arc<[u8]>) -> Result<Self, Corrupt> {
        let mut range = None;
        let mut frames = Frames::new(&bytes)?;
        while let Some(frame) = frames.next()? {
            let (first, _) = range.unwrap_or((frame.series, frame.series));
            range = Some((first, frame.series));
        }
        let (first, last) = range.ok_or(Corrupt("a chunk holds no series"))?;
        Ok(Self { first, last, bytes })
    }

    /// As stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Segment {
    /// Puts stored chunks together again.
    pub fn from_chunks(chunks: Vec<Chunk>) -> Result<Self, Corrupt> {
        if chunks.windows(2).any(|pair| pair[0].last >= pair[1].first) {
            return Err(Corrupt("chunks of a segment overlap"));
        }
        Ok(Self { chunks })
    }

    /// Packs cells in ascending order, each (series, place) once.
    pub fn pack<R: Rule>(rule: R, cells: impl IntoIterator<Item = Cell<R::State>>) -> Self {
        let mut packer = Packer { rule, chunks: Vec::new(), open: Open::default() };
        for cell in cells {
            packer.push(&cell);
        }
        packer.finish()
    }

    /// One segment with the cells of all, states merged where they meet.
    pub fn merge<R: Rule>(rule: R, segments: &[&Self]) -> Result<Self, Corrupt> {
        let mut cells = Vec::new();
        for segment in segments {
            segment.for_each(rule, |_| true, |cell| cells.push(cell))?;
        }
        Ok(Self::pack(rule, merge_sorted(rule, cells)))
    }

    /// Visits the cells of the wanted series, in order. Other series are skipped unread.
    pub fn for_each<R: Rule>(
        &self,
        rule: R,
        wanted: impl Fn(SeriesId) -> bool,
        mut visit: impl FnMut(Cell<R::State>),
    ) -> Result<(), Corrupt> {
        for chunk in &self.chunks {
            let mut frames = Frames::new(&chunk.bytes)?;
            while let Some(frame) = frames.next()? {
                if wanted(frame.series) {
                    frame.for_each(rule, &mut visit)?;
                }
            }
        }
        Ok(())
    }

    /// The chunks, for storing.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Packed size.
    pub fn bytes_len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
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

/// The part of a chunk that belongs to one series.
struct Frame<'a> {
    series: SeriesId,
    cell_count: u32,
    cells: &'a [u8],
}

impl Frame<'_> {
    fn for_each<R: Rule>(&self, rule: R, visit: &mut impl FnMut(Cell<R::State>)) -> Result<(), Corrupt> {
        let mut input = Input(self.cells);
        let mut place = 0_u32;
        for _ in 0..self.cell_count {
            place = place.checked_add(input.u32()?).ok_or(Corrupt("a place is too large"))?;
            visit(Cell { series: self.series, place, state: rule.decode(&mut input)? });
        }
        Ok(())
    }
}

struct Frames<'a> {
    input: Input<'a>,
    left: u32,
    series: SeriesId,
    is_first: bool,
}

impl<'a> Frames<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, Corrupt> {
        let mut input = Input(bytes);
        let left = input.u32()?;
        Ok(Self { input, left, series: 0, is_first: true })
    }

    fn next(&mut self) -> Result<Option<Frame<'a>>, Corrupt> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let delta = self.input.u32()?;
        if delta == 0 && !self.is_first {
            return Err(Corrupt("series out of order"));
        }
        self.is_first = false;
        self.series = self.series.checked_add(delta).ok_or(Corrupt("a series is too large"))?;
        let cell_count = self.input.u32()?;
        Ok(Some(Frame { series: self.series, cell_count, cells: self.input.bytes()? }))
    }
}

/// A chunk being written.
#[derive(Default)]
struct Open {
    frames: Vec<u8>,
    frame_count: u64,
    first: SeriesId,
    last: SeriesId,
    cells: Vec<u8>,
    cell_count: u64,
    series: Option<SeriesId>,
    place: u32,
}

impl Open {
    fn close_series(&mut self) {
        let Some(series) = self.series.take() else { return };
        let before = if self.frame_count == 0 { 0 } else { self.last };
        if self.frame_count == 0 {
            self.first = series;
        }
        put_u64(&mut self.frames, u64::from(series - before));
        put_u64(&mut self.frames, self.cell_count);
        put_bytes(&mut self.frames, &self.cells);
        self.frame_count += 1;
        self.last = series;
        self.cells.clear();
        self.cell_count = 0;
        self.place = 0;
    }

    fn close(&mut self) -> Option<Chunk> {
        self.close_series();
        if self.frame_count == 0 {
            return None;
        }
        let mut bytes = Vec::with_capacity(self.frames.len() + 5);
        put_u64(&mut bytes, self.frame_count);
        bytes.append(&mut self.frames);
        self.frame_count = 0;
        Some(Chunk { first: self.first, last: self.last, bytes: bytes.into() })
    }
}

struct Packer<R> {
    rule: R,
    chunks: Vec<Chunk>,
    open: Open,
}

impl<R: Rule> Packer<R> {
    fn push(&mut self, cell: &Cell<R::State>) {
        if self.open.series != Some(cell.series) {
            self.open.close_series();
            if self.open.frames.len() >= CHUNK_BYTES {
                self.chunks.extend(self.open.close());
            }
            self.open.series = Some(cell.series);
        }
        debug_assert!(self.open.cell_count == 0 || cell.place > self.open.place, "cells in ascending order");
        put_u64(&mut self.open.cells, u64::from(cell.place - self.open.place));
        self.rule.encode(&cell.state, &mut self.open.cells);
        self.open.place = cell.place;
        self.open.cell_count += 1;
    }

    fn finish(mut self) -> Segment {
        self.chunks.extend(self.open.close());
        Segment { chunks: self.chunks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::CountRule;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn cells(map: &BTreeMap<(u32, u32), i64>) -> Vec<Cell<i64>> {
        map.iter().map(|(&(series, place), &state)| Cell { series, place, state }).collect()
    }

    fn unpacked(segment: &Segment) -> Vec<Cell<i64>> {
        let mut cells = Vec::new();
        segment.for_each(CountRule, |_| true, |cell| cells.push(cell)).expect("sound");
        cells
    }

    fn any_cells() -> impl Strategy<Value = BTreeMap<(u32, u32), i64>> {
        proptest::collection::btree_map((0..40_u32, 0..512_u32), any::<i64>(), 0..60)
    }

    proptest! {
        #[test]
        fn cells_come_back(map in any_cells()) {
            let segment = Segment::pack(CountRule, cells(&map));
            prop_assert_eq!(unpacked(&segment), cells(&map));
            let stored: Result<Vec<Chunk>, _> =
                segment.chunks().iter().map(|chunk| Chunk::from_bytes(chunk.bytes().into())).collect();
            prop_assert_eq!(Segment::from_chunks(stored.expect("sound")).expect("sound"), segment);
        }

        #[test]
        fn merging_is_adding(a in any_cells(), b in any_cells()) {
            let (x, y) = (Segment::pack(CountRule, cells(&a)), Segment::pack(CountRule, cells(&b)));
            let mut sum = a.clone();
            for (key, n) in &b {
                let cell = sum.entry(*key).or_default();
                *cell = cell.wrapping_add(*n);
            }
            let merged = Segment::merge(CountRule, &[&x, &y]).expect("sound");
            prop_assert_eq!(unpacked(&merged), cells(&sum));
            prop_assert_eq!(Segment::merge(CountRule, &[&y, &x]).expect("sound"), merged, "bytes do not depend on order");
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            if let Ok(chunk) = Chunk::from_bytes(bytes.into()) {
                let segment = Segment { chunks: vec![chunk] };
                let _ = segment.for_each(CountRule, |_| true, |_| ());
            }
        }
    }

    #[test]
    fn large_segments_are_split_between_series() {
        let all = (0..5000).flat_map(|series| (0..4).map(move |place| Cell { series, place, state: 1_000_000_i64 }));
        let segment = Segment::pack(CountRule, all);
        assert!(segment.chunks().len() > 4, "{}", segment.chunks().len());
        assert!(segment.chunks().iter().all(|chunk| chunk.bytes().len() < CHUNK_BYTES + 64));
        let mut seen = Vec::new();
        segment.for_each(CountRule, |series| series == 4321, |cell| seen.push(cell.place)).expect("sound");
        assert_eq!(seen, [0, 1, 2, 3]);
    }
}
