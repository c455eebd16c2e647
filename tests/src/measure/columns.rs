//! `bytes-per-bucket`: what closed partitions take, against what is in them. Hourly Poisson counts of
//! a year, fed hour by hour through the engine; then the rows of the store are counted.

use std::path::Path;

use statscache_core::{
    limits::Limits,
    store::{SledBackend, backend::Backend},
};
use statscache_plugin_sdk::Kind;

use super::{
    Figure,
    core::{self, BASE, Core, HOUR, Update},
};
use statscache_server::bench::Random;

const BAR: f64 = 1.25;
const MEANS: [f64; 5] = [0.05, 0.5, 5.0, 50.0, 500.0];

struct Poisson {
    /// Probability of so many or fewer.
    cumulative: Vec<f64>,
    /// Bits of one number.
    entropy: f64,
}

impl Poisson {
    fn new(mean: f64) -> Self {
        let (mut cumulative, mut entropy, mut sum, mut ln) = (Vec::new(), 0.0, 0.0, -mean);
        for k in 0_u32.. {
            if k > 0 {
                ln += mean.ln() - f64::from(k).ln();
            }
            let p = ln.exp();
            sum += p;
            cumulative.push(sum);
            if p > 0.0 {
                entropy -= p * p.log2();
            }
            if f64::from(k) > mean && p < 1e-18 {
                break;
            }
        }
        Self { cumulative, entropy }
    }

    fn draw(&self, random: &mut Random) -> i64 {
        let unit = random.unit();
        self.cumulative.partition_point(|up_to| *up_to <= unit) as i64
    }
}

/// Bytes of keys and values, by what they are.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) columns: u64,
    pub(super) directories: u64,
    pub(super) labels: u64,
    pub(super) others: u64,
    pub(super) garbage: u64,
    pub(super) number: u64,
}

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let (series, days) = if quick { (300, 90) } else { (1000, 365) };
    println!("{series} series, {days} days of hours, tier `1h forever`, one commit an hour, then settled");
    println!(
        "{:>6} {:>9} {:>9} {:>9} {:>11} {:>9} {:>7} {:>10} {:>10}",
        "mean", "entropy", "stored", "ratio", "directories", "labels", "others", "logical", "files"
    );
    let mut worst: f64 = 0.0;
    for mean in MEANS {
        worst = worst.max(one(mean, series, days)?);
    }
    println!(
        "entropy and stored in bits a bucket, zeros included; stored are column chunks and directories, keys and all.\n\
         The fixed cost beside it, in bytes: label sets, and others (format, namespace, cursor, reading).\n\
         Files are larger: sled gives nothing back, keeps old versions until it needs their place, and forgets some."
    );
    Ok(vec![Figure { what: "worst stored / entropy", value: worst, unit: "x", bar: BAR }])
}

fn one(mean: f64, series: u32, days: i64) -> anyhow::Result<f64> {
    let poisson = Poisson::new(mean);
    let dir = tempfile::tempdir()?;
    let metrics = vec![core::metric("events", Kind::Count, ["series"], "1h forever".parse()?)];
    let mut core = Core::open(dir.path(), metrics, core::numbered("series"), Limits::default(), BASE)?;
    let mut random = Random(mean.to_bits());
    let mut updates = Vec::new();
    let (hours, end) = (days * 24, BASE + days * 24 * HOUR);
    for hour in 0..hours {
        let secs = BASE + hour * HOUR;
        let drawn = (0..series).map(|series| Update { metric: 0, series, secs, n: poisson.draw(&mut random) });
        updates.clear();
        updates.extend(drawn.filter(|update| update.n > 0));
        core.say(&updates, secs)?;
        core.commit(secs + HOUR - 1)?;
    }
    // Past the end of the last partition, so that it closes, too.
    let later = end + 600 * HOUR;
    core.say(&[], later)?;
    core.commit(later)?;
    core.settle(later)?;
    drop(core);
    let (file, _) = core::disk_bytes(&dir.path().join("store"))?;
    let rows = count(&dir.path().join("store"))?;
    anyhow::ensure!(rows.garbage == 0, "{} bytes of garbage are left", rows.garbage);
    let buckets = (i64::from(series) * hours) as f64;
    let bits = |bytes: u64| bytes as f64 * 8.0 / buckets;
    let stored = bits(rows.columns + rows.directories);
    let ratio = stored / poisson.entropy;
    println!(
        "{mean:>6} {:>9.4} {stored:>9.4} {ratio:>8.3}x {:>11} {:>9} {:>7} {:>10} {file:>10}",
        poisson.entropy,
        rows.directories,
        rows.labels,
        rows.others,
        rows.columns + rows.directories + rows.labels + rows.others
    );
    Ok(ratio)
}

/// Opens a store that nobody has open, and counts its rows.
pub(super) fn count(store: &Path) -> anyhow::Result<Rows> {
    let mut rows = Rows::default();
    SledBackend::open(store)?.scan(b"", &mut |key, value| {
        let kind = match key.first() {
            Some(b'D') => &mut rows.columns,
            Some(b'I') => &mut rows.directories,
            Some(b'S') => &mut rows.labels,
            Some(b'G') => &mut rows.garbage,
            _ => &mut rows.others,
        };
        rows.number += 1;
        *kind += (key.len() + value.len()) as u64;
        true
    })?;
    Ok(rows)
}
