//! Loads configuration and plugins anew while the daemon runs. Whatever is wrong is found out first, and then nothing
//! has changed.

use std::{
    collections::BTreeSet,
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use schemars::JsonSchema;
use serde::Serialize;
use statscache_core::{
    engine::InstanceSpec,
    store::NamespaceRecord,
    view::{InstanceState, View},
};
use tokio::sync::oneshot;

use crate::{
    app::limits,
    config::{Config, ConfigError, LimitsConfig},
    health::describe,
    host::{CardStatus, Cards, Host, Hosted, InstanceCard, counts_as},
    ingest::{Command, CommandError, Commands, Generation, Shared},
};

/// Where the configuration is read again.
type Source = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// Loads anew, one time after another.
pub struct Reloader {
    running: Mutex<Running>,
    source: Mutex<Option<Source>>,
    commands: Commands,
    cards: Arc<ArcSwap<Cards>>,
    shared: Shared,
}

struct Running {
    /// What is in force.
    config: Config,
    host: Host,
}

/// What became of it; ids in the order of the configuration.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Reloaded {
    /// Instances that were not there before; they read the journal from its beginning.
    pub added: Vec<String>,
    /// Instances that count something else now: they are built beside those that serve, and take their place when they
    /// have caught up, or by order.
    pub changed: Vec<String>,
    /// Instances that go on with other code.
    pub updated: Vec<String>,
    /// Instances that had failed too often and get messages again.
    pub revived: Vec<String>,
    /// Instances that no longer run; their state stays.
    pub removed: Vec<String>,
    /// Instances that go on as before.
    pub unchanged: Vec<String>,
    /// What could not be used before either, and why not.
    pub failed: Vec<String>,
    /// Sections of the configuration that differ from what is in force until the next start.
    pub restart: Vec<&'static str>,
    /// Libraries that were opened since the process started; none is ever unloaded.
    pub libraries: usize,
}

/// Why nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration is wrong.
    #[error("nothing was changed: {0}")]
    Config(String),
    /// Libraries or instances that would not run.
    #[error("nothing was changed: {}", .0.join("; "))]
    Plugins(Vec<String>),
    /// It cannot be done now.
    #[error("nothing was changed: {0}")]
    NotNow(String),
    /// The daemon stops, or could not go on.
    #[error("the daemon stops; the next start reads the configuration")]
    Gone,
}

impl Reloader {
    /// With what is in force now.
    pub(crate) fn new(
        config: &Config,
        host: Host,
        commands: Commands,
        cards: Arc<ArcSwap<Cards>>,
        shared: Shared,
    ) -> Self {
        shared.telemetry.update(|figures| figures.libraries = host.libraries());
        let running = Mutex::new(Running { config: config.clone(), host });
        Self { running, source: Mutex::new(None), commands, cards, shared }
    }

    pub(crate) fn set_source(&self, source: Source) {
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
    }

    /// Loads anew and waits until the new instances run. Blocks; not for a thread of the runtime.
    pub fn reload(&self) -> Result<Reloaded, ReloadError> {
        let result = self.try_reload();
        match &result {
            Ok(reloaded) => tracing::info!("reloaded: {reloaded}"),
            Err(error) => tracing::error!("not reloaded: {}", describe(error)),
        }
        result
    }

    fn try_reload(&self) -> Result<Reloaded, ReloadError> {
        let Ok(mut running) = self.running.try_lock() else {
            return Err(ReloadError::NotNow("another reload is under way".to_owned()));
        };
        if let Some((part, what)) = self.shared.health.all().first() {
            return Err(ReloadError::NotNow(format!("{} is in trouble: {what}", part.as_str())));
        }
        let wanted = self.read(&running.config)?;
        let (config, restart) = in_force(&running.config, wanted);
        let view = self.shared.view.load_full();
        let known: Vec<NamespaceRecord> = view
            .instances
            .values()
            .chain(view.building.values())
            .map(|it| NamespaceRecord::clone(&it.record))
            .collect();
        // What is damaged can be made anew where there is somebody to ask.
        let can_rebuild = config.history.url.is_some();
        let damaged = view.instances.iter().filter(|(_, instance)| can_rebuild && instance.is_damaged());
        let damaged: BTreeSet<String> = damaged.map(|(id, _)| id.clone()).collect();
        let Hosted { specs, cards } = running.host.instances(&config, &known, &damaged);
        let before = self.cards.load_full();
        let problems = new_problems(&before, &cards);
        if !problems.is_empty() {
            return Err(ReloadError::Plugins(problems));
        }
        let mut report = report(&view, (&before, &cards), &specs);
        report.restart = restart;
        report.libraries = running.host.libraries();
        self.shared.telemetry.update(|figures| figures.libraries = report.libraries);
        self.start(&config, specs, cards)?;
        running.config = config;
        Ok(report)
    }

    fn read(&self, present: &Config) -> Result<Config, ReloadError> {
        match &*self.source.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(source) => source().map_err(|error| ReloadError::Config(describe(&error))),
            None => Ok(present.clone()),
        }
    }

    fn start(&self, config: &Config, specs: Vec<InstanceSpec>, cards: Vec<InstanceCard>) -> Result<(), ReloadError> {
        let limits = limits(config);
        let cards = Arc::new(Cards::new(cards, limits.series_per_metric, config.plugins.hold));
        let (told, started) = oneshot::channel();
        let place = self.cards.clone();
        let generation = Generation {
            specs,
            naming: config.bus.naming.clone(),
            limits,
            is_held: config.plugins.hold,
            started: Box::new(move |_| {
                place.store(cards);
                // Who asked may have left.
                let _ = told.send(());
            }),
        };
        self.commands.send(Command::Reload(generation)).map_err(|error| match error {
            CommandError::Busy => ReloadError::NotNow(error.to_string()),
            CommandError::Gone => ReloadError::Gone,
        })?;
        started.blocking_recv().map_err(|_| ReloadError::Gone)
    }
}

/// What of the configuration takes effect, beside what stays as it is; and which sections want a restart.
fn in_force(present: &Config, wanted: Config) -> (Config, Vec<&'static str>) {
    let Config { bus, http, admin, data, journal, history, plugins, limits, log, instances } = wanted;
    let limits_in_force = LimitsConfig {
        series_per_metric_max: limits.series_per_metric_max,
        label_bytes_max: limits.label_bytes_max,
        value_bytes_max: limits.value_bytes_max,
        metrics_max: limits.metrics_max,
        ..present.limits
    };
    let sections = [
        ("bus", bus != present.bus),
        ("http", http != present.http),
        ("admin", admin != present.admin),
        ("data", data != present.data),
        ("journal", journal != present.journal),
        ("history", history != present.history),
        ("limits", limits != limits_in_force),
        ("log", log != present.log),
    ];
    let restart = sections.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
    (Config { plugins, instances, limits: limits_in_force, ..present.clone() }, restart)
}

/// What would fail now and did not before, each in a line.
fn new_problems(before: &Cards, cards: &[InstanceCard]) -> Vec<String> {
    let failed = cards.iter().filter(|card| matches!(card.status, CardStatus::Failed(_)));
    let is_new = |card: &&InstanceCard| !before.all().iter().any(|old| old.id == card.id && old.status == card.status);
    failed.filter(is_new).filter_map(problem_of).collect()
}

fn problem_of(card: &InstanceCard) -> Option<String> {
    match &card.status {
        CardStatus::Failed(why) => Some(format!("{}: {why}", card.id)),
        CardStatus::Started | CardStatus::Disabled => None,
    }
}

fn report(view: &View, (before, cards): (&Cards, &[InstanceCard]), specs: &[InstanceSpec]) -> Reloaded {
    let mut report = Reloaded { failed: cards.iter().filter_map(problem_of).collect(), ..Reloaded::default() };
    for card in cards.iter().filter(|card| card.status == CardStatus::Started) {
        let spec = specs.iter().find(|spec| spec.id == card.id);
        let serving = view.instances.get(&card.id);
        let list = match (spec, serving) {
            (Some(spec), Some(serving)) if !counts_as(spec, &serving.record) => &mut report.changed,
            (_, None) => &mut report.added,
            (_, Some(serving)) if matches!(serving.state, InstanceState::Quarantined { .. }) => &mut report.revived,
            _ if before.get(&card.id).is_some_and(|old| old.code != card.code) => &mut report.updated,
            _ => &mut report.unchanged,
        };
        list.push(card.id.clone());
    }
    let runs = |id: &str| cards.iter().any(|card| card.status == CardStatus::Started && card.id == id);
    report.removed = before.started().filter(|card| !runs(&card.id)).map(|card| card.id.clone()).collect();
    report
}

impl Display for Reloaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lists = [
            ("added", &self.added),
            ("changed", &self.changed),
            ("updated", &self.updated),
            ("revived", &self.revived),
            ("removed", &self.removed),
            ("unchanged", &self.unchanged),
            ("failed", &self.failed),
        ];
        for (name, ids) in lists.into_iter().filter(|(_, ids)| !ids.is_empty()) {
            write!(f, "{name} {}; ", ids.join(", "))?;
        }
        if !self.restart.is_empty() {
            write!(f, "only a restart changes [{}]; ", self.restart.join("], ["))?;
        }
        write!(f, "{} libraries opened", self.libraries)
    }
}
