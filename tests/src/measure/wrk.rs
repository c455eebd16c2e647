//! Load by `wrk`: as many requests as go, on a core of its own.

use std::{net::SocketAddr, process::Stdio};

use anyhow::{Context, bail, ensure};

use super::process::{self, CLIENT_CORE};

/// What `wrk` says.
pub(super) struct Load {
    pub(super) requests: f64,
    pub(super) p99_micros: f64,
}

/// Connections of every load.
pub(super) const CONNECTIONS: u32 = 64;

/// Asks the same again and again; an answer that is no success is an error.
pub(super) fn run(address: SocketAddr, target: &str, secs: u64) -> anyhow::Result<Load> {
    let url = format!("http://{address}{target}");
    let output = process::on_core(CLIENT_CORE)
        .args(["wrk", "--latency", "-t1", &format!("-c{CONNECTIONS}"), &format!("-d{secs}s"), &url])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start taskset (util-linux)")?;
    ensure!(output.status.success(), "taskset wrk: {}; install wrk (apt install wrk)", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    read(&text).with_context(|| format!("wrk said:\n{text}"))
}

fn read(text: &str) -> anyhow::Result<Load> {
    ensure!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "not all answers were successes");
    let (mut requests, mut p99) = (None, None);
    for line in text.lines().map(str::trim) {
        if let Some((number, _)) = line.split_once(" requests in ") {
            requests = Some(number.parse()?);
        }
        if let Some(value) = line.strip_prefix("99%") {
            p99 = Some(micros(value.trim())?);
        }
    }
    match (requests, p99) {
        (Some(requests), Some(p99_micros)) => Ok(Load { requests, p99_micros }),
        _ => bail!("no number of requests, or no latency"),
    }
}

/// Of `653.00us`, `1.20ms`, `1.20s`.
fn micros(text: &str) -> anyhow::Result<f64> {
    for (unit, factor) in [("us", 1.0), ("ms", 1e3), ("s", 1e6)] {
        if let Some(number) = text.strip_suffix(unit) {
            return Ok(number.parse::<f64>()? * factor);
        }
    }
    bail!("`{text}` is no time")
}
