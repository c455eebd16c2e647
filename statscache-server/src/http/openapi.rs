//! `GET /openapi.json`: this API for programs, as OpenAPI 3.1 describes one. Made from the types that are answered, and
//! from what the instances declare: each metric of each instance is a path with its own parameters and rows.
//!
//! A test compares it with the routes, so that nothing is served that is not described.

mod daemon;
mod history;
mod metrics;
mod operation;
mod original;
mod parameters;
mod plugins;
mod prometheus;
mod streams;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use statscache_core::view::View;
use statscache_plugin_sdk::Declaration;

use super::{AppState, problem::Problem};
use crate::host::Cards;

/// Where it is.
pub(super) const PATH: &str = "/openapi.json";

/// The document as it was last made, with what it was made from.
#[derive(Default)]
pub(super) struct Cache(ArcSwapOption<Made>);

struct Made {
    cards: Arc<Cards>,
    declarations: Vec<(String, Arc<Declaration>)>,
    body: Bytes,
}

impl Made {
    /// Whether it would be made again as it is.
    fn is_of(&self, cards: &Arc<Cards>, view: &View) -> bool {
        let is_same = |((id, made), (present, instance)): (&(String, Arc<Declaration>), (&String, &Arc<_>))| {
            let instance: &statscache_core::view::InstanceView = instance;
            id == present && Arc::ptr_eq(made, &instance.declaration)
        };
        Arc::ptr_eq(&self.cards, cards)
            && self.declarations.len() == view.instances.len()
            && self.declarations.iter().zip(&view.instances).all(is_same)
    }
}

pub(super) async fn document(State(state): State<AppState>) -> Result<Response, Problem> {
    let (cards, view) = (state.cards(), state.view.load_full());
    let made = state.openapi.0.load_full().filter(|made| made.is_of(&cards, &view));
    let body = match made {
        Some(made) => made.body.clone(),
        None => {
            let declarations =
                view.instances.iter().map(|(id, instance)| (id.clone(), instance.declaration.clone())).collect();
            let text = serde_json::to_vec(&make(&state, &cards, &view)).map_err(|_| Problem::internal())?;
            let body = Bytes::from(text);
            state.openapi.0.store(Some(Arc::new(Made { cards, declarations, body: body.clone() })));
            body
        }
    };
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

/// The document of this moment.
fn make(state: &AppState, cards: &Cards, view: &View) -> Value {
    let mut paths = Paths::new(state.rows_max);
    daemon::describe(&mut paths);
    plugins::describe(&mut paths, cards, view);
    for (id, instance) in &view.instances {
        for metric in &instance.metrics {
            metrics::describe(&mut paths, id, &metric.descriptor);
        }
    }
    original::describe(&mut paths);
    prometheus::describe(&mut paths);
    if state.history.is_some() {
        history::describe(&mut paths);
    }
    let (paths, schemas) = paths.finish();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "statscache",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Statistics about a message bus, ready to be read",
            "description": "What there is to read is listed at `/plugins`. Rows are flat: one entry for each column. Errors \
                            are problem details (RFC 9457) that name the parameter and what is allowed. Everything may \
                            be read by pages of other origins.",
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "plugins", "description": "What there is."},
            {"name": "values", "description": "Questions to any metric."},
            {"name": "metrics", "description": "Each metric of each instance, with its own labels and rows."},
            {"name": "streams", "description": "Answers that are sent again when they change."},
            {"name": "prometheus", "description": "Prometheus' API over the same metrics."},
            {"name": "original", "description": "The API of the original statscache."},
            {"name": "daemon", "description": "How the daemon itself is."},
            {"name": "history", "description": "Messages themselves, where `[history] serve` is on."},
            {"name": "admin", "description": "What changes what runs. Off unless the operator has set a token."},
        ],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": operation::problem_responses(),
            "parameters": parameters::shared(),
            "headers": operation::headers(),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "The text in the file of `[admin] token_file`."},
            },
        },
    })
}

/// Paths as they come together, with the schemas that they refer to.
struct Paths {
    paths: Map<String, Value>,
    generator: SchemaGenerator,
    /// Rows that an answer may have.
    rows_max: usize,
    /// For what is asked, whose fields may be left out.
    requests: SchemaGenerator,
    /// Schemas that no type has.
    own: Map<String, Value>,
}

impl Paths {
    fn new(rows_max: usize) -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self {
            paths: Map::new(),
            generator: settings().for_serialize().into_generator(),
            requests: settings().for_deserialize().into_generator(),
            rows_max,
            own: Map::new(),
        }
    }

    /// Adds an operation.
    fn add(&mut self, method: &str, path: &str, operation: operation::Operation) {
        let operations = self.paths.entry(path.to_owned()).or_insert_with(|| json!({}));
        operations[method] = operation.into();
    }

    /// The schema of what is answered.
    fn schema<T: JsonSchema>(&mut self) -> Value {
        self.generator.subschema_for::<T>().to_value()
    }

    /// The schema of what is asked.
    fn request_schema<T: JsonSchema>(&mut self) -> Value {
        self.requests.subschema_for::<T>().to_value()
    }

    /// Adds a schema under a name of its own; gives the reference to it.
    fn own_schema(&mut self, name: &str, schema: Value) -> Value {
        self.own.insert(name.to_owned(), schema);
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    fn finish(mut self) -> (Map<String, Value>, Map<String, Value>) {
        let mut schemas = self.generator.take_definitions(true);
        schemas.extend(self.requests.take_definitions(true));
        schemas.append(&mut self.own);
        (self.paths, schemas)
    }
}
