//! `query-under-load`: how long answers take while the bus is busy, against a quiet bus, in turns. Nothing is pinned:
//! ingest, answers, publisher and clients share the cores.

use std::time::Duration;

use super::{
    Figure,
    client::{self, quantile},
    hot_query, median,
    process::{Daemon, Role},
};

/// Of p99 on two cores that publisher and clients use, too.
const BAR: f64 = 4.0;
const MESSAGES_PER_SEC: u64 = 20_000;
const QUESTIONS_PER_SEC: f64 = 2000.0;
const CONNECTIONS: u32 = 16;

pub(super) fn run(quick: bool) -> anyhow::Result<Vec<Figure>> {
    let (secs, rounds) = if quick { (2, 3) } else { (5, 5) };
    let mut publisher = Role::start(&["paced-publisher"])?;
    let daemon = Daemon::start(&format!("tcp://127.0.0.1:{}", publisher.line()?))?;
    let mut bus = Bus { publisher: &mut publisher, daemon: &daemon, sent: 0 };
    bus.start(2)?;
    bus.finish()?;
    println!(
        "{rounds} rounds of {secs} s quiet, {secs} s at {MESSAGES_PER_SEC} messages a second; {QUESTIONS_PER_SEC} \
         questions a second on {CONNECTIONS} connections"
    );
    let target = hot_query::target();
    let time = Duration::from_secs(secs);
    let ask = || client::ask_at_rate(daemon.http(), &target, QUESTIONS_PER_SEC, CONNECTIONS, time);
    ask()?;
    let (mut quiet_p99s, mut busy_p99s, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        let quiet = ask()?;
        bus.start(secs)?;
        let busy = ask()?;
        bus.finish()?;
        println!("round {round}: quiet {}; busy {}", told(&quiet), told(&busy));
        let (quiet, busy) = (quantile(&quiet, 0.99), quantile(&busy, 0.99));
        quiet_p99s.push(quiet);
        busy_p99s.push(busy);
        ratios.push(busy / quiet);
    }
    println!("median of p99: quiet {:.0} us, busy {:.0} us", median(&mut quiet_p99s), median(&mut busy_p99s));
    Ok(vec![Figure { what: "p99 busy / p99 quiet", value: median(&mut ratios), unit: "x", bar: BAR }])
}

/// The quantiles of answers' times.
fn told(micros: &[f64]) -> String {
    let at = |part| quantile(micros, part);
    format!("p50 {:.0}, p99 {:.0}, p99.9 {:.0}, most {:.0} us", at(0.5), at(0.99), at(0.999), at(1.0))
}

/// What comes in.
struct Bus<'a> {
    publisher: &'a mut Role,
    daemon: &'a Daemon,
    sent: u64,
}

impl Bus<'_> {
    /// Begins to send for so long.
    fn start(&mut self, secs: u64) -> anyhow::Result<()> {
        let messages = MESSAGES_PER_SEC * secs;
        self.sent += messages;
        self.publisher.tell(&format!("{MESSAGES_PER_SEC} {messages}"))
    }

    /// Waits until all of it is in the answers.
    fn finish(&mut self) -> anyhow::Result<()> {
        self.publisher.line()?;
        self.daemon.wait_processed(self.sent)
    }
}
