//! `restart`: a daemon that was killed in the middle of its work at full load, started again, against the same one
//! after a clean stop.

use std::time::Instant;

use super::{
    Figure, median,
    process::{Daemon, Metrics, NOBODY, Role},
};

/// Against a clean stop.
const BAR: f64 = 3.0;
/// Seconds of full load to be folded again: a commit each second, and one that is being written.
const BAR_AGAIN_SECS: f64 = 2.0;

/// CPU seconds, and seconds.
type Cost = (f64, f64);

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let (messages, rounds) = if quick { (300_000, 3) } else { (1_000_000, 5) };
    println!("{rounds} rounds: kill -9 when a daemon at full load has taken {messages} messages");
    let (mut cpu, mut time, mut again) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        // More than it will take.
        let mut publisher = Role::start(&["publisher", &(messages * 20).to_string()])?;
        let daemon = Daemon::start(&format!("tcp://127.0.0.1:{}", publisher.line()?))?;
        let (idle, loaded) = (daemon.role.cpu_secs()?, Instant::now());
        daemon.wait("it has taken enough", |metrics| {
            metrics.get("statscache_messages_accepted_total").is_some_and(|accepted| *accepted >= messages as f64)
        })?;
        let load = (daemon.role.cpu_secs()? - idle) / loaded.elapsed().as_secs_f64();
        let dir = daemon.kill();
        drop(publisher);
        let (daemon, killed, all_killed) = restart(dir)?;
        let (_, clean, all_clean) = restart(daemon.stop()?)?;
        println!(
            "round {round}: after kill -9 {:.2} s of CPU, {:.2} s until it serves, {:.2} s of CPU until all is in; after \
             a stop {:.2} s, {:.2} s, {:.2} s",
            killed.0, killed.1, all_killed, clean.0, clean.1, all_clean
        );
        cpu.push(killed.0 / clean.0);
        time.push(killed.1 / clean.1);
        again.push((all_killed - all_clean) / load);
    }
    let value = |mut values: Vec<f64>| median(&mut values);
    Ok(vec![
        Figure { what: "CPU until it serves, killed / stopped", value: value(cpu), unit: "x", bar: BAR },
        Figure { what: "time until it serves, killed / stopped", value: value(time), unit: "x", bar: BAR },
        Figure {
            what: "folded again after it, as CPU of full load,",
            value: value(again),
            unit: " s",
            bar: BAR_AGAIN_SECS,
        },
    ])
}

/// Until it serves; and CPU until its answers have everything that the journal has.
fn restart(dir: tempfile::TempDir) -> anyhow::Result<(Daemon, Cost, f64)> {
    let started = Instant::now();
    let daemon = Daemon::start_in(dir, NOBODY, "")?;
    let served = (daemon.role.cpu_secs()?, started.elapsed().as_secs_f64());
    daemon.wait("everything is in its answers", has_all)?;
    let all = daemon.role.cpu_secs()?;
    Ok((daemon, served, all))
}

fn has_all(metrics: &Metrics) -> bool {
    metrics.iter().filter(|(name, _)| name.starts_with("statscache_plugin_lag_messages{")).all(|(_, lag)| *lag == 0.0)
}
