//! `statscache run`: the daemon.

use std::{
    io::IsTerminal,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    app::App,
    clock::SystemClock,
    config::{Config, ConfigError, LogConfig, LogLevel},
    health::describe,
    host::BundledPlugin,
    reload::Reloader,
    service,
};

/// Where the configuration is looked for when nobody says.
const PLACES: [&str; 2] = ["statscache.toml", "/etc/statscache/statscache.toml"];

#[derive(clap::Args)]
pub(super) struct Args {
    /// Configuration file; else ./statscache.toml or /etc/statscache/statscache.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What is built after a change waits for `statscache promote`, as with [plugins] hold = true
    #[arg(long)]
    hold: bool,
}

pub(super) fn run(args: &Args, bundled: &[BundledPlugin]) -> anyhow::Result<()> {
    let path = find(args.config.as_deref())?;
    let config = load(&path, args.hold)?;
    start_log(&config.log);
    let handed_over = service::inherited_listener()?;
    tracing::info!(config = %path.display(), version = env!("CARGO_PKG_VERSION"), "statscache starts");
    super::block_on(async {
        let app = build(&config, bundled, handed_over).await?;
        // Before anybody can know that it serves.
        let stop = super::shutdown_signal();
        let (path, hold) = (path.clone(), args.hold);
        let app = app.reload_from(move || load(&path, hold));
        tokio::spawn(reload_at_hangup(signal(SignalKind::hangup()), app.reloader()));
        tracing::info!("serving http://{}/plugins", app.address());
        app.run(async {
            if let Err(error) = stop.await {
                tracing::error!("signals cannot be received: {error:#}");
            }
        })
        .await
    })
}

/// On the socket that a service manager has handed over, or one of its own.
async fn build(config: &Config, bundled: &[BundledPlugin], socket: Option<TcpListener>) -> anyhow::Result<App> {
    let clock = Arc::new(SystemClock);
    match socket {
        None => App::build(config, bundled, clock).await,
        Some(socket) => {
            tracing::info!("serving on a socket that was handed over; [http] listen is not looked at");
            App::build_on(tokio::net::TcpListener::from_std(socket)?, config, bundled, clock)
        }
    }
}

fn load(path: &Path, hold: bool) -> Result<Config, ConfigError> {
    let mut config = Config::load(path)?;
    config.require_bus(&path.display().to_string())?;
    config.plugins.hold |= hold;
    Ok(config)
}

/// Loads anew at each SIGHUP; the log says what came of it.
async fn reload_at_hangup(hangup: std::io::Result<Signal>, reloader: Arc<Reloader>) {
    let mut hangup = match hangup {
        Ok(hangup) => hangup,
        Err(error) => return tracing::error!("SIGHUP cannot be received: {error}"),
    };
    while hangup.recv().await.is_some() {
        let reloader = reloader.clone();
        service::reloading();
        // A panic is in the log.
        let reloaded = tokio::task::spawn_blocking(move || reloader.reload()).await;
        service::ready(&match reloaded {
            Ok(Ok(reloaded)) => format!("reloaded: {reloaded}"),
            Ok(Err(error)) => format!("not reloaded: {}", describe(&error)),
            Err(error) => format!("not reloaded: {error}"),
        });
    }
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
pub(crate) fn start_log(config: &LogConfig) {
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
