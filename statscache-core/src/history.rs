//! What came from a history service, and how the journal says so.
//!
//! Messages that were missed are fetched and go into the journal like any others, for the namespaces that
//! miss them ([`crate::journal::Audience`]). When all of a stretch of time is there, a **mark** follows:
//! whoever reads past it has everything of that time, if it has read everything since the first record
//! of it. So what is filled is known exactly as far as it is folded, and survives what the journal
//! survives.

use statscache_plugin_sdk::Timestamp;

use crate::{
    bytes::{Corrupt, Input, put_i64, put_u64},
    coverage::Seen,
    identity::{fingerprint, known::Known},
    journal::{Audience, Chunk},
};

/// What the journal has of the times that are to be fetched, for those who miss them.
pub struct History {
    known: Known,
    audience: Audience,
    is_split: bool,
}

impl History {
    /// Nothing yet of these times, each from its first instant to before the second.
    pub fn new(ranges: Vec<(Timestamp, Timestamp)>, audience: Audience) -> Self {
        let known = Known::new(ranges, audience.first..=audience.last);
        Self { known, audience, is_split: false }
    }

    /// Takes note of records of the journal.
    ///
    /// For several it cannot be told what is missing where some records were for some of them only: those have
    /// them, the others do not. Then each must be asked for by itself, and [`History::is_split`] says so.
    pub fn note(&mut self, chunk: &Chunk) {
        for (sequence, record) in chunk.iter().filter(|(_, record)| !record.is_mark) {
            if !self.known.covers(Timestamp::from_micros(record.time)) || record.audience.first > record.audience.last {
                continue;
            }
            let (of_it, all) = (record.audience, self.audience);
            if of_it.first <= all.first && all.last <= of_it.last {
                self.known.insert(record.identity, sequence, fingerprint(record.body));
            } else if all.first <= of_it.last && of_it.first <= all.last {
                self.is_split = true;
            }
        }
    }

    /// See [`History::note`].
    pub fn is_split(&self) -> bool {
        self.is_split
    }

    /// For whom it is.
    pub fn audience(&self) -> Audience {
        self.audience
    }

    pub(crate) fn into_known(self) -> Option<Known> {
        (!self.is_split).then_some(self.known)
    }
}

/// Says that the journal has what history has of `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// First instant.
    pub start: Timestamp,
    /// First instant that is not in it.
    pub end: Timestamp,
    /// The sequence of the first record that may be of that time.
    pub first: u64,
    /// Whether it is all that history has.
    pub seen: Seen,
}

impl Mark {
    /// Bytes for the body of the record.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_i64(&mut out, self.start.micros());
        put_i64(&mut out, self.end.micros());
        put_u64(&mut out, self.first);
        put_u64(&mut out, u64::from(self.seen == Seen::Whole));
        out
    }

    /// Reads what [`Mark::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut input = Input(bytes);
        let (start, end) = (Timestamp::from_micros(input.i64()?), Timestamp::from_micros(input.i64()?));
        let first = input.u64()?;
        let seen = match input.u64()? {
            0 => Seen::Part,
            1 => Seen::Whole,
            _ => return Err(Corrupt("a mark is of another kind")),
        };
        if input.0.is_empty() { Ok(Self { start, end, first, seen }) } else { Err(Corrupt("a mark is too long")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_as_it_was_written_and_nothing_else_does() {
        let time = Timestamp::from_micros;
        for seen in [Seen::Part, Seen::Whole] {
            let mark = Mark { start: time(-5), end: time(i64::MAX), first: 7, seen };
            let bytes = mark.encode();
            assert_eq!(Mark::decode(&bytes), Ok(mark));
            assert!(Mark::decode(&bytes[1..]).is_err() && Mark::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
    }
}
