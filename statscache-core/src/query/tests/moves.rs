//! Values of paths that have moved, against a tree in which everything happens in order.

use std::ops::Range;

use proptest::prelude::*;
use statscache_plugin_sdk::Moved;

use super::*;

/// Something that happened.
#[derive(Clone, Debug)]
enum Fact {
    Size(String, u32),
    Move(String, String),
    Gone(String),
}

const KEPT: u32 = 16;

/// The metric of sizes and that of moves. Each fact is a segment of its own, in this order.
fn views(facts: &[(i64, Fact)]) -> [MetricView; 2] {
    let mut sizes = descriptor(Kind::Latest { n: 1, ttl: None }, &["kind", "project"], "1s forever");
    sizes.moved = Some(Moved { label: "project".to_owned(), metric: "moves".to_owned() });
    let moves = descriptor(Kind::Latest { n: KEPT, ttl: None }, &["path"], "1s forever");
    let [mut sized, mut moved] = [sizes, moves].map(MetricView::empty);
    let of_size = |fact: &Fact| matches!(fact, Fact::Size(..));
    for (view, is_size) in [(&mut sized, true), (&mut moved, false)] {
        view.version = facts.len() as u64;
        let facts: Vec<_> = facts.iter().filter(|(_, fact)| of_size(fact) == is_size).collect();
        let said = facts.iter().map(|(_, fact)| match fact {
            Fact::Size(path, size) => (vec!["x", path], size.to_string()),
            Fact::Move(path, to) => (vec![&**path], format!("{{\"to\":\"{to}\"}}")),
            Fact::Gone(path) => (vec![&**path], "{\"to\":null}".to_owned()),
        });
        let said: Vec<(Vec<&str>, String)> = said.collect();
        let sets: Vec<&[&str]> = said.iter().map(|(set, _)| &set[..]).collect();
        let Kind::Latest { n, ttl } = view.descriptor.kind else { panic!("latest values") };
        let mut segments = Vec::new();
        for ((series, (_, json)), (at, _)) in labelled(view, &sets).into_iter().zip(&said).zip(&facts) {
            let value = LatestValue { time: secs(*at), id: format!("{at}"), json: json.clone() };
            let state = LatestState { removed: None, values: vec![value] };
            segments.push(segment(LatestRule { n, ttl }, 0, segments.len(), [Cell { series, place: 0, state }]));
        }
        view.tiers[0].partitions.insert(0, segments);
    }
    [sized, moved]
}

/// Rows as (path, size).
fn shown(views: &[MetricView; 2], query: &Query) -> Vec<(String, i64)> {
    let [sizes, moves] = views;
    let answer = run(sizes, query, From { moves: Some(moves), ..from(NOW) }).expect("an answer");
    let row = |row: &Row| {
        let size = match &row.value {
            RowValue::Latest { json, .. } => json.parse().expect("a number"),
            RowValue::Sum { sum, others: 0, .. } => *sum as i64,
            other => panic!("a size: {other:?}"),
        };
        (row.labels.last().expect("a path").to_string(), size)
    };
    let mut rows: Vec<_> = answer.rows.iter().map(row).collect();
    rows.sort();
    rows
}

fn all() -> Query {
    Query { by: Some(vec![1]), ..Query::default() }
}

fn rollup(depth: usize) -> Query {
    Query { rollup: Some(Rollup::Sum(Path { dimension: 1, depth })), ..all() }
}

fn size(path: &str, size: u32) -> Fact {
    Fact::Size(path.to_owned(), size)
}

fn moved(path: &str, to: &str) -> Fact {
    Fact::Move(path.to_owned(), to.to_owned())
}

fn gone(path: &str) -> Fact {
    Fact::Gone(path.to_owned())
}

#[track_caller]
fn check_facts(facts: &[(i64, Fact)], expected: &[(&str, i64)]) {
    let expected: Vec<_> = expected.iter().map(|(path, size)| ((*path).to_owned(), *size)).collect();
    let mut facts = facts.to_vec();
    for _ in 0..facts.len() {
        facts.rotate_left(1);
        assert_eq!(shown(&views(&facts), &all()), expected, "{facts:?}");
    }
}

#[test]
fn what_lies_below_goes_along() {
    check_facts(
        &[(1, size("a/b/c", 1)), (1, size("a/bc", 2)), (1, size("a/b", 4)), (2, moved("a/b", "x/y"))],
        &[("a/bc", 2), ("x/y", 4), ("x/y/c", 1)],
    );
    check_facts(
        &[(1, size("a/b", 1)), (2, moved("a", "b")), (3, moved("b", "c")), (2, size("b", 2))],
        &[("c", 2), ("c/b", 1)],
    );
    check_facts(
        &[(1, size("a/b", 1)), (2, moved("a", "c")), (3, moved("c/b", "d")), (4, moved("d", "d/e"))],
        &[("d/e", 1)],
    );
}

#[test]
fn a_path_can_be_used_again() {
    check_facts(&[(1, size("a/b", 1)), (2, gone("a")), (3, size("a/c", 2))], &[("a/c", 2)]);
    check_facts(
        &[(1, size("a/b", 1)), (2, moved("a", "c")), (3, size("a/c", 2)), (4, moved("a", "e"))],
        &[("c/b", 1), ("e/c", 2)],
    );
    // There and back.
    check_facts(&[(1, size("a", 1)), (2, moved("a", "b")), (3, moved("b", "a"))], &[("a", 1)]);
}

#[test]
fn the_newest_stays_where_two_meet() {
    check_facts(&[(1, size("a", 1)), (2, moved("a", "b")), (3, size("b", 2))], &[("b", 2)]);
    check_facts(&[(5, size("a", 1)), (6, moved("a", "b")), (3, size("b", 2))], &[("b", 1)]);
}

#[test]
fn at_one_instant_the_value_is_first_and_the_deepest_move() {
    check_facts(&[(1, size("a", 1)), (1, moved("a", "b"))], &[("b", 1)]);
    check_facts(&[(1, size("a", 1)), (1, gone("a"))], &[]);
    check_facts(&[(0, size("g/p", 1)), (1, moved("g", "h")), (1, moved("g/p", "g/q"))], &[("h/q", 1)]);
    check_facts(&[(0, size("g/p", 1)), (1, moved("g", "h")), (1, moved("h/p", "h/q"))], &[("h/q", 1)]);
    // A chain within one instant, and a circle, which is gone through once.
    check_facts(&[(0, size("a", 1)), (1, moved("a", "b")), (1, moved("b", "c"))], &[("c", 1)]);
    check_facts(&[(0, size("a", 1)), (1, moved("a", "b")), (1, moved("b", "a"))], &[("a", 1)]);
    check_facts(&[(0, size("a", 1)), (1, moved("a", "a/a")), (1, moved("a/a", "a"))], &[("a", 1)]);
}

#[test]
fn questions_are_about_where_things_are() {
    let views = views(&[
        (1, size("a/b/c", 1)),
        (1, size("a/d", 2)),
        (1, size("x/e", 4)),
        (2, moved("a/b", "x/b")),
        (4, gone("x/e")),
    ]);
    let only = |pattern: &str| vec![Filter { dimension: 1, patterns: vec![pattern.to_owned()] }];
    let expect = |rows: &[(&str, i64)]| -> Vec<(String, i64)> {
        rows.iter().map(|(path, size)| ((*path).to_owned(), *size)).collect()
    };
    assert_eq!(shown(&views, &Query { filters: only("x/*"), ..all() }), expect(&[("x/b/c", 1)]));
    assert_eq!(shown(&views, &Query { filters: only("a/b/c"), ..all() }), []);
    assert_eq!(shown(&views, &rollup(1)), expect(&[("a", 2), ("x", 1)]));
    assert_eq!(shown(&views, &Query { filters: only("x*"), ..rollup(2) }), expect(&[("x/b", 1)]));
    // As it was.
    assert_eq!(shown(&views, &Query { end: Some(secs(3)), ..rollup(1) }), expect(&[("a", 2), ("x", 5)]));
    assert_eq!(
        shown(&views, &Query { end: Some(secs(2)), ..rollup(2) }),
        expect(&[("a/b", 1), ("a/d", 2), ("x/e", 4)])
    );
    // Without the other metric at hand nothing has moved.
    let [sizes, _] = &views;
    assert_eq!(run(sizes, &all(), from(NOW)).expect("an answer").rows.len(), 3);
}

#[test]
fn what_is_known_of_label_sets_follows_both_metrics() {
    let mut facts = vec![(1, size("a/b", 1)), (1, size("c", 2))];
    let first = views(&facts);
    let again = |facts: &[(i64, Fact)], before: &[MetricView; 2]| {
        let mut views = views(facts);
        views[0].moved = before[0].moved.clone();
        views
    };
    assert_eq!(shown(&first, &all()).len(), 2);
    for fact in [(2, moved("a", "d")), (3, size("d/e", 4)), (2, size("a/f", 8)), (9, gone("d/b"))] {
        facts.push(fact);
        let next = again(&facts, &first);
        assert_eq!(shown(&next, &all()), shown(&views(&facts), &all()), "{facts:?}");
    }
    // A reader that still has an older view.
    let mut older = views(&facts[..3]);
    older[0].moved = first[0].moved.clone();
    assert_eq!(shown(&older, &all()), shown(&views(&facts[..3]), &all()));
}

#[test]
fn moves_of_another_shape_say_nothing() {
    let mut views = views(&[(1, size("a", 1)), (2, moved("a", "b"))]);
    let rule = LatestRule { n: KEPT, ttl: None };
    for json in ["1", "\"b\"", "[]", "{\"to\":7}", "{\"to\":[\"b\"]}"] {
        let value = LatestValue { time: secs(2), id: String::new(), json: json.to_owned() };
        let state = LatestState { removed: None, values: vec![value] };
        views[1].tiers[0].partitions.insert(0, vec![segment(rule, 0, 0, [Cell { series: 0, place: 0, state }])]);
        views[0].moved = Arc::default();
        assert_eq!(shown(&views, &all()), [("a".to_owned(), 1)], "{json}");
    }
}

/// What there is when everything has happened, in order: each with the path at which it was said.
fn recount(facts: &[(i64, Fact)]) -> Vec<(String, i64)> {
    let mut facts = facts.to_vec();
    facts.sort_by_key(|(at, _)| *at);
    let mut tree: Vec<(String, String, i64)> = Vec::new();
    for (_, fact) in facts {
        let below = |path: &str, at: &str| at == path || at.starts_with(&format!("{path}/"));
        match fact {
            Fact::Size(path, size) => {
                // A label set has one value, wherever that has gone.
                tree.retain(|(said, ..)| *said != path);
                tree.push((path.clone(), path, size.into()));
            }
            Fact::Move(path, to) => {
                for (_, at, _) in tree.iter_mut().filter(|(_, at, _)| below(&path, at)) {
                    *at = format!("{to}{}", &at[path.len()..]);
                }
            }
            Fact::Gone(path) => tree.retain(|(_, at, _)| !below(&path, at)),
        }
    }
    // Of those that have met the newest.
    tree.into_iter().map(|(_, at, size)| (at, size)).collect::<BTreeMap<_, _>>().into_iter().collect()
}

fn any_path() -> impl Strategy<Value = String> {
    let part = prop_oneof![Just("a"), Just("b"), Just("aa")];
    proptest::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
}

fn any_fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        5 => (any_path(), 0..1000_u32).prop_map(|(path, size)| Fact::Size(path, size)),
        3 => (any_path(), any_path()).prop_map(|(path, to)| Fact::Move(path, to)),
        1 => any_path().prop_map(Fact::Gone),
    ]
}

fn total(rows: &[(String, i64)], depth: usize, of: Range<usize>) -> Vec<(String, i64)> {
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for (path, size) in rows.iter().filter(|(path, _)| of.contains(&path.split('/').count())) {
        let parts: Vec<&str> = path.split('/').take(depth).collect();
        *sums.entry(parts.join("/")).or_default() += size;
    }
    sums.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn in_whatever_order_it_comes_everything_is_where_it_went(
        facts in proptest::collection::vec(any_fact(), 0..25),
        order: prop::sample::Index,
        shuffle in proptest::collection::vec(any::<prop::sample::Index>(), 25),
    ) {
        let mut facts: Vec<(i64, Fact)> = (1..).zip(facts).collect();
        let expected = recount(&facts);
        for (at, to) in shuffle.iter().enumerate().take(facts.len()) {
            let to = to.index(facts.len());
            facts.swap(at, to);
        }
        let views = views(&facts);
        prop_assert_eq!(shown(&views, &all()), expected.clone());
        let depth = order.index(4);
        prop_assert_eq!(shown(&views, &rollup(depth)), total(&expected, depth, 0..usize::MAX));
        let deep = Filter { dimension: 1, patterns: vec!["*/*".to_owned()] };
        prop_assert_eq!(shown(&views, &Query { filters: vec![deep], ..rollup(1) }), total(&expected, 1, 2..usize::MAX));
    }
}

#[test]
fn what_leads_too_far_leads_nowhere() {
    let long = "b/".repeat(600);
    let deep = format!("{}c", "b/".repeat(500));
    let facts = [
        (1, size("a/x", 7)),
        (1, size("d/y", 8)),
        (1, size(crate::series::OTHER, 9)),
        (2, moved("a", &long)),
        (2, moved("d", &deep)),
        (3, moved(&format!("{deep}/y"), &format!("{deep}/{}", "y".repeat(200)))),
        (4, moved(crate::series::OTHER, "evil")),
    ];
    let expected = [(crate::series::OTHER.to_owned(), 9), ("a/x".to_owned(), 7), (format!("{deep}/y"), 8)];
    assert_eq!(shown(&views(&facts), &all()), expected);
}

#[test]
fn looking_for_moves_is_paid_for() {
    let chain: Vec<(i64, Fact)> = (0..60).map(|n| (n + 2, moved(&format!("p{n}"), &format!("p{}", n + 1)))).collect();
    let facts: Vec<(i64, Fact)> = [(1, size("p0/x", 7))].into_iter().chain(chain).collect();
    let [sizes, moves] = views(&facts);
    let ask = |cells_max| run(&sizes, &all(), From { moves: Some(&moves), cells_max, ..from(NOW) });
    assert_eq!(&*ask(1000).expect("an answer").rows[0].labels[0], "p60/x");
    assert!(matches!(ask(100), Err(QueryError::TooExpensive { .. })), "{:?}", ask(100));
}
