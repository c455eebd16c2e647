//! What is stored of an instance besides its numbers: what it is, and how far it has got.

use serde::{Deserialize, Serialize};
use statscache_plugin_sdk::{MetricDescriptor, Timestamp};

/// State of one instance under one configuration of one version of its plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamespaceRecord {
    /// Id of the instance.
    pub instance: String,
    /// Id of the plugin.
    pub plugin: String,
    /// What its numbers depend on: where this differs, the numbers mean something else.
    pub fingerprint: String,
    /// Its metrics; their positions are in keys.
    pub metrics: Vec<MetricDescriptor>,
    /// What it is for at present.
    #[serde(default)]
    pub state: NamespaceState,
}

/// What a namespace is for. JSON: `{"type":"serving"}`, `{"type":"building"}`,
/// `{"type":"retired","since":…}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum NamespaceState {
    /// It answers under the id of its instance.
    #[default]
    Serving,
    /// It folds beside the one that serves, to take its place.
    Building,
    /// Another has taken its place; it is kept for a while, so that this can be taken back.
    Retired {
        /// When that was.
        since: Timestamp,
    },
}

impl NamespaceRecord {
    /// Whether numbers of the one are numbers of the other: what people read about
    /// a metric may differ, and so may the state.
    pub fn counts_as(&self, other: &Self) -> bool {
        let counts = |metric: &MetricDescriptor| {
            (metric.name.clone(), metric.kind, metric.dimensions.clone(), metric.tiers.clone())
        };
        self.instance == other.instance
            && self.plugin == other.plugin
            && self.fingerprint == other.fingerprint
            && self.metrics.iter().map(counts).eq(other.metrics.iter().map(counts))
    }
}

/// How far an instance has got, and what it did until there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cursor {
    /// The first sequence that is not in its state.
    pub next: u64,
    /// The first sequence from which on it has read without a gap.
    pub since: u64,
    /// Newest event time of everything before `next`, whether or not the instance wanted it.
    pub watermark: Option<Timestamp>,
    /// Messages that it was handed.
    pub processed: u64,
    /// Messages on which it failed.
    pub failed: u64,
    /// Updates that it made.
    pub updates: u64,
    /// Updates refused or changed because of a limit; those folded and refused are among them.
    pub limited: u64,
    /// Sequences that the journal had dropped before it read them.
    pub missed: u64,
    /// Updates with a label set beyond the limit of series, counted as `__other__`.
    pub folded: u64,
    /// Values that were refused: too long, too deep, no finite number.
    pub refused: u64,
    /// Updates too late for the finest tier, which went to the coarser ones.
    pub late: u64,
    /// Updates too late for every tier.
    pub too_late: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_namespace_is_for_does_not_change_what_its_numbers_are() {
        let record = |state: &str| -> NamespaceRecord {
            let json = format!(r#"{{"instance":"i","plugin":"p","fingerprint":"1","metrics":[]{state}}}"#);
            serde_json::from_str(&json).expect("a record")
        };
        let serving = record("");
        for (json, state) in [
            (r#"{"type":"serving"}"#, NamespaceState::Serving),
            (r#"{"type":"building"}"#, NamespaceState::Building),
            (r#"{"type":"retired","since":7}"#, NamespaceState::Retired { since: Timestamp::from_micros(7) }),
        ] {
            let other = record(&format!(",\"state\":{json}"));
            assert_eq!(other.state, state);
            assert_eq!(serde_json::to_string(&other.state).expect("JSON"), json);
            assert!(serving.counts_as(&other) && other.counts_as(&serving), "{json}");
            assert_eq!(serving == other, state == NamespaceState::Serving);
        }
        assert!(!serving.counts_as(&NamespaceRecord { fingerprint: "2".to_owned(), ..serving.clone() }));
    }
}
