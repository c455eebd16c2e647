//! Figures of the daemon itself: every name once, in Prometheus' text format (version 0.0.4).

use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
    sync::{Mutex, PoisonError},
};

use statscache_core::{engine::Counters, view::View};
use statscache_plugin_sdk::Timestamp;

use crate::bus::SourceStats;

/// What the ingest thread tells the others.
#[derive(Clone, Copy, Debug, Default)]
pub struct IngestFigures {
    /// What became of messages.
    pub counters: Counters,
    /// Commits written.
    pub commits: u64,
    /// Bytes of the store on disk.
    pub store_bytes: u64,
    /// Libraries of plugins that were opened; none is ever unloaded.
    pub libraries: usize,
    /// Memory that is accounted for, bytes, and the most that it may be.
    pub memory: (usize, usize),
    /// Whether new label sets are folded because of it.
    pub memory_full: bool,
}

/// What the answers to queries came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnswerFigures {
    /// Made.
    pub made: u64,
    /// Found among those made for others.
    pub found: u64,
    /// Bytes of those kept.
    pub bytes: u64,
}

/// What is pushed to clients.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamFigures {
    /// Streams open.
    pub streams: usize,
    /// Different questions that they follow.
    pub questions: usize,
}

/// Shared figures.
#[derive(Debug, Default)]
pub struct Telemetry {
    ingest: Mutex<IngestFigures>,
    stalled: Mutex<BTreeMap<String, Timestamp>>,
}

impl Telemetry {
    /// Changes the figures.
    pub fn update(&self, change: impl FnOnce(&mut IngestFigures)) {
        change(&mut self.ingest.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The figures now.
    pub fn ingest(&self) -> IngestFigures {
        *self.ingest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Instances that do not return from a message, and since when.
    pub fn stalled(&self) -> BTreeMap<String, Timestamp> {
        self.stalled.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets [`Telemetry::stalled`]; logs who is new.
    pub fn set_stalled(&self, stalled: BTreeMap<String, Timestamp>) {
        let mut known = self.stalled.lock().unwrap_or_else(PoisonError::into_inner);
        for id in stalled.keys().filter(|id| !known.contains_key(*id)) {
            tracing::error!(id, "the plugin does not return from a message; the others go on without it");
        }
        for id in known.keys().filter(|id| !stalled.contains_key(*id)) {
            tracing::info!(id, "the plugin has returned");
        }
        *known = stalled;
    }

    /// All figures as text.
    pub fn render(&self, view: &View, bus: &SourceStats, answers: AnswerFigures, pushed: StreamFigures) -> String {
        let mut text = Text::default();
        let ingest = self.ingest();
        let counters = ingest.counters;
        text.one("statscache_messages_accepted_total", "counter", "messages written to the journal", counters.accepted);
        text.one("statscache_messages_duplicate_total", "counter", "messages seen before", counters.duplicates);
        text.one(
            "statscache_messages_id_conflict_total",
            "counter",
            "messages whose id another message has, counted as well",
            counters.id_conflicts,
        );
        text.one("statscache_messages_repaired_total", "counter", "messages with NaN or Infinity", counters.repaired);
        text.one(
            "statscache_messages_future_total",
            "counter",
            "messages from the future, kept in the journal and handed to no plugin",
            counters.future,
        );
        text.one(
            "statscache_dedupe_forgotten_early_total",
            "counter",
            "identities forgotten before their window had passed",
            counters.forgotten_early,
        );
        text.one(
            "statscache_dedupe_unchecked_total",
            "counter",
            "messages stamped before the window, which may have been seen before",
            counters.unchecked,
        );
        text.one(
            "statscache_history_fetched_total",
            "counter",
            "messages fetched from the history service and written to the journal",
            counters.fetched,
        );
        text.one("statscache_commits_total", "counter", "commits written", ingest.commits);
        text.one("statscache_store_bytes", "gauge", "bytes of the store on disk", ingest.store_bytes);
        text.one("statscache_libraries", "gauge", "libraries of plugins opened, none is unloaded", ingest.libraries);
        let (memory, memory_max) = ingest.memory;
        text.one("statscache_memory_bytes", "gauge", "memory of label sets, deltas, indexes and the cache", memory);
        text.one("statscache_memory_limit_bytes", "gauge", "beyond it new label sets are folded", memory_max);
        text.one(
            "statscache_memory_full",
            "gauge",
            "1 while new label sets are folded because of it",
            u64::from(ingest.memory_full),
        );
        let (hits, misses) = view.chunks.hits_and_misses();
        text.one("statscache_cache_bytes", "gauge", "chunks of the state kept in memory", view.chunks.bytes());
        text.one("statscache_cache_hits_total", "counter", "chunks found there", hits);
        text.one("statscache_cache_misses_total", "counter", "chunks read from the store", misses);
        text.one("statscache_answers_made_total", "counter", "answers to queries that were made", answers.made);
        text.one("statscache_answers_found_total", "counter", "answers that were there already", answers.found);
        text.one("statscache_answers_bytes", "gauge", "answers kept as they were sent", answers.bytes);
        text.one("statscache_streams", "gauge", "streams of events open", pushed.streams);
        text.one("statscache_stream_questions", "gauge", "different questions that they follow", pushed.questions);
        text.one("statscache_journal_bytes", "gauge", "bytes of the journal", view.journal.bytes);
        text.one("statscache_journal_first_sequence", "gauge", "oldest sequence kept", view.journal.first);
        text.one("statscache_journal_next_sequence", "gauge", "sequence of the next message", view.journal.next);
        let as_of = view.as_of.micros() as f64 / 1e6;
        text.one("statscache_view_timestamp_seconds", "gauge", "when the view was published", as_of);
        bus_figures(&mut text, bus);
        instance_figures(&mut text, view);
        text.0
    }
}

/// How the daemon is: parts and whether they are in trouble, and what is free on the disk, if that is known.
pub fn render_state(parts: &[(&str, bool)], disk_free: Option<u64>) -> String {
    let mut text = Text::default();
    text.head("statscache_build_info", "gauge", "1, with the version");
    text.sample("statscache_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.head("statscache_trouble", "gauge", "1 while this part cannot do its work, see /readyz");
    for (part, is_in_trouble) in parts {
        text.sample("statscache_trouble", &[("part", part)], u64::from(*is_in_trouble));
    }
    if let Some(free) = disk_free {
        text.one("statscache_disk_free_bytes", "gauge", "bytes free where the data is", free);
    }
    text.0
}

fn bus_figures(text: &mut Text, bus: &SourceStats) {
    let endpoints = bus.snapshot();
    type Column = (&'static str, &'static str, &'static str, fn(&crate::bus::EndpointSnapshot) -> u64);
    let columns: [Column; 10] = [
        ("statscache_bus_messages_total", "counter", "messages received", |e| e.messages),
        ("statscache_bus_bytes_total", "counter", "bytes of messages received", |e| e.bytes),
        ("statscache_bus_dropped_total", "counter", "messages dropped because the queue was full", |e| {
            e.dropped_messages
        }),
        ("statscache_bus_replayed_total", "counter", "messages missed and brought by asking", |e| {
            e.replay.as_ref().map_or(0, |replay| replay.replayed)
        }),
        ("statscache_bus_lost_total", "counter", "numbered messages missed that could not be had", |e| {
            e.replay.as_ref().map_or(0, |replay| replay.lost)
        }),
        ("statscache_bus_rejected_total", "counter", "messages rejected", |e| e.rejected),
        ("statscache_bus_connects_total", "counter", "connections made", |e| e.connects),
        ("statscache_bus_disconnects_total", "counter", "connections lost", |e| e.disconnects),
        ("statscache_bus_peers", "gauge", "publishers connected", |e| e.peers),
        ("statscache_bus_last_message_timestamp_seconds", "gauge", "when the last message came, 0 for never", |e| {
            e.last_message_us.map_or(0, |micros| micros.max(0) as u64 / 1_000_000)
        }),
    ];
    for (name, kind, help, value) in columns {
        text.head(name, kind, help);
        for endpoint in &endpoints {
            text.sample(name, &[("endpoint", &endpoint.endpoint)], value(endpoint));
        }
    }
    text.head("statscache_rejected_total", "counter", "messages rejected, by kind");
    for (kind, count) in bus.rejects.counts() {
        text.sample("statscache_rejected_total", &[("kind", kind.as_str())], count);
    }
    text.one("statscache_queue_messages", "gauge", "messages waiting for the engine", bus.queue.messages());
    text.one("statscache_queue_bytes", "gauge", "memory of messages waiting", bus.queue.bytes());
    text.one("statscache_queue_limit_bytes", "gauge", "bound of that memory", bus.queue.limit_bytes());
    text.one(
        "statscache_queue_dropped_total",
        "counter",
        "messages dropped because it was full",
        bus.queue.dropped_messages(),
    );
}

fn instance_figures(text: &mut Text, view: &View) {
    type Column = (&'static str, &'static str, &'static str, fn(&View, &statscache_core::view::InstanceView) -> u64);
    let columns: [Column; 12] = [
        ("statscache_plugin_processed_total", "counter", "messages handed to the plugin", |_, i| i.cursor.processed),
        ("statscache_plugin_failed_total", "counter", "messages on which it failed", |_, i| i.cursor.failed),
        ("statscache_plugin_updates_total", "counter", "updates that it made", |_, i| i.cursor.updates),
        ("statscache_plugin_limited_total", "counter", "updates changed or refused by a limit", |_, i| {
            i.cursor.limited
        }),
        ("statscache_plugin_missed_total", "counter", "messages gone before it read them", |_, i| i.cursor.missed),
        ("statscache_plugin_folded_total", "counter", "updates counted under __other__", |_, i| i.cursor.folded),
        ("statscache_plugin_refused_total", "counter", "values refused", |_, i| i.cursor.refused),
        ("statscache_plugin_late_total", "counter", "updates too late for the finest buckets", |_, i| i.cursor.late),
        ("statscache_plugin_too_late_total", "counter", "updates too late for all", |_, i| i.cursor.too_late),
        ("statscache_plugin_lag_messages", "gauge", "messages that it has yet to read", View::lag),
        ("statscache_plugin_running", "gauge", "1 if it takes messages", |_, i| {
            u64::from(i.state == statscache_core::view::InstanceState::Running)
        }),
        ("statscache_plugin_state_bytes", "gauge", "size of its state, packed", |_, i| {
            i.metrics.iter().map(|metric| metric.bytes_len()).sum()
        }),
    ];
    for (name, kind, help, value) in columns {
        text.head(name, kind, help);
        for (id, instance) in &view.instances {
            text.sample(name, &[("plugin", id)], value(view, instance));
        }
    }
    text.head("statscache_metric_series", "gauge", "label sets of a metric");
    for (id, instance) in &view.instances {
        for metric in &instance.metrics {
            let labels = [("plugin", id.as_str()), ("metric", metric.descriptor.name.as_str())];
            text.sample("statscache_metric_series", &labels, metric.series_count);
        }
    }
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        self.sample(name, &[], value);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        match labels.is_empty() {
            true => self.line(format_args!("{name} {value}")),
            false => self.line(format_args!("{name}{{{}}} {value}", labels.join(","))),
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
