//! The two threads that write: one takes messages off the queue and feeds the engine, the other
//! makes its commits durable and publishes views. Neither waits for readers; the first waits for
//! the second only when it is a whole commit ahead.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use statscache_core::{
    engine::{Committer, Engine, PendingCommit, PreparedCommit, Rejection},
    view::{InstanceState, View},
};
use tokio::sync::oneshot;

use crate::{
    bus::{Batch, BatchReceiver, Claims, CoverageWatch, Recv, RejectKind, Rejects},
    clock::Clock,
    disk::{self, Disk},
    health::{Health, Part, describe},
    memory,
    telemetry::Telemetry,
};

/// What both threads share with the rest.
#[derive(Clone)]
pub struct Shared {
    /// The present view.
    pub view: Arc<ArcSwap<View>>,
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
}

/// Memory that deltas may take before a commit comes early, and beyond which ingest waits for one.
const PENDING_BYTES_MAX: usize = 64 << 20;
/// Journal read at a time for instances that lag: short against a commit interval.
const CATCH_UP_BYTES: usize = 1 << 20;
/// How often the bus is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Wait before something that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Done when a thread has ended: it should only when it was told to.
pub type Ended = oneshot::Receiver<()>;

/// The running threads.
pub struct Ingest {
    feeder: JoinHandle<()>,
    committer: JoinHandle<()>,
    stopping: Arc<AtomicBool>,
}

impl Ingest {
    /// Starts both threads. They end when all senders of the queue are gone and everything taken
    /// from it is committed.
    pub fn start(
        engine: Engine,
        committer: Committer,
        (queue, watch): (BatchReceiver, CoverageWatch),
        commit_interval: Duration,
        shared: Shared,
    ) -> std::io::Result<(Self, [Ended; 2])> {
        let (commits, pending) = sync_channel(1);
        let (done, finished) = sync_channel(1);
        // Their senders are dropped however a thread ends.
        let (feeder_ends, feeder_ended) = oneshot::channel();
        let (commits_end, commits_ended) = oneshot::channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let (for_commits, stop_commits) = (shared.clone(), stopping.clone());
        let committer = thread::Builder::new().name("commit".to_owned()).spawn(move || {
            let _ends = commits_end;
            commit_all(committer, &pending, &done, &stop_commits, &for_commits);
        })?;
        let feeder = Feeder {
            engine,
            queue,
            watch,
            claims: VecDeque::new(),
            fed: 0,
            in_hand: 0,
            lost: false,
            next_look: Instant::now(),
            commits,
            finished,
            in_flight: false,
            commit_interval,
            next_commit: Instant::now(),
            next_catch_up: Instant::now(),
            stopping: stopping.clone(),
            shared,
        };
        let feeder = thread::Builder::new().name("ingest".to_owned()).spawn(move || {
            let _ends = feeder_ends;
            feeder.run();
        })?;
        Ok((Self { feeder, committer, stopping }, [feeder_ended, commits_ended]))
    }

    /// Waits until everything is committed, but no longer tries what fails again. Call it when the
    /// sources have ended.
    pub fn join(self) {
        let Self { feeder, committer, stopping } = self;
        stopping.store(true, Ordering::Relaxed);
        if feeder.join().is_err() {
            tracing::error!("the ingest thread panicked; what it had not committed is in the journal");
        }
        if committer.join().is_err() {
            tracing::error!("the commit thread panicked; what it had not committed is in the journal");
        }
    }
}

struct Feeder {
    engine: Engine,
    queue: BatchReceiver,
    watch: CoverageWatch,
    /// What was seen of the bus, once this many messages have been fed: those that were queued then.
    claims: VecDeque<(u64, Claims)>,
    fed: u64,
    /// Messages of the batch that is being fed.
    in_hand: u64,
    /// Messages were taken from the queue and are nowhere.
    lost: bool,
    next_look: Instant,
    commits: SyncSender<PendingCommit>,
    finished: Receiver<()>,
    in_flight: bool,
    commit_interval: Duration,
    next_commit: Instant,
    /// Not before, after a failure.
    next_catch_up: Instant,
    stopping: Arc<AtomicBool>,
    shared: Shared,
}

impl Feeder {
    fn run(mut self) {
        let mut lagging = true;
        loop {
            let wait =
                if lagging { Duration::ZERO } else { self.next_commit.saturating_duration_since(Instant::now()) };
            match self.queue.recv_timeout(wait) {
                Recv::Batch(batch) => self.feed(batch),
                Recv::Timeout => {}
                Recv::Closed => break,
            }
            lagging = self.catch_up();
            self.look();
            self.commit_if_due();
        }
        self.next_look = Instant::now();
        self.look();
        self.tell_coverage(0);
        self.wait_for_commit();
        let _ = self.commits.send(self.engine.take_commit(self.shared.clock.now()).last());
    }

    /// Feeds a batch; as long as the journal cannot be written, tries again and takes no other, so
    /// that the queue fills up and what is lost is counted there.
    fn feed(&mut self, batch: Batch) {
        self.in_hand = batch.len() as u64;
        while let Err(why) = self.offer(&batch) {
            self.shared.health.trouble(Part::Journal, why);
            if self.stopping.load(Ordering::Relaxed) {
                tracing::error!(messages = batch.len(), "stopped with messages that the journal did not take");
                // Nor is anything said about when they came.
                self.lost = true;
                return;
            }
            thread::park_timeout(RETRY);
            self.look();
            self.commit_if_due();
        }
        self.shared.health.well(Part::Journal);
        self.fed += batch.len() as u64;
        self.in_hand = 0;
        self.queue.recycle(batch);
    }

    /// Looks at the bus once a second. What was seen up to then is true when everything that was queued
    /// then has been fed; it is told a look later, because a source may still have held a batch.
    fn look(&mut self) {
        if Instant::now() < self.next_look {
            return;
        }
        self.next_look = Instant::now() + LOOK;
        self.tell_coverage(1);
        let waiting = self.queue.stats().messages() + self.in_hand;
        let claims = self.watch.tick(self.shared.clock.now());
        if !claims.is_empty() {
            self.claims.push_back((self.fed + waiting, claims));
        }
    }

    /// Tells the engine what may be told by now, except the last so many.
    fn tell_coverage(&mut self, but: usize) {
        while !self.lost && self.claims.len() > but && self.claims[0].0 <= self.fed {
            let Some((_, claims)) = self.claims.pop_front() else { return };
            claims.claims().for_each(|claim| self.engine.cover(claim));
        }
    }

    fn offer(&mut self, batch: &Batch) -> Result<(), String> {
        self.shared.disk.has(disk::JOURNAL_LEAVES).map_err(|error| describe(&error))?;
        let rejected = self.engine.ingest(batch.iter(), self.shared.clock.now()).map_err(|error| describe(&error))?;
        self.reject(batch, &rejected);
        let counters = self.engine.counters();
        self.shared.telemetry.update(|figures| figures.counters = counters);
        Ok(())
    }

    fn reject(&self, batch: &Batch, rejected: &[(usize, Rejection)]) {
        for (position, rejection) in rejected {
            let Some((topic, body)) = batch.iter().nth(*position) else { continue };
            let kind = match rejection {
                Rejection::TopicNotUtf8 => RejectKind::TopicNotUtf8,
                Rejection::BodyNotUtf8 => RejectKind::BodyNotUtf8,
                Rejection::BodyNotJson => RejectKind::BodyNotJson,
                Rejection::TooLong => RejectKind::BodyTooLong,
            };
            self.shared.rejects.record(kind, batch.endpoint(), batch.received_us(), topic, body);
        }
    }

    /// One step of those that lag; false if there are none, or if it failed and is tried again later.
    fn catch_up(&mut self) -> bool {
        if Instant::now() < self.next_catch_up {
            return false;
        }
        match self.engine.catch_up(CATCH_UP_BYTES, self.shared.clock.now()) {
            Ok(lagging) => {
                self.shared.health.well(Part::CatchUp);
                lagging
            }
            Err(error) => {
                self.shared.health.trouble(Part::CatchUp, describe(&error));
                self.next_catch_up = Instant::now() + RETRY;
                false
            }
        }
    }

    fn commit_if_due(&mut self) {
        if self.finished.try_recv().is_ok() {
            self.commit_done();
        }
        let is_large = self.engine.pending_bytes() > PENDING_BYTES_MAX;
        if is_large {
            self.wait_for_commit();
        }
        if !is_large && Instant::now() < self.next_commit {
            return;
        }
        self.retain();
        self.bound_memory();
        match self.in_flight {
            false => self.commit(),
            // The commit before is still being written: this one gathers more meanwhile.
            true => self.next_commit = Instant::now() + self.commit_interval / 4,
        }
    }

    fn wait_for_commit(&mut self) {
        if self.in_flight && self.finished.recv().is_ok() {
            self.commit_done();
        }
    }

    fn commit_done(&mut self) {
        self.in_flight = false;
        self.engine.commit_written();
    }

    fn retain(&mut self) {
        match self.engine.retain(self.shared.clock.now()) {
            Ok(0) => {}
            Ok(segments) => tracing::debug!(segments, "journal segments dropped"),
            Err(error) => tracing::warn!("old journal segments cannot be dropped: {}", describe(&error)),
        }
    }

    /// Beyond the bound new label sets are folded: what grows without end is stopped before the kernel
    /// stops the daemon.
    fn bound_memory(&mut self) {
        let (was_full, is_full) = (self.engine.is_full(), self.engine.bound_memory(self.shared.view.load().memory()));
        match (was_full, is_full) {
            (false, true) => tracing::warn!(
                "memory is at its bound, see [limits] memory: new label sets are counted under `__other__` until there is room"
            ),
            (true, false) => tracing::info!("there is room for new label sets again"),
            _ => {}
        }
        let (bytes, bytes_max) = self.engine.memory();
        self.shared.telemetry.update(|figures| {
            figures.memory = (bytes, bytes_max);
            figures.memory_full = is_full;
        });
    }

    fn commit(&mut self) {
        self.next_commit = Instant::now() + self.commit_interval;
        self.in_flight = self.commits.send(self.engine.take_commit(self.shared.clock.now())).is_ok();
    }
}

fn commit_all(
    mut committer: Committer,
    pending: &Receiver<PendingCommit>,
    done: &SyncSender<()>,
    stopping: &AtomicBool,
    shared: &Shared,
) {
    for commit in pending {
        let mut prepared = match committer.prepare(commit) {
            Ok(prepared) => prepared,
            Err(error) => {
                tracing::error!("a commit cannot be made, and going on would make numbers wrong: {}", describe(&error));
                return;
            }
        };
        while let Err(why) = write(&mut committer, &mut prepared, &shared.disk) {
            shared.health.trouble(Part::Store, why);
            if stopping.load(Ordering::Relaxed) {
                tracing::error!("stopped with a commit not written; the journal has its messages");
                // To close it is to flush it, and sled waits for ever for what it could not write before.
                std::mem::forget(committer);
                return;
            }
            thread::park_timeout(RETRY);
        }
        shared.health.well(Part::Store);
        if let Some(error) = committer.take_unreadable() {
            tracing::error!(
                "part of the state cannot be read, and stays as it is; `statscache store check` tells more: {}",
                describe(&error)
            );
        }
        let view = committer.view();
        tell_quarantines(&shared.view.swap(view.clone()), &view);
        let store_bytes = committer.disk_bytes();
        shared.telemetry.update(|figures| {
            figures.commits += 1;
            figures.store_bytes = store_bytes;
        });
        let bytes = prepared.bytes_len();
        drop(prepared);
        let _ = done.send(());
        memory::give_back_after(bytes);
    }
}

fn write(committer: &mut Committer, commit: &mut PreparedCommit, disk: &Disk) -> Result<(), String> {
    let bytes = commit.bytes_len() as u64;
    if bytes > 0 {
        disk.has(disk::COMMIT_LEAVES + 4 * bytes).map_err(|error| describe(&error))?;
    }
    committer.write(commit).map(drop).map_err(|error| describe(&error))
}

/// Logs what has stopped with this view.
fn tell_quarantines(before: &View, after: &View) {
    for (id, instance) in &after.instances {
        let ran = before.instances.get(id).is_none_or(|before| before.state == InstanceState::Running);
        if let (true, InstanceState::Quarantined { reason, .. }) = (ran, &instance.state) {
            tracing::error!(id, "plugin quarantined, it gets no more messages until the daemon starts again: {reason}");
        }
    }
}
