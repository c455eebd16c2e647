//! What the operator wrote, checked: TOML becomes a [`Config`], or the list of everything that is wrong with it.
//!
//! Promises: every problem of a file is reported at once, each with its line; an unknown key is a problem; a value
//! that got through is within its range. Each option has one default, given here by `Default`; the sample file
//! `examples/statscache.toml` and `docs/configuration.md` repeat it, and tests compare the three.
//!
//! It does not know: which plugins exist, and what their own `config` tables must look like. It opens nothing but the
//! file.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use statscache_core::identity::Naming;

use crate::{bus::Endpoint, history::HistoryUrl};

#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod broken_tests;
mod json;
mod problem;
mod read;
mod reader;
#[cfg(test)]
mod tests;
mod units;

pub use problem::{ConfigError, Problem};

/// Largest file that is read. A hundred instances with long configurations stay below a tenth of it.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Everything that an operator can decide.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `[bus]`: where messages come from.
    pub bus: BusConfig,
    /// `[http]`: where answers are given.
    pub http: HttpConfig,
    /// `[admin]`: who may change what runs.
    pub admin: AdminConfig,
    /// `[data]`: where state is kept.
    pub data: DataConfig,
    /// `[journal]`: how much history stays replayable.
    pub journal: JournalSettings,
    /// `[history]`: where what was missed is asked for.
    pub history: HistoryConfig,
    /// `[plugins]`: where plugins come from.
    pub plugins: PluginsConfig,
    /// `[limits]`: bounds on what plugins and clients may use.
    pub limits: LimitsConfig,
    /// `[log]`: what the daemon tells.
    pub log: LogConfig,
    /// `[[instance]]`, in the order of the file. Empty: every plugin found is started once, with its defaults.
    /// Not empty but all disabled: none is.
    pub instances: Vec<InstanceConfig>,
}

/// `[bus]`
#[derive(Clone, Debug, PartialEq)]
pub struct BusConfig {
    /// Publishers to connect to. None by default, see [`Config::require_bus`].
    pub endpoints: Vec<Endpoint>,
    /// Addresses on which to listen for publishers that connect.
    pub bind: Vec<Endpoint>,
    /// Publishers of `endpoints`, each with who is asked for the messages of it that did not come.
    pub replay: Vec<(Endpoint, Endpoint)>,
    /// Byte prefixes of the topics asked for; never an empty list.
    pub subscribe: Vec<String>,
    /// Which implementation of the wire protocol reads the bus.
    pub client: BusClient,
    /// Memory for messages that wait for the engine.
    pub queue_bytes_max: usize,
    /// What happens when that is used up.
    pub when_full: BusWhenFull,
    /// Longest message body; a longer one is rejected and counted.
    pub message_bytes_max: usize,
    /// An endpoint that is connected but sent nothing for that long is reported as silent.
    pub silence: Duration,
    /// How often a quiet connection is probed.
    pub heartbeat: Duration,
    /// How long an identity is remembered, to drop duplicates.
    pub dedupe_window: Duration,
    /// How many identities are remembered at most.
    pub dedupe_ids_max: usize,
    /// What tells messages apart that no id does.
    pub naming: Naming,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            bind: Vec::new(),
            replay: Vec::new(),
            subscribe: vec![String::new()],
            client: BusClient::Zmtp,
            queue_bytes_max: 64 << 20,
            when_full: BusWhenFull::Drop,
            message_bytes_max: 16 << 20,
            silence: Duration::from_secs(60),
            heartbeat: Duration::from_secs(10),
            dedupe_window: Duration::from_secs(3600),
            dedupe_ids_max: 2_000_000,
            naming: Naming::default(),
        }
    }
}

/// Which implementation of the wire protocol reads the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusClient {
    /// The daemon's own.
    Zmtp,
    /// The `zeromq` crate.
    Zeromq,
}

/// What a source does when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusWhenFull {
    /// Messages are dropped and counted.
    Drop,
    /// The source stops reading until there is room.
    Wait,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq)]
pub struct HttpConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8888)) }
    }
}

/// `[admin]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdminConfig {
    /// File with the token that requests below `/admin` have to show; without it there is nothing there.
    pub token_file: Option<PathBuf>,
}

/// `[data]`
#[derive(Clone, Debug, PartialEq)]
pub struct DataConfig {
    /// Directory of store and journal; relative ones were joined to the directory of the file.
    pub dir: PathBuf,
    /// How often what was counted is made durable and visible.
    pub commit_interval: Duration,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self { dir: PathBuf::from("statscache-data"), commit_interval: Duration::from_secs(1) }
    }
}

/// `[journal]`
#[derive(Clone, Debug, PartialEq)]
pub struct JournalSettings {
    /// Size at which a new segment file is begun.
    pub segment_bytes: u64,
    /// Oldest segments are dropped beyond this; at least two segments.
    pub bytes_max: u64,
    /// Segments whose newest message is older are dropped.
    pub age_max: Duration,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, bytes_max: 4 << 30, age_max: Duration::from_secs(7 * 86_400) }
    }
}

/// `[history]`
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryConfig {
    /// The service that is asked; without one, what was missed stays missing.
    pub url: Option<HistoryUrl>,
    /// How far back is asked for.
    pub reach: Duration,
    /// What is younger is not asked for yet: the service has not got everything of it.
    pub settle: Duration,
    /// How much more is asked for on both sides of what was missed.
    pub overlap: Duration,
    /// Requests a second at most; at least one.
    pub rate: u32,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Whether this daemon is a history service for others.
    pub serve: bool,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self {
            url: None,
            reach: Duration::from_secs(30 * 86_400),
            settle: Duration::from_secs(30),
            overlap: Duration::from_secs(10),
            rate: 5,
            timeout: Duration::from_secs(30),
            serve: false,
        }
    }
}

/// `[plugins]`
#[derive(Clone, Debug, PartialEq)]
pub struct PluginsConfig {
    /// Directories searched for plugin libraries; relative ones were joined to the directory of the file.
    pub dirs: Vec<PathBuf>,
    /// Whether the plugins inside the binary are available.
    pub bundled: bool,
    /// Failures in a row after which an instance gets no more messages; at least one.
    pub quarantine_after: u32,
    /// How long the state of an instance is kept after another has taken its place.
    pub grace: Duration,
    /// Whether what was built beside an instance waits for an order to take its place.
    pub hold: bool,
}

impl Default for PluginsConfig {
    fn default() -> Self {
        Self {
            dirs: Vec::new(),
            bundled: true,
            quarantine_after: 10,
            grace: Duration::from_secs(7 * 86_400),
            hold: false,
        }
    }
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq)]
pub struct LimitsConfig {
    /// Label sets of one metric; beyond it, new ones are folded into `__other__`.
    pub series_per_metric_max: usize,
    /// Longest value of a label.
    pub label_bytes_max: usize,
    /// Longest value of a `latest` metric, as JSON.
    pub value_bytes_max: usize,
    /// Metrics of all instances together.
    pub metrics_max: usize,
    /// How far an event may lie ahead of its arrival.
    pub event_ahead_max: Duration,
    /// Memory of label sets, deltas, indexes and the cache.
    pub memory_bytes_max: usize,
    /// Of that, for chunks of the state that were read.
    pub cache_bytes_max: usize,
    /// Memory for answers as they were sent.
    pub answers_bytes_max: usize,
    /// Rows of one answer.
    pub query_rows_max: usize,
    /// HTTP connections open at the same time.
    pub connections_max: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            series_per_metric_max: 100_000,
            label_bytes_max: 1024,
            value_bytes_max: 64 << 10,
            metrics_max: 1000,
            event_ahead_max: Duration::from_secs(86_400),
            memory_bytes_max: 1 << 30,
            cache_bytes_max: 64 << 20,
            answers_bytes_max: 32 << 20,
            query_rows_max: 100_000,
            connections_max: 1024,
        }
    }
}

/// `[log]`
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// Events of this level and above are written.
    pub level: LogLevel,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: LogLevel::Info }
    }
}

/// How much is logged, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// The daemon cannot do its work.
    Error,
    /// Something to look at soon.
    Warn,
    /// What an operator wants to read afterwards.
    Info,
    /// For someone who looks for a fault.
    Debug,
    /// Every step.
    Trace,
}

impl LogLevel {
    /// As written in the file; what `tracing` parses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// One `[[instance]]`: a plugin, under an id, with a configuration of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceConfig {
    /// Id of the plugin.
    pub plugin: String,
    /// Name in URLs; unique. The plugin's own where none was given.
    pub id: String,
    /// A disabled instance is not started; its data stays.
    pub enabled: bool,
    /// What the plugin is given: always an object, empty where none was written.
    pub config: serde_json::Value,
    /// Line of its `[[instance]]`, for errors that are found later.
    pub line: usize,
}

impl Config {
    /// Reads the text of a file. `file_name` stands in errors, and relative paths are joined to its directory.
    pub fn parse(text: &str, file_name: &str) -> Result<Self, ConfigError> {
        Self::parse_in(text, file_name, parent(Path::new(file_name)))
    }

    /// Reads a file of at most 1 MiB. Relative paths in it are joined to its directory.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let file_name = path.display().to_string();
        let bytes = read_bounded(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse_in(text, &file_name, parent(path)),
            Err(error) => Err(ConfigError::Problems {
                file: file_name,
                problems: vec![problem::not_utf8(&bytes, error.valid_up_to())],
            }),
        }
    }

    /// Refuses a configuration without any address of the bus. Commands that need no bus don't ask.
    pub fn require_bus(&self, file_name: &str) -> Result<(), ConfigError> {
        if self.bus.endpoints.is_empty() && self.bus.bind.is_empty() {
            return Err(ConfigError::NoBus { file: file_name.to_owned() });
        }
        Ok(())
    }

    fn parse_in(text: &str, file_name: &str, dir: &Path) -> Result<Self, ConfigError> {
        read::read(text, dir).map_err(|problems| ConfigError::Problems { file: file_name.to_owned(), problems })
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other("it is longer than 1 MiB, so it is hardly a configuration"));
    }
    Ok(bytes)
}
