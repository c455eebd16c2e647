//! The way of fetched pages into the journal.

use super::{
    super::{Fetched, PageSink, Stopped},
    Parts,
};
use crate::{disk, health::describe};

/// What became of pages.
#[derive(Clone, Copy, Default)]
pub(super) struct Taken {
    pub(super) messages: u64,
    /// Those of them that were there already.
    pub(super) duplicates: u64,
}

/// Hands pages to the intake.
pub(super) struct Sink<'t> {
    pub(super) parts: &'t Parts,
    pub(super) taken: Taken,
    /// Why the journal takes nothing.
    pub(super) failure: Option<String>,
    /// The engine was started anew meanwhile, or it stops.
    pub(super) is_away: bool,
}

impl PageSink for Sink<'_> {
    async fn page(&mut self, messages: Vec<Fetched>) -> Result<(), Stopped> {
        if let Err(error) = self.parts.disk.has(disk::JOURNAL_LEAVES) {
            self.failure = Some(describe(&error));
            return Err(Stopped);
        }
        let now = self.parts.clock.now();
        let count = messages.len() as u64;
        let messages: Vec<(String, String)> = messages.into_iter().map(|it| (it.topic, it.body)).collect();
        match self.parts.commands.call(move |intake| intake.ingest_history(&messages, now)).await {
            Ok(Ok(Some(fetched))) => {
                self.taken.messages += count;
                self.taken.duplicates += fetched.duplicates;
                Ok(())
            }
            Ok(Err(error)) => {
                self.failure = Some(describe(&error));
                Err(Stopped)
            }
            Ok(Ok(None)) | Err(_) => {
                self.is_away = true;
                Err(Stopped)
            }
        }
    }
}
