//! Ranges, steps, grouping, order and limits, against views built from cells.

mod fill;
mod labels;
mod moves;
mod product;
mod rollup;
mod whole;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::bucket;
use crate::kind::{LatestState, LatestValue, Rule};
use crate::limits::QUERY_CELLS_MAX;
use crate::segment::{Cell, ChunkSource, Form, PackedChunk, Segment, SegmentKey, rows as packed_rows};
use crate::series::SeriesTable;
use statscache_plugin_sdk::MetricDescriptor;

/// Aligned to an hour.
const T: i64 = 1_600_002_000;
const NOW: Timestamp = Timestamp::from_secs(T + 1800);

fn secs(secs: i64) -> Timestamp {
    Timestamp::from_secs(T + secs)
}

fn descriptor(kind: Kind, dimensions: &[&str], tiers: &str) -> MetricDescriptor {
    MetricDescriptor {
        name: "m".to_owned(),
        kind,
        dimensions: dimensions.iter().map(|&name| name.to_owned()).collect(),
        unit: String::new(),
        description: String::new(),
        tiers: tiers.parse().expect("tiers"),
        legacy: None,
        moved: None,
    }
}

fn labelled(view: &mut MetricView, sets: &[&[&str]]) -> Vec<u32> {
    let mut table = SeriesTable::new(view.descriptor.dimensions.len(), u32::MAX);
    let ids = sets.iter().map(|set| table.resolve(set)).collect();
    view.series_count = table.len() as u32;
    view.series.extend(table.take_new().map(Arc::new));
    ids
}

/// A count in all its tiers; each event is a segment of its own.
fn counts(dimensions: &[&str], tiers: &str, events: &[(&[&str], Timestamp, i64)]) -> MetricView {
    let mut view = MetricView::empty(descriptor(Kind::Count, dimensions, tiers));
    let sets: Vec<&[&str]> = events.iter().map(|(labels, ..)| *labels).collect();
    let ids = labelled(&mut view, &sets);
    for (number, tier) in view.descriptor.tiers.as_slice().iter().enumerate() {
        for (commit, ((_, time, n), series)) in events.iter().zip(&ids).enumerate() {
            let (partition, place) = bucket::locate(*time, tier.resolution);
            let segments = view.tiers[number].partitions.entry(partition).or_default();
            segments.push(segment(CountRule, partition, commit, [Cell { series: *series, place, state: *n }]));
        }
    }
    view
}

/// A segment that is in memory.
fn segment<R: Rule>(
    rule: R,
    partition: i64,
    commit: usize,
    cells: impl IntoIterator<Item = Cell<R::State>>,
) -> Arc<Segment> {
    let key = SegmentKey { ns: 1, metric: 0, tier: 0, partition, form: Form::Rows, commit: commit as u64 };
    Arc::new(Segment::resident(key, packed_rows::pack(rule, cells).remove(0)))
}

/// All segments of these tests are in memory.
struct NoChunks;

impl ChunkSource for NoChunks {
    fn chunk(&self, key: SegmentKey, number: u32) -> Result<Arc<[u8]>, ReadError> {
        Err(ReadError::Gone(key, number))
    }
}

static NOTHING_SEEN: Coverage = Coverage::new();

fn from(now: Timestamp) -> From<'static> {
    From { chunks: &NoChunks, coverage: &NOTHING_SEEN, now, horizon: now, moves: None, cells_max: QUERY_CELLS_MAX }
}

/// Rows as `seconds after T, labels joined, value`.
fn rows(answer: &Answer) -> Vec<(i64, String, i64)> {
    let row = |row: &Row| {
        let RowValue::Number(n) = row.value else { panic!("a count has numbers: {row:?}") };
        (row.time.micros() / 1_000_000 - T, row.labels.join("/"), n)
    };
    answer.rows.iter().map(row).collect()
}

#[track_caller]
fn check(view: &MetricView, query: &Query, expected: &[(i64, &str, i64)]) -> Answer {
    let answer = run(view, query, from(NOW)).expect("an answer");
    let expected: Vec<_> = expected.iter().map(|(at, labels, n)| (*at, (*labels).to_owned(), *n)).collect();
    assert_eq!(rows(&answer), expected, "{query:?}");
    answer
}

fn range(start: Timestamp, end: Timestamp) -> Query {
    Query { start: Some(start), end: Some(end), ..Query::default() }
}

fn span(text: &str) -> Option<Resolution> {
    Some(text.parse().expect("a span"))
}

const ALL: &str = "1s forever, 1m forever, 1h forever";

#[test]
fn ranges_are_half_open() {
    let view = counts(&[], "1m forever", &[(&[], secs(0), 1), (&[], secs(60), 2), (&[], secs(120), 4)]);
    let micros = |at: i64, micros: i64| secs(at).plus_micros(micros);
    for (start, end, expected) in [
        (secs(60), secs(120), vec![(60, "", 2)]),
        (micros(60, -1), secs(120), vec![(0, "", 1), (60, "", 2)]),
        (micros(60, 1), secs(120), vec![(60, "", 2)]),
        (micros(120, -1), secs(120), vec![(60, "", 2)]),
        (secs(60), micros(120, -1), vec![(60, "", 2)]),
        (secs(60), micros(120, 1), vec![(60, "", 2), (120, "", 4)]),
        (secs(60), micros(60, 1), vec![(60, "", 2)]),
        (secs(180), secs(240), vec![]),
    ] {
        check(&view, &Query { step: span("1m"), ..range(start, end) }, &expected);
    }
}

#[test]
fn a_row_is_a_whole_step_whichever_tier_it_comes_from() {
    let events: Vec<(&[&str], Timestamp, i64)> = (0..30).map(|minute| (&[][..], secs(minute * 60), 1)).collect();
    let fine = counts(&[], "1m forever", &events);
    let coarse = counts(&[], "15m forever", &events);
    let query = Query { step: span("15m"), ..range(secs(7 * 60), secs(17 * 60)) };
    let expected = [(0, "", 15), (900, "", 15)];
    let (a, b) = (check(&fine, &query, &expected), check(&coarse, &query, &expected));
    assert_eq!(a, b);
    assert_eq!((a.start, a.end), (Some(secs(0)), secs(1800)), "the answer says what it looked at");
    let query = Query { step: span("15m"), ..range(secs(7 * 60), secs(15 * 60)) };
    assert_eq!(check(&fine, &query, &[(0, "", 15)]).end, secs(900));
}

#[test]
fn the_step_decides_the_tier_and_the_range_where_there_is_none() {
    let view = counts(&[], ALL, &[(&[], secs(1), 1), (&[], secs(61), 2), (&[], secs(3601), 4)]);
    let whole = range(secs(0), secs(7200));
    let with = |step| Query { step: span(step), ..whole.clone() };
    check(&view, &with("1s"), &[(1, "", 1), (61, "", 2), (3601, "", 4)]);
    check(&view, &with("2m"), &[(0, "", 3), (3600, "", 4)]);
    check(&view, &with("1h"), &[(0, "", 3), (3600, "", 4)]);
    assert_eq!(check(&view, &whole, &[(0, "", 1), (60, "", 2), (3600, "", 4)]).step, span("1m"));
    assert_eq!(check(&view, &range(secs(0), secs(500)), &[(1, "", 1), (61, "", 2)]).step, span("1s"));
    let coarse = counts(&[], "1m forever", &[]);
    for step in ["1s", "90s"] {
        let error = run(&coarse, &with(step), from(NOW)).expect_err("no tier makes up such steps");
        assert!(matches!(error, QueryError::Step { .. }), "{error}");
        assert!(error.to_string().contains("1m forever"), "{error}");
    }
}

#[test]
fn a_step_longer_than_a_partition_adds_partitions_up() {
    let events: Vec<(&[&str], Timestamp, i64)> = (0..2000).map(|at| (&[][..], secs(at), 1)).collect();
    let view = counts(&[], "1s forever", &events);
    check(&view, &Query { step: span("1h"), ..range(secs(0), secs(3600)) }, &[(0, "", 2000)]);
}

#[test]
fn buckets_beyond_retention_are_not_shown_even_if_their_partition_is_there() {
    // A late event of such a bucket lands in coarser tiers only: its number would be too small.
    let view = counts(&[], "1s for 1m, 1h forever", &[(&[], secs(1799 - 60), 1), (&[], secs(1800 - 60), 2)]);
    let answer = check(&view, &Query { step: span("1s"), ..range(secs(0), secs(1800)) }, &[(1740, "", 2)]);
    assert_eq!(answer.start, Some(secs(1740)));
    let answer = check(&view, &Query { step: span("1h"), ..range(secs(0), secs(1800)) }, &[(0, "", 3)]);
    assert_eq!(answer.start, Some(secs(0)));
}

#[test]
fn steps_of_which_only_a_part_is_kept_are_not_shown() {
    let events: Vec<(&[&str], Timestamp, i64)> = (1700..1830).map(|at| (&[][..], secs(at), 1)).collect();
    let view = counts(&[], "1s for 65s", &events);
    // With the present at 1800 seconds are kept from 1735 on, and steps of ten from 1740.
    for (now, step, first, n) in [
        (0, "10s", 1740, 10),
        (0, "1s", 1735, 1),
        (-1, "10s", 1740, 10),
        (-5_000_000, "10s", 1730, 10),
        (-4_999_999, "10s", 1730, 10),
        (-4_000_000, "10s", 1740, 10),
        (5_000_000, "10s", 1740, 10),
        (5_000_001, "10s", 1740, 10),
        (6_000_000, "10s", 1750, 10),
        (0, "30s", 1740, 30),
    ] {
        let query = Query { step: span(step), ..range(secs(0), secs(1800)) };
        let answer = run(&view, &query, from(NOW.plus_micros(now))).expect("an answer");
        assert_eq!(rows(&answer)[0], (first, String::new(), n), "{now} {step}");
        assert_eq!(answer.start, Some(secs(first)), "{now} {step}");
    }
    // What was asked for is later than that, or all of it earlier.
    let later = Query { step: span("10s"), ..range(secs(1755), secs(1770)) };
    assert_eq!(check(&view, &later, &[(1750, "", 10), (1760, "", 10)]).start, Some(secs(1750)));
    for end in [1000, 1735, 1740] {
        let earlier = Query { step: span("10s"), ..range(secs(0), secs(end)) };
        let error = run(&view, &earlier, from(NOW)).expect_err("no such steps are kept");
        assert!(matches!(error, QueryError::NotKept { since, .. } if since == secs(1740)), "up to {end}: {error}");
        // Whoever leaves the step open gets what there is.
        let open = Query { step: None, ..earlier };
        assert_eq!(run(&view, &open, from(NOW)).expect("an answer").rows.len(), usize::from(end == 1740) * 5);
    }
    let open = Query { end: Some(secs(1760)), ..Query::default() };
    assert_eq!(run(&view, &open, from(NOW)).expect("an answer").start, Some(secs(1735)));
}

fn labelled_view() -> MetricView {
    let events: [(&[&str], Timestamp, i64); 6] = [
        (&["git", "a"], secs(0), 1),
        (&["git", "b"], secs(0), 2),
        (&["github", "a"], secs(60), 4),
        (&["", "a"], secs(60), 8),
        (&["git", "a"], secs(60), 16),
        (&["git", "a"], secs(59), 32),
    ];
    counts(&["topic", "user"], "1m forever", &events)
}

#[test]
fn by_keeps_labels_and_merges_the_rest() {
    let view = labelled_view();
    let by = |by: Option<&[usize]>| Query { by: by.map(<[usize]>::to_vec), ..range(secs(0), secs(120)) };
    check(
        &view,
        &by(None),
        &[(0, "git/a", 33), (0, "git/b", 2), (60, "/a", 8), (60, "git/a", 16), (60, "github/a", 4)],
    );
    let answer = check(&view, &by(Some(&[0])), &[(0, "git", 35), (60, "", 8), (60, "git", 16), (60, "github", 4)]);
    assert_eq!(answer.dimensions, [0]);
    check(&view, &by(Some(&[1])), &[(0, "a", 33), (0, "b", 2), (60, "a", 28)]);
    check(&view, &by(Some(&[])), &[(0, "", 35), (60, "", 28)]);
    let swapped = check(
        &view,
        &by(Some(&[1, 0])),
        &[(0, "a/git", 33), (0, "b/git", 2), (60, "a/", 8), (60, "a/git", 16), (60, "a/github", 4)],
    );
    assert_eq!(swapped.dimensions, [1, 0]);
}

#[test]
fn filters_must_all_hold_and_patterns_are_alternatives() {
    let view = labelled_view();
    let filter = |dimension, patterns: &[&str]| Filter {
        dimension,
        patterns: patterns.iter().map(|&pattern| pattern.to_owned()).collect(),
    };
    for (filters, expected) in [
        (vec![filter(0, &["git"])], vec![(0, "", 35), (60, "", 16)]),
        (vec![filter(0, &["git*"])], vec![(0, "", 35), (60, "", 20)]),
        (vec![filter(0, &["github", ""])], vec![(60, "", 12)]),
        (vec![filter(0, &["git*"]), filter(1, &["b"])], vec![(0, "", 2)]),
        (vec![filter(0, &["*"])], vec![(0, "", 35), (60, "", 28)]),
        (vec![filter(0, &["x"])], vec![]),
        (vec![filter(0, &[])], vec![]),
    ] {
        check(&view, &Query { filters, by: Some(vec![]), ..range(secs(0), secs(120)) }, &expected);
    }
}

#[test]
fn order_and_limit() {
    let view = labelled_view();
    let query = |by, descending, limit| Query {
        order: Order { by, descending },
        limit,
        by: Some(vec![0]),
        ..range(secs(0), secs(120))
    };
    let all = [(0, "git", 35), (60, "", 8), (60, "git", 16), (60, "github", 4)];
    for (limit, truncated) in [(5, false), (4, false), (3, true), (1, true), (0, true)] {
        let answer = check(&view, &query(OrderBy::Time, false, limit), &all[..limit.min(4)]);
        assert_eq!(answer.truncated, truncated, "limit {limit}");
    }
    check(&view, &query(OrderBy::Time, true, 9), &[(60, "", 8), (60, "git", 16), (60, "github", 4), (0, "git", 35)]);
    check(&view, &query(OrderBy::Value, true, 2), &[(0, "git", 35), (60, "git", 16)]);
    check(&view, &query(OrderBy::Value, false, 2), &[(60, "github", 4), (60, "", 8)]);
    check(
        &view,
        &query(OrderBy::Label(0), true, 9),
        &[(60, "github", 4), (0, "git", 35), (60, "git", 16), (60, "", 8)],
    );
    check(&view, &query(OrderBy::Label(1), true, 9), &all);
}

#[test]
fn pages_are_pieces_of_the_same_order() {
    let view = labelled_view();
    for (by, descending) in [(OrderBy::Time, false), (OrderBy::Value, true), (OrderBy::Label(0), false)] {
        let order = Order { by, descending };
        let whole = run(&view, &Query { order, ..range(secs(0), secs(120)) }, from(NOW)).expect("an answer");
        assert_eq!((whole.total, whole.truncated), (5, false));
        for limit in 1..=6 {
            let mut pieces = Vec::new();
            for offset in (0..=6).step_by(limit) {
                let page = Query { order, limit, offset, ..range(secs(0), secs(120)) };
                let page = run(&view, &page, from(NOW)).expect("an answer");
                assert_eq!((page.total, page.truncated), (5, offset + limit < 5), "{limit} from {offset}");
                pieces.extend(page.rows);
            }
            assert_eq!(pieces, whole.rows, "{order:?} by {limit}");
        }
    }
}

#[test]
fn points_choose_the_step() {
    let view = counts(&[], "1s forever", &[(&[], secs(0), 1), (&[], secs(9), 2), (&[], secs(10), 4)]);
    let query = |points| Query { max_points: Some(points), ..range(secs(0), secs(20)) };
    check(&view, &query(20), &[(0, "", 1), (9, "", 2), (10, "", 4)]);
    let answer = check(&view, &query(2), &[(0, "", 3), (10, "", 4)]);
    assert_eq!(answer.step, span("10s"));
}

#[test]
fn open_ends_are_an_hour_up_to_now() {
    let hour_ago = NOW.plus_micros(-3_600_000_000);
    let view = counts(
        &[],
        "1s forever",
        &[
            (&[], hour_ago, 1),
            (&[], hour_ago.plus_micros(1_000_000), 2),
            (&[], NOW, 4),
            (&[], NOW.plus_micros(1_000_000), 8),
        ],
    );
    let query = Query { step: span("1s"), ..Query::default() };
    let answer = check(&view, &query, &[(-1800, "", 1), (-1799, "", 2), (1800, "", 4)]);
    assert_eq!(answer.start, Some(hour_ago));
    // An event of this very microsecond is in, the future is not, unless asked for.
    let query = Query { end: Some(NOW), ..query };
    check(&view, &query, &[(-1800, "", 1), (-1799, "", 2)]);
    let query = Query { start: Some(NOW), end: Some(NOW.plus_micros(9_000_000)), ..query };
    check(&view, &query, &[(1800, "", 4), (1801, "", 8)]);
    let query = Query { start: Some(NOW), end: None, ..query };
    check(&view, &query, &[(1800, "", 4)]);
}

#[test]
fn nothing_can_be_in_an_empty_range() {
    let count = counts(&[], ALL, &[]);
    let latest = MetricView::empty(descriptor(Kind::Latest { n: 1, ttl: None }, &[], ALL));
    for view in [&count, &latest] {
        for end in [secs(0), secs(-1), Timestamp::from_micros(i64::MIN)] {
            let error = run(view, &range(secs(0), end), from(NOW)).expect_err("empty");
            assert!(
                matches!(error, QueryError::EmptyRange { start, end: at } if (start, at) == (secs(0), end)),
                "{error}"
            );
        }
        run(view, &range(secs(0), secs(0).plus_micros(1)), from(NOW)).expect("one microsecond is something");
    }
    let error =
        run(&count, &Query { start: Some(NOW.plus_micros(2)), ..Query::default() }, from(NOW)).expect_err("empty");
    assert!(matches!(error, QueryError::EmptyRange { .. }));
}

#[test]
fn the_ends_of_time_are_only_times() {
    const ENDS: [i64; 9] = [i64::MIN, i64::MIN + 1, -86_400_000_001, -1, 0, 1, T * 1_000_000, i64::MAX - 1, i64::MAX];
    let events: Vec<(&[&str], Timestamp, i64)> =
        ENDS.iter().map(|at| (&[][..], Timestamp::from_micros(*at), 1)).collect();
    let views =
        [counts(&[], ALL, &events), counts(&[], "1s for 2h, 1d for 100d, 10d forever", &events), latest_view(&[])];
    for view in &views {
        for start in ENDS.map(Some).into_iter().chain([None]) {
            for end in ENDS.map(Some).into_iter().chain([None]) {
                for now in ENDS {
                    for step in [None, span("1s"), span("10d")] {
                        let (start, end) = (start.map(Timestamp::from_micros), end.map(Timestamp::from_micros));
                        let query = Query { start, end, step, ..Query::default() };
                        let _ = run(view, &query, from(Timestamp::from_micros(now)));
                    }
                }
            }
        }
    }
    let all = Query { step: span("1h"), ..range(Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX)) };
    let sum: i64 = rows(&run(&views[0], &all, from(NOW)).expect("an answer")).iter().map(|(_, _, n)| n).sum();
    assert!(sum >= ENDS.len() as i64 - 1, "the last microsecond of all is after every end: {sum}");
}

#[test]
fn what_costs_too_much_is_refused_before_it_is_done() {
    // So many series that they are not looked up one by one.
    let names: Vec<String> = (0..=1 << 16).map(|n| n.to_string()).collect();
    let sets: Vec<[&str; 1]> = names.iter().map(|name| [name.as_str()]).collect();
    let events: Vec<(&[&str], Timestamp, i64)> = sets.iter().map(|set| (&set[..], secs(0), 1)).collect();
    let mut view = counts(&["l"], "1s forever", &events);
    let (partition, _) = bucket::locate(secs(0), Resolution::SECOND);
    let directory = packed_rows::pack(CountRule, (0..200_000).map(|series| Cell { series, place: 0, state: 1 }));
    let key = SegmentKey { ns: 1, metric: 0, tier: 0, partition, form: Form::Columns, commit: 1 };
    // None of its chunks is to be had: they are not asked for.
    let segment = Arc::new(Segment::stored(key, directory.iter().map(PackedChunk::meta).collect()));
    let cells = segment.cells();
    let enough = QUERY_CELLS_MAX / cells + 1;
    view.tiers[0].partitions.insert(partition, (0..enough).map(|_| segment.clone()).collect());
    let query = Query { step: span("1s"), ..range(secs(0), secs(1)) };
    let error = run(&view, &query, from(NOW)).expect_err("too much");
    assert!(matches!(error, QueryError::TooExpensive { cells, .. } if cells > QUERY_CELLS_MAX), "{error}");
    // What it costs is what of it is wanted: chunks of other series are not read.
    let one = Filter { dimension: 0, patterns: vec!["999".to_owned()] };
    let error = run(&view, &Query { filters: vec![one], ..query }, from(NOW)).expect_err("there are no chunks");
    assert!(matches!(error, QueryError::Stale(_)), "{error}");
    // The same data costs nothing where it is not in the range.
    check(&view, &Query { step: span("1s"), ..range(secs(3600), secs(3601)) }, &[]);
}

#[test]
fn more_rows_than_the_memory_should_hold_are_refused() {
    let count = labelled_view();
    let latest = latest_view(&[("a", 1, "i"), ("a", 3, "j"), ("a", 2, "k"), ("b", 9, "l")]);
    let with = |by: Option<Vec<usize>>| Query { by, limit: 1, ..range(secs(0), secs(120)) };
    for (view, by, rows) in [
        (&count, None, 5),
        (&count, Some(vec![0]), 4),
        (&count, Some(vec![]), 2),
        (&latest, None, 3),
        (&latest, Some(vec![]), 2),
    ] {
        let answer = run_bounded(view, &with(by.clone()), from(NOW), rows).expect("just enough");
        assert_eq!((answer.rows.len(), answer.truncated), (1, true), "{by:?}");
        let error = run_bounded(view, &with(by.clone()), from(NOW), rows - 1).expect_err("one too many");
        assert!(matches!(error, QueryError::TooManyRows), "{by:?}: {error}");
        assert!(error.to_string().contains("`by`"), "{error}");
    }
}

#[test]
fn the_rows_chosen_are_the_first_of_all() {
    let names: Vec<String> = (0..20).map(|n| format!("{}", n * 7 % 20)).collect();
    let sets: Vec<[&str; 1]> = names.iter().map(|name| [name.as_str()]).collect();
    let events: Vec<(&[&str], Timestamp, i64)> =
        (0..200).map(|n| (&sets[n % 20][..], secs(n as i64 / 40 * 60), n as i64 * 37 % 11 + 1)).collect();
    let view = counts(&["l"], "1m forever", &events);
    for by in [OrderBy::Time, OrderBy::Value, OrderBy::Label(0)] {
        for descending in [false, true] {
            let order = Order { by, descending };
            let all = run(&view, &Query { order, ..range(secs(0), secs(600)) }, from(NOW)).expect("an answer").rows;
            assert_eq!(all.len(), 100);
            for limit in [0, 1, 2, 50, 99, 100, 101] {
                let some =
                    run(&view, &Query { order, limit, ..range(secs(0), secs(600)) }, from(NOW)).expect("an answer");
                assert_eq!((&*some.rows, some.truncated), (&all[..limit.min(100)], limit < 100), "{order:?} {limit}");
            }
        }
    }
}

fn latest_view(values: &[(&str, i64, &str)]) -> MetricView {
    let rule = LatestRule { n: 2, ttl: None };
    let mut view = MetricView::empty(descriptor(Kind::Latest { n: 2, ttl: None }, &["url"], "1s forever"));
    let mut series = BTreeMap::new();
    let sets: Vec<[&str; 1]> = values.iter().map(|(label, ..)| [*label]).collect();
    let sets: Vec<&[&str]> = sets.iter().map(|set| &set[..]).collect();
    for ((label, ..), id) in values.iter().zip(labelled(&mut view, &sets)) {
        series.insert(*label, id);
    }
    let segments = values.iter().enumerate().map(|(commit, (label, at, id))| {
        let values = vec![LatestValue { time: secs(*at), id: (*id).into(), json: format!("{at}") }];
        let state = LatestState { removed: None, values };
        segment(rule, 0, commit, [Cell { series: series[label], place: 0, state }])
    });
    let segments: Vec<_> = segments.collect();
    if !segments.is_empty() {
        view.tiers[0].partitions.insert(0, segments);
    }
    view
}

#[test]
fn latest_values_are_the_newest_of_each_group() {
    let view = latest_view(&[("a", 1, "i"), ("a", 3, "j"), ("a", 2, "k"), ("b", 9, "l"), ("c", 9, "m")]);
    let check = |query: &Query, expected: &[(&str, i64, &str)]| {
        let answer = run(&view, query, from(NOW)).expect("an answer");
        let found: Vec<_> = answer
            .rows
            .iter()
            .map(|row| {
                let RowValue::Latest { json, id } = &row.value else { panic!("latest: {row:?}") };
                assert_eq!(**json, format!("{}", row.time.micros() / 1_000_000 - T));
                (row.labels.join("/"), row.time.micros() / 1_000_000 - T, id.to_string())
            })
            .collect();
        let expected: Vec<_> = expected.iter().map(|(l, at, id)| ((*l).to_owned(), *at, (*id).to_owned())).collect();
        assert_eq!(found, expected, "{query:?}");
        answer
    };
    let answer = check(&Query::default(), &[("a", 2, "k"), ("a", 3, "j"), ("b", 9, "l"), ("c", 9, "m")]);
    assert_eq!((answer.start, answer.end, answer.step), (None, NOW, None));
    let grouped = Query { by: Some(vec![]), ..Query::default() };
    check(&grouped, &[("", 9, "l"), ("", 9, "m")]);
    // Half-open in time, too; and what is outside does not push out what is inside.
    check(&range(secs(3), secs(9)), &[("a", 3, "j")]);
    check(&range(secs(3), secs(9).plus_micros(1)), &[("a", 3, "j"), ("b", 9, "l"), ("c", 9, "m")]);
    check(&Query { by: Some(vec![]), ..range(secs(0), secs(9)) }, &[("", 2, "k"), ("", 3, "j")]);
    let newest = Query { order: Order { by: OrderBy::Time, descending: true }, limit: 1, ..Query::default() };
    assert!(check(&newest, &[("b", 9, "l")]).truncated);
    let error = run(&view, &Query { step: span("1m"), ..Query::default() }, from(NOW)).expect_err("no buckets");
    assert!(matches!(error, QueryError::NoBuckets), "{error}");
}
