//! One instance: a plugin's code, its cursor, and what it has said since the last commit.

use std::sync::Arc;

use statscache_plugin_sdk::{
    Declaration, Message, Resolution, Timestamp,
    abi::FieldValue,
    host::{FieldSet, Sink},
};

use super::{
    admit::{Admitted, Slot},
    delta::{InstanceDelta, Recorded, Recorder},
    message_for,
};
use crate::{
    bytes::Corrupt,
    coverage::Reading,
    limits::Limits,
    series::SeriesTable,
    store::{Cursor, Namespace, NamespaceId, NamespaceRecord},
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
}

impl InstanceSpec {
    pub(super) fn namespace_record(&self) -> NamespaceRecord {
        NamespaceRecord {
            instance: self.id.clone(),
            plugin: self.plugin.clone(),
            fingerprint: self.fingerprint.clone(),
            metrics: self.declaration.metrics.clone(),
        }
    }
}

pub(super) struct Instance {
    id: String,
    ns: NamespaceId,
    pub(super) declaration: Arc<Declaration>,
    processor: Box<dyn Processor>,
    pub(super) cursor: Cursor,
    /// Cursors of the last commit taken, and of the last one written.
    pub(super) taken: u64,
    pub(super) committed: u64,
    reading: Reading,
    /// It goes on behind a gap of the journal.
    has_skipped: bool,
    /// It failed on something since the reading was moved last.
    has_failed: bool,
    state: InstanceState,
    failures_in_a_row: u32,
    /// For each of its fields, the slot among those of all plugins.
    slots: Vec<usize>,
    recorder: Recorder,
}

impl Instance {
    pub(super) fn new(
        spec: InstanceSpec,
        ns: NamespaceId,
        namespace: &Namespace,
        reading: Reading,
        fields: &mut FieldSet,
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
            slots: spec.declaration.fields.iter().map(|pointer| fields.insert(pointer)).collect(),
            recorder: Recorder::new(metrics.into_iter(), interned, limits),
            id: spec.id,
            declaration: spec.declaration,
            processor: spec.processor,
            cursor: namespace.cursor,
            taken: namespace.cursor.next,
            committed: namespace.cursor.next,
            reading,
            has_skipped: false,
            has_failed: false,
            state: InstanceState::Running,
            failures_in_a_row: 0,
        })
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

    /// Hands it the message with this sequence, whose fields are in `slots`.
    pub(super) fn process(
        &mut self,
        (sequence, message): (u64, &Admitted<'_>),
        slots: &[Slot],
        (now, horizon): (Timestamp, Timestamp),
        quarantine_after: u32,
    ) {
        const FEW: usize = 16;
        let (mut few, mut many) = ([FieldValue::NONE; FEW], Vec::new());
        let fields = match self.slots.len() {
            len @ ..=FEW => &mut few[..len],
            len => {
                many.resize(len, FieldValue::NONE);
                &mut many[..]
            }
        };
        for (field, slot) in fields.iter_mut().zip(&self.slots) {
            *field = slots[message.first_slot + slot].of(&message.body).into();
        }
        self.cursor.processed += 1;
        let result = self.processor.process(&message_for(message, fields), &mut self.recorder);
        let result = match result {
            Ok(()) => self.recorder.finish(&message.id, message.time, horizon).map_err(Failure),
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
            Err(failure) => self.failed(sequence, &failure, now, quarantine_after),
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

    fn failed(&mut self, sequence: u64, failure: &Failure, now: Timestamp, quarantine_after: u32) {
        self.cursor.failed += 1;
        self.has_failed = true;
        self.failures_in_a_row += 1;
        if quarantine_after > 0 && self.failures_in_a_row >= quarantine_after {
            self.state = InstanceState::Quarantined { reason: failure.to_string(), since: now };
            self.cursor.next = sequence + 1;
        }
    }

    /// It has seen everything before this sequence, if it still runs; `newest` is the newest event
    /// time of that, `received` the time at which the last of it came in.
    pub(super) fn reach(&mut self, next: u64, newest: Option<Timestamp>, received: Timestamp) {
        if !self.is_running() {
            return;
        }
        self.cursor.next = next;
        self.cursor.watermark = self.cursor.watermark.max(newest);
        match std::mem::take(&mut self.has_skipped) {
            true => self.reading.skip(received),
            false => self.reading.advance(received),
        }
        if std::mem::take(&mut self.has_failed) {
            // The second in which it came: what a failing plugin leaves out is not nothing.
            self.reading.doubt(received.floor(Resolution::SECOND).plus_micros(-1), received);
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
            self.has_skipped = true;
        }
    }

    pub(super) fn take_delta(&mut self) -> InstanceDelta {
        InstanceDelta {
            instance: self.id.clone(),
            ns: self.ns,
            declaration: self.declaration.clone(),
            cursor: self.cursor,
            reading: self.reading.clone(),
            state: self.state.clone(),
            metrics: self.recorder.take(),
        }
    }
}
