//! The whole of the engine over a simulated disk: what comes out is compared with an offline
//! recount of what was accepted.

mod backend;
mod catching_up;
mod clock;
mod compaction;
mod counters;
mod coverage;
mod faults;
mod history;
mod instances;
mod large;
mod limits;
mod model;
mod power;
mod time;

use std::collections::BTreeMap;
use std::sync::Arc;

use statscache_plugin_sdk::host::{Sink, create};
use statscache_plugin_sdk::{
    Count, Declaration, Declare, Field, InternedLabel, Keep, Kind, Latest, Legacy, Message, Metric, Plugin,
    PluginError, Timestamp, Updates,
};

use super::*;
use crate::bucket;
use crate::journal::{JournalConfig, SimulatedDir};
use crate::kind::{CountRule, LatestRule, Rule};
use crate::segment::{Cell, ChunkSource, Merged, PackedChunk, merge_sorted, rows};
use crate::store::Chunks;
use crate::store::backend::Backend;
use crate::view::{InstanceView, MetricView, TierView, View};
use backend::TestBackend;

/// When the tests begin: aligned to an hour.
pub(super) const BASE: i64 = 1_600_002_000_000_000;
const SECOND: i64 = 1_000_000;
const TIERS: &str = "1s for 1m, 1m for 2h, 1h forever";

fn at(secs: i64) -> Timestamp {
    Timestamp::from_micros(BASE + secs * SECOND)
}

/// Counts by topic and by a field, and keeps latest values. `/msg/act` makes it misbehave.
struct Sampler {
    kind: Field,
    n: Field,
    act: Field,
    by_topic: Count,
    by_kind: Count,
    newest: Latest,
    recent: Latest,
    no_kind: InternedLabel,
}

impl Plugin for Sampler {
    const ID: &'static str = "sampler";
    type Config = ();

    fn declare((): (), declare: &mut Declare) -> Result<Self, PluginError> {
        declare.topics(["org.example.#"]);
        Ok(Self {
            kind: declare.field("/msg/kind"),
            n: declare.field("/msg/n"),
            act: declare.field("/msg/act"),
            by_topic: declare.count(Metric::new("by_topic").by(["topic"]).tiers(TIERS)),
            by_kind: declare.count(Metric::new("by_kind").by(["kind"]).tiers(TIERS)),
            newest: declare.latest(Metric::new("newest").by(["kind"])),
            recent: declare.newest(Metric::new("recent"), 3),
            no_kind: declare.label("none"),
        })
    }

    fn process(&self, message: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        let n = message.get(self.n).as_i64().unwrap_or(1);
        updates.add(self.by_topic, [message.topic()], 1);
        match message.get(self.kind).as_str() {
            Some(kind) => {
                updates.add(self.by_kind, [&*kind], n);
                updates.set(self.newest, [&*kind], &n)?;
            }
            None => updates.add(self.by_kind, [self.no_kind], n),
        }
        updates.set(self.recent, (), &n)?;
        match message.get(self.act).as_str().as_deref() {
            Some("fail") => Err(PluginError::new("told to fail")),
            _ => Ok(()),
        }
    }
}

struct Native<P>(P);

impl<P: Plugin> Processor for Native<P> {
    fn process(&mut self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), Failure> {
        let result = self.0.process(message, &mut Updates::new(sink, message.time()));
        result.map_err(|error| Failure(error.to_string()))
    }
}

/// Code that talks to the sink itself.
struct Raw<F>(F);

impl<F: FnMut(&Message<'_>, &mut dyn Sink) -> Result<(), Failure> + Send> Processor for Raw<F> {
    fn process(&mut self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), Failure> {
        (self.0)(message, sink)
    }
}

fn sampler(id: &str) -> InstanceSpec {
    sampler_of(id, "1")
}

fn sampler_of(id: &str, fingerprint: &str) -> InstanceSpec {
    let (plugin, declaration) = create::<Sampler>("null").expect("it starts");
    spec(id, fingerprint, declaration, Native(plugin))
}

fn spec(id: &str, fingerprint: &str, declaration: Declaration, processor: impl Processor + 'static) -> InstanceSpec {
    InstanceSpec {
        id: id.to_owned(),
        plugin: "sampler".to_owned(),
        fingerprint: fingerprint.to_owned(),
        declaration: Arc::new(declaration),
        processor: Box::new(processor),
        role: Role::default(),
    }
}

/// A message as the tests make it.
#[derive(Clone, Debug, PartialEq)]
struct Msg {
    id: u32,
    with_year: bool,
    topic: &'static str,
    kind: Option<&'static str>,
    n: i64,
    /// Event time, microseconds.
    time: i64,
    act: &'static str,
}

fn msg(id: u32, secs: i64) -> Msg {
    let time = BASE + secs * SECOND;
    Msg { id, with_year: false, topic: "org.example.a", kind: Some("x"), n: 1, time, act: "" }
}

impl Msg {
    fn wire(&self) -> (Vec<u8>, Vec<u8>) {
        let year = if self.with_year { "2020-" } else { "" };
        let (secs, micros) = (self.time.div_euclid(SECOND), self.time.rem_euclid(SECOND));
        let kind = self.kind.map_or_else(String::new, |kind| format!("\"kind\": {kind:?}, "));
        let body = format!(
            "{{\"msg_id\": \"{year}{}\", \"timestamp\": {secs}.{micros:06}, \"msg\": {{{kind}\"n\": {}, \"act\": {:?}}}}}",
            self.text_id(),
            self.n,
            self.act
        );
        (self.topic.into(), body.into_bytes())
    }

    fn text_id(&self) -> String {
        format!("m{:05}", self.id)
    }
}

/// Time, id and JSON of a latest value.
type Value = (i64, String, String);

/// What is there, by (metric, tier, labels, start), and by (metric, labels).
#[derive(Debug, Default, PartialEq)]
struct Contents {
    counts: BTreeMap<(String, usize, Vec<String>, i64), i64>,
    latest: BTreeMap<(String, Vec<String>), Vec<Value>>,
}

/// Width and retention of tiers.
type Widths = [(i64, i64)];

/// [`TIERS`].
const WIDTHS: &Widths = &[(SECOND, 60 * SECOND), (60 * SECOND, 7200 * SECOND), (3600 * SECOND, i64::MAX)];

/// The offline recount: what a [`Sampler`] must hold of these messages.
fn recount<'m>(accepted: impl IntoIterator<Item = &'m Msg>, now: Timestamp) -> Contents {
    recount_in(WIDTHS, accepted, now)
}

fn recount_in<'m>(widths: &Widths, accepted: impl IntoIterator<Item = &'m Msg>, now: Timestamp) -> Contents {
    let mut contents = Contents::default();
    for message in accepted.into_iter().filter(|m| m.topic.starts_with("org.example") && m.act != "fail") {
        let kind = message.kind.unwrap_or("none").to_owned();
        for (number, (width, keep)) in widths.iter().copied().enumerate() {
            let start = message.time.div_euclid(width) * width;
            if (start + width).saturating_add(keep) > now.micros() {
                let mut add = |metric: &str, label: &str, n| {
                    let key = (metric.to_owned(), number, vec![label.to_owned()], start);
                    *contents.counts.entry(key).or_default() += n;
                };
                add("by_topic", message.topic, 1);
                add("by_kind", &kind, message.n);
            }
        }
        let value = (message.time, message.text_id(), message.n.to_string());
        if message.kind.is_some() {
            contents.latest.entry(("newest".to_owned(), vec![kind])).or_default().push(value.clone());
        }
        contents.latest.entry(("recent".to_owned(), vec![])).or_default().push(value);
    }
    for ((metric, _), values) in &mut contents.latest {
        values.sort_by(|a, b| b.cmp(a));
        values.truncate(if metric == "newest" { 1 } else { 3 });
    }
    contents.counts.retain(|_, n| *n != 0);
    contents
}

fn labels_of(metric: &MetricView) -> Vec<Vec<String>> {
    let sets = metric.series.iter().flat_map(|chunk| chunk.iter(metric.descriptor.dimensions.len()));
    sets.map(|set| set.expect("sound").into_iter().map(str::to_owned).collect()).collect()
}

fn cells_of<R: Rule>(
    rule: R,
    chunks: &dyn ChunkSource,
    tier: &TierView,
) -> Vec<(bucket::Partition, Vec<Cell<R::State>>)> {
    let mut partitions = Vec::new();
    for (partition, segments) in &tier.partitions {
        let merged = Merged::new(rule, chunks, segments.iter().map(|segment| &**segment), 0).expect("sound");
        partitions.push((*partition, merged.map(|cell| cell.expect("sound")).collect()));
    }
    partitions
}

/// What an instance holds, of the buckets that are kept still.
fn contents(view: &View, id: &str) -> Contents {
    contents_of(&view.instances[id], &*view.chunks, horizon(view))
}

/// The present as retention sees it.
fn horizon(view: &View) -> Timestamp {
    let newest = view.instances.values().filter_map(|instance| instance.cursor.watermark).max();
    newest.map_or(view.as_of, |newest| newest.min(view.as_of))
}

fn contents_of(instance: &InstanceView, chunks: &dyn ChunkSource, now: Timestamp) -> Contents {
    let mut contents = Contents::default();
    for metric in &instance.metrics {
        let name = &metric.descriptor.name;
        let labels = labels_of(metric);
        assert_eq!(labels.len(), metric.series_count as usize, "series of {name}");
        match metric.descriptor.kind {
            Kind::Count => {
                for (number, tier) in metric.descriptor.tiers.as_slice().iter().enumerate() {
                    for (partition, cells) in cells_of(CountRule, chunks, &metric.tiers[number]) {
                        for cell in cells.into_iter().filter(|cell| cell.state != 0) {
                            let start = bucket::start_of(partition, cell.place, tier.resolution);
                            if tier.keep == Keep::Forever || bucket::is_kept(*tier, start, now) {
                                let labels = labels[cell.series as usize].clone();
                                contents.counts.insert((name.clone(), number, labels, start.micros()), cell.state);
                            }
                        }
                    }
                }
            }
            Kind::Latest { n, ttl } => {
                let cells = cells_of(LatestRule { n, ttl }, chunks, &metric.tiers[0]);
                for cell in cells.into_iter().flat_map(|(_, cells)| cells) {
                    let values = cell.state.values.into_iter().map(|v| (v.time.micros(), v.id, v.json));
                    contents.latest.insert((name.clone(), labels[cell.series as usize].clone()), values.collect());
                }
            }
            other => panic!("a sampler has no {other:?}"),
        }
    }
    contents
}

/// Cells of every tier and partition, merged and packed; series numbered in order of their labels
/// instead of in order of their arrival.
type Canonical = BTreeMap<(String, usize, bucket::Partition), Vec<PackedChunk>>;

fn canonical(view: &View, id: &str) -> Canonical {
    canonical_of(&view.instances[id], &*view.chunks)
}

fn canonical_of(instance: &InstanceView, chunks: &dyn ChunkSource) -> Canonical {
    let mut packed = Canonical::new();
    for metric in &instance.metrics {
        let labels = labels_of(metric);
        let mut ordered: Vec<u32> = (0..metric.series_count).collect();
        ordered.sort_by_key(|series| &labels[*series as usize]);
        let mut ranks = vec![0; ordered.len()];
        for (rank, series) in (0..).zip(ordered) {
            ranks[series as usize] = rank;
        }
        for (number, tier) in metric.tiers.iter().enumerate() {
            crate::kind::with_rule!(metric.descriptor.kind, rule => {
                for (partition, cells) in cells_of(rule, chunks, tier) {
                    packed.insert((metric.descriptor.name.clone(), number, partition), repack(rule, cells, &ranks));
                }
            });
        }
    }
    packed.retain(|_, chunks| !chunks.is_empty());
    packed
}

fn repack<R: Rule>(rule: R, mut cells: Vec<Cell<R::State>>, ranks: &[u32]) -> Vec<PackedChunk> {
    cells.iter_mut().for_each(|cell| cell.series = ranks[cell.series as usize]);
    rows::pack(rule, merge_sorted(rule, cells))
}

/// What stays when a process ends.
#[derive(Clone, Debug)]
struct World {
    dir: SimulatedDir,
    backend: TestBackend,
    limits: Limits,
    journal: JournalConfig,
    naming: identity::Naming,
}

impl Default for World {
    fn default() -> Self {
        Self {
            dir: SimulatedDir::default(),
            backend: TestBackend::default(),
            limits: Limits { quarantine_after: 0, dedupe_window: i64::MAX / 2, ..Limits::default() },
            journal: JournalConfig { segment_bytes: 4 << 10, retain_bytes: u64::MAX, retain_micros: i64::MAX },
            naming: identity::Naming::default(),
        }
    }
}

impl World {
    fn try_start(&self, specs: Vec<InstanceSpec>, now: Timestamp) -> Result<Daemon, StartError> {
        let (journal, _) = Journal::open(Arc::new(self.dir.clone()), self.journal)?;
        let store = Store::open(Box::new(self.backend.clone()))?;
        let (engine, committer) = Engine::start(journal, store, specs, &self.naming, self.limits.clone(), now)?;
        Ok(Daemon { engine, committer })
    }

    fn start(&self, specs: Vec<InstanceSpec>, now: Timestamp) -> Daemon {
        self.try_start(specs, now).expect("it starts")
    }
}

/// What runs. Dropping it is `kill -9`.
struct Daemon {
    engine: Engine,
    committer: Committer,
}

impl Daemon {
    fn try_send(&mut self, messages: &[Msg], now: Timestamp) -> Result<(), JournalError> {
        let wire: Vec<_> = messages.iter().map(Msg::wire).collect();
        let batch = wire.iter().map(|(topic, body)| (&topic[..], &body[..]));
        let rejected = self.engine.ingest(batch, now)?;
        assert_eq!(rejected, [], "the tests' own messages are sound");
        Ok(())
    }

    fn send(&mut self, messages: &[Msg], now: Timestamp) {
        self.try_send(messages, now).expect("the journal works");
    }

    fn catch_up(&mut self, now: Timestamp) {
        for _ in 0..10_000 {
            if !self.engine.catch_up(64, now).expect("the journal works") {
                return;
            }
        }
        panic!("catching up does not end");
    }

    fn try_commit(&mut self, now: Timestamp) -> Result<Arc<View>, CommitError> {
        let mut prepared = self.committer.prepare(self.engine.take_commit(now))?;
        let view = self.committer.write(&mut prepared)?;
        self.engine.commit_written();
        Ok(view)
    }

    fn commit(&mut self, now: Timestamp) -> Arc<View> {
        self.try_commit(now).expect("the disk works")
    }
}

/// Time passes on the bus: a message that no instance wants.
fn tick(daemon: &mut Daemon, id: u32, now: Timestamp) {
    daemon.send(&[Msg { topic: "org.other", time: now.micros(), ..msg(id, 0) }], now);
}

/// The instance holds exactly what these messages amount to, in the view and in the rows.
fn check(world: &World, view: &View, id: &str, accepted: &[Msg], context: &str) {
    check_in(WIDTHS, world, view, id, accepted, context);
}

fn check_in(widths: &Widths, world: &World, view: &View, id: &str, accepted: &[Msg], context: &str) {
    let instance = &view.instances[id];
    assert_eq!(contents(view, id), recount_in(widths, accepted, horizon(view)), "{context}: view of {id}");
    let (store, mut contents) = Store::open(Box::new(world.backend.clone())).expect("it opens");
    let namespace = contents.namespaces.remove(&instance.ns).expect("it is stored");
    assert_eq!(namespace.cursor, instance.cursor, "{context}: cursor of {id}");
    let stored =
        InstanceView { metrics: MetricView::restore(namespace).expect("sound"), ..InstanceView::clone(instance) };
    let chunks = Chunks::new(Arc::new(store), 1 << 20);
    assert_eq!(canonical_of(&stored, &chunks), canonical(view, id), "{context}: rows of {id}");
}
