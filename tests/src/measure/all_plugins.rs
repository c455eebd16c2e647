//! `all-plugins`: the daemon with every shipped plugin and its defaults, on a mix of messages like that of Fedora's
//! bus, against the least that anything on this bus must do; and how it does when more comes than it can take. What
//! is measured is that of `statscache bench`.

use std::time::Duration;

use statscache_server::bench::{self, Ceiling, Round, Scratch, Setup, Step, Under};
use statscache_server::config::Config;

use super::{Figure, median};

const BAR: f64 = 3.0;

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let (secs, rounds, rising) = if quick { (1.5, 3, 20) } else { (8.0, 7, 90) };
    let setup = Setup {
        program: (std::env::current_exe()?, vec!["statscache".into()]),
        config: None,
        messages: None,
        dir: None,
        time: Duration::from_secs(rising),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (ceiling, ratio) = compare(&setup, Duration::from_secs_f64(secs), rounds).await?;
        saturate(&setup, ceiling).await?;
        Ok(vec![Figure { what: "daemon / receiver", value: ratio, unit: "x", bar: BAR }])
    })
}

/// Both at full speed, in turns.
async fn compare(setup: &Setup, time: Duration, rounds: u32) -> anyhow::Result<(Ceiling, f64)> {
    println!(
        "{rounds} rounds of {:.1} s at full speed, every shipped plugin loaded, journal and sled on",
        time.as_secs_f64()
    );
    let (mut floor, mut full, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = None;
    for number in 1..=rounds {
        // Removed after each round: it is gigabytes.
        let scratch = Scratch::new(None)?;
        let ceiling = bench::ceiling(setup, &scratch, time).await?;
        let round = bench::full_speed(setup, &scratch, time).await?;
        println!(
            "round {number}: receive + extract + drop {:.2} us, daemon {:.2} us of CPU a message ({:.0} messages)",
            ceiling.cpu_micros, round.cpu_micros, round.messages
        );
        floor.push(ceiling.cpu_micros);
        full.push(round.cpu_micros);
        ratios.push(round.cpu_micros / ceiling.cpu_micros);
        last = Some((ceiling, round));
    }
    println!("median: receive + extract + drop {:.2} us, daemon {:.2} us", median(&mut floor), median(&mut full));
    let (ceiling, round) = last.ok_or_else(|| anyhow::anyhow!("no rounds"))?;
    tell_shares(&round);
    Ok((ceiling, median(&mut ratios)))
}

/// Which thread took what of the last round: each instance has one.
fn tell_shares(round: &Round) {
    println!("of that, by thread:");
    for (name, micros) in round.threads.iter().filter(|(_, micros)| *micros >= 0.005) {
        println!("  {name:<16} {micros:>6.2} us  {:>3.0} %", micros / round.cpu_micros * 100.0);
    }
}

/// A rising rate, until something is lost or waits.
async fn saturate(setup: &Setup, ceiling: Ceiling) -> anyhow::Result<()> {
    println!("rising rate, questions meanwhile:");
    let scratch = Scratch::new(None)?;
    let commit_interval = Config::default().data.commit_interval;
    let under = Under { ceiling, commit_interval, time: setup.time };
    let rising = bench::rising(setup, &scratch, &under, &mut tell).await?;
    for limit in rising.steps.iter().filter_map(|step| step.limit.as_ref()) {
        println!("limited by: {} ({})", limit.cause, limit.symptom);
    }
    Ok(())
}

fn tell(step: &Step) {
    println!(
        "  {:.0} messages/s asked: {:.0}/s counted, {:.1} us each, answers {:.2} s behind, at most {:.0} waiting, {} lost, \
         {:.0} MiB, queries p50 {:.2} p99 {:.2} ms",
        step.asked_per_second,
        step.received_per_second,
        step.cpu_micros,
        step.lag_seconds,
        step.backlog_messages,
        step.dropped,
        step.resident_mib,
        step.query_p50_millis.unwrap_or(f64::NAN),
        step.query_p99_millis.unwrap_or(f64::NAN),
    );
}
