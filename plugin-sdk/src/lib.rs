//! Write plugins for statscache, the daemon that keeps statistics about a message bus.
//!
//! A plugin is a pure function from a message to updates of the metrics that it declares. The
//! daemon owns time, order, state, storage and serving; a plugin keeps nothing between messages.
//! This is a whole plugin with its test:
//!
//! ```
//! use statscache_plugin_sdk::*;
//!
//! /// Finished builds per package.
//! struct Builds { package: Field, builds: Count }
//!
//! impl Plugin for Builds {
//!     const ID: &str = "builds";
//!     type Config = ();
//!
//!     fn declare(_: (), declare: &mut Declare) -> Result<Self, PluginError> {
//!         declare.topics(["org.example.build.done"]);
//!         Ok(Self {
//!             package: declare.field("/msg/package"),
//!             builds: declare.count(Metric::new("builds").by(["package"]).unit("builds")),
//!         })
//!     }
//!
//!     fn process(&self, message: &Message, updates: &mut Updates) -> Result<(), PluginError> {
//!         if let Some(package) = message.get(self.package).as_str() {
//!             updates.add(self.builds, [&*package], 1);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! export_plugins!(Builds);
//!
//! # fn main() { counts_by_package() }
//! # #[cfg(any())]
//! #[test]
//! # fn hidden() {}
//! fn counts_by_package() {
//!     let mut harness = testing::Harness::<Builds>::new(());
//!     harness.send("org.example.build.done", serde_json::json!({"package": "bash"}));
//!     assert_eq!(harness.count("builds", ["bash"]), 1);
//! }
//! ```
//!
//! A configuration is a struct; `#[serde(default)]` lets the plugin start without one, and keys
//! that nobody reads are refused with those that are known:
//!
//! ```
//! use statscache_plugin_sdk::*;
//!
//! /// What the operator can choose.
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(crate = "statscache_plugin_sdk::serde", default)]
//! #[schemars(crate = "statscache_plugin_sdk::schemars")]
//! struct Config {
//!     /// Longer names are not counted.
//!     name_bytes_max: usize,
//! }
//!
//! impl Default for Config {
//!     fn default() -> Self { Self { name_bytes_max: 200 } }
//! }
//! ```
//!
//! Build it as a `cdylib`, put the library into one of the daemon's plugin folders, restart:
//! `/plugins/builds/builds` answers, with the history that the daemon still has.
//!
//! **Why `process` takes `&self`.** The daemon replays messages after a crash, shuffles them
//! between workers, and gives a new plugin old messages. That is exact only when what a plugin
//! says about a message depends on that message alone: no clock, no counters, no caches that
//! change an answer.
//!
//! What crosses the boundary to the daemon is plain C data ([`abi`]), so a plugin that was built
//! with another compiler, or years ago, still loads.

#![allow(clippy::test_attr_in_doctest, reason = "the example is a plugin's whole file; a hidden main runs its test")]

pub mod abi;
mod declare;
mod descriptor;
mod error;
mod export;
mod fields;
pub mod host;
mod json;
mod legacy;
mod message;
mod metric;
mod plugin;
pub mod testing;
mod time;
mod topic;
mod update;

pub use abi::{Label, LabelValue};
pub use declare::{Count, Declare, Dist, Distinct, Field, InternedLabel, Latest, Metric, Stat, Top};
pub use descriptor::{Declaration, Manifest, MetricDescriptor, Moved};
pub use error::PluginError;
pub use json::Json;
pub use legacy::Legacy;
pub use message::Message;
pub use metric::{Keep, Kind, Tier, TierError, Tiers};
pub use plugin::Plugin;
pub use time::{Resolution, ResolutionError, Timestamp};
pub use topic::{TopicPattern, TopicPatternError};
pub use update::{IntoLabels, Observable, Updates};

/// The crates whose derives a configuration needs, so that the SDK is the only dependency.
#[doc(no_inline)]
pub use {schemars, serde, serde_json};

#[doc(no_inline)]
pub use schemars::JsonSchema;
#[doc(no_inline)]
pub use serde::Deserialize;

/// The README's code runs as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
