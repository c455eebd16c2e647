//! Turns what others have, files with JSON or webhooks, into messages on a ZeroMQ bus.
//!
//! Documents come from a folder (`folder`) or by POST (`webhook`), get an envelope (`envelope`), and wait in one
//! bounded queue (`bus`) for the socket that publishes them. What does not fit is refused where it comes from: a
//! folder is read on later, and who posts gets a 503.

mod bus;
mod envelope;
mod folder;
mod webhook;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, ensure};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use bus::Bus;
use envelope::Envelopes;

/// Publish JSON files and webhook POSTs as messages on a ZeroMQ bus
#[derive(Parser)]
#[command(name = "statscache-bridge", version)]
struct Args {
    /// Topic of the messages; what is posted to /A/B goes to TOPIC.A.B
    #[arg(long, value_name = "TOPIC")]
    topic: String,
    /// Publish each document of the files *.json, *.jsonl and *.ndjson in this folder, and of those that come
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Publish what is posted here
    #[arg(long, value_name = "HOST:PORT")]
    webhook: Option<SocketAddr>,
    /// Address to bind for subscribers
    #[arg(long, value_name = "tcp://HOST:PORT", default_value = "tcp://127.0.0.1:9940")]
    endpoint: String,
    /// Where a document says when it happened, as a JSON pointer; the first of several that it has
    #[arg(long, value_name = "POINTER")]
    time_pointer: Vec<String>,
    /// With --dir: remember in this file what was published, for the next start
    #[arg(long, value_name = "FILE", requires = "dir")]
    remember: Option<PathBuf>,
    /// With --dir: end when all files are published
    #[arg(long, requires = "dir", conflicts_with = "webhook")]
    once: bool,
    /// With --dir: seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    interval: f64,
    /// With --webhook: file with the token that a request must show, as `X-Gitlab-Token` or `Authorization: Bearer`
    #[arg(long, value_name = "FILE", requires = "webhook")]
    token_file: Option<PathBuf>,
    /// Longest document, bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(16..=16 << 20))]
    max_bytes: u32,
}

/// Time for the last messages to leave.
const LINGER: Duration = Duration::from_secs(1);

/// Runs the command line of this process; errors go to standard error, with their causes.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(run(&args));
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(error).context("cannot start threads"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("statscache-bridge: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(args.dir.is_some() || args.webhook.is_some(), "nothing to publish; give --dir or --webhook");
    let is_interval = args.interval.is_finite() && (0.01..=86_400.0).contains(&args.interval);
    ensure!(is_interval, "--interval must be from 0.01 to 86400 seconds");
    let envelopes = Envelopes::new(&args.topic, &args.time_pointer)?;
    let stop = stop_signal()?;
    let (bus, publishing) = Bus::bind(&args.endpoint).await?;
    let listener = match args.webhook {
        Some(address) => Some(webhook::Webhook::bind(address, args, envelopes.clone(), bus.clone()).await?),
        None => None,
    };
    eprintln!("publishing on {}", bus.address());
    let sources = async {
        let folder = async {
            match &args.dir {
                Some(dir) => folder::follow(dir, args, &envelopes, &bus).await,
                None => std::future::pending().await,
            }
        };
        let webhook = async {
            match listener {
                Some(listener) => listener.serve().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = folder => ended,
            ended = webhook => ended,
        }
    };
    let work = async {
        tokio::select! {
            ended = sources => ended,
            () = stop => Ok(()),
        }
    };
    let ended = bus.publish_during(publishing, work).await;
    // Also after an error: what was sent before it shall arrive.
    tokio::time::sleep(LINGER).await;
    eprintln!("{}", bus.told());
    ended
}

/// Done at the first interrupt or termination.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = signals.0.recv() => {}
            _ = signals.1.recv() => {}
        }
    })
}
