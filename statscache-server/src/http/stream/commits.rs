//! What each commit has changed.

use std::sync::Arc;

use serde::Serialize;
use statscache_core::view::View;
use tokio::sync::watch;
use xxhash_rust::xxh3::Xxh3;

use super::{
    super::time,
    event::{self, Frames},
};
use crate::ingest::PresentView;

/// What a client is told.
#[derive(Serialize)]
struct Commit {
    /// When it was made.
    as_of: String,
    /// Its number.
    version: u64,
    /// `plugin/metric` of the metrics with other numbers than at the event before.
    changed: Vec<String>,
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    version: u64,
    /// Tells which states serve: where another took the place of one, all may be different.
    serving: u64,
}

impl Place {
    fn of(view: &View) -> Self {
        let mut serving = Xxh3::new();
        view.instances.values().for_each(|instance| serving.update(&instance.ns.to_le_bytes()));
        Self { version: view.version, serving: serving.digest() }
    }

    /// From an event's id.
    fn read(id: &str) -> Option<Self> {
        let (version, serving) = id.split_once('-')?;
        Some(Self { version: version.parse().ok()?, serving: u64::from_str_radix(serving, 16).ok()? })
    }

    fn id(self) -> String {
        format!("{}-{:016x}", self.version, self.serving)
    }
}

/// One reader's side of the commits.
pub(super) struct Commits {
    view: Arc<PresentView>,
    news: watch::Receiver<()>,
    sent: Option<Place>,
}

impl Commits {
    pub(super) fn new(view: Arc<PresentView>, last_event_id: Option<&str>) -> Self {
        Self { news: view.news(), view, sent: last_event_id.and_then(Place::read) }
    }

    /// Waits for the next event. Nothing is lost if it is dropped before.
    pub(super) async fn next(&mut self) -> Option<Frames> {
        loop {
            self.news.mark_unchanged();
            if let Some(event) = self.look() {
                return Some(event);
            }
            self.news.changed().await.ok()?;
        }
    }

    fn look(&mut self) -> Option<Frames> {
        let view = self.view.load();
        let (place, sent) = (Place::of(&view), self.sent);
        (sent != Some(place)).then_some(())?;
        self.sent = Some(place);
        let since = sent.filter(|sent| sent.serving == place.serving && sent.version < place.version);
        let changed = changed(&view, since.map_or(0, |sent| sent.version));
        let commit = Commit { as_of: time::rfc3339(view.as_of), version: view.version, changed };
        let json = serde_json::to_vec(&commit).ok()?;
        Some(event::event("commit", &place.id(), json.into()))
    }
}

/// The metrics that a later commit than this has changed.
fn changed(view: &View, since: u64) -> Vec<String> {
    let all =
        view.instances.iter().flat_map(|(id, instance)| instance.metrics.iter().map(move |it| (id, instance, it)));
    let changed = all.filter(|(_, instance, metric)| instance.version_of(metric) > since);
    changed.map(|(id, _, metric)| format!("{id}/{}", metric.descriptor.name)).collect()
}
