//! The core in this process: an engine and its committer over real files, in simulated time. What
//! messages mean is up to the case; each stands for as many updates as a message may make.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context;
use statscache_core::{
    engine::{Committer, Engine, Failure, InstanceSpec, PreparedCommit, Processor},
    identity::Naming,
    journal::{Journal, JournalConfig},
    limits::{Limits, UPDATES_PER_MESSAGE_MAX},
    query::{self, Answer, Query},
    store::{SledBackend, Store},
    view::{MetricView, View},
};
use statscache_plugin_sdk::{
    Declaration, Kind, Message, MetricDescriptor, Tiers, Timestamp,
    abi::Label,
    host::{Sink, Value},
};
use statscache_server::memory;

/// When cases begin: 2025-01-01, a Wednesday.
pub(super) const BASE: i64 = 1_735_689_600;
pub(super) const HOUR: i64 = 3600;
pub(super) const DAY: i64 = 86_400;

/// One update.
#[derive(Clone, Copy)]
pub(super) struct Update {
    pub(super) metric: u32,
    /// Which label set: the case's own number.
    pub(super) series: u32,
    /// Seconds since the epoch.
    pub(super) secs: i64,
    /// Added to a count, or set as a latest value.
    pub(super) n: i64,
}

/// What a latest value is, made of the number of its update.
pub(super) type Written = fn(i64) -> String;

/// Labels of a label set, by the case's number.
pub(super) type Labels = Box<dyn Fn(u32, &mut dyn FnMut(&[&str])) + Send>;

struct Teller {
    said: Arc<Mutex<Vec<Update>>>,
    kinds: Vec<Kind>,
    labels: Labels,
    written: Written,
}

impl Processor for Teller {
    fn process(&mut self, _: &Message<'_>, sink: &mut dyn Sink) -> Result<(), Failure> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        for update in said.drain(..) {
            let json;
            let value = match self.kinds[update.metric as usize] {
                Kind::Count => Value::Add(update.n),
                _ => {
                    json = (self.written)(update.n);
                    Value::Set(&json)
                }
            };
            (self.labels)(update.series, &mut |texts| {
                let mut labels = [Label::from(""); Declaration::DIMENSIONS_MAX];
                for (label, text) in labels.iter_mut().zip(texts) {
                    *label = Label::from(*text);
                }
                sink.update(update.metric, &labels[..texts.len()], Timestamp::from_secs(update.secs), value);
            });
        }
        Ok(())
    }
}

/// An engine and its committer.
pub(super) struct Core {
    pub(super) engine: Engine,
    pub(super) committer: Committer,
    said: Arc<Mutex<Vec<Update>>>,
    messages: u64,
}

impl Core {
    /// Opens what is in the directory, or creates it.
    pub(super) fn open(
        dir: &Path,
        metrics: Vec<MetricDescriptor>,
        labels: Labels,
        limits: Limits,
        secs: i64,
    ) -> anyhow::Result<Self> {
        Self::open_with(dir, metrics, (labels, |n| n.to_string()), limits, secs)
    }

    /// The same, with latest values of another form.
    pub(super) fn open_with(
        dir: &Path,
        metrics: Vec<MetricDescriptor>,
        (labels, written): (Labels, Written),
        limits: Limits,
        secs: i64,
    ) -> anyhow::Result<Self> {
        let (journal, _) = Journal::open_path(&dir.join("journal"), JournalConfig::default())?;
        let opened = Store::open(Box::new(SledBackend::open(&dir.join("store"))?))?;
        let said = Arc::<Mutex<Vec<Update>>>::default();
        let kinds = metrics.iter().map(|metric| metric.kind).collect();
        let spec = InstanceSpec {
            id: "measured".to_owned(),
            plugin: "measured".to_owned(),
            fingerprint: String::new(),
            declaration: Arc::new(Declaration { metrics, ..Declaration::default() }),
            processor: Box::new(Teller { said: said.clone(), kinds, labels, written }),
            role: statscache_core::engine::Role::Present,
        };
        let messages = journal.next_sequence();
        let (engine, committer) =
            Engine::start(journal, opened, vec![spec], &Naming::default(), limits, Timestamp::from_secs(secs))?;
        Ok(Self { engine, committer, said, messages })
    }

    /// Sends messages that make these updates; without any, one that makes none.
    pub(super) fn say(&mut self, updates: &[Update], secs: i64) -> anyhow::Result<()> {
        let mut chunks = updates.chunks(UPDATES_PER_MESSAGE_MAX);
        let mut chunk = chunks.next().unwrap_or_default();
        loop {
            self.said.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(chunk);
            let body = format!("{{\"msg_id\": \"m{}\", \"timestamp\": {secs}}}", self.messages);
            self.messages += 1;
            let message = (&b"org.example.measured"[..], body.as_bytes());
            let rejected = self.engine.ingest([message].into_iter(), Timestamp::from_secs(secs))?;
            anyhow::ensure!(rejected.is_empty(), "a message was rejected: {rejected:?}");
            match chunks.next() {
                Some(next) => chunk = next,
                None => return Ok(()),
            }
        }
    }

    /// Commits, as the daemon's two threads do together; says what was written.
    pub(super) fn commit(&mut self, secs: i64) -> anyhow::Result<PreparedCommit> {
        let now = Timestamp::from_secs(secs);
        let pending = self.engine.take_commit(now);
        let mut prepared = self.committer.prepare(pending)?;
        self.committer.write(&mut prepared)?;
        memory::give_back_after(prepared.bytes_len());
        self.engine.commit_written();
        self.engine.retain(now)?;
        if let Some(unreadable) = self.committer.take_unreadable() {
            anyhow::bail!("a segment does not read: {unreadable}");
        }
        Ok(prepared)
    }

    /// Commits until nothing is left to compact or to remove; says at what time that was.
    pub(super) fn settle(&mut self, mut secs: i64) -> anyhow::Result<i64> {
        let mut idle = 0;
        while idle < 3 {
            secs += 61;
            idle = if self.commit(secs)?.rows() == 0 { idle + 1 } else { 0 };
        }
        Ok(secs)
    }

    /// The view of the last commit.
    pub(super) fn view(&self) -> Arc<View> {
        self.committer.view()
    }

    /// Answers from the last commit.
    pub(super) fn ask(&self, metric: usize, query: &Query, secs: i64) -> anyhow::Result<Answer> {
        let view = self.view();
        let now = Timestamp::from_secs(secs);
        let metric = metric_of(&view, metric)?;
        let instance = view.instances.values().next().context("there is an instance")?;
        let from = query::From {
            chunks: &*view.chunks,
            coverage: &view.coverage,
            now,
            horizon: view.horizon.min(now),
            moves: instance.moves_of(metric),
            cells_max: u64::MAX,
        };
        Ok(query::run(metric, query, from)?)
    }
}

/// A metric of the only instance.
pub(super) fn metric_of(view: &View, metric: usize) -> anyhow::Result<&Arc<MetricView>> {
    let instance = view.instances.values().next().context("there is an instance")?;
    instance.metrics.get(metric).context("there is such a metric")
}

/// A metric.
pub(super) fn metric<const N: usize>(name: &str, kind: Kind, dimensions: [&str; N], tiers: Tiers) -> MetricDescriptor {
    MetricDescriptor {
        name: name.to_owned(),
        kind,
        dimensions: dimensions.map(str::to_owned).to_vec(),
        unit: String::new(),
        description: String::new(),
        tiers,
        legacy: None,
        moved: None,
    }
}

/// One label, written when it is wanted.
pub(super) fn numbered(prefix: &'static str) -> Labels {
    Box::new(move |series, take| take(&[&format!("{prefix}{series:06}")]))
}

/// Bytes of the files of a directory: as long as they are, and as they are allocated.
pub(super) fn disk_bytes(dir: &Path) -> anyhow::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let (mut len, mut allocated) = (0, 0);
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // Snapshots come and go meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            let below = disk_bytes(&entry.path())?;
            (len, allocated) = (len + below.0, allocated + below.1);
        } else {
            (len, allocated) = (len + metadata.len(), allocated + metadata.blocks() * 512);
        }
    }
    Ok((len, allocated))
}
