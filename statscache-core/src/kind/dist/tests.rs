//! The laws, the bytes, and the error against exact quantiles.

use super::*;
use proptest::prelude::*;

fn state_of(numbers: &[f64]) -> DistState {
    let mut state = DistState::default();
    numbers.iter().for_each(|&x| state.observe(x));
    state
}

fn bytes(state: &DistState) -> Vec<u8> {
    let mut out = Vec::new();
    DistRule.encode(state, &mut out);
    out
}

/// Few distinct numbers, many, and a range much wider than the window.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |x| x.is_finite()),
        (-100_000..100_000_i32).prop_map(|cents| f64::from(cents) / 100.0),
        (-70..70_i32, any::<bool>()).prop_map(|(e, negative)| if negative { -2_f64.powi(e) } else { 2_f64.powi(e) }),
        Just(-0.0),
        Just(1.5),
    ]
}

fn numbers() -> impl Strategy<Value = Vec<f64>> {
    prop_oneof![proptest::collection::vec(number(), 0..20), (number(), 0..5_usize).prop_map(|(x, len)| vec![x; len]),]
}

/// Within 1 %, and what the rounding of a subnormal adds.
fn is_close(estimate: f64, exact: f64) -> bool {
    // Divided rather than multiplied, which would round up at the smallest numbers.
    (estimate - exact).abs() <= exact.abs() / 100.0 + f64::from_bits(1)
}

proptest! {
    #[test]
    fn laws(a in numbers(), b in numbers(), c in numbers()) {
        crate::kind::assert_laws(DistRule, &state_of(&a), &state_of(&b), &state_of(&c));
    }

    #[test]
    fn laws_where_counts_are_at_their_end(a in number(), b in number(), count in COUNT_MAX - 2..=COUNT_MAX) {
        let full = |x: f64| DistState { bins: vec![bin(key_of(x), count)], ..state_of(&[x]) };
        crate::kind::assert_laws(DistRule, &full(a), &full(b), &state_of(&[a, b, a, b, a]));
    }

    #[test]
    fn any_order_and_grouping(
        (numbers, shuffled) in numbers().prop_flat_map(|n| (Just(n.clone()), Just(n).prop_shuffle())),
        chunk in 1..5_usize,
    ) {
        let mut merged = DistState::default();
        shuffled.chunks(chunk).for_each(|part| DistRule.merge(&mut merged, state_of(part)));
        prop_assert_eq!(bytes(&merged), bytes(&state_of(&numbers)));
        prop_assert_eq!(merged.n(), numbers.len() as u64);
        prop_assert_eq!(merged.quantile(0.0), numbers.iter().copied().reduce(f64::min));
        prop_assert_eq!(merged.quantile(1.0), numbers.iter().copied().reduce(f64::max));
    }

    #[test]
    fn every_number_is_close_to_its_bin(a in number(), b in number()) {
        prop_assert!(is_close(value_of(key_of(a)), a), "{a} as {}", value_of(key_of(a)));
        prop_assert_eq!(value_of(key_of(-a)), -value_of(key_of(a)), "both signs alike");
        prop_assert!(a < b || key_of(a) >= key_of(b), "keys are in the order of numbers");
    }

    #[test]
    fn other_bytes_are_refused(len in 0..5_u8, rest: Vec<u8>, numbers in numbers(), at: prop::sample::Index, byte: u8) {
        let mut changed = bytes(&state_of(&numbers));
        let at = at.index(changed.len());
        changed[at] = byte;
        for encoded in [[&[len][..], &rest[..]].concat(), changed] {
            let mut input = Input(&encoded);
            if let Ok(state) = DistRule.decode(&mut input) {
                prop_assert_eq!(bytes(&state), &encoded[..encoded.len() - input.0.len()]);
                let mut again = state.clone();
                again.fold();
                prop_assert_eq!(&again, &state, "what is read is folded");
                let median = state.quantile(0.5).map(|median| state.min <= median && median <= state.max);
                prop_assert!(median != Some(false));
            }
        }
    }
}

#[test]
fn no_bin_is_too_wide() {
    for (step, ends) in EDGES.windows(2).enumerate() {
        let (low, high) = (ends[0] as f64 / 2_f64.powi(32) + 1.0, ends[1] as f64 / 2_f64.powi(32) + 1.0);
        assert!((high - low) / (high + low) < 0.01, "{step}: {low} to {high}");
        assert_eq!(key_of(low), key_of(1.0) + step as u32, "bins begin at their edge");
        assert_eq!(key_of(high), key_of(high.next_down()) + 1, "and end before the next");
    }
    assert_eq!(EDGES[OCTAVE as usize], 1 << 32);
}

#[test]
fn keys_span_all_doubles() {
    assert_eq!(key_of(f64::from_bits(1)), ZERO + 1);
    assert_eq!((key_of(f64::MAX), key_of(-f64::MAX)), (2 * ZERO - 1, 1));
    assert!(is_close(value_of(key_of(f64::MAX)), f64::MAX));
}

/// Numbers in 0..1, the same in each run.
fn uniform(n: usize) -> impl Iterator<Item = f64> {
    let mut seed = 1_u64;
    std::iter::repeat_with(move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((seed >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    })
    .take(n)
}

/// Every half percentile against the sorted numbers.
#[track_caller]
fn check(name: &str, numbers: impl Iterator<Item = f64>, floor: f64) {
    let mut numbers: Vec<f64> = numbers.collect();
    let state = state_of(&numbers);
    numbers.sort_by(f64::total_cmp);
    for step in 0..=200 {
        let q = f64::from(step) / 200.0;
        let exact = numbers[(q * (numbers.len() - 1) as f64) as usize];
        let estimate = state.quantile(q).unwrap();
        assert!(is_close(estimate, exact) || (estimate - exact).abs() <= floor, "{name} {q}: {estimate} for {exact}");
    }
    assert!(state.bins.len() <= 2 * WINDOW as usize + 1, "{name}: {} bins", state.bins.len());
}

#[test]
fn quantiles_are_within_one_percent() {
    let n = 20_000;
    let normal = || {
        let (a, b) = (uniform(2 * n).step_by(2), uniform(2 * n).skip(1).step_by(2));
        a.zip(b).map(|(a, b)| (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos())
    };
    check("uniform", uniform(n).map(|x| x * 1000.0), 0.0);
    check("whole", uniform(n).map(|x| (x * 50.0).floor()), 0.0);
    check("both signs", uniform(n).map(|x| x * 20.0 - 10.0), 0.0);
    check("negative", uniform(n).map(|x| -1.0 / x), 0.0);
    check("normal", normal().map(|x| x * 15.0 + 3.0), 0.0);
    check("lognormal", normal().map(|x| (x * 2.0).exp()), 0.0);
    check("pareto", uniform(n).map(|x| x.powf(-1.0 / 1.1)), 0.0);
    check("constant", uniform(n).map(|_| 0.1), 0.0);
    check("one", uniform(1), 0.0);
    check("two", uniform(2), 0.0);
    // 50 powers of two fit the window, 200 do not: then an absolute error is all that is promised.
    check("wide", uniform(n).map(|x| (x * 50.0).exp2()), 0.0);
    let wider = || uniform(n).map(|x| (x * 200.0 - 100.0).exp2());
    check("wider", wider(), 1e-17 * 2_f64.powi(100));
    check("wider, negative", wider().map(|x| -x), 1e-17 * 2_f64.powi(100));
    check("wider, both", wider().chain(wider().map(|x| -x)), 1e-17 * 2_f64.powi(100));
}

#[test]
fn known_answers() {
    let state = state_of(&[]);
    assert_eq!((state.n(), state.min(), state.max(), state.quantile(0.5)), (0, None, None, None));
    let state = state_of(&[3.0, 1.0, 2.0]);
    assert_eq!((state.n(), state.min(), state.max()), (3, Some(1.0), Some(3.0)));
    assert_eq!([-0.1, 1.1, f64::NAN].map(|q| state.quantile(q)), [None; 3]);
    // Clamped: the bin of 7.0 has its middle elsewhere.
    assert_eq!(state_of(&[7.0; 9]).quantile(0.5), Some(7.0));
}

#[test]
fn few_numbers_are_short() {
    assert_eq!(bytes(&state_of(&[])), [0]);
    assert_eq!(bytes(&state_of(&[1.0])), [1, 1, 1, 0]);
    assert_eq!(bytes(&state_of(&[-0.0; 100])), [1, 100, 0, 0]);
    assert_eq!(state_of(&[-0.0]).min().map(f64::to_bits), Some(0), "the sign of zero is gone");
}

#[test]
fn a_full_bin_stays_full() {
    let mut state = DistState { bins: vec![bin(key_of(3.0), COUNT_MAX)], ..state_of(&[3.0]) };
    state.observe(3.0);
    DistRule.merge(&mut state, state_of(&[3.0, 3.0]));
    assert_eq!(state.n(), COUNT_MAX);
    assert_eq!(DistRule.decode(&mut Input(&bytes(&state))), Ok(state));
}

#[track_caller]
fn refused(bins: u64, count: u64, ends: &[f64], rest: &[u8], why: &'static str) {
    let mut encoded = Vec::new();
    put_u64(&mut encoded, bins);
    put_u64(&mut encoded, count);
    ends.iter().for_each(|&x| put_f64(&mut encoded, x));
    encoded.extend(rest);
    assert_eq!(DistRule.decode(&mut Input(&encoded)), Err(Corrupt(why)));
}

#[test]
fn bins_that_cannot_be_are_refused() {
    refused(1, 0, &[1.0], &[], "a bin has no such count");
    refused(1, COUNT_MAX + 1, &[1.0, 1.0], &[], "a bin has no such count");
    refused(2, 1, &[2.0, 1.0], &[1], "the least is greater than the greatest");
    refused(2, 1, &[1.0, 1.0], &[1], "the bins are not those of least and greatest");
    refused(1, 2, &[1.0, 2.0], &[], "the bins are not those of least and greatest");
    // From 1 to 2 there are 34 bins between.
    refused(3, 1, &[1.0, 2.0], &[34, 1, 1], "a bin is out of place");
    refused(u64::MAX, 1, &[1.0, 2.0], &[0, 1], "a number ends early");
}
