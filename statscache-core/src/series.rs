//! Label sets and their numbers. A label set gets the next number when it is first seen and keeps
//! it; cells are stored by number, label sets once.

use std::{
    hash::{BuildHasher, Hasher},
    sync::Arc,
};

use hashbrown::HashTable;
use statscache_plugin_sdk::Declaration;

use crate::bytes::{Corrupt, Input, put_bytes, put_u64};

/// Number of a label set within its metric.
pub type SeriesId = u32;

/// What label sets beyond the limit are counted under.
pub const OTHER: &str = "__other__";

/// The writer's side: finds or makes numbers.
pub struct SeriesTable {
    dimensions: usize,
    limit: u32,
    /// Seeded, so that publishers cannot choose labels that collide.
    hasher: foldhash::fast::RandomState,
    index: HashTable<SeriesId>,
    /// Where each encoded label set begins; the next one is its end.
    starts: Vec<u32>,
    arena: Vec<u8>,
    /// How many are in commits already.
    handed_over: u32,
    /// How many stay whatever becomes of the message at hand.
    kept: u32,
    other: Option<SeriesId>,
    /// Takes no new label sets, whatever the limit.
    pub is_full: bool,
    /// Updates that went to `__other__`.
    pub folded: u64,
}

/// What the offsets of 32 bits reach, with room for one more label set.
const ARENA_BYTES_MAX: usize = u32::MAX as usize - (1 << 20);

fn encoded<'a>(arena: &'a [u8], starts: &[u32], id: SeriesId) -> &'a [u8] {
    let end = starts.get(id as usize + 1).map_or(arena.len(), |end| *end as usize);
    &arena[starts[id as usize] as usize..end]
}

/// The same as of the labels themselves.
fn hash_encoded(hasher: &impl BuildHasher, bytes: &[u8]) -> u64 {
    let (mut input, mut hasher) = (Input(bytes), hasher.build_hasher());
    while let Ok(label) = input.bytes() {
        hasher.write(label);
        hasher.write_u8(0xff);
    }
    hasher.finish()
}

/// Whether these are the bytes of that label set.
#[inline]
fn is_encoding_of(bytes: &[u8], labels: &[&str]) -> bool {
    let mut input = Input(bytes);
    labels.iter().all(|label| input.bytes() == Ok(label.as_bytes())) && input.is_empty()
}

impl SeriesTable {
    /// An empty table.
    pub fn new(dimensions: usize, limit: u32) -> Self {
        Self {
            dimensions,
            limit,
            hasher: foldhash::fast::RandomState::default(),
            index: HashTable::new(),
            starts: Vec::new(),
            arena: Vec::new(),
            handed_over: 0,
            kept: 0,
            other: None,
            is_full: false,
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
                let id = table.append(&labels, table.hash(&labels));
                if dimensions > 0 && labels.iter().all(|label| *label == OTHER) {
                    table.other = Some(id);
                }
            }
        }
        table.handed_over = table.starts.len() as u32;
        table.kept = table.handed_over;
        Ok(table)
    }

    /// Labels of a label set.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Number of label sets.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Memory that it takes.
    pub fn memory(&self) -> usize {
        let index = self.index.capacity() * (size_of::<SeriesId>() + 1) * 8 / 7;
        self.arena.capacity() + self.starts.capacity() * size_of::<u32>() + index
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The number of this label set; that of `__other__` if it is new and the limit is reached.
    #[inline]
    pub fn resolve(&mut self, labels: &[&str]) -> SeriesId {
        let hash = self.hash(labels);
        match self.find(labels, hash) {
            Some(id) => id,
            None => self.insert(labels, hash),
        }
    }

    #[inline]
    fn find(&self, labels: &[&str], hash: u64) -> Option<SeriesId> {
        self.index.find(hash, |id| is_encoding_of(self.encoded(*id), labels)).copied()
    }

    /// The bytes of a label set.
    #[inline]
    fn encoded(&self, id: SeriesId) -> &[u8] {
        encoded(&self.arena, &self.starts, id)
    }

    #[cold]
    fn insert(&mut self, labels: &[&str], hash: u64) -> SeriesId {
        let has_room = (self.starts.len() as u32) < self.limit && self.arena.len() < ARENA_BYTES_MAX;
        if (!self.is_full && has_room) || self.dimensions == 0 {
            return self.append(labels, hash);
        }
        self.folded += 1;
        if let Some(other) = self.other {
            return other;
        }
        let others = vec![OTHER; self.dimensions];
        let hash = self.hash(&others);
        // A publisher may have sent these very labels before.
        let id = self.find(&others, hash).unwrap_or_else(|| self.append(&others, hash));
        self.other = Some(id);
        id
    }

    /// Says that this label set has a cell: it and those before it stay.
    #[inline]
    pub fn keep(&mut self, series: SeriesId) {
        self.kept = self.kept.max(series + 1);
    }

    /// Takes back the label sets after the last one that was kept: those of a failed message.
    pub fn discard_new(&mut self) {
        while self.starts.len() > self.kept as usize {
            let id = self.starts.len() as SeriesId - 1;
            let hash = hash_encoded(&self.hasher, self.encoded(id));
            if let Ok(entry) = self.index.find_entry(hash, |other| *other == id) {
                entry.remove();
            }
            self.arena.truncate(self.starts[id as usize] as usize);
            self.starts.pop();
            self.other = self.other.filter(|other| *other != id);
        }
    }

    #[inline]
    fn hash(&self, labels: &[&str]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for label in labels {
            hasher.write(label.as_bytes());
            hasher.write_u8(0xff);
        }
        hasher.finish()
    }

    fn append(&mut self, labels: &[&str], hash: u64) -> SeriesId {
        let id = self.starts.len() as SeriesId;
        self.starts.push(self.arena.len() as u32);
        for label in labels {
            put_bytes(&mut self.arena, label.as_bytes());
        }
        let (arena, starts, hasher) = (&self.arena, &self.starts, &self.hasher);
        // Hashes are not kept: they are made anew when the index grows.
        self.index.insert_unique(hash, id, |id| hash_encoded(hasher, encoded(arena, starts, *id)));
        id
    }

    /// Label sets that are in no commit yet.
    pub fn take_new(&mut self) -> Option<SeriesChunk> {
        let first = self.handed_over as usize;
        let start = *self.starts.get(first)? as usize;
        self.handed_over = self.starts.len() as u32;
        let mut bytes = Vec::with_capacity(self.arena.len() - start + 4);
        put_u64(&mut bytes, (self.starts.len() - first) as u64);
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
    pub fn count(&self) -> Result<u32, Corrupt> {
        Input(&self.bytes).u32()
    }

    /// The same in pieces of about so many bytes, each with one label set at least.
    pub fn split(self, dimensions: usize, bytes_max: usize) -> Result<Vec<Self>, Corrupt> {
        if self.bytes.len() <= bytes_max {
            return Ok(vec![self]);
        }
        let mut input = Input(&self.bytes);
        let (mut pieces, mut first, mut left) = (Vec::new(), self.first, input.u32()?);
        while left > 0 {
            let (start, mut count) = (input.0, 0);
            while count < left && (count == 0 || start.len() - input.0.len() < bytes_max) {
                for _ in 0..dimensions {
                    input.bytes()?;
                }
                count += 1;
            }
            let sets = &start[..start.len() - input.0.len()];
            let mut bytes = Vec::with_capacity(sets.len() + 4);
            put_u64(&mut bytes, u64::from(count));
            bytes.extend_from_slice(sets);
            pieces.push(Self { first, bytes: bytes.into() });
            first += count;
            left -= count;
        }
        Ok(pieces)
    }

    /// These and the label sets that follow them.
    pub fn joined(&self, next: &Self) -> Result<Self, Corrupt> {
        let (mut mine, mut others) = (Input(&self.bytes), Input(&next.bytes));
        let count = mine.u32()?.checked_add(others.u32()?).ok_or(Corrupt("there are too many label sets"))?;
        let mut bytes = Vec::with_capacity(self.bytes.len() + next.bytes.len());
        put_u64(&mut bytes, u64::from(count));
        bytes.extend_from_slice(mine.0);
        bytes.extend_from_slice(others.0);
        Ok(Self { first: self.first, bytes: bytes.into() })
    }

    /// Visits the label sets, in order of their numbers.
    pub fn for_each<'c>(&'c self, dimensions: usize, mut visit: impl FnMut(&[&'c str])) -> Result<(), Corrupt> {
        let mut input = Input(&self.bytes);
        let mut labels = [""; Declaration::DIMENSIONS_MAX];
        let labels = labels.get_mut(..dimensions).ok_or(Corrupt("a label set has too many labels"))?;
        for _ in 0..input.u32()? {
            for label in &mut *labels {
                *label = input.text()?;
            }
            visit(labels);
        }
        Ok(())
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
        assert_eq!(table.resolve(&["a", "bc"]), 0);
        assert_eq!(table.resolve(&["ab", "c"]), 1, "the border between labels counts");
        let first = Arc::new(table.take_new().expect("two are new"));
        assert_eq!(table.take_new(), None);
        assert_eq!(table.resolve(&["", ""]), 2);
        let second = Arc::new(table.take_new().expect("one is new"));
        let mut again = SeriesTable::restore(2, 100, &[first, second]).expect("sound");
        assert_eq!(again.resolve(&["ab", "c"]), 1);
        assert_eq!(again.resolve(&["", ""]), 2);
        assert_eq!(again.resolve(&["x", "y"]), 3);
        assert_eq!(again.take_new().map(|chunk| chunk.first), Some(3));
    }

    #[test]
    fn beyond_the_limit_new_label_sets_are_one() {
        let mut table = SeriesTable::new(1, 2);
        let ids: Vec<_> = ["a", "b", "c", "a", "d"].iter().map(|label| table.resolve(&[*label])).collect();
        assert_eq!((ids, table.folded), (vec![0, 1, 2, 0, 2], 2));
        let chunk = Arc::new(table.take_new().expect("new"));
        let last = chunk.iter(1).last().expect("three").expect("sound");
        assert_eq!(last, [OTHER]);
        let mut again = SeriesTable::restore(1, 2, &[chunk]).expect("sound");
        assert_eq!(again.resolve(&["e"]), 2);
    }

    #[test]
    fn what_publishers_call_other_is_the_same_as_ours() {
        let mut table = SeriesTable::new(1, 2);
        let ids: Vec<_> = [OTHER, "b", "c"].iter().map(|label| table.resolve(&[*label])).collect();
        assert_eq!((ids, table.len()), (vec![0, 1, 0], 2));
    }

    #[test]
    fn pieces_hold_what_the_whole_held() {
        let mut table = SeriesTable::new(2, u32::MAX);
        for n in 0..1000 {
            table.resolve(&[&format!("label {n}"), "x"]);
        }
        let whole = table.take_new().expect("new");
        let pieces = whole.clone().split(2, 500).expect("sound");
        assert!(pieces.len() > 20 && pieces.iter().all(|piece| piece.bytes.len() < 530));
        let mut joined = pieces[0].clone();
        for piece in &pieces[1..] {
            assert_eq!(joined.first + joined.count().expect("sound"), piece.first);
            joined = joined.joined(piece).expect("sound");
        }
        assert_eq!(joined, whole);
    }

    #[test]
    fn label_sets_of_a_failed_message_are_taken_back() {
        let mut table = SeriesTable::new(1, 3);
        let a = table.resolve(&["a"]);
        table.keep(a);
        for label in ["b", "c", "d", "e"] {
            table.resolve(&[label]);
        }
        table.discard_new();
        assert_eq!(table.len(), 1);
        assert_eq!([table.resolve(&["x"]), table.resolve(&["a"]), table.resolve(&["b"])], [1, 0, 2]);
        table.keep(2);
        assert_eq!([table.resolve(&["y"]), table.resolve(&[OTHER])], [3, 3], "__other__ is made anew");
        table.discard_new();
        let chunk = table.take_new().expect("three are new");
        let labels: Vec<String> = chunk.iter(1).map(|set| set.expect("sound")[0].to_owned()).collect();
        assert_eq!(labels, ["a", "x", "b"]);
    }
}
