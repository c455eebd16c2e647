//! What stands for buckets with nothing in them, and how much of them was seen.

use super::*;
use crate::coverage::{BucketCoverage::*, Seen};
use crate::kind::{StatRule, StatState};

/// Minutes 0 to 2 were seen, 3 in part, 4 and 5 not at all, 6 until its middle.
fn seen() -> Coverage {
    let mut coverage = Coverage::new();
    coverage.add(secs(0), secs(180), Seen::Whole);
    coverage.add(secs(180), secs(240), Seen::Part);
    coverage.add(secs(360), secs(390), Seen::Whole);
    coverage
}

fn view() -> MetricView {
    counts(&["l"], "1m forever", &[(&["a"], secs(61), 1), (&["a"], secs(301), 2), (&["b"], secs(181), 4)])
}

fn query(fill: Fill) -> Query {
    Query { fill, step: span("1m"), ..range(secs(0), secs(420)) }
}

fn answer(view: &MetricView, query: &Query) -> Answer {
    let coverage = seen();
    run(
        view,
        query,
        From { chunks: &NoChunks, coverage: &coverage, now: NOW, horizon: NOW, moves: None, cells_max: u64::MAX },
    )
    .expect("an answer")
}

/// Minute, label, value (-1: unknown), coverage.
fn told(answer: &Answer) -> Vec<(i64, String, i64, BucketCoverage)> {
    let row = |row: &Row| {
        let n = match row.value {
            RowValue::Number(n) => n,
            RowValue::Unknown => -1,
            ref other => panic!("{other:?}"),
        };
        ((row.time.micros() / 1_000_000 - T) / 60, row.labels.join("/"), n, row.coverage)
    };
    answer.rows.iter().map(row).collect()
}

fn expected(of: &[(i64, &str, i64, BucketCoverage)]) -> Vec<(i64, String, i64, BucketCoverage)> {
    of.iter().map(|(at, label, n, coverage)| (*at, (*label).to_owned(), *n, *coverage)).collect()
}

#[test]
fn without_fill_only_what_is_there_is_told_and_it_is_never_missing() {
    let answer = answer(&view(), &query(Fill::None));
    // Nobody saw minute 5, and there is something in it: from the journal of somebody else, or late.
    let rows = [(1, "a", 1, Complete), (3, "b", 4, Partial), (5, "a", 2, Partial)];
    assert_eq!(told(&answer), expected(&rows));
    let run = |from: i64, to: i64, coverage| (secs(from * 60), secs(to * 60), coverage);
    assert_eq!(
        answer.coverage,
        [run(0, 3, Complete), run(3, 4, Partial), run(4, 6, Missing), run(6, 7, Partial)],
        "steps with the same coverage are one run, whatever is in them"
    );
}

#[test]
fn null_is_zero_where_all_was_seen_and_unknown_elsewhere() {
    let rows = [
        (0, "a", 0, Complete),
        (0, "b", 0, Complete),
        (1, "a", 1, Complete),
        (1, "b", 0, Complete),
        (2, "a", 0, Complete),
        (2, "b", 0, Complete),
        (3, "a", -1, Partial),
        (3, "b", 4, Partial),
        (4, "a", -1, Missing),
        (4, "b", -1, Missing),
        (5, "a", 2, Partial),
        (5, "b", -1, Missing),
        (6, "a", -1, Partial),
        (6, "b", -1, Partial),
    ];
    assert_eq!(told(&answer(&view(), &query(Fill::Null))), expected(&rows));
}

#[test]
fn zero_is_zero_and_its_coverage_is_that_of_the_bucket() {
    let answer = answer(&view(), &Query { by: Some(vec![]), ..query(Fill::Zero) });
    let rows = [
        (0, "", 0, Complete),
        (1, "", 1, Complete),
        (2, "", 0, Complete),
        (3, "", 4, Partial),
        (4, "", 0, Missing),
        (5, "", 2, Partial),
        (6, "", 0, Partial),
    ];
    assert_eq!(told(&answer), expected(&rows));
}

#[test]
fn only_label_sets_that_have_something_in_the_range_are_filled() {
    let first = Query { end: Some(secs(120)), ..query(Fill::Zero) };
    assert_eq!(told(&answer(&view(), &first)), expected(&[(0, "a", 0, Complete), (1, "a", 1, Complete)]));
    let empty = Query { start: Some(secs(120)), end: Some(secs(180)), ..query(Fill::Zero) };
    assert_eq!(told(&answer(&view(), &empty)), []);
    // What has no labels to tell apart has its row, also before anything was said.
    let nothing = counts(&[], "1m forever", &[]);
    let rows = [(2, "", 0, Complete)];
    assert_eq!(told(&answer(&nothing, &empty)), expected(&rows));
    let rows = [(0, "", 0, Complete), (1, "", 0, Complete)];
    assert_eq!(told(&answer(&nothing, &Query { fill: Fill::Null, ..first })), expected(&rows));
}

#[test]
fn counts_that_cancel_out_are_no_row_and_are_filled_as_nothing() {
    let view = counts(&["l"], "1m forever", &[(&["a"], secs(241), 3), (&["a"], secs(242), -3), (&["a"], secs(1), 1)]);
    assert_eq!(told(&answer(&view, &query(Fill::None))), expected(&[(0, "a", 1, Complete)]));
    let rows = told(&answer(&view, &query(Fill::Null)));
    assert_eq!(rows[4], expected(&[(4, "a", -1, Missing)])[0]);
}

#[test]
fn unknown_is_the_least_and_limits_count_filled_rows() {
    let order = Order { by: OrderBy::Value, descending: true };
    let all = answer(&view(), &Query { order, ..query(Fill::Null) });
    let values: Vec<i64> = told(&all).iter().map(|row| row.2).collect();
    assert!(values.is_sorted_by(|a, b| a >= b) && values.len() == 14 && values[13] == -1, "{values:?}");
    let some = answer(&view(), &Query { order, limit: 2, ..query(Fill::Null) });
    assert_eq!((&some.rows[..], some.truncated), (&all.rows[..2], true));
    let from = From { chunks: &NoChunks, coverage: &seen(), now: NOW, horizon: NOW, moves: None, cells_max: u64::MAX };
    run_bounded(&view(), &query(Fill::Zero), from, 14).expect("just enough");
    let error = run_bounded(&view(), &query(Fill::Zero), from, 13).expect_err("one too many");
    assert!(matches!(error, QueryError::TooManyRows), "{error}");
}

#[test]
fn steps_of_several_buckets_are_judged_as_a_whole() {
    let query = Query { step: span("2m"), by: Some(vec![]), ..query(Fill::Null) };
    let rows = [(0, "", 1, Complete), (2, "", 4, Partial), (4, "", 2, Partial), (6, "", -1, Partial)];
    assert_eq!(told(&answer(&view(), &query)), expected(&rows));
}

#[test]
fn other_kinds_are_filled_with_what_they_say_of_nothing() {
    let mut view = MetricView::empty(descriptor(Kind::Stat, &[], "1m forever"));
    let series = labelled(&mut view, &[&[]])[0];
    let (partition, place) = bucket::locate(secs(60), Resolution::MINUTE);
    let mut state = StatState::default();
    state.observe(2.5);
    view.tiers[0].partitions.insert(partition, vec![segment(StatRule, partition, 1, [Cell { series, place, state }])]);
    let answer = answer(&view, &Query { end: Some(secs(300)), ..query(Fill::Null) });
    let n = |row: &Row| match &row.value {
        RowValue::Stat(stat) => Some((stat.n, stat.min)),
        RowValue::Unknown => None,
        other => panic!("{other:?}"),
    };
    let found: Vec<_> = answer.rows.iter().map(n).collect();
    assert_eq!(found, [Some((0, None)), Some((1, Some(2.5))), Some((0, None)), None, None]);
}
