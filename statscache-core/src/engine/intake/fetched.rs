//! Messages that were fetched from a history service, on their way into the journal.

use statscache_plugin_sdk::Timestamp;

use super::{
    super::{admit::Admitted, dedupe::Origin, live::Live},
    Intake, Offered,
    spans::Span,
};
use crate::{
    history::{History, Mark},
    journal::{JournalError, Record},
};

/// What became of messages that were fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// They are in the journal now.
    pub accepted: u64,
    /// They were there already.
    pub duplicates: u64,
    /// They are of other times, or do not say of which.
    pub unwanted: u64,
    /// They are malformed.
    pub rejected: u64,
}

impl Intake {
    /// Whether a message that was fetched is of a time that is to be fetched.
    pub(super) fn is_wanted(&self, message: &Admitted<'_>) -> bool {
        message.is_stamped && self.dedupe.known().is_some_and(|known| known.covers(message.time))
    }

    /// Begins to take history for some times and instances. `history` has taken note of the journal up to
    /// this sequence. False if it cannot be told what is missing ([`History::note`]).
    pub fn begin_history(&mut self, history: History, noted: u64) -> Result<bool, JournalError> {
        self.fetching = Some(history.audience());
        let can = self.dedupe.begin(history, noted)?;
        if !can {
            self.fetching = None;
        }
        Ok(can)
    }

    /// Takes no more history.
    pub fn end_history(&mut self) {
        self.dedupe.end();
        self.fetching = None;
    }

    /// Takes messages that were fetched, those of them that are missing. Says what became of them; none
    /// if it was not begun, or has to be begun again.
    pub fn ingest_history(
        &mut self,
        messages: &[(String, String)],
        now: Timestamp,
    ) -> Result<Option<Fetched>, JournalError> {
        let (Some(audience), true) = (self.fetching, self.dedupe.known().is_some()) else { return Ok(None) };
        let (mut text, mut spans) = (String::new(), Vec::with_capacity(messages.len()));
        for (position, (topic, body)) in messages.iter().enumerate() {
            let start = text.len();
            text.push_str(topic);
            text.push_str(body);
            spans.push(Span { position, start, middle: start + topic.len(), end: text.len() });
        }
        let first = self.journal.next_sequence();
        let origin = if audience.is_everyone() { Origin::ForAll } else { Origin::ForSome };
        let offered = self.offer(&text, &spans, (Vec::new(), Vec::new()), (origin, audience, now))?;
        self.counters.add(&offered.counters);
        let Offered { messages, slots, rejected, counters } = offered;
        self.publish(Live { first, received: now, text, messages, slots });
        Ok(Some(Fetched {
            accepted: counters.fetched,
            duplicates: counters.duplicates,
            unwanted: counters.unwanted,
            rejected: rejected.len() as u64,
        }))
    }

    /// The sequence of the next message.
    pub fn next_sequence(&self) -> u64 {
        self.journal.next_sequence()
    }

    /// Says in the journal that everything of this time has been fetched. False if it was not begun. What was fetched
    /// and was there already counts towards the mark's first sequence.
    pub fn mark(&mut self, mark: &Mark, now: Timestamp) -> Result<bool, JournalError> {
        let Some(audience) = self.fetching else { return Ok(false) };
        let body = Mark { first: mark.first.min(self.dedupe.oldest()), ..*mark }.encode();
        self.journal.push(&Record {
            received: now.micros(),
            time: mark.end.micros(),
            audience,
            is_mark: true,
            body: &body,
            ..Record::default()
        });
        if let Err(error) = self.journal.write() {
            self.journal.discard();
            return Err(error);
        }
        self.dedupe.forget_oldest();
        self.tail.push(None, self.journal.next_sequence());
        Ok(true)
    }
}
