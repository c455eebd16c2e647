//! Durability, apart from the writer: a ticket says what to sync, any thread does it.

use std::sync::Arc;

use super::JournalError;
use super::segment::{Segment, Shared};

/// The right to make durable all that was written when it was issued. Dropping it, or failing,
/// loses nothing: the next ticket covers the same and more.
#[derive(Debug)]
#[must_use = "nothing is durable until the ticket is synced"]
pub struct SyncTicket {
    shared: Arc<Shared>,
    sequence: u64,
    entries: u64,
    /// Oldest first, each with how far it went.
    segments: Vec<(Arc<Segment>, u64)>,
}

impl SyncTicket {
    pub(super) fn issue(shared: &Arc<Shared>) -> Self {
        let sequence = shared.next();
        let entries = shared.entries_changed();
        let mut segments = shared.segments();
        segments.retain(|segment| !segment.is_synced());
        let segments = segments
            .into_iter()
            .map(|segment| {
                let bytes = segment.extent().bytes;
                (segment, bytes)
            })
            .collect();
        Self { shared: shared.clone(), sequence, entries, segments }
    }

    /// Everything before this sequence is durable after [`sync`](Self::sync).
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether there is nothing to do.
    pub fn is_clean(&self) -> bool {
        self.segments.is_empty()
    }

    /// Waits for the disk and returns [`sequence`](Self::sequence). When the disk fails, the journal
    /// refuses further writes ([`JournalError::Poisoned`]): a second sync would not know what the
    /// first one lost.
    pub fn sync(self) -> Result<u64, JournalError> {
        let shared = &*self.shared;
        shared.check_poison()?;
        shared.sync_entries(self.entries).inspect_err(|_| shared.poison())?;
        for (segment, bytes) in &self.segments {
            if !segment.is_settled() {
                // In this order, and before the sync of the segment itself: if the word is there,
                // then all before it is; if it is not, then nothing here was promised to anybody.
                segment.settle().map_err(JournalError::entry(&*shared.dir, &segment.name, "write to"))?;
            }
            segment.file.sync_data().map_err(|err| {
                shared.poison();
                JournalError::entry(&*shared.dir, &segment.name, "sync")(err)
            })?;
            segment.mark_synced(*bytes);
        }
        Ok(self.sequence)
    }
}
