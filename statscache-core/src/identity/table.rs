//! Identities in the order in which they came, each found at once: what [`super::window`] and
//! [`super::known`] share.
//!
//! Entries of 20 bytes stand one behind the other in blocks of at most 4,096; blocks go as a whole, the
//! oldest first. An index of 8 bytes a slot says where an identity stands: open addressing with linear
//! probing, home slots in the order of hashes, 53 to 67 % full. So a look-up that finds nothing, which
//! is what most do, reads one or two neighbouring cache lines, an insert writes there and at the end
//! of the newest block, and growing the index is one pass over neighbours. Taking a block away costs
//! a look-up for each of its entries.
//!
//! Of an identity 96 bits are kept, and the fingerprint beside them.

use std::collections::VecDeque;

use super::Identity;

/// Entries of one block, at most: what goes at a time.
const BLOCK_ENTRIES_MAX: usize = 1 << OFFSET_BITS;
/// A place is the number of a block, modulo 2^20, and the offset in it.
const OFFSET_BITS: u32 = 12;
const BLOCKS_MAX: usize = 1 << (32 - OFFSET_BITS);
/// Entries of one table, at most: so many in full blocks, and as many blocks for others.
pub(super) const ENTRIES_MAX: usize = BLOCKS_MAX * BLOCK_ENTRIES_MAX / 2;
/// Sequences of a block are this much before its first one at the earliest.
const SEQUENCES_BEFORE: u64 = 1 << 31;

struct Entry {
    id: [u32; 3],
    /// From the block's `base` on.
    sequence: u32,
    fingerprint: u32,
}

struct Block {
    /// When the first and the last entry came.
    since: i64,
    until: i64,
    base: u64,
    entries: Vec<Entry>,
}

#[derive(Default)]
pub(super) struct Table {
    index: Index,
    blocks: VecDeque<Block>,
    /// Number of the oldest block.
    first: u32,
    /// Entries of all blocks, also those whose identity was removed.
    held: usize,
}

impl Table {
    /// Sequence and fingerprint of an identity.
    #[inline]
    pub(super) fn get(&self, identity: Identity) -> Option<(u64, u32)> {
        let slot = self.slot(short(identity))?;
        let (block, entry) = self.entry(self.index.place(slot))?;
        Some((block.base + u64::from(entry.sequence), entry.fingerprint))
    }

    /// Adds an identity that is not there, at a time not before the last one's. Blocks are no longer than
    /// `span` and have no more entries than `block_len`.
    #[inline]
    pub(super) fn push(
        &mut self,
        identity: Identity,
        (sequence, fingerprint): (u64, u32),
        at: i64,
        (span, block_len): (i64, usize),
    ) {
        let fits = |block: &&mut Block| {
            block.entries.len() < block_len.clamp(1, BLOCK_ENTRIES_MAX)
                && at.saturating_sub(block.since) <= span
                && block.offset_of(sequence).is_some()
        };
        if self.blocks.back_mut().as_ref().is_none_or(|block| !fits(block)) {
            let base = sequence.saturating_sub(SEQUENCES_BEFORE);
            self.blocks.push_back(Block { since: at, until: at, base, entries: Vec::new() });
        }
        let number = self.first.wrapping_add(self.blocks.len() as u32 - 1);
        let Some(block) = self.blocks.back_mut() else { return };
        let id = short(identity);
        self.index.insert(slot_of(id, number, block.entries.len()));
        let sequence = block.offset_of(sequence).unwrap_or(0);
        block.entries.push(Entry { id, sequence, fingerprint });
        block.until = at;
        self.held += 1;
    }

    /// Removes an identity, if it is there.
    pub(super) fn remove(&mut self, identity: Identity) {
        let Some(slot) = self.slot(short(identity)) else { return };
        self.index.remove(slot);
        self.trim();
    }

    /// Drops entries at the end whose identity was removed: what is inserted and removed again and again
    /// takes no room.
    fn trim(&mut self) {
        loop {
            let number = self.first.wrapping_add(self.blocks.len() as u32).wrapping_sub(1);
            let Some(block) = self.blocks.back_mut() else { return };
            while let Some(last) = block.entries.last() {
                if self.index.find_exactly(slot_of(last.id, number, block.entries.len() - 1)).is_some() {
                    return;
                }
                block.entries.pop();
                self.held -= 1;
            }
            self.blocks.pop_back();
        }
    }

    /// Forgets the oldest block; says how many identities that were.
    pub(super) fn forget_oldest(&mut self) -> usize {
        let Some(block) = self.blocks.pop_front() else { return 0 };
        let before = self.index.len;
        for (offset, entry) in block.entries.iter().enumerate() {
            if let Some(slot) = self.index.find_exactly(slot_of(entry.id, self.first, offset)) {
                self.index.remove(slot);
            }
        }
        self.held -= block.entries.len();
        self.first = self.first.wrapping_add(1);
        before - self.index.len
    }

    /// Forgets everything, and gives its memory back.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether one more entry would be more than `max`, or than there are places for.
    #[inline]
    pub(super) fn is_full(&self, max: usize) -> bool {
        self.held >= max || self.blocks.len() >= BLOCKS_MAX
    }

    /// When the last entry of the oldest block came, and when the last of all.
    #[inline]
    pub(super) fn times(&self) -> Option<(i64, i64)> {
        Some((self.blocks.front()?.until, self.blocks.back()?.until))
    }

    /// Number of identities.
    pub(super) fn len(&self) -> usize {
        self.index.len
    }

    /// Memory, bytes.
    pub(super) fn bytes(&self) -> usize {
        let entries: usize = self.blocks.iter().map(|block| block.entries.capacity()).sum();
        entries * size_of::<Entry>() + self.blocks.capacity() * size_of::<Block>() + self.index.bytes()
    }

    #[inline]
    fn slot(&self, id: [u32; 3]) -> Option<usize> {
        self.index.find(tag(id), |place| self.entry(place).is_some_and(|(_, entry)| entry.id == id))
    }

    #[inline]
    fn entry(&self, place: u32) -> Option<(&Block, &Entry)> {
        let behind = (place >> OFFSET_BITS).wrapping_sub(self.first) as usize % BLOCKS_MAX;
        let block = self.blocks.get(behind)?;
        Some((block, block.entries.get(place as usize % BLOCK_ENTRIES_MAX)?))
    }
}

impl Block {
    #[inline]
    fn offset_of(&self, sequence: u64) -> Option<u32> {
        u32::try_from(sequence.checked_sub(self.base)?).ok()
    }
}

fn short(identity: Identity) -> [u32; 3] {
    [identity as u32, (identity >> 32) as u32, (identity >> 64) as u32]
}

/// Never 0, which is an empty slot.
fn tag(id: [u32; 3]) -> u32 {
    id[0] | 1
}

/// What the index has for the entry at this offset of this block.
fn slot_of(id: [u32; 3], block: u32, offset: usize) -> u64 {
    (u64::from(tag(id)) << 32) | u64::from((block << OFFSET_BITS) | offset as u32)
}

/// From tags to places. A slot is 0, or the tag in its upper and the place in its lower half.
#[derive(Default)]
struct Index {
    slots: Vec<u64>,
    len: usize,
}

impl Index {
    const SLOTS_MIN: usize = 64;

    /// The slot with this tag and a place that is the one.
    #[inline]
    fn find(&self, tag: u32, is_it: impl Fn(u32) -> bool) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(u64::from(tag) << 32);
        while self.slots[at] != 0 {
            if (self.slots[at] >> 32) as u32 == tag && is_it(self.slots[at] as u32) {
                return Some(at);
            }
            at = self.after(at);
        }
        None
    }

    fn place(&self, slot: usize) -> u32 {
        self.slots[slot] as u32
    }

    /// The slot with just this.
    #[inline]
    fn find_exactly(&self, slot: u64) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(slot);
        while self.slots[at] != slot {
            if self.slots[at] == 0 {
                return None;
            }
            at = self.after(at);
        }
        Some(at)
    }

    #[inline]
    fn insert(&mut self, slot: u64) {
        if (self.len + 1) * 3 > self.slots.len() * 2 {
            self.grow();
        }
        self.put(slot);
        self.len += 1;
    }

    #[inline]
    fn put(&mut self, slot: u64) {
        let mut at = self.home(slot);
        while self.slots[at] != 0 {
            at = self.after(at);
        }
        self.slots[at] = slot;
    }

    /// By a quarter: memory stays near what is needed.
    #[cold]
    fn grow(&mut self) {
        let len = (self.slots.len() + self.slots.len() / 4).max(Self::SLOTS_MIN);
        for slot in std::mem::replace(&mut self.slots, vec![0; len]) {
            if slot != 0 {
                self.put(slot);
            }
        }
    }

    /// Empties a slot, and moves those behind it up that would not be found any more.
    fn remove(&mut self, slot: usize) {
        let (mut hole, mut at) = (slot, self.after(slot));
        while self.slots[at] != 0 {
            let home = self.home(self.slots[at]);
            if self.distance(home, at) >= self.distance(hole, at) {
                self.slots[hole] = self.slots[at];
                hole = at;
            }
            at = self.after(at);
        }
        self.slots[hole] = 0;
        self.len -= 1;
    }

    #[inline]
    fn home(&self, slot: u64) -> usize {
        (((slot >> 32) * self.slots.len() as u64) >> 32) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.slots.len() - from }
    }

    fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push(u32, u64, u32),
        Remove(u32),
        ForgetOldest,
    }

    fn step() -> impl Strategy<Value = Step> {
        let id = 0..100_u32;
        let sequence = prop_oneof![0..9_u64, Just(1 << 40), Just(u64::MAX)];
        prop_oneof![
            8 => (id.clone(), sequence, any::<u32>()).prop_map(|(id, sequence, print)| Step::Push(id, sequence, print)),
            4 => id.prop_map(Step::Remove),
            1 => Just(Step::ForgetOldest),
        ]
    }

    /// Few tags, at both ends, so that runs are long and go round the end of the index.
    fn identity(id: u32) -> Identity {
        (u128::from(id) << 64) | u128::from([0, 2, u32::MAX, u32::MAX - 1, 1 << 31][id as usize % 5])
    }

    proptest! {
        /// Against a map and a list of blocks.
        #[test]
        fn it_is_a_map_with_an_order(steps in prop::collection::vec(step(), 0..300)) {
            let mut table = Table { first: u32::MAX - 3, ..Table::default() };
            let mut model = HashMap::new();
            for step in steps {
                match step {
                    Step::Push(id, sequence, print) => {
                        if let std::collections::hash_map::Entry::Vacant(vacant) = model.entry(id) {
                            vacant.insert((sequence, print));
                            table.push(identity(id), (sequence, print), 0, (0, 16));
                        }
                    }
                    Step::Remove(id) => {
                        model.remove(&id);
                        table.remove(identity(id));
                    }
                    Step::ForgetOldest => {
                        let oldest: Vec<u128> =
                            table.blocks.front().map_or(Vec::new(), |block| block.entries.iter().map(|entry| u128::from(entry.id[2])).collect());
                        let before = model.len();
                        // Removed and pushed anew, an identity stands in two blocks and belongs to the newer.
                        model.retain(|id, _| !oldest.contains(&u128::from(*id)) || !is_in_oldest(&table, *id));
                        prop_assert_eq!(table.forget_oldest(), before - model.len());
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                prop_assert!(table.held >= table.len());
                for id in 0..100 {
                    prop_assert_eq!(table.get(identity(id)), model.get(&id).copied());
                }
            }
        }
    }

    fn is_in_oldest(table: &Table, id: u32) -> bool {
        let slot = table.slot(short(identity(id))).expect("it is in the model");
        (table.index.place(slot) >> OFFSET_BITS) == table.first % BLOCKS_MAX as u32
    }
}
