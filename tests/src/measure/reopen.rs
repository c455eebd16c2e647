//! `reopen`: how soon a large state answers again after kill -9.

use std::{path::Path, time::Instant};

use anyhow::Context;
use statscache_core::{
    limits::Limits,
    query::{Filter, Query},
};
use statscache_plugin_sdk::{Kind, MetricDescriptor, Resolution, Tiers, Timestamp};

use super::{
    Figure,
    core::{self, BASE, Core, DAY, HOUR, Update},
    median, process,
    process::Role,
};
use statscache_server::bench::Random;

const BAR_SECS: f64 = 2.0;
/// Cells of a series in a year.
const CELLS: u64 = 80;
/// Commits in which all series change, at the end.
const LAST: i64 = 5;

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let (series, days, rounds) = if quick { (50_000, 60, 3) } else { (1_000_000, 365, 5) };
    println!(
        "{series} series in default tiers; in each of {days} days {} hourly cells spread over them ({CELLS} a series and \
         year), one commit a day; then {LAST} commits, a second apart, in which all change; then kill -9",
        u64::from(series as u32) * CELLS / 365
    );
    let dir = tempfile::tempdir()?;
    let path = dir.path().display().to_string();
    let made = Instant::now();
    let mut maker = Role::start(&["store-maker", &path, &series.to_string(), &days.to_string()])?;
    println!("{}", maker.line()?);
    drop(maker);
    let (len, _) = core::disk_bytes(dir.path())?;
    println!("made in {:.0} s: {} MiB of files", made.elapsed().as_secs_f64(), len >> 20);
    let (mut cpu, mut cat) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        read_all(dir.path())?;
        let (started, before) = (Instant::now(), process::own_cpu_secs());
        let read = read_all(dir.path())?;
        let (cat_cpu, cat_wall) = (process::own_cpu_secs() - before, started.elapsed().as_secs_f64());
        let started = Instant::now();
        let mut opener = Role::start(&["store-opener", &path])?;
        let line = opener.line()?;
        let wall = started.elapsed().as_secs_f64();
        let secs: f64 = line.split(' ').next().unwrap_or_default().parse().with_context(|| format!("says: {line}"))?;
        println!(
            "round {round}: {secs:.2} s of CPU, {wall:.2} s of time; reading {} MiB once: {cat_cpu:.2} s, {cat_wall:.2} s; {line}",
            read >> 20
        );
        cpu.push(secs);
        cat.push(cat_cpu);
    }
    println!("median: {:.1} times reading the files", median(&mut cpu) / median(&mut cat));
    Ok(vec![Figure { what: "CPU to the first answer", value: median(&mut cpu), unit: " s", bar: BAR_SECS }])
}

fn read_all(dir: &Path) -> anyhow::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        match path.is_dir() {
            true => sum += read_all(&path)?,
            false => sum += std::io::copy(&mut std::fs::File::open(path)?, &mut std::io::sink())?,
        }
    }
    Ok(sum)
}

fn metrics() -> Vec<MetricDescriptor> {
    vec![core::metric("events", Kind::Count, ["series"], Tiers::default())]
}

fn limits() -> Limits {
    Limits { series_per_metric: 2_000_000, memory_bytes: 4 << 30, ..Limits::default() }
}

/// The role of the process that is killed.
pub(super) fn make(dir: &str, series: &str, days: &str) -> anyhow::Result<()> {
    let (series, days): (u32, i64) = (series.parse()?, days.parse()?);
    let mut core = Core::open(Path::new(dir), metrics(), core::numbered("series"), limits(), BASE)?;
    let mut random = Random(3);
    let each_hour = u64::from(series) * CELLS / 365 / 24;
    for day in 0..days {
        for hour in 0..24 {
            let secs = BASE + day * DAY + hour * HOUR;
            let draw = |_| Update { metric: 0, series: (random.next() % u64::from(series)) as u32, secs, n: 1 };
            let updates: Vec<Update> = (0..each_hour).map(draw).collect();
            core.say(&updates, secs)?;
        }
        core.commit(BASE + (day + 1) * DAY - 1)?;
    }
    let end = BASE + days * DAY;
    for secs in end..end + LAST {
        let updates: Vec<Update> = (0..series).map(|series| Update { metric: 0, series, secs, n: 1 }).collect();
        core.say(&updates, secs)?;
        core.commit(secs)?;
    }
    let view = core.view();
    let metric = core::metric_of(&view, 0)?;
    let cells: u64 = metric.segments().map(|segment| segment.cells()).sum();
    println!(
        "{} series, {cells} cells in {} segments, {} MiB packed",
        metric.series_count,
        metric.segments().count(),
        metric.bytes_len() >> 20
    );
    // Until it is killed.
    let mut end = [0];
    let _ = std::io::Read::read(&mut std::io::stdin(), &mut end);
    std::thread::sleep(std::time::Duration::from_secs(600));
    Ok(())
}

/// The role of the process that opens it again.
pub(super) fn open(dir: &str) -> anyhow::Result<()> {
    let now = BASE + 400 * DAY;
    let core = Core::open(Path::new(dir), metrics(), core::numbered("series"), limits(), now)?;
    let opened = process::own_cpu_secs();
    let query = Query {
        start: Some(Timestamp::from_secs(BASE)),
        end: Some(Timestamp::from_secs(BASE + 366 * DAY)),
        step: Some(Resolution::HOUR),
        filters: vec![Filter { dimension: 0, patterns: vec!["series004242".to_owned()] }],
        ..Query::default()
    };
    let answer = core.ask(0, &query, BASE + 366 * DAY)?;
    anyhow::ensure!(!answer.rows.is_empty(), "the answer is empty");
    let cpu = process::own_cpu_secs();
    println!(
        "{cpu:.3} of which the first query {:.3}, {} rows; resident {:.0} MiB",
        cpu - opened,
        answer.rows.len(),
        process::resident_mib(std::process::id())?
    );
    Ok(())
}
