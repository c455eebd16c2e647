//! What an operator types. One file a subcommand.

mod backfill;
mod bench;
mod check_config;
mod client;
mod demo;
mod history;
mod meta;
mod plugins;
mod publish;
mod reload;
mod run;
mod store;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    bench::{Part, run_part},
    config::ConfigError,
    host::BundledPlugin,
};

pub(crate) use run::start_log;

/// Keeps statistics about a message bus ready to be read.
#[derive(Parser)]
#[command(name = "statscache", version, arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon
    Run(run::Args),
    /// Run the daemon on sample messages, to look around
    Demo(demo::Args),
    /// Publish messages from a file on a ZeroMQ PUB socket
    Publish(publish::Args),
    /// List the plugins of a running daemon
    Plugins(plugins::Args),
    /// Have a running daemon read its configuration and load its plugins anew
    Reload(reload::Args),
    /// Put what a running daemon has built for an instance in the place of what serves
    Promote(reload::PromoteArgs),
    /// Check a configuration file and say everything that is wrong with it
    CheckConfig(check_config::Args),
    /// Fill a span of time from the history service, and show how far it is
    Backfill(backfill::Args),
    /// Measure how many messages a second this machine keeps up with, and what is in the way of more
    Bench(bench::Args),
    #[command(subcommand, hide = true)]
    BenchPart(Part),
    /// Serve messages of a file or a journal as a history service does
    History(history::Args),
    /// Show which rule finds which users and packages in messages
    Meta(meta::Args),
    /// Look into the store of a daemon that is down: what takes room, whether it is sound, moving it
    Store(store::Args),
}

/// Runs the command line of this process; errors go to standard error, with their causes.
pub fn main(bundled: &'static [BundledPlugin]) -> ExitCode {
    main_with(std::env::args_os(), bundled)
}

/// Runs a command line, the name of the program first.
pub fn main_with(args: impl IntoIterator<Item = OsString>, bundled: &'static [BundledPlugin]) -> ExitCode {
    let result = match Args::parse_from(args).command {
        Command::Run(args) => run::run(&args, bundled),
        Command::Demo(args) => demo::run(&args, bundled),
        Command::Publish(args) => block_on(publish::run(&args)),
        Command::Plugins(args) => block_on(plugins::run(&args)),
        Command::Reload(args) => block_on(reload::reload(&args)),
        Command::Promote(args) => block_on(reload::promote(&args)),
        Command::CheckConfig(args) => check_config::run(&args),
        Command::Backfill(args) => block_on(backfill::run(&args)),
        Command::Bench(args) => block_on(bench::run(&args)),
        Command::BenchPart(part) => block_on(run_part(&part, bundled)),
        Command::History(args) => block_on(history::run(&args)),
        Command::Meta(args) => meta::run(&args),
        Command::Store(args) => store::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Problems of a file begin with their place, as editors expect it.
            let is_placed = matches!(error.downcast_ref(), Some(ConfigError::Problems { .. }));
            eprintln!("{}{error:#}", if is_placed { "" } else { "statscache: " });
            ExitCode::FAILURE
        }
    }
}

/// Runs to its end; what is left then on other threads, such as a query, is not waited for.
fn block_on(task: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(task);
    runtime.shutdown_background();
    result
}

/// Done at the first interrupt or termination from now on, whether or not it is waited for yet. A second one ends
/// the process at once.
fn shutdown_signal() -> impl Future<Output = anyhow::Result<()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        let (mut terminate, mut interrupt) = (signals.0?, signals.1?);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            eprintln!("statscache: stopped at once; the next start goes on from the journal");
            std::process::exit(130);
        });
        Ok(())
    }
}
