//! `journal-cost`: what exactness costs a message. The same messages in the same batches, on one thread:
//!
//! * with: [`Intake`] and [`Runner`]s as in the daemon; fields, identity and window, journal on the real file system
//!   (written, not synced: that is once a commit, on another thread), live tail, plugins, deltas;
//! * without: fields, id and time, plugins, deltas. Nothing is remembered, written or handed on.
//!
//! Neither receives anything, nor commits. Beside them, the journal and the window alone.

use std::{collections::HashMap, ops::Range, path::Path};

use anyhow::{Context, ensure};
use statscache_core::{
    engine::{Engine, Incoming, InstanceSpec, Intake, Recorder, Runner, Step},
    identity::Naming,
    identity::{
        self,
        window::{Sight, Window},
    },
    journal::{Audience, Journal, JournalConfig, Record},
    limits::Limits,
    series::SeriesTable,
    store::{MemoryBackend, Store},
};
use statscache_plugin_sdk::{Message, Timestamp, abi::FieldValue, host::FieldSet};
use statscache_server::{
    config::Config,
    host::{BundledPlugin, Host},
};

use super::{Figure, median, process, process::Role, stream};

const BAR: f64 = 1.75;
/// Different messages.
const DISTINCT: u64 = 20_000;
/// Messages of a batch, about 64 KB as the daemon's source makes them.
const BATCH: usize = 40;
/// Letters of an id before the digits that are counted up.
const BEFORE_DIGITS: usize = "2023-00000000-0000-4000-8000-".len();

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let (messages, rounds) = if quick { (200_000, 5) } else { (500_000, 9) };
    println!("{rounds} rounds of {messages} messages of {} bytes, volume and releng", stream::mean_bytes()?);
    let mut folder = Role::start(&["folder", &messages.to_string(), &rounds.to_string()])?;
    let mut columns = [const { Vec::new() }; 4];
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let line = folder.line()?;
        let micros: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>().context("four figures")?;
        let [with, without, journal, window] = micros[..] else { anyhow::bail!("the folder says {line}") };
        println!(
            "round {round}: with {with:.2} us, without {without:.2} us; journal alone {journal:.2} us, identity and window \
             alone {window:.2} us of CPU a message"
        );
        columns.iter_mut().zip(micros).for_each(|(column, micros)| column.push(micros));
        ratios.push(with / without);
    }
    let [with, without, journal, window] = columns.map(|mut column| median(&mut column));
    println!(
        "median: with {with:.2} us, without {without:.2} us, {:.2} us more; journal alone {journal:.2} us, identity and \
         window alone {window:.2} us",
        with - without
    );
    Ok(vec![Figure { what: "with / without", value: median(&mut ratios), unit: "x", bar: BAR }])
}

/// The role that folds; for each round prints CPU of a message, microseconds: with, without, journal, window.
pub(super) fn fold(messages: &str, rounds: &str, bundled: &[BundledPlugin]) -> anyhow::Result<()> {
    let (messages, rounds): (u64, u64) = (messages.parse()?, rounds.parse()?);
    let home = tempfile::tempdir()?;
    let mut config = Config::default();
    config.data.dir = home.path().to_owned();
    let specs = || Host::new(bundled).instances(&config, &[], &Default::default()).specs;
    let mut batches = Batches::new();
    for _ in 0..rounds {
        let dir = tempfile::tempdir()?;
        let mut with = With::open(dir.path(), specs())?;
        let with = batches.micros(messages, |batch| with.take(batch))?;
        let mut without = Without::new(specs());
        let without = batches.micros(messages, |batch| without.take(batch))?;
        let (mut journal, _) = Journal::open_path(&dir.path().join("alone"), JournalConfig::default())?;
        let journal = batches.micros(messages, |batch| only_journal(&mut journal, batch))?;
        let (mut window, mut sequence) = (Window::new(&Limits::default()), 0);
        let window = batches.micros(messages, |batch| only_window((&mut window, &mut sequence), batch))?;
        println!("{with} {without} {journal} {window}");
    }
    Ok(())
}

/// Messages one behind the other.
#[derive(Default)]
struct Batch {
    data: Vec<u8>,
    /// Lengths of topic and body.
    index: Vec<(usize, usize)>,
    /// Where in the body the id is.
    ids: Vec<Range<usize>>,
}

impl Batch {
    fn clear(&mut self) {
        self.data.clear();
        self.index.clear();
        self.ids.clear();
    }

    /// Topics and bodies.
    fn iter(&self) -> impl Iterator<Item = anyhow::Result<(&str, &str)>> {
        let mut rest = &self.data[..];
        self.index.iter().map(move |(topic, body)| {
            let (this, next) = rest.split_at(topic + body);
            rest = next;
            let (topic, body) = this.split_at(*topic);
            Ok((std::str::from_utf8(topic)?, std::str::from_utf8(body)?))
        })
    }
}

/// Messages in batches, each with an id of its own in each pass.
struct Batches {
    messages: Vec<(String, String, usize)>,
}

impl Batches {
    fn new() -> Self {
        Self { messages: stream::messages(DISTINCT) }
    }

    /// CPU of a message, microseconds, without what it takes to make batches.
    fn micros(&mut self, messages: u64, mut take: impl FnMut(&mut Batch) -> anyhow::Result<()>) -> anyhow::Result<f64> {
        let (mut batch, mut cpu, mut number) = (Batch::default(), 0.0, 0);
        while number < messages {
            batch.clear();
            let Batch { data, index, ids } = &mut batch;
            for _ in 0..BATCH {
                let (topic, body, id) = &self.messages[(number % DISTINCT) as usize];
                data.extend_from_slice(topic.as_bytes());
                let digits = stream::id_digits(number);
                let (start, id) = (data.len(), *id);
                data.extend_from_slice(body.as_bytes());
                data[start + id..start + id + digits.len()].copy_from_slice(digits.as_bytes());
                index.push((topic.len(), body.len()));
                ids.push(id - BEFORE_DIGITS..id + digits.len());
                number += 1;
            }
            let before = process::thread_cpu_secs();
            take(&mut batch)?;
            cpu += process::thread_cpu_secs() - before;
        }
        Ok(cpu * 1e6 / number as f64)
    }
}

fn now() -> Timestamp {
    Timestamp::from_secs(1_700_100_000)
}

/// Everything.
struct With {
    intake: Intake,
    runners: Vec<Runner>,
}

impl With {
    fn open(dir: &Path, specs: Vec<InstanceSpec>) -> anyhow::Result<Self> {
        let (journal, _) = Journal::open_path(&dir.join("journal"), JournalConfig::default())?;
        let opened = Store::open(Box::new(MemoryBackend::default()))?;
        let (engine, _) = Engine::start(journal, opened, specs, &Naming::default(), Limits::default(), now())?;
        let (intake, runners) = engine.into_parts();
        Ok(Self { intake, runners })
    }

    fn take(&mut self, batch: &mut Batch) -> anyhow::Result<()> {
        let mut rejected = 0;
        let incoming = Incoming { data: &mut batch.data, index: &batch.index };
        self.intake.ingest(incoming, now(), &mut |_, _, _| rejected += 1)?;
        for runner in &mut self.runners {
            let step = runner.step(usize::MAX, now(), &mut || false)?;
            ensure!(step == Step::Moved, "{} does not move: {step:?}", runner.id());
        }
        let counters = self.intake.counters();
        ensure!(rejected == 0 && counters.duplicates == 0, "not all are new messages");
        Ok(())
    }
}

/// Parsing and folding only.
struct Without {
    fields: FieldSet,
    id: usize,
    time: usize,
    instances: Vec<Bare>,
}

struct Bare {
    spec: InstanceSpec,
    slots: Vec<usize>,
    recorder: Recorder,
    routes: HashMap<String, bool>,
}

impl Without {
    fn new(specs: Vec<InstanceSpec>) -> Self {
        let limits = Limits::default();
        let mut fields = FieldSet::default();
        let (id, time) = (fields.insert("/msg_id"), fields.insert("/timestamp"));
        let bare = |spec: InstanceSpec| {
            let declaration = &spec.declaration;
            let slots = declaration.fields.iter().map(|pointer| fields.insert(pointer)).collect();
            let metrics = declaration
                .metrics
                .iter()
                .map(|metric| (metric.clone(), SeriesTable::new(metric.dimensions.len(), limits.series_per_metric)));
            let recorder = Recorder::new(metrics, declaration.interned_labels.clone(), &limits);
            Bare { slots, recorder, routes: HashMap::new(), spec }
        };
        let instances = specs.into_iter().map(bare).collect();
        Self { fields, id, time, instances }
    }

    fn take(&mut self, batch: &Batch) -> anyhow::Result<()> {
        let mut found = vec![None; self.fields.len()];
        for message in batch.iter() {
            let (topic, body) = message?;
            self.fields.extract(body, &mut found)?;
            let id = found[self.id].context("an id")?.trim_matches('"');
            let secs = found[self.time].context("a time")?.parse()?;
            let time = Timestamp::from_secs(secs);
            for instance in &mut self.instances {
                instance.take((topic, identity::normalize_msg_id(id), time, body), &found)?;
            }
        }
        Ok(())
    }
}

impl Bare {
    fn take(
        &mut self,
        (topic, id, time, body): (&str, &str, Timestamp, &str),
        found: &[Option<&str>],
    ) -> anyhow::Result<()> {
        let patterns = &self.spec.declaration.topics;
        let wants = match self.routes.get(topic) {
            Some(wants) => *wants,
            None => {
                let wants = patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(topic));
                *self.routes.entry(topic.to_owned()).or_insert(wants)
            }
        };
        if wants {
            let fields: Vec<FieldValue<'_>> = self.slots.iter().map(|slot| found[*slot].into()).collect();
            let message = Message::new(topic, id, time, body, &fields);
            self.spec.processor.process(&message, &mut self.recorder)?;
            self.recorder.finish(id, time, time).map_err(anyhow::Error::msg)?;
        }
        Ok(())
    }
}

fn only_journal(journal: &mut Journal, batch: &Batch) -> anyhow::Result<()> {
    for message in batch.iter() {
        let (topic, body) = message?;
        journal.push(&Record {
            received: now().micros(),
            time: now().micros(),
            identity: 1,
            audience: Audience::EVERYONE,
            is_stamped: true,
            is_mark: false,
            topic: topic.as_bytes(),
            body: body.as_bytes(),
        });
    }
    Ok(journal.write()?)
}

fn only_window((window, sequence): (&mut Window, &mut u64), batch: &Batch) -> anyhow::Result<()> {
    for (message, id) in batch.iter().zip(&batch.ids) {
        let (_, body) = message?;
        let id = identity::normalize_msg_id(&body[id.clone()]);
        let (identity, fingerprint) = (identity::of_id(id), identity::fingerprint(body.as_bytes()));
        ensure!(window.look(identity, fingerprint) == Sight::New, "a message is there twice");
        window.insert(identity, *sequence, fingerprint, now().micros());
        *sequence += 1;
    }
    Ok(())
}
