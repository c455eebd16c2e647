//! `statscache store`: what can be done with a store while no daemon runs on it.

mod check;
mod export;
mod import;
mod stats;

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Subcommand;
use statscache_core::store::SledBackend;
use statscache_plugin_sdk::Timestamp;

use crate::config::Config;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what takes how much room
    Stats(stats::Args),
    /// Read everything and list all that is wrong with it; exits with 1 if something is
    Check(check::Args),
    /// Write the state as lines of JSON
    Export(export::Args),
    /// Read what `export` wrote into an empty store
    Import(import::Args),
}

/// Whose store.
#[derive(clap::Args)]
struct Place {
    /// Configuration file of the daemon; else ./statscache.toml or /etc/statscache/statscache.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    match &args.command {
        Command::Stats(args) => stats::run(args),
        Command::Check(args) => check::run(args),
        Command::Export(args) => export::run(args),
        Command::Import(args) => import::run(args),
    }
}

impl Place {
    fn data_dir(&self) -> anyhow::Result<PathBuf> {
        Ok(Config::load(&super::run::find(self.config.as_deref())?)?.data.dir)
    }

    /// Opens the store that is there; none is made.
    fn open(&self) -> anyhow::Result<(PathBuf, SledBackend)> {
        let path = self.data_dir()?.join("store");
        if !path.join("db").exists() {
            bail!("there is no store at {}; see [data] dir of the configuration", path.display());
        }
        let backend = open(&path)?;
        Ok((path, backend))
    }
}

fn open(path: &std::path::Path) -> anyhow::Result<SledBackend> {
    SledBackend::open(path).with_context(|| format!("cannot open the store at {}", path.display()))
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

/// A time for people.
fn time(time: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(time.micros())
        .map_or_else(|_| format!("{} µs", time.micros()), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_fits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1 << 20, "1.0 MiB"),
            (5 << 40, "5.0 TiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
