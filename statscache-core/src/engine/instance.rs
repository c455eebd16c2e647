//! One instance: a plugin's code, its cursor, and what it has said since the last commit.

use std::sync::Arc;

use statscache_plugin_sdk::{Declaration, Message, Resolution, Timestamp, abi::FieldValue, host::Sink};

use super::{
    admit::Slot,
    delta::{InstanceDelta, Recorded, Recorder},
    live::Shown,
};
use crate::{
    bytes::Corrupt,
    coverage::{Reading, Seen},
    history::Mark,
    limits::Limits,
    series::SeriesTable,
    store::{Cursor, Namespace, NamespaceId, NamespaceRecord, NamespaceState},
    view::InstanceState,
};

/// A plugin's code, on whatever side of a boundary it runs.
pub trait Processor: Send {
    /// Says what one message means. After an error nothing that went into the sink counts.
    fn process(&mut self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), Failure>;
}

/// Why a message could not be processed, for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// What the engine needs to run an instance.
pub struct InstanceSpec {
    /// Its id.
    pub id: String,
    /// Its plugin's id.
    pub plugin: String,
    /// What its numbers depend on besides its metrics: state version and configuration.
    pub fingerprint: String,
    /// What it declared.
    pub declaration: Arc<Declaration>,
    /// Its code.
    pub processor: Box<dyn Processor>,
    /// What it is started for.
    pub role: Role,
}

/// What an instance is started for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// To be what its id stands for.
    #[default]
    Present,
    /// The same, in a state of its own made anew from the journal, because the one that is there is damaged.
    Rebuilt,
    /// To go on with the state that serves until another has taken its place; if none is to, it is not
    /// started.
    Predecessor,
}

impl InstanceSpec {
    /// What the store is to know of it.
    pub fn namespace_record(&self, state: NamespaceState) -> NamespaceRecord {
        NamespaceRecord {
            instance: self.id.clone(),
            plugin: self.plugin.clone(),
            fingerprint: self.fingerprint.clone(),
            metrics: self.declaration.metrics.clone(),
            state,
        }
    }
}

/// Microseconds.
const SECOND: i64 = 1_000_000;

pub(super) struct Instance {
    id: String,
    ns: NamespaceId,
    pub(super) declaration: Arc<Declaration>,
    processor: Box<dyn Processor>,
    pub(super) cursor: Cursor,
    reading: Reading,
    /// It goes on behind a gap of the journal.
    has_skipped: bool,
    /// The seconds of what it failed on since the reading was moved last.
    failed: Vec<Timestamp>,
    state: InstanceState,
    failures_in_a_row: u32,
    recorder: Recorder,
}

impl Instance {
    pub(super) fn new(
        spec: InstanceSpec,
        ns: NamespaceId,
        namespace: &Namespace,
        reading: Reading,
        limits: &Limits,
    ) -> Result<Self, Corrupt> {
        let mut metrics = Vec::with_capacity(namespace.series.len());
        for (descriptor, chunks) in spec.declaration.metrics.iter().zip(&namespace.series) {
            let table = SeriesTable::restore(descriptor.dimensions.len(), limits.series_per_metric, chunks)?;
            metrics.push((descriptor.clone(), table));
        }
        let interned = spec.declaration.interned_labels.clone();
        Ok(Self {
            ns,
            recorder: Recorder::new(metrics.into_iter(), interned, limits),
            id: spec.id,
            declaration: spec.declaration,
            processor: spec.processor,
            cursor: namespace.cursor,
            reading,
            has_skipped: false,
            failed: Vec::new(),
            state: InstanceState::Running,
            failures_in_a_row: 0,
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn ns(&self) -> NamespaceId {
        self.ns
    }

    pub(super) fn is_running(&self) -> bool {
        self.state == InstanceState::Running
    }

    pub(super) fn pending_bytes(&self) -> usize {
        self.recorder.bytes()
    }

    pub(super) fn memory(&self) -> usize {
        self.recorder.memory()
    }

    pub(super) fn set_full(&mut self, is_full: bool) {
        self.recorder.set_full(is_full);
    }

    /// Hands it a message. Its fields are in `slots`, for each the one that
    /// `slot_of` names.
    pub(super) fn process(
        &mut self,
        message: &Shown<'_>,
        (slots, slot_of): (&[Slot], &[usize]),
        (now, horizon): (Timestamp, Timestamp),
        quarantine_after: u32,
    ) {
        const FEW: usize = 16;
        let (mut few, mut many) = ([FieldValue::NONE; FEW], Vec::new());
        let fields = match slot_of.len() {
            len @ ..=FEW => &mut few[..len],
            len => {
                many.resize(len, FieldValue::NONE);
                &mut many[..]
            }
        };
        for (field, slot) in fields.iter_mut().zip(slot_of) {
            *field = slots[message.first_slot + slot].of(message.body).into();
        }
        self.cursor.processed += 1;
        let result = self
            .processor
            .process(&Message::new(message.topic, message.id, message.time, message.body, fields), &mut self.recorder);
        let result = match result {
            Ok(()) => self.recorder.finish(message.id, message.time, horizon).map_err(Failure),
            Err(failure) => {
                self.recorder.discard();
                Err(failure)
            }
        };
        match result {
            Ok(recorded) => {
                self.count(recorded);
                self.failures_in_a_row = 0;
            }
            Err(failure) => self.failed(message.time, &failure, now, quarantine_after),
        }
    }

    /// The present as the message sees it: the newest event up to it, `newest` of those behind the
    /// cursor, or the time at which it came in if that is earlier. What is late by that is late
    /// whenever and however often it is folded.
    pub(super) fn horizon(&self, newest: Option<Timestamp>, received: Timestamp) -> Timestamp {
        self.cursor.watermark.max(newest).map_or(received, |newest| newest.min(received))
    }

    fn count(&mut self, recorded: Recorded) {
        let Recorded { updates, limited, folded, refused, late, too_late } = recorded;
        let cursor = &mut self.cursor;
        for (counter, n) in [
            (&mut cursor.updates, updates),
            (&mut cursor.limited, limited),
            (&mut cursor.folded, folded),
            (&mut cursor.refused, refused),
            (&mut cursor.late, late),
            (&mut cursor.too_late, too_late),
        ] {
            *counter += n;
        }
    }

    fn failed(&mut self, time: Timestamp, failure: &Failure, now: Timestamp, quarantine_after: u32) {
        self.cursor.failed += 1;
        let second = time.floor(Resolution::SECOND);
        if self.failed.last() != Some(&second) {
            self.failed.push(second);
        }
        self.failures_in_a_row += 1;
        if quarantine_after > 0 && self.failures_in_a_row >= quarantine_after {
            self.state = InstanceState::Quarantined { reason: failure.to_string(), since: now };
        }
    }

    /// It has seen everything before this sequence; `newest` is the newest event
    /// time of that, `received` the time at which the last of it came in.
    pub(super) fn reach(&mut self, next: u64, newest: Option<Timestamp>, received: Timestamp) {
        self.cursor.next = next;
        self.cursor.watermark = self.cursor.watermark.max(newest);
        match std::mem::take(&mut self.has_skipped) {
            true => self.reading.skip(received),
            false => self.reading.advance(received),
        }
        if !self.failed.is_empty() {
            // The second in which it came: what a failing plugin leaves out is not nothing.
            self.reading.doubt(received.floor(Resolution::SECOND).plus_micros(-1), received);
        }
        for second in self.failed.drain(..) {
            self.reading.lack(second, second.plus_micros(SECOND));
        }
    }

    /// The journal ends before this sequence, and is up to date.
    pub(super) fn has_read(&mut self, head: u64, now: Timestamp) {
        if self.is_running() && self.cursor.next >= head {
            match std::mem::take(&mut self.has_skipped) {
                true => self.reading.skip(now),
                false => self.reading.has_read_all(now),
            }
        }
    }

    /// The journal has nothing between these sequences, both included.
    pub(super) fn skip(&mut self, first: u64, last: u64) {
        if (first..=last).contains(&self.cursor.next) {
            self.cursor.missed += last + 1 - self.cursor.next;
            self.cursor.next = last + 1;
            self.cursor.since = last + 1;
            self.has_skipped = true;
        }
    }

    /// It has passed a mark: what history has of that time is in its state, if it has read all of the
    /// records that the mark speaks of.
    pub(super) fn filled(&mut self, mark: &Mark) {
        let seen = if self.cursor.since <= mark.first { mark.seen } else { Seen::Part };
        self.reading.fill(mark.start, mark.end, seen);
    }

    pub(super) fn take_delta(&mut self) -> InstanceDelta {
        InstanceDelta {
            instance: self.id.clone(),
            ns: self.ns,
            declaration: self.declaration.clone(),
            cursor: self.cursor,
            reading: self.reading.clone(),
            state: self.state.clone(),
            folded_by: Timestamp::from_micros(i64::MIN),
            metrics: self.recorder.take(),
        }
    }
}
