//! Looks at web sites, each at its times, and publishes on a ZeroMQ bus what it found.
//!
//! One task runs the schedule and starts checks, as many at a time as configured; a check is one HTTP exchange, bounded
//! in time, size and redirects. What it found goes onto a PUB socket as an envelope of fedmsg's form. Nothing is
//! remembered from one check to the next.
//!
//! A library only so that tests elsewhere can run the same program; [`main`] is all of its interface.

use std::process::ExitCode;

mod bus;
mod check;
mod cli;
mod clock;
mod config;
mod report;
mod run;
mod schedule;

pub use cli::main;

/// What went wrong, with its causes, for people.
fn print(error: &anyhow::Error) -> ExitCode {
    eprintln!("statscache-scraper: {error:#}");
    ExitCode::FAILURE
}
