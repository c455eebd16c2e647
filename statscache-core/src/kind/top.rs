//! `top(k)`: the `k` keys with the greatest weights. Exact while keys are few, then an estimate.
//!
//! State: while there are at most `c` = 32 k keys (512 at least, 4096 at most), each key with its
//! weight and its seed. Beyond it, a Count-Min sketch of all weights, 4 rows of `w` counters (the
//! power of two that is 2 c or next above), and of the keys the `c` with the least seeds, which
//! are a sample in proportion to weights (`sample.rs`). Hashes are XXH3-64 with seed 0; they and the
//! arithmetic of seeds are part of the format. Both forms are functions of the multiset of
//! updates alone, and so is the choice between them.
//! Merge: sums of weights and counters, modulo 2^64 as with `count`; of seeds the least. Laws:
//! commutative, associative. Not idempotent: every update counts.
//! Bytes: the number of keys, then by ascending (hash, key) the key, its seed (4 bytes,
//! big-endian) and its weight; beyond `c` keys, `c + 1` in place of the number, then keys and seeds,
//! then the counters. Numbers are LEB128. The length of keys and six bytes for each, later about
//! 5 c bytes with the keys, and 1 to 3 bytes for each of 4 w counters.
//! JSON: `[{"key": "a", "count": 12, "error": 0}]`, greatest first.
//!
//! Error: none while exact. Then two.
//! A count is never too small (unless the total passes 2^64), and too large by more than `error`
//! for one key in a thousand: all four counters of a key would have to be among the 18 % largest of
//! their rows. That is the argument of Cormode & Muthukrishnan 2005, "An improved data stream summary:
//! the Count-Min sketch", with the distribution as seen instead of Markov's bound on it, which is
//! e / w of the total for 98 % of the keys, here 0.27 % for k = 10, and mostly many times too large.
//! A key may be missing: one with share p of the total with probability e^(-p c) at most, nearly
//! (Cohen & Kaplan 2007): for k = 10, 0.6 % at a share of 1 %, 0.00004 at 2 %; less the more
//! the weights differ, since heavy keys leave the places of the sample to others. Where no key is
//! heavier than the rest, the keys told are those whose counts are too large: `error` near `count`.
//!
//! Why not a crate, or Space-Saving or Misra-Gries: what these keep depends on the order and
//! grouping of merges, and so it is with `datasketches` (frequencies) and `streaming_algorithms`;
//! the Count-Min sketch of the former composes, but knows no keys.

mod sample;
mod sketch;

use std::cmp::Reverse;

use sample::Entry;
use sketch::Sketch;

use super::{Rule, shortest_u64};
use crate::bytes::{Corrupt, Input, put_u64};

/// The rule of `top(k)`.
#[derive(Clone, Copy, Debug)]
pub struct TopRule {
    /// How many keys are told. Above 4096 it is no more than 4096 that are known.
    pub k: u32,
}

impl TopRule {
    fn shape(self) -> Shape {
        let capacity = (self.k as usize).saturating_mul(32).clamp(512, 4096);
        Shape { capacity, width: (2 * capacity).next_power_of_two() }
    }
}

/// What the sizes of a state follow from: the rule that the laws are about. Tests have small ones.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Keys that are kept.
    capacity: usize,
    /// Counters of a row, a power of two.
    width: usize,
}

/// Keys and their weights, as far as the greatest are concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct TopState(Form);

#[derive(Clone, Debug, PartialEq)]
enum Form {
    /// All keys, ascending by hash, at most the capacity.
    Exact(Vec<Entry<u64>>),
    Sketch(Box<Sketch>),
}

/// One of the keys with the greatest weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopEntry {
    /// The key.
    pub key: String,
    /// Its weight, never too small.
    pub count: u64,
    /// How much too large `count` may be, at most itself; 0 while exact.
    pub error: u64,
}

impl Default for TopState {
    fn default() -> Self {
        Self(Form::Exact(Vec::new()))
    }
}

impl TopState {
    /// Adds weight to a key; nothing when the weight is 0. The event tells the update from all
    /// others of this key: updates with one event are all counted, but weigh in the choice of the
    /// sample as the greatest of them alone.
    pub fn add(&mut self, rule: TopRule, key: &str, weight: u64, event: u64) {
        self.add_shaped(rule.shape(), key, weight, event);
    }

    fn add_shaped(&mut self, shape: Shape, key: &str, weight: u64, event: u64) {
        if weight == 0 {
            return;
        }
        let hash = sample::hash(key);
        let seed = sample::seed(hash, event, weight);
        match &mut self.0 {
            Form::Sketch(sketch) => sketch.add(hash, key, weight, seed),
            Form::Exact(entries) => match sample::find(entries, hash, key) {
                Ok(at) => {
                    let entry = &mut entries[at];
                    entry.weight = entry.weight.wrapping_add(weight);
                    entry.seed = entry.seed.min(seed);
                }
                Err(at) => {
                    if entries.len() == entries.capacity() {
                        // Most cells have few keys: growth by half wastes less than doubling.
                        entries.reserve_exact((entries.len() / 2).max(1));
                    }
                    entries.insert(at, Entry { hash, key: key.into(), seed, weight });
                    self.settle(shape);
                }
            },
        }
    }

    /// The keys with the greatest weights, greatest first, equal ones by key.
    pub fn top(&self, rule: TopRule) -> Vec<TopEntry> {
        let (mut all, error): (Vec<(&str, u64)>, u64) = match &self.0 {
            Form::Exact(entries) => (entries.iter().map(|entry| (&*entry.key, entry.weight)).collect(), 0),
            Form::Sketch(sketch) => (sketch.estimates().collect(), sketch.error()),
        };
        all.sort_unstable_by_key(|&(key, count)| (Reverse(count), key));
        all.truncate(rule.k as usize);
        all.into_iter().map(|(key, count)| TopEntry { key: key.into(), count, error: error.min(count) }).collect()
    }

    /// The sum of all weights, exact (modulo 2^64).
    pub fn total(&self) -> u64 {
        match &self.0 {
            Form::Exact(entries) => entries.iter().fold(0, |sum, entry| sum.wrapping_add(entry.weight)),
            Form::Sketch(sketch) => sketch.total,
        }
    }

    /// Whether every key is known with its exact weight.
    pub fn is_exact(&self) -> bool {
        matches!(self.0, Form::Exact(_))
    }

    /// Goes over to a sketch when there are too many keys.
    fn settle(&mut self, shape: Shape) {
        if let Form::Exact(entries) = &mut self.0
            && entries.len() > shape.capacity
        {
            self.0 = Form::Sketch(Box::new(Sketch::new(shape, std::mem::take(entries))));
        }
    }
}

impl Rule for Shape {
    type State = TopState;

    fn merge(self, into: &mut TopState, mut from: TopState) {
        if matches!((&into.0, &from.0), (Form::Exact(_), Form::Sketch(_))) {
            std::mem::swap(into, &mut from);
        }
        match (&mut into.0, from.0) {
            (Form::Exact(entries), Form::Exact(more)) => {
                *entries = sample::union(std::mem::take(entries), more, u64::wrapping_add);
                into.settle(self);
            }
            (Form::Sketch(sketch), Form::Exact(more)) => sketch.merge_exact(more),
            (Form::Sketch(sketch), Form::Sketch(more)) => sketch.merge(*more),
            (Form::Exact(_), Form::Sketch(_)) => unreachable!("swapped above"),
        }
    }

    fn encode(self, state: &TopState, out: &mut Vec<u8>) {
        match &state.0 {
            Form::Exact(entries) => {
                put_u64(out, entries.len() as u64);
                sample::encode(entries, out, |out, &weight| put_u64(out, weight));
            }
            Form::Sketch(sketch) => {
                put_u64(out, self.capacity as u64 + 1);
                sketch.encode(out);
            }
        }
    }

    fn decode(self, input: &mut Input<'_>) -> Result<TopState, Corrupt> {
        let len = shortest_u64(input)?;
        if len > self.capacity as u64 + 1 {
            return Err(Corrupt("too many keys"));
        }
        if len as usize > self.capacity {
            return Ok(TopState(Form::Sketch(Box::new(Sketch::decode(self, input)?))));
        }
        Ok(TopState(Form::Exact(sample::decode(len as usize, input, shortest_u64)?)))
    }
}

impl Rule for TopRule {
    type State = TopState;

    fn heap(self, state: &TopState) -> usize {
        // About what a key takes; counting each would take longer than adding to it.
        const KEY: usize = 32;
        match &state.0 {
            Form::Exact(entries) => entries.capacity() * (size_of::<Entry<u64>>() + KEY),
            Form::Sketch(_) => {
                let Shape { capacity, width } = self.shape();
                capacity * (size_of::<Entry<u64>>() + KEY) + 4 * width * size_of::<u64>()
            }
        }
    }

    fn merge(self, into: &mut TopState, from: TopState) {
        self.shape().merge(into, from);
    }

    fn encode(self, state: &TopState, out: &mut Vec<u8>) {
        self.shape().encode(state, out);
    }

    fn decode(self, input: &mut Input<'_>) -> Result<TopState, Corrupt> {
        self.shape().decode(input)
    }
}

#[cfg(test)]
mod tests;
