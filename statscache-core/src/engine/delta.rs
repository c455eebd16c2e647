//! What messages have changed since the last commit: cells by metric, in memory.

use std::{ops::Range, sync::Arc};

use rustc_hash::FxHashMap;
use statscache_plugin_sdk::{
    Declaration, InternedLabel, Kind, Label, LabelValue, MetricDescriptor, Resolution, Timestamp, host::Sink,
    host::Value,
};

use crate::{
    kind::{LatestState, LatestValue},
    limits::{
        COUNT_ADD_MAX, FUTURE_MICROS_MAX, Limits, UPDATE_BYTES_PER_MESSAGE_MAX, UPDATES_PER_MESSAGE_MAX,
        VALUE_DEPTH_MAX,
    },
    series::{SeriesChunk, SeriesId, SeriesTable},
    store::{Cursor, NamespaceId},
    view::InstanceState,
};

/// Changed cells of one metric, and label sets that are new.
pub struct MetricDelta {
    pub(super) new_series: Option<SeriesChunk>,
    pub(super) cells: DeltaCells,
}

/// Changed cells, by kind.
pub(super) enum DeltaCells {
    /// By series and start of the finest tier's bucket.
    Count(FxHashMap<(SeriesId, Timestamp), i64>),
    /// By series.
    Latest(FxHashMap<SeriesId, LatestState>),
}

/// Everything of one instance since the last commit.
pub(super) struct InstanceDelta {
    pub(super) instance: String,
    pub(super) ns: NamespaceId,
    pub(super) declaration: Arc<Declaration>,
    pub(super) cursor: Cursor,
    pub(super) state: InstanceState,
    pub(super) metrics: Vec<MetricDelta>,
}

impl DeltaCells {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Count => Self::Count(FxHashMap::default()),
            Kind::Latest { .. } => Self::Latest(FxHashMap::default()),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Count(cells) => cells.len(),
            Self::Latest(cells) => cells.len(),
        }
    }
}

/// Takes the updates of one message at a time and, if it succeeds, adds them to the delta.
pub struct Recorder {
    metrics: Vec<MetricWriter>,
    interned: Vec<String>,
    limits: Limits,
    pending: Vec<Pending>,
    /// Texts of pending changes.
    texts: String,
    /// What the plugin did that it must not; the message has failed then.
    fault: Option<String>,
    /// Updates of this message that a limit changed or refused.
    limited: u64,
    bytes: usize,
}

struct MetricWriter {
    name: String,
    kind: Kind,
    dimensions: usize,
    finest: Resolution,
    series: SeriesTable,
    cells: DeltaCells,
}

struct Pending {
    metric: u32,
    series: SeriesId,
    time: Timestamp,
    change: Change,
}

enum Change {
    Add(i64),
    /// Place of the text in [`Recorder::texts`].
    Set(Range<usize>),
}

/// What one message amounted to.
#[derive(Clone, Copy, Debug)]
pub struct Recorded {
    /// Updates kept.
    pub updates: u64,
    /// Updates that a limit changed or refused.
    pub limited: u64,
}

impl Recorder {
    /// Records into these metrics.
    pub fn new(
        metrics: impl Iterator<Item = (MetricDescriptor, SeriesTable)>,
        interned: Vec<String>,
        limits: &Limits,
    ) -> Self {
        let metrics = metrics.map(|(descriptor, series)| MetricWriter {
            kind: descriptor.kind,
            dimensions: descriptor.dimensions.len(),
            finest: descriptor.tiers.finest().resolution,
            name: descriptor.name,
            series,
            cells: DeltaCells::new(descriptor.kind),
        });
        Self {
            metrics: metrics.collect(),
            interned,
            limits: limits.clone(),
            pending: Vec::new(),
            texts: String::new(),
            fault: None,
            limited: 0,
            bytes: 0,
        }
    }

    /// Keeps the updates of the message, or says what was wrong with them and keeps none. A time
    /// that lies too far after the message's own is replaced by that.
    pub fn finish(&mut self, id: &str, time: Timestamp) -> Result<Recorded, String> {
        if let Some(fault) = self.fault.take() {
            self.discard();
            return Err(fault);
        }
        let updates = self.pending.len() as u64;
        let latest = time.plus_micros(FUTURE_MICROS_MAX);
        for mut pending in self.pending.drain(..) {
            if pending.time > latest {
                pending.time = time;
                self.limited += 1;
            }
            self.bytes += self.metrics[pending.metric as usize].apply(pending, id, &self.texts);
        }
        self.texts.clear();
        Ok(Recorded { updates, limited: std::mem::take(&mut self.limited) })
    }

    /// Takes the updates of the message back.
    pub(super) fn discard(&mut self) {
        self.pending.clear();
        self.texts.clear();
        self.metrics.iter_mut().for_each(|metric| metric.series.discard_new());
        self.fault = None;
        self.limited = 0;
    }

    pub(super) fn take(&mut self) -> Vec<MetricDelta> {
        self.bytes = 0;
        let metrics = self.metrics.iter_mut();
        metrics
            .map(|metric| MetricDelta {
                new_series: metric.series.take_new(),
                cells: std::mem::replace(&mut metric.cells, DeltaCells::new(metric.kind)),
            })
            .collect()
    }

    /// Memory of what was kept since the last [`Recorder::take`], about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn record(&mut self, metric: u32, labels: &[Label<'_>], time: Timestamp, value: Value<'_>) -> Result<(), String> {
        let Some(writer) = self.metrics.get_mut(metric as usize) else {
            return Err(format!("it updates metric number {metric}, which it has not declared"));
        };
        if labels.len() != writer.dimensions {
            let (name, expected, found) = (&writer.name, writer.dimensions, labels.len());
            return Err(format!("metric `{name}` has {expected} dimensions, the update has {found} labels"));
        }
        if self.pending.len() >= UPDATES_PER_MESSAGE_MAX {
            return Err(format!("it makes more than {UPDATES_PER_MESSAGE_MAX} updates of one message"));
        }
        if self.texts.len() > UPDATE_BYTES_PER_MESSAGE_MAX {
            return Err(format!("it sets more than {UPDATE_BYTES_PER_MESSAGE_MAX} bytes of values for one message"));
        }
        let change = match (value, writer.kind) {
            (Value::Add(n), Kind::Count) if n.unsigned_abs() <= COUNT_ADD_MAX as u64 => Change::Add(n),
            (Value::Add(n), Kind::Count) => {
                return Err(format!("it adds {n} to `{}`; the most is 2^53", writer.name));
            }
            (Value::Set(json), Kind::Latest { .. }) if fits(json, self.limits.value_bytes) => {
                let start = self.texts.len();
                self.texts.push_str(json);
                Change::Set(start..self.texts.len())
            }
            (Value::Set(_), Kind::Latest { .. }) => {
                // The plugin repeats what the bus says: too long or too deep is no fault of its own.
                self.limited += 1;
                return Ok(());
            }
            (_, kind) => {
                return Err(format!("metric `{}` is a {}; the update is for another kind", writer.name, kind.as_str()));
            }
        };
        let series = resolve(writer, labels, &self.interned, self.limits.label_bytes, &mut self.limited)?;
        self.pending.push(Pending { metric, series, time, change });
        Ok(())
    }
}

#[inline]
fn resolve(
    writer: &mut MetricWriter,
    labels: &[Label<'_>],
    interned: &[String],
    label_bytes: usize,
    limited: &mut u64,
) -> Result<SeriesId, String> {
    let mut texts = [""; Declaration::DIMENSIONS_MAX];
    for (text, label) in texts.iter_mut().zip(labels) {
        *text = match label.get() {
            LabelValue::Text(text) if text.len() <= label_bytes => text,
            LabelValue::Text(text) => {
                *limited += 1;
                cut(text, label_bytes)
            }
            LabelValue::Interned(InternedLabel(handle)) => interned
                .get(handle as usize)
                .ok_or_else(|| format!("it uses label handle {handle}, which it has not declared"))?,
        };
    }
    let folded = writer.series.folded;
    let series = writer.series.resolve(&texts[..labels.len()]);
    *limited += writer.series.folded - folded;
    Ok(series)
}

/// At most so many bytes of it, whole characters.
fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// Whether a value is neither too long nor too deep.
fn fits(json: &str, bytes_max: usize) -> bool {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    if json.len() > bytes_max {
        return false;
    }
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest <= VALUE_DEPTH_MAX
}

impl Sink for Recorder {
    #[inline]
    fn update(&mut self, metric: u32, labels: &[Label<'_>], time: Timestamp, value: Value<'_>) {
        if self.fault.is_some() {
            return;
        }
        if let Err(fault) = self.record(metric, labels, time, value) {
            self.fault = Some(fault);
        }
    }
}

impl MetricWriter {
    #[inline]
    /// Adds the change; says how much more memory it takes, about.
    fn apply(&mut self, pending: Pending, id: &str, texts: &str) -> usize {
        const CELL: usize = 64;
        self.series.keep(pending.series);
        match (&mut self.cells, pending.change) {
            (DeltaCells::Count(cells), Change::Add(n)) => {
                let before = cells.len();
                let cell = cells.entry((pending.series, pending.time.floor(self.finest))).or_default();
                *cell = cell.wrapping_add(n);
                (cells.len() - before) * CELL
            }
            (DeltaCells::Latest(cells), Change::Set(place)) => {
                let Kind::Latest { n } = self.kind else { unreachable!("cells are of the metric's kind") };
                let state = cells.entry(pending.series).or_default();
                let (before, json) = (state.len(), &texts[place]);
                offer(state, n, pending.time, id, json);
                (state.len() - before) * (2 * CELL + id.len() + json.len())
            }
            _ => unreachable!("changes were checked against the kind when they were recorded"),
        }
    }
}

/// Adds a value if it is among the newest. Looks before it copies, and what falls out gives its
/// memory: most messages are newer than the last.
fn offer(state: &mut LatestState, n: u32, time: Timestamp, id: &str, json: &str) {
    let key = |value: &LatestValue| (value.time, &*value.id, &*value.json) > (time, id, json);
    let place = state.partition_point(key);
    let is_known = state.get(place).is_some_and(|value| value.time == time && value.id == id && value.json == json);
    if place >= n as usize || is_known {
        return;
    }
    let fallen_out = if state.len() >= n as usize { state.pop() } else { None };
    let mut value = fallen_out.unwrap_or_else(|| LatestValue { time, id: String::new(), json: String::new() });
    value.time = time;
    id.clone_into(&mut value.id);
    json.clone_into(&mut value.json);
    state.insert(place, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_strings() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(fits(&nested(VALUE_DEPTH_MAX), 1000) && !fits(&nested(VALUE_DEPTH_MAX + 1), 1000));
        let text = format!("{{\"a\": \"\\\"{}\"}}", "[".repeat(200));
        assert!(fits(&text, 1000), "{text}");
        assert!(fits("12345", 5) && !fits("12345", 4));
    }
}
