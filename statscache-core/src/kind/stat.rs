//! `stat`: number, sum, least, greatest, mean and standard deviation of what was observed.
//!
//! State: n, the exact sum, the exact sum of squares, min and max. Merge: each by itself; n stays
//! at 2^64 - 1 once there, which keeps addition associative. All of them commute, and the sums are
//! exact ([`Exact`]), so that any order and grouping gives the same bytes. Bytes: n; then nothing
//! for none, min, max unless n is 1, and the two sums unless they follow from min = max. JSON:
//! `{"n":3,"sum":6.0,"min":1.0,"max":3.0,"mean":2.0,"stddev":0.816496580927726}`. Error: n, min
//! and max are exact, sum and mean are the doubles nearest to the truth; the deviation is the
//! population's, from n·Σx² - (Σx)² in whole numbers, so that nothing cancels, and within three
//! units in the last place (one each for rounding the difference, the root and the quotient).

use super::Rule;
use super::exact::{Exact, put_f64, take_f64, take_shortest};
use crate::bytes::{Corrupt, Input, put_u64};

/// The rule of `stat`.
#[derive(Clone, Copy, Debug)]
pub struct StatRule;

/// Sums and ends of some numbers. Neutral by default: none.
#[derive(Clone, Debug, PartialEq)]
pub struct StatState {
    n: u64,
    sum: Exact,
    squares: Exact,
    /// Infinite where there are no numbers, so that merging needs no case for it; as is `max`.
    min: f64,
    max: f64,
}

impl Default for StatState {
    fn default() -> Self {
        Self { n: 0, sum: Exact::default(), squares: Exact::default(), min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl StatState {
    /// Adds a finite number; -0.0 is 0.0.
    #[inline]
    pub fn observe(&mut self, x: f64) {
        debug_assert!(x.is_finite(), "{x} cannot be observed");
        // Turns -0.0 into 0.0 and nothing else into anything: equal numbers have equal bytes.
        let x = x + 0.0;
        self.n = self.n.saturating_add(1);
        self.sum.add(x);
        self.squares.add_square(x);
        self.min = self.min.min(x);
        self.max = self.max.max(x);
    }

    /// How many numbers.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Their sum, to the nearest double; beyond the largest double, that one.
    pub fn sum(&self) -> f64 {
        self.sum.to_f64()
    }

    /// The least of them.
    pub fn min(&self) -> Option<f64> {
        (self.n > 0).then_some(self.min)
    }

    /// The greatest of them.
    pub fn max(&self) -> Option<f64> {
        (self.n > 0).then_some(self.max)
    }

    /// Their mean, to the nearest double, also where the sum is beyond the doubles.
    pub fn mean(&self) -> Option<f64> {
        (self.n > 0).then(|| self.sum.divided(self.n))
    }

    /// Standard deviation of the population: 0 for one number, never negative, never NaN.
    pub fn stddev(&self) -> Option<f64> {
        let spread = || {
            let mut spread = self.squares.times(self.n);
            spread.subtract_square(&self.sum);
            spread.root_divided(self.n)
        };
        (self.n > 0).then(spread)
    }

    /// Whether the sums are told by n and min: all numbers are equal, and n is how many.
    fn is_constant(&self) -> bool {
        self.min == self.max && self.n < u64::MAX
    }
}

impl Rule for StatRule {
    type State = StatState;

    fn merge(self, into: &mut StatState, from: StatState) {
        into.n = into.n.saturating_add(from.n);
        into.sum.merge(&from.sum);
        into.squares.merge(&from.squares);
        into.min = into.min.min(from.min);
        into.max = into.max.max(from.max);
    }

    fn encode(self, state: &StatState, out: &mut Vec<u8>) {
        put_u64(out, state.n);
        if state.n == 0 {
            return;
        }
        put_f64(out, state.min);
        if state.n > 1 {
            put_f64(out, state.max);
        }
        if !state.is_constant() {
            state.sum.encode(out);
            state.squares.encode(out);
        }
    }

    fn decode(self, input: &mut Input<'_>) -> Result<StatState, Corrupt> {
        let n = take_shortest(input)?;
        if n == 0 {
            return Ok(StatState::default());
        }
        let min = take_f64(input)?;
        let max = if n > 1 { take_f64(input)? } else { min };
        if min > max {
            return Err(Corrupt("the least is greater than the greatest"));
        }
        let mut state = StatState { n, min, max, ..StatState::default() };
        if state.is_constant() {
            let mut square = Exact::default();
            square.add_square(min);
            state.sum = Exact::from(min).times(n);
            state.squares = square.times(n);
        } else {
            state.sum = Exact::decode(input)?;
            state.squares = Exact::decode(input)?;
        }
        Ok(state)
    }

    fn heap(self, state: &StatState) -> usize {
        state.sum.heap() + state.squares.heap()
    }

    const ZERO_IS_NONE: bool = true;

    /// n, least, greatest, and for both sums a whole number and its exponent. Sums that are too large
    /// for that are in the rest.
    fn numbers(self) -> usize {
        7
    }

    fn split(self, state: &StatState, numbers: &mut [i64], rest: &mut Vec<u8>) {
        numbers[0] = state.n as i64;
        if state.n == 0 {
            numbers[1..].fill(0);
            return;
        }
        numbers[1] = ordered(state.min);
        numbers[2] = ordered(state.max);
        for (sum, numbers) in [&state.sum, &state.squares].into_iter().zip(numbers[3..].chunks_exact_mut(2)) {
            let (whole, exponent) = sum.parts().map(scaled).unwrap_or_else(|| {
                sum.encode(rest);
                (0, IN_REST)
            });
            numbers.copy_from_slice(&[whole, exponent]);
        }
    }

    fn join(self, numbers: &[i64], rest: &mut Input<'_>) -> Result<StatState, Corrupt> {
        let n = numbers[0] as u64;
        if n == 0 {
            return Ok(StatState::default());
        }
        let (min, max) = (unordered(numbers[1])?, unordered(numbers[2])?);
        let mut sum = |whole: i64, exponent: i64| match exponent {
            IN_REST => Exact::decode(rest),
            _ => unscaled(whole, exponent),
        };
        Ok(StatState { n, min, max, sum: sum(numbers[3], numbers[4])?, squares: sum(numbers[5], numbers[6])? })
    }
}

/// Exponent of a sum that is in the rest.
const IN_REST: i64 = i16::MAX as i64;

/// A double as a whole number, in the same order.
fn ordered(x: f64) -> i64 {
    let bits = x.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

fn unordered(n: i64) -> Result<f64, Corrupt> {
    let x = f64::from_bits((n ^ (((n >> 63) as u64) >> 1) as i64) as u64);
    if x.is_finite() { Ok(x) } else { Err(Corrupt("a number is not finite")) }
}

/// Whole numbers as they are: sums of them compress well side by side, odd parts do not.
fn scaled((odd, exponent): (i64, i32)) -> (i64, i64) {
    let whole = u32::try_from(exponent).ok().and_then(|shift| odd.checked_mul(1_i64.checked_shl(shift)?));
    match whole {
        Some(whole) if (0..62).contains(&exponent) => (whole, 0),
        _ => (odd, i64::from(exponent)),
    }
}

fn unscaled(whole: i64, exponent: i64) -> Result<Exact, Corrupt> {
    if whole == 0 {
        return if exponent == 0 { Ok(Exact::default()) } else { Err(Corrupt("a sum of nothing has an exponent")) };
    }
    let zeros = if exponent == 0 { whole.trailing_zeros() } else { 0 };
    let exponent = i32::try_from(exponent).map_err(|_| Corrupt("a sum is out of range"))?;
    Exact::from_parts(whole >> zeros, exponent + zeros as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state_of(numbers: &[f64]) -> StatState {
        let mut state = StatState::default();
        numbers.iter().for_each(|&x| state.observe(x));
        state
    }

    fn bytes(state: &StatState) -> Vec<u8> {
        let mut out = Vec::new();
        StatRule.encode(state, &mut out);
        out
    }

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |x| x.is_finite()),
            (-100_000..100_000_i32).prop_map(|cents| f64::from(cents) / 100.0),
            Just(-0.0),
            Just(1.5),
        ]
    }

    fn numbers() -> impl Strategy<Value = Vec<f64>> {
        prop_oneof![
            proptest::collection::vec(number(), 0..12),
            (number(), 0..5_usize).prop_map(|(x, len)| vec![x; len]),
        ]
    }

    proptest! {
        #[test]
        fn laws(a in numbers(), b in numbers(), c in numbers()) {
            crate::kind::assert_laws(StatRule, &state_of(&a), &state_of(&b), &state_of(&c));
        }

        #[test]
        fn laws_where_n_is_at_its_end(a in number(), b in number(), n in u64::MAX - 2..) {
            let full = |x| StatState { n, sum: Exact::from(x).times(n), ..state_of(&[x]) };
            crate::kind::assert_laws(StatRule, &StatState::default(), &full(a), &full(b));
            let mut merged = full(a);
            StatRule.merge(&mut merged, state_of(&[a, a, a]));
            crate::kind::assert_laws(StatRule, &merged, &full(b), &state_of(&[b]));
        }

        #[test]
        fn any_order_and_grouping(
            (numbers, shuffled) in numbers().prop_flat_map(|n| (Just(n.clone()), Just(n).prop_shuffle())),
            chunk in 1..5_usize,
        ) {
            let mut merged = StatState::default();
            shuffled.chunks(chunk).for_each(|part| StatRule.merge(&mut merged, state_of(part)));
            prop_assert_eq!(bytes(&merged), bytes(&state_of(&numbers)));
        }

        #[test]
        fn answers_are_plausible(numbers in numbers()) {
            let state = state_of(&numbers);
            prop_assert_eq!(state.min(), numbers.iter().copied().reduce(f64::min));
            prop_assert_eq!(state.max(), numbers.iter().copied().reduce(f64::max));
            prop_assert_eq!(state.n(), numbers.len() as u64);
            if let (Some(min), Some(max), Some(mean), Some(stddev)) =
                (state.min(), state.max(), state.mean(), state.stddev())
            {
                prop_assert!(min <= mean && mean <= max, "{min} {mean} {max}");
                // No deviation is greater than half the range.
                prop_assert!((0.0..=(max / 2.0 - min / 2.0) * (1.0 + 1e-15)).contains(&stddev), "{stddev}");
            }
        }

        #[test]
        fn deviation_of_whole_numbers(numbers in proptest::collection::vec(-1000..1000_i64, 1..50), far: bool) {
            // Far from zero the textbook formula in doubles has no digit left.
            let offset = if far { 1_i64 << 40 } else { 0 };
            let state = state_of(&numbers.iter().map(|&x| (x + offset) as f64).collect::<Vec<_>>());
            let n = numbers.len() as i64;
            let (sum, squares) = (numbers.iter().sum::<i64>(), numbers.iter().map(|x| x * x).sum::<i64>());
            let expected = ((n * squares - sum * sum) as f64).sqrt() / n as f64;
            prop_assert_eq!(state.stddev(), Some(expected));
            prop_assert_eq!(state.mean(), Some(((i128::from(sum) + i128::from(offset * n)) as f64) / n as f64));
        }

        #[test]
        fn other_bytes_are_refused(n in 0..4_u64, rest: Vec<u8>, numbers in numbers(), at: prop::sample::Index, byte: u8) {
            let mut changed = bytes(&state_of(&numbers));
            let at = at.index(changed.len());
            changed[at] = byte;
            for encoded in [[&[n as u8][..], &rest[..]].concat(), changed] {
                let mut input = Input(&encoded);
                if let Ok(state) = StatRule.decode(&mut input) {
                    prop_assert_eq!(bytes(&state), &encoded[..encoded.len() - input.0.len()]);
                    prop_assert!(state.stddev().is_none_or(|stddev| stddev >= 0.0));
                }
            }
        }
    }

    #[test]
    fn known_answers() {
        let state = state_of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
        assert_eq!((state.sum(), state.mean(), state.stddev()), (40.0, Some(5.0), Some(2.0)));
        // Added as doubles, one after the other, it would be 0.6000000000000001.
        let state = state_of(&[0.1, 0.2, 0.3]);
        assert_eq!((state.sum(), state.mean()), (0.6, Some(0.2)));
        let state = state_of(&[]);
        assert_eq!((state.sum(), state.min(), state.mean(), state.stddev()), (0.0, None, None, None));
    }

    #[test]
    fn the_ends_of_the_range() {
        let state = state_of(&[f64::MAX, f64::MAX, -f64::MAX, -f64::MAX]);
        assert_eq!((state.mean(), state.stddev()), (Some(0.0), Some(f64::MAX)));
        let state = state_of(&[f64::MAX, f64::MAX]);
        assert_eq!((state.sum(), state.mean(), state.stddev()), (f64::MAX, Some(f64::MAX), Some(0.0)));
        let least = f64::from_bits(2);
        assert_eq!(state_of(&[least, -least]).stddev(), Some(least));
        assert_eq!(state_of(&[0.1; 10]).stddev(), Some(0.0));
    }

    #[test]
    fn equal_numbers_are_short() {
        assert_eq!(bytes(&state_of(&[])), [0]);
        assert_eq!(bytes(&state_of(&[1.0])), [1, 1, 0]);
        assert_eq!(bytes(&state_of(&[-0.0; 100])), [100, 0, 0]);
        assert_eq!(state_of(&[-0.0]).min().map(f64::to_bits), Some(0), "the sign of zero is gone");
    }

    #[test]
    fn ends_in_the_wrong_order_are_refused() {
        let mut encoded = vec![2];
        [2.0, 1.0].iter().for_each(|&x| put_f64(&mut encoded, x));
        encoded.extend([0, 0]);
        let refused = Err(Corrupt("the least is greater than the greatest"));
        assert_eq!(StatRule.decode(&mut Input(&encoded)), refused);
    }
}
