//! The plugin host: finds libraries, opens what can be trusted, makes instances.
//!
//! Nothing that a library or a configuration does wrong ends the daemon: it becomes an
//! [`InstanceCard`] with a problem, which `/plugins` shows. Libraries are never unloaded, so that what
//! was opened before a reload goes on until another has taken its place.

mod bundled;
mod call;
mod cards;
mod elf;
mod libraries;
mod library;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use statscache_core::{
    engine::{InstanceSpec, Role},
    store::{NamespaceRecord, NamespaceState},
};

use statscache_plugin_sdk::Legacy;

use crate::{
    config::{Config, InstanceConfig},
    health::describe,
};

pub use bundled::BundledPlugin;
pub use call::CallError;
pub use cards::{CardStatus, Cards, InstanceCard};
use libraries::Libraries;
pub use library::{LibraryError, LoadedPlugin, open_library};

/// Instances to run, and what there is to tell about all.
pub struct Hosted {
    /// For the engine.
    pub specs: Vec<InstanceSpec>,
    /// For people.
    pub cards: Vec<InstanceCard>,
}

type Plugins = BTreeMap<String, Arc<LoadedPlugin>>;

/// Finds libraries and makes instances, as often as it is asked to.
pub struct Host {
    bundled: Vec<BundledPlugin>,
    libraries: Libraries,
}

impl Host {
    /// Nothing is opened yet.
    pub fn new(bundled: &[BundledPlugin]) -> Self {
        Self { bundled: bundled.to_vec(), libraries: Libraries::default() }
    }

    /// Finds plugins and makes the instances that the configuration asks for: all plugins with their
    /// defaults if it asks for none. For those that count something else than what is `known`, one that
    /// goes on with that is made as well, if its code is there.
    /// Those that are `damaged` are made anew beside what is left of them.
    pub fn instances(&mut self, config: &Config, known: &[NamespaceRecord], damaged: &BTreeSet<String>) -> Hosted {
        let mut cards = Vec::new();
        let plugins = self.find_plugins(config, &mut cards);
        let instances = if config.instances.is_empty() {
            plugins.keys().map(|id| default_instance(id)).collect()
        } else {
            config.instances.clone()
        };
        let mut specs: Vec<InstanceSpec> = Vec::new();
        let mut metrics = 0;
        for instance in instances {
            let plugin = plugins.get(&instance.plugin);
            let status = match plugin {
                _ if !instance.enabled => CardStatus::Disabled,
                None => CardStatus::Failed(unknown_plugin(&instance.plugin, &plugins)),
                Some(plugin) => match make(plugin, &instance.id, &instance.config) {
                    Ok(spec) if metrics + spec.declaration.metrics.len() > config.limits.metrics_max => {
                        CardStatus::Failed(too_many_metrics(metrics, spec.declaration.metrics.len(), config))
                    }
                    Ok(spec) => {
                        metrics += spec.declaration.metrics.len();
                        let is_damaged = damaged.contains(&spec.id);
                        let role = if is_damaged { Role::Rebuilt } else { Role::Present };
                        specs.push(InstanceSpec { role, ..spec });
                        CardStatus::Started
                    }
                    Err(error) => CardStatus::Failed(describe(&error)),
                },
            };
            cards.push(InstanceCard {
                id: instance.id,
                plugin: Some(instance.plugin),
                version: plugin.map(|plugin| plugin.version.clone()),
                library: plugin.map(|plugin| plugin.origin.clone()),
                code: plugin.map(|plugin| plugin.code),
                manifest: plugin.map(|plugin| plugin.manifest.clone()),
                config: instance.config,
                status,
            });
        }
        tell_claims(&specs);
        let predecessors: Vec<InstanceSpec> = known
            .iter()
            .filter(|record| {
                let is_other = |spec: &InstanceSpec| spec.role == Role::Rebuilt || !counts_as(spec, record);
                specs.iter().any(|spec| spec.id == record.instance && is_other(spec))
            })
            .filter_map(|record| self.predecessor(record))
            .collect();
        specs.extend(predecessors);
        Hosted { specs, cards }
    }

    /// How many libraries were opened; none is ever unloaded.
    pub fn libraries(&self) -> usize {
        self.libraries.len()
    }

    /// One that goes on with this state: of whatever library has been opened since the process started.
    fn predecessor(&self, record: &NamespaceRecord) -> Option<InstanceSpec> {
        let (state_version, config) = record.fingerprint.split_once('\n')?;
        let config = serde_json::from_str(config).ok()?;
        let mut plugins = self.libraries.plugins_of(&record.plugin, state_version.parse().ok()?);
        let spec = plugins
            .find_map(|plugin| make(plugin, &record.instance, &config).ok().filter(|spec| counts_as(spec, record)))?;
        Some(InstanceSpec { role: Role::Predecessor, ..spec })
    }
}

/// Whether its numbers are those of that state.
pub fn counts_as(spec: &InstanceSpec, record: &NamespaceRecord) -> bool {
    spec.namespace_record(NamespaceState::Serving).counts_as(record)
}

impl Hosted {
    /// Logs what became of each.
    pub fn tell(&self) {
        for card in &self.cards {
            let (id, library) = (card.id.as_str(), card.library.as_deref().unwrap_or("none"));
            match &card.status {
                CardStatus::Started => {
                    tracing::info!(id, version = card.version.as_deref().unwrap_or(""), library, "plugin started");
                }
                CardStatus::Disabled => tracing::info!(id, "plugin disabled by the configuration"),
                CardStatus::Failed(why) => tracing::error!(id, library, "plugin failed: {why}"),
            }
        }
    }
}

fn default_instance(plugin: &str) -> InstanceConfig {
    let config = Value::Object(serde_json::Map::new());
    InstanceConfig { plugin: plugin.to_owned(), id: plugin.to_owned(), enabled: true, config, line: 0 }
}

fn unknown_plugin(id: &str, plugins: &Plugins) -> String {
    let known: Vec<&str> = plugins.keys().map(String::as_str).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    format!("no library has a plugin `{id}`; found: {known}; see [plugins] dirs")
}

fn too_many_metrics(others: usize, its: usize, config: &Config) -> String {
    format!(
        "it has {its} metrics, those before it {others}, and the most is {}; raise [limits] metrics, or disable another",
        config.limits.metrics_max
    )
}

/// Logs which instances go without an ident of the original API, because another has it. That is no reason to
/// refuse one: all else of it works.
fn tell_claims(specs: &[InstanceSpec]) {
    let mut sorted: Vec<&InstanceSpec> = specs.iter().collect();
    sorted.sort_by_key(|spec| &spec.id);
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for spec in sorted {
        let claims = spec.declaration.metrics.iter().filter_map(|metric| metric.legacy.as_ref());
        for (ident, _) in claims.flat_map(Legacy::idents) {
            match owners.get(&ident) {
                Some(owner) if *owner != spec.id => {
                    tracing::warn!(id = spec.id, "/api/{ident} is `{owner}`: its id comes first");
                }
                _ => drop(owners.insert(ident, &spec.id)),
            }
        }
    }
}

fn make(plugin: &LoadedPlugin, id: &str, config: &Value) -> Result<InstanceSpec, CallError> {
    let (processor, declaration) = plugin.create(config)?;
    Ok(InstanceSpec {
        id: id.to_owned(),
        plugin: plugin.id.clone(),
        fingerprint: format!("{}\n{config}", plugin.state_version),
        declaration: Arc::new(declaration),
        processor: Box::new(processor),
        role: Role::Present,
    })
}

impl Host {
    /// Opens all libraries: those of the configured folders in order, then the bundled ones, then
    /// those beside the executable. Of two plugins with one id the first is used.
    fn find_plugins(&mut self, config: &Config, cards: &mut Vec<InstanceCard>) -> Plugins {
        let mut plugins = Plugins::new();
        let copies = config.data.dir.join("loaded");
        for dir in &config.plugins.dirs {
            match libraries_in(dir) {
                Ok(paths) => {
                    for path in paths {
                        self.add(&path, &path.display().to_string(), Some(&copies), (&mut plugins, cards));
                    }
                }
                Err(error) => {
                    let why = format!("plugin folder {} cannot be read: {error}; see [plugins] dirs", dir.display());
                    cards.push(failed_library(&dir.display().to_string(), None, why));
                }
            }
        }
        if config.plugins.bundled {
            match bundled::unpack(&self.bundled, &config.data.dir.join("bundled")) {
                Ok(unpacked) => {
                    for (name, path) in unpacked {
                        self.add_unless_known(&path, &format!("bundled {name}"), None, (&mut plugins, cards));
                    }
                }
                Err(why) => cards.push(failed_library("bundled", None, why)),
            }
            for path in packaged_dirs().iter().flat_map(|dir| libraries_in(dir).unwrap_or_default()) {
                let origin = path.display().to_string();
                self.add_unless_known(&path, &origin, Some(&copies), (&mut plugins, cards));
            }
        }
        plugins
    }

    fn add(
        &mut self,
        path: &Path,
        origin: &str,
        copies: Option<&Path>,
        (plugins, cards): (&mut Plugins, &mut Vec<InstanceCard>),
    ) {
        let name = path.file_name().map_or_else(|| origin.to_owned(), |name| name.to_string_lossy().into_owned());
        let opened = match self.libraries.open(path, origin, copies) {
            Ok(opened) => opened,
            Err(why) => return cards.push(failed_library(&name, Some(origin), why)),
        };
        for plugin in opened {
            match plugin {
                Err(why) => cards.push(failed_library(&name, Some(origin), why)),
                Ok(plugin) => match plugins.get(&plugin.id) {
                    None => drop(plugins.insert(plugin.id.clone(), plugin)),
                    Some(first) => {
                        let why = format!(
                            "plugin `{}` is in {} already, which is used; remove one of the two",
                            plugin.id, first.origin
                        );
                        cards.push(failed_library(&name, Some(origin), why));
                    }
                },
            }
        }
    }

    /// As [`Host::add`], but a plugin of the operator's folders takes the place of one that ships.
    fn add_unless_known(
        &mut self,
        path: &Path,
        origin: &str,
        copies: Option<&Path>,
        (plugins, cards): (&mut Plugins, &mut Vec<InstanceCard>),
    ) {
        let mut found = Plugins::new();
        self.add(path, origin, copies, (&mut found, cards));
        for (id, plugin) in found {
            match plugins.get(&id) {
                Some(first) => {
                    tracing::info!(id, used = first.origin, passed_over = origin, "plugin replaces one that ships")
                }
                None => drop(plugins.insert(id, plugin)),
            }
        }
    }
}

/// Where packages put the shipped plugins: `lib/statscache/plugins` beside the `bin` of the executable.
fn packaged_dirs() -> Vec<PathBuf> {
    let beside =
        std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.join("lib/statscache/plugins")));
    beside.into_iter().collect()
}

/// Shared libraries in a folder, by name. Others and hidden files are passed over.
fn libraries_in(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let is_library = path.extension().is_some_and(|ext| ext == "so" || ext == "dylib" || ext == "dll");
        if is_library && !is_hidden {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn failed_library(name: &str, library: Option<&str>, why: String) -> InstanceCard {
    InstanceCard {
        id: name.to_owned(),
        plugin: None,
        version: None,
        library: library.map(str::to_owned),
        code: None,
        manifest: None,
        config: Value::Null,
        status: CardStatus::Failed(why),
    }
}
