//! One instance at its own pace: it folds what comes next, wherever that is.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use statscache_plugin_sdk::{Timestamp, host::FieldSet};

use super::{
    admit::{self, Admission, Slot},
    delta::InstanceDelta,
    instance::Instance,
    live::{Gauge, Live, Shown, Tail, Where},
    router::Router,
};
use crate::{
    history::Mark,
    identity,
    journal::{Chunk, JournalError, Reader},
    limits::PENDING_BYTES_MAX,
};

/// What all runners are asked for: their deltas for the next commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub(super) number: u64,
    /// When it was made.
    pub(super) now: Timestamp,
    /// The sequence of the next message of all, then.
    pub(super) head: u64,
    /// How many claims about coverage had been made.
    pub(super) claims: usize,
}

impl Request {
    /// Its number; a later one has a larger one.
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// Tells of requests and wakes runners.
#[derive(Clone)]
pub struct Bell {
    tail: Arc<Tail>,
}

impl Bell {
    /// Number of the last request. Cheap enough to be asked after each message.
    pub fn asked(&self) -> u64 {
        self.tail.asked()
    }

    /// The request that is open.
    pub fn request(&self) -> Option<Request> {
        self.tail.request()
    }

    /// Wakes all runners that wait; from here on none does.
    pub fn ring(&self) {
        self.tail.close();
    }
}

/// What a step of a [`Runner`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It has moved on.
    Moved,
    /// There is nothing to do: it has everything, or gets nothing any more.
    Idle,
    /// Its delta takes too much memory: it goes on after the next commit.
    Full,
}

/// Folds the messages of one instance. Owned by one thread.
pub struct Runner {
    instance: Instance,
    router: Router,
    tail: Arc<Tail>,
    gauge: Arc<Gauge>,
    reader: Reader,
    /// Finds its own fields, where the journal is read.
    admission: Admission,
    /// For each of its fields, the slot among those of all instances.
    shared_slots: Vec<usize>,
    own_slots: Vec<usize>,
    quarantine_after: u32,
    /// Of the journal, not folded to its end.
    chunk: Option<Chunk>,
    /// The latest horizon that a message was folded by.
    folded_by: Timestamp,
    /// Scratch.
    slots: Vec<Slot>,
}

impl Runner {
    pub(super) fn new(
        instance: Instance,
        shared_slots: Vec<usize>,
        (tail, gauge): (Arc<Tail>, Arc<Gauge>),
        reader: Reader,
        quarantine_after: u32,
    ) -> Self {
        let mut fields = FieldSet::default();
        let own = admit::register(&mut fields, &identity::Naming::default());
        let own_slots = instance.declaration.fields.iter().map(|pointer| fields.insert(pointer)).collect();
        Self {
            router: Router::new(instance.declaration.topics.clone()),
            instance,
            tail,
            gauge,
            reader,
            admission: Admission::new(fields, own, i64::MAX),
            shared_slots,
            own_slots,
            quarantine_after,
            chunk: None,
            folded_by: Timestamp::from_micros(i64::MIN),
            slots: Vec::new(),
        }
    }

    /// The sequence that it wants next.
    pub(super) fn next(&self) -> u64 {
        self.instance.cursor.next
    }

    /// Id of the instance.
    pub fn id(&self) -> &str {
        self.instance.id()
    }

    /// Folds some of what comes next: from memory, or about `max_bytes` of the journal's files. After each
    /// message `pause` is asked whether to leave it there.
    pub fn step(
        &mut self,
        max_bytes: usize,
        now: Timestamp,
        pause: &mut dyn FnMut() -> bool,
    ) -> Result<Step, JournalError> {
        if !self.instance.is_running() || self.gauge.is_stopped.load(Ordering::Relaxed) {
            return Ok(Step::Idle);
        }
        if self.tail.pending_bytes() > PENDING_BYTES_MAX && self.instance.pending_bytes() > 0 {
            return Ok(Step::Full);
        }
        self.instance.set_full(self.tail.is_full());
        let before = self.instance.cursor.next;
        let chunk = self.chunk.take().filter(|chunk| (chunk.first_sequence()..chunk.next_sequence()).contains(&before));
        match chunk {
            Some(chunk) => self.fold_chunk(chunk, now, pause),
            None => match self.tail.place(before) {
                Where::Head => {}
                Where::Live(live) => self.fold_live(&live, now, pause),
                Where::Journal => self.read(max_bytes, now, pause)?,
            },
        }
        self.tell();
        // Nothing to read although the journal says otherwise: do not spin on it.
        Ok(if self.instance.cursor.next == before { Step::Idle } else { Step::Moved })
    }

    /// Waits until there may be something to do: a message, a request newer than `answered`, or a call
    /// of [`Bell::ring`].
    pub fn wait(&self, answered: u64, timeout: Duration) {
        let is_stopped = self.gauge.is_stopped.load(Ordering::Relaxed);
        let next = if is_stopped { u64::MAX } else { self.instance.cursor.next };
        self.tail.wait(next, answered, timeout);
    }

    /// For those who want to know of requests, or to wake it, on whatever thread.
    pub fn bell(&self) -> Bell {
        Bell { tail: self.tail.clone() }
    }

    /// Whether it has everything that was there when that was asked, or gets nothing any more.
    pub fn has_all(&self, request: &Request) -> bool {
        let is_stopped = self.gauge.is_stopped.load(Ordering::Relaxed);
        is_stopped || !self.instance.is_running() || self.instance.cursor.next >= request.head
    }

    /// Hands over what has changed since the last time, if that is still asked. False if it is not.
    pub fn answer(&mut self, request: &Request, hand_over: impl FnOnce(InstanceDelta)) -> bool {
        let tail = self.tail.clone();
        tail.answer(request.number, |request| {
            self.instance.has_read(request.head, request.now);
            let delta = InstanceDelta { folded_by: self.folded_by, ..self.instance.take_delta() };
            self.gauge.label_sets.store(self.instance.memory(), Ordering::Relaxed);
            self.tell();
            hand_over(delta);
        })
    }

    pub(super) fn first_delta(&mut self) -> InstanceDelta {
        self.gauge.label_sets.store(self.instance.memory(), Ordering::Relaxed);
        self.instance.take_delta()
    }

    fn tell(&self) {
        self.gauge.cursor.store(self.instance.cursor.next, Ordering::Release);
        self.gauge.pending.store(self.instance.pending_bytes(), Ordering::Relaxed);
        if !self.instance.is_running() {
            self.gauge.is_stopped.store(true, Ordering::Relaxed);
        }
    }

    fn fold_live(&mut self, live: &Live, now: Timestamp, pause: &mut dyn FnMut() -> bool) {
        let from = (self.instance.cursor.next - live.first) as usize;
        let mut newest = None;
        for (number, message) in live.messages.iter().enumerate().skip(from) {
            let sequence = live.first + number as u64;
            if !message.is_future {
                let shown = live.shown(number);
                if message.is_stamped {
                    newest = newest.max(Some(shown.time));
                }
                if message.audience.has(self.instance.ns()) && self.router.wants(shown.topic) {
                    let horizon = self.instance.horizon(newest, live.received);
                    self.folded_by = self.folded_by.max(horizon);
                    let fields = (&live.slots[..], &self.shared_slots[..]);
                    self.instance.process(&shown, fields, (now, horizon), self.quarantine_after);
                    if !self.instance.is_running() || pause() {
                        return self.instance.reach(sequence + 1, newest, live.received);
                    }
                }
            }
        }
        self.instance.reach(live.next(), newest, live.received);
    }

    fn read(&mut self, max_bytes: usize, now: Timestamp, pause: &mut dyn FnMut() -> bool) -> Result<(), JournalError> {
        if self.reader.next_sequence() != self.instance.cursor.next {
            self.reader.seek(self.instance.cursor.next);
        }
        let chunk = self.reader.next_chunk(max_bytes)?;
        if let Some(gap) = chunk.gap() {
            self.instance.skip(gap.first, gap.last);
        }
        self.fold_chunk(chunk, now, pause);
        Ok(())
    }

    fn fold_chunk(&mut self, chunk: Chunk, now: Timestamp, pause: &mut dyn FnMut() -> bool) {
        let mut slots = std::mem::take(&mut self.slots);
        let mut found = Vec::new();
        let next = self.instance.cursor.next;
        for (sequence, record) in chunk.iter().skip_while(|(sequence, _)| *sequence < next) {
            let (received, time) = (Timestamp::from_micros(record.received), Timestamp::from_micros(record.time));
            let newest = record.is_stamped.then_some(time);
            let is_mine = record.audience.has(self.instance.ns());
            if record.is_mark {
                // One of a later version says nothing to this one.
                if let (true, Ok(mark)) = (is_mine, Mark::decode(record.body)) {
                    self.instance.filled(&mark);
                }
                self.instance.reach(sequence + 1, None, received);
                continue;
            }
            let texts = (str::from_utf8(record.topic), str::from_utf8(record.body));
            let mut wanted = false;
            if let (Ok(topic), Ok(body)) = texts
                && is_mine
                && self.router.wants(topic)
            {
                slots.clear();
                // It was admitted before, by the same rules or by those of an earlier version.
                if let Ok(message) = self.admission.read((topic, body), (received, received), &mut slots, &mut found) {
                    wanted = true;
                    let horizon = self.instance.horizon(newest, received);
                    self.folded_by = self.folded_by.max(horizon);
                    let id = message.id_of(record.identity);
                    let shown = Shown { topic, id: &id, time, body: &message.body, first_slot: 0 };
                    let fields = (&slots[..], &self.own_slots[..]);
                    self.instance.process(&shown, fields, (now, horizon), self.quarantine_after);
                }
            }
            self.instance.reach(sequence + 1, newest, received);
            if !self.instance.is_running() || (wanted && pause()) {
                break;
            }
        }
        self.slots = slots;
        if self.instance.cursor.next < chunk.next_sequence() {
            self.chunk = Some(chunk);
        } else {
            self.reader.recycle(chunk);
        }
    }
}
