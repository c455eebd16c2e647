//! What the processes of a measurement do. Each ends when its standard input does, so that none outlives who
//! started it, and removes the folder, which who was killed could not.

use std::{
    io::{BufRead, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use statscache_plugin_sdk::host::FieldSet;

use super::{Scratch, pool::Pool, wire};
use crate::{
    app::App,
    bus::{BatchReceiver, Endpoint, EndpointMode, Recv, Rejects, Source, WhenFull, ZmtpConfig, ZmtpSource, queue},
    clock::{Clock, SystemClock},
    config::{AdminConfig, BusWhenFull, Config, HistoryConfig, LogConfig, LogLevel},
    host::{BundledPlugin, CardStatus, Host, Hosted},
};

/// How often a publisher sends what is due.
const PACE: Duration = Duration::from_millis(2);
/// Messages handed to the kernel between two looks at the clock.
const BURST: u64 = 64;

/// One process of a measurement. Not for people: its words may change.
#[derive(clap::Subcommand)]
pub enum Part {
    /// Prints the port that it binds, then `subscribed`, and sends for each line `RATE SECONDS`; rate 0 is all that is read
    Publisher {
        /// Configuration file
        #[arg(long)]
        config: Option<PathBuf>,
        /// Messages
        #[arg(long)]
        messages: Option<PathBuf>,
    },
    /// Receives, finds fields and forgets; prints for each line how many messages it has seen
    Receiver {
        /// Configuration file
        #[arg(long)]
        config: Option<PathBuf>,
        /// The publisher
        endpoint: String,
        /// Folder of the measurement, for the shipped plugins; removed at the end
        dir: PathBuf,
    },
    /// The daemon; prints where it serves
    Daemon {
        /// Configuration file
        #[arg(long)]
        config: Option<PathBuf>,
        /// Stops reading when the queue is full, whatever the configuration says
        #[arg(long)]
        wait: bool,
        /// The publisher
        endpoint: String,
        /// Folder of the measurement, for its data; removed at the end
        dir: PathBuf,
    },
}

/// Does a part, to its end.
pub async fn run(part: &Part, bundled: &'static [BundledPlugin]) -> anyhow::Result<()> {
    match part {
        Part::Publisher { config, messages } => publish(config.as_deref(), messages.as_deref()),
        Part::Receiver { config, endpoint, dir } => receive(config.as_deref(), endpoint, dir, bundled),
        Part::Daemon { config, wait, endpoint, dir } => daemon(config.as_deref(), *wait, endpoint, dir, bundled).await,
    }
}

/// The configuration, and the messages that it asks for.
pub(super) fn load(config: Option<&Path>, messages: Option<&Path>) -> anyhow::Result<(Config, Pool)> {
    let config = config.map(Config::load).transpose()?.unwrap_or_default();
    let pool = Pool::new(messages, &config.bus.subscribe)?;
    Ok((config, pool))
}

fn publish(config: Option<&Path>, messages: Option<&Path>) -> anyhow::Result<()> {
    let (_, mut pool) = load(config, messages)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    say(listener.local_addr()?.port())?;
    let orders = lines()?;
    let Some(mut peer) = subscriber(&listener, &orders)? else { return Ok(()) };
    for line in orders {
        let (rate, secs) = line.split_once(' ').context("RATE SECONDS")?;
        let told = send(&mut pool, &mut peer, rate.parse()?, Duration::from_secs_f64(secs.parse()?))?;
        say(told)?;
    }
    Ok(())
}

/// Lines of standard input, until it ends.
fn lines() -> anyhow::Result<mpsc::Receiver<String>> {
    let (sender, lines) = mpsc::sync_channel(1);
    thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    })?;
    Ok(lines)
}

/// Waits for a subscriber; `None` if standard input ended before. What is ordered before is an error of who orders.
fn subscriber(listener: &TcpListener, orders: &mpsc::Receiver<String>) -> anyhow::Result<Option<TcpStream>> {
    listener.set_nonblocking(true)?;
    loop {
        match listener.accept() {
            Ok((mut peer, _)) => {
                peer.set_nonblocking(false)?;
                wire::greet(&mut peer)?;
                say("subscribed")?;
                return Ok(Some(peer));
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        match orders.recv_timeout(PACE) {
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(None),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Ok(_) => anyhow::bail!("nobody has subscribed yet"),
        }
    }
}

/// Sends for so long; says how many were sent, and in how many seconds.
fn send(pool: &mut Pool, peer: &mut TcpStream, rate: f64, time: Duration) -> anyhow::Result<String> {
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < time {
        let due = match rate {
            0.0 => u64::MAX,
            _ => (start.elapsed().as_secs_f64() * rate) as u64 + 1,
        };
        let second = SystemClock.now().micros() / 1_000_000;
        while sent < due && start.elapsed() < time {
            sent += pool.send(peer, (due - sent).min(BURST), second)?;
        }
        if rate > 0.0 {
            thread::park_timeout(PACE);
        }
    }
    Ok(format!("{sent} {}", start.elapsed().as_secs_f64()))
}

fn receive(config: Option<&Path>, endpoint: &str, dir: &Path, bundled: &[BundledPlugin]) -> anyhow::Result<()> {
    let scratch = Scratch::adopt(dir)?;
    let mut config = config.map(Config::load).transpose()?.unwrap_or_default();
    config.data.dir = scratch.fresh("ceiling");
    let fields = fields(&config, bundled)?;
    let (sender, receiver) = queue(config.bus.queue_bytes_max, WhenFull::Wait);
    let endpoint = Endpoint::parse(endpoint, EndpointMode::Connect)?;
    let source = Box::new(ZmtpSource::new(ZmtpConfig::new(endpoint, Arc::new(|| 0)), Arc::new(Rejects::new())));
    let (_stop, stopping) = tokio::sync::watch::channel(false);
    tokio::spawn(source.run(sender, stopping));
    let seen = Arc::new(AtomicU64::new(0));
    let count = seen.clone();
    thread::Builder::new().name("forget".to_owned()).spawn(move || forget(receiver, &fields, &count))?;
    for line in std::io::stdin().lock().lines() {
        line?;
        say(seen.load(Ordering::Acquire))?;
    }
    Ok(())
}

/// Finds the fields of each message, and forgets them.
fn forget(mut receiver: BatchReceiver, fields: &FieldSet, seen: &AtomicU64) {
    let mut slots_len = 0;
    loop {
        match receiver.recv_timeout(Duration::from_secs(1)) {
            Recv::Batch(batch) => {
                let mut slots = vec![None; fields.len()];
                for body in batch.iter().filter_map(|(_, body)| std::str::from_utf8(body).ok()) {
                    slots.fill(None);
                    // What is not JSON has no fields.
                    let _ = fields.extract(body, &mut slots);
                    slots_len += slots.len();
                }
                std::hint::black_box(slots_len);
                seen.fetch_add(batch.len() as u64, Ordering::AcqRel);
                receiver.recycle(batch);
            }
            Recv::Timeout => {}
            Recv::Closed => return,
        }
    }
}

/// The fields that the daemon and its plugins read.
fn fields(config: &Config, bundled: &[BundledPlugin]) -> anyhow::Result<FieldSet> {
    let hosted = Host::new(bundled).instances(config, &[], &Default::default());
    require_plugins(&hosted)?;
    let mut fields = FieldSet::default();
    for pointer in ["/msg_id", "/timestamp"] {
        fields.insert(pointer);
    }
    hosted.specs.iter().flat_map(|spec| &spec.declaration.fields).for_each(|pointer| {
        fields.insert(pointer);
    });
    Ok(fields)
}

/// Without plugins there is nothing to measure; one that does not start is told.
fn require_plugins(hosted: &Hosted) -> anyhow::Result<()> {
    for card in &hosted.cards {
        if let CardStatus::Failed(why) = &card.status {
            eprintln!("statscache: measured without {}: {why}", card.id);
        }
    }
    anyhow::ensure!(!hosted.specs.is_empty(), "no plugin is started; see [plugins] and [[instance]]");
    Ok(())
}

async fn daemon(
    config: Option<&Path>,
    waits: bool,
    endpoint: &str,
    dir: &Path,
    bundled: &[BundledPlugin],
) -> anyhow::Result<()> {
    let scratch = Scratch::adopt(dir)?;
    let mut config = config.map(Config::load).transpose()?.unwrap_or_default();
    config.bus.endpoints = vec![Endpoint::parse(endpoint, EndpointMode::Connect)?];
    config.bus.bind.clear();
    config.bus.replay.clear();
    // The publisher has chosen by the operator's.
    config.bus.subscribe = vec![String::new()];
    if waits {
        config.bus.when_full = BusWhenFull::Wait;
    }
    config.http.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.admin = AdminConfig::default();
    config.history = HistoryConfig::default();
    config.data.dir = scratch.fresh("data");
    config.log = LogConfig { level: LogLevel::Error };
    crate::cli::start_log(&config.log);
    let app = App::build(&config, bundled, Arc::new(SystemClock)).await?;
    say(app.address())?;
    app.run(async {
        // Until its end, or that of who started this; what it says does not matter.
        let _ = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await;
    })
    .await
}

/// Prints a line at once.
fn say(what: impl std::fmt::Display) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what}")?;
    Ok(out.flush()?)
}
