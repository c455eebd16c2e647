//! What is packed comes back, whichever way it is read.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{kind::CountRule, limits::CHUNK_BYTES};

type Counts = BTreeMap<(u32, u32), i64>;

/// Chunks by their number.
struct Chunks(Vec<Arc<[u8]>>);

impl ChunkSource for Chunks {
    fn chunk(&self, key: SegmentKey, number: u32) -> Result<Arc<[u8]>, ReadError> {
        self.0.get(number as usize).cloned().ok_or(ReadError::Gone(key, number))
    }
}

const KEY: SegmentKey = SegmentKey { ns: 1, metric: 0, tier: 0, partition: 0, form: Form::Rows, commit: 1 };

fn cells(map: &Counts) -> Vec<Cell<i64>> {
    map.iter().map(|(&(series, place), &state)| Cell { series, place, state }).collect()
}

fn stored(packed: Vec<PackedChunk>) -> (Segment, Chunks) {
    let directory = packed.iter().map(PackedChunk::meta).collect();
    (Segment::stored(KEY, directory), Chunks(packed.into_iter().map(|chunk| chunk.bytes.into()).collect()))
}

fn unpacked((segment, chunks): &(Segment, Chunks)) -> Vec<Cell<i64>> {
    let mut cells = Vec::new();
    segment.for_each(CountRule, chunks, &All, |cell| cells.push(cell)).expect("sound");
    cells
}

fn any_cells() -> impl Strategy<Value = Counts> {
    let state = any::<i64>().prop_filter("no cell says nothing", |n| *n != 0);
    proptest::collection::btree_map((0..40_u32, 0..512_u32), state, 0..60)
}

proptest! {
    #[test]
    fn cells_come_back(map in any_cells()) {
        let segment = stored(rows::pack(CountRule, cells(&map)));
        prop_assert_eq!(unpacked(&segment), cells(&map));
        prop_assert_eq!(segment.0.cells(), map.len() as u64);
        let mut directory = Vec::new();
        Segment::encode_directory(segment.0.chunks(), &mut directory);
        let mut input = Input(&directory);
        prop_assert_eq!(Segment::decode_directory(&mut input), Ok(segment.0.chunks().to_vec()));
        prop_assert!(input.is_empty());
    }

    #[test]
    fn merging_is_adding(a in any_cells(), b in any_cells(), from in 0..40_u32) {
        let resident = |map: &Counts| rows::pack(CountRule, cells(map)).pop().map(|chunk| Segment::resident(KEY, chunk));
        let segments: Vec<Segment> = [&a, &b].into_iter().filter_map(resident).collect();
        let mut sum = a.clone();
        for (key, n) in &b {
            let cell = sum.entry(*key).or_default();
            *cell = cell.wrapping_add(*n);
        }
        sum.retain(|(series, _), _| *series >= from);
        let none = Chunks(Vec::new());
        let merged: Result<Vec<_>, _> =
            Merged::new(CountRule, &none, &segments, from).expect("sound").collect();
        prop_assert_eq!(merged.expect("sound"), cells(&sum));
    }

    #[test]
    fn any_bytes_are_read_without_panic(mut bytes: Vec<u8>, layout: u8) {
        bytes.insert(0, layout % 4);
        let _ = read_chunk(&bytes, CountRule, &All, &mut |_| ());
        let _ = Segment::decode_directory(&mut Input(&bytes));
    }
}

/// One series.
struct One(SeriesId);

impl Selection for One {
    fn has(&self, series: SeriesId) -> bool {
        series == self.0
    }

    fn may_have(&self, range: RangeInclusive<SeriesId>) -> bool {
        range.contains(&self.0)
    }
}

fn large() -> Vec<PackedChunk> {
    let cells = (0..5000).flat_map(|series| (0..4).map(move |place| Cell { series, place, state: 1_000_000_i64 }));
    rows::pack(CountRule, cells)
}

#[test]
fn large_segments_are_split_between_series() {
    let packed = large();
    assert!(packed.len() > 4, "{}", packed.len());
    assert!(packed.iter().all(|chunk| chunk.bytes.len() < CHUNK_BYTES + 64));
    let (segment, chunks) = stored(packed);
    let mut seen = Vec::new();
    segment.for_each(CountRule, &chunks, &One(4321), |cell| seen.push(cell.place)).expect("sound");
    assert_eq!(seen, [0, 1, 2, 3]);
}

#[test]
fn only_chunks_with_wanted_series_are_read() {
    let (segment, mut chunks) = stored(large());
    let last = segment.chunks().len() - 1;
    chunks.0.truncate(1);
    segment.for_each(CountRule, &chunks, &One(3), |_| ()).expect("the first chunk is there");
    let gone = segment.for_each(CountRule, &chunks, &One(4999), |_| ()).expect_err("the last is not");
    assert!(matches!(gone, ReadError::Gone(KEY, number) if number == last as u32), "{gone}");
}

#[test]
fn a_count_of_zero_is_no_cell() {
    assert_eq!(rows::pack(CountRule, [Cell { series: 1, place: 1, state: 0 }]), []);
}
