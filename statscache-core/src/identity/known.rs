//! Which messages of some spans of time the journal has: what comes from a history service is compared
//! with it.

use std::ops::RangeInclusive;

use statscache_plugin_sdk::Timestamp;

use super::{Identity, table::Table, window::Sight};

/// The identities of the messages of some spans of time, for those who fold them. Nothing is forgotten.
///
/// Memory as of a [`super::window::Window`].
pub struct Known {
    /// From the first time of each to before the second; in order, none of them empty, none touching.
    ranges: Vec<(Timestamp, Timestamp)>,
    audience: RangeInclusive<u32>,
    table: Table,
}

impl Known {
    /// Nothing yet of these spans, each from its first time to before its second, in any order, for
    /// these namespaces.
    pub fn new(mut ranges: Vec<(Timestamp, Timestamp)>, audience: RangeInclusive<u32>) -> Self {
        ranges.retain(|(start, end)| start < end);
        ranges.sort_unstable();
        ranges.dedup_by(|next, last| {
            let meets = next.0 <= last.1;
            if meets {
                last.1 = last.1.max(next.1);
            }
            meets
        });
        Self { ranges, audience, table: Table::default() }
    }

    /// Whether a message of this time belongs here.
    pub fn covers(&self, time: Timestamp) -> bool {
        let begun = self.ranges.partition_point(|(start, _)| *start <= time);
        begun.checked_sub(1).is_some_and(|last| time < self.ranges[last].1)
    }

    /// The namespaces whose messages these are.
    pub fn audience(&self) -> &RangeInclusive<u32> {
        &self.audience
    }

    /// Adds the identity of a message; the first one with an identity has it.
    pub fn insert(&mut self, identity: Identity, sequence: u64, fingerprint: u32) {
        if self.table.get(identity).is_none() {
            self.table.push(identity, (sequence, fingerprint), 0, (0, usize::MAX));
        }
    }

    /// What is known of this identity, and of a body with this fingerprint.
    #[inline]
    pub fn look(&self, identity: Identity, fingerprint: u32) -> Sight {
        Sight::of(self.table.get(identity), fingerprint)
    }

    /// Number of identities.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory, bytes.
    pub fn bytes(&self) -> usize {
        self.table.bytes() + self.ranges.capacity() * size_of::<(Timestamp, Timestamp)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_half_open_and_in_any_order() {
        let at = Timestamp::from_secs;
        let span = |start, end| (at(start), at(end));
        let known =
            Known::new(vec![span(50, 60), span(10, 20), span(30, 30), span(15, 18), span(20, 22)], 0..=u32::MAX);
        assert_eq!(known.ranges, [span(10, 22), span(50, 60)]);
        for (secs, covers) in [(9, false), (10, true), (21, true), (22, false), (30, false), (59, true), (60, false)] {
            assert_eq!(known.covers(at(secs)), covers, "{secs}");
        }
        assert!(!Known::new(Vec::new(), 3..=3).covers(at(0)));
    }

    #[test]
    fn nothing_is_forgotten() {
        let mut known = Known::new(Vec::new(), 3..=3);
        for sequence in 0..10_000_u64 {
            known.insert(super::super::of_id(&sequence.to_string()), sequence, 5);
        }
        assert_eq!((known.len(), known.audience().contains(&3)), (10_000, true));
        let identity = super::super::of_id("7");
        known.insert(identity, 10_000, 6);
        assert_eq!(known.look(identity, 5), Sight::Same { sequence: 7 });
        assert_eq!(known.look(identity, 6), Sight::Respelled { sequence: 7 });
        assert_eq!(known.look(1, 5), Sight::New);
        assert!(known.bytes() < 10_000 * 50);
    }
}
