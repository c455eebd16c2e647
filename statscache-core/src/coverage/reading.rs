//! What one instance has read of what the bus brought.

use statscache_plugin_sdk::Timestamp;

use super::{Coverage, Seen};
use crate::bytes::{Corrupt, Input, put_i64};

/// Up to where an instance has folded what was received, what it left out, and what of it was
/// fetched from a history service instead.
///
/// Gaps are kept as a coverage is, with its bound: beyond it, times full of gaps count as read in
/// part, never as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    until: Timestamp,
    read: Coverage,
    filled: Coverage,
}

impl Reading {
    /// It has read nothing, and begins with what was received at this instant.
    pub fn new(since: Timestamp) -> Self {
        Self { until: since, read: Coverage::new(), filled: Coverage::new() }
    }

    /// It has folded, or left out for good, everything that was received before this instant.
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// The times that it has read; a joined gap is in it as [`Seen::Part`].
    pub fn read(&self) -> &Coverage {
        &self.read
    }

    /// The times of which it has folded what a history service has.
    pub fn filled(&self) -> &Coverage {
        &self.filled
    }

    /// It has folded what a history service has of `[start, end)`, which is this much. What it has in part
    /// only, of what it has read, stays so: that something failed history does not change.
    pub fn fill(&mut self, start: Timestamp, end: Timestamp, seen: Seen) {
        self.filled.add(start, end, seen);
        for (from, until, level) in self.read.clamp(start, end).intervals() {
            if level == Seen::Part {
                self.filled.lower(from, until, Some(Seen::Part));
            }
        }
    }

    /// It has folded everything up to this instant. An earlier one than before changes nothing.
    pub fn advance(&mut self, until: Timestamp) {
        self.read.add(self.until, until, Seen::Whole);
        self.until = self.until.max(until);
    }

    /// Something of what was received in `[start, end)`, or fetched for it so far, is not in its state:
    /// it has seen a part.
    pub fn doubt(&mut self, start: Timestamp, end: Timestamp) {
        self.read.lower(start, end, Some(Seen::Part));
        self.filled.lower(start, end, Some(Seen::Part));
    }

    /// Something that happened in `[start, end)`, whenever it came and from wherever, is not in its state: of what it
    /// has read up to now, and of what will be filled, it has a part.
    pub fn lack(&mut self, start: Timestamp, end: Timestamp) {
        self.doubt(start, end);
        // For those that are to be filled, see `fill`.
        self.read.add(start, end.min(self.until), Seen::Part);
    }

    /// It has folded everything that there is, and now it is this instant. Should a clock have been ahead,
    /// what is still to come is not claimed any more.
    pub fn has_read_all(&mut self, now: Timestamp) {
        self.read.lower(now, self.until, None);
        self.until = self.until.min(now);
        self.advance(now);
    }

    /// It goes on from this instant; what was received before and is not folded never will be.
    pub fn skip(&mut self, until: Timestamp) {
        self.until = self.until.max(until);
    }

    /// It has not folded what was received in `[start, end)`, nor what was fetched for it so far. Times
    /// that it has yet to read are not concerned: [`Reading::skip`] is for them.
    pub fn gap(&mut self, start: Timestamp, end: Timestamp) {
        self.read.lower(start, end, None);
        self.filled.lower(start, end, None);
    }

    /// Forgets what was before this instant.
    pub fn forget_before(&mut self, time: Timestamp) {
        self.read.forget_before(time);
        self.filled.forget_before(time);
    }

    /// What the instance has seen, if `bus` is what was received: what it has read of that, and what was
    /// filled.
    pub fn seen_by(&self, bus: &Coverage) -> Coverage {
        let mut seen = bus.meet(&self.read);
        seen.merge(&self.filled);
        seen
    }

    /// Appends the bytes: until when, then the times read and the times filled as coverages.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_i64(out, self.until.micros());
        self.read.encode(out);
        self.filled.encode(out);
    }

    /// Reads what [`Reading::encode`] wrote, and nothing else.
    pub fn decode(input: &mut Input<'_>) -> Result<Self, Corrupt> {
        let unfilled = Self::decode_unfilled(input)?;
        Ok(Self { filled: Coverage::decode(input)?, ..unfilled })
    }

    /// Reads the bytes up to the times filled, which is all that format 2 of the store had.
    pub(crate) fn decode_unfilled(input: &mut Input<'_>) -> Result<Self, Corrupt> {
        let bytes = input.0;
        let until = Timestamp::from_micros(input.i64()?);
        let mut again = Vec::new();
        put_i64(&mut again, until.micros());
        if again.len() != bytes.len() - input.0.len() {
            return Err(Corrupt("a number of a reading is too long"));
        }
        let read = Coverage::decode(input)?;
        match read.intervals().last() {
            Some((_, end, _)) if end > until => Err(Corrupt("an instance has read what is to come")),
            _ => Ok(Self { until, read, filled: Coverage::new() }),
        }
    }
}
