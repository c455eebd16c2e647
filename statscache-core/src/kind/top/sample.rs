//! Keys in order, and the seeds that choose among them.
//!
//! A seed is drawn for each update, an exponential variable divided by the weight; a key's seed is
//! the least of its updates' seeds. The minimum of exponential variables is one whose rate is the
//! sum of theirs, so the keys with the least seeds are a sample without replacement in proportion
//! to total weights (Cohen & Kaplan 2007, "Summarizing data using bottom-k sketches": "ppswor"),
//! and minimum and least-of compose in any order.

use std::cmp::Ordering;

use xxhash_rust::xxh3::xxh3_64;

use crate::bytes::{Corrupt, Input, put_bytes};

/// The bits of a positive 32-bit float: they sort as the float does.
pub(super) type Seed = u32;

/// A key and what is known of it; lists of them ascend by [`Entry::place`].
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry<W> {
    /// XXH3-64 of the key: comparing numbers is faster than comparing texts.
    pub hash: u64,
    pub key: Box<str>,
    pub seed: Seed,
    /// Where the state keeps it with the key; else nothing.
    pub weight: W,
}

impl<W> Entry<W> {
    pub fn place(&self) -> (u64, &str) {
        (self.hash, &self.key)
    }

    /// What decides whether the key stays in a sample: the least do. No two keys have equal ones.
    pub fn rank(&self) -> (Seed, u64, &str) {
        (self.seed, self.hash, &self.key)
    }
}

pub(super) fn hash(key: &str) -> u64 {
    xxh3_64(key.as_bytes())
}

/// The seed of one update.
pub(super) fn seed(hash: u64, event: u64, weight: u64) -> Seed {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&hash.to_be_bytes());
    bytes[8..].copy_from_slice(&event.to_be_bytes());
    ((exponential(xxh3_64(&bytes)) / weight as f64) as f32).to_bits()
}

/// -ln(1 - n / 2^64) of an odd `n` made from uniform bits: an exponential variable. Seeds are stored
/// and compared with those of other machines, so the logarithm must be the same on each: made of
/// operations that IEEE 754 defines to the last bit, unlike those of a system's library. Good to
/// one part in 10^9, down to the smallest `n`.
fn exponential(bits: u64) -> f64 {
    const TWO_POW_64: f64 = 18_446_744_073_709_551_616.0;
    // 1 - n / 2^64 = (1 - part) / 2^halvings, part at most a half.
    let rest = (bits | 1).wrapping_neg();
    let halvings = rest.leading_zeros();
    let part = (rest << halvings).wrapping_neg() as f64 / TWO_POW_64;
    // -ln(1 - part) = 2 artanh(x), x at most a third: the series ends early.
    let x = part / (2.0 - part);
    let square = x * x;
    let series = (0..9).rev().fold(0.0, |sum, n| sum * square + 1.0 / f64::from(2 * n + 1));
    f64::from(halvings) * std::f64::consts::LN_2 + 2.0 * x * series
}

/// Where the key is, or where it belongs.
pub(super) fn find<W>(entries: &[Entry<W>], hash: u64, key: &str) -> Result<usize, usize> {
    entries.binary_search_by(|entry| entry.place().cmp(&(hash, key)))
}

/// All keys of both lists. The lesser seed stays; `add` says what becomes of the weights.
pub(super) fn union<W: Copy>(a: Vec<Entry<W>>, b: Vec<Entry<W>>, add: impl Fn(W, W) -> W) -> Vec<Entry<W>> {
    let mut both = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        let order = x.place().cmp(&y.place());
        if order == Ordering::Greater {
            both.extend(b.next());
            continue;
        }
        both.extend(a.next());
        if order == Ordering::Equal
            && let (Some(into), Some(from)) = (both.last_mut(), b.next())
        {
            into.seed = into.seed.min(from.seed);
            into.weight = add(into.weight, from.weight);
        }
    }
    both.extend(a);
    both.extend(b);
    both.shrink_to_fit();
    both
}

/// Keeps the `len` entries of least rank, in their order.
pub(super) fn cut<W>(entries: &mut Vec<Entry<W>>, len: usize) {
    if entries.len() <= len {
        return;
    }
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.select_nth_unstable_by(len, |&a, &b| entries[a].rank().cmp(&entries[b].rank()));
    let mut dropped = vec![false; entries.len()];
    order[len..].iter().for_each(|&index| dropped[index] = true);
    let mut dropped = dropped.into_iter();
    entries.retain(|_| dropped.next() == Some(false));
    entries.shrink_to_fit();
}

/// The place of the entry of greatest rank.
pub(super) fn last<W>(entries: &[Entry<W>]) -> Option<usize> {
    (0..entries.len()).max_by(|&a, &b| entries[a].rank().cmp(&entries[b].rank()))
}

/// The greatest seed.
pub(super) fn worst<W>(entries: &[Entry<W>]) -> Seed {
    entries.iter().map(|entry| entry.seed).max().unwrap_or(0)
}

pub(super) fn encode<W>(entries: &[Entry<W>], out: &mut Vec<u8>, put: impl Fn(&mut Vec<u8>, &W)) {
    for entry in entries {
        put_bytes(out, entry.key.as_bytes());
        out.extend(entry.seed.to_be_bytes());
        put(out, &entry.weight);
    }
}

/// Reads that many entries.
pub(super) fn decode<'a, W>(
    len: usize,
    input: &mut Input<'a>,
    read: impl Fn(&mut Input<'a>) -> Result<W, Corrupt>,
) -> Result<Vec<Entry<W>>, Corrupt> {
    // An entry has five bytes at least: what the bytes cannot hold gets no memory.
    let mut entries: Vec<Entry<W>> = Vec::with_capacity(len.min(input.0.len() / 5));
    for _ in 0..len {
        let key_len = usize::try_from(super::shortest_u64(input)?).map_err(|_| Corrupt("a length is too large"))?;
        let key = std::str::from_utf8(input.take(key_len)?).map_err(|_| Corrupt("a key is not UTF-8"))?;
        let seed = input.take(4)?.iter().fold(0, |seed, &byte| seed << 8 | Seed::from(byte));
        if seed >= f32::INFINITY.to_bits() {
            return Err(Corrupt("a seed is not a number"));
        }
        let entry = Entry { hash: hash(key), key: key.into(), seed, weight: read(input)? };
        if entries.last().is_some_and(|last| last.place() >= entry.place()) {
            return Err(Corrupt("keys do not ascend"));
        }
        entries.push(entry);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the library's logarithm, which may differ from machine to machine in the last bit.
    #[test]
    fn the_logarithm_is_right_and_never_falls() {
        let mut points: Vec<u64> = (0..64).flat_map(|shift| [1 << shift, u64::MAX >> shift, 3 << shift]).collect();
        points.extend((0..50_000).map(|n: u64| xxh3_64(&n.to_be_bytes())));
        points.sort();
        let mut before = 0.0;
        for bits in points {
            let expected = -(-((bits | 1) as f64 / 2_f64.powi(64))).ln_1p();
            let found = exponential(bits);
            // Near the top, 64-bit floats cannot say how far below 1 the number is; ours is exact there.
            if bits < u64::MAX - (1 << 40) {
                assert!((found / expected - 1.0).abs() < 1e-9, "{bits}: {found} for {expected}");
            }
            assert!(found.is_finite() && found >= before, "{bits}: {found} after {before}");
            before = found;
        }
    }

    #[test]
    fn the_ends_are_positive_numbers() {
        assert!(seed(0, 0, 1) > 0);
        assert!(exponential(0) > 0.0 && (exponential(0) / u64::MAX as f64) as f32 > 0.0);
        assert!((exponential(u64::MAX) - 64.0 * std::f64::consts::LN_2).abs() < 1e-9);
    }

    /// A key is drawn first in proportion to its weight, in however many updates that came.
    #[test]
    fn draws_are_in_proportion_to_weights() {
        const DRAWS: u64 = 20_000;
        let heavy = (0..DRAWS)
            .filter(|draw| {
                let light = seed(hash("light"), *draw, 4);
                let heavy = (0..4).map(|n| seed(hash("heavy"), draw << 2 | n, 3)).min();
                heavy < Some(light)
            })
            .count() as f64;
        // 12 of 16; four standard deviations of a binomial draw.
        let off = heavy / DRAWS as f64 - 0.75;
        assert!(off.abs() < 4.0 * (0.75 * 0.25 / DRAWS as f64).sqrt(), "{off:+.4}");
    }
}
