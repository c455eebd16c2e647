//! `commit`: a hundred thousand changed series a second. What ingest waits for is `take_commit`
//! alone; packing and writing are the other thread's.

use std::time::Instant;

use statscache_core::limits::Limits;
use statscache_plugin_sdk::{Kind, Tiers, Timestamp};

use super::{
    Figure,
    core::{self, BASE, Core, Labels, Update},
    median, process,
};

const BAR: f64 = 0.05;
const BAR_CELL: f64 = 1.5;
/// A cell as a fixed record: series, bucket, count, 4 bytes each.
const CELL_BYTES: f64 = 12.0;

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let (series, commits) = if quick { (20_000, 10) } else { (100_000, 20) };
    println!("{series} series changed in each of {commits} commits, a second apart, default tiers");
    let dir = tempfile::tempdir()?;
    let metrics = vec![core::metric("events", Kind::Count, ["project", "kind"], Tiers::default())];
    let limits = Limits { series_per_metric: series + 1, ..Limits::default() };
    let mut core = Core::open(dir.path(), metrics, table(series), limits, BASE)?;
    let mut update_ms = Vec::new();
    let (mut held_ms, mut prepare_ms, mut write_ms) = (Vec::new(), Vec::new(), Vec::new());
    let (mut rows, mut bytes) = (Vec::new(), Vec::new());
    let mut written = 0;
    // The first two make the label sets and the first segments.
    for commit in 0..commits + 2 {
        let secs = BASE + i64::from(commit);
        let updates: Vec<Update> = (0..series).map(|series| Update { metric: 0, series, secs, n: 1 }).collect();
        if commit == 2 {
            written = process::written_bytes()?;
        }
        let at = Instant::now();
        core.say(&updates, secs)?;
        let updated = at.elapsed();
        let at = Instant::now();
        let pending = core.engine.take_commit(Timestamp::from_secs(secs));
        let held = at.elapsed();
        let at = Instant::now();
        let mut prepared = core.committer.prepare(pending)?;
        let packed = at.elapsed();
        let at = Instant::now();
        core.committer.write(&mut prepared)?;
        core.engine.commit_written();
        if commit >= 2 {
            update_ms.push(updated.as_secs_f64() * 1e3);
            held_ms.push(held.as_secs_f64() * 1e3);
            prepare_ms.push(packed.as_secs_f64() * 1e3);
            write_ms.push(at.elapsed().as_secs_f64() * 1e3);
            rows.push(prepared.rows() as f64);
            bytes.push(prepared.bytes_len() as f64);
        }
    }
    let disk = (process::written_bytes()? - written) as f64 / f64::from(commits);
    for (what, values) in [
        ("updates (ingest thread)", &mut update_ms),
        ("take_commit (ingest thread)", &mut held_ms),
        ("prepare (commit thread)", &mut prepare_ms),
        ("write and sync (commit thread)", &mut write_ms),
    ] {
        let total: f64 = values.iter().sum();
        let mean = total / values.len() as f64;
        println!(
            "{what:<31} median {:>8.3} ms, mean {mean:>8.3}, most {:>8.3}",
            median(values),
            values[values.len() - 1]
        );
    }
    let raw = f64::from(series) * CELL_BYTES;
    let mean = bytes.iter().sum::<f64>() / bytes.len() as f64;
    println!("rows a commit: median {}, most {}", median(&mut rows), rows[rows.len() - 1]);
    println!(
        "bytes a commit: mean {mean:.0}, most {:.0}; raw {raw:.0} (12 a cell, finest tier), {:.0} in four tiers: \
         {:.2} and {:.2} times; the process made {disk:.0} dirty on disk, {:.1} times the rows",
        bytes.iter().copied().fold(0.0, f64::max),
        raw * 4.0,
        mean / raw,
        mean / raw / 4.0,
        disk / mean
    );
    let held = median(&mut held_ms) / median(&mut update_ms);
    Ok(vec![
        Figure { what: "take_commit / updates", value: held, unit: "x", bar: BAR },
        Figure { what: "bytes written / 12 a cell and tier", value: mean / raw / 4.0, unit: "x", bar: BAR_CELL },
    ])
}

/// Label sets made beforehand, so that they are no part of what is measured.
fn table(series: u32) -> Labels {
    let sets: Vec<[String; 2]> =
        (0..series).map(|n| [format!("project{:05}", n / 10), format!("kind{}", n % 10)]).collect();
    Box::new(move |series, take| {
        let [project, kind] = &sets[series as usize];
        take(&[project, kind]);
    })
}
