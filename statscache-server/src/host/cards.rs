//! What there is to tell about instances besides their numbers.

use std::collections::HashMap;

use serde_json::Value;
use statscache_plugin_sdk::Manifest;

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
    /// Hash of that file.
    pub code: Option<u64>,
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

/// All instances of one configuration.
#[derive(Clone, Debug)]
pub struct Cards {
    all: Vec<InstanceCard>,
    /// Position of the card of each instance; the one that runs, where several have an id.
    by_id: HashMap<String, usize>,
    /// Label sets that a metric may have.
    pub series_max: u32,
    /// Whether what is built waits for an order to take its place.
    pub is_held: bool,
}

impl Cards {
    /// Puts them together.
    pub fn new(all: Vec<InstanceCard>, series_max: u32, is_held: bool) -> Self {
        let mut by_id = HashMap::new();
        for (position, card) in all.iter().enumerate() {
            if card.status == CardStatus::Started || !by_id.contains_key(&card.id) {
                by_id.insert(card.id.clone(), position);
            }
        }
        Self { all, by_id, series_max, is_held }
    }

    /// All, in the order in which they were found.
    pub fn all(&self) -> &[InstanceCard] {
        &self.all
    }

    /// That of an instance.
    pub fn get(&self, id: &str) -> Option<&InstanceCard> {
        self.by_id.get(id).map(|position| &self.all[*position])
    }

    /// Those that run.
    pub fn started(&self) -> impl Iterator<Item = &InstanceCard> {
        self.all.iter().filter(|card| card.status == CardStatus::Started)
    }
}
