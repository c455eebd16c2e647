//! Latest values added up along a path; values that are removed or have become too old.

use super::*;

/// Label, its segments: each a removal and values (seconds, JSON).
type Said<'a> = (&'a str, &'a [(Option<i64>, &'a [(i64, &'a str)])]);

fn latest(ttl: Option<&str>, said: &[Said<'_>]) -> MetricView {
    let ttl = ttl.and_then(span);
    let rule = LatestRule { n: 2, ttl };
    let mut view = MetricView::empty(descriptor(Kind::Latest { n: 2, ttl }, &["path", "user"], "1s forever"));
    let sets: Vec<[&str; 2]> =
        said.iter().map(|(label, _)| label.split_once('|').map_or([*label, ""], Into::into)).collect();
    let sets: Vec<&[&str]> = sets.iter().map(|set| &set[..]).collect();
    let ids = labelled(&mut view, &sets);
    let mut segments = Vec::new();
    for ((_, parts), series) in said.iter().zip(ids) {
        for (removed, values) in *parts {
            let value =
                |(at, json): &(i64, &str)| LatestValue { time: secs(*at), id: format!("{at}"), json: (*json).into() };
            let mut state = LatestState { removed: removed.map(secs), values: values.iter().map(value).collect() };
            state.values.sort_by(|a, b| b.cmp(a));
            segments.push(segment(rule, 0, segments.len(), [Cell { series, place: 0, state }]));
        }
    }
    view.tiers[0].partitions.insert(0, segments);
    view
}

fn rollup(depth: usize) -> Query {
    Query { rollup: Some(Rollup::Sum(Path { dimension: 0, depth })), by: Some(vec![0]), ..Query::default() }
}

/// Label, sum, numbers, others, time of the newest.
fn sums(view: &MetricView, query: &Query) -> Vec<(String, f64, u64, u64, i64)> {
    let answer = run(view, query, from(NOW)).expect("an answer");
    assert_eq!((answer.step, answer.coverage.len()), (None, 0));
    let row = |row: &Row| {
        let RowValue::Sum { sum, values, others } = row.value else { panic!("a sum: {row:?}") };
        assert_eq!(row.coverage, BucketCoverage::Complete);
        (row.labels.join("|"), sum, values, others, row.time.micros() / 1_000_000 - T)
    };
    let mut rows: Vec<_> = answer.rows.iter().map(row).collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows
}

fn expected(of: &[(&str, f64, u64, u64, i64)]) -> Vec<(String, f64, u64, u64, i64)> {
    of.iter().map(|(label, sum, values, others, at)| ((*label).to_owned(), *sum, *values, *others, *at)).collect()
}

fn tree() -> MetricView {
    latest(
        None,
        &[
            ("a/b/c", &[(None, &[(1, "10"), (2, "1")])]),
            ("a/b/d", &[(None, &[(3, "2.5")]), (Some(2), &[])]),
            // Removed by a later segment, and by an earlier one.
            ("a/e", &[(None, &[(4, "100")]), (Some(4), &[])]),
            ("a/f", &[(Some(9), &[]), (None, &[(9, "1000"), (8, "1000")])]),
            ("g", &[(None, &[(5, "\"text\"")])]),
            ("g/h", &[(None, &[(6, "1e3")]), (None, &[(7, "-4")])]),
            ("g/i", &[(None, &[(6, "null")])]),
            ("g/j", &[(None, &[(6, "1e999")])]),
            ("k", &[(Some(9), &[])]),
        ],
    )
}

#[test]
fn the_newest_numbers_are_added_up_at_every_depth() {
    let view = tree();
    assert_eq!(sums(&view, &rollup(0)), expected(&[("", -0.5, 3, 3, 7)]));
    assert_eq!(sums(&view, &rollup(1)), expected(&[("a", 3.5, 2, 0, 3), ("g", -4.0, 1, 3, 7)]));
    let rows = [
        ("a/b", 3.5, 2, 0, 3),
        ("g", 0.0, 0, 1, 5),
        ("g/h", -4.0, 1, 0, 7),
        ("g/i", 0.0, 0, 1, 6),
        ("g/j", 0.0, 0, 1, 6),
    ];
    assert_eq!(sums(&view, &rollup(2)), expected(&rows));
    assert_eq!(sums(&view, &rollup(9))[..2], expected(&[("a/b/c", 1.0, 1, 0, 2), ("a/b/d", 2.5, 1, 0, 3)]));
}

#[test]
fn ranges_filters_and_other_labels_hold_for_sums_too() {
    let view = tree();
    assert_eq!(sums(&view, &Query { end: Some(secs(2)), ..rollup(1) }), expected(&[("a", 10.0, 1, 0, 1)]));
    let newest = Query { start: Some(secs(3)), end: Some(secs(7)), ..rollup(1) };
    assert_eq!(sums(&view, &newest), expected(&[("a", 2.5, 1, 0, 3), ("g", 1000.0, 1, 3, 6)]));
    let only = Filter { dimension: 0, patterns: vec!["a/*".to_owned()] };
    assert_eq!(sums(&view, &Query { filters: vec![only], ..rollup(0) }), expected(&[("", 3.5, 2, 0, 3)]));
    let users = latest(
        None,
        &[("a/b|x", &[(None, &[(1, "1")])]), ("a/c|x", &[(None, &[(1, "2")])]), ("a/d|y", &[(None, &[(1, "4")])])],
    );
    let both = Query { by: None, ..rollup(1) };
    assert_eq!(sums(&users, &both), expected(&[("a|x", 3.0, 2, 0, 1), ("a|y", 4.0, 1, 0, 1)]));
    let order = Order { by: OrderBy::Value, descending: true };
    let answer = run(&users, &Query { order, limit: 1, ..both }, from(NOW)).expect("an answer");
    assert_eq!((&*answer.rows[0].labels[1], answer.rows.len(), answer.truncated), ("y", 1, true));
}

#[test]
fn what_is_added_up_does_not_depend_on_what_is_merged() {
    let apart = latest(None, &[("a", &[(None, &[(1, "1"), (2, "2")]), (None, &[(3, "4"), (4, "8")])])]);
    let merged = latest(None, &[("a", &[(None, &[(3, "4"), (4, "8")])])]);
    for query in [rollup(1), Query { end: Some(secs(3)), ..rollup(1) }, Query { start: Some(secs(4)), ..rollup(1) }] {
        assert_eq!(sums(&apart, &query), sums(&merged, &query), "{query:?}");
    }
}

#[test]
fn numbers_come_before_other_values_in_both_directions() {
    let view = latest(
        None,
        &[("a", &[(None, &[(1, "9")])]), ("b", &[(None, &[(1, "\"x\"")])]), ("c", &[(None, &[(1, "10")])])],
    );
    for (descending, expected) in [(false, ["a", "c", "b"]), (true, ["c", "a", "b"])] {
        let order = Order { by: OrderBy::Value, descending };
        let answer = run(&view, &Query { order, ..Query::default() }, from(NOW)).expect("an answer");
        let labels: Vec<&str> = answer.rows.iter().map(|row| &*row.labels[0]).collect();
        assert_eq!(labels, expected, "descending: {descending}");
    }
}

#[test]
fn the_sum_does_not_depend_on_the_order() {
    let large = latest(
        None,
        &[("a", &[(None, &[(1, "1e16")])]), ("b", &[(None, &[(1, "1")])]), ("c", &[(None, &[(1, "-1e16")])])],
    );
    assert_eq!(sums(&large, &rollup(0)), expected(&[("", 1.0, 3, 0, 1)]));
}

#[test]
fn only_latest_values_are_rolled_up() {
    let error = run(&labelled_view(), &rollup(1), from(NOW)).expect_err("counts have steps");
    assert!(matches!(error, QueryError::NoRollup), "{error}");
    let error = run(&tree(), &Query { step: span("1m"), ..rollup(1) }, from(NOW)).expect_err("no buckets");
    assert!(matches!(error, QueryError::NoBuckets), "{error}");
}

#[test]
fn what_is_too_old_is_neither_answered_nor_added_up() {
    // The present is at 1800.
    let view = latest(
        Some("10m"),
        &[
            ("a/old", &[(None, &[(1200, "1"), (1100, "1")])]),
            ("a/just", &[(None, &[(1201, "2"), (1200, "20")])]),
            ("b/new", &[(None, &[(1799, "4")])]),
            // As long as the newest counts, what it has replaced does not come back.
            ("c", &[(None, &[(900, "8")])]),
        ],
    );
    assert_eq!(sums(&view, &rollup(1)), expected(&[("a", 2.0, 1, 0, 1201), ("b", 4.0, 1, 0, 1799)]));
    let answer = run(&view, &Query::default(), from(NOW)).expect("an answer");
    let times: Vec<i64> = answer.rows.iter().map(|row| row.time.micros() / 1_000_000 - T).collect();
    assert_eq!(times, [1201, 1799]);
    let later = run(&view, &Query::default(), from(NOW.plus_micros(1_000_000))).expect("an answer");
    assert_eq!(later.rows.len(), 1, "a second later another is too old");
    let earlier = run(&view, &Query::default(), from(NOW.plus_micros(-1_000_000))).expect("an answer");
    assert_eq!(earlier.rows.len(), 4);
}

#[test]
fn removed_values_are_gone_and_their_neighbours_are_not() {
    let view = tree();
    let answer = run(&view, &Query { by: Some(vec![]), limit: 9, ..Query::default() }, from(NOW)).expect("an answer");
    let newest: Vec<i64> = answer.rows.iter().map(|row| row.time.micros() / 1_000_000 - T).collect();
    assert_eq!(newest, [6, 7], "a removal concerns its own label set alone");
    let all = run(&view, &Query::default(), from(NOW)).expect("an answer");
    let gone = |row: &&Row| ["a/e", "a/f", "k"].contains(&&*row.labels[0]);
    assert_eq!((all.rows.iter().filter(gone).count(), all.rows.len()), (0, 8));
}

/// Label, members with their sums, objects, others; in the order of the answer.
fn member_sums(view: &MetricView, query: &Query) -> Vec<(String, String, u64, u64)> {
    let row = |row: &Row| {
        let (value, values, others) = match &row.value {
            RowValue::Sums { members, values, others } => {
                let members: Vec<String> = members.iter().map(|(name, sum)| format!("{name}={sum}")).collect();
                (members.join(" "), *values, *others)
            }
            RowValue::Sum { sum, values, others } => (sum.to_string(), *values, *others),
            other => panic!("a sum: {other:?}"),
        };
        (row.labels.join("|"), value, values, others)
    };
    run(view, query, from(NOW)).expect("an answer").rows.iter().map(row).collect()
}

fn objects() -> MetricView {
    latest(
        None,
        &[
            (
                "a/x",
                &[(None, &[(1, r#"{"all": 100, "some": 1}"#)]), (None, &[(2, r#"{"all":5,"some":2.5,"of":"x"}"#)])],
            ),
            ("a/y", &[(None, &[(1, r#"{"some": 40}"#)])]),
            ("a/z", &[(None, &[(1, "7")])]),
            ("b/x", &[(None, &[(1, r#"{"all":9007199254740993,"more":[1,{"all":9}]}"#)])]),
            ("b/y", &[(None, &[(1, r#"{"all":-9007199254740990}"#)]), (Some(0), &[])]),
            ("c/x", &[(None, &[(1, r#"{"name":"no number"}"#)])]),
            ("d/x", &[(None, &[(1, "12")])]),
        ],
    )
}

#[test]
fn objects_are_added_up_member_by_member() {
    let view = objects();
    let row = |label: &str, value: &str, values, others| (label.to_owned(), value.to_owned(), values, others);
    let order = |by, descending| Query { order: Order { by, descending }, ..rollup(1) };
    let a = row("a", "all=5 some=42.5", 2, 1);
    let (b, c, d) = (row("b", "all=3", 2, 0), row("c", "0", 0, 1), row("d", "12", 1, 0));
    let by_label = member_sums(&view, &order(OrderBy::Label(0), false));
    assert_eq!(by_label, [a.clone(), b.clone(), c.clone(), d.clone()]);
    // By the member with the greatest sum, `some`, beside plain numbers; without it last.
    let by_value = member_sums(&view, &order(OrderBy::Value, true));
    assert_eq!(by_value, [a.clone(), d.clone(), c.clone(), b.clone()]);
    for (member, descending, first) in [("some", true, &a), ("some", false, &a), ("all", false, &b), ("all", true, &a)]
    {
        let query = Query { member: Some(member.to_owned()), ..order(OrderBy::Value, descending) };
        assert_eq!(&member_sums(&view, &query)[0], first, "{member}, descending: {descending}");
    }
    // With an end the sums are made from whole states.
    let bounded = Query { end: Some(NOW), ..order(OrderBy::Label(0), false) };
    assert_eq!(member_sums(&view, &bounded), by_label);
    assert_eq!(member_sums(&view, &Query { end: Some(secs(2)), ..bounded })[0], row("a", "all=100 some=41", 2, 1));
}

#[test]
fn values_are_ordered_by_their_member_and_those_without_are_last() {
    let view = objects();
    for (descending, expected) in [(false, ["b/y", "a/x", "a/x", "b/x"]), (true, ["b/x", "a/x", "a/x", "b/y"])] {
        let order = Order { by: OrderBy::Value, descending };
        let query = Query { order, member: Some("all".to_owned()), limit: 4, ..Query::default() };
        let answer = run(&view, &query, from(NOW)).expect("an answer");
        let labels: Vec<&str> = answer.rows.iter().map(|row| &*row.labels[0]).collect();
        assert_eq!(labels, expected, "descending: {descending}");
    }
}

#[test]
fn what_is_newer_in_any_segment_counts_once() {
    let one = |at: i64, json: &'static str| (None, vec![(at, json)]);
    let parts = [one(1, r#"{"n":1}"#), one(3, r#"{"n":4}"#), one(2, r#"{"n":2}"#)];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1]] {
        let parts: Vec<_> = order.iter().map(|at| (parts[*at].0, &parts[*at].1[..])).collect();
        let view = latest(None, &[("a/x", &parts), ("a/y", &[(None, &[(1, r#"{"n":8}"#)])])]);
        assert_eq!(member_sums(&view, &rollup(1)), [("a".to_owned(), "n=12".to_owned(), 2, 0)], "{order:?}");
    }
}
