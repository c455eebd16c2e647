//! `statscache plugins`: a table of a running daemon's plugins.

use std::io::{ErrorKind, Write};

use serde::Deserialize;

use super::client;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Where the daemon serves HTTP
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8888")]
    url: String,
}

/// What the table shows of `/plugins`.
#[derive(Deserialize)]
struct Answer {
    as_of: String,
    plugins: Vec<Plugin>,
}

#[derive(Deserialize)]
struct Plugin {
    id: String,
    version: Option<String>,
    state: String,
    error: Option<String>,
    summary: String,
    counters: Option<Counters>,
    lag: Option<Lag>,
    metrics: Vec<Metric>,
}

#[derive(Deserialize)]
struct Counters {
    processed: u64,
    failed: u64,
}

#[derive(Deserialize)]
struct Lag {
    messages: u64,
}

#[derive(Deserialize)]
struct Metric {
    name: String,
}

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let answer: Answer = client::get(&args.url, "/plugins").await?;
    let heads = ["ID", "VERSION", "STATE", "MESSAGES", "FAILED", "LAG", "METRICS", "SUMMARY"].map(str::to_owned);
    let mut rows = vec![heads];
    rows.extend(answer.plugins.iter().map(row));
    let mut text = table(&rows);
    for plugin in &answer.plugins {
        if let Some(error) = &plugin.error {
            text += &format!("\n{}: {error}\n", plugin.id);
        }
    }
    text += &format!("\nas of {}\n", answer.as_of);
    match std::io::stdout().write_all(text.as_bytes()) {
        // Who reads has seen enough, as `grep -q` has.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

fn row(plugin: &Plugin) -> [String; 8] {
    let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    [
        plugin.id.clone(),
        plugin.version.clone().unwrap_or_else(|| "-".to_owned()),
        plugin.state.clone(),
        number(plugin.counters.as_ref().map(|counters| counters.processed)),
        number(plugin.counters.as_ref().map(|counters| counters.failed)),
        number(plugin.lag.as_ref().map(|lag| lag.messages)),
        plugin.metrics.iter().map(|metric| metric.name.as_str()).collect::<Vec<_>>().join(","),
        plugin.summary.clone(),
    ]
}

fn table(rows: &[[String; 8]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let line = |row: &[String; 8]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}  {}\n", cells.join("  "), row[7])
    };
    rows.iter().map(line).collect()
}
