//! Rules and storage of statscache. No sockets, no clock, no async runtime, no unsafe code: time
//! comes in as an argument, and the only files that do I/O are those of the journal and the store.
//!
//! A message's way through here: [`engine::Intake::ingest`] admits it (text, time, identity,
//! fields), appends it to the [`journal`], and hands it to every instance that wants its topic;
//! what they say becomes **deltas**; a commit packs deltas into [`segment`]s, writes them to the
//! [`store`] together with the cursors, and publishes a [`view::View`], which [`query`] answers from.

#![forbid(unsafe_code)]

pub mod bucket;
pub mod bytes;
pub mod columns;
pub mod coverage;
pub mod engine;
pub mod history;
pub mod identity;
pub mod journal;
pub mod kind;
pub mod limits;
pub mod non_numbers;
pub mod query;
pub mod segment;
pub mod series;
pub mod store;
pub mod view;
