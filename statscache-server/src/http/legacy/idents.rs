//! Which metric an ident stands for.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;
use statscache_core::{
    bucket,
    view::{InstanceView, MetricView, View},
};
use statscache_plugin_sdk::{Legacy, Resolution};

/// What is found under an ident.
pub(super) struct Found<'v> {
    pub(super) instance: &'v InstanceView,
    pub(super) metric: &'v MetricView,
    pub(super) legacy: &'v Legacy,
    /// Width of the buckets; `None` for latest values.
    pub(super) step: Option<Resolution>,
}

/// Every ident once, in order.
pub(super) fn all(view: &View) -> Vec<String> {
    let idents: BTreeSet<String> = each(view).map(|(ident, _)| ident).collect();
    idents.into_iter().collect()
}

/// Of several that claim it, the instance with the first id has it.
pub(super) fn find<'v>(view: &'v View, ident: &str) -> Option<Found<'v>> {
    each(view).find(|(its, _)| its == ident).map(|(_, found)| found)
}

/// All claims, in order of instances.
fn each(view: &View) -> impl Iterator<Item = (String, Found<'_>)> {
    let metrics = view
        .instances
        .values()
        .flat_map(|instance| instance.metrics.iter().map(move |metric| (&**instance, &**metric)));
    metrics.flat_map(|(instance, metric)| {
        claims(metric).into_iter().map(move |(ident, legacy, step)| (ident, Found { instance, metric, legacy, step }))
    })
}

/// The idents that a metric claims and can answer.
fn claims(metric: &MetricView) -> Vec<(String, &Legacy, Option<Resolution>)> {
    let Some(legacy) = &metric.descriptor.legacy else { return Vec::new() };
    // A library's declaration was checked when it was loaded, what a store holds of one was not.
    let is_sound = |step: &Option<Resolution>| match step {
        Some(step) => bucket::tier_for_step(&metric.descriptor.tiers, *step).is_some(),
        None => !metric.descriptor.kind.is_bucketed(),
    };
    let idents = legacy.idents().into_iter().filter(|(_, step)| is_sound(step));
    idents.map(|(ident, step)| (ident, legacy, step)).collect()
}

/// Where clients of the original statscache find a metric.
#[derive(Serialize, JsonSchema)]
pub(in crate::http) struct IdentDto {
    /// Its name in the original API.
    ident: String,
    /// Where it is.
    url: String,
    /// The instance that has this ident instead, because its id comes first; null: this one has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    taken_by: Option<String>,
}

/// The idents that a metric claims, and who has them.
pub(in crate::http) fn idents_of(view: &View, instance: &str, metric: &MetricView) -> Vec<IdentDto> {
    let dto = |(ident, ..): (String, _, _)| {
        let owner = find(view, &ident).map(|found| found.instance.record.instance.clone());
        IdentDto { url: format!("/api/{ident}"), taken_by: owner.filter(|owner| owner != instance), ident }
    };
    claims(metric).into_iter().map(dto).collect()
}
