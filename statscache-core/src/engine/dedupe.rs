//! Which messages are new. An id says which message it may be, its content whether it is: real buses
//! have ids that several messages share, and relays that spell one message differently.

use super::{
    admit::Admitted,
    holders::{Holders, Parts, without},
};
use crate::{
    history::History,
    identity::{Identity, content, fingerprint, known::Known, window::Sight, window::Window},
    journal::{Audience, JournalError, Reader},
};

/// What was seen: of a window of time, and of the time for which history is being fetched.
pub(super) struct Dedupe {
    window: Window,
    known: Option<Known>,
    /// Finds the message that had an id first.
    reader: Reader,
    /// The first sequence of what was fetched and known already, since that was asked last.
    oldest: u64,
    /// Who has what from history.
    holders: Holders,
}

/// Where a batch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The bus.
    Bus,
    /// History, for all.
    ForAll,
    /// History, for some: the others may have had it long ago.
    ForSome,
}

/// Where a batch comes from, and where it goes.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub(super) origin: Origin,
    /// For whom it is.
    pub(super) audience: Audience,
    /// The sequence that its first message gets.
    pub(super) first: u64,
    /// Now, microseconds.
    pub(super) now: i64,
}

/// What a message turned out to be.
enum Verdict {
    /// New, under this identity.
    New {
        identity: Identity,
        /// Its id is another message's.
        is_conflict: bool,
        /// For whom, if not for all.
        parts: Parts,
    },
    /// Known, as the message with this sequence.
    Known(u64),
}

/// What became of a batch.
pub(super) struct Sorted<'b> {
    /// The new ones, with their identities; those that share an id have one of their own.
    pub(super) new: Vec<Admitted<'b>>,
    pub(super) duplicates: u64,
    pub(super) id_conflicts: u64,
}

impl Dedupe {
    pub(super) fn new(window: Window, holders: Holders, reader: Reader) -> Self {
        Self { window, known: None, reader, oldest: u64::MAX, holders }
    }

    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    /// What is known of the time that history is being fetched for.
    pub(super) fn known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    /// Keeps what is new, and remembers it with the sequences that it will have.
    pub(super) fn sort<'b>(&mut self, admitted: Vec<Admitted<'b>>, source: Source) -> Result<Sorted<'b>, JournalError> {
        self.window.advance(source.now);
        // In a loop of its own: the window is larger than the caches, and so the processor waits for several
        // of its misses at once.
        let known = admitted.iter().filter(|message| self.window.has(message.identity)).count();
        let read = admitted.len() as u64;
        let mut sorted = Sorted { new: Vec::with_capacity(admitted.len() - known), duplicates: 0, id_conflicts: 0 };
        let mut sequence = source.first;
        for message in admitted {
            let fingerprint = fingerprint(message.original.as_bytes());
            match self.judge(&message, fingerprint, (source, &sorted.new)) {
                Ok(Verdict::Known(sequence)) if source.origin != Origin::Bus => self.oldest = self.oldest.min(sequence),
                Ok(Verdict::Known(_)) => {}
                Ok(Verdict::New { identity, is_conflict, parts }) => {
                    let message = Admitted { identity, parts, sequence, ..message };
                    self.remember(&message, fingerprint, source);
                    sequence += message.records() as u64;
                    sorted.id_conflicts += u64::from(is_conflict);
                    sorted.new.push(message);
                }
                Err(error) => {
                    self.forget(&sorted.new, source);
                    return Err(error);
                }
            }
        }
        sorted.duplicates = read - sorted.new.len() as u64;
        Ok(sorted)
    }

    #[inline]
    fn remember(&mut self, message: &Admitted<'_>, fingerprint: u32, source: Source) {
        let Source { origin, audience, now, .. } = source;
        match origin {
            Origin::ForSome => {
                self.holders.insert(message.identity, audience, (message.sequence, fingerprint), now);
            }
            Origin::Bus | Origin::ForAll => self.window.insert_new(message.identity, message.sequence, fingerprint),
        }
        if let (true, Some(known)) = (origin != Origin::Bus, &mut self.known) {
            known.insert(message.identity, message.sequence, fingerprint);
        }
    }

    /// Messages of the bus are in the journal.
    pub(super) fn accepted(&mut self, messages: &[Admitted<'_>]) {
        let Some(known) = &mut self.known else { return };
        for message in messages {
            if known.covers(message.time) {
                known.insert(message.identity, message.sequence, fingerprint(message.original.as_bytes()));
            }
        }
    }

    /// Forgets messages that were not accepted after all. What is fetched is fetched again from the
    /// beginning then.
    pub(super) fn forget(&mut self, messages: &[Admitted<'_>], source: Source) {
        for message in messages {
            match source.origin {
                Origin::ForSome => self.holders.remove(message.identity, source.audience),
                Origin::Bus | Origin::ForAll => self.window.remove(message.identity),
            }
        }
        if source.origin != Origin::Bus {
            self.known = None;
        }
    }

    fn look(&self, identity: Identity, fingerprint: u32, origin: Origin) -> Sight {
        let known = |known: &Known| known.look(identity, fingerprint);
        match origin {
            Origin::Bus => self.window.look(identity, fingerprint),
            Origin::ForSome => self.known.as_ref().map_or(Sight::New, known),
            Origin::ForAll => match self.window.look(identity, fingerprint) {
                Sight::New => self.known.as_ref().map_or(Sight::New, known),
                sight => sight,
            },
        }
    }

    #[inline]
    fn judge(
        &mut self,
        message: &Admitted<'_>,
        fingerprint: u32,
        (source, batch): (Source, &[Admitted<'_>]),
    ) -> Result<Verdict, JournalError> {
        let (identity, is_conflict) = match self.look(message.identity, fingerprint, source.origin) {
            Sight::New => (message.identity, false),
            Sight::Respelled { sequence } if message.has_id => {
                if self.is_same(message, sequence, batch)? {
                    return Ok(Verdict::Known(sequence));
                }
                let identity = content::of_content(&message.id, message.topic, &message.body);
                match self.look(identity, fingerprint, source.origin) {
                    Sight::New => (identity, true),
                    Sight::Same { sequence } | Sight::Respelled { sequence } => return Ok(Verdict::Known(sequence)),
                }
            }
            Sight::Same { sequence } | Sight::Respelled { sequence } => return Ok(Verdict::Known(sequence)),
        };
        let parts = match source.origin {
            Origin::Bus if !self.holders.is_empty() => self.parts(message, identity, fingerprint)?,
            _ => Parts::new(),
        };
        Ok(Verdict::New { identity, is_conflict, parts })
    }

    /// For whom a message of the bus is, where some have it from history; nothing where nobody has.
    #[cold]
    fn parts(&mut self, message: &Admitted<'_>, identity: Identity, fingerprint: u32) -> Result<Parts, JournalError> {
        let mut holders = Parts::new();
        for (audience, sight) in self.holders.of(identity, fingerprint) {
            let has = match sight {
                Sight::New => false,
                Sight::Respelled { sequence } if message.has_id => self.is_same(message, sequence, &[])?,
                Sight::Same { .. } | Sight::Respelled { .. } => true,
            };
            holders.extend(has.then_some(audience));
        }
        Ok(if holders.is_empty() { holders } else { without(Audience::EVERYONE, &holders) })
    }

    /// Whether it says what the message with that sequence says. Where the journal has that one no more,
    /// the id decides.
    #[cold]
    fn is_same(&mut self, message: &Admitted<'_>, sequence: u64, batch: &[Admitted<'_>]) -> Result<bool, JournalError> {
        let this = (message.topic, message.original);
        if let Ok(at) = batch.binary_search_by_key(&sequence, |other| other.sequence) {
            let other = &batch[at];
            return Ok(content::same_content(this, (other.topic, other.original)));
        }
        let Some(chunk) = self.reader.only(sequence)? else { return Ok(true) };
        let is_same = chunk.iter().next().is_none_or(|(_, record)| {
            match (str::from_utf8(record.topic), str::from_utf8(record.body)) {
                (Ok(topic), Ok(body)) => content::same_content(this, (topic, body)),
                _ => true,
            }
        });
        self.reader.recycle(chunk);
        Ok(is_same)
    }

    /// What history has is looked for in here, too, from now on. It holds what the journal has up to
    /// this sequence; the rest is added. False if that cannot be told, see [`History::note`].
    pub(super) fn begin(&mut self, mut history: History, from: u64) -> Result<bool, JournalError> {
        const CHUNK_BYTES: usize = 1 << 20;
        self.reader.seek(from);
        loop {
            let chunk = self.reader.next_chunk(CHUNK_BYTES)?;
            if chunk.is_empty() {
                break;
            }
            history.note(&chunk);
            self.reader.recycle(chunk);
        }
        self.known = history.into_known();
        self.oldest = u64::MAX;
        Ok(self.known.is_some())
    }

    pub(super) fn end(&mut self) {
        self.known = None;
    }

    /// The first sequence of what was fetched, and known already, since it was forgotten last; [`u64::MAX`] if there
    /// was none.
    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }

    pub(super) fn forget_oldest(&mut self) {
        self.oldest = u64::MAX;
    }
}
