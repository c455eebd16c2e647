//! `dedupe-memory`: what the window of identities takes.

use statscache_core::{
    identity::window::{Sight, Window},
    limits::Limits,
};

use super::{Figure, process};
use statscache_server::bench::Random;

const BAR_MB: f64 = 36.0;
const BAR_NANOS: f64 = 300.0;

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let ids: u64 = if quick { 2_000_000 } else { 10_000_000 };
    let limits = Limits { dedupe_ids: 2 * ids as usize, dedupe_window: 3_600_000_000, ..Limits::default() };
    let mut window = Window::new(&limits);
    let identities = || {
        let mut random = Random(7);
        (0..ids).map(move |sequence| (sequence, u128::from(random.next()) << 64 | u128::from(random.next())))
    };
    let (resident, before) = (process::resident_mib(std::process::id())?, process::thread_cpu_secs());
    for (sequence, identity) in identities() {
        // An hour of them.
        let now = (sequence as f64 / ids as f64 * 3.6e9) as i64;
        anyhow::ensure!(window.look(identity, 1) == Sight::New, "an identity is there twice");
        window.insert(identity, sequence, 1, now);
    }
    let new = (process::thread_cpu_secs() - before) * 1e9 / ids as f64;
    let resident = process::resident_mib(std::process::id())? - resident;
    let before = process::thread_cpu_secs();
    for (sequence, identity) in identities() {
        anyhow::ensure!(window.look(identity, 1) == Sight::Same { sequence }, "an identity was forgotten");
    }
    let known = (process::thread_cpu_secs() - before) * 1e9 / ids as f64;
    let millions = ids as f64 / 1e6;
    println!(
        "{ids} identities in an hour: {:.1} MB a million by the window's own account; look and insert {new:.0} ns, look \
         for one that is there {known:.0} ns of CPU",
        window.bytes() as f64 / 1e6 / millions
    );
    Ok(vec![
        Figure { what: "resident per million", value: resident * 1.048576 / millions, unit: " MB", bar: BAR_MB },
        Figure { what: "look and insert", value: new, unit: " ns", bar: BAR_NANOS },
    ])
}
