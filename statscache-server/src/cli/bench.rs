//! `statscache bench`: how many messages a second this machine keeps up with, and what is in the way of more.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};

use crate::bench::{Report, Setup, Step};

/// Shorter, and no step says anything.
const SECONDS_MIN: u64 = 3;
const SECONDS_MAX: u64 = 3600;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Measure with the instances, limits and plugins of this configuration file; else with every shipped plugin.
    /// Its data, bus and ports are not touched
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Send these messages, one JSON object with a `topic` per line, round and round, each time with a new msg_id and
    /// the present as timestamp; else an invented mix like that of Fedora's bus
    #[arg(long, value_name = "FILE.jsonl")]
    messages: Option<PathBuf>,
    /// About how long it may take, but for the starts of its processes; longer is more exact
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Put the data into a temporary folder in this one; else in the system's. The disk matters
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let stop = super::shutdown_signal();
    if !(SECONDS_MIN..=SECONDS_MAX).contains(&args.seconds) {
        bail!("--seconds must be from {SECONDS_MIN} to {SECONDS_MAX}");
    }
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let setup = Setup {
        program: (program, Vec::new()),
        config: args.config.clone(),
        messages: args.messages.clone(),
        dir: args.dir.clone(),
        time: Duration::from_secs(args.seconds),
    };
    if !args.json {
        println!("{HEAD}");
    }
    let told = |step: &Step| {
        if !args.json {
            println!("{}", row(step));
        }
    };
    let report = tokio::select! {
        report = setup.run(told) => report?,
        stopped = stop => return stopped.and_then(|()| bail!("stopped before the end")),
    };
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => tell(&report),
    }
    Ok(())
}

const HEAD: &str =
    "  asked/s  received/s  CPU us/msg   lag s  waiting  dropped  RSS MiB  p50 ms  p99 ms  busiest thread";

fn row(step: &Step) -> String {
    let millis = |millis: Option<f64>| millis.map_or_else(|| "-".to_owned(), |millis| format!("{millis:.1}"));
    let thread = step.threads.first().map(|(name, part)| format!("{name} {:.0} %", part * 100.0)).unwrap_or_default();
    let mark = if step.limit.is_some() { "  <- too much" } else { "" };
    format!(
        "{:>9.0}  {:>10.0}  {:>10.1}  {:>6.2}  {:>7.0}  {:>7.0}  {:>7.0}  {:>6}  {:>6}  {thread}{mark}",
        step.asked_per_second,
        step.received_per_second,
        step.cpu_micros,
        step.lag_seconds,
        step.backlog_messages,
        step.dropped,
        step.resident_mib,
        millis(step.query_p50_millis),
        millis(step.query_p99_millis),
    )
}

fn tell(report: &Report) {
    let Report { ceiling, verdict, messages, instances, .. } = report;
    println!();
    print!("{verdict}");
    println!(
        "ceiling: receiving, finding the fields and dropping alone takes {:.1} us of CPU each, {:.0} a second",
        ceiling.cpu_micros, ceiling.per_second
    );
    if let Some(ratio) = verdict.cpu_ratio {
        println!("the daemon takes {ratio:.2} x the CPU of that");
    }
    let from = messages.file.as_deref().unwrap_or("an invented mix like that of Fedora's bus");
    let instances: Vec<&str> = instances.iter().map(|instance| instance.id.as_str()).collect();
    println!("instances: {}", instances.join(", "));
    println!("messages: {} different ones of {} bytes, {from}", messages.different, messages.mean_bytes);
}
