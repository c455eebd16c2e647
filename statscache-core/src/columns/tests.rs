mod poisson;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    bytes::{Corrupt, Input},
    kind::{CountRule, LatestRule, LatestState, LatestValue},
    segment::Selection,
    series::SeriesId,
};

/// Series for which this is true.
struct Where<F>(F);

impl<F: Fn(SeriesId) -> bool> Selection for Where<F> {
    fn has(&self, series: SeriesId) -> bool {
        self.0(series)
    }

    fn may_have(&self, _: std::ops::RangeInclusive<SeriesId>) -> bool {
        true
    }
}

fn read<R: Rule>(
    bytes: &[u8],
    rule: R,
    wanted: impl Fn(SeriesId) -> bool,
    mut visit: impl FnMut(Cell<R::State>),
) -> Result<(), Corrupt> {
    crate::segment::read_chunk(bytes, rule, &Where(wanted), &mut visit)
}

type Counts = BTreeMap<(SeriesId, u32), i64>;

fn cells(map: &Counts) -> Vec<Cell<i64>> {
    map.iter().map(|(&(series, place), &state)| Cell { series, place, state }).collect()
}

fn packed<R: Rule>(rule: R, cells: impl IntoIterator<Item = Cell<R::State>>) -> Vec<PackedChunk> {
    let mut chunks = Vec::new();
    pack(rule, cells.into_iter(), |chunk| chunks.push(chunk));
    chunks
}

fn unpacked<R: Rule>(rule: R, chunks: &[PackedChunk], wanted: impl Fn(SeriesId) -> bool + Copy) -> Vec<Cell<R::State>> {
    let mut cells = Vec::new();
    for chunk in chunks {
        read(&chunk.bytes, rule, wanted, |cell| cells.push(cell)).expect("sound");
    }
    cells
}

/// Everything that is promised of chunks with these cells.
fn check<R: Rule>(rule: R, cells: &[Cell<R::State>]) -> Vec<PackedChunk> {
    let chunks = packed(rule, cells.iter().cloned());
    assert_eq!(unpacked(rule, &chunks, |_| true), cells, "cells come back");
    assert_eq!(packed(rule, cells.iter().cloned()), chunks, "the same cells, the same bytes");
    assert!(chunks.windows(2).all(|pair| pair[0].last < pair[1].first), "series are not split");
    assert_eq!(chunks.iter().map(|chunk| chunk.cells as usize).sum::<usize>(), cells.len());
    for (index, cell) in cells.iter().enumerate().step_by(cells.len() / 5 + 1) {
        let chunk: Vec<_> =
            chunks.iter().filter(|chunk| (chunk.first..=chunk.last).contains(&cell.series)).cloned().collect();
        let own: Vec<_> = cells.iter().filter(|other| other.series == cell.series).cloned().collect();
        assert_eq!(unpacked(rule, &chunk, |series| series == cell.series), own, "one series, of cell {index}");
    }
    chunks
}

fn rows_len<R: Rule>(rule: R, cells: &[Cell<R::State>]) -> usize {
    rows::pack(rule, cells.iter().cloned()).iter().map(|chunk| chunk.bytes.len()).sum()
}

fn bytes_len(chunks: &[PackedChunk]) -> usize {
    chunks.iter().map(|chunk| chunk.bytes.len()).sum()
}

/// Sum and number, and a text: what kinds to come look like.
#[derive(Clone, Copy, Debug)]
struct MixedRule;

type Mixed = (i64, i64, String);

impl Rule for MixedRule {
    type State = Mixed;

    const ZERO_IS_NONE: bool = true;

    fn merge(self, into: &mut Mixed, from: Mixed) {
        *into = (into.0 + from.0, into.1.wrapping_add(from.1), std::mem::take(&mut into.2).max(from.2));
    }

    fn encode(self, state: &Mixed, out: &mut Vec<u8>) {
        crate::bytes::put_i64(out, state.0);
        crate::bytes::put_i64(out, state.1);
        crate::bytes::put_bytes(out, state.2.as_bytes());
    }

    fn decode(self, input: &mut Input<'_>) -> Result<Mixed, Corrupt> {
        Ok((input.i64()?, input.i64()?, input.text()?.into()))
    }

    fn numbers(self) -> usize {
        2
    }

    fn split(self, state: &Mixed, numbers: &mut [i64], rest: &mut Vec<u8>) {
        numbers.copy_from_slice(&[state.0, state.1]);
        crate::bytes::put_bytes(rest, state.2.as_bytes());
    }

    fn join(self, numbers: &[i64], rest: &mut Input<'_>) -> Result<Mixed, Corrupt> {
        Ok((numbers[0], numbers[1], rest.text()?.into()))
    }
}

fn any_count() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), 0..4_i64, Just(i64::MIN), Just(i64::MAX), Just(1)]
}

fn any_counts() -> impl Strategy<Value = Counts> {
    let series = prop_oneof![0..6_u32, 0..2000_u32, u32::MAX - 3..=u32::MAX];
    let sparse = proptest::collection::btree_map((series, 0..512_u32), any_count(), 0..400);
    let dense = proptest::collection::btree_map((7..20_u32, 100..140_u32), 0..50_i64, 0..400);
    prop_oneof![sparse, dense]
}

proptest! {
    #[test]
    fn counts_come_back_without_zeros(map in any_counts()) {
        let cells: Vec<_> = cells(&map).into_iter().filter(|cell| cell.state != 0).collect();
        let chunks = check(CountRule, &cells);
        prop_assert_eq!(packed(CountRule, self::cells(&map)), chunks, "zeros leave no trace");
    }

    #[test]
    fn both_layouts_hold_the_same(map in any_counts()) {
        let mut batch = Batch::new(1);
        cells(&map).iter().for_each(|cell| batch.push(CountRule, cell));
        prop_assume!(batch.cells() > 0);
        let part = batch.as_part();
        let [mut sparse, mut dense] = [Vec::new(), Vec::new()];
        read(&part.encode_as(None), CountRule, |_| true, |cell| sparse.push(cell)).expect("sound");
        read(&part.encode_as(Some(part.places_range())), CountRule, |_| true, |cell| dense.push(cell)).expect("sound");
        prop_assert_eq!(&sparse, &dense);
        prop_assert_eq!(Ok(sparse), part.to_cells(CountRule));
    }

    #[test]
    fn numbers_and_rests_come_back(
        map in proptest::collection::btree_map((0..9_u32, 0..60_u32), (1..5_i64, any_count(), "[a-z]{0,40}"), 0..400),
    ) {
        let cells: Vec<_> =
            map.iter().map(|(&(series, place), state)| Cell { series, place, state: state.clone() }).collect();
        check(MixedRule, &cells);
    }

    #[test]
    fn any_bytes_are_read_without_panic(layout in 0..4_u8, tail: Vec<u8>) {
        let bytes = [&[layout, 1][..], &tail].concat();
        let _ = read(&bytes, CountRule, |_| true, |_| ());
        let _ = read(&tail, MixedRule, |_| true, |_| ());
    }

    #[test]
    fn damaged_bytes_are_read_without_panic(map in any_counts(), damage: Vec<(prop::sample::Index, u8)>) {
        for mut chunk in packed(CountRule, cells(&map)) {
            damage.iter().take(3).for_each(|(at, byte)| *at.get_mut(&mut chunk.bytes) = *byte);
            let _ = read(&chunk.bytes, CountRule, |_| true, |_| ());
        }
    }
}

#[test]
fn shapes_that_are_not_matrices_are_no_larger_than_rows() {
    let one = |series| Cell { series, place: 300, state: 5_i64 };
    let shapes: [(&str, Vec<Cell<i64>>); 6] = [
        ("one cell", vec![one(u32::MAX)]),
        ("two series far apart", vec![one(0), one(u32::MAX)]),
        ("a series full of ones", (0..512).map(|place| Cell { series: 3, place, state: 1 }).collect()),
        (
            "extremes",
            (0..512)
                .map(|place| Cell { series: 3, place, state: i64::MAX.wrapping_add(i64::from(place % 2)) })
                .collect::<Vec<_>>(),
        ),
        (
            "100,000 series of one cell",
            (0..100_000).map(|series| Cell { series, place: series * 7919 % 512, state: 1 }).collect(),
        ),
        (
            "every third series, nine cells",
            (0..9000)
                .map(|i| Cell { series: i / 9 * 3, place: i % 9 * 50 + i / 9 % 50, state: i64::from(i % 7) + 1 })
                .collect(),
        ),
    ];
    for (shape, cells) in shapes {
        let chunks = check(CountRule, &cells);
        let (columns, rows) = (bytes_len(&chunks), rows_len(CountRule, &cells));
        assert!(columns <= rows + 1, "{shape}: {columns} bytes in columns, {rows} in rows");
    }
}

#[test]
fn states_without_numbers_are_kept_whole_and_read_alone() {
    let value = |n: u32| LatestValue {
        time: statscache_plugin_sdk::Timestamp::from_secs(i64::from(n)),
        id: format!("id-{n}"),
        json: format!("\"{}\"", "x".repeat(n as usize % 900)),
    };
    let cells: Vec<_> = (0..2000)
        .map(|n| Cell { series: n / 3, place: n % 3, state: LatestState { removed: None, values: vec![value(n)] } })
        .collect();
    let chunks = check(LatestRule { n: 1, ttl: None }, &cells);
    assert!(chunks.len() > 10, "{}", chunks.len());
    assert!(chunks.iter().all(|chunk| chunk.bytes.len() <= COLUMN_CHUNK_BYTES * 4 / 3), "chunks are of one size");
}

#[test]
fn chunks_stay_near_their_size_when_cells_change() {
    // Ones first, which pack to nothing, then numbers that do not pack at all.
    let state = |series: u32, place: u32| match series < 300 {
        true => 1,
        false => (i64::from(series * 512 + place) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64),
    };
    let cells: Vec<_> = (0..600)
        .flat_map(|series| (0..512).map(move |place| Cell { series, place, state: state(series, place) }))
        .collect();
    let chunks = check(CountRule, &cells);
    let large = chunks.iter().map(|chunk| chunk.bytes.len()).max().expect("chunks");
    assert!(large <= COLUMN_CHUNK_BYTES * 4 / 3, "{large}");
}

#[test]
fn a_chunk_is_bounded_where_cells_pack_to_nothing() {
    let cells = (0..2500).flat_map(|series| (0..512).map(move |place| Cell { series, place, state: 1_i64 }));
    let chunks = packed(CountRule, cells);
    assert_eq!(chunks.len(), 2);
    assert!(chunks.iter().all(|chunk| chunk.cells as usize <= COLUMN_CHUNK_NUMBERS_MAX + 512));
    let mut seen = 0;
    chunks.iter().for_each(|chunk| read(&chunk.bytes, CountRule, |_| true, |_| seen += 1).expect("sound"));
    assert_eq!(seen, 2500 * 512);
}

#[test]
fn a_chunk_is_read_with_the_rule_that_wrote_it() {
    let chunks = packed(CountRule, (0..512).map(|place| Cell { series: 1, place, state: i64::from(place) + 1 }));
    let err = read(&chunks[0].bytes, MixedRule, |_| true, |_| ()).expect_err("another kind");
    assert_eq!(err, Corrupt("a chunk of another kind"));
}

#[test]
fn numbers_with_a_common_divisor_pack_like_their_quotients() {
    let cells = |unit: i64| {
        (0..40_000_i64).map(move |n| {
            let state = unit * (1 + n * 7919 % 1013);
            Cell { series: n as u32 / 512, place: n as u32 % 512, state }
        })
    };
    let [plain, scaled] = [1, 1_000_000].map(|unit| bytes_len(&packed(CountRule, cells(unit))));
    assert!(scaled < plain + 100, "{scaled} bytes, {plain} of the quotients");
}

#[test]
fn an_unknown_layout_is_refused() {
    for bytes in [&[3_u8, 1, 0][..], &[255], &[]] {
        assert!(read(bytes, CountRule, |_| true, |_| ()).is_err(), "{bytes:?}");
    }
}
