//! Messages in: read, known or new, written to the journal. The single writer of it.

mod fetched;
mod spans;

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use statscache_plugin_sdk::Timestamp;

use super::{
    Counters, PendingCommit,
    admit::{Admission, Admitted, Rejection, Slot},
    dedupe::{Dedupe, Origin, Sorted, Source},
    delta::InstanceDelta,
    live::{Live, LiveMessage, Spare, Tail, Where},
    runner::Request,
};
use crate::{
    coverage::Claim,
    journal::{Audience, Gap, Journal, JournalError, JournalHandle, Record},
    limits::Limits,
    store::{Namespace, NamespaceId, NamespaceState},
    view::InstanceState,
};

pub use fetched::Fetched;
use spans::{Span, only_text, spans};

/// Messages as they came, one behind the other.
pub struct Incoming<'b> {
    /// topic, body, topic, body, …; taken, and replaced by memory to fill again, if they are accepted.
    pub data: &'b mut Vec<u8>,
    /// Lengths of topic and body.
    pub index: &'b [(usize, usize)],
}

/// Told of messages that were not admitted: position in the batch, why, topic and body.
pub type Reject<'r> = dyn FnMut(usize, Rejection, (&[u8], &[u8])) + 'r;

/// Who is to read messages.
const NOBODY: Audience = Audience { first: 1, last: 0 };

/// Admits messages and writes them to the journal.
pub struct Intake {
    pub(super) journal: Journal,
    pub(super) limits: Limits,
    admission: Admission,
    dedupe: Dedupe,
    pub(super) tail: Arc<Tail>,
    counters: Counters,
    commit: u64,
    /// Newest event time. Retention goes by it, or by the present if that is earlier: a clock that
    /// jumps ahead drops nothing.
    newest: Option<Timestamp>,
    /// Whether messages say themselves when they happened: then those that do not leave `newest` alone,
    /// because they have their time from our clock.
    is_stamped: bool,
    /// The latest horizon that a message was folded by: a commit keeps no less than that.
    folded_by: Timestamp,
    /// The latest time of arrival. A clock behind it is wrong, and no measure of what is in the future.
    arrived: Timestamp,
    /// What was learnt about coverage since the last commit, in order.
    claims: Vec<Claim>,
    /// Of each runner, in the order of the gauges.
    places: Vec<Place>,
    /// What was built takes nobody's place but by order.
    is_held: bool,
    /// Instances for which that order was given.
    released: BTreeSet<String>,
    /// Namespaces for which history is still fetched.
    unfilled: BTreeSet<NamespaceId>,
    /// For whom history is being fetched.
    fetching: Option<Audience>,
    /// As accounted last.
    memory: usize,
    ahead: Option<Gap>,
}

/// How far a namespace has come.
pub(super) struct Place {
    ns: NamespaceId,
    /// Cursors of what was handed over last, and of what was written last.
    pub(super) taken: u64,
    written: u64,
    /// The instance whose state it is to become.
    builds: Option<String>,
    /// The instance that it serves.
    serves: Option<String>,
}

impl Place {
    pub(super) fn of(ns: NamespaceId, namespace: &Namespace) -> Self {
        let (id, next) = (Some(namespace.record.instance.clone()), namespace.cursor.next);
        let (builds, serves) = match namespace.record.state {
            NamespaceState::Building => (id, None),
            _ => (None, id),
        };
        Self { ns, taken: next, written: next, builds, serves }
    }
}

/// What the engine has found out before it starts.
pub(super) struct Found {
    pub(super) commit: u64,
    pub(super) newest: Option<Timestamp>,
    pub(super) arrived: Timestamp,
    pub(super) ahead: Option<Gap>,
}

/// What became of a batch before it is written.
struct Offered {
    messages: Vec<LiveMessage>,
    slots: Vec<Slot>,
    rejected: Vec<(usize, Rejection)>,
    counters: Counters,
}

impl Intake {
    pub(super) fn new(
        journal: Journal,
        limits: Limits,
        (admission, dedupe): (Admission, Dedupe),
        tail: Arc<Tail>,
        places: Vec<Place>,
        found: Found,
    ) -> Self {
        let Found { commit, newest, arrived, ahead } = found;
        Self {
            journal,
            limits,
            admission,
            dedupe,
            tail,
            counters: Counters::default(),
            commit,
            newest,
            is_stamped: false,
            folded_by: Timestamp::from_micros(i64::MIN),
            arrived,
            claims: Vec::new(),
            places,
            is_held: false,
            released: BTreeSet::new(),
            fetching: None,
            unfilled: BTreeSet::new(),
            memory: 0,
            ahead,
        }
    }

    /// Admits messages and writes them to the journal in one go; runners take them from there.
    ///
    /// If the journal cannot be written, nothing of the batch has happened; it can be offered again.
    pub fn ingest(
        &mut self,
        incoming: Incoming<'_>,
        now: Timestamp,
        reject: &mut Reject<'_>,
    ) -> Result<(), JournalError> {
        let (text, spans, mut rejected) = match String::from_utf8(std::mem::take(incoming.data)) {
            Ok(text) => {
                let (spans, rejected) = spans(&text, incoming.index);
                (text, spans, rejected)
            }
            Err(error) => {
                *incoming.data = error.into_bytes();
                only_text(incoming.data, incoming.index)
            }
        };
        let Spare { text: spare, messages, slots } = self.tail.spare();
        let first = self.journal.next_sequence();
        let source = (Origin::Bus, Audience::EVERYONE, now);
        let offered = match self.offer(&text, &spans, (messages, slots), source) {
            Ok(offered) => offered,
            Err(error) => {
                // Where something was no text, the bytes have stayed.
                if incoming.data.is_empty() {
                    *incoming.data = text.into_bytes();
                }
                return Err(error);
            }
        };
        rejected.extend(offered.rejected);
        rejected.sort_unstable_by_key(|(position, _)| *position);
        let bytes = if incoming.data.is_empty() { text.as_bytes() } else { &incoming.data[..] };
        for (position, why) in rejected {
            let start: usize = incoming.index[..position].iter().map(|(topic, body)| topic + body).sum();
            let (topic, body) = incoming.index[position];
            reject(position, why, bytes[start..start + topic + body].split_at(topic));
        }
        *incoming.data = spare;
        self.counters.add(&offered.counters);
        let Offered { messages, slots, .. } = offered;
        self.publish(Live { first, received: now, text, messages, slots });
        Ok(())
    }

    fn publish(&mut self, live: Live) {
        let live = (!live.messages.is_empty()).then_some(live);
        self.tail.push(live, self.journal.next_sequence());
    }

    /// Reads messages, and writes those that are new to the journal.
    fn offer(
        &mut self,
        text: &str,
        spans: &[Span],
        (mut messages, mut slots): (Vec<LiveMessage>, Vec<Slot>),
        (origin, audience, now): (Origin, Audience, Timestamp),
    ) -> Result<Offered, JournalError> {
        self.arrived = self.arrived.max(now);
        let (mut found, mut rejected) = (Vec::new(), Vec::new());
        let mut admitted: Vec<Admitted<'_>> = Vec::with_capacity(spans.len());
        let mut counters = Counters::default();
        for span in spans {
            let message = (&text[span.start..span.middle], &text[span.middle..span.end]);
            match self.admission.read(message, (now, self.arrived), &mut slots, &mut found) {
                Ok(message) if origin != Origin::Bus && !self.is_wanted(&message) => counters.unwanted += 1,
                Ok(message) => admitted.push(message),
                Err(rejection) => rejected.push((span.position, rejection)),
            }
        }
        let source = Source { origin, audience, first: self.journal.next_sequence(), now: now.micros() };
        let Sorted { new, duplicates, id_conflicts } = self.dedupe.sort(admitted, source)?;
        (counters.duplicates, counters.id_conflicts) = (duplicates, id_conflicts);
        let reaches_back = now.plus_micros(-self.limits.dedupe_window);
        for message in &new {
            counters.repaired += u64::from(message.is_repaired());
            counters.future += u64::from(message.is_future);
            counters.unchecked += u64::from(origin == Origin::Bus && message.time < reaches_back);
            let is_stamped = !message.is_future && self.note(message.time, message.is_stamped);
            let parts = if message.parts.is_empty() { std::slice::from_ref(&audience) } else { &message.parts };
            for part in parts {
                self.journal.push(&Record {
                    received: now.micros(),
                    time: message.time.micros(),
                    identity: message.identity,
                    audience: if message.is_future { NOBODY } else { *part },
                    is_stamped,
                    is_mark: false,
                    topic: message.topic.as_bytes(),
                    body: message.original.as_bytes(),
                });
                messages.push(LiveMessage::new(text, message, is_stamped, *part));
            }
        }
        if let Err(error) = self.journal.write() {
            self.journal.discard();
            self.dedupe.forget(&new, source);
            return Err(error);
        }
        if origin == Origin::Bus {
            self.dedupe.accepted(&new);
            counters.accepted = new.len() as u64;
        } else {
            counters.fetched = new.len() as u64;
        }
        self.counters.forgotten_early = self.dedupe.window().forgotten_early;
        Ok(Offered { messages, slots, rejected, counters })
    }

    /// Takes note of an event, unless our clock has dated it although others date their own.
    fn note(&mut self, time: Timestamp, is_stamped: bool) -> bool {
        self.is_stamped |= is_stamped;
        let counts = is_stamped || !self.is_stamped;
        if counts {
            self.newest = self.newest.max(Some(time));
        }
        counts
    }

    /// Says when the bus was seen, and how much of it. Everything that was received until the end of
    /// what is claimed has been offered to [`Intake::ingest`] by now.
    pub fn cover(&mut self, claim: Claim) {
        self.claims.push(claim);
    }

    /// Asks all runners for what has changed. Do so about once a second, whether or not something
    /// came in: the view says as of when it is. [`Intake::commit`] follows.
    pub fn request(&mut self, now: Timestamp) -> Request {
        self.commit += 1;
        let request =
            Request { number: self.commit, now, head: self.journal.next_sequence(), claims: self.claims.len() };
        self.tail.ask(request);
        request
    }

    /// Waits no longer for those that have not answered: from here on none does.
    pub fn withdraw(&self) {
        self.tail.withdraw();
    }

    /// Puts a commit together of what runners have handed over since the last one; of those that have
    /// not there is nothing new in it.
    pub fn commit(&mut self, request: &Request, deltas: Vec<InstanceDelta>) -> PendingCommit {
        let mut promotions = Vec::new();
        for delta in &deltas {
            self.folded_by = self.folded_by.max(delta.folded_by);
            self.newest = self.newest.max(delta.cursor.watermark);
            if let Some(place) = self.places.iter_mut().find(|place| place.ns == delta.ns) {
                place.taken = delta.cursor.next;
            }
            let is_whole = delta.state == InstanceState::Running && delta.cursor.next >= request.head;
            if is_whole && self.promote(delta.ns) {
                promotions.push(delta.ns);
            }
        }
        let mut journal = self.journal.stats();
        journal.next = request.head.max(journal.first);
        PendingCommit {
            number: request.number,
            now: request.now,
            horizon: self.horizon(request.now),
            claims: self.claims.drain(..request.claims).collect(),
            is_last: false,
            journal,
            ticket: self.journal.dirty(),
            instances: deltas,
            promotions,
        }
    }

    /// Whether this namespace, which has caught up, takes the place of the one that serves. That one gets
    /// no more messages.
    fn promote(&mut self, ns: NamespaceId) -> bool {
        let Some(built) = self.places.iter_mut().find(|place| place.ns == ns) else { return false };
        let by_itself = !self.is_held && !self.unfilled.contains(&ns);
        let may = |id: &String| by_itself || self.released.contains(id);
        let Some(id) = built.builds.take_if(|id| may(id)) else { return false };
        for (gauge, place) in self.tail.gauges().iter().zip(&mut self.places) {
            if place.serves.take_if(|serves| *serves == id).is_some() {
                gauge.is_stopped.store(true, Ordering::Relaxed);
            }
            if place.ns == ns {
                place.serves = Some(id.clone());
            }
        }
        true
    }

    /// Whether what was built waits for an order to take its place.
    pub fn hold(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// The order: what is built for this instance takes its place as soon as it has read the journal,
    /// whatever of history is still to come. False if nothing is built for it.
    pub fn release(&mut self, id: &str) -> bool {
        let is_built = self.places.iter().any(|place| place.builds.as_deref() == Some(id));
        if is_built {
            self.released.insert(id.to_owned());
        }
        is_built
    }

    /// History may have to be fetched for all that is being built: until [`Intake::set_unfilled`] says for
    /// whom, nobody's place is taken.
    pub fn await_history(&mut self) {
        self.unfilled = self.places.iter().filter(|place| place.builds.is_some()).map(|place| place.ns).collect();
    }

    /// Namespaces for which history is still fetched: they take nobody's place by themselves until it is
    /// there.
    pub fn set_unfilled(&mut self, unfilled: BTreeSet<NamespaceId>) {
        self.unfilled = unfilled;
    }

    /// The commit that was put together last is written.
    pub fn commit_written(&mut self) {
        self.places.iter_mut().for_each(|place| place.written = place.taken);
    }

    /// The present as retention sees it: not later than the newest event.
    pub(super) fn horizon(&self, now: Timestamp) -> Timestamp {
        self.newest.map_or(now, |newest| newest.min(now)).max(self.folded_by)
    }

    /// Drops what the journal keeps no longer; says how many segments. What an instance has folded
    /// and no commit holds yet stays: a crash would lose it. One that lags so far that the journal
    /// would become a quarter too large is not waited for.
    pub fn retain(&mut self, now: Timestamp) -> Result<usize, JournalError> {
        let retain_bytes = self.journal.config().retain_bytes;
        let is_large = self.journal.stats().bytes > retain_bytes.saturating_add(retain_bytes / 4);
        let mut keep_from = u64::MAX;
        for (gauge, place) in self.tail.gauges().iter().zip(&self.places) {
            let cursor = gauge.cursor.load(Ordering::Acquire);
            let lags = matches!(self.tail.place(cursor), Where::Journal);
            let is_stopped = gauge.is_stopped.load(Ordering::Relaxed) && place.serves.is_none();
            if place.written < cursor && !is_stopped && !(is_large && lags) {
                keep_from = keep_from.min(place.written);
            }
        }
        Ok(self.journal.retain(now.micros(), keep_from)?.len())
    }

    /// Memory of what waits for the next commit, about.
    pub fn pending_bytes(&self) -> usize {
        self.tail.pending_bytes()
    }

    /// Folds new label sets if the memory of label sets and deltas, together with that of the view, is
    /// beyond its bound; takes them again when a twentieth of it is free. Says whether it folds them.
    pub fn bound_memory(&mut self, view: usize) -> bool {
        let own: usize = self.tail.gauges().iter().map(|gauge| gauge.memory()).sum();
        self.memory = own + view;
        let max = self.limits.memory_bytes;
        let is_full = if self.is_full() { self.memory > max - max / 20 } else { self.memory > max };
        self.tail.set_full(is_full);
        is_full
    }

    /// Whether new label sets are folded because of the memory.
    pub fn is_full(&self) -> bool {
        self.tail.is_full()
    }

    /// Memory as of the last [`Intake::bound_memory`], and its bound, bytes.
    pub fn memory(&self) -> (usize, usize) {
        (self.memory, self.limits.memory_bytes)
    }

    /// Sequences that the state has seen and the journal did not hold when they were put together:
    /// somebody removed the journal, or restored an old one. Instances that lagged have missed them.
    pub fn ahead_of_journal(&self) -> Option<&Gap> {
        self.ahead.as_ref()
    }

    /// What became of messages.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The journal, to start another engine on it.
    pub fn into_journal(self) -> Journal {
        self.journal
    }

    /// For whoever reads the journal besides.
    pub fn journal(&self) -> JournalHandle {
        self.journal.handle()
    }
}
