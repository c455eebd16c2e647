//! `GET /plugins`, `/plugins/{id}`, `/plugins/{id}/schema`: what there is.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderName, header},
    response::IntoResponse,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use statscache_core::view::{InstanceState, InstanceView, MetricView, View};
use statscache_plugin_sdk::{Tiers, Timestamp};

use super::{
    AppState, card,
    discovery::Guide,
    legacy::{self, IdentDto},
    metric::{self, Watermark},
    openapi,
    problem::Problem,
    time::{self, TimeForm},
};
use crate::history::progress::BackfillRange;
use crate::host::{CardStatus, Cards, InstanceCard};

/// All instances.
#[derive(Serialize, JsonSchema)]
pub(super) struct PluginList {
    /// When the view was published that this is read from.
    as_of: String,
    /// The instances, in order of their ids; then what could not be started.
    plugins: Vec<PluginDto>,
}

/// One instance.
#[derive(Serialize, JsonSchema)]
pub(super) struct PluginDto {
    /// Its id, the part of its URL; of a library that could not be opened, its file name.
    id: String,
    /// Id of its plugin; null where a library could not be opened.
    plugin: Option<String>,
    /// Version of its plugin.
    version: Option<String>,
    /// `running`; `catching_up`: it reads the journal; `stalled`: it does not return from a message;
    /// `frozen`: its code is gone, and it serves what it has until another takes its place;
    /// `quarantined`: it failed too often; `failed`: it could not be started; `disabled`: the operator does not want it.
    #[schemars(extend("enum" = ["running", "catching_up", "stalled", "frozen", "quarantined", "failed", "disabled"]))]
    state: &'static str,
    /// Why it is quarantined or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// What it keeps statistics about.
    summary: String,
    /// More, in Markdown.
    description: String,
    /// File that it was loaded from.
    library: Option<String>,
    /// Its configuration.
    config: Value,
    /// Topics that it wants; empty: all.
    topics: Vec<String>,
    /// What it reads of each message, as JSON pointers.
    fields: Vec<String>,
    /// What it did; null if it was not started.
    counters: Option<CountersDto>,
    /// How much it has yet to read; null if it was not started.
    lag: Option<LagDto>,
    /// What is in its answers; null if it was not started.
    watermark: Option<Watermark>,
    /// What is being built to take its place; null if nothing is.
    building: Option<BuildingDto>,
    /// What is being filled from a history service for it; null if nothing is.
    history: Option<BackfillRange>,
    /// Whether something of its state was damaged: it is set aside, and its time is missing.
    damaged: bool,
    /// Its metrics.
    metrics: Vec<MetricDto>,
    /// Where to go on; null where a library could not be opened.
    links: Option<PluginLinks>,
}

#[derive(Serialize, JsonSchema)]
struct CountersDto {
    /// Messages that it was handed.
    processed: u64,
    /// Messages on which it failed.
    failed: u64,
    /// Updates that it made.
    updates: u64,
    /// Updates changed or refused because of a limit.
    limited: u64,
    /// Messages that the journal had dropped before it read them.
    missed: u64,
    /// Updates with a new label set where the metric has as many as it may, counted under `__other__`.
    folded: u64,
    /// Values refused: too long, too deep, no finite number.
    refused: u64,
    /// Updates too late for the finest buckets, which are in the coarser ones.
    late: u64,
    /// Updates too late for all buckets, which are in none.
    too_late: u64,
}

impl CountersDto {
    fn of(instance: &InstanceView) -> Self {
        let cursor = &instance.cursor;
        Self {
            processed: cursor.processed,
            failed: cursor.failed,
            updates: cursor.updates,
            limited: cursor.limited,
            missed: cursor.missed,
            folded: cursor.folded,
            refused: cursor.refused,
            late: cursor.late,
            too_late: cursor.too_late,
        }
    }
}

/// The state of an instance under another configuration or version, which folds beside the one that serves.
#[derive(Serialize, JsonSchema)]
struct BuildingDto {
    /// `catching_up`: it reads the journal; `ready`: it takes the place with the next commit; `held`: it waits for
    /// `statscache promote`; `quarantined`: it failed too often, and the one that serves stays.
    #[schemars(extend("enum" = ["catching_up", "ready", "held", "quarantined"]))]
    state: &'static str,
    /// Why it is quarantined.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The first sequence from which on it has read without a gap.
    since: u64,
    /// How much it has yet to read.
    lag: LagDto,
    /// What is in it.
    watermark: Watermark,
    /// What it did.
    counters: CountersDto,
    /// Where it is compared with what serves.
    diff: String,
}

impl BuildingDto {
    fn of(view: &View, instance: &InstanceView, is_held: bool) -> Self {
        let (state, error) = match &instance.state {
            InstanceState::Quarantined { reason, since } => {
                ("quarantined", Some(format!("{reason} (since {})", time::rfc3339(*since))))
            }
            _ if view.lag(instance) > 0 => ("catching_up", None),
            _ if is_held => ("held", None),
            _ => ("ready", None),
        };
        Self {
            state,
            error,
            since: instance.cursor.since,
            lag: LagDto::of(view, instance),
            watermark: Watermark::of(instance, TimeForm::Rfc3339),
            counters: CountersDto::of(instance),
            diff: format!("/plugins/{}/diff", instance.record.instance),
        }
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct LagDto {
    /// Messages that it has yet to read.
    messages: u64,
    /// How long ago those it has read last came in; 0 if it has read all.
    seconds: f64,
}

impl LagDto {
    pub(super) fn of(view: &View, instance: &InstanceView) -> Self {
        let messages = view.lag(instance);
        let behind = view.as_of.micros().saturating_sub(instance.reading.until().micros()).max(0);
        Self { messages, seconds: if messages > 0 { behind as f64 / 1e6 } else { 0.0 } }
    }
}

#[derive(Serialize, JsonSchema)]
struct MetricDto {
    name: String,
    /// What its values are.
    #[schemars(extend("enum" = ["count", "stat", "distinct", "dist", "top", "latest"]))]
    kind: &'static str,
    /// Names of its labels.
    labels: Vec<String>,
    unit: String,
    description: String,
    /// Widths of buckets and how long they are kept; null for latest values.
    tiers: Option<Vec<String>>,
    /// Number of label sets.
    series: u32,
    /// The most that it may have; what is new beyond it counts under `__other__`, which is one more.
    series_max: u32,
    /// Size of its values, packed, bytes.
    bytes: u64,
    /// Memory that it takes, bytes; what is read again and again is in the cache besides.
    memory: usize,
    /// Where clients of the original statscache find it; not there if nowhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    legacy: Vec<IdentDto>,
    #[serde(flatten)]
    guide: Guide,
    links: MetricLinks,
}

#[derive(Serialize, JsonSchema)]
struct MetricLinks {
    values: String,
    example: String,
    /// The same as server-sent events, one after each change.
    stream: String,
}

#[derive(Serialize, JsonSchema)]
struct PluginLinks {
    #[serde(rename = "self")]
    this: String,
    schema: String,
    openapi: &'static str,
}

/// Where this API is described (RFC 8631).
const SERVICE: [(HeaderName, &str); 1] = [(header::LINK, "</openapi.json>; rel=\"service-desc\"")];

pub(super) async fn list(State(state): State<AppState>) -> impl IntoResponse {
    let view = state.view.load();
    let all = state.cards();
    let mut cards: Vec<&InstanceCard> = all.all().iter().collect();
    cards.sort_by_key(|card| (card.status != CardStatus::Started, card.id.as_str()));
    let plugins = cards.into_iter().map(|card| dto((&all, card), &view, &state)).collect();
    (SERVICE, Json(PluginList { as_of: time::rfc3339(view.as_of), plugins }))
}

pub(super) async fn one(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<PluginDto>, Problem> {
    let cards = state.cards();
    Ok(Json(dto((&cards, card(&cards, &id)?), &state.view.load(), &state)))
}

/// Schemas of an instance: of its configuration, and of what its metrics answer.
#[derive(Serialize, JsonSchema)]
pub(super) struct Schemas {
    /// JSON Schema of its configuration.
    config: Value,
    /// JSON Schema of each metric's answers.
    answers: serde_json::Map<String, Value>,
}

pub(super) async fn schema(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<Schemas>, Problem> {
    let cards = state.cards();
    let card = card(&cards, &id)?;
    let view = state.view.load();
    let metrics = view.instances.get(&id).map_or(&[][..], |instance| &instance.metrics);
    let answers = metrics.iter().map(|metric| {
        let descriptor = &metric.descriptor;
        (descriptor.name.clone(), metric::answer_schema(descriptor).to_value())
    });
    let config = card.manifest.as_ref().map_or(Value::Null, |manifest| manifest.config_schema.clone());
    Ok(Json(Schemas { config, answers: answers.collect() }))
}

fn dto((cards, card): (&Cards, &InstanceCard), view: &View, app: &AppState) -> PluginDto {
    let instance = match card.status {
        CardStatus::Started => view.instances.get(&card.id),
        _ => None,
    };
    let built = instance.and_then(|_| view.building.get(&card.id));
    let (state, error) = state_of(card, instance, (view, &app.telemetry.stalled()));
    let (summary, description) = card
        .manifest
        .as_ref()
        .map_or_else(Default::default, |manifest| (manifest.summary.clone(), manifest.description.clone()));
    let declaration = instance.map(|instance| &instance.declaration);
    PluginDto {
        id: card.id.clone(),
        plugin: card.plugin.clone(),
        version: card.version.clone(),
        state,
        error,
        summary,
        description,
        library: card.library.clone(),
        config: card.config.clone(),
        topics: declaration
            .map_or_else(Vec::new, |it| it.topics.iter().map(|topic| topic.as_str().to_owned()).collect()),
        fields: declaration.map_or_else(Vec::new, |it| it.fields.clone()),
        counters: instance.map(|instance| CountersDto::of(instance)),
        lag: instance.map(|instance| LagDto::of(view, instance)),
        watermark: instance.map(|instance| Watermark::of(instance, TimeForm::Rfc3339)),
        building: built.map(|built| BuildingDto::of(view, built, cards.is_held)),
        history: instance.and_then(|_| app.backfill.of(&card.id)),
        damaged: instance.is_some_and(|instance| instance.is_damaged()),
        metrics: instance.map_or_else(Vec::new, |it| {
            it.metrics.iter().map(|m| metric_dto((view, &card.id), m, cards.series_max)).collect()
        }),
        links: card.plugin.is_some().then(|| PluginLinks {
            this: format!("/plugins/{}", card.id),
            schema: format!("/plugins/{}/schema", card.id),
            openapi: openapi::PATH,
        }),
    }
}

fn state_of(
    card: &InstanceCard,
    instance: Option<&Arc<InstanceView>>,
    (view, stalled): (&View, &BTreeMap<String, Timestamp>),
) -> (&'static str, Option<String>) {
    match (&card.status, instance) {
        (CardStatus::Disabled, _) => ("disabled", None),
        (CardStatus::Failed(why), _) => ("failed", Some(why.clone())),
        (CardStatus::Started, None) => ("catching_up", None),
        (CardStatus::Started, Some(instance)) => match &instance.state {
            InstanceState::Quarantined { reason, since } => {
                ("quarantined", Some(format!("{reason} (since {})", time::rfc3339(*since))))
            }
            InstanceState::Frozen => ("frozen", None),
            InstanceState::Running if stalled.contains_key(&card.id) => {
                let since = stalled.get(&card.id).map(|since| time::rfc3339(*since)).unwrap_or_default();
                ("stalled", Some(format!("it does not return from a message (since {since})")))
            }
            InstanceState::Running if view.lag(instance) > 0 => ("catching_up", None),
            InstanceState::Running => ("running", None),
        },
    }
}

fn metric_dto((view, id): (&View, &str), metric: &MetricView, series_max: u32) -> MetricDto {
    let descriptor = &metric.descriptor;
    let tiers = |tiers: &Tiers| tiers.as_slice().iter().map(ToString::to_string).collect();
    MetricDto {
        name: descriptor.name.clone(),
        kind: descriptor.kind.as_str(),
        labels: descriptor.dimensions.clone(),
        unit: descriptor.unit.clone(),
        description: descriptor.description.clone(),
        tiers: descriptor.kind.is_bucketed().then(|| tiers(&descriptor.tiers)),
        series: metric.series_count,
        series_max,
        bytes: metric.bytes_len(),
        memory: metric.memory(),
        legacy: legacy::idents_of(view, id, metric),
        guide: Guide::of(id, metric),
        links: MetricLinks {
            values: format!("/plugins/{id}/{}", descriptor.name),
            stream: format!("/plugins/{id}/{}/stream", descriptor.name),
            example: metric::example(id, descriptor),
        },
    }
}
