//! Runs a plugin without a daemon.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use crate::{
    Declaration, Plugin, PluginError, Timestamp, TopicPattern, Updates,
    abi::{FieldValue, Label, LabelValue},
    descriptor::MetricDescriptor,
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
    /// For a count the number that was added; for a stat or a dist the number that was observed, null
    /// for one that is not finite; for a distinct the member; for a top `{"key": "bash", "weight": 1}`;
    /// for a latest the value, as a string of its JSON text where [`serde_json::Value`] cannot hold it.
    pub value: Json,
    /// Whether it takes the latest value away; `value` is null then.
    pub removed: bool,
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
        let id = made_up_id(self.sent);
        let time = self.time;
        let envelope =
            json!({"topic": topic, "msg": msg, "msg_id": id, "timestamp": time.micros() as f64 / 1e6, "i": self.sent});
        self.try_send(topic, &id, &envelope).unwrap_or_else(|error| panic!("plugin `{}` on {topic}: {error}", P::ID));
    }

    /// Sends a whole envelope. Nothing of a message that fails is kept.
    pub fn try_send(&mut self, topic: &str, id: &str, envelope: &Json) -> Result<(), PluginError> {
        self.deliver(topic, id, self.time, &envelope.to_string())
    }

    /// Sends envelopes, one JSON object on each line, as `examples/messages/demo.jsonl` has them.
    /// Each has a `topic`; `msg_id` and `timestamp` are read as the daemon reads them, and made up
    /// where there are none. Unlike the daemon, it takes the same message twice.
    ///
    /// # Panics
    /// As [`Harness::send`], and at a line that is no such envelope. The text says which line.
    pub fn send_jsonl(&mut self, text: &str) {
        let lines = text.lines().enumerate().map(|(i, line)| (i + 1, line.trim()));
        for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
            let mut own = FieldSet::default();
            let [topic, id, time] = ["/topic", "/msg_id", "/timestamp"].map(|pointer| own.insert(pointer));
            let mut slots = [None; 3];
            own.extract(line, &mut slots).unwrap_or_else(|error| panic!("line {number} is not JSON: {error}"));
            let field = |slot: usize| slots[slot].map_or_else(crate::Json::default, crate::Json::from_raw);
            let topic = field(topic).as_str().unwrap_or_else(|| panic!("line {number} has no `topic` that is a text"));
            self.sent += 1;
            let id = field(id).as_str().map(|id| without_year(&id).to_owned()).filter(|id| !id.is_empty());
            let id = id.unwrap_or_else(|| made_up_id(self.sent));
            let time = field(time).as_f64().and_then(read_time).unwrap_or(self.time);
            self.deliver(&topic, &id, time, line)
                .unwrap_or_else(|error| panic!("plugin `{}` on line {number}, {topic}: {error}", P::ID));
        }
    }

    fn deliver(&mut self, topic: &str, id: &str, time: Timestamp, body: &str) -> Result<(), PluginError> {
        let patterns = &self.declaration.topics;
        if !patterns.is_empty() && !patterns.iter().any(|pattern: &TopicPattern| pattern.matches(topic)) {
            return Ok(());
        }
        let mut slots = vec![None; self.fields.len()];
        self.fields.extract(body, &mut slots)?;
        let values: Vec<FieldValue<'_>> = slots.into_iter().map(FieldValue::from).collect();
        let message = Message::new(topic, id, time, body, &values);
        let mut taken = Taken { declaration: &self.declaration, id, updates: Vec::new() };
        self.plugin.process(&message, &mut Updates::new(&mut taken, time))?;
        self.updates.append(&mut taken.updates);
        Ok(())
    }

    /// Every update so far, in order.
    pub fn updates(&self) -> &[Update] {
        &self.updates
    }

    /// Sum of a count over all time for these labels; 0 where nothing was added.
    ///
    /// # Panics
    /// Like all that follow: if there is no such metric, or it is of another kind.
    pub fn count<const N: usize>(&self, metric: &str, labels: [&str; N]) -> i64 {
        self.of(metric, &labels, &["count"]).filter_map(|update| update.value.as_i64()).sum()
    }

    /// Sum of the numbers that a stat or a dist observed for these labels; 0 where there are none.
    pub fn sum<const N: usize>(&self, metric: &str, labels: [&str; N]) -> f64 {
        self.observations(metric, labels).into_iter().fold(0.0, |sum, x| sum + x)
    }

    /// The numbers that a stat or a dist observed for these labels, in order, without those that
    /// the daemon leaves out because they are not finite.
    pub fn observations<const N: usize>(&self, metric: &str, labels: [&str; N]) -> Vec<f64> {
        self.of(metric, &labels, &["stat", "dist"]).filter_map(|update| update.value.as_f64()).collect()
    }

    /// The different members of a distinct for these labels.
    pub fn members<const N: usize>(&self, metric: &str, labels: [&str; N]) -> BTreeSet<String> {
        let members = self.of(metric, &labels, &["distinct"]).filter_map(|update| update.value.as_str());
        members.map(str::to_owned).collect()
    }

    /// All keys of a top for these labels with the sums of their weights.
    pub fn hits<const N: usize>(&self, metric: &str, labels: [&str; N]) -> BTreeMap<String, u64> {
        let mut hits = BTreeMap::new();
        for update in self.of(metric, &labels, &["top"]) {
            if let (Some(key), Some(weight)) = (update.value["key"].as_str(), update.value["weight"].as_u64()) {
                let sum: &mut u64 = hits.entry(key.to_owned()).or_default();
                *sum = sum.saturating_add(weight);
            }
        }
        hits
    }

    /// The newest value of these labels; `None` where there is none, or it was removed. Time to
    /// live is the daemon's affair: nothing expires here.
    pub fn latest<const N: usize>(&self, metric: &str, labels: [&str; N]) -> Option<Json> {
        newest(self.of(metric, &labels, &["latest"])).map(|update| update.value.clone())
    }

    /// The newest value of every label set that has one, as an object from labels (joined by `/`)
    /// to values.
    pub fn all_latest(&self, metric: &str) -> Json {
        let mut by_labels: BTreeMap<&[String], Vec<&Update>> = BTreeMap::new();
        for update in self.all(metric, &["latest"]).0 {
            by_labels.entry(&update.labels).or_default().push(update);
        }
        let newest = by_labels.into_values().filter_map(newest);
        Json::Object(newest.map(|update| (update.labels.join("/"), update.value.clone())).collect::<Map<_, _>>())
    }

    fn of<'h>(&'h self, metric: &str, labels: &[&str], kinds: &[&str]) -> impl Iterator<Item = &'h Update> {
        let (updates, declared) = self.all(metric, kinds);
        let dimensions = &declared.dimensions;
        assert_eq!(labels.len(), dimensions.len(), "metric `{metric}` has the dimensions {dimensions:?}");
        updates.filter(move |update| update.labels == labels)
    }

    /// All updates of a metric of one of these kinds.
    fn all<'h>(
        &'h self,
        metric: &str,
        kinds: &[&str],
    ) -> (impl Iterator<Item = &'h Update> + use<'h, P>, &'h MetricDescriptor) {
        let declared = self.declaration.metrics.iter().find(|declared| declared.name == metric);
        let declared = declared.unwrap_or_else(|| panic!("plugin `{}` has no metric `{metric}`", P::ID));
        let (kind, asked) = (declared.kind.as_str(), kinds.join(" or a "));
        assert!(kinds.contains(&kind), "metric `{metric}` is a {kind}, and this asks for a {asked}");
        (self.updates.iter().filter(move |update| update.metric == declared.name), declared)
    }
}

/// The newest value of one label set. A removal wins over values at its time or before.
fn newest<'h>(updates: impl IntoIterator<Item = &'h Update>) -> Option<&'h Update> {
    let (removals, values): (Vec<_>, Vec<_>) = updates.into_iter().partition(|update| update.removed);
    let removed = removals.iter().map(|update| update.time).max();
    let left = values.into_iter().filter(|update| Some(update.time) > removed);
    left.max_by(|a, b| (a.time, &a.id).cmp(&(b.time, &b.id)))
}

fn made_up_id(number: u64) -> String {
    format!("{number:08x}-0000-4000-8000-000000000000")
}

/// A `msg_id` without the `YYYY-` that some publishers put in front.
fn without_year(id: &str) -> &str {
    match id.split_at_checked(5) {
        Some((year, rest)) if year.ends_with('-') && year.bytes().take(4).all(|b| b.is_ascii_digit()) => rest,
        _ => id,
    }
}

/// Seconds since the epoch, from 1970 to 9999; else the message has no time.
fn read_time(secs: f64) -> Option<Timestamp> {
    const YEAR_10000: f64 = 253_402_300_800.0;
    (0.0..YEAR_10000).contains(&secs).then(|| Timestamp::from_micros((secs * 1e6).round() as i64))
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
        let json = match (value, metric.kind) {
            (Value::Add(n), Kind::Count) => Json::from(n),
            (Value::Observe(x), Kind::Stat | Kind::Dist) => Json::from(x),
            (Value::Insert(member), Kind::Distinct) => Json::from(member),
            (Value::Hit(key, weight), Kind::Top { .. }) => json!({"key": key, "weight": weight}),
            (Value::Set(json), Kind::Latest { .. }) => serde_json::from_str(json).unwrap_or_else(|_| Json::from(json)),
            (Value::Remove, Kind::Latest { .. }) => Json::Null,
            (value, kind) => panic!("metric `{name}` is a {}: {value:?} means nothing to it", kind.as_str()),
        };
        self.updates.push(Update {
            metric: name.clone(),
            labels: labels.iter().map(text).collect(),
            time,
            id: self.id.to_owned(),
            value: json,
            removed: value == Value::Remove,
        });
    }
}

#[cfg(test)]
mod tests;
