//! Which messages there are, by time. In memory, 40 bytes a message; the messages themselves stay where they are.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

/// Where a message is, and what is asked about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// When it happened, microseconds since 1970.
    pub(super) time: i64,
    /// Two entries of one time with the same key are one message.
    key: u64,
    /// What its archive calls the place: a sequence, or an offset.
    pub(super) place: u64,
    /// Its length in bytes.
    pub(super) len: u32,
    topic: u32,
    /// Hash of its `msg_id`.
    id: Option<std::num::NonZeroU64>,
}

/// All messages of an archive, in order of time; those of one time in that of their places.
#[derive(Default)]
pub(super) struct Index {
    entries: Vec<Entry>,
    /// Added, and not in order yet.
    new: Vec<Entry>,
    topics: Vec<Box<str>>,
    topic_of: HashMap<Box<str>, u32>,
}

/// A message that is added.
pub(super) struct Added<'t> {
    pub(super) time: i64,
    pub(super) place: u64,
    pub(super) len: u32,
    pub(super) topic: &'t str,
    pub(super) msg_id: Option<&'t str>,
    /// Of its content.
    pub(super) key: u128,
}

impl Index {
    pub(super) fn add(&mut self, added: &Added<'_>) {
        let topic = match self.topic_of.get(added.topic) {
            Some(topic) => *topic,
            None => {
                let number = self.topics.len() as u32;
                self.topics.push(added.topic.into());
                self.topic_of.insert(added.topic.into(), number);
                number
            }
        };
        let Added { time, place, len, key, .. } = *added;
        let id = added.msg_id.and_then(hash_of);
        self.new.push(Entry { time, key: key as u64, place, len, topic, id });
    }

    /// Puts what was added in its place; what is there already is left out.
    pub(super) fn settle(&mut self) {
        let Some(first) = self.new.iter().map(|entry| entry.time).min() else { return };
        let from = self.entries.partition_point(|entry| entry.time < first);
        self.entries.append(&mut self.new);
        let mut tail = self.entries.split_off(from);
        tail.sort_unstable_by_key(|entry| (entry.time, entry.key, entry.place));
        tail.dedup_by_key(|entry| (entry.time, entry.key));
        tail.sort_unstable_by_key(|entry| (entry.time, entry.place));
        self.entries.append(&mut tail);
    }

    /// Forgets what is at places before this one.
    pub(super) fn forget_before(&mut self, place: u64) {
        self.entries.retain(|entry| entry.place >= place);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The messages from `start` to `end`, both included.
    pub(super) fn between(&self, start: Option<i64>, end: Option<i64>) -> &[Entry] {
        let from = start.map_or(0, |start| self.entries.partition_point(|entry| entry.time < start));
        let until = end.map_or(self.entries.len(), |end| self.entries.partition_point(|entry| entry.time <= end));
        &self.entries[from..until.max(from)]
    }

    /// Of each topic, by its number in entries, whether it is wanted.
    pub(super) fn topics(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<bool> {
        self.topics.iter().map(|topic| is_wanted(topic)).collect()
    }

    /// Messages that may have this `msg_id`.
    pub(super) fn with_id<'i>(&'i self, msg_id: &str) -> impl Iterator<Item = &'i Entry> {
        let id = hash_of(msg_id);
        self.entries.iter().filter(move |entry| entry.id == id)
    }
}

impl Entry {
    /// Whether its topic is among the wanted.
    pub(super) fn is_of(&self, topics: &[bool]) -> bool {
        topics[self.topic as usize]
    }
}

fn hash_of(msg_id: &str) -> Option<std::num::NonZeroU64> {
    std::num::NonZeroU64::new(xxh3_64(msg_id.as_bytes()) | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(index: &mut Index, time: i64, place: u64, key: u128) {
        index.add(&Added {
            time,
            place,
            len: 1,
            topic: if key.is_multiple_of(2) { "even" } else { "odd" },
            msg_id: None,
            key,
        });
    }

    fn places(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.place).collect()
    }

    #[test]
    fn messages_are_in_order_and_none_is_twice() {
        let mut index = Index::default();
        for (time, place, key) in [(30, 1, 7), (10, 2, 8), (20, 3, 9)] {
            add(&mut index, time, place, key);
        }
        index.settle();
        for (time, place, key) in [(20, 4, 9), (20, 5, 10), (30, 6, 7), (25, 7, 7), (5, 8, 1)] {
            add(&mut index, time, place, key);
        }
        index.settle();
        assert_eq!(places(index.between(None, None)), [8, 2, 3, 5, 7, 1]);
        assert_eq!(places(index.between(Some(10), Some(20))), [2, 3, 5]);
        assert_eq!(places(index.between(Some(11), Some(19))), [0; 0]);
        assert_eq!(places(index.between(Some(20), Some(10))), [0; 0]);
        let even = index.topics(|topic| topic == "even");
        let found: Vec<u64> =
            index.entries.iter().filter(|entry| entry.is_of(&even)).map(|entry| entry.place).collect();
        assert_eq!(found, [2, 5]);
        index.forget_before(3);
        assert_eq!((places(index.between(None, None)), index.len()), (vec![8, 3, 5, 7], 4));
    }
}
