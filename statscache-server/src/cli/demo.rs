//! `statscache demo`: the daemon on sample messages that another process publishes over a real
//! ZeroMQ socket.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use anyhow::Context;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStderr, Command},
};

use crate::{
    app::App,
    bus::{Endpoint, EndpointMode},
    clock::SystemClock,
    config::{Config, LogConfig, LogLevel},
    host::{BundledPlugin, CardStatus},
};

/// Messages that the project wrote for this.
const MESSAGES: &str = include_str!("../../../examples/messages/demo.jsonl");

#[derive(clap::Args)]
pub(super) struct Args {
    /// Where to serve HTTP; if it is taken, a free port is used
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8888")]
    listen: SocketAddr,
    /// Messages per second
    #[arg(long, value_name = "N", default_value_t = 25.0)]
    rate: f64,
    /// Keep the data in this folder; else in a temporary one, removed at the end
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub(super) fn run(args: &Args, bundled: &[BundledPlugin]) -> anyhow::Result<()> {
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
    let messages = dir.join("messages.jsonl");
    std::fs::write(&messages, MESSAGES).with_context(|| format!("cannot write {}", messages.display()))?;

    // First, so that the daemon finds it at once.
    let mut publisher = start_publisher(&messages, args.rate)?;
    let mut words = BufReader::new(publisher.stderr.take().context("the publisher cannot be heard")?);
    let bus = address_of(&mut words).await?;
    let mut config = Config::default();
    config.bus.endpoints = vec![Endpoint::parse(&bus, EndpointMode::Connect)?];
    config.data.dir = dir.to_owned();
    config.http.listen = args.listen;
    if tokio::net::TcpListener::bind(args.listen).await.is_err() {
        println!("{} is taken; another port is used", args.listen);
        config.http.listen.set_port(0);
    }
    let app = App::build(&config, bundled, Arc::new(SystemClock)).await?;
    tell(&app, &bus, args.rate);
    let result = app
        .run(async {
            tokio::select! {
                stopped = stop => drop(stopped),
                ended = publisher.wait() => eprintln!("the publisher ended early: {ended:?}"),
            }
        })
        .await;
    // Gone already if it ended early or got the same signal from the terminal.
    let _ = publisher.kill().await;
    result
}

/// The address that the publisher says it has bound: the last word of its first line.
async fn address_of(words: &mut BufReader<ChildStderr>) -> anyhow::Result<String> {
    let mut line = String::new();
    words.read_line(&mut line).await.context("the publisher cannot be heard")?;
    match line.trim().rsplit_once(" on ") {
        Some((_, address)) if line.starts_with("publishing ") => Ok(address.to_owned()),
        _ => anyhow::bail!("the publisher does not start: {}", line.trim()),
    }
}

fn start_publisher(messages: &Path, rate: f64) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    Command::new(program)
        .arg("publish")
        .arg(messages)
        .args(["--endpoint", "tcp://127.0.0.1:0", "--rate", &rate.to_string(), "--loop", "--restamp"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start the publisher")
}

fn tell(app: &App, bus: &str, rate: f64) {
    let http = format!("http://{}", app.address());
    println!("statscache demo: a publisher sends {rate} sample messages a second on {bus}");
    for card in app.cards().all() {
        let origin = card.library.as_deref().unwrap_or("");
        match &card.status {
            CardStatus::Started => println!("  plugin {:<8} loaded from {origin}", card.id),
            CardStatus::Disabled => println!("  plugin {:<8} disabled", card.id),
            CardStatus::Failed(why) => println!("  plugin {:<8} failed: {why}", card.id),
        }
    }
    println!();
    println!("Open {http}/ in a browser, or in another terminal:");
    let asks = [
        ("plugins", "what there is"),
        ("plugins/volume/by_category?start=now-5m&step=1m", "messages by category"),
        ("plugins/volume/messages?start=now-1m&step=5s", "all messages, 5 seconds each"),
        ("plugins/releng/log", "release engineering events"),
        ("bus", "the connection itself"),
    ];
    for (path, what) in asks {
        let url = format!("'{http}/{path}'");
        println!("  curl {url:<76} {what}");
    }
    println!("Ctrl-C ends it.");
}
