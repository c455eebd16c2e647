//! `statscache plugins`: a table of a running daemon's plugins.

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
    print_table(&rows);
    for plugin in &answer.plugins {
        if let Some(error) = &plugin.error {
            println!("\n{}: {error}", plugin.id);
        }
    }
    println!("\nas of {}", answer.as_of);
    Ok(())
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

fn print_table(rows: &[[String; 8]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}  {}", cells.join("  "), row[7]);
    }
}
