//! `push`: a thousand readers of server-sent events: what each takes of the daemon's memory, and how long after a
//! commit they have the answer.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use statscache_server::clock::{Clock, SystemClock};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

use super::{
    Figure, hot_query, median,
    process::{Daemon, Role},
};

/// Of the daemon's own memory; the kernel's buffers of a connection are not in it.
const BAR_KIB: f64 = 48.0;
/// From the first reader's receipt to the last one's; this process, which reads them all, is part of it.
const BAR_SPREAD_MS: f64 = 100.0;
const MESSAGES: u64 = 50_000;
/// Streams may take only a part of the connections.
const MANY_CONNECTIONS: &str = "[limits]\nconnections = 4096\n";
/// Longer than a commit takes under any load.
const PATIENCE: Duration = Duration::from_secs(10);

/// An event has come.
struct Receipt {
    at: Instant,
    /// How long after the view that it tells of was made.
    since_view_ms: f64,
    bytes: usize,
}

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let (readers, rounds) = (1000, if quick { 5 } else { 20 });
    println!("{readers} readers of one answer, {rounds} rounds of one message each");
    let mut publisher = Role::start(&["paced-publisher"])?;
    let endpoint = format!("tcp://127.0.0.1:{}", publisher.line()?);
    let daemon = Daemon::start_in(tempfile::tempdir()?, &endpoint, MANY_CONNECTIONS)?;
    publisher.tell(&format!("50000 {MESSAGES}"))?;
    publisher.line()?;
    daemon.wait_processed(MESSAGES)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(&daemon, &mut publisher, readers, rounds))
}

async fn measure(daemon: &Daemon, publisher: &mut Role, readers: usize, rounds: usize) -> anyhow::Result<Vec<Figure>> {
    let (sender, mut receipts) = mpsc::unbounded_channel();
    // One first: what the daemon sets up once is no reader's.
    spawn(daemon.http(), &sender);
    all(&mut receipts, 1).await.context("the first reader's first event")?;
    let before = daemon.role.resident_mib()?;
    for _ in 1..readers {
        spawn(daemon.http(), &sender);
    }
    all(&mut receipts, readers - 1).await.context("the first events")?;
    let opened = daemon.role.resident_mib()?;
    let (mut spreads, mut lates, mut cpu) = (Vec::new(), Vec::new(), 0.0);
    for round in 1..=rounds {
        let cpu_before = daemon.role.cpu_secs()?;
        publisher.tell("1000 1")?;
        let mut came = all(&mut receipts, readers).await.with_context(|| format!("the events of round {round}"))?;
        cpu += daemon.role.cpu_secs()? - cpu_before;
        came.sort_by_key(|receipt| receipt.at);
        let (first, last) = (&came[0], &came[came.len() - 1]);
        let spread = (last.at - first.at).as_secs_f64() * 1e3;
        println!(
            "round {round}: {} bytes; {:.1} ms after the view was made the first has it, {spread:.1} ms later the last",
            last.bytes, first.since_view_ms
        );
        spreads.push(spread);
        lates.push(last.since_view_ms);
        publisher.line()?;
    }
    let kib = |mib: f64| (mib - before) * 1024.0 / (readers - 1) as f64;
    let (at_first, at_last) = (kib(opened), kib(daemon.role.resident_mib()?));
    println!("memory of a reader: {at_first:.1} KiB with its first event, {at_last:.1} KiB at the end");
    let events = (rounds * readers) as f64;
    println!("CPU of the daemon for each event, its commits included: {:.1} us", cpu * 1e6 / events);
    println!(
        "median: the last reader has it {:.1} ms after the view was made, the commit included",
        median(&mut lates)
    );
    Ok(vec![
        Figure { what: "memory of a reader", value: at_last, unit: " KiB", bar: BAR_KIB },
        Figure { what: "from first to last reader", value: median(&mut spreads), unit: " ms", bar: BAR_SPREAD_MS },
    ])
}

/// So many events.
async fn all(
    receipts: &mut mpsc::UnboundedReceiver<anyhow::Result<Receipt>>,
    n: usize,
) -> anyhow::Result<Vec<Receipt>> {
    let mut came = Vec::new();
    while came.len() < n {
        let next = tokio::time::timeout(PATIENCE, receipts.recv());
        let next = next.await.with_context(|| format!("{} of {n} came", came.len()))?;
        came.push(next.context("all readers have ended")??);
    }
    Ok(came)
}

/// Starts a reader, who tells of each event, and last why there are no more.
fn spawn(address: SocketAddr, receipts: &mpsc::UnboundedSender<anyhow::Result<Receipt>>) {
    let receipts = receipts.clone();
    tokio::spawn(async move {
        if let Err(error) = read(address, &receipts).await {
            // Nobody listens when the case is over.
            let _ = receipts.send(Err(error));
        }
    });
}

async fn read(address: SocketAddr, receipts: &mpsc::UnboundedSender<anyhow::Result<Receipt>>) -> anyhow::Result<()> {
    let target = hot_query::target().replacen('?', "/stream?", 1);
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: measure\r\nAccept: text/event-stream\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = Vec::new();
    loop {
        let read = stream.read_buf(&mut text).await?;
        let so_far = String::from_utf8_lossy(&text);
        ensure!(read > 0, "the stream ended: {so_far}");
        let is_refused = ["HTTP/1.1 4", "HTTP/1.1 5"].iter().any(|refusal| so_far.starts_with(refusal));
        ensure!(!is_refused, "{so_far}");
        // Behind the blank line that ends an event there may be the end of a chunk.
        if so_far.trim_end_matches("\r\n").ends_with("\n\n") && so_far.contains("\ndata:") {
            let _ = receipts.send(receipt(&so_far));
            text.clear();
        }
    }
}

fn receipt(event: &str) -> anyhow::Result<Receipt> {
    let (at, now) = (Instant::now(), SystemClock.now());
    let as_of = event.split("\"as_of\":\"").nth(1).and_then(|rest| rest.split('"').next()).context("no as_of")?;
    let as_of: jiff::Timestamp = as_of.parse().with_context(|| format!("as_of {as_of}"))?;
    let since_view_ms = (now.micros() - as_of.as_microsecond()) as f64 / 1e3;
    Ok(Receipt { at, since_view_ms, bytes: event.len() })
}
