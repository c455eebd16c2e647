//! Every option of the file: its name, its range, and what it must agree with.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use statscache_core::identity::Naming;
use statscache_plugin_sdk::{TopicPattern, TopicPatternError};
use toml::de::DeTable;

use super::json;
use super::problem::Problem;
use super::reader::{Reader, Refusal, Table, must};
use super::units::show_size;
use super::{
    AdminConfig, BusClient, BusConfig, BusWhenFull, Config, DataConfig, HistoryConfig, HttpConfig, InstanceConfig,
    JournalSettings, LimitsConfig, LogConfig, LogLevel, PluginsConfig,
};
use crate::bus::{Endpoint, EndpointMode};
use crate::history::HistoryUrl;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Longest body; with its topic and id it still fits into a record of the journal.
const MESSAGE_BYTES_MAX: u64 = 63 * MIB;
/// Longest id of a plugin or an instance.
const ID_LEN_MAX: usize = 64;
/// Longest subscription; no topic that is accepted is longer.
const PREFIX_BYTES_MAX: usize = 1024;

/// The configuration, or everything that is wrong with it, at least one thing. Relative paths start from `dir`.
pub(super) fn read(text: &str, dir: &Path) -> Result<Config, Vec<Problem>> {
    let (config, reader) = read_with(text, dir);
    let problems = reader.finish();
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// The configuration as far as it goes, and the reader that knows what is wrong with it.
pub(super) fn read_with<'i>(text: &'i str, dir: &Path) -> (Config, Reader<'i>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (tree, mut errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader::new(text);
    errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
    for error in &errors {
        reader.syntax(error);
    }
    // A tree whose keys all have a place can be read on; otherwise one lost bracket would look like many mistakes.
    if errors.iter().any(|error| error.message() != "duplicate key") {
        return (Config::default(), reader);
    }
    let config = reader.top(tree.get_ref(), |top| Config {
        bus: top.table("bus", bus),
        http: top.table("http", http),
        admin: top.table("admin", |table| admin(table, dir)),
        data: top.table("data", |table| data(table, dir)),
        journal: top.table("journal", journal),
        history: top.table("history", history),
        plugins: top.table("plugins", |table| plugins(table, dir)),
        limits: top.table("limits", limits),
        log: top.table("log", log),
        instances: instances(top, dir),
    });
    (config, reader)
}

fn bus(table: &mut Table<'_, '_>) -> BusConfig {
    let default = BusConfig::default();
    let endpoint =
        |mode| move |text: &str| Endpoint::parse(text, mode).map_err(|error| Refusal::Says(error.to_string()));
    let config = BusConfig {
        endpoints: table.list("endpoints", default.endpoints, endpoint(EndpointMode::Connect)),
        bind: table.list("bind", default.bind, endpoint(EndpointMode::Bind)),
        replay: table.pairs("replay", endpoint(EndpointMode::Connect)),
        subscribe: table.list("subscribe", default.subscribe, prefix),
        client: table.choice("client", default.client, &[("zmtp", BusClient::Zmtp), ("zeromq", BusClient::Zeromq)]),
        queue_bytes_max: table.memory("queue", default.queue_bytes_max, MIB..=64 * GIB),
        when_full: table.choice(
            "when_full",
            default.when_full,
            &[("drop", BusWhenFull::Drop), ("wait", BusWhenFull::Wait)],
        ),
        message_bytes_max: table.memory("max_message", default.message_bytes_max, KIB..=MESSAGE_BYTES_MAX),
        silence: table.span("silence", default.silence, seconds(1, 86_400)),
        heartbeat: table.span("heartbeat", default.heartbeat, seconds(1, 3600)),
        dedupe_window: table.span("dedupe_window", default.dedupe_window, seconds(1, 30 * 86_400)),
        dedupe_ids_max: table.count("dedupe_max_ids", default.dedupe_ids_max, 1000..=1_000_000_000),
        naming: Naming {
            pointers: table.list("id_pointers", default.naming.pointers, json_pointer),
            topics: table.list("id_topics", default.naming.topics, topic_pattern),
        },
    };
    for (publisher, _) in config.replay.iter().filter(|(publisher, _)| !config.endpoints.contains(publisher)) {
        table.complain("replay", &format!("{:?} is not one of `endpoints`", publisher.to_string()));
    }
    if config.naming.pointers.is_empty() && !config.naming.topics.is_empty() {
        table.complain(
            "id_topics",
            "means nothing without `id_pointers`, which say what makes two messages there the same",
        );
    }
    if config.subscribe.is_empty() && table.has("subscribe") {
        table.complain("subscribe", "an empty list receives nothing; write [\"\"] to receive everything");
    }
    config
}

fn admin(table: &mut Table<'_, '_>, dir: &Path) -> AdminConfig {
    let file = |text: &str| if text.is_empty() { Ok(None) } else { path(text, dir).map(Some) };
    AdminConfig { token_file: table.text("token_file", AdminConfig::default().token_file, file) }
}

fn http(table: &mut Table<'_, '_>) -> HttpConfig {
    HttpConfig { listen: table.text("listen", HttpConfig::default().listen, socket_addr) }
}

fn data(table: &mut Table<'_, '_>, dir: &Path) -> DataConfig {
    let default = DataConfig::default();
    DataConfig {
        dir: table.text("dir", dir.join(default.dir), |text| path(text, dir)),
        commit_interval: table.span(
            "commit_interval",
            default.commit_interval,
            Duration::from_millis(100)..=Duration::from_secs(60),
        ),
    }
}

fn journal(table: &mut Table<'_, '_>) -> JournalSettings {
    let default = JournalSettings::default();
    let config = JournalSettings {
        segment_bytes: table.size("segment", default.segment_bytes, MIB..=4 * GIB),
        bytes_max: table.size("max_bytes", default.bytes_max, 2 * MIB..=64 * TIB),
        age_max: table.span("max_age", default.age_max, seconds(60, 3650 * 86_400)),
    };
    // Retention drops whole segments and never the one being written: with less it could not drop any.
    if config.bytes_max < 2 * config.segment_bytes {
        let key = if table.has("max_bytes") { "max_bytes" } else { "segment" };
        let (segment, all) = (show_size(config.segment_bytes), show_size(config.bytes_max));
        table.complain(key, &format!("max_bytes ({all}) must be at least twice segment ({segment})"));
    }
    config
}

fn history(table: &mut Table<'_, '_>) -> HistoryConfig {
    let default = HistoryConfig::default();
    let url = |text: &str| match text {
        "" => Ok(None),
        text => HistoryUrl::parse(text).map(Some).map_err(|error| Refusal::Says(error.to_string())),
    };
    HistoryConfig {
        url: table.text("url", default.url, url),
        reach: table.span("reach", default.reach, seconds(60, 3650 * 86_400)),
        settle: table.span("settle", default.settle, seconds(1, 86_400)),
        overlap: table.span("overlap", default.overlap, seconds(1, 3600)),
        rate: table.count("rate", default.rate as usize, 1..=1000) as u32,
        timeout: table.span("timeout", default.timeout, seconds(1, 600)),
        serve: table.flag("serve", default.serve),
    }
}

fn plugins(table: &mut Table<'_, '_>, dir: &Path) -> PluginsConfig {
    let default = PluginsConfig::default();
    PluginsConfig {
        dirs: table.list("dirs", default.dirs, |text| path(text, dir)),
        bundled: table.flag("bundled", default.bundled),
        quarantine_after: table.count("quarantine_after", default.quarantine_after as usize, 1..=1_000_000) as u32,
        grace: table.span("grace", default.grace, seconds(1, 366 * 86_400)),
        hold: table.flag("hold", default.hold),
    }
}

fn limits(table: &mut Table<'_, '_>) -> LimitsConfig {
    let default = LimitsConfig::default();
    let config = LimitsConfig {
        series_per_metric_max: table.count("series_per_metric", default.series_per_metric_max, 1..=100_000_000),
        label_bytes_max: table.memory("label_bytes", default.label_bytes_max, 16..=64 * KIB),
        value_bytes_max: table.memory("value_bytes", default.value_bytes_max, 16..=16 * MIB),
        metrics_max: table.count("metrics", default.metrics_max, 1..=100_000),
        event_ahead_max: table.span("event_ahead", default.event_ahead_max, seconds(1, 366 * 86_400)),
        memory_bytes_max: table.memory("memory", default.memory_bytes_max, 32 * MIB..=1024 * GIB),
        cache_bytes_max: table.memory("cache", default.cache_bytes_max, MIB..=512 * GIB),
        answers_bytes_max: table.memory("answers", default.answers_bytes_max, MIB..=64 * GIB),
        query_rows_max: table.count("query_rows", default.query_rows_max, 1..=10_000_000),
        connections_max: table.count("connections", default.connections_max, 1..=1_000_000),
    };
    if config.memory_bytes_max < 2 * config.cache_bytes_max {
        let key = if table.has("memory") { "memory" } else { "cache" };
        let (cache, all) = (show_size(config.cache_bytes_max as u64), show_size(config.memory_bytes_max as u64));
        table.complain(key, &format!("memory ({all}) must be at least twice cache ({cache}), which is part of it"));
    }
    config
}

fn log(table: &mut Table<'_, '_>) -> LogConfig {
    use LogLevel::{Debug, Error, Info, Trace, Warn};
    let words = [Error, Warn, Info, Debug, Trace].map(|level| (level.as_str(), level));
    LogConfig { level: table.choice("level", LogConfig::default().level, &words) }
}

fn instances(top: &mut Table<'_, '_>, dir: &Path) -> Vec<InstanceConfig> {
    let mut taken: Vec<(String, usize)> = Vec::new();
    top.tables("instance", |table| {
        if !table.has("plugin") {
            table.complain("plugin", "is missing; name the plugin, such as plugin = \"volume\"");
        }
        let plugin = table.text("plugin", String::new(), id);
        let own_id = table.text("id", None, |text| id(text).map(Some));
        let line = table.line();
        let (id, key) = match own_id {
            Some(id) => (id, "id"),
            None if table.has("id") => (String::new(), "id"),
            None => (plugin.clone(), "plugin"),
        };
        match taken.iter().find(|(other, _)| *other == id) {
            Some((_, other)) => table.complain(
                key,
                &format!("`{id}` is the id of the instance at line {other} already; give this one an id of its own"),
            ),
            None if id.is_empty() => {} // Missing or refused, and said so.
            None => taken.push((id.clone(), line)),
        }
        InstanceConfig { plugin, id, enabled: table.flag("enabled", true), config: instance_config(table, dir), line }
    })
}

/// What a plugin is given: `config`, and what the file of `config_file` has. A key in both would leave open which counts.
fn instance_config(table: &mut Table<'_, '_>, dir: &Path) -> serde_json::Value {
    let mut config = table.json("config");
    let file = |text: &str| if text.is_empty() { Ok(None) } else { path(text, dir).map(Some) };
    let Some(file) = table.text("config_file", None, file) else { return config };
    match json::file(&file) {
        Ok(more) => {
            for (key, value) in more {
                if config.get(&key).is_some() {
                    let message = format!("`{key}` is in {} and in config, too; keep one of the two", file.display());
                    table.complain("config_file", &message);
                }
                config[&key] = value;
            }
        }
        Err(why) => table.complain("config_file", &why),
    }
    config
}

fn id(text: &str) -> Result<String, Refusal> {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || text.len() > ID_LEN_MAX || !text.bytes().all(is_part) {
        return Err(must(format!("1 to {ID_LEN_MAX} lower-case letters, digits and `-`")));
    }
    Ok(text.to_owned())
}

fn prefix(text: &str) -> Result<String, Refusal> {
    if let Some(at) = text.find(['*', '#']) {
        return Err(Refusal::Says(format!(
            "{text:?} has a wildcard, and only the topics of plugins can; the bus compares the first bytes: \
             write {:?} to receive every topic that begins so",
            &text[..at]
        )));
    }
    if text.len() > PREFIX_BYTES_MAX {
        return Err(must(format!("at most {PREFIX_BYTES_MAX} bytes")));
    }
    Ok(text.to_owned())
}

fn topic_pattern(text: &str) -> Result<TopicPattern, Refusal> {
    text.parse().map_err(|error: TopicPatternError| Refusal::Says(error.to_string()))
}

fn json_pointer(text: &str) -> Result<String, Refusal> {
    let escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if !text.starts_with('/') || !escaped {
        return Err(must("a JSON pointer such as \"/msg/url\", in which ~0 stands for `~` and ~1 for `/`"));
    }
    Ok(text.to_owned())
}

fn socket_addr(text: &str) -> Result<SocketAddr, Refusal> {
    let what = || "an IP address and a port such as \"127.0.0.1:8888\" or \"[::1]:8888\"".to_owned();
    text.parse().map_err(|_| match text.rsplit_once(':') {
        Some(("" | "*", port)) => Refusal::MustWrite(
            what(),
            format!("write \"0.0.0.0:{port}\" for every interface, \"127.0.0.1:{port}\" for this machine alone"),
        ),
        Some(("localhost", port)) => Refusal::MustWrite(what(), format!("write \"127.0.0.1:{port}\"")),
        _ => must(what()),
    })
}

fn path(text: &str, dir: &Path) -> Result<PathBuf, Refusal> {
    if text.is_empty() || text.contains('\0') {
        return Err(must("a path"));
    }
    if text == "~" || text.starts_with("~/") {
        return Err(Refusal::MustWrite("a path".to_owned(), "`~` is a shell's; write the directory out".to_owned()));
    }
    Ok(dir.join(text))
}

fn seconds(least: u64, most: u64) -> RangeInclusive<Duration> {
    Duration::from_secs(least)..=Duration::from_secs(most)
}
