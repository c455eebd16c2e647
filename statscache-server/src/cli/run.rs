//! `statscache run`: the daemon.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    app::App,
    clock::SystemClock,
    config::{Config, LogConfig, LogLevel},
    host::BundledPlugin,
};

/// Where the configuration is looked for when nobody says.
const PLACES: [&str; 2] = ["statscache.toml", "/etc/statscache/statscache.toml"];

#[derive(clap::Args)]
pub(super) struct Args {
    /// Configuration file; else ./statscache.toml or /etc/statscache/statscache.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(args: &Args, bundled: &[BundledPlugin]) -> anyhow::Result<()> {
    let path = find(args.config.as_deref())?;
    let config = Config::load(&path)?;
    config.require_bus(&path.display().to_string())?;
    start_log(&config.log);
    tracing::info!(config = %path.display(), version = env!("CARGO_PKG_VERSION"), "statscache starts");
    super::block_on(async {
        let stop = super::shutdown_signal();
        let app = App::build(&config, bundled, Arc::new(SystemClock)).await?;
        tracing::info!("serving http://{}/plugins", app.address());
        app.run(async {
            if let Err(error) = stop.await {
                tracing::error!("signals cannot be received: {error:#}");
            }
        })
        .await
    })
}

/// The configuration that was given, or the one that is there.
pub(super) fn find(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    PLACES.iter().map(PathBuf::from).find(|path| path.exists()).ok_or_else(|| {
        anyhow::anyhow!(
            "no configuration: there is neither {}; give one with --config, begin with a copy of \
             examples/statscache.toml, or try `statscache demo`",
            PLACES.join(" nor ")
        )
    })
}

/// Writes events to standard error.
pub(super) fn start_log(config: &LogConfig) {
    let level = match config.level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
