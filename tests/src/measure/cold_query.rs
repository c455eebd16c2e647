//! `cold-query`: answers that nobody asked for before, over HTTP: a year of hours from the daemon, beside the same
//! question to the same numbers in this process.

use std::{
    io::{Read, Write},
    time::Instant,
};

use statscache_core::{
    limits::Limits,
    query::{Filter, Query},
};
use statscache_plugin_sdk::{Kind, Resolution, Timestamp};

use super::{
    Figure,
    client::{Client, quantile},
    core::{self, Core, DAY, HOUR, Update},
    median,
    process::{self, Daemon, NOBODY, Role},
    stream,
};
use statscache_server::bench::Random;

/// 2023-01-01.
const YEAR: i64 = 1_672_531_200;
const SERIES: u32 = 100;
const LOCAL_ANSWERS: u32 = 20;

/// One question.
struct Asked {
    what: &'static str,
    /// Of the URL, behind start and end; each time with another number of one series.
    parameters: fn(u32) -> String,
    filters: fn(u32) -> Vec<Filter>,
    by: Option<Vec<usize>>,
    step: Resolution,
    /// CPU over HTTP, of a row.
    bar_micros: f64,
}

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let (days, secs) = if quick { (60, 1.0) } else { (365, 5.0) };
    println!("{SERIES} series over {days} days of hours; {secs} s of answers to each question, no two alike");
    let hours = (days * 24).to_string();
    let dir = tempfile::tempdir()?;
    let local = local(dir.path(), days)?;
    let mut publisher = Role::start(&["year-publisher", &hours])?;
    let daemon = Daemon::start(&format!("tcp://127.0.0.1:{}", publisher.line()?))?;
    let sent: u64 = publisher.line()?.parse()?;
    daemon.wait_processed(sent)?;
    // With what it has in its files, and nothing in memory.
    let daemon = Daemon::start_in(daemon.stop()?, NOBODY, "")?;
    let mut figures = Vec::new();
    println!(
        "{:<40} {:>6} {:>6} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "ms", "rows", "MB", "first", "p50", "most", "CPU", "here"
    );
    for asked in questions() {
        figures.push(compare(&asked, &daemon, &local, days, secs)?);
    }
    println!("first: after a start; CPU: of the daemon, an answer; here: CPU of the query without HTTP and JSON");
    Ok(figures)
}

fn questions() -> [Asked; 3] {
    [
        Asked {
            what: "1 series, all hours, CPU of a row",
            parameters: |number| format!("step=1h&where.topic={}", topic(number % SERIES)),
            filters: |number| vec![Filter { dimension: 0, patterns: vec![topic(number % SERIES)] }],
            by: None,
            step: Resolution::HOUR,
            bar_micros: 1.0,
        },
        Asked {
            what: "100 series, all hours, added up, a row",
            parameters: |_| "step=1h&by=".to_owned(),
            filters: |_| Vec::new(),
            by: Some(Vec::new()),
            step: Resolution::HOUR,
            bar_micros: 2.0,
        },
        Asked {
            what: "100 series, all days, a row",
            parameters: |_| "step=1d".to_owned(),
            filters: |_| Vec::new(),
            by: None,
            step: Resolution::DAY,
            bar_micros: 1.0,
        },
    ]
}

fn compare(asked: &Asked, daemon: &Daemon, local: &Core, days: i64, secs: f64) -> anyhow::Result<Figure> {
    let end = YEAR + days * DAY;
    let mut client = Client::connect(daemon.http())?;
    // What is asked for is the same each time; the URL is another, and so is the limit.
    let limit = |number: u32| 40_000 + number;
    let mut ask = |number: u32| {
        let parameters = (asked.parameters)(number);
        let limit = limit(number);
        let target = format!("/plugins/volume/by_topic?start={YEAR}&end={end}&{parameters}&limit={limit}");
        let start = Instant::now();
        let body = client.get(&target)?.body;
        anyhow::Ok((start.elapsed().as_secs_f64() * 1e3, body))
    };
    let (first, body) = ask(0)?;
    let rows = rows(&body)?;
    let (start, before) = (Instant::now(), daemon.role.cpu_secs()?);
    let mut millis = Vec::new();
    while start.elapsed().as_secs_f64() < secs {
        millis.push(ask(millis.len() as u32 + 1)?.0);
    }
    let cpu = (daemon.role.cpu_secs()? - before) * 1e3 / millis.len() as f64;
    millis.sort_by(f64::total_cmp);
    let mut here = Vec::new();
    for number in 0..LOCAL_ANSWERS {
        let query = Query {
            start: Some(Timestamp::from_secs(YEAR)),
            end: Some(Timestamp::from_secs(end)),
            step: Some(asked.step),
            filters: (asked.filters)(number),
            by: asked.by.clone(),
            limit: limit(number) as usize,
            ..Query::default()
        };
        let before = process::thread_cpu_secs();
        let answer = local.ask(0, &query, end)?;
        here.push((process::thread_cpu_secs() - before) * 1e3);
        anyhow::ensure!(number > 0 || answer.rows.len() == rows, "{} rows here, {rows} over HTTP", answer.rows.len());
    }
    println!(
        "{:<40} {rows:>6} {:>6.2} {first:>9.2} {:>9.2} {:>9.2} {cpu:>9.2} {:>9.2}",
        asked.what,
        body.len() as f64 / 1e6,
        quantile(&millis, 0.5),
        quantile(&millis, 1.0),
        median(&mut here)
    );
    Ok(Figure { what: asked.what, value: cpu * 1e3 / rows as f64, unit: " us", bar: asked.bar_micros })
}

fn rows(body: &[u8]) -> anyhow::Result<usize> {
    let answer: serde_json::Value = serde_json::from_slice(body)?;
    anyhow::ensure!(answer["truncated"] == false, "the answer is cut off");
    Ok(answer["rows"].as_array().map_or(0, Vec::len))
}

fn topic(series: u32) -> String {
    format!("org.example.prod.service{:02}.object{series:02}.event", series % 12)
}

/// How many messages of each series came in each hour.
fn year(hours: i64) -> impl Iterator<Item = (i64, u32, u64)> {
    let mut random = Random(23);
    (0..hours).flat_map(|hour| (0..SERIES).map(move |series| (hour, series))).map(move |(hour, series)| {
        let count = random.next() % 4;
        (YEAR + hour * HOUR + i64::from(series) * 30, series, count)
    })
}

/// The role of the bus: prints its port, sends the messages of so many hours, and prints how many they were.
pub(super) fn publish(hours: &str) -> anyhow::Result<()> {
    let mut peer = stream::subscriber()?;
    let (mut bytes, mut sent) = (Vec::new(), 0_u64);
    for (secs, series, count) in year(hours.parse()?) {
        let topic = topic(series);
        for _ in 0..count {
            let body =
                format!("{{\"msg_id\": \"m{sent}\", \"timestamp\": {secs}, \"topic\": \"{topic}\", \"msg\": {{}}}}");
            stream::frame(&mut bytes, topic.as_bytes(), true);
            stream::frame(&mut bytes, body.as_bytes(), false);
            sent += 1;
        }
        if bytes.len() > 1 << 20 {
            peer.write_all(&bytes)?;
            bytes.clear();
        }
    }
    peer.write_all(&bytes)?;
    println!("{sent}");
    // Stays connected until the case is over.
    let _ = std::io::stdin().read(&mut [0]);
    Ok(())
}

/// The same numbers in this process.
fn local(dir: &std::path::Path, days: i64) -> anyhow::Result<Core> {
    let metrics = vec![core::metric("by_topic", Kind::Count, ["topic"], "1h for 400d, 1d forever".parse()?)];
    let labels: core::Labels = Box::new(|series, take| take(&[&topic(series)]));
    let mut core = Core::open(dir, metrics, labels, Limits::default(), YEAR)?;
    let mut updates = Vec::new();
    for (secs, series, count) in year(days * 24) {
        if count > 0 {
            updates.push(Update { metric: 0, series, secs, n: count as i64 });
        }
        if series + 1 == SERIES && (secs - YEAR) / HOUR % 24 == 23 {
            core.say(&updates, secs)?;
            core.commit(secs)?;
            updates.clear();
        }
    }
    core.settle(YEAR + days * DAY - 1)?;
    Ok(core)
}
