//! What is found out when the engine starts: which namespace is whose, what was received last.

use std::collections::BTreeMap;

use statscache_plugin_sdk::Timestamp;

use super::{
    holders::Holders,
    instance::{InstanceSpec, Role},
};
use crate::{
    identity::{fingerprint, window::Window},
    journal::{Audience, Journal, JournalError, Reader, Record},
    limits::Limits,
    store::{Batch, Cursor, Namespace, NamespaceId, NamespaceRecord, NamespaceState, Store, StoreError},
};

/// Who has which state.
#[derive(Default)]
pub(super) struct Assigned {
    /// Instances that run.
    pub(super) running: Vec<(InstanceSpec, NamespaceId, Namespace)>,
    /// Those that serve what they have until another takes their place: their code is gone.
    pub(super) frozen: Vec<(NamespaceId, Namespace)>,
    /// Those whose place was taken, and when.
    pub(super) retired: Vec<(NamespaceId, Timestamp)>,
}

/// Finds the namespace of each instance, or makes one: at the journal's beginning, beside the one that
/// serves, if there is one.
pub(super) fn assign_namespaces(
    store: &Store,
    (existing, next): (BTreeMap<NamespaceId, Namespace>, NamespaceId),
    specs: Vec<InstanceSpec>,
    first_sequence: u64,
    now: Timestamp,
) -> Result<Assigned, StoreError> {
    let mut finding = Finding { existing, next, first_sequence, now, batch: Batch::default(), left: Vec::new() };
    let mut assigned = Assigned::default();
    let (predecessors, present): (Vec<_>, Vec<_>) = specs.into_iter().partition(|spec| spec.role == Role::Predecessor);
    finding.settle_old_ones(&present);
    let mut waiting = Vec::new();
    for spec in present {
        let (ns, namespace) = finding.of(&spec);
        if namespace.record.state == NamespaceState::Building {
            waiting.push(spec.id.clone());
        }
        assigned.running.push((spec, ns, namespace));
    }
    for id in waiting {
        let Some((ns, namespace)) = finding.serving(&id).and_then(|ns| finding.existing.remove_entry(&ns)) else {
            continue;
        };
        let code = predecessors
            .iter()
            .position(|spec| spec.namespace_record(NamespaceState::Serving).counts_as(&namespace.record));
        match code {
            Some(_) => finding.left.push((ns, namespace)),
            None => assigned.frozen.push((ns, namespace)),
        }
    }
    for spec in predecessors {
        let record = spec.namespace_record(NamespaceState::Serving);
        if let Some(at) = finding.left.iter().position(|(_, left)| left.record.counts_as(&record)) {
            let (ns, namespace) = finding.left.swap_remove(at);
            assigned.running.push((spec, ns, namespace));
        }
    }
    let retired = finding.existing.iter().filter_map(|(ns, namespace)| match namespace.record.state {
        NamespaceState::Retired { since } => Some((*ns, since)),
        _ => None,
    });
    assigned.retired = retired.collect();
    if !finding.batch.is_empty() {
        store.apply(&finding.batch)?;
        store.sync()?;
    }
    Ok(assigned)
}

struct Finding {
    existing: BTreeMap<NamespaceId, Namespace>,
    next: NamespaceId,
    first_sequence: u64,
    now: Timestamp,
    batch: Batch,
    left: Vec<(NamespaceId, Namespace)>,
}

impl Finding {
    /// The namespace that serves for an instance.
    fn serving(&self, id: &str) -> Option<NamespaceId> {
        let mut serving = self.existing.iter().filter(|(_, namespace)| {
            namespace.record.instance == id && namespace.record.state == NamespaceState::Serving
        });
        serving.next_back().map(|(ns, _)| *ns)
    }

    /// Before there were states, all that were kept were as if they served: the one that is wanted does,
    /// else the newest. And what was being built, and is not wanted any more, is as good as retired.
    fn settle_old_ones(&mut self, present: &[InstanceSpec]) {
        let records: Vec<_> = present.iter().map(|spec| spec.namespace_record(NamespaceState::Serving)).collect();
        let mut best: BTreeMap<String, (bool, NamespaceId)> = BTreeMap::new();
        let serving = self.existing.iter().filter(|(_, it)| it.record.state == NamespaceState::Serving);
        for (ns, namespace) in serving {
            let is_wanted = records.iter().any(|record| record.counts_as(&namespace.record));
            let known = best.entry(namespace.record.instance.clone()).or_insert((is_wanted, *ns));
            *known = (*known).max((is_wanted, *ns));
        }
        for (ns, namespace) in &mut self.existing {
            let is_over = match namespace.record.state {
                NamespaceState::Serving => best.get(&namespace.record.instance).is_some_and(|(_, best)| best != ns),
                NamespaceState::Building => !records.iter().any(|record| record.counts_as(&namespace.record)),
                NamespaceState::Retired { .. } => false,
            };
            if is_over {
                namespace.record.state = NamespaceState::Retired { since: self.now };
                self.batch.put_namespace(*ns, &namespace.record);
            }
        }
    }

    /// The namespace of an instance that is to be.
    fn of(&mut self, spec: &InstanceSpec) -> (NamespaceId, Namespace) {
        let serving = self.serving(&spec.id);
        let record = spec.namespace_record(NamespaceState::Serving);
        let fits = |namespace: &Namespace| {
            let may = match namespace.record.state {
                NamespaceState::Serving => spec.role == Role::Present,
                NamespaceState::Building => true,
                // What cannot go on without a gap is not taken up again.
                NamespaceState::Retired { .. } => {
                    spec.role == Role::Present && namespace.cursor.next >= self.first_sequence
                }
            };
            may && namespace.record.counts_as(&record)
        };
        let rank = |namespace: &Namespace| match namespace.record.state {
            NamespaceState::Serving => 0,
            NamespaceState::Building => 1,
            NamespaceState::Retired { .. } => 2,
        };
        let known = self.existing.iter().filter(|(_, namespace)| fits(namespace));
        let known = known.min_by_key(|(_, namespace)| rank(namespace)).map(|(ns, _)| *ns);
        let state = match serving {
            Some(serving) if Some(serving) != known => NamespaceState::Building,
            _ => NamespaceState::Serving,
        };
        let record = NamespaceRecord { state, ..record };
        match known.and_then(|ns| self.existing.remove_entry(&ns)) {
            Some((ns, mut namespace)) => {
                if namespace.record != record {
                    self.batch.put_namespace(ns, &record);
                    namespace.record = record;
                }
                (ns, namespace)
            }
            None => {
                let cursor = Cursor { next: self.first_sequence, since: self.first_sequence, ..Cursor::default() };
                let ns = self.next;
                self.next += 1;
                self.batch.put_namespace(ns, &record);
                self.batch.put_cursor(ns, &cursor);
                (ns, Namespace::new(record, cursor))
            }
        }
    }
}

/// When the first message from this sequence on was received, if there is one.
pub(super) fn received_from(reader: &mut Reader, sequence: u64) -> Result<Option<Timestamp>, JournalError> {
    reader.seek(sequence);
    let chunk = reader.next_chunk(1)?;
    let received = chunk.iter().next().map(|(_, record)| Timestamp::from_micros(record.received));
    reader.recycle(chunk);
    Ok(received)
}

/// The identities of the journal's last messages, so that a duplicate is one across a restart: those that
/// the bus brought, and those that history gave to some. And when the last of all came in.
pub(super) fn recent_identities(
    journal: &Journal,
    limits: &Limits,
    now: Timestamp,
) -> Result<((Window, Holders), Option<i64>), JournalError> {
    const CHUNK_BYTES: usize = 4 << 20;
    let (mut window, mut holders) = (Window::new(limits), Holders::new(limits));
    let stats = journal.stats();
    let since = now.micros().saturating_sub(limits.dedupe_window);
    let oldest = stats.first.max(stats.next.saturating_sub(limits.dedupe_ids as u64));
    let mut reader = journal.reader(oldest);
    let from = first_received(&mut reader, oldest..stats.next, since)?;
    // The last one is read, however long ago it came.
    reader.seek(from.min(stats.next.saturating_sub(1)).max(oldest));
    let mut last_received = None;
    loop {
        let chunk = reader.next_chunk(CHUNK_BYTES)?;
        last_received = last_received.max(chunk.iter().map(|(_, record)| record.received).max());
        let counts = |record: &Record<'_>| record.received >= since && !record.is_mark;
        for (sequence, record) in chunk.iter().filter(|(_, record)| counts(record)) {
            let fingerprint = fingerprint(record.body);
            let Audience { first, last } = record.audience;
            // Of the bus, for all, for nobody, or for all but some: there is no namespace 0.
            if first == 0 || last == u32::MAX || first > last {
                window.insert(record.identity, sequence, fingerprint, record.received);
            } else {
                holders.insert(record.identity, record.audience, (sequence, fingerprint), record.received);
            }
        }
        if chunk.is_empty() {
            return Ok(((window, holders), last_received));
        }
        reader.recycle(chunk);
    }
}

/// About the first sequence that was received at that time or later, by halving: a long journal is
/// not read for a short window. Where the clock was turned back, a few of the window may lie before.
fn first_received(reader: &mut Reader, sequences: std::ops::Range<u64>, since: i64) -> Result<u64, JournalError> {
    let (mut low, mut high) = (sequences.start, sequences.end);
    while low < high {
        let middle = low + (high - low) / 2;
        reader.seek(middle);
        let chunk = reader.next_chunk(1)?;
        let found = chunk.iter().next().map(|(sequence, record)| (sequence, record.received));
        match found {
            Some((sequence, received)) if received < since => low = sequence.max(middle) + 1,
            _ => high = middle,
        }
        reader.recycle(chunk);
    }
    Ok(low)
}
