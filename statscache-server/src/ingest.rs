//! The threads that write. One takes messages off the queue and feeds the journal; one for each instance
//! folds them; one makes commits durable and publishes views. Nobody waits for readers, nor for a
//! plugin; the first waits for the last only when it is a whole commit ahead.
//!
//! A reload ends all of them but the first, which goes on with other instances on the same journal and
//! store; the queue takes what comes meanwhile.

mod command;
mod commits;
mod feeder;
mod present;
mod workers;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use statscache_core::{
    engine::{Committer, Engine},
    store::Store,
};
use tokio::sync::mpsc as signal;

use crate::{
    bus::{BatchReceiver, CoverageWatch, Rejects},
    clock::Clock,
    disk::Disk,
    health::Health,
    telemetry::Telemetry,
};
use command::COMMANDS_MAX;
pub use command::{Command, CommandError, Commands, Generation};
use feeder::{End, Feeder, Feeding};
pub use present::PresentView;
use workers::Workers;

/// What all threads share with the rest.
#[derive(Clone)]
pub struct Shared {
    /// The present view.
    pub view: Arc<PresentView>,
    /// Present trouble.
    pub health: Arc<Health>,
    /// Figures.
    pub telemetry: Arc<Telemetry>,
    /// Rejected messages.
    pub rejects: Arc<Rejects>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where the data is.
    pub disk: Disk,
    /// What was missed is fetched: what is built waits for it.
    pub fills_history: bool,
}

/// Wait before something that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Something comes out of it when a thread has ended that should not have.
pub type Ended = signal::Receiver<()>;

/// Rings when it is dropped, however its thread ends.
struct Alarm(Option<signal::Sender<()>>);

impl Alarm {
    /// The thread ends as it should.
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(alarm) = self.0.take() {
            // Full: somebody else has rung it.
            let _ = alarm.try_send(());
        }
    }
}

/// The running threads.
pub struct Ingest {
    thread: JoinHandle<()>,
    stopping: Arc<AtomicBool>,
}

impl Ingest {
    /// Starts all threads. They end when all senders of the queue are gone and everything taken
    /// from it is committed. `is_held`: what is built waits for an order to take its place.
    pub fn start(
        (engine, committer): (Engine, Committer),
        is_held: bool,
        (queue, watch): (BatchReceiver, CoverageWatch),
        orders: Receiver<Command>,
        commit_interval: Duration,
        shared: Shared,
    ) -> std::io::Result<(Self, Ended)> {
        let (alarm, ended) = signal::channel(1);
        let stopping = Arc::new(AtomicBool::new(false));
        let feeding = Feeding::new(queue, watch, orders, commit_interval, stopping.clone());
        let thread = thread::Builder::new().name("ingest".to_owned()).spawn(move || {
            let _alarm = Alarm(Some(alarm.clone()));
            if let Err(error) = run((engine, committer, is_held), feeding, &alarm, &shared) {
                tracing::error!("going on is not possible; nothing accepted is lost: {error:#}");
            }
        })?;
        Ok((Self { thread, stopping }, ended))
    }

    /// Waits until everything is committed, but no longer tries what fails again. Call it when the
    /// sources have ended.
    pub fn join(self) {
        let Self { thread, stopping } = self;
        stopping.store(true, Ordering::Relaxed);
        if thread.join().is_err() {
            tracing::error!("the ingest thread panicked; what it had not committed is in the journal");
        }
    }
}

/// Where orders go in and come out, for a queue.
pub fn commands(queue: &BatchReceiver) -> (Commands, Receiver<Command>) {
    let (sender, orders) = sync_channel(COMMANDS_MAX);
    (Commands { sender, waker: queue.waker() }, orders)
}

/// One generation of instances after another, until the queue is closed.
fn run(
    (mut engine, mut committer, mut is_held): (Engine, Committer, bool),
    mut feeding: Feeding,
    alarm: &signal::Sender<()>,
    shared: &Shared,
) -> anyhow::Result<()> {
    loop {
        let (commits, pending) = sync_channel(1);
        let (done, finished) = sync_channel(1);
        let (for_commits, stopping, on_end) = (shared.clone(), feeding.stopping(), Alarm(Some(alarm.clone())));
        let commit_thread = thread::Builder::new().name("commit".to_owned()).spawn(move || {
            let committer = commits::commit_all(committer, &pending, &done, &stopping, &for_commits)?;
            on_end.disarm();
            Some(committer)
        })?;
        let (mut intake, runners) = engine.into_parts();
        intake.hold(is_held);
        if shared.fills_history {
            intake.await_history();
        }
        let workers = Workers::start(runners, shared)?;
        let mut feeder = Feeder::new((intake, workers), &mut feeding, (commits, finished), shared.clone());
        let end = feeder.run();
        // With it the way to the commit thread is gone, which then ends.
        let journal = feeder.into_journal();
        let Ok(ended) = commit_thread.join() else {
            anyhow::bail!("the commit thread panicked; what it had not committed is in the journal");
        };
        let (generation, ended) = match (end, ended) {
            (End::Closed, _) => return Ok(()),
            (End::Reload(generation), Some(committer)) => (generation, committer),
            (End::Reload(_), None) => anyhow::bail!("the commit thread has ended"),
        };
        let store: Arc<Store> = ended.into_store();
        let contents = store.contents()?;
        let Generation { specs, naming, limits, is_held: held, started } = generation;
        (engine, committer) = Engine::start(journal, (store, contents), specs, &naming, limits, shared.clock.now())?;
        is_held = held;
        let view = committer.view();
        started(&view);
        shared.view.replace(view);
    }
}
