//! What to do with segments that do not read: they are set aside, and their time is missing from then on.

use std::{collections::BTreeMap, sync::Arc};

use super::committer::Views;
use crate::{
    kind::with_rule,
    segment::{ChunkSource, Merged, ReadError, Segment, SegmentKey},
    store::Batch,
    view::{InstanceView, MetricView},
};

/// A segment that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Which.
    pub key: SegmentKey,
    /// The instance and the metric that it was of.
    pub instance: String,
    /// Its metric.
    pub metric: String,
    /// What is wrong with it.
    pub why: String,
}

/// Sets those of these segments aside that are still there and really do not read.
pub(super) fn set_aside(
    keys: Vec<SegmentKey>,
    views: [&mut Views; 2],
    source: &dyn ChunkSource,
    batch: &mut Batch,
) -> Vec<SetAside> {
    let mut done = Vec::new();
    for views in views {
        for key in &keys {
            let Some((id, view)) = views.iter().find(|(_, view)| view.ns == key.ns) else { continue };
            let Some((segment, why)) = unreadable(view, *key, source) else { continue };
            batch.set_aside_segment(&segment, &why);
            let (id, mut changed) = (id.clone(), InstanceView::clone(view));
            let metric = Arc::make_mut(&mut changed.metrics[usize::from(key.metric)]);
            remove(metric, *key);
            done.push(SetAside { key: *key, instance: id.clone(), metric: metric.descriptor.name.clone(), why });
            views.insert(id, Arc::new(changed));
        }
    }
    done
}

/// The segment, and why it does not read; none if it is not there or does.
fn unreadable(view: &InstanceView, key: SegmentKey, source: &dyn ChunkSource) -> Option<(Arc<Segment>, String)> {
    let metric = view.metrics.get(usize::from(key.metric))?;
    let segment = metric.segments().find(|segment| segment.key() == key)?;
    let read = with_rule!(metric.descriptor.kind, rule => {
        Merged::new(rule, source, [&**segment], 0).and_then(|mut cells| cells.try_for_each(|cell| cell.map(drop)))
    });
    match read {
        // That it cannot be read at present says nothing about it.
        Ok(()) | Err(ReadError::Store(_)) => None,
        Err(error) => Some((segment.clone(), describe(&error))),
    }
}

fn describe(error: &ReadError) -> String {
    match error {
        ReadError::Damaged(_, _, corrupt) => format!("{error}: {corrupt}"),
        error => error.to_string(),
    }
}

fn remove(metric: &mut MetricView, key: SegmentKey) {
    let Some(tier) = metric.tiers.get_mut(usize::from(key.tier)) else { return };
    if let Some(segments) = tier.partitions.get_mut(&key.partition) {
        segments.retain(|segment| segment.key() != key);
        if segments.is_empty() {
            tier.partitions.remove(&key.partition);
        }
    }
    tier.set_aside.insert(key.partition);
    metric.version += 1;
}

/// Those that were set aside before, in the views of a start.
pub(super) fn recall(set_aside: &[(SegmentKey, String)], views: [&mut Views; 2]) {
    let mut by_ns: BTreeMap<u32, Vec<SegmentKey>> = BTreeMap::new();
    set_aside.iter().for_each(|(key, _)| by_ns.entry(key.ns).or_default().push(*key));
    for view in views.into_iter().flat_map(|views| views.values_mut()) {
        let Some(keys) = by_ns.get(&view.ns) else { continue };
        let changed = Arc::make_mut(view);
        for key in keys {
            let metric = changed.metrics.get_mut(usize::from(key.metric)).map(Arc::make_mut);
            if let Some(tier) = metric.and_then(|metric| metric.tiers.get_mut(usize::from(key.tier))) {
                tier.set_aside.insert(key.partition);
            }
        }
    }
}
