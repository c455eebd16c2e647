//! The form of a state with many keys: a Count-Min sketch of the weights, a sample of the keys.

use super::{
    Shape,
    sample::{self, Entry, Seed},
};
use crate::bytes::{Corrupt, Input, put_u64};

/// Rows of counters: a key is one counter in each.
const ROWS: usize = 4;
/// Part of a row's counters that may be larger than the error: the chance that a key hit such
/// ones in all rows is its fourth power, one in a thousand.
const LARGER_PART: f64 = 0.178;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sketch {
    pub total: u64,
    /// Row after row; of each the width is a power of two, at most 2^16.
    counters: Box<[u64]>,
    /// As many as the capacity says, always.
    sample: Vec<Entry<()>>,
    /// Greatest seed of the sample: updates with greater ones are counted and no more.
    worst: Seed,
}

impl Sketch {
    /// From more keys than the capacity.
    pub fn new(shape: Shape, entries: Vec<Entry<u64>>) -> Self {
        assert!(entries.len() > shape.capacity, "{} keys are not too many", entries.len());
        let counters = vec![0; ROWS * shape.width].into_boxed_slice();
        let mut sketch = Self { total: 0, counters, sample: Vec::new(), worst: 0 };
        for entry in &entries {
            count(&mut sketch.counters, entry.hash, entry.weight);
            sketch.total = sketch.total.wrapping_add(entry.weight);
        }
        sketch.sample = entries.into_iter().map(without_weight).collect();
        sample::cut(&mut sketch.sample, shape.capacity);
        sketch.worst = sample::worst(&sketch.sample);
        sketch
    }

    pub fn add(&mut self, hash: u64, key: &str, weight: u64, seed: Seed) {
        count(&mut self.counters, hash, weight);
        self.total = self.total.wrapping_add(weight);
        // All but few updates end here.
        if seed <= self.worst {
            self.offer(hash, key, seed);
        }
    }

    /// Puts the key in the sample if it is among the least, in place of the greatest.
    fn offer(&mut self, hash: u64, key: &str, seed: Seed) {
        match sample::find(&self.sample, hash, key) {
            Ok(at) => self.sample[at].seed = self.sample[at].seed.min(seed),
            Err(at) => {
                let entry = Entry { hash, key: key.into(), seed, weight: () };
                let Some(last) = sample::last(&self.sample).filter(|&last| entry.rank() < self.sample[last].rank())
                else {
                    return;
                };
                self.sample.remove(last);
                self.sample.insert(at - usize::from(last < at), entry);
            }
        }
        self.worst = sample::worst(&self.sample);
    }

    pub fn merge_exact(&mut self, entries: Vec<Entry<u64>>) {
        for entry in &entries {
            count(&mut self.counters, entry.hash, entry.weight);
            self.total = self.total.wrapping_add(entry.weight);
        }
        self.merge_sample(entries.into_iter().map(without_weight).collect());
    }

    pub fn merge(&mut self, from: Self) {
        let sizes = |sketch: &Self| (sketch.counters.len(), sketch.sample.len());
        assert_eq!(sizes(self), sizes(&from), "states of two rules");
        self.counters.iter_mut().zip(&from.counters).for_each(|(into, from)| *into = into.wrapping_add(*from));
        self.total = self.total.wrapping_add(from.total);
        self.merge_sample(from.sample);
    }

    fn merge_sample(&mut self, more: Vec<Entry<()>>) {
        let capacity = self.sample.len();
        self.sample = sample::union(std::mem::take(&mut self.sample), more, |(), ()| ());
        sample::cut(&mut self.sample, capacity);
        self.worst = sample::worst(&self.sample);
    }

    /// Keys of the sample with their estimates, which are never below the truth.
    pub fn estimates(&self) -> impl Iterator<Item = (&str, u64)> {
        self.sample.iter().map(|entry| {
            let estimate = cells(entry.hash, self.counters.len()).map(|cell| self.counters[cell]).into_iter().min();
            (&*entry.key, estimate.unwrap_or(0))
        })
    }

    /// How much too large an estimate may be. What other keys add to a key's counter is what they
    /// would add to any other of the row, so the row itself tells how large that is.
    pub fn error(&self) -> u64 {
        let width = self.counters.len() / ROWS;
        let larger = (width as f64 * LARGER_PART) as usize;
        let mut counters = self.counters.clone();
        let nth = |row: &mut [u64]| *row.select_nth_unstable(width - 1 - larger).1;
        counters.chunks_exact_mut(width).map(nth).max().unwrap_or(0)
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        sample::encode(&self.sample, out, |_, ()| ());
        self.counters.iter().for_each(|&counter| put_u64(out, counter));
    }

    pub fn decode(shape: Shape, input: &mut Input<'_>) -> Result<Self, Corrupt> {
        let sample = sample::decode(shape.capacity, input, |_| Ok(()))?;
        let len = ROWS * shape.width;
        // A counter has one byte at least: what the bytes cannot hold gets no memory.
        if input.0.len() < len {
            return Err(Corrupt("counters end early"));
        }
        let counters = (0..len).map(|_| super::shortest_u64(input)).collect::<Result<Box<[u64]>, _>>()?;
        let mut totals =
            counters.chunks_exact(shape.width).map(|row| row.iter().fold(0_u64, |sum, n| sum.wrapping_add(*n)));
        let total = totals.next().unwrap_or(0);
        if totals.any(|other| other != total) {
            return Err(Corrupt("rows of counters differ"));
        }
        Ok(Self { total, counters, worst: sample::worst(&sample), sample })
    }
}

fn without_weight(entry: Entry<u64>) -> Entry<()> {
    Entry { hash: entry.hash, key: entry.key, seed: entry.seed, weight: () }
}

/// The counters of a key: a quarter of its hash for each row.
fn cells(hash: u64, len: usize) -> [usize; ROWS] {
    let width = len / ROWS;
    std::array::from_fn(|row| row * width + ((hash >> (16 * row)) as usize & (width - 1)))
}

fn count(counters: &mut [u64], hash: u64, weight: u64) {
    for cell in cells(hash, counters.len()) {
        counters[cell] = counters[cell].wrapping_add(weight);
    }
}
