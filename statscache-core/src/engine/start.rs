//! What is found out when the engine starts: which namespace is whose, what was received last.

use std::collections::BTreeMap;

use statscache_plugin_sdk::Timestamp;

use super::instance::InstanceSpec;
use crate::{
    identity::DedupeWindow,
    journal::{Journal, JournalError, Reader},
    limits::Limits,
    store::{Batch, Cursor, Namespace, NamespaceId, Store, StoreError},
};

/// Finds the namespace of each instance, or makes one. What a new one replaces is kept for as long
/// as it could go on without a gap: an operator who takes a change back has the old numbers again.
pub(super) fn assign_namespaces(
    store: &Store,
    mut existing: BTreeMap<NamespaceId, Namespace>,
    specs: &[InstanceSpec],
    first_sequence: u64,
) -> Result<Vec<(NamespaceId, Namespace)>, StoreError> {
    let mut next_ns = existing.keys().last().map_or(1, |ns| ns + 1);
    let mut assigned = Vec::with_capacity(specs.len());
    let mut batch = Batch::default();
    for spec in specs {
        let record = spec.namespace_record();
        let known = existing.iter().find(|(_, namespace)| {
            // One that was replaced and could not go on without a gap is not taken up again.
            let newer = |other: &Namespace| {
                other.record.instance == record.instance && other.cursor.next > namespace.cursor.next
            };
            namespace.record.counts_as(&record)
                && (namespace.cursor.next >= first_sequence || !existing.values().any(newer))
        });
        let known = known.map(|(ns, _)| *ns);
        let (ns, namespace) = match known.and_then(|ns| existing.remove_entry(&ns)) {
            Some((ns, mut namespace)) => {
                if namespace.record != record {
                    batch.put_namespace(ns, &record);
                    namespace.record = record;
                }
                (ns, namespace)
            }
            None => {
                let cursor = Cursor { next: first_sequence, ..Cursor::default() };
                batch.put_namespace(next_ns, &record);
                batch.put_cursor(next_ns, &cursor);
                next_ns += 1;
                (next_ns - 1, Namespace::new(record, cursor))
            }
        };
        assigned.push((ns, namespace));
    }
    if !batch.is_empty() {
        store.apply(&batch)?;
        store.sync()?;
    }
    for (ns, namespace) in &existing {
        let is_replaced = specs.iter().any(|spec| spec.id == namespace.record.instance);
        if is_replaced && namespace.cursor.next < first_sequence {
            store.remove_namespace(*ns)?;
        }
    }
    Ok(assigned)
}

/// When the first message from this sequence on was received, if there is one.
pub(super) fn received_from(reader: &mut Reader, sequence: u64) -> Result<Option<Timestamp>, JournalError> {
    reader.seek(sequence);
    let chunk = reader.next_chunk(1)?;
    let received = chunk.iter().next().map(|(_, record)| Timestamp::from_micros(record.received));
    reader.recycle(chunk);
    Ok(received)
}

/// The identities of the journal's last messages, so that a duplicate is one across a restart; and
/// when the last of all came in.
pub(super) fn recent_identities(
    journal: &Journal,
    limits: &Limits,
    now: Timestamp,
) -> Result<(DedupeWindow, Option<i64>), JournalError> {
    const CHUNK_BYTES: usize = 4 << 20;
    let mut window = DedupeWindow::new(limits);
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
        for (_, record) in chunk.iter().filter(|(_, record)| record.received >= since) {
            window.insert(record.identity, record.received);
        }
        if chunk.is_empty() {
            return Ok((window, last_received));
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
