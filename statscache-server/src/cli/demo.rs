//! `statscache demo`: the daemon on an invented bus. A history service has what happened before; what happens now,
//! another process publishes over a real ZeroMQ socket.

mod history;
mod live;
mod story;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use serde_json::json;

use crate::{
    app::App,
    bus::{Endpoint, EndpointMode},
    clock::{Clock, SystemClock},
    config::{Config, InstanceConfig, LogConfig, LogLevel},
    history::HistoryUrl,
    host::{BundledPlugin, CardStatus},
};

const DAY: Duration = Duration::from_secs(86_400);

#[derive(clap::Args)]
pub(super) struct Args {
    /// Where to serve HTTP; if it is taken, a free port is used
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8888")]
    listen: SocketAddr,
    /// Messages per second from now on
    #[arg(long, value_name = "N", default_value_t = 0.5)]
    rate: f64,
    /// Days of history
    #[arg(long, value_name = "N", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Keep the data in this folder; else in a temporary one, removed at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub(super) fn run(args: &Args, bundled: &[BundledPlugin]) -> anyhow::Result<()> {
    anyhow::ensure!(args.rate.is_finite() && args.rate > 0.0, "--rate must be more than 0");
    super::run::start_log(&LogConfig { level: LogLevel::Error });
    let temporary = std::env::temp_dir().join(format!("statscache-demo-{}", std::process::id()));
    let dir = args.data.clone().unwrap_or_else(|| temporary.clone());
    let result = super::block_on(demo(args, &dir, bundled));
    if args.data.is_none() {
        // Whatever is left is in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&temporary);
    }
    result
}

async fn demo(args: &Args, dir: &Path, bundled: &[BundledPlugin]) -> anyhow::Result<()> {
    let stop = super::shutdown_signal();
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let clock = Arc::new(SystemClock);
    let now = clock.now().micros() / 1_000_000;

    let history = history::serve(dir, now - i64::from(args.days) * 86_400, now, clock.clone()).await?;
    // Before the daemon, so that it is found at once.
    let mut publisher = live::Publisher::start().await?;
    let config = config(args, dir, bundled, &publisher.address, &history)?;
    let app = App::build(&config, bundled, clock.clone()).await?;
    tell(&app, &publisher.address, args);
    let telling = tokio::spawn(history::tell_progress(app.backfill()));
    let result = app
        .run(async {
            tokio::select! {
                stopped = stop => drop(stopped),
                ended = publisher.publish(args.rate, &*clock) => eprintln!("the publisher ended early: {ended:?}"),
            }
        })
        .await;
    telling.abort();
    // Gone already if it ended early or got the same signal from the terminal.
    publisher.end().await;
    result
}

fn config(
    args: &Args,
    dir: &Path,
    bundled: &[BundledPlugin],
    bus: &str,
    history: &HistoryUrl,
) -> anyhow::Result<Config> {
    let mut config = Config::default();
    config.bus.endpoints = vec![Endpoint::parse(bus, EndpointMode::Connect)?];
    config.data.dir = dir.to_owned();
    config.history.url = Some(history.clone());
    config.history.reach = DAY * args.days;
    // The history is whole as soon as it is served, and on this machine.
    config.history.settle = Duration::from_secs(1);
    config.history.rate = 1000;
    config.instances = bundled.iter().map(|plugin| instance(plugin.name)).collect();
    config.http.listen = args.listen;
    let bound = std::net::TcpListener::bind(args.listen);
    if bound.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse) {
        println!("{} is taken; another port is used", args.listen);
        config.http.listen.set_port(0);
    }
    Ok(config)
}

/// A shipped plugin with its defaults; `uptime` is told which sites are one service.
fn instance(name: &str) -> InstanceConfig {
    let config = match name {
        "uptime" => json!({"chains": {"shop": story::SHOP}}),
        _ => json!({}),
    };
    InstanceConfig { plugin: name.to_owned(), id: name.to_owned(), enabled: true, config, line: 0 }
}

/// What to ask, and what it shows.
const ASKS: [(&str, &str); 10] = [
    ("plugins", "what there is"),
    ("plugins/volume/by_category?start=now-30d&step=1d", "messages by category, a month"),
    ("plugins/volume/messages?start=now-1m&step=5s", "all messages, 5 seconds each"),
    ("plugins/releng/log", "release engineering events"),
    ("plugins/contributions/actions?by=user&start=now-30d&step=all&order=-value&limit=10", "who did most in a month"),
    ("plugins/usage/uses?start=now-30d&step=all&order=-value", "the most used links"),
    ("plugins/membership/members?start=now-30d&step=all", "members of clubs, each once"),
    ("plugins/storage/projects?rollup=sum&order=-value", "what namespaces take up"),
    ("plugins/uptime/up?start=now-30d&step=all", "how available sites are"),
    ("bus", "the connection itself"),
];

fn tell(app: &App, bus: &str, args: &Args) {
    let http = format!("http://{}", app.address());
    println!("statscache demo: a publisher sends {} messages a second on {bus}", args.rate);
    for card in app.cards().all() {
        let origin = card.library.as_deref().unwrap_or("");
        match &card.status {
            CardStatus::Started => println!("  plugin {:<13} loaded from {origin}", card.id),
            CardStatus::Disabled => println!("  plugin {:<13} disabled", card.id),
            CardStatus::Failed(why) => println!("  plugin {:<13} failed: {why}", card.id),
        }
    }
    println!();
    println!("Open {http}/ in a browser, {http}/dashboards/ for pages made of it, or in another terminal:");
    for (path, what) in ASKS {
        let url = format!("'{http}/{path}'");
        println!("  curl {url:<90} {what}");
    }
    println!("Ctrl-C ends it. The past {} days are being read in; charts fill from the left.", args.days);
}
