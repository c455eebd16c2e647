//! HTTP: routes over the present view. Readers share an immutable picture and take no lock.

mod admin;
mod answers;
mod batch;
mod common;
mod connections;
mod dashboards;
mod diff;
mod discovery;
mod encode;
mod format;
mod front;
mod grafana;
mod labels;
mod legacy;
mod metric;
mod negotiate;
mod openapi;
mod outgoing;
mod page;
mod params;
mod plugins;
pub(crate) mod problem;
mod prometheus;
mod queries;
mod question;
mod rows;
mod server;
mod status;
mod stream;
pub(crate) mod time;
pub(crate) mod urlquery;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::{
    Json, Router,
    http::Uri,
    routing::{get, post},
};
use schemars::JsonSchema;
use serde::Serialize;
use statscache_core::view::{InstanceView, View};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    bus::SourceStats,
    clock::Clock,
    disk::Disk,
    health::{self, Health},
    history::{self, backfill::Backfill, serve::HistoryService},
    host::{CardStatus, Cards, InstanceCard},
    ingest::{PresentView, Shared},
    telemetry::Telemetry,
};
pub use admin::Admin;
use answers::Answers;
use connections::{IDLE_MAX, LimitedListener};
use front::Front;
use metric::Caching;
use problem::Problem;
use queries::Queries;
use stream::Streams;

/// What an operator can choose.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Rows of one answer.
    pub rows_max: usize,
    /// Memory for answers that were made already.
    pub answers_bytes_max: usize,
    /// From one view to the next.
    pub commit_interval: Duration,
}

/// What all routes share. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    view: Arc<PresentView>,
    cards: Arc<ArcSwap<Cards>>,
    admin: Arc<Admin>,
    backfill: Arc<Backfill>,
    history: Option<Arc<HistoryService>>,
    bus: Arc<SourceStats>,
    health: Arc<Health>,
    disk: Disk,
    telemetry: Arc<Telemetry>,
    clock: Arc<dyn Clock>,
    queries: Arc<Queries>,
    answers: Arc<Answers>,
    caching: Caching,
    streams: Arc<Streams>,
    openapi: Arc<openapi::Cache>,
    rows_max: usize,
    /// Without a new view for longer than that, something stands still.
    view_age_max: Duration,
}

impl AppState {
    /// Puts it together.
    pub fn new(
        shared: &Shared,
        bus: SourceStats,
        cards: Arc<ArcSwap<Cards>>,
        admin: Admin,
        (backfill, history): (Arc<Backfill>, Option<Arc<HistoryService>>),
        settings: &Settings,
    ) -> Self {
        Self {
            view: shared.view.clone(),
            cards,
            admin: Arc::new(admin),
            backfill,
            history,
            bus: Arc::new(bus),
            health: shared.health.clone(),
            disk: shared.disk.clone(),
            telemetry: shared.telemetry.clone(),
            clock: shared.clock.clone(),
            queries: Arc::new(Queries::new()),
            answers: Arc::new(Answers::new(settings.answers_bytes_max)),
            openapi: Arc::default(),
            caching: Caching { interval: settings.commit_interval.as_secs().max(1) },
            streams: Arc::new(Streams::new()),
            rows_max: settings.rows_max,
            view_age_max: health::standstill_after(settings.commit_interval),
        }
    }

    /// All instances.
    pub fn cards(&self) -> Arc<Cards> {
        self.cards.load_full()
    }

    /// The instance with that id, if it was started.
    fn instance<'v>(&self, view: &'v View, id: &str) -> Result<&'v Arc<InstanceView>, Problem> {
        let cards = self.cards();
        let card = card(&cards, id)?;
        view.instances.get(id).ok_or_else(|| match &card.status {
            CardStatus::Failed(why) => Problem::unavailable(format!("plugin `{id}` could not be started: {why}")),
            CardStatus::Disabled => Problem::unavailable(format!("plugin `{id}` is disabled by the configuration")),
            CardStatus::Started => Problem::unavailable(format!("plugin `{id}` is just being started; ask again")),
        })
    }
}

/// What is known of the instance with that id.
fn card<'c>(cards: &'c Cards, id: &str) -> Result<&'c InstanceCard, Problem> {
    cards.get(id).ok_or_else(|| {
        let ids: Vec<&str> = cards.all().iter().map(|card| card.id.as_str()).collect();
        Problem::not_found(format!("there is no plugin `{id}`; there are: {}", ids.join(", ")))
    })
}

/// All routes.
pub fn router(state: AppState) -> Router {
    let history = state.history.clone().map_or_else(Router::new, history::serve::router);
    Router::new()
        .merge(page::router())
        .merge(dashboards::router())
        .route("/plugins", get(plugins::list))
        .route("/plugins/{id}", get(plugins::one))
        .route("/plugins/{id}/schema", get(plugins::schema))
        .route("/plugins/{id}/grafana.json", get(grafana::dashboard))
        .route("/plugins/{id}/diff", get(diff::diff))
        .route("/plugins/{id}/{metric}", get(metric::values))
        .merge(legacy::router())
        .route("/plugins/{id}/{metric}/stream", get(stream::metric))
        .route("/stream", get(stream::several))
        .route("/plugins/{id}/{metric}/labels/{name}", get(labels::values))
        .nest("/admin", admin::router(state.clone()))
        .route("/query", post(batch::query))
        .nest("/api/v1", prometheus::router())
        .route("/bus", get(status::bus))
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/metrics", get(status::metrics))
        .route(openapi::PATH, get(openapi::document))
        .fallback(not_found)
        .with_state(state)
        .merge(history)
}

/// Serves until told to stop; then answers what is under way and ends.
pub async fn serve(
    listener: TcpListener,
    state: AppState,
    connections_max: usize,
    mut stopping: watch::Receiver<bool>,
) {
    let listener = LimitedListener::new(listener, connections_max, IDLE_MAX);
    let streams = state.streams.clone();
    streams.open(connections_max);
    let stop = async move {
        // An error means that nobody could stop us any more: stop, too.
        let _ = stopping.wait_for(|stop| *stop).await;
        streams.stop();
    };
    let front = Front::new(state.view.clone(), state.answers.clone(), router(state));
    server::serve(listener, front, stop).await;
}

/// What is where.
#[derive(Serialize, JsonSchema)]
struct Index {
    name: &'static str,
    version: &'static str,
    links: IndexLinks,
}

#[derive(Serialize, JsonSchema)]
struct IndexLinks {
    plugins: &'static str,
    bus: &'static str,
    health: &'static str,
    ready: &'static str,
    metrics: &'static str,
    openapi: &'static str,
    dashboards: &'static str,
}

async fn index() -> Json<Index> {
    let links = IndexLinks {
        plugins: "/plugins",
        bus: "/bus",
        health: "/healthz",
        ready: "/readyz",
        metrics: "/metrics",
        openapi: openapi::PATH,
        dashboards: dashboards::PATH,
    };
    Json(Index { name: "statscache", version: env!("CARGO_PKG_VERSION"), links })
}

async fn not_found(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at {}; see / for what there is", uri.path()))
}
