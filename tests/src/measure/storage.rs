//! `storage`: sums of six sizes along namespaces over a million projects, 15,000 of them under one root, while sizes
//! change and after namespaces have moved; beside a loop that adds up the same numbers from a vector in memory.

use std::{hint::black_box, path::Path};

use statscache_core::{
    limits::Limits,
    query::{Filter, Order, OrderBy, Path as LabelPath, Query, Rollup},
};
use statscache_plugin_sdk::{Kind, MetricDescriptor, Moved, Tiers};

use super::{
    Figure,
    core::{self, BASE, Core, Labels, Update},
    median, process,
};

/// Projects under the root that is asked for.
const OF_ROOT: u32 = 15_000;
/// Roots of the others.
const ROOTS: u32 = 2000;
/// Groups that moved, of which each has some projects.
const MOVED: u32 = 2000;
/// Sizes that change from one question to the next.
const CHANGES: u32 = 500;
const ROUNDS: i64 = 15;
/// What the query took that this is made to replace, milliseconds.
const ORIGINAL_MS: f64 = 1200.0;
/// Where the numbers of moves begin.
const MOVES: u32 = 1 << 30;

/// One question.
struct Asked {
    what: &'static str,
    query: Query,
    bar_ms: f64,
}

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let projects = if quick { 100_000 } else { 1_000_000 };
    println!(
        "{projects} projects, {OF_ROOT} of them under one root and spread among the others; {CHANGES} change before each question"
    );
    let dir = tempfile::tempdir()?;
    let mut core = open(dir.path(), projects)?;
    let updates: Vec<Update> = (0..projects).map(|series| size(series, BASE)).collect();
    for part in updates.chunks(50_000) {
        core.say(part, BASE)?;
        core.commit(BASE)?;
    }
    let mut secs = core.settle(BASE)?;
    let each = |bytes: f64| bytes / f64::from(projects);
    core.engine.bound_memory(0);
    let (own, _) = core.engine.memory();
    println!(
        "memory a project: {:.0} bytes of label table, {:.0} of the view; packed {:.0} bytes in the store",
        each(own as f64),
        each((core.view().memory() as u64 - core.view().chunks.bytes()) as f64),
        each(core::metric_of(&core.view(), 0)?.bytes_len() as f64),
    );
    println!(
        "{:<46} {:>6} {:>10} {:>10} {:>10} {:>12}",
        "ms of CPU", "rows", "answer", "loop", "of a loop", "of 1.2 s"
    );
    let mut figures = ask_all(&mut core, &mut secs, projects, questions())?;
    let moves: Vec<Update> =
        (0..MOVED).map(|n| Update { metric: 1, series: MOVES + n, secs, n: -1 - i64::from(n) }).collect();
    core.say(&moves, secs)?;
    core.commit(secs)?;
    println!("after {MOVED} groups have moved:");
    figures.extend(ask_all(&mut core, &mut secs, projects, questions_moved())?);
    Ok(figures)
}

fn ask_all(core: &mut Core, secs: &mut i64, projects: u32, asked: Vec<Asked>) -> anyhow::Result<Vec<Figure>> {
    let numbers: Vec<[i64; 6]> = (0..projects).map(|series| sizes(size(series, 0).n)).collect();
    let mut figures = Vec::new();
    for Asked { what, query, bar_ms } in asked {
        let (mut taken, mut looped, mut rows) = (Vec::new(), Vec::new(), 0);
        for round in 0..ROUNDS {
            *secs += 1;
            let some = |n: u32| n.wrapping_mul(7919).wrapping_add(round as u32 * 104_729) % projects;
            let changes: Vec<Update> = (0..CHANGES).map(|n| size(some(n), *secs)).collect();
            core.say(&changes, *secs)?;
            core.commit(*secs)?;
            let before = process::thread_cpu_secs();
            let answer = core.ask(0, &query, *secs + 1)?;
            taken.push((process::thread_cpu_secs() - before) * 1e3);
            rows = answer.rows.len();
            anyhow::ensure!(rows > 0, "{what}: no rows");
            let before = process::thread_cpu_secs();
            let wanted = if query.filters.is_empty() { numbers.len() } else { OF_ROOT as usize };
            let mut sums = [0_i64; 6];
            for sizes in &black_box(&numbers)[..wanted] {
                sums.iter_mut().zip(sizes).for_each(|(sum, size)| *sum += size);
            }
            black_box(sums);
            looped.push((process::thread_cpu_secs() - before) * 1e3);
        }
        let (taken, looped) = (median(&mut taken), median(&mut looped));
        println!(
            "{what:<46} {rows:>6} {taken:>10.1} {looped:>10.2} {:>9.0}x {:>11.0}x",
            taken / looped,
            ORIGINAL_MS / taken
        );
        figures.push(Figure { what, value: taken, unit: " ms", bar: bar_ms });
    }
    Ok(figures)
}

/// Sums at that depth, the largest first.
fn rollup(depth: usize, only: Option<&str>) -> Query {
    Query {
        rollup: Some(Rollup::Sum(LabelPath { dimension: 0, depth })),
        by: Some(vec![0]),
        filters: only.map(|pattern| Filter { dimension: 0, patterns: vec![pattern.to_owned()] }).into_iter().collect(),
        order: Order { by: OrderBy::Value, descending: true },
        member: Some("storage".to_owned()),
        limit: 20,
        ..Query::default()
    }
}

fn questions() -> Vec<Asked> {
    vec![
        Asked { what: "total of one root", query: rollup(1, Some("harbour/*")), bar_ms: 100.0 },
        Asked { what: "groups below that root, depth 2", query: rollup(2, Some("harbour/*")), bar_ms: 100.0 },
        Asked { what: "all roots, the largest 20", query: rollup(1, None), bar_ms: 600.0 },
        Asked { what: "all projects, the largest 20", query: rollup(99, None), bar_ms: 1200.0 },
    ]
}

fn questions_moved() -> Vec<Asked> {
    vec![
        Asked { what: "total of one root, moved", query: rollup(1, Some("harbour/*")), bar_ms: 200.0 },
        Asked { what: "all roots, the largest 20, moved", query: rollup(1, None), bar_ms: 800.0 },
    ]
}

fn size(series: u32, secs: i64) -> Update {
    let n = i64::from(series.wrapping_mul(2_654_435_761)) * 7919 + secs % 1000;
    Update { metric: 0, series, secs, n }
}

/// Six sizes, as of a project: many are small, and some are not there at all.
fn sizes(n: i64) -> [i64; 6] {
    let (wiki, lfs, artifacts) = (n % 50_000, (n >> 7) % 10_000_000, (n >> 3) % 300_000_000);
    let repository = n % 5_000_000_000;
    [repository + wiki + lfs + artifacts, repository, wiki, lfs, artifacts, 0]
}

/// The value of a project, as the plugin writes it; of a move, which has a negative number, its new path.
fn written(n: i64) -> String {
    if n < 0 {
        return format!("{{\"to\":\"moved{}/group{}\"}}", -n % 10, -n);
    }
    let [storage, repository, wiki, lfs, artifacts, packages] = sizes(n);
    format!(
        "{{\"storage\":{storage},\"repository\":{repository},\"wiki\":{wiki},\"lfs\":{lfs},\"artifacts\":{artifacts},\"packages\":{packages}}}"
    )
}

/// Paths of two to five parts. Those of the one root are spread among the others, as they are when a whole forge is
/// looked through in order of its ids.
fn labels(projects: u32) -> Labels {
    let every = projects / OF_ROOT;
    Box::new(move |series, take| {
        let n = series % MOVES;
        if series >= MOVES {
            return take(&[&format!("root{:04}/group{:03}", n % ROOTS, n / ROOTS)]);
        }
        let is_of_root = n.is_multiple_of(every) && n / every < OF_ROOT;
        let root = if is_of_root { "harbour".to_owned() } else { format!("root{:04}", n % ROOTS) };
        let group = n / ROOTS % 40;
        match n % 4 {
            0 => take(&[&format!("{root}/project{n:07}")]),
            1 => take(&[&format!("{root}/group{group:03}/project{n:07}")]),
            2 => take(&[&format!("{root}/group{group:03}/team{}/project{n:07}", n % 7)]),
            _ => take(&[&format!("{root}/group{group:03}/team{}/part{}/project{n:07}", n % 7, n % 3)]),
        }
    })
}

fn metrics() -> Vec<MetricDescriptor> {
    let latest = |n| Kind::Latest { n, ttl: None };
    let mut projects = core::metric("projects", latest(1), ["project"], Tiers::default());
    projects.moved = Some(Moved { label: "project".to_owned(), metric: "moves".to_owned() });
    vec![projects, core::metric("moves", latest(16), ["path"], Tiers::default())]
}

fn open(dir: &Path, projects: u32) -> anyhow::Result<Core> {
    // As the plugin's README says for so many.
    let limits =
        Limits { series_per_metric: projects + 1, memory_bytes: 2 << 30, cache_bytes: 512 << 20, ..Limits::default() };
    Core::open_with(dir, metrics(), (labels(projects), written), limits, BASE)
}
