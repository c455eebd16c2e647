//! Runs a plugin without a daemon.

use serde_json::{Map, Value as Json, json};

use crate::{
    Declaration, Plugin, PluginError, Timestamp, TopicPattern, Updates,
    abi::{FieldValue, Label, LabelValue},
    host::{self, FieldSet, Sink, Value},
    message::Message,
    metric::Kind,
};

/// One plugin with its configuration, and every update that it has made.
///
/// It does what the daemon does before and after a plugin: it filters by topic, finds the fields,
/// and checks each update against the declaration.
pub struct Harness<P: Plugin> {
    plugin: P,
    declaration: Declaration,
    fields: FieldSet,
    time: Timestamp,
    sent: u64,
    updates: Vec<Update>,
}

/// One update, as the plugin made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Name of the metric.
    pub metric: String,
    /// Label values, in the order of the metric's dimensions.
    pub labels: Vec<String>,
    /// Event time.
    pub time: Timestamp,
    /// Id of the message.
    pub id: String,
    /// For a count the number that was added, else the value.
    pub value: Json,
}

impl<P: Plugin> Harness<P> {
    /// Creates the plugin. `config` is what the operator would write: a JSON object, or `()`.
    ///
    /// # Panics
    /// With the plugin's own message if it refuses the configuration.
    pub fn new(config: impl serde::Serialize) -> Self {
        Self::try_new(config).unwrap_or_else(|error| panic!("plugin `{}` does not start: {error}", P::ID))
    }

    /// The same, for tests of configurations that are refused.
    pub fn try_new(config: impl serde::Serialize) -> Result<Self, PluginError> {
        let (plugin, declaration) = host::create::<P>(&serde_json::to_string(&config)?)?;
        let mut fields = FieldSet::default();
        for pointer in &declaration.fields {
            fields.insert(pointer);
        }
        let time = Timestamp::from_secs(1_450_000_000);
        Ok(Self { plugin, declaration, fields, time, sent: 0, updates: Vec::new() })
    }

    /// What the plugin declared.
    pub fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    /// Sets the time of the messages that follow.
    pub fn at(&mut self, time: Timestamp) -> &mut Self {
        self.time = time;
        self
    }

    /// Sends a message with this `msg`, in an envelope as fedmsg makes it.
    ///
    /// # Panics
    /// If the plugin fails, or says something that it has not declared.
    pub fn send(&mut self, topic: &str, msg: Json) {
        self.sent += 1;
        let id = format!("{:08x}-0000-4000-8000-000000000000", self.sent);
        let time = self.time;
        let envelope =
            json!({"topic": topic, "msg": msg, "msg_id": id, "timestamp": time.micros() as f64 / 1e6, "i": self.sent});
        self.try_send(topic, &id, &envelope).unwrap_or_else(|error| panic!("plugin `{}` on {topic}: {error}", P::ID));
    }

    /// Sends a whole envelope. Nothing of a message that fails is kept.
    pub fn try_send(&mut self, topic: &str, id: &str, envelope: &Json) -> Result<(), PluginError> {
        let patterns = &self.declaration.topics;
        if !patterns.is_empty() && !patterns.iter().any(|pattern: &TopicPattern| pattern.matches(topic)) {
            return Ok(());
        }
        let body = envelope.to_string();
        let mut slots = vec![None; self.fields.len()];
        self.fields.extract(&body, &mut slots)?;
        let values: Vec<FieldValue<'_>> = slots.into_iter().map(FieldValue::from).collect();
        let message = Message::new(topic, id, self.time, &body, &values);
        let mut taken = Taken { declaration: &self.declaration, id, updates: Vec::new() };
        self.plugin.process(&message, &mut Updates::new(&mut taken, self.time))?;
        self.updates.append(&mut taken.updates);
        Ok(())
    }

    /// Every update so far, in order.
    pub fn updates(&self) -> &[Update] {
        &self.updates
    }

    /// Sum of a count over all time for these labels; 0 where nothing was added.
    pub fn count<const N: usize>(&self, metric: &str, labels: [&str; N]) -> i64 {
        self.of(metric, &labels).filter_map(|update| update.value.as_i64()).sum()
    }

    /// The newest value of these labels.
    pub fn latest<const N: usize>(&self, metric: &str, labels: [&str; N]) -> Option<Json> {
        let newest = self.of(metric, &labels).max_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
        newest.map(|update| update.value.clone())
    }

    /// The newest value of every label set, as an object from labels (joined by `/`) to values.
    pub fn all_latest(&self, metric: &str) -> Json {
        let mut newest: Vec<&Update> = self.updates.iter().filter(|update| update.metric == metric).collect();
        newest.sort_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)));
        Json::Object(
            newest.into_iter().map(|update| (update.labels.join("/"), update.value.clone())).collect::<Map<_, _>>(),
        )
    }

    fn of<'h>(&'h self, metric: &str, labels: &[&str]) -> impl Iterator<Item = &'h Update> {
        assert!(
            self.declaration.metrics.iter().any(|declared| declared.name == metric),
            "plugin `{}` has no metric `{metric}`",
            P::ID
        );
        self.updates.iter().filter(move |update| update.metric == metric && update.labels == labels)
    }
}

struct Taken<'h> {
    declaration: &'h Declaration,
    id: &'h str,
    updates: Vec<Update>,
}

impl Sink for Taken<'_> {
    fn update(&mut self, metric: u32, labels: &[Label<'_>], time: Timestamp, value: Value<'_>) {
        let metric = &self.declaration.metrics[metric as usize];
        let (name, dimensions) = (&metric.name, &metric.dimensions);
        assert_eq!(labels.len(), dimensions.len(), "metric `{name}` has the dimensions {dimensions:?}");
        let text = |label: &Label<'_>| match label.get() {
            LabelValue::Text(text) => text.to_owned(),
            LabelValue::Interned(handle) => self.declaration.interned_labels[handle.0 as usize].clone(),
        };
        let value = match (value, metric.kind) {
            (Value::Add(n), Kind::Count) => Json::from(n),
            (Value::Set(json), Kind::Latest { .. }) => serde_json::from_str(json).expect("values come from serde"),
            (value, kind) => panic!("metric `{name}` is a {}: {value:?} means nothing to it", kind.as_str()),
        };
        self.updates.push(Update {
            metric: name.clone(),
            labels: labels.iter().map(text).collect(),
            time,
            id: self.id.to_owned(),
            value,
        });
    }
}
