//! `statscache store stats`: what takes how much room.

use std::{
    io::{self, Write},
    path::Path,
};

use statscache_core::store::{
    NamespaceState,
    stats::{self, StoreStats},
};

use super::{Place, size, time};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Print one JSON object, sizes in bytes
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let (path, backend) = args.place.open()?;
    let stats = stats::stats(&backend)?;
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &stats)?;
        writeln!(out)?;
    } else {
        print(&stats, &path, &mut out)?;
    }
    Ok(())
}

fn print(stats: &StoreStats, path: &Path, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}: format {}, {} on disk\n", path.display(), stats.format, size(stats.disk_bytes))?;
    let mut rows = vec![vec!["ROWS".to_owned(), "NUMBER".to_owned(), "KEYS".to_owned(), "VALUES".to_owned()]];
    for (what, of) in &stats.rows {
        rows.push(vec![(*what).to_owned(), of.rows.to_string(), size(of.key_bytes), size(of.value_bytes)]);
    }
    table(&rows, 1, out)?;
    writeln!(out)?;
    let heads = [
        "INSTANCE",
        "METRIC",
        "KIND",
        "TIER",
        "LABEL SETS",
        "PARTITIONS",
        "OPEN SEGMENTS",
        "CELLS",
        "BYTES",
        "COLUMN SEGMENTS",
        "CHUNKS",
        "CELLS",
        "BYTES",
        "BYTES/CELL",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for namespace in &stats.namespaces {
        for metric in &namespace.metrics {
            for (number, tier) in metric.tiers.iter().enumerate() {
                let both = tier.rows.plus(tier.columns);
                let name = if tier.tier.is_empty() { "-" } else { &tier.tier };
                // Label sets are the metric's, whatever the tier.
                let series = match number {
                    0 => format!("{} ({})", metric.series, size(metric.series_bytes)),
                    _ => String::new(),
                };
                rows.push(vec![
                    namespace.instance.clone(),
                    metric.name.clone(),
                    metric.kind.to_owned(),
                    name.to_owned(),
                    series,
                    tier.partitions.to_string(),
                    tier.rows.segments.to_string(),
                    tier.rows.cells.to_string(),
                    size(tier.rows.bytes),
                    tier.columns.segments.to_string(),
                    tier.columns.chunks.to_string(),
                    tier.columns.cells.to_string(),
                    size(tier.columns.bytes),
                    if both.cells == 0 {
                        "-".to_owned()
                    } else {
                        format!("{:.1}", both.bytes as f64 / both.cells as f64)
                    },
                ]);
            }
        }
    }
    table(&rows, 4, out)?;
    writeln!(out)?;
    for namespace in stats.namespaces.iter().filter(|namespace| namespace.is_half_removed) {
        let (number, instance) = (namespace.number, &namespace.instance);
        writeln!(out, "namespace {number} of {instance} is half removed; the next start of the daemon finishes it")?;
    }
    for namespace in &stats.namespaces {
        let (number, instance) = (namespace.number, &namespace.instance);
        match namespace.state {
            NamespaceState::Serving => {}
            NamespaceState::Building => writeln!(out, "namespace {number} of {instance} is being built")?,
            NamespaceState::Retired { since } => {
                writeln!(out, "namespace {number} of {instance} was replaced at {}", time(since))?;
            }
        }
    }
    if stats.set_aside.segments > 0 {
        let (segments, cells) = (stats.set_aside.segments, stats.set_aside.cells);
        writeln!(out, "set aside because they are damaged: {segments} segments with {cells} cells")?;
    }
    let (garbage, coverage) = (stats.garbage, stats.coverage_intervals);
    writeln!(out, "to be removed: {} chunks of {} segments", garbage.chunks, garbage.segments)?;
    writeln!(out, "coverage of the bus: {coverage} intervals")
}

/// Columns as wide as what is in them: the first ones to the left, numbers to the right.
fn table(rows: &[Vec<String>], left: usize, out: &mut impl Write) -> io::Result<()> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, width))| match column < left {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}
