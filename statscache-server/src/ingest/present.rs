//! The present view, and news of newer ones.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use statscache_core::view::View;
use tokio::sync::watch;

/// The present view. Whoever replaces it waits for nobody, whoever reads it takes no lock, and whoever wants to know of
/// the next one is woken.
pub struct PresentView {
    view: ArcSwap<View>,
    newer: watch::Sender<()>,
}

impl PresentView {
    /// The first.
    pub fn new(view: Arc<View>) -> Self {
        Self { view: ArcSwap::new(view), newer: watch::Sender::new(()) }
    }

    /// The present one, for a moment.
    pub fn load(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    /// The present one, to keep.
    pub fn load_full(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Something that changes after each replacement. Of several only the last is seen.
    pub fn news(&self) -> watch::Receiver<()> {
        self.newer.subscribe()
    }

    /// Replaces it; gives the one before.
    pub(super) fn replace(&self, view: Arc<View>) -> Arc<View> {
        let before = self.view.swap(view);
        self.newer.send_replace(());
        before
    }
}
