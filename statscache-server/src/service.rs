//! The service manager that started the daemon: what it is told (systemd's `sd_notify` protocol) and what it hands over
//! (a listening socket). Without one nothing is told, and nothing is there.

use std::{
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use statscache_core::view::InstanceState;

use crate::{
    bus::SourceStats,
    health::{Health, Part},
    ingest::PresentView,
};

/// How often it is told how the daemon is, where no watchdog wants to hear more often.
const STATUS_EVERY: Duration = Duration::from_secs(30);

/// The socket on which to serve, if one was handed over. To be asked before there are threads: it is taken out of the
/// environment, so that no child takes it for its own.
pub(crate) fn inherited_listener() -> anyhow::Result<Option<TcpListener>> {
    let mut handed_over = ListenFd::from_env();
    anyhow::ensure!(
        handed_over.len() <= 1,
        "{} sockets were handed over, and HTTP is served on one; a .socket unit has one ListenStream=",
        handed_over.len()
    );
    let listener = handed_over
        .take_tcp_listener(0)
        .context("what was handed over is no TCP socket; the .socket unit needs ListenStream=ADDRESS:PORT")?;
    if let Some(listener) = &listener {
        listener.set_nonblocking(true).context("the socket that was handed over cannot be used")?;
    }
    Ok(listener)
}

/// It serves.
pub(crate) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It reads its configuration again; [`ready`] says when it has.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now, NotifyState::Status("reloading")]),
        Err(error) => tracing::warn!("the service manager is not told of the reload: no time: {error}"),
    }
}

/// It stops.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping: bus, engine, HTTP")]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("the service manager cannot be told: {error}");
    }
}

/// What is told for as long as the daemon runs: its status, and that it is alive while it is.
pub(crate) struct Reporter {
    pub(crate) view: Arc<PresentView>,
    pub(crate) health: Arc<Health>,
    pub(crate) bus: SourceStats,
    /// Without a new view for longer than that, something stands still.
    pub(crate) standstill: Duration,
}

impl Reporter {
    /// Tells until it is dropped. A daemon whose views stand still does not ping the watchdog, unless that is because
    /// commits are refused and tried again: a restart would not make room on a disk.
    pub(crate) async fn run(self) {
        let watchdog = sd_notify::watchdog_enabled();
        let mut ticks = tokio::time::interval(period(watchdog));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut news = self.view.news();
        let mut pulse = Pulse { last: Instant::now(), standstill: self.standstill };
        let mut told = String::new();
        loop {
            tokio::select! {
                changed = news.changed() => match changed {
                    Ok(()) => pulse.beat(Instant::now()),
                    Err(_) => return,
                },
                _ = ticks.tick() => {
                    self.health.tried(Part::Store).into_iter().for_each(|tried| pulse.beat(tried));
                    self.tell(pulse.beats(Instant::now()), watchdog.is_some(), &mut told);
                }
            }
        }
    }

    fn tell(&self, is_alive: bool, has_watchdog: bool, told: &mut String) {
        let status = if is_alive { self.status() } else { "stands still: nothing is published any more".to_owned() };
        if status != *told {
            notify(&[NotifyState::Status(&status)]);
            *told = status;
        }
        match (has_watchdog, is_alive) {
            (true, true) => notify(&[NotifyState::Watchdog]),
            (true, false) => {
                tracing::error!("nothing is published any more: the service manager's watchdog gets no ping")
            }
            (false, _) => {}
        }
    }

    /// How it is, in a line.
    pub(crate) fn status(&self) -> String {
        if let Some((part, what)) = self.health.all().first() {
            return format!("{} in trouble: {what}", part.as_str());
        }
        let view = self.view.load();
        let running = view.instances.values().filter(|it| it.state == InstanceState::Running).count();
        let (connected, endpoints) = (self.bus.connected(), self.bus.endpoints.len());
        format!("{running} of {} plugins run, {connected} of {endpoints} endpoints connected", view.instances.len())
    }
}

/// How often to tell: twice in the time that a watchdog waits, as systemd advises.
fn period(watchdog: Option<Duration>) -> Duration {
    let half = watchdog.map_or(STATUS_EVERY, |watchdog| watchdog / 2);
    half.clamp(Duration::from_millis(1), STATUS_EVERY)
}

/// When the threads that write last showed that they do.
struct Pulse {
    last: Instant,
    standstill: Duration,
}

impl Pulse {
    /// They did.
    fn beat(&mut self, at: Instant) {
        self.last = self.last.max(at);
    }

    /// Whether it is not too long ago.
    fn beats(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) <= self.standstill
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_in_the_time_that_a_watchdog_waits() {
        let seconds = Duration::from_secs;
        assert_eq!(period(None), STATUS_EVERY);
        assert_eq!(period(Some(seconds(10))), seconds(5));
        assert_eq!(period(Some(seconds(600))), STATUS_EVERY);
        assert!(period(Some(Duration::ZERO)) > Duration::ZERO, "an interval of nothing would panic");
    }

    #[test]
    fn a_pulse_stops_when_nothing_is_heard_and_returns() {
        let (start, standstill) = (Instant::now(), Duration::from_secs(10));
        let mut pulse = Pulse { last: start, standstill };
        assert!(pulse.beats(start + standstill));
        let late = start + standstill + Duration::from_millis(1);
        assert!(!pulse.beats(late));
        // What is heard of earlier changes nothing.
        pulse.beat(start);
        assert!(!pulse.beats(late));
        pulse.beat(late);
        assert!(pulse.beats(late));
    }
}
