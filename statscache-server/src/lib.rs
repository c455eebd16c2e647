//! The statscache daemon: the only crate that knows sockets, threads, shared libraries and HTTP.
//!
//! [`app::App`] puts it together; [`cli`] is what an operator types.

pub mod app;
pub mod bench;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod config;
pub mod disk;
pub mod health;
pub mod history;
pub mod host;
pub mod http;
pub mod ingest;
pub mod memory;
pub mod reload;
mod service;
pub mod telemetry;
