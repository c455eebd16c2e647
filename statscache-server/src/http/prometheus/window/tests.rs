//! Widths that are chosen, and windows against what a loop over all buckets finds.

use proptest::{collection::vec, option, prelude::*};

use super::*;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
/// The present: not a whole second.
const NOW: i64 = 1_700_000_000 * SECOND + 123;

fn moments(start: i64, step: i64, count: usize) -> Moments {
    let steps = Steps { start, step, count, is_instant: count == 0 };
    Moments::new(Steps { count: count.max(1), ..steps }, None, 0, NOW).expect("not ahead of the view")
}

fn plans(start: i64, step: i64, count: usize, length: i64) -> (String, String, i64) {
    let (moments, tiers, now) = (moments(start, step, count), Tiers::default(), Timestamp::from_micros(NOW));
    let bare = Plan::bare(&moments, &tiers, None, now);
    let over = Plan::over(&moments, &tiers, None, (length, true), now);
    (bare.width.to_string(), over.width.to_string(), over.length() / SECOND)
}

#[test]
fn widths_are_of_the_step_where_a_tier_keeps_the_range() {
    let hour_ago = (NOW - HOUR) / HOUR * HOUR;
    for (start, step, count, length, bare, over, told) in [
        // The last hour, in steps of which seconds are made: as they are.
        (hour_ago, 15 * SECOND, 100, MINUTE, "15s", "15s", 60),
        (hour_ago, MINUTE, 30, 5 * MINUTE, "1m", "1m", 300),
        // Steps that are no whole seconds, or begin at none.
        (hour_ago, SECOND / 2, 100, MINUTE, "1s", "1s", 60),
        (hour_ago + 1, 15 * SECOND, 100, MINUTE, "15s", "1s", 60),
        // One moment: the finest that keeps the window.
        (NOW, 1, 0, MINUTE, "1s", "1s", 60),
        (NOW, 1, 0, 24 * HOUR, "1s", "1m", 86_400),
        (NOW / HOUR * HOUR, 1, 0, 24 * HOUR, "1s", "2h", 86_400),
        // A day ago seconds are not kept any more: minutes instead, and whole ones.
        (NOW - 24 * HOUR, 15 * SECOND, 100, 75 * SECOND, "1m", "1m", 60),
        (NOW - 24 * HOUR, 15 * SECOND, 100, 95 * SECOND, "1m", "1m", 120),
        // A month ago neither are minutes.
        (NOW - 30 * 24 * HOUR, 15 * MINUTE, 100, 15 * MINUTE, "1h", "1h", 3600),
    ] {
        let what = format!("{count} steps of {step} us from {start}, windows of {length} us");
        assert_eq!(plans(start, step, count, length), (bare.to_owned(), over.to_owned(), told), "{what}");
    }
}

#[test]
fn a_view_does_not_reach_into_the_future() {
    let at = |start, is_instant| Moments::new(Steps { start, step: MINUTE, count: 1, is_instant }, None, 0, NOW);
    assert!(at(NOW, false).is_some() && at(NOW + 1, false).is_none());
    assert_eq!(at(NOW + LOOKBACK, true).map(|moments| moments.at), Some(vec![Some(NOW)]));
    assert!(at(NOW + LOOKBACK + 1, true).is_none());
    let back = Moments::new(Steps { start: NOW + HOUR, step: 1, count: 1, is_instant: false }, None, HOUR, NOW);
    assert_eq!(back.map(|moments| moments.at), Some(vec![Some(NOW)]));
}

/// What a loop finds: buckets of a second from 0 on, those that are not seen `None`.
fn naive(over: Over, buckets: &[Option<i64>], (from, until): (i64, i64)) -> Option<f64> {
    let window = from.clamp(0, buckets.len() as i64) as usize..until.clamp(0, buckets.len() as i64) as usize;
    let there: Vec<f64> = buckets[window].iter().filter_map(|value| value.map(|value| value as f64)).collect();
    let sum = there.iter().sum::<f64>();
    (!there.is_empty()).then(|| match over {
        Over::Increase | Over::Sum => sum,
        Over::Rate => sum / (until - from) as f64,
        Over::Avg => sum / there.len() as f64,
        Over::Min => there.iter().copied().fold(f64::INFINITY, f64::min),
        Over::Max => there.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Over::Count => there.len() as f64,
        Over::Last => there[there.len() - 1],
    })
}

proptest! {
    /// Zeros are those seconds that were seen and in which nothing is stored.
    #[test]
    fn windows_are_what_a_loop_finds(
        all in vec(option::of(prop_oneof![Just(0_i64), -5_i64..100]), 1..40),
        window in 1_i64..12,
        step in 1_i64..9,
    ) {
        let known: Vec<bool> = all.iter().map(Option::is_some).collect();
        let stored = all.iter().enumerate().filter_map(|(at, value)| Some((at as u32, value.filter(|value| *value != 0)? as f64)));
        let (buckets, series) = Buckets::made(SECOND, &known, stored);
        let count = all.len() / step as usize + 2;
        let moments = moments(0, step * SECOND, count);
        for name in ["increase", "rate", "sum_over_time", "avg_over_time", "min_over_time", "max_over_time", "count_over_time", "last_over_time"] {
            let function = Over::named(name).expect("a function");
            let found = over(&buckets, &series, &moments, (function, window));
            for (number, found) in found.into_iter().enumerate() {
                let at = number as i64 * step;
                prop_assert_eq!(found, naive(function, &all, (at - window, at)), "{} at {}", name, at);
            }
        }
        for (number, found) in newest(&buckets, &series, &moments).into_iter().enumerate() {
            let before = usize::try_from(number as i64 * step - 1).ok();
            prop_assert_eq!(found, before.and_then(|at| all.get(at).copied().flatten()).map(|value| value as f64));
        }
    }
}
