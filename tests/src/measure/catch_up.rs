//! `catch-up`: a new instance folds the journal, against the same plugin fed by the bus. Whole daemons: the one has
//! to receive, to look for duplicates and to write the journal, the other to read it.

use super::{
    Figure, median,
    process::{Daemon, NOBODY, Role},
    stream,
};

/// One and a half times as many messages a second of CPU.
const BAR: f64 = 0.667;

const ONE: &str = "\n[[instance]]\nplugin = \"volume\"\n";
const ANOTHER: &str = "\n[[instance]]\nplugin = \"volume\"\n[[instance]]\nid = \"another\"\nplugin = \"volume\"\n";

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let (messages, rounds) = if quick { (300_000, 3) } else { (1_000_000, 5) };
    println!("{rounds} rounds of {messages} messages of {} bytes, the plugin volume", stream::mean_bytes()?);
    let (mut lives, mut caught, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        let (live, catch_up) = micros(messages)?;
        println!(
            "round {round}: from the bus {live:.2} us, from the journal {catch_up:.2} us of CPU a message: {:.2} times as fast",
            live / catch_up
        );
        lives.push(live);
        caught.push(catch_up);
        ratios.push(catch_up / live);
    }
    let ratio = median(&mut ratios);
    println!(
        "median: from the bus {:.2} us, from the journal {:.2} us: {:.2} times as many messages a second of CPU",
        median(&mut lives),
        median(&mut caught),
        1.0 / ratio
    );
    Ok(vec![Figure { what: "CPU from the journal / from the bus", value: ratio, unit: "x", bar: BAR }])
}

/// CPU of a message from the bus, and from the journal.
fn micros(messages: u64) -> anyhow::Result<(f64, f64)> {
    let mut publisher = Role::start(&["publisher", &messages.to_string()])?;
    let endpoint = format!("tcp://127.0.0.1:{}", publisher.line()?);
    let empty = start_cpu(tempfile::tempdir()?)?;
    let daemon = Daemon::start_in(tempfile::tempdir()?, &endpoint, ONE)?;
    wait(&daemon, "volume", messages)?;
    let live = daemon.role.cpu_secs()? - empty;
    let dir = daemon.stop()?;
    drop(publisher);

    // Starting reads what the window reaches back to; that is no catching up.
    let daemon = Daemon::start_in(dir, NOBODY, ONE)?;
    let start = daemon.role.cpu_secs()?;
    let daemon = Daemon::start_in(daemon.stop()?, NOBODY, ANOTHER)?;
    wait(&daemon, "another", messages)?;
    let catch_up = daemon.role.cpu_secs()? - start;
    Ok((live * 1e6 / messages as f64, catch_up * 1e6 / messages as f64))
}

/// CPU of a start until it serves.
fn start_cpu(dir: tempfile::TempDir) -> anyhow::Result<f64> {
    Daemon::start_in(dir, NOBODY, ONE)?.role.cpu_secs()
}

fn wait(daemon: &Daemon, instance: &str, messages: u64) -> anyhow::Result<()> {
    let name = format!("statscache_plugin_processed_total{{plugin=\"{instance}\"}}");
    daemon.wait("all messages are in the answers", |metrics| metrics.get(&name) == Some(&(messages as f64)))
}
