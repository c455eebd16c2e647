//! What is tested: the engine, its committer, the journal and the store, on the real file system. Everything that this
//! harness asks of them is here.

use std::{path::Path, sync::Arc};

use anyhow::{Context, bail, ensure};
use statscache_core::{
    bucket,
    engine::{Committer, Engine, Failure, InstanceSpec, Processor, Role},
    identity::Naming,
    journal::{Journal, JournalConfig},
    kind::{CountRule, LatestRule, Rule},
    limits::Limits,
    segment::{Cell, Merged},
    store::{SledBackend, Store},
    view::{InstanceView, MetricView, View},
};
use statscache_plugin_sdk::{
    Declaration, Kind, Message,
    abi::Label,
    host::{Sink, Value},
};

use super::stream::{self, Contents, INSTANCES, Stream};

/// Small, so that segments follow each other and the oldest are dropped.
const JOURNAL: JournalConfig =
    JournalConfig { segment_bytes: 24 << 10, retain_bytes: 96 << 10, retain_micros: i64::MAX / 2 };
const READ_BYTES: usize = 64 << 10;

/// Says what a message of the stream means.
struct Teller(Stream);

impl Processor for Teller {
    fn process(&mut self, message: &Message<'_>, sink: &mut dyn Sink) -> Result<(), Failure> {
        let number = Stream::number(message.id()).ok_or_else(|| Failure("not of the stream".to_owned()))?;
        for update in self.0.updates(number) {
            let texts = Stream::labels(update.metric, update.series);
            let labels: Vec<Label<'_>> = texts.iter().map(|text| Label::from(text.as_str())).collect();
            let json = Stream::json(update.n);
            let value = match update.metric {
                0 | 1 => Value::Add(update.n),
                _ => Value::Set(&json),
            };
            sink.update(update.metric as u32, &labels, update.time, value);
        }
        Ok(())
    }
}

fn specs(stream: Stream) -> anyhow::Result<Vec<InstanceSpec>> {
    let spec = |(id, topics): (&str, &str)| {
        let topics = vec![topics.parse()?];
        let declaration = Declaration { topics, metrics: stream::metrics(), ..Declaration::default() };
        anyhow::Ok(InstanceSpec {
            id: id.to_owned(),
            plugin: "teller".to_owned(),
            fingerprint: "1".to_owned(),
            declaration: Arc::new(declaration),
            processor: Box::new(Teller(stream)),
            role: Role::Present,
        })
    };
    INSTANCES.into_iter().map(spec).collect()
}

/// What was on the disk.
pub(super) struct Found {
    /// Sequences of the journal: the oldest, and the next one.
    pub(super) journal: (u64, u64),
    /// How far the store had got, of the instance that had got least.
    pub(super) store: u64,
}

/// Journal, store and engine, running.
pub(super) struct Subject {
    engine: Engine,
    committer: Committer,
    stream: Stream,
}

impl Subject {
    /// Opens what is in the directory, or creates it.
    pub(super) fn open(dir: &Path, stream: Stream) -> anyhow::Result<(Self, Found)> {
        let (journal, recovery) = Journal::open_path(&dir.join("journal"), JOURNAL).context("journal")?;
        ensure!(recovery.missing.is_empty(), "the journal misses {:?}", recovery.missing);
        let next = recovery.next;
        let backend = SledBackend::open(&dir.join("store")).context("store")?;
        let opened = Store::open(Box::new(backend)).context("store")?;
        let cursor = |id: &str| {
            let namespace = opened.1.namespaces.values().find(|namespace| namespace.record.instance == id);
            namespace.map_or(1, |namespace| namespace.cursor.next)
        };
        let store = INSTANCES.into_iter().map(|(id, _)| cursor(id)).min().unwrap_or(1);
        let found = Found { journal: (recovery.first, next), store };
        let limits = Limits { dedupe_window: i64::MAX / 4, ..Limits::default() };
        let (engine, committer) =
            Engine::start(journal, opened, specs(stream)?, &Naming::default(), limits, stream.arrival(next))
                .context("engine")?;
        if let Some(gap) = engine.ahead_of_journal() {
            bail!("the state is ahead of the journal by {gap:?}");
        }
        Ok((Self { engine, committer, stream }, found))
    }

    /// Brings every instance to the journal's end.
    pub(super) fn catch_up(&mut self, next: u64) -> anyhow::Result<()> {
        while self.engine.catch_up(READ_BYTES, self.stream.arrival(next))? {}
        Ok(())
    }

    /// Takes messages of the stream; says how many were new.
    pub(super) fn feed(&mut self, numbers: std::ops::Range<u64>) -> anyhow::Result<u64> {
        let before = self.engine.counters().accepted;
        let now = self.stream.arrival(numbers.end);
        let messages: Vec<_> = numbers.map(|number| (self.stream.topic(number), self.stream.body(number))).collect();
        let batch = messages.iter().map(|(topic, body)| (topic.as_bytes(), body.as_bytes()));
        let rejected = self.engine.ingest(batch, now)?;
        ensure!(rejected.is_empty(), "rejected: {rejected:?}");
        Ok(self.engine.counters().accepted - before)
    }

    /// Makes everything before `next` durable; `promised` is called when it is.
    pub(super) fn commit(&mut self, next: u64, promised: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let now = self.stream.arrival(next);
        let pending = self.engine.take_commit(now);
        let mut prepared = self.committer.prepare(pending)?;
        self.committer.write(&mut prepared)?;
        promised()?;
        self.engine.commit_written();
        self.engine.retain(now)?;
        match self.committer.take_unreadable() {
            Some(unreadable) => bail!("a segment does not read: {unreadable}"),
            None => Ok(()),
        }
    }

    /// Compares everything that is held with a recount of the stream's messages before `next`.
    pub(super) fn compare(&self, next: u64) -> anyhow::Result<()> {
        let view = self.committer.view();
        for (id, topics) in INSTANCES {
            let instance = view.instances.get(id).with_context(|| format!("{id} is gone"))?;
            let cursor = instance.cursor;
            ensure!(cursor.next == next && cursor.missed == 0, "{id} is at {cursor:?}, should be at {next}");
            let expected = Contents::recount(self.stream, topics, next, view.horizon);
            if let Some(difference) = contents(&view, instance)?.difference(&expected) {
                bail!("{id} at {next}: {difference}");
            }
        }
        Ok(())
    }
}

/// Checks that the journal holds the stream's messages, from the oldest that it still has.
pub(super) fn compare_journal(dir: &Path, stream: Stream, (first, next): (u64, u64)) -> anyhow::Result<()> {
    let mut reader = Journal::open_read_only(&dir.join("journal"))?.0.reader(first);
    let mut expected = first;
    loop {
        let chunk = reader.next_chunk(READ_BYTES)?;
        ensure!(chunk.gap().is_none(), "the journal has a gap: {:?}", chunk.gap());
        if chunk.is_empty() {
            ensure!(expected == next, "the journal ends at {expected}, should end at {next}");
            return Ok(());
        }
        for (sequence, record) in chunk.iter() {
            let (topic, body) = (stream.topic(expected), stream.body(expected));
            let is_same = record.topic == topic.as_bytes() && record.body == body.as_bytes();
            ensure!(sequence == expected && is_same, "record {sequence} of the journal is not message {expected}");
            expected += 1;
        }
    }
}

/// What an instance holds, of the buckets that are kept still.
fn contents(view: &View, instance: &InstanceView) -> anyhow::Result<Contents> {
    let mut contents = Contents { processed: instance.cursor.processed, ..Contents::default() };
    for (position, metric) in instance.metrics.iter().enumerate() {
        let series = label_sets(metric)?;
        let number = |cell: u32| series.get(cell as usize).copied().context("a cell without a label set");
        match metric.descriptor.kind {
            Kind::Latest { n, ttl } => {
                for (_, cell) in cells(LatestRule { n, ttl }, view, metric, 0)? {
                    let values = cell.state.values.into_iter().map(|value| (value.time.micros(), value.id, value.json));
                    contents.latest.insert((position, number(cell.series)?), values.collect());
                }
            }
            _ => {
                for (tier, of) in metric.descriptor.tiers.as_slice().iter().enumerate() {
                    for (partition, cell) in cells(CountRule, view, metric, tier)? {
                        let start = bucket::start_of(partition, cell.place, of.resolution);
                        if cell.state != 0 && bucket::is_kept(*of, start, view.horizon) {
                            let key = (position, tier, number(cell.series)?, start.micros());
                            contents.counts.insert(key, cell.state);
                        }
                    }
                }
            }
        }
    }
    Ok(contents)
}

/// The stream's numbers of a metric's label sets; checks that each is whole.
fn label_sets(metric: &MetricView) -> anyhow::Result<Vec<u32>> {
    let descriptor = &metric.descriptor;
    let position =
        stream::metrics().iter().position(|known| known.name == descriptor.name).context("no such metric")?;
    let mut found = Vec::new();
    for labels in metric.series.iter().flat_map(|chunk| chunk.iter(descriptor.dimensions.len())) {
        let labels = labels?;
        let series = Stream::series(&labels).with_context(|| format!("{labels:?} are no labels of ours"))?;
        ensure!(Stream::labels(position, series) == labels, "{labels:?} are no labels of ours");
        found.push(series);
    }
    Ok(found)
}

/// A cell and the partition that it is in.
type Placed<R> = (bucket::Partition, Cell<<R as Rule>::State>);

fn cells<R: Rule>(rule: R, view: &View, metric: &MetricView, tier: usize) -> anyhow::Result<Vec<Placed<R>>> {
    let mut found = Vec::new();
    for (partition, segments) in &metric.tiers[tier].partitions {
        for cell in Merged::new(rule, &*view.chunks, segments.iter().map(|segment| &**segment), 0)? {
            found.push((*partition, cell?));
        }
    }
    Ok(found)
}
