//! `range-query`: what answers cost, cold and warm, beside adding up the same numbers from vectors in
//! memory, which is as fast as an answer could be.

use std::{hint::black_box, path::Path};

use statscache_core::{
    limits::Limits,
    query::{Filter, Order, OrderBy, Path as LabelPath, Query, Rollup},
};
use statscache_plugin_sdk::{Kind, MetricDescriptor, Resolution, Tiers, Timestamp};

use super::{
    Figure,
    core::{self, BASE, Core, DAY, HOUR, Labels, Update},
    median, process,
};
use statscache_server::bench::Random;

/// One question, and the same by hand.
struct Asked {
    what: &'static str,
    metric: usize,
    query: Query,
    rows: usize,
    /// Series and hours whose numbers are added up, as a vector would hold them.
    numbers: Vec<i64>,
    bar_ms: f64,
}

const ROUNDS: usize = 15;

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let days = if quick { 60 } else { 365 };
    let (few, many) = if quick { (200, 20_000) } else { (1000, 100_000) };
    println!("{few} series over {days} days of hours; {many} series over a day; {many} latest values");
    let dir = tempfile::tempdir()?;
    make(dir.path(), days, few, many)?;
    let end = BASE + days * DAY;
    let mut figures = Vec::new();
    println!(
        "{:<46} {:>7} {:>9} {:>9} {:>9} {:>8} {:>9}",
        "us of CPU", "rows", "cold", "warm", "vector", "warm", "a number"
    );
    for asked in questions(days, few, many) {
        let mut cold = Vec::new();
        for _ in 0..3 {
            let core = open(dir.path(), end)?;
            cold.push(time(&core, &asked, end)?);
        }
        let core = open(dir.path(), end)?;
        time(&core, &asked, end)?;
        let mut warm = Vec::new();
        for _ in 0..ROUNDS {
            warm.push(time(&core, &asked, end)?);
        }
        let mut vector = Vec::new();
        for _ in 0..ROUNDS {
            let before = process::thread_cpu_secs();
            for _ in 0..100 {
                black_box(black_box(&asked.numbers).iter().sum::<i64>());
            }
            vector.push((process::thread_cpu_secs() - before) * 1e4);
        }
        let (cold, warm, vector) = (median(&mut cold), median(&mut warm), median(&mut vector));
        println!(
            "{:<46} {:>7} {cold:>9.0} {warm:>9.0} {vector:>9.1} {:>7.0}x {:>6.1} ns",
            asked.what,
            asked.rows,
            warm / vector,
            warm * 1e3 / asked.numbers.len() as f64
        );
        figures.push(Figure { what: asked.what, value: warm / 1e3, unit: " ms", bar: asked.bar_ms });
    }
    println!("cold: a fresh engine and empty caches of its own, files in the system's; warm: the same again");
    Ok(figures)
}

/// Microseconds of CPU of one answer.
fn time(core: &Core, asked: &Asked, end: i64) -> anyhow::Result<f64> {
    let before = process::thread_cpu_secs();
    let answer = core.ask(asked.metric, &asked.query, end)?;
    let micros = (process::thread_cpu_secs() - before) * 1e6;
    anyhow::ensure!(
        answer.rows.len() == asked.rows,
        "{}: {} rows instead of {}",
        asked.what,
        answer.rows.len(),
        asked.rows
    );
    Ok(micros)
}

fn questions(days: i64, few: u32, many: u32) -> Vec<Asked> {
    let (hours, end) = (days * 24, BASE + days * DAY);
    let year = Query {
        start: Some(Timestamp::from_secs(BASE)),
        end: Some(Timestamp::from_secs(end)),
        step: Some(Resolution::HOUR),
        limit: 1_000_000,
        ..Query::default()
    };
    let filter = |pattern: &str| vec![Filter { dimension: 0, patterns: vec![pattern.to_owned()] }];
    let greatest = Order { by: OrderBy::Value, descending: true };
    let day = Query {
        start: Some(Timestamp::from_secs(end - DAY)),
        step: Some(Resolution::DAY),
        order: greatest,
        limit: 10,
        ..year.clone()
    };
    let numbers = |n: usize| (0..n as i64).collect();
    let of_hundred = 100 * hours as usize;
    assert!(few >= 200, "`/series0001*` is a hundred of them");
    vec![
        Asked {
            what: "1 series, all hours",
            metric: 0,
            query: Query { filters: filter("/series000142"), ..year.clone() },
            rows: hours as usize,
            numbers: numbers(hours as usize),
            bar_ms: 1.0,
        },
        Asked {
            what: "100 series, all hours, added up",
            metric: 0,
            query: Query { filters: filter("/series0001*"), by: Some(Vec::new()), ..year.clone() },
            rows: hours as usize,
            numbers: numbers(of_hundred),
            bar_ms: 20.0,
        },
        Asked {
            what: "100 series, all hours, a row each",
            metric: 0,
            query: Query { filters: filter("/series0001*"), ..year },
            rows: of_hundred,
            numbers: numbers(of_hundred),
            bar_ms: 300.0,
        },
        Asked {
            what: "top 10 over 24 h, from hours",
            metric: 1,
            query: day.clone(),
            rows: 10,
            numbers: numbers(24 * many as usize),
            bar_ms: 100.0,
        },
        Asked {
            what: "top 10 over 24 h, from days",
            metric: 2,
            query: day,
            rows: 10,
            numbers: numbers(many as usize),
            bar_ms: 20.0,
        },
        Asked {
            what: "rollup of latest values at depth 1",
            metric: 3,
            query: Query {
                rollup: Some(Rollup::Sum(LabelPath { dimension: 0, depth: 1 })),
                limit: 1_000_000,
                ..Query::default()
            },
            rows: 10,
            numbers: numbers(many as usize),
            bar_ms: 10.0,
        },
    ]
}

fn metrics() -> anyhow::Result<Vec<MetricDescriptor>> {
    Ok(vec![
        core::metric("year", Kind::Count, ["path"], "1h forever".parse()?),
        core::metric("hours", Kind::Count, ["path"], "1h forever".parse()?),
        core::metric("days", Kind::Count, ["path"], "1d forever".parse()?),
        core::metric("newest", Kind::Latest { n: 1, ttl: None }, ["path"], Tiers::default()),
    ])
}

/// Of the last metric, `a/b/c` of which there are ten, ten and the rest; of the others, one part.
fn labels() -> Labels {
    Box::new(|series, take| match series.checked_sub(LATEST) {
        Some(n) => take(&[&format!("part{}/of{}/name{n:06}", n % 10, n / 10 % 10)]),
        None => take(&[&format!("/series{series:06}")]),
    })
}

/// Where the numbers of latest values begin.
const LATEST: u32 = 1 << 30;

fn open(dir: &Path, secs: i64) -> anyhow::Result<Core> {
    let limits = Limits { series_per_metric: 200_000, ..Limits::default() };
    Core::open(dir, metrics()?, labels(), limits, secs)
}

fn make(dir: &Path, days: i64, few: u32, many: u32) -> anyhow::Result<()> {
    let mut core = open(dir, BASE)?;
    let mut random = Random(11);
    let mut n = || 1 + (random.next() % 1000) as i64;
    for day in 0..days {
        for hour in 0..24 {
            let secs = BASE + day * DAY + hour * HOUR;
            let updates: Vec<Update> = (0..few).map(|series| Update { metric: 0, series, secs, n: n() }).collect();
            core.say(&updates, secs)?;
            if day + 1 == days {
                for metric in [1, 2] {
                    let updates: Vec<Update> =
                        (0..many).map(|series| Update { metric, series, secs, n: n() }).collect();
                    core.say(&updates, secs)?;
                }
            }
        }
        core.commit(BASE + (day + 1) * DAY - 1)?;
    }
    let secs = BASE + days * DAY - 1;
    let leaves: Vec<Update> =
        (0..many).map(|series| Update { metric: 3, series: LATEST + series, secs, n: n() }).collect();
    core.say(&leaves, secs)?;
    core.settle(secs)?;
    Ok(())
}
