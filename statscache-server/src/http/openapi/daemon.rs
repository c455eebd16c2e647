//! How the daemon is, and orders to it.

use serde_json::json;

use super::super::{
    Index,
    admin::Promoted,
    problem::Problem,
    status::{BusDto, HealthDto, ReadyDto},
};
use super::{PATH, Paths, operation::Operation, parameters};
use crate::{
    history::progress::{BackfillRequest, BackfillStatus},
    reload::Reloaded,
};

/// Describes it.
pub(super) fn describe(paths: &mut Paths) {
    paths.schema::<Problem>();
    let index = paths.schema::<Index>();
    let content = json!({"application/json": {"schema": index}, "text/html": {"schema": {"type": "string"}}});
    paths.add(
        "get",
        "/",
        Operation::new("index", "daemon", "What is where; for browsers a page").answer(200, "Links.", content),
    );
    let any = json!({"type": "object"});
    let operation = Operation::new("openapi", "daemon", "This document").json(200, "OpenAPI 3.1.", any);
    paths.add("get", PATH, operation);
    status(paths);
    admin(paths);
}

fn status(paths: &mut Paths) {
    let bus = paths.schema::<BusDto>();
    let operation =
        Operation::new("bus", "daemon", "Endpoints, the queue, what was rejected").json(200, "The bus.", bus);
    paths.add("get", "/bus", operation);

    let health = paths.schema::<HealthDto>();
    let operation = Operation::new("healthz", "daemon", "Whether it answers").json(200, "It does.", health);
    paths.add("get", "/healthz", operation);

    let ready = paths.schema::<ReadyDto>();
    let operation = Operation::new("readyz", "daemon", "Whether it accepts messages and makes them durable")
        .json(200, "It does.", ready.clone())
        .json(503, "It does not: `trouble` says why.", ready);
    paths.add("get", "/readyz", operation);

    let text = json!({"text/plain": {"schema": {"type": "string"}}});
    let operation = Operation::new("metrics", "daemon", "Figures of the daemon itself, in Prometheus' text format")
        .answer(200, "The figures.", text);
    paths.add("get", "/metrics", operation);
}

fn admin(paths: &mut Paths) {
    let order = |id: &str, summary: &str| Operation::new(id, "admin", summary).with_token();
    let reloaded = paths.schema::<Reloaded>();
    let operation = order("reload", "Reads configuration and plugins again")
        .json(200, "What changed.", reloaded)
        .problems(&[401, 404, 409, 422, 503]);
    paths.add("post", "/admin/reload", operation);

    let status = paths.schema::<BackfillStatus>();
    let operation = order("backfillStatus", "How far filling from the history service is")
        .json(200, "How far it is.", status.clone())
        .problems(&[401, 404]);
    paths.add("get", "/admin/backfill", operation);

    let request = paths.request_schema::<BackfillRequest>();
    let example = json!({"from": "2026-01-30T00:00:00Z", "to": "2026-01-31T00:00:00Z"});
    let operation = order("backfill", "Fetches a span of time from the history service")
        .body(request, example)
        .json(202, "It will be.", status)
        .problems(&[400, 401, 404, 409, 422, 503]);
    paths.add("post", "/admin/backfill", operation);

    let promoted = paths.schema::<Promoted>();
    let id = parameters::path("id", "Id of an instance.", json!({"type": "string"}));
    let operation = order("promote", "What was built beside an instance takes its place")
        .parameters([id])
        .json(200, "It does, when it has read all.", promoted)
        .problems(&[400, 401, 404, 409, 503]);
    paths.add("post", "/admin/plugins/{id}/promote", operation);
}
