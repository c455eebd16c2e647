//! The other side of the boundary, for those who run plugins: the daemon, the harness, tests.
//! Authors of plugins need none of it.

use serde_json::Value as JsonValue;

use crate::{
    Declare, Plugin, PluginError,
    abi::Label,
    descriptor::{Declaration, Manifest},
    time::Timestamp,
};

pub use crate::fields::{FieldSet, FieldSetError, find};

/// What an update says about a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Adds to a count.
    Add(i64),
    /// A number for a stat or a dist. It comes as the plugin gave it, also if it is not finite.
    Observe(f64),
    /// A member for a distinct.
    Insert(&'a str),
    /// A key for a top, and its weight, at most `i64::MAX`; 0 means nothing.
    Hit(&'a str, u64),
    /// A newest value: JSON text.
    Set(&'a str),
    /// There is no latest value any more as of this time: those at it and before it are gone.
    Remove,
}

/// Receives updates as a plugin makes them. Those of a message that fails are taken back.
pub trait Sink {
    /// One update of the metric with this number.
    fn update(&mut self, metric: u32, labels: &[Label<'_>], time: Timestamp, value: Value<'_>);
}

/// What is true of a plugin whatever its configuration.
pub fn manifest<P: Plugin>() -> Manifest {
    Manifest {
        summary: P::SUMMARY.to_owned(),
        description: P::DESCRIPTION.to_owned(),
        config_schema: schemars::schema_for!(P::Config).to_value(),
    }
}

/// Reads the configuration (an object, or null for none), refusing keys that nobody reads, and
/// creates the plugin with what it declares.
pub fn create<P: Plugin>(config: &str) -> Result<(P, Declaration), PluginError> {
    let config = read_config::<P>(config)?;
    let mut declare = Declare::default();
    let plugin = P::declare(config, &mut declare)?;
    Ok((plugin, declare.finish()?))
}

fn read_config<P: Plugin>(text: &str) -> Result<P::Config, PluginError> {
    let mut json: JsonValue = serde_json::from_str(text)?;
    if !json.is_null() && !json.is_object() {
        // serde would fill a struct from a list, too, by position.
        return Err(PluginError::new("config: it must be an object"));
    }
    let is_empty = json.is_null() || json.as_object().is_some_and(serde_json::Map::is_empty);
    let schema = schemars::schema_for!(P::Config).to_value();
    if schema.get("type").and_then(JsonValue::as_str) == Some("null") {
        if !is_empty {
            return Err(PluginError::new("this plugin takes no configuration").with_hint("remove its `config`"));
        }
        json = JsonValue::Null;
    } else if json.is_null() {
        json = JsonValue::Object(serde_json::Map::new());
    }
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let reader = serde_path_to_error::Deserializer::new(json, &mut track);
    let config = serde_ignored::deserialize(reader, |path| unknown.push(path.to_string()));
    let config = config.map_err(|error| match track.path().to_string().as_str() {
        "." => PluginError::new(format!("config: {error}")),
        path => PluginError::new(format!("config.{path}: {error}")),
    })?;
    if unknown.is_empty() {
        return Ok(config);
    }
    let mut known: Vec<&str> = schema
        .get("properties")
        .and_then(JsonValue::as_object)
        .map_or_else(Vec::new, |keys| keys.keys().map(String::as_str).collect());
    known.sort_unstable();
    Err(PluginError::new(format!("config: unknown key `{}`", unknown.join("`, `")))
        .with_hint(format!("known keys: {}", known.join(", "))))
}
