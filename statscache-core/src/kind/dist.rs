//! `dist`: quantiles within 1 % of the value, whatever the distribution.
//!
//! State: a DDSketch (Masson, Rim, Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
//! relative-error guarantees", VLDB 2019): numbers are counted in bins, whose ends grow
//! geometrically, one set a sign and a bin for zero; with exact min and max. Of each sign the
//! [`WINDOW`] bins of greatest magnitude are kept, smaller ones are counted in the last of them.
//!
//! Merge: bins add up, then fold into the window. The window depends on nothing but the greatest
//! magnitude: a number in bin i ends in bin max(i, top - WINDOW + 1), and since the top only grows,
//! folding early, late or twice gives the same. Hence commutative and associative, to the byte.
//!
//! Bin of m·2^e, 1 <= m < 2: ⌊35·e + 6s³ - 21s² + 50s⌋ with s = m - 1 cut to 32 bits, the cubic
//! interpolation of Datadog's sketches-java with 35 bins from one power of two to the next. In whole
//! numbers: no logarithm, thus the same on every platform. Its slope against ln x is
//! (18s² - 42s + 50)·(1 + s) = 50 + 18·s·(s - 2/3)² >= 50, so no bin is wider than e^0.02, and its
//! harmonic middle 2lu/(l + u) is within tanh(0.01) < 1 % of all in it.
//!
//! Bytes, all LEB128: number of bins; count of the first, min, max unless n is 1; distance and count
//! of each bin between; count of the last. The first and last bin follow from min and max. JSON:
//! `{"n":3,"min":1,"max":9.5,"p50":2,"p90":9.5,"p95":9.5,"p99":9.5}`.
//!
//! Error of a quantile: 1 % of the number at that rank; half the smallest double more where it is
//! subnormal; and where it was folded, being less than 10^-17 of the greatest magnitude of its
//! sign, 10^-17 of that. Min and max are exact, and so is n, up to 2^46 numbers a bin.
//!
//! Not the crate sketches-ddsketch, because its bins come from the platform's `ln` and its sum from
//! the order of additions, and it has a kilobyte a cell; datasketches has no DDSketch.

use super::Rule;
use super::exact::{put_f64, take_f64, take_shortest};
use crate::bytes::{Corrupt, Input, put_u64};

/// Bins of one sign: 58 powers of two.
const WINDOW: u32 = 2048;
/// Bins from one power of two to the next.
const OCTAVE: i32 = 35;
/// Bin of the smallest double.
const INDEX_MIN: i32 = -1074 * OCTAVE;
/// Key of zero, in the middle: keys are in the order of the numbers.
const ZERO: u32 = (1024 + 1074) * OCTAVE as u32 + 1;
/// Bits of the count in a bin, below its key.
const COUNT_BITS: u32 = 46;
/// A count that has come so far stays there; which keeps addition associative.
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const _: () = assert!(((2 * ZERO) as u64) < 1 << (64 - COUNT_BITS));

/// The rule of `dist`.
#[derive(Clone, Copy, Debug)]
pub struct DistRule;

/// Bins of some numbers. Neutral by default: none.
#[derive(Clone, Debug, PartialEq)]
pub struct DistState {
    /// Key and count in one word, by key: most cells have few bins, and many cells have some.
    bins: Vec<u64>,
    /// Infinite where there are no numbers, so that merging needs no case for it; as is `max`.
    min: f64,
    max: f64,
}

impl Default for DistState {
    fn default() -> Self {
        Self { bins: Vec::new(), min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl DistState {
    /// Counts a finite number; -0.0 is 0.0.
    pub fn observe(&mut self, x: f64) {
        debug_assert!(x.is_finite(), "{x} cannot be observed");
        // Turns -0.0 into 0.0 and nothing else into anything: equal numbers have equal bytes.
        let x = x + 0.0;
        self.min = self.min.min(x);
        self.max = self.max.max(x);
        let key = key_of(x);
        let (least, most) = self.ends().map_or((key, key), |(least, most)| (least.min(key), most.max(key)));
        // Before the search: a number below the window would be inserted, and all folded, each time.
        let folded = fold(key, least, most);
        match self.bins.binary_search_by_key(&folded, |&bin| key_in(bin)) {
            Ok(at) => self.bins[at] = bin(folded, count_in(self.bins[at]) + 1),
            Err(at) => {
                self.bins.insert(at, bin(folded, 1));
                self.fold();
            }
        }
    }

    /// How many numbers.
    pub fn n(&self) -> u64 {
        self.bins.iter().fold(0, |n, &bin| n.saturating_add(count_in(bin)))
    }

    /// The least number.
    pub fn min(&self) -> Option<f64> {
        (!self.bins.is_empty()).then_some(self.min)
    }

    /// The greatest number.
    pub fn max(&self) -> Option<f64> {
        (!self.bins.is_empty()).then_some(self.max)
    }

    /// About the number of rank ⌊q·(n - 1)⌋, counted from 0 in ascending order: the least for q = 0,
    /// the greatest for q = 1. Nothing where there are no numbers, or q is not in 0..=1.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let last = self.n().checked_sub(1)?;
        if !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = ((q * last as f64) as u64).min(last);
        // Known exactly, so told exactly.
        if rank == 0 || rank == last {
            return Some(if rank == 0 { self.min } else { self.max });
        }
        let mut below = 0_u64;
        let found = self.bins.iter().find(|&&bin| {
            below = below.saturating_add(count_in(bin));
            below > rank
        })?;
        Some(value_of(key_in(*found)).clamp(self.min, self.max))
    }

    /// First and last key.
    fn ends(&self) -> Option<(u32, u32)> {
        Some((key_in(*self.bins.first()?), key_in(*self.bins.last()?)))
    }

    /// Folds all bins into the window that their ends leave.
    fn fold(&mut self) {
        let Some((least, most)) = self.ends() else { return };
        if most - least < WINDOW {
            return;
        }
        for one in &mut self.bins {
            *one = bin(fold(key_in(*one), least, most), count_in(*one));
        }
        self.join();
    }

    /// Adds up the bins of equal key, which are neighbours.
    fn join(&mut self) {
        self.bins.dedup_by(|next, kept| {
            let equal = key_in(*next) == key_in(*kept);
            if equal {
                *kept = bin(key_in(*kept), count_in(*kept) + count_in(*next));
            }
            equal
        });
    }
}

fn bin(key: u32, count: u64) -> u64 {
    u64::from(key) << COUNT_BITS | count.min(COUNT_MAX)
}

fn key_in(bin: u64) -> u32 {
    (bin >> COUNT_BITS) as u32
}

fn count_in(bin: u64) -> u64 {
    bin & COUNT_MAX
}

/// The key that counts for a key, where those are the ends of all.
fn fold(key: u32, least: u32, most: u32) -> u32 {
    if key > ZERO {
        key.max(most - (WINDOW - 1))
    } else if key < ZERO {
        key.min(least + (WINDOW - 1))
    } else {
        key
    }
}

/// 6s³ - 21s² + 50s at s = fraction / 2^32, times 2^96; grows with s, up to 35.
const fn interpolated(fraction: u64) -> u128 {
    let s = fraction as u128;
    s * (6 * s * s + (50 << 64) - ((21 * s) << 32))
}

fn key_of(x: f64) -> u32 {
    if x == 0.0 {
        return ZERO;
    }
    let bits = x.abs().to_bits();
    let (mantissa, exponent) = match bits >> 52 {
        0 => {
            // Subnormal: the highest bit is moved to where others hide theirs.
            let shift = bits.leading_zeros() - 11;
            (bits << shift, -1022 - shift as i32)
        }
        biased => (bits, biased as i32 - 1023),
    };
    let fraction = mantissa << 12 >> 32;
    let index = exponent * OCTAVE + (interpolated(fraction) >> 96) as i32;
    let distance = (index - INDEX_MIN) as u32 + 1;
    if x > 0.0 { ZERO + distance } else { ZERO - distance }
}

/// Where the bins of an octave begin: the smallest fractions, of 2^32, in each of them.
const EDGES: [u64; OCTAVE as usize + 1] = {
    let mut edges = [0; OCTAVE as usize + 1];
    let mut step = 1;
    while step <= OCTAVE as usize {
        let (mut low, mut high) = (edges[step - 1], 1 << 32);
        while low < high {
            let middle = (low + high) / 2;
            if interpolated(middle) < (step as u128) << 96 {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        edges[step] = low;
        step += 1;
    }
    edges
};

/// The number that stands for all of a bin.
fn value_of(key: u32) -> f64 {
    if key == ZERO {
        return 0.0;
    }
    let index = key.abs_diff(ZERO) as i32 - 1 + INDEX_MIN;
    let (exponent, step) = (index.div_euclid(OCTAVE), index.rem_euclid(OCTAVE) as usize);
    let edge = |step: usize| 1.0 + EDGES[step] as f64 / (1_u64 << 32) as f64;
    let (low, high) = (edge(step), edge(step + 1));
    let middle = 2.0 * low * high / (low + high);
    // In two halves, since 2^-1074 alone has no digits to spare and 2^1023 times 2 is none.
    let half = exponent / 2;
    let magnitude = middle * power_of_two(half) * power_of_two(exponent - half);
    if key > ZERO { magnitude } else { -magnitude }
}

/// 2^exponent for normal numbers, without the platform's `pow`.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

impl Rule for DistRule {
    type State = DistState;

    fn heap(self, state: &DistState) -> usize {
        state.bins.capacity() * size_of::<u64>()
    }

    fn merge(self, into: &mut DistState, from: DistState) {
        into.min = into.min.min(from.min);
        into.max = into.max.max(from.max);
        if into.bins.is_empty() {
            into.bins = from.bins;
            return;
        }
        into.bins.extend(from.bins);
        // Two runs already in order, which the stable sort finds and merges in one pass.
        into.bins.sort();
        into.join();
        into.fold();
    }

    fn encode(self, state: &DistState, out: &mut Vec<u8>) {
        put_u64(out, state.bins.len() as u64);
        let [first, others @ ..] = &state.bins[..] else { return };
        put_u64(out, count_in(*first));
        put_f64(out, state.min);
        // A number alone is its own maximum.
        if !others.is_empty() || count_in(*first) > 1 {
            put_f64(out, state.max);
        }
        let Some((last, between)) = others.split_last() else { return };
        let mut before = key_in(*first);
        for one in between {
            put_u64(out, u64::from(key_in(*one) - before - 1));
            put_u64(out, count_in(*one));
            before = key_in(*one);
        }
        put_u64(out, count_in(*last));
    }

    fn decode(self, input: &mut Input<'_>) -> Result<DistState, Corrupt> {
        let len = take_shortest(input)?;
        if len == 0 {
            return Ok(DistState::default());
        }
        let count = take_count(input)?;
        let min = take_f64(input)?;
        let max = if len > 1 || count > 1 { take_f64(input)? } else { min };
        if min > max {
            return Err(Corrupt("the least is greater than the greatest"));
        }
        let (least, most) = (key_of(min), key_of(max));
        let (first, last) = (fold(least, least, most), fold(most, least, most));
        if (first == last) != (len == 1) {
            return Err(Corrupt("the bins are not those of least and greatest"));
        }
        // No more than the bytes at hand can hold, whatever the number says.
        let mut bins = Vec::with_capacity(len.min(2 + input.0.len() as u64 / 2) as usize);
        bins.push(bin(first, count));
        let mut before = u64::from(first);
        for _ in 2..len {
            let key = take_shortest(input)?.saturating_add(before + 1);
            if key >= u64::from(last) || fold(key as u32, least, most) != key as u32 {
                return Err(Corrupt("a bin is out of place"));
            }
            bins.push(bin(key as u32, take_count(input)?));
            before = key;
        }
        if len > 1 {
            bins.push(bin(last, take_count(input)?));
        }
        Ok(DistState { bins, min, max })
    }
}

fn take_count(input: &mut Input<'_>) -> Result<u64, Corrupt> {
    match take_shortest(input)? {
        count @ 1..=COUNT_MAX => Ok(count),
        _ => Err(Corrupt("a bin has no such count")),
    }
}

#[cfg(test)]
mod tests;
