//! The threads that fold, one for each instance: none waits for another, however slow it is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use statscache_core::engine::{Bell, InstanceDelta, Intake, Request, Runner, Step};
use statscache_plugin_sdk::Timestamp;

use super::{RETRY, Shared};
use crate::health::{Part, describe};

/// Journal read at a time by an instance that lags.
const CHUNK_BYTES: usize = 1 << 20;
/// For how long an instance that is asked for its delta goes on, to have in it what was there then.
const PATIENCE: Duration = Duration::from_millis(100);
/// The same, when it is asked for the last time.
const LAST_PATIENCE: Duration = Duration::from_secs(3);
/// How long a commit waits for instances: long enough for whoever is not in the middle of a message.
const GATHERING: Duration = Duration::from_millis(250);
/// How long an instance sleeps, if nobody wakes it.
const NAP: Duration = Duration::from_secs(60);
/// An instance that is in the middle of one message for that long is stalled.
const STALLED: Duration = Duration::from_secs(5);

/// All instances' threads.
pub(super) struct Workers {
    workers: Vec<Worker>,
    bell: Option<Bell>,
    deltas: Receiver<(usize, InstanceDelta)>,
    stopping: Arc<Stopping>,
    shared: Shared,
}

/// How far stopping has come.
#[derive(Default)]
struct Stopping {
    /// There will be one more commit.
    is_last: AtomicBool,
    /// End.
    ends: AtomicBool,
}

struct Worker {
    id: String,
    thread: JoinHandle<()>,
    /// When it was asked first and has not answered since.
    silent_since: Option<Instant>,
}

/// Answers to one request.
pub(super) struct Gathering {
    request: Request,
    since: Instant,
    deltas: Vec<InstanceDelta>,
    has_answered: Vec<bool>,
}

impl Workers {
    pub(super) fn start(runners: Vec<Runner>, shared: &Shared) -> std::io::Result<Self> {
        // One answer of each at a time: none waits for room.
        let (sender, deltas) = sync_channel(runners.len());
        let stopping = Arc::new(Stopping::default());
        let bell = runners.first().map(Runner::bell);
        let mut workers = Vec::with_capacity(runners.len());
        for (number, runner) in runners.into_iter().enumerate() {
            let id = runner.id().to_owned();
            // Linux shows fifteen letters of it.
            let name = format!("fold {id}");
            let task = Task {
                bell: runner.bell(),
                runner,
                answered: 0,
                number,
                out: sender.clone(),
                stopping: stopping.clone(),
                shared: shared.clone(),
            };
            let thread = thread::Builder::new().name(name).spawn(move || task.run())?;
            workers.push(Worker { id, thread, silent_since: None });
        }
        Ok(Self { workers, bell, deltas, stopping, shared: shared.clone() })
    }

    /// Asks all for what has changed since the last time.
    pub(super) fn ask(&mut self, intake: &mut Intake, now: Timestamp) -> Gathering {
        let request = intake.request(now);
        let (deltas, has_answered) = (Vec::with_capacity(self.workers.len()), vec![false; self.workers.len()]);
        Gathering { request, since: Instant::now(), deltas, has_answered }
    }

    /// Asks for the last time.
    pub(super) fn ask_last(&mut self, intake: &mut Intake, now: Timestamp) -> Gathering {
        self.stopping.is_last.store(true, Ordering::Relaxed);
        self.ask(intake, now)
    }

    /// Takes what has come; whether that is all, or the others are not to be waited for any longer.
    pub(super) fn is_gathered(&mut self, gathering: &mut Gathering) -> bool {
        self.take(gathering);
        let is_last = self.stopping.is_last.load(Ordering::Relaxed);
        gathering.deltas.len() == self.workers.len() || (!is_last && gathering.since.elapsed() > GATHERING)
    }

    /// What has come. What comes later belongs to the next.
    pub(super) fn close(&mut self, mut gathering: Gathering, intake: &Intake) -> (Request, Vec<InstanceDelta>) {
        intake.withdraw();
        self.take(&mut gathering);
        for (worker, _) in self.workers.iter_mut().zip(&gathering.has_answered).filter(|(_, has)| !**has) {
            worker.silent_since.get_or_insert(gathering.since);
        }
        self.tell_stalled();
        (gathering.request, gathering.deltas)
    }

    fn take(&mut self, gathering: &mut Gathering) {
        while let Ok((number, delta)) = self.deltas.try_recv() {
            self.workers[number].silent_since = None;
            gathering.has_answered[number] = true;
            gathering.deltas.push(delta);
        }
    }

    fn tell_stalled(&self) {
        let now = self.shared.clock.now();
        let since = |worker: &Worker| {
            let silent = worker.silent_since?.elapsed();
            let micros = i64::try_from(silent.as_micros()).unwrap_or(i64::MAX);
            (silent > STALLED).then(|| (worker.id.clone(), now.plus_micros(-micros)))
        };
        self.shared.telemetry.set_stalled(self.workers.iter().filter_map(since).collect());
    }

    /// Ends all that are not in the middle of a message; one that never returns is left behind.
    pub(super) fn stop(self) {
        self.stopping.ends.store(true, Ordering::Relaxed);
        self.bell.iter().for_each(Bell::ring);
        let deadline = Instant::now() + PATIENCE;
        for worker in self.workers {
            while !worker.thread.is_finished() && Instant::now() < deadline {
                thread::park_timeout(Duration::from_millis(1));
            }
            if !worker.thread.is_finished() {
                tracing::error!(id = worker.id, "the plugin does not return from a message; it is left behind");
            } else if worker.thread.join().is_err() {
                tracing::error!(id = worker.id, "its thread panicked; what it had not committed is in the journal");
            }
        }
    }
}

/// One instance's thread.
struct Task {
    runner: Runner,
    bell: Bell,
    /// Number of the last request that it has answered.
    answered: u64,
    number: usize,
    out: SyncSender<(usize, InstanceDelta)>,
    stopping: Arc<Stopping>,
    shared: Shared,
}

impl Task {
    fn run(mut self) {
        // When the request was seen that is open.
        let mut asked_at: Option<(u64, Instant)> = None;
        while !self.stopping.ends.load(Ordering::Relaxed) {
            let asked = self.bell.asked();
            let request = self.bell.request();
            if request.is_none() {
                // What was asked up to then is not to be answered any more.
                self.answered = self.answered.max(asked);
            }
            if let Some(request) = request.filter(|request| request.number() > self.answered) {
                let seen = asked_at.filter(|(number, _)| *number == request.number());
                let (_, since) = *asked_at.insert(seen.unwrap_or((request.number(), Instant::now())));
                if self.runner.has_all(&request) || since.elapsed() >= self.patience() {
                    self.answer(&request);
                }
            }
            match self.step(asked_at.map(|(_, since)| since + self.patience())) {
                Ok(Step::Moved) => self.shared.health.well(Part::CatchUp),
                Ok(Step::Idle) if self.bell.asked() > self.answered => {
                    self.runner.wait(self.bell.asked(), PATIENCE / 20)
                }
                Ok(Step::Idle) => self.runner.wait(self.answered, NAP),
                Ok(Step::Full) => thread::park_timeout(Duration::from_millis(5)),
                Err(error) => {
                    self.shared.health.trouble(Part::CatchUp, describe(&error));
                    self.runner.wait(self.bell.asked(), RETRY);
                }
            }
        }
    }

    fn patience(&self) -> Duration {
        if self.stopping.is_last.load(Ordering::Relaxed) { LAST_PATIENCE } else { PATIENCE }
    }

    /// Folds for a while: until something is asked, and then until `deadline`.
    fn step(&mut self, deadline: Option<Instant>) -> Result<Step, statscache_core::journal::JournalError> {
        let (bell, stopping, answered) = (&self.bell, &self.stopping, self.answered);
        let known = deadline.map(|_| bell.asked());
        let mut pause = || {
            if stopping.ends.load(Ordering::Relaxed) {
                return true;
            }
            let asked = bell.asked();
            match (asked > answered, known == Some(asked), deadline) {
                (false, ..) => false,
                (true, true, Some(deadline)) => Instant::now() >= deadline,
                (true, ..) => true,
            }
        };
        self.runner.step(CHUNK_BYTES, self.shared.clock.now(), &mut pause)
    }

    fn answer(&mut self, request: &Request) {
        let (out, number) = (&self.out, self.number);
        // Without a receiver everything ends.
        self.runner.answer(request, |delta| drop(out.send((number, delta))));
        self.answered = request.number();
    }
}
