//! `churn`: weeks in which tiers fill up, close and are dropped. What is on disk and in memory must
//! level off as soon as every tier that drops anything has done so.

use statscache_core::limits::Limits;
use statscache_plugin_sdk::{Kind, Tiers};

use super::{
    Figure, columns,
    core::{self, BASE, Core, DAY, Update},
    process,
};
use statscache_server::bench::Random;

const BAR: f64 = 1.3;
const BAR_MEMORY: f64 = 1.3;

struct Day {
    disk: f64,
    resident: f64,
}

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let (days, series, changed, every) = if quick { (21, 200, 20, 60) } else { (28, 1000, 100, 15) };
    println!(
        "{days} days; {changed} of {series} series change between commits, which are {every} s apart; default tiers: \
         seconds are dropped after 2 h, minutes after 7 d"
    );
    let dir = tempfile::tempdir()?;
    let metrics = vec![core::metric("events", Kind::Count, ["series"], Tiers::default())];
    let mut core = Core::open(dir.path(), metrics, core::numbered("series"), Limits::default(), BASE)?;
    let mut random = Random(7);
    let mut updates: Vec<Update> = Vec::new();
    let mut curve: Vec<Day> = Vec::new();
    println!(
        "{:>4} {:>10} {:>10} {:>12} {:>9} {:>10} {:>9}",
        "day", "disk KiB", "in blobs", "logical KiB", "segments", "RSS MiB", "CPU s"
    );
    for day in 1..=days {
        for commit in 0..DAY / every {
            let from = BASE + (day - 1) * DAY + commit * every;
            updates.clear();
            for _ in 0..changed {
                let (secs, series) = (from + (random.next() % every as u64) as i64, (random.next() % series) as u32);
                updates.push(Update { metric: 0, series, secs, n: 1 + (random.next() % 100) as i64 });
            }
            core.say(&updates, from + every - 1)?;
            core.commit(from + every)?;
        }
        let (_, allocated) = core::disk_bytes(&dir.path().join("store"))?;
        // sled puts a leaf of more than a quarter of its segment into a file of its own.
        let (_, blobs) = core::disk_bytes(&dir.path().join("store/blobs"))?;
        let resident = process::resident_mib(std::process::id())?;
        let view = core.view();
        let metric = core::metric_of(&view, 0)?;
        println!(
            "{day:>4} {:>10} {:>10} {:>12} {:>9} {resident:>10.1} {:>9.1}",
            allocated >> 10,
            blobs >> 10,
            metric.bytes_len() >> 10,
            metric.segments().count(),
            process::own_cpu_secs()
        );
        curve.push(Day { disk: allocated as f64, resident });
    }
    drop(core);
    let rows = columns::count(&dir.path().join("store"))?;
    println!(
        "rows of the store at the end, KiB: chunks {}, indexes {}, label sets {}, to be removed {}, others {}; {} in number",
        rows.columns >> 10,
        rows.directories >> 10,
        rows.labels >> 10,
        rows.garbage >> 10,
        rows.others >> 10,
        rows.number
    );
    let (half, end) = (&curve[curve.len() / 2 - 1], &curve[curve.len() - 1]);
    Ok(vec![
        Figure { what: "disk at the end / at half time", value: end.disk / half.disk, unit: "x", bar: BAR },
        Figure {
            what: "memory at the end / at half time",
            value: end.resident / half.resident,
            unit: "x",
            bar: BAR_MEMORY,
        },
    ])
}
