//! Names and labels under which metrics are asked for in PromQL.
//!
//! | kind | names | more labels |
//! |---|---|---|
//! | count | `NAME` | |
//! | stat | `NAME_count`, `_sum`, `_min`, `_max`, `_avg`, `_stddev` | |
//! | distinct | `NAME`, the estimate | |
//! | dist | `NAME`, quantiles; `NAME_count`, `_min`, `_max` | `quantile` |
//! | top | `NAME`, weights of the greatest keys | `key` |
//! | latest | `NAME`, numbers and the numbers in objects | `field`, for those in objects |
//!
//! `NAME` is `{instance}_{metric}` with `_` for `-`. Should two get the same name, the first has it, by order of
//! instances and declaration, where a metric's own name goes before those made of it. A dimension with the name of
//! one of the labels above is asked for as `exported_…`, as Prometheus does it.

use std::{collections::BTreeMap, sync::Arc};

use statscache_core::view::{InstanceView, MetricView, View};
use statscache_plugin_sdk::{Kind, Resolution, Tiers};

/// What of a value a name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Part {
    /// A count itself.
    Count,
    /// How many numbers there were.
    Number,
    /// Their sum.
    Sum,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// Their mean.
    Avg,
    /// Their standard deviation.
    Stddev,
    /// How many different texts, about.
    Estimate,
    /// Quantiles, each as a series.
    Quantiles,
    /// The greatest keys, each as a series.
    Keys,
    /// The newest value.
    Newest,
}

impl Part {
    /// What there is of a kind.
    pub(in crate::http) fn of(kind: Kind) -> &'static [Self] {
        match kind {
            Kind::Count => &[Self::Count],
            Kind::Stat => &[Self::Number, Self::Sum, Self::Min, Self::Max, Self::Avg, Self::Stddev],
            Kind::Distinct => &[Self::Estimate],
            Kind::Dist => &[Self::Quantiles, Self::Number, Self::Min, Self::Max],
            Kind::Top { .. } => &[Self::Keys],
            Kind::Latest { .. } => &[Self::Newest],
        }
    }

    /// What stands behind the name of the metric.
    fn suffix(self) -> &'static str {
        match self {
            Self::Number => "_count",
            Self::Sum => "_sum",
            Self::Min => "_min",
            Self::Max => "_max",
            Self::Avg => "_avg",
            Self::Stddev => "_stddev",
            Self::Count | Self::Estimate | Self::Quantiles | Self::Keys | Self::Newest => "",
        }
    }

    /// The label that its series have besides the dimensions.
    pub(super) fn label(self) -> Option<&'static str> {
        match self {
            Self::Quantiles => Some("quantile"),
            Self::Keys => Some("key"),
            Self::Newest => Some("field"),
            _ => None,
        }
    }

    /// Whether buckets of it add up to that of a longer time.
    pub(super) fn adds_up(self) -> bool {
        matches!(self, Self::Count | Self::Number | Self::Sum)
    }

    /// Whether it is 0 where nothing was.
    pub(super) fn is_zero_of_nothing(self) -> bool {
        self.adds_up() || self == Self::Estimate
    }

    /// Prometheus' type: what adds up is asked for with `rate` and `increase`, and that is what the type says.
    pub(super) fn type_name(self) -> &'static str {
        if self.adds_up() { "counter" } else { "gauge" }
    }
}

/// The name in PromQL of a part of a metric.
pub(in crate::http) fn name_of(instance: &str, metric: &str, part: Part) -> String {
    let first = if instance.starts_with(|c: char| c.is_ascii_digit()) { "_" } else { "" };
    format!("{first}{}_{metric}{}", instance.replace('-', "_"), part.suffix())
}

/// The label in PromQL of a dimension of such a metric.
pub(in crate::http) fn label_of(kind: Kind, dimension: &str) -> String {
    match Part::of(kind).iter().any(|part| part.label() == Some(dimension)) {
        true => format!("exported_{dimension}"),
        false if dimension.starts_with(|c: char| c.is_ascii_digit()) => format!("_{dimension}"),
        false => dimension.to_owned(),
    }
}

/// The width of the widest buckets of an hour at most, of the finest if there are none.
pub(in crate::http) fn hourly(tiers: &Tiers) -> Resolution {
    let mut widths = tiers.as_slice().iter().rev().map(|tier| tier.resolution);
    widths.find(|width| *width <= Resolution::HOUR).unwrap_or(tiers.finest().resolution)
}

/// All series of one name.
#[derive(Clone, Debug)]
pub(super) struct Family {
    pub(super) name: Arc<str>,
    pub(super) instance: Arc<InstanceView>,
    pub(super) metric: Arc<MetricView>,
    pub(super) part: Part,
    /// Names of the dimensions, in order.
    pub(super) labels: Vec<Arc<str>>,
}

impl Family {
    fn new(name: String, instance: &Arc<InstanceView>, metric: &Arc<MetricView>, part: Part) -> Self {
        let label = |dimension: &String| label_of(metric.descriptor.kind, dimension).into();
        let labels = metric.descriptor.dimensions.iter().map(label).collect();
        Self { name: name.into(), instance: instance.clone(), metric: metric.clone(), part, labels }
    }

    /// Position of the dimension that is asked for by that label.
    pub(super) fn dimension(&self, label: &str) -> Option<usize> {
        self.labels.iter().position(|name| &**name == label)
    }
}

/// All that are served, by name.
pub(super) fn all(view: &View) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::new();
    let metrics = || {
        let instances = view.instances.iter();
        instances.flat_map(|(id, instance)| instance.metrics.iter().map(move |metric| (id, instance, metric)))
    };
    for is_own_name in [true, false] {
        for (id, instance, metric) in metrics() {
            for part in Part::of(metric.descriptor.kind) {
                if part.suffix().is_empty() == is_own_name {
                    let name = name_of(id, &metric.descriptor.name, *part);
                    let family = |name: &String| Family::new(name.clone(), instance, metric, *part);
                    families.entry(name).or_insert_with_key(family);
                }
            }
        }
    }
    families
}
