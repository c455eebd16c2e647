//! What messages have changed since the last commit: cells by metric, in memory.

use std::sync::Arc;

use statscache_plugin_sdk::{
    Declaration, InternedLabel, Kind, Label, LabelValue, MetricDescriptor, Tiers, Timestamp, host::Sink, host::Value,
};

use super::cells::{Change, DeltaCells, Said};
use crate::{
    bucket,
    coverage::Reading,
    limits::{COUNT_ADD_MAX, Limits, UPDATE_BYTES_PER_MESSAGE_MAX, UPDATES_PER_MESSAGE_MAX, VALUE_DEPTH_MAX},
    series::{SeriesChunk, SeriesId, SeriesTable},
    store::{Cursor, NamespaceId},
    view::InstanceState,
};

/// Changed cells of one metric, and label sets that are new.
pub struct MetricDelta {
    pub(super) new_series: Option<SeriesChunk>,
    pub(super) cells: DeltaCells,
}

/// Everything of one instance since the last commit.
pub struct InstanceDelta {
    pub(super) instance: String,
    pub(super) ns: NamespaceId,
    pub(super) declaration: Arc<Declaration>,
    pub(super) cursor: Cursor,
    pub(super) reading: Reading,
    pub(super) state: InstanceState,
    /// The latest horizon that a message was folded by.
    pub(super) folded_by: Timestamp,
    pub(super) metrics: Vec<MetricDelta>,
}

impl InstanceDelta {
    /// Where its state is.
    pub fn ns(&self) -> NamespaceId {
        self.ns
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
    /// What limits did to updates of this message.
    counted: Recorded,
    bytes: usize,
}

struct MetricWriter {
    name: String,
    kind: Kind,
    dimensions: usize,
    tiers: Tiers,
    series: SeriesTable,
    cells: DeltaCells,
}

struct Pending {
    metric: u32,
    series: SeriesId,
    time: Timestamp,
    change: Change,
}

/// What one message amounted to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recorded {
    /// Updates kept.
    pub updates: u64,
    /// Updates that a limit changed or refused; those folded and refused are among them.
    pub limited: u64,
    /// Updates that went to `__other__`.
    pub folded: u64,
    /// Values refused.
    pub refused: u64,
    /// Updates too late for the finest tier.
    pub late: u64,
    /// Updates too late for every tier.
    pub too_late: u64,
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
            tiers: descriptor.tiers,
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
            counted: Recorded::default(),
            bytes: 0,
        }
    }

    /// Keeps the updates of the message, or says what was wrong with them and keeps none. A time
    /// that lies too far after the message's own is replaced by that. What a tier keeps no longer at
    /// the horizon is late for it.
    pub fn finish(&mut self, id: &str, time: Timestamp, horizon: Timestamp) -> Result<Recorded, String> {
        if let Some(fault) = self.fault.take() {
            self.discard();
            return Err(fault);
        }
        let mut counted = std::mem::take(&mut self.counted);
        counted.updates = self.pending.len() as u64;
        let latest = time.plus_micros(self.limits.event_ahead);
        let said = Said { id, texts: &self.texts };
        for (number, mut pending) in self.pending.drain(..).enumerate() {
            if pending.time > latest {
                pending.time = time;
                counted.limited += 1;
            }
            self.bytes += self.metrics[pending.metric as usize].apply(pending, (said, number), horizon, &mut counted);
        }
        self.texts.clear();
        Ok(counted)
    }

    /// Takes the updates of the message back.
    pub(super) fn discard(&mut self) {
        self.pending.clear();
        self.texts.clear();
        self.metrics.iter_mut().for_each(|metric| metric.series.discard_new());
        self.fault = None;
        self.counted = Recorded::default();
    }

    pub(super) fn take(&mut self) -> Vec<MetricDelta> {
        self.bytes = 0;
        let metrics = self.metrics.iter_mut();
        metrics.map(|metric| MetricDelta { new_series: metric.series.take_new(), cells: metric.cells.take() }).collect()
    }

    /// Memory of what was kept since the last [`Recorder::take`], about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory of its label sets, and of what was kept since the last [`Recorder::take`], about.
    pub(super) fn memory(&self) -> usize {
        self.bytes + self.metrics.iter().map(|metric| metric.series.memory()).sum::<usize>()
    }

    /// Whether new label sets are folded.
    pub(super) fn set_full(&mut self, is_full: bool) {
        self.metrics.iter_mut().for_each(|metric| metric.series.is_full = is_full);
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
        let texts = &mut self.texts;
        let mut keep = |text: &str| {
            let start = texts.len();
            texts.push_str(text);
            start..texts.len()
        };
        let change = match (value, writer.kind) {
            (Value::Add(n), Kind::Count) if n.unsigned_abs() <= COUNT_ADD_MAX as u64 => Change::Add(n),
            (Value::Add(n), Kind::Count) => {
                return Err(format!("it adds {n} to `{}`; the most is 2^53", writer.name));
            }
            (Value::Observe(x), Kind::Stat | Kind::Dist) if x.is_finite() => Change::Observe(x),
            (Value::Insert(member), Kind::Distinct) => Change::Insert(keep(member)),
            (Value::Hit(_, 0), Kind::Top { .. }) => return Ok(()),
            (Value::Hit(key, weight), Kind::Top { .. }) if weight <= COUNT_ADD_MAX as u64 => {
                let cut_key = cut(key, self.limits.label_bytes);
                self.counted.limited += u64::from(cut_key.len() < key.len());
                Change::Hit(keep(cut_key), weight)
            }
            (Value::Hit(key, weight), Kind::Top { .. }) => {
                return Err(format!("it gives {key:?} the weight {weight} in `{}`; the most is 2^53", writer.name));
            }
            (Value::Remove, Kind::Latest { .. }) => Change::Remove,
            (Value::Set(json), Kind::Latest { .. }) if fits(json, self.limits.value_bytes) => Change::Set(keep(json)),
            // The plugin repeats what the bus says: too long, too deep or no number is no fault of its own.
            (Value::Set(_), Kind::Latest { .. }) | (Value::Observe(_), Kind::Stat | Kind::Dist) => {
                self.counted.limited += 1;
                self.counted.refused += 1;
                return Ok(());
            }
            (_, kind) => {
                return Err(format!("metric `{}` is a {}; the update is for another kind", writer.name, kind.as_str()));
            }
        };
        let series = resolve(writer, labels, &self.interned, self.limits.label_bytes, &mut self.counted)?;
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
    counted: &mut Recorded,
) -> Result<SeriesId, String> {
    let mut texts = [""; Declaration::DIMENSIONS_MAX];
    for (text, label) in texts.iter_mut().zip(labels) {
        *text = match label.get() {
            LabelValue::Text(text) if text.len() <= label_bytes => text,
            LabelValue::Text(text) => {
                counted.limited += 1;
                cut(text, label_bytes)
            }
            LabelValue::Interned(InternedLabel(handle)) => interned
                .get(handle as usize)
                .ok_or_else(|| format!("it uses label handle {handle}, which it has not declared"))?,
        };
    }
    let folded = writer.series.folded;
    let series = writer.series.resolve(&texts[..labels.len()]);
    counted.limited += writer.series.folded - folded;
    counted.folded += writer.series.folded - folded;
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
    /// Adds the change; says how much more memory it takes, about.
    #[inline]
    fn apply(
        &mut self,
        pending: Pending,
        (said, number): (Said<'_>, usize),
        horizon: Timestamp,
        counted: &mut Recorded,
    ) -> usize {
        self.series.keep(pending.series);
        let start = match self.kind.is_bucketed() {
            true => self.bucket_of(pending.time, horizon, counted),
            false => Some(Timestamp::default()),
        };
        let Some(start) = start else { return 0 };
        self.cells.apply((pending.series, start), pending.time, pending.change, said, number)
    }

    /// Start of the bucket in the finest tier that keeps it, if there is one.
    #[inline]
    fn bucket_of(&self, time: Timestamp, horizon: Timestamp, counted: &mut Recorded) -> Option<Timestamp> {
        let mut tiers = self.tiers.as_slice().iter();
        let kept = tiers.position(|tier| bucket::is_kept(*tier, time, horizon));
        match kept {
            Some(0) => {}
            Some(_) => counted.late += 1,
            None => counted.too_late += 1,
        }
        kept.map(|number| time.floor(self.tiers.as_slice()[number].resolution))
    }
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
