//! Stats of several label sets as one.

use super::*;
use crate::kind::StatState;

/// Each event is a number that a part of a chain says.
fn stats(events: &[(&[&str], Timestamp, f64)]) -> MetricView {
    let mut view = MetricView::empty(descriptor(Kind::Stat, &["chain", "part"], "1m forever"));
    let sets: Vec<&[&str]> = events.iter().map(|(labels, ..)| *labels).collect();
    let ids = labelled(&mut view, &sets);
    for (commit, ((_, time, number), series)) in events.iter().zip(&ids).enumerate() {
        let (partition, place) = bucket::locate(*time, Resolution::MINUTE);
        let mut state = StatState::default();
        state.observe(*number);
        let cell = Cell { series: *series, place, state };
        view.tiers[0].partitions.entry(partition).or_default().push(segment(StatRule, partition, commit, [cell]));
    }
    view
}

fn products(view: &MetricView, query: &Query) -> Vec<(i64, String, f64, u64, u64)> {
    let query = Query { rollup: Some(Rollup::Product), ..query.clone() };
    let row = |row: &Row| {
        let RowValue::Product { product, parts, missing } = row.value else { panic!("no product: {row:?}") };
        (row.time.micros() / 1_000_000 - T, row.labels.join("/"), product, parts, missing)
    };
    run(view, &query, from(NOW)).expect("an answer").rows.iter().map(row).collect()
}

fn shop() -> MetricView {
    stats(&[
        (&["shop", "web"], secs(0), 1.0),
        (&["shop", "web"], secs(1), 0.0),
        (&["shop", "db"], secs(2), 1.0),
        (&["shop", "db"], secs(3), 1.0),
        (&["shop", "db"], secs(4), 1.0),
        (&["shop", "db"], secs(5), 0.0),
        (&["mail", "web"], secs(6), 1.0),
        (&["shop", "db"], secs(60), 1.0),
    ])
}

#[test]
fn a_chain_works_as_often_as_the_product_of_its_parts() {
    let by_chain = Query { by: Some(vec![0]), step: span("1m"), ..range(secs(0), secs(120)) };
    let of = |text: &str| text.to_owned();
    assert_eq!(
        products(&shop(), &by_chain),
        [(0, of("mail"), 1.0, 1, 0), (0, of("shop"), 0.375, 2, 0), (60, of("shop"), 1.0, 1, 1)],
        "and who said nothing is told"
    );
    let all = Query { by: Some(Vec::new()), is_whole: true, step: None, ..by_chain.clone() };
    assert_eq!(products(&shop(), &all), [(0, String::new(), 0.5 * 0.8, 3, 0)]);
    let greatest = Order { by: OrderBy::Value, descending: true };
    let best = Query { order: greatest, limit: 1, end: Some(secs(60)), ..by_chain.clone() };
    assert_eq!(products(&shop(), &best)[0].1, "mail");
    let web = Query { filters: vec![Filter { dimension: 1, patterns: vec![of("web")] }], ..by_chain };
    assert_eq!(products(&shop(), &web), [(0, of("mail"), 1.0, 1, 0), (0, of("shop"), 0.5, 1, 0)]);
}

#[test]
fn each_by_itself_is_its_mean() {
    let query = Query { step: span("1m"), ..range(secs(0), secs(60)) };
    let told: Vec<f64> = products(&shop(), &query).iter().map(|(_, _, product, ..)| *product).collect();
    assert_eq!(told, [1.0, 0.75, 0.5]);
}

#[test]
fn the_order_of_arrival_changes_no_bit() {
    let parts: Vec<String> = (0..50).map(|part| format!("{part:02}")).collect();
    let sets: Vec<[&str; 2]> = parts.iter().map(|part| ["c", part.as_str()]).collect();
    let number = |at: usize| 1.0 / (at as f64 + 1.7);
    let events: Vec<(&[&str], Timestamp, f64)> =
        sets.iter().enumerate().map(|(at, set)| (&set[..], secs(0), number(at))).collect();
    let reversed: Vec<_> = events.iter().rev().copied().collect();
    let query = Query { by: Some(vec![0]), step: span("1m"), ..range(secs(0), secs(60)) };
    assert_eq!(products(&stats(&events), &query), products(&stats(&reversed), &query));
}

#[test]
fn other_kinds_have_no_product() {
    let view = counts(&[], "1m forever", &[(&[], secs(0), 1)]);
    let query = Query { rollup: Some(Rollup::Product), ..range(secs(0), secs(60)) };
    assert!(matches!(run(&view, &query, from(NOW)), Err(QueryError::NoRollup)));
}
