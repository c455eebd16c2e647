//! Label sets and their numbers. A label set gets the next number when it is first seen and keeps
//! it; cells are stored by number, label sets once.

use std::{hash::BuildHasher, sync::Arc};

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::bytes::{Corrupt, Input, put_bytes, put_u64};

/// Number of a label set within its metric.
pub type SeriesId = u32;

/// What label sets beyond the limit are counted under.
pub const OTHER: &str = "__other__";

/// The writer's side: finds or makes numbers.
pub struct SeriesTable {
    dimensions: usize,
    limit: u32,
    /// Keeps publishers from choosing labels that collide.
    seed: u64,
    index: HashTable<SeriesId>,
    keys: Vec<Key>,
    arena: Vec<u8>,
    scratch: Vec<u8>,
    /// How many are in commits already.
    handed_over: u32,
    /// How many stay whatever becomes of the message at hand.
    kept: u32,
    other: Option<SeriesId>,
    /// Updates that went to `__other__`.
    pub folded: u64,
}

/// Where the encoded label set is, and its hash for when the index grows.
struct Key {
    hash: u64,
    start: usize,
    len: u32,
}

impl SeriesTable {
    /// An empty table.
    pub fn new(dimensions: usize, limit: u32) -> Self {
        Self {
            dimensions,
            limit,
            seed: std::hash::RandomState::new().hash_one(0),
            index: HashTable::new(),
            keys: Vec::new(),
            arena: Vec::new(),
            scratch: Vec::new(),
            handed_over: 0,
            kept: 0,
            other: None,
            folded: 0,
        }
    }

    /// The table as it was when these chunks were written, in order.
    pub fn restore(dimensions: usize, limit: u32, chunks: &[Arc<SeriesChunk>]) -> Result<Self, Corrupt> {
        let mut table = Self::new(dimensions, limit);
        for chunk in chunks {
            if chunk.first as usize != table.len() {
                return Err(Corrupt("label sets are missing"));
            }
            for labels in chunk.iter(dimensions) {
                let labels = labels?;
                table.encode(labels.iter().copied());
                let id = table.append(table.hash());
                if dimensions > 0 && labels.iter().all(|label| *label == OTHER) {
                    table.other = Some(id);
                }
            }
        }
        table.handed_over = table.keys.len() as u32;
        table.kept = table.handed_over;
        Ok(table)
    }

    /// Number of label sets.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The number of this label set; that of `__other__` if it is new and the limit is reached.
    #[inline]
    pub fn resolve<'l>(&mut self, labels: impl Iterator<Item = &'l str>) -> SeriesId {
        self.encode(labels);
        let hash = self.hash();
        match self.find(hash) {
            Some(id) => id,
            None => self.insert(hash),
        }
    }

    #[inline]
    fn find(&self, hash: u64) -> Option<SeriesId> {
        let found = self.index.find(hash, |id| {
            let key = &self.keys[*id as usize];
            key.hash == hash && self.arena[key.start..key.start + key.len as usize] == self.scratch[..]
        });
        found.copied()
    }

    fn insert(&mut self, hash: u64) -> SeriesId {
        if (self.keys.len() as u32) < self.limit || self.dimensions == 0 {
            return self.append(hash);
        }
        self.folded += 1;
        if let Some(other) = self.other {
            return other;
        }
        self.encode(std::iter::repeat_n(OTHER, self.dimensions));
        let hash = self.hash();
        // A publisher may have sent these very labels before.
        let id = self.find(hash).unwrap_or_else(|| self.append(hash));
        self.other = Some(id);
        id
    }

    /// Says that this label set has a cell: it and those before it stay.
    #[inline]
    pub fn keep(&mut self, series: SeriesId) {
        self.kept = self.kept.max(series + 1);
    }

    /// Takes back the label sets after the last one that was kept.
    pub fn discard_new(&mut self) {
        while self.keys.len() > self.kept as usize {
            let Some(key) = self.keys.pop() else { return };
            let id = self.keys.len() as SeriesId;
            if let Ok(entry) = self.index.find_entry(key.hash, |other| *other == id) {
                entry.remove();
            }
            self.arena.truncate(key.start);
            self.other = self.other.filter(|other| *other != id);
        }
    }

    fn encode<'l>(&mut self, labels: impl Iterator<Item = &'l str>) {
        self.scratch.clear();
        for label in labels {
            put_bytes(&mut self.scratch, label.as_bytes());
        }
    }

    fn hash(&self) -> u64 {
        xxh3_64_with_seed(&self.scratch, self.seed)
    }

    fn append(&mut self, hash: u64) -> SeriesId {
        let id = self.keys.len() as SeriesId;
        self.keys.push(Key { hash, start: self.arena.len(), len: self.scratch.len() as u32 });
        self.arena.extend_from_slice(&self.scratch);
        let keys = &self.keys;
        self.index.insert_unique(hash, id, |id| keys[*id as usize].hash);
        id
    }

    /// Label sets that are in no commit yet.
    pub fn take_new(&mut self) -> Option<SeriesChunk> {
        let first = self.handed_over as usize;
        let start = self.keys.get(first)?.start;
        self.handed_over = self.keys.len() as u32;
        let mut bytes = Vec::with_capacity(self.arena.len() - start + 4);
        put_u64(&mut bytes, (self.keys.len() - first) as u64);
        bytes.extend_from_slice(&self.arena[start..]);
        Some(SeriesChunk { first: first as SeriesId, bytes: bytes.into() })
    }
}

/// Consecutive label sets as bytes: their number, then each label with its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesChunk {
    /// Number of the first.
    pub first: SeriesId,
    /// As stored.
    pub bytes: Box<[u8]>,
}

impl SeriesChunk {
    /// How many label sets it holds.
    pub fn len(&self) -> Result<u32, Corrupt> {
        Input(&self.bytes).u32()
    }

    /// The label sets, in order of their numbers.
    pub fn iter(&self, dimensions: usize) -> impl Iterator<Item = Result<Vec<&str>, Corrupt>> {
        let mut input = Input(&self.bytes);
        let len = input.u32();
        let mut left = *len.as_ref().unwrap_or(&1);
        let mut damaged = len.err();
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            if let Some(error) = damaged.take() {
                left = 0;
                return Some(Err(error));
            }
            let labels: Result<Vec<&str>, Corrupt> = (0..dimensions).map(|_| input.text()).collect();
            if labels.is_err() {
                left = 0;
            }
            Some(labels)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_across_a_restart() {
        let mut table = SeriesTable::new(2, 100);
        assert_eq!(table.resolve(["a", "bc"].into_iter()), 0);
        assert_eq!(table.resolve(["ab", "c"].into_iter()), 1, "the border between labels counts");
        let first = Arc::new(table.take_new().expect("two are new"));
        assert_eq!(table.take_new(), None);
        assert_eq!(table.resolve(["", ""].into_iter()), 2);
        let second = Arc::new(table.take_new().expect("one is new"));
        let mut again = SeriesTable::restore(2, 100, &[first, second]).expect("sound");
        assert_eq!(again.resolve(["ab", "c"].into_iter()), 1);
        assert_eq!(again.resolve(["", ""].into_iter()), 2);
        assert_eq!(again.resolve(["x", "y"].into_iter()), 3);
        assert_eq!(again.take_new().map(|chunk| chunk.first), Some(3));
    }

    #[test]
    fn beyond_the_limit_new_label_sets_are_one() {
        let mut table = SeriesTable::new(1, 2);
        let ids: Vec<_> = ["a", "b", "c", "a", "d"].iter().map(|label| table.resolve([*label].into_iter())).collect();
        assert_eq!((ids, table.folded), (vec![0, 1, 2, 0, 2], 2));
        let chunk = Arc::new(table.take_new().expect("new"));
        let last = chunk.iter(1).last().expect("three").expect("sound");
        assert_eq!(last, [OTHER]);
        let mut again = SeriesTable::restore(1, 2, &[chunk]).expect("sound");
        assert_eq!(again.resolve(["e"].into_iter()), 2);
    }
}
