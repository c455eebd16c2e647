//! `idle-memory`: what the daemon takes when nothing happens.

use std::time::Duration;

use super::{Figure, process, process::Daemon};

const BAR_MIB: f64 = 64.0;

pub(super) fn idle(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let secs = if quick { 5 } else { 30 };
    let daemon = Daemon::start(process::NOBODY)?;
    println!("resident at start: {:.1} MiB", daemon.role.resident_mib()?);
    std::thread::sleep(Duration::from_secs(secs));
    let value = daemon.role.resident_mib()?;
    println!("resident after {secs} s of commits without messages: {value:.1} MiB");
    Ok(vec![Figure { what: "resident", value, unit: " MiB", bar: BAR_MIB }])
}
