//! `series-memory`: a million series, all of which change in every commit, in a process of their own.

use anyhow::Context;
use statscache_core::limits::Limits;
use statscache_plugin_sdk::{Kind, Tiers};

use super::{
    Figure,
    core::{self, BASE, Core, Labels, Update},
    counting, process,
    process::Role,
};

const BAR_BYTES: f64 = 200.0;
/// `project123456` and `kind123`.
const LABEL_BYTES: f64 = 20.0;
/// Until segments that were replaced are removed as fast as new ones come.
const COMMITS: i64 = 150;
/// Every so many, the child says how it is.
const TOLD: i64 = 25;

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let series = if quick { 100_000 } else { 1_000_000 };
    println!(
        "{series} series of two labels, {LABEL_BYTES} bytes, default tiers; all change in {COMMITS} commits, a second apart"
    );
    let empty = hold_in_child(0)?;
    let full = hold_in_child(series)?;
    let each = |bytes: f64| bytes / f64::from(series);
    println!("without series: {:.1} MiB resident, {:.1} MiB allocated", empty.resident / MIB, empty.live / MIB);
    println!(
        "with them: {:.1} MiB resident, at most {:.1}; {:.1} MiB allocated after a commit, at most {:.1} during one",
        full.resident / MIB,
        full.resident_most / MIB,
        full.live / MIB,
        full.peak / MIB
    );
    println!(
        "allocated a series: {:.1} bytes after a commit, {:.1} at most; resident at most {:.1}, all beyond {LABEL_BYTES} of labels",
        each(full.live - empty.live) - LABEL_BYTES,
        each(full.peak - empty.live) - LABEL_BYTES,
        each(full.resident_most - empty.resident) - LABEL_BYTES
    );
    let value = each(full.resident - empty.resident) - LABEL_BYTES;
    Ok(vec![Figure { what: "resident a series, beyond its labels", value, unit: " bytes", bar: BAR_BYTES }])
}

const MIB: f64 = 1_048_576.0;

/// Bytes of a process.
struct Held {
    live: f64,
    peak: f64,
    resident: f64,
    resident_most: f64,
}

fn hold_in_child(series: u32) -> anyhow::Result<Held> {
    let mut child = Role::start(&["series-holder", &series.to_string()])?;
    loop {
        let line = child.line()?;
        let Some(figures) = line.strip_prefix("held ") else {
            println!("  {line}");
            continue;
        };
        let figures: Vec<f64> = figures.split(' ').filter_map(|figure| figure.parse().ok()).collect();
        let [live, peak, resident, resident_most] = figures[..] else { anyhow::bail!("the child says: {line}") };
        return Ok(Held { live, peak, resident, resident_most });
    }
}

/// The role of the process that holds them.
pub(super) fn hold(series: &str) -> anyhow::Result<()> {
    counting::start();
    let series: u32 = series.parse().context("number of series")?;
    let dir = tempfile::tempdir()?;
    let metrics = vec![core::metric("events", Kind::Count, ["project", "kind"], Tiers::default())];
    let limits = Limits { series_per_metric: series + 1, ..Limits::default() };
    let mut core = Core::open(dir.path(), metrics, labels(), limits, BASE)?;
    let (mut peak, mut resident_most): (i64, f64) = (0, 0.0);
    for commit in 0..COMMITS {
        let secs = BASE + commit;
        // A message at a time, so that the case holds none of them itself.
        let mut first = 0;
        loop {
            let last = (first + 10_000).min(series);
            let updates: Vec<Update> = (first..last).map(|series| Update { metric: 0, series, secs, n: 1 }).collect();
            core.say(&updates, secs)?;
            first = last;
            if first == series {
                break;
            }
        }
        let (delta, engine) = (core.engine.pending_bytes(), counting::live());
        counting::take_peak();
        core.commit(secs)?;
        let most = counting::take_peak();
        peak = peak.max(most);
        let resident = process::resident_mib(std::process::id())?;
        resident_most = resident_most.max(resident);
        core.engine.bound_memory(0);
        let (own, _) = core.engine.memory();
        let view = core.view();
        if series == 0 || (commit + 1) % TOLD != 0 {
            continue;
        }
        println!(
            "commit {}: allocated {:.1} MiB before (delta about {:.1}), {:.1} at most, {:.1} after; resident {resident:.1}; \
             label table {:.1}, view {:.1} of which cached chunks {:.1}",
            commit + 1,
            engine as f64 / MIB,
            delta as f64 / MIB,
            most as f64 / MIB,
            counting::live() as f64 / MIB,
            own as f64 / MIB,
            view.memory() as f64 / MIB,
            view.chunks.bytes() as f64 / MIB,
        );
    }
    let resident = process::resident_mib(std::process::id())?;
    println!("held {} {peak} {} {}", counting::live(), resident * MIB, resident_most * MIB);
    Ok(())
}

fn labels() -> Labels {
    Box::new(|series, take| {
        let mut text = *b"project000000kind000";
        let digits = |text: &mut [u8], mut n: u32| {
            for digit in text.iter_mut().rev() {
                *digit = b'0' + (n % 10) as u8;
                n /= 10;
            }
        };
        digits(&mut text[7..13], series / 10);
        digits(&mut text[17..], series % 10);
        let text = str::from_utf8(&text).unwrap_or_default();
        take(&[&text[..13], &text[13..]]);
    })
}
