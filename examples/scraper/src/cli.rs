//! The command line.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use clap::Parser;

use crate::{
    config::Config,
    print,
    run::{once, run},
};

/// Looks at web sites, and publishes on a ZeroMQ bus what it found
#[derive(Parser)]
#[command(name = "statscache-scraper", version)]
struct Args {
    /// What to look at and where to say it, as TOML
    config: PathBuf,
    /// Say what is wrong with the configuration, or what it comes to; look at nothing
    #[arg(long)]
    check: bool,
    /// Look at every site once, print the messages, publish nothing
    #[arg(long, conflicts_with = "check")]
    once: bool,
}

/// Threads that ask for names: a resolver that does not answer holds up only so many checks.
const RESOLVERS_MAX: usize = 64;

/// The whole program.
pub fn main() -> ExitCode {
    match start(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => print(&error),
    }
}

fn start(args: &Args) -> anyhow::Result<()> {
    let before = memory();
    let config = Config::read(&args.config)?;
    if args.check {
        say(&config, before);
        return Ok(());
    }
    if !args.once && config.bind.is_empty() && config.connect.is_empty() {
        bail!("{}: no address to publish on: set bind or connect (or print with --once)", args.config.display());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(RESOLVERS_MAX).build();
    let runtime = runtime.context("cannot start threads")?;
    let done = runtime.block_on(async { if args.once { once(&config).await } else { run(config).await } });
    // Somebody may still ask for a name, which cannot be interrupted.
    runtime.shutdown_background();
    done
}

/// What a configuration comes to.
fn say(config: &Config, before: Option<u64>) {
    let count = config.sites.len();
    println!("{count} sites, {:.1} checks a second, {} at a time", config.sites.rate(), config.concurrency);
    let schedule = crate::schedule::Schedule::new(config.sites.timings(), crate::clock::now_micros());
    if let (Some(before), Some(after)) = (before, memory()) {
        println!("memory for sites and schedule: {} bytes each", after.saturating_sub(before) / count.max(1) as u64);
    }
    drop(schedule);
}

/// Memory of this process, bytes; where the system tells.
fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}
