//! The plugin host: finds libraries, opens what can be trusted, makes instances.
//!
//! Nothing that a library or a configuration does wrong ends the daemon: it becomes an
//! [`InstanceCard`] with a problem, which `/plugins` shows. Libraries are never unloaded.

mod bundled;
mod call;
mod elf;
mod library;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use statscache_core::engine::InstanceSpec;
use statscache_plugin_sdk::Manifest;

use crate::{
    config::{Config, InstanceConfig},
    health::describe,
};

pub use bundled::BundledPlugin;
pub use call::CallError;
pub use library::{LibraryError, LoadedPlugin, open as open_library};

/// What `/plugins` knows of an instance besides its numbers.
#[derive(Clone, Debug)]
pub struct InstanceCard {
    /// Its id; of a library that could not be opened, its file name.
    pub id: String,
    /// Its plugin's id.
    pub plugin: Option<String>,
    /// Its plugin's version.
    pub version: Option<String>,
    /// Where its code is from.
    pub library: Option<String>,
    /// What is true of its plugin.
    pub manifest: Option<Manifest>,
    /// Its configuration.
    pub config: Value,
    /// Whether it runs, or why not.
    pub status: CardStatus,
}

/// Whether an instance was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CardStatus {
    /// The engine has it.
    Started,
    /// The operator does not want it.
    Disabled,
    /// It could not be started.
    Failed(String),
}

/// Instances to run, and what there is to tell about all.
pub struct Hosted {
    /// For the engine.
    pub specs: Vec<InstanceSpec>,
    /// For people.
    pub cards: Vec<InstanceCard>,
}

/// Finds plugins and makes the instances that the configuration asks for: all plugins with their
/// defaults if it asks for none.
pub fn start(config: &Config, bundled: &[BundledPlugin]) -> Hosted {
    let mut cards = Vec::new();
    let plugins = find_plugins(config, bundled, &mut cards);
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
            Some(plugin) => match make(plugin, &instance) {
                Ok(spec) if metrics + spec.declaration.metrics.len() > config.limits.metrics_max => {
                    CardStatus::Failed(too_many_metrics(metrics, spec.declaration.metrics.len(), config))
                }
                Ok(spec) => {
                    metrics += spec.declaration.metrics.len();
                    specs.push(spec);
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
            manifest: plugin.map(|plugin| plugin.manifest.clone()),
            config: instance.config,
            status,
        });
    }
    for card in &cards {
        let (id, library) = (card.id.as_str(), card.library.as_deref().unwrap_or("none"));
        match &card.status {
            CardStatus::Started => {
                tracing::info!(id, version = card.version.as_deref().unwrap_or(""), library, "plugin started");
            }
            CardStatus::Disabled => tracing::info!(id, "plugin disabled by the configuration"),
            CardStatus::Failed(why) => tracing::error!(id, library, "plugin failed: {why}"),
        }
    }
    Hosted { specs, cards }
}

fn default_instance(plugin: &str) -> InstanceConfig {
    let config = Value::Object(serde_json::Map::new());
    InstanceConfig { plugin: plugin.to_owned(), id: plugin.to_owned(), enabled: true, config, line: 0 }
}

fn unknown_plugin(id: &str, plugins: &BTreeMap<String, LoadedPlugin>) -> String {
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

fn make(plugin: &LoadedPlugin, instance: &InstanceConfig) -> Result<InstanceSpec, CallError> {
    let (processor, declaration) = plugin.create(&instance.config)?;
    Ok(InstanceSpec {
        id: instance.id.clone(),
        plugin: plugin.id.clone(),
        fingerprint: format!("{}\n{}", plugin.state_version, instance.config),
        declaration: Arc::new(declaration),
        processor: Box::new(processor),
    })
}

/// Opens all libraries: those of the configured folders in order, then the bundled ones, then
/// those beside the executable. Of two plugins with one id the first is used.
fn find_plugins(
    config: &Config,
    bundled: &[BundledPlugin],
    cards: &mut Vec<InstanceCard>,
) -> BTreeMap<String, LoadedPlugin> {
    let mut plugins = BTreeMap::new();
    for dir in &config.plugins.dirs {
        match libraries_in(dir) {
            Ok(paths) => paths.iter().for_each(|path| add(path, &path.display().to_string(), &mut plugins, cards)),
            Err(error) => {
                let why = format!("plugin folder {} cannot be read: {error}; see [plugins] dirs", dir.display());
                cards.push(failed_library(&dir.display().to_string(), None, why));
            }
        }
    }
    if config.plugins.bundled {
        match bundled::unpack(bundled, &config.data.dir.join("bundled")) {
            Ok(unpacked) => {
                for (name, path) in unpacked {
                    add_unless_known(&path, &format!("bundled {name}"), &mut plugins, cards);
                }
            }
            Err(why) => cards.push(failed_library("bundled", None, why)),
        }
        for path in packaged_dirs().iter().flat_map(|dir| libraries_in(dir).unwrap_or_default()) {
            add_unless_known(&path, &path.display().to_string(), &mut plugins, cards);
        }
    }
    plugins
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

fn add(path: &Path, origin: &str, plugins: &mut BTreeMap<String, LoadedPlugin>, cards: &mut Vec<InstanceCard>) {
    let name = path.file_name().map_or_else(|| origin.to_owned(), |name| name.to_string_lossy().into_owned());
    let opened = match open_library(path, origin) {
        Ok(opened) => opened,
        Err(error) => return cards.push(failed_library(&name, Some(origin), describe(&error))),
    };
    for plugin in opened {
        match plugin {
            Err(error) => cards.push(failed_library(&name, Some(origin), describe(&error))),
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

/// As [`add`], but a plugin of the operator's folders takes the place of one that ships.
fn add_unless_known(
    path: &Path,
    origin: &str,
    plugins: &mut BTreeMap<String, LoadedPlugin>,
    cards: &mut Vec<InstanceCard>,
) {
    let mut found = BTreeMap::new();
    add(path, origin, &mut found, cards);
    for (id, plugin) in found {
        match plugins.get(&id) {
            Some(first) => {
                tracing::info!(id, used = first.origin, passed_over = origin, "plugin replaces one that ships")
            }
            None => drop(plugins.insert(id, plugin)),
        }
    }
}

fn failed_library(name: &str, library: Option<&str>, why: String) -> InstanceCard {
    InstanceCard {
        id: name.to_owned(),
        plugin: None,
        version: None,
        library: library.map(str::to_owned),
        manifest: None,
        config: Value::Null,
        status: CardStatus::Failed(why),
    }
}
