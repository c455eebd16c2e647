//! The loop: starts what is due, publishes what was found, and ends when it is told to.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    bus::Bus,
    check::{Checker, Outcome, check},
    clock::now_micros,
    config::{Config, Sites},
    report::Envelope,
    schedule::{Due, Schedule},
};

/// How long it sleeps at most: then it looks at the clock, which may have been set.
const LOOK: Duration = Duration::from_secs(1);
/// How often trouble is spoken of.
const COMPLAIN: Duration = Duration::from_secs(60);

/// Checks and publishes until a signal comes.
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let checker = Checker::new(config.exchange.clone(), config.sites.need_tls())?;
    let bus = Bus::open(&config.bind, &config.connect).await?;
    let sockets: Vec<String> = bus.bound().iter().chain(&config.connect).cloned().collect();
    let (count, rate) = (config.sites.len(), config.sites.rate());
    eprintln!("looking at {count} sites, {rate:.1} checks a second; publishing on {}", sockets.join(", "));
    let mut scraper = Scraper::new(config, checker, bus);
    tokio::select! {
        () = scraper.go() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    scraper.close().await;
    Ok(())
}

/// A check that has ended.
type Found = (Due, Outcome);

struct Scraper {
    config: Config,
    checker: Arc<Checker>,
    schedule: Schedule,
    bus: Bus,
    running: JoinSet<Found>,
    published: u64,
    /// When trouble was spoken of last, and how much there was.
    complained: (Instant, u64),
}

impl Scraper {
    fn new(config: Config, checker: Checker, bus: Bus) -> Self {
        let schedule = Schedule::new(config.sites.timings(), now_micros());
        let (running, complained) = (JoinSet::new(), (Instant::now(), 0));
        Self { config, checker: Arc::new(checker), schedule, bus, running, published: 0, complained }
    }

    /// Never ends by itself.
    async fn go(&mut self) {
        loop {
            let now = now_micros();
            let sites = &self.config.sites;
            if self.schedule.is_ahead(now, |site| sites.timing(site)) {
                eprintln!("the clock was set back; beginning anew");
                self.schedule = Schedule::new(sites.timings(), now);
            }
            self.start_what_is_due(now);
            let (is_full, pause) = (self.running.len() >= self.config.concurrency, self.pause(now));
            tokio::select! {
                Some(found) = self.running.join_next() => self.publish(found),
                () = sleep(pause), if !is_full => {}
            }
            self.complain();
        }
    }

    fn start_what_is_due(&mut self, now: i64) {
        let sites = &self.config.sites;
        while self.running.len() < self.config.concurrency
            && let Some(due) = self.schedule.pop(now, |site| sites.timing(site))
        {
            self.running.spawn(look(Arc::clone(&self.checker), sites, due));
        }
    }

    /// Until the next check is due.
    fn pause(&self, now: i64) -> Duration {
        let wait = self.schedule.next().map_or(0, |due| due - now);
        Duration::from_micros(u64::try_from(wait).unwrap_or(0)).min(LOOK)
    }

    fn publish(&mut self, found: Result<Found, tokio::task::JoinError>) {
        let found = found.context("a check has failed").and_then(|(due, outcome)| {
            let (topic, url) = (&self.config.topic, self.config.sites.url(due.site));
            let envelope = Envelope::new(topic, (self.published + 1, now_micros()), (url, due.tstamp), &outcome);
            Ok(serde_json::to_vec(&envelope)?)
        });
        match found {
            Ok(body) => {
                self.published += 1;
                self.bus.send(&self.config.topic, body);
            }
            Err(error) => eprintln!("{error:#}"),
        }
    }

    /// Says what goes wrong, once in a while.
    fn complain(&mut self) {
        let (skipped, dropped) = (self.schedule.skipped(), self.bus.dropped());
        let (last, trouble) = self.complained;
        if skipped + dropped > trouble && last.elapsed() >= COMPLAIN {
            self.complained = (Instant::now(), skipped + dropped);
            eprintln!(
                "so far {skipped} checks left out because others took too long (raise concurrency, or lower timeout), \
                 {dropped} messages dropped because nobody took them"
            );
        }
    }

    /// What is under way is given up; what was found leaves.
    async fn close(self) {
        let Self { schedule, bus, running, published, .. } = self;
        let (dropped, skipped, given_up) = (bus.dropped(), schedule.skipped(), running.len());
        drop(running);
        bus.close().await;
        eprintln!(
            "stopped: {published} checks published, {dropped} of them dropped because nobody took them; {skipped} left \
             out, {given_up} given up"
        );
    }
}

/// The check that is due.
fn look(checker: Arc<Checker>, sites: &Sites, due: Due) -> impl Future<Output = Found> + use<> {
    let (url, rule) = (sites.url(due.site).to_owned(), Arc::clone(sites.rule(due.site)));
    async move { (due, check(checker, url, rule).await) }
}

/// Looks at every site once, now, and prints the messages.
pub(crate) async fn once(config: &Config) -> anyhow::Result<()> {
    let checker = Arc::new(Checker::new(config.exchange.clone(), config.sites.need_tls())?);
    let mut running = JoinSet::new();
    let mut sites = 0..config.sites.len() as u32;
    let mut number = 0;
    loop {
        while running.len() < config.concurrency
            && let Some(site) = sites.next()
        {
            let interval = i64::from(config.sites.rule(site).interval_secs);
            let tstamp = now_micros().div_euclid(1_000_000 * interval) * interval;
            running.spawn(look(Arc::clone(&checker), &config.sites, Due { site, tstamp }));
        }
        let Some(found) = running.join_next().await else { return Ok(()) };
        let (due, outcome) = found.context("a check has failed")?;
        number += 1;
        let site = (config.sites.url(due.site), due.tstamp);
        println!("{}", serde_json::to_string(&Envelope::new(&config.topic, (number, now_micros()), site, &outcome))?);
    }
}
