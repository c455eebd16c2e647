//! Values of labels, against all label sets.

use proptest::prelude::*;

use super::*;

/// A view with these label sets of two labels, in chunks of three.
fn view(sets: &[(String, String)]) -> MetricView {
    let mut view = MetricView::empty(descriptor(Kind::Count, &["a", "b"], ALL));
    let mut table = SeriesTable::new(2, u32::MAX);
    for sets in sets.chunks(3) {
        for (a, b) in sets {
            table.resolve(&[a, b]);
        }
        view.series.extend(table.take_new().map(Arc::new));
    }
    view.series_count = table.len() as u32;
    view
}

fn texts(sets: &[(&str, &str)]) -> Vec<(String, String)> {
    sets.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn filter(dimension: usize, patterns: &[&str]) -> Filter {
    Filter { dimension, patterns: patterns.iter().map(|&pattern| pattern.to_owned()).collect() }
}

#[test]
fn values_are_in_order_each_once_page_by_page() {
    let view = view(&texts(&[("git", "x"), ("bodhi", "x"), ("git", "y"), ("É", "x"), ("", "x"), ("Z", "y")]));
    let check = |query: LabelQuery, expected: &[&str], truncated| {
        let values = label_values(&view, &query).expect("sound");
        assert_eq!((values.values, values.truncated), (texts_of(expected), truncated), "{query:?}");
    };
    let all = LabelQuery { limit: 10, ..LabelQuery::default() };
    let after = |after: &str| Some(after.to_owned());
    check(all.clone(), &["", "Z", "bodhi", "git", "É"], false);
    check(LabelQuery { limit: 5, ..all.clone() }, &["", "Z", "bodhi", "git", "É"], false);
    check(LabelQuery { limit: 4, ..all.clone() }, &["", "Z", "bodhi", "git"], true);
    check(LabelQuery { limit: 1, after: after("Z"), ..all.clone() }, &["bodhi"], true);
    check(LabelQuery { limit: 2, after: after("bodhi"), ..all.clone() }, &["git", "É"], false);
    check(LabelQuery { after: after("c"), ..all.clone() }, &["git", "É"], false);
    check(LabelQuery { after: after("É"), ..all.clone() }, &[], false);
    check(LabelQuery { dimension: 1, ..all.clone() }, &["x", "y"], false);
    check(LabelQuery { filters: vec![filter(0, &["*i*"])], ..all.clone() }, &["bodhi", "git"], false);
    check(LabelQuery { filters: vec![filter(1, &["y"])], ..all.clone() }, &["Z", "git"], false);
    check(LabelQuery { filters: vec![filter(1, &["y"]), filter(0, &["g*", "b*"])], ..all.clone() }, &["git"], false);
    // Of values that no filter lets through none is more.
    check(LabelQuery { filters: vec![filter(0, &["git"])], limit: 1, ..all.clone() }, &["git"], false);
    check(LabelQuery { dimension: 2, ..all }, &[], false);
}

fn texts_of(values: &[&str]) -> Vec<String> {
    values.iter().map(|&value| value.to_owned()).collect()
}

#[test]
fn samples_are_the_first_of_the_first() {
    let view = view(&texts(&[("git", "x"), ("bodhi", "x"), ("git", "y"), ("a", "z"), ("b", "z")]));
    assert_eq!(label_samples(&view, 3), [texts_of(&["git", "bodhi", "a"]), texts_of(&["x", "y", "z"])]);
    assert_eq!(label_samples(&view, 1), [texts_of(&["git"]), texts_of(&["x"])]);
    let many: Vec<_> = (0..300).map(|n| (format!("{n:03}"), "x".to_owned())).collect();
    let samples = label_samples(&self::view(&many), 1000);
    assert_eq!((samples[0].len(), samples[1].len()), (100, 1), "only so many are looked at");
    assert_eq!(label_samples(&counts(&[], ALL, &[]), 3), Vec::<Vec<String>>::new());
}

/// The same, in as many steps as it takes to be seen to be right.
fn naive(sets: &[(String, String)], query: &LabelQuery) -> LabelValues {
    let is_wanted = |(a, b): &&(String, String)| {
        query.filters.iter().all(|filter| {
            let label = if filter.dimension == 0 { a } else { b };
            filter.patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => label.starts_with(start),
                None => label == pattern,
            })
        })
    };
    let labels = sets.iter().filter(is_wanted).map(|(a, b)| if query.dimension == 0 { a } else { b });
    let mut values: Vec<String> =
        labels.filter(|label| query.after.as_ref().is_none_or(|after| *label > after)).cloned().collect();
    values.sort();
    values.dedup();
    let truncated = values.len() > query.limit;
    values.truncate(query.limit);
    LabelValues { values, truncated }
}

fn label() -> impl Strategy<Value = String> {
    "[aé]{0,3}"
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let pattern = prop_oneof![label(), label().prop_map(|start| start + "*")];
    (0..2_usize, prop::collection::vec(pattern, 1..3)).prop_map(|(dimension, patterns)| Filter { dimension, patterns })
}

proptest! {
    #[test]
    fn values_are_those_of_a_naive_search(
        sets in prop::collection::vec((label(), label()), 0..40),
        dimension in 0..2_usize,
        filters in prop::collection::vec(any_filter(), 0..3),
        after in prop::option::of(label()),
        limit in 1..8_usize,
    ) {
        let query = LabelQuery { dimension, filters, after, limit };
        prop_assert_eq!(label_values(&view(&sets), &query).expect("sound"), naive(&sets, &query));
    }
}
