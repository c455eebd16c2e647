//! One bucket over the whole range.

use super::*;

fn whole(start: Timestamp, end: Timestamp) -> Query {
    Query { is_whole: true, ..range(start, end) }
}

#[test]
fn the_range_is_one_bucket_of_whole_buckets_of_a_tier() {
    let events: Vec<(&[&str], Timestamp, i64)> = (0..30).map(|minute| (&["a"][..], secs(minute * 60), 1)).collect();
    let view = counts(&["x"], "1m forever, 1h forever", &events);
    let answer = check(&view, &whole(secs(90), secs(630)), &[(60, "a", 10)]);
    assert_eq!((answer.start, answer.end, answer.step), (Some(secs(60)), secs(660), span("10m")));
    let answer = check(&view, &whole(secs(-86_400), secs(600)), &[(-86_400, "a", 30)]);
    assert_eq!(answer.end, secs(3600), "of so long a range, hours");
    check(&view, &whole(secs(3600), secs(7200)), &[]);
}

#[test]
fn a_range_that_begins_anywhere_has_each_label_set_once() {
    // Sevens of hours have no common multiple with the epoch here.
    let events: [(&[&str], Timestamp, i64); 3] =
        [(&["a"], secs(-7 * 3600), 1), (&["a"], secs(0), 2), (&["b"], secs(-3600), 4)];
    let view = counts(&["x"], "1h forever", &events);
    let query = whole(secs(-7 * 3600), secs(3600));
    check(&view, &query, &[(-7 * 3600, "a", 3), (-7 * 3600, "b", 4)]);
    check(&view, &Query { by: Some(Vec::new()), ..query }, &[(-7 * 3600, "", 7)]);
}

#[test]
fn what_is_kept_no_longer_is_not_in_it() {
    let events: Vec<(&[&str], Timestamp, i64)> = (0..5).map(|minute| (&[][..], secs(minute * 60), 1)).collect();
    let view = counts(&[], "1m for 28m", &events);
    // 28 minutes before NOW is minute 2.
    let answer = check(&view, &whole(secs(30), secs(300)), &[(120, "", 3)]);
    assert_eq!((answer.start, answer.step), (Some(secs(120)), span("3m")));
    let answer = check(&view, &whole(secs(0), secs(100)), &[]);
    assert_eq!(answer.start, Some(answer.end), "nothing of it");
}

#[test]
fn a_range_of_ages_is_cut_to_the_widest_step() {
    let view = counts(&[], "1d forever", &[(&[], secs(0), 1)]);
    let answer = check(
        &view,
        &whole(Timestamp::from_micros(i64::MIN), secs(60)),
        &[(-(100 * 366 - 1) * 86_400 - 46_800, "", 1)],
    );
    assert_eq!(answer.step, Some(Resolution::MAX));
}

#[test]
fn coverage_is_that_of_the_range_and_of_its_buckets() {
    let view = counts(&[], "1m forever", &[(&[], secs(0), 1)]);
    let mut coverage = Coverage::new();
    coverage.add(secs(0), secs(120), crate::coverage::Seen::Whole);
    let ask = |end| {
        let from = From { coverage: &coverage, ..from(NOW) };
        let answer = run(&view, &whole(secs(0), secs(end)), from).expect("an answer");
        (answer.rows[0].coverage, answer.coverage.len())
    };
    assert_eq!(ask(120), (BucketCoverage::Complete, 1));
    assert_eq!(ask(300), (BucketCoverage::Partial, 2));
}

#[test]
fn filling_gives_the_one_row() {
    let view = counts(&[], "1m forever", &[]);
    check(&view, &Query { fill: Fill::Zero, ..whole(secs(0), secs(600)) }, &[(0, "", 0)]);
}
