//! The two threads that write: one takes messages off the queue and feeds the engine, the other
//! makes its commits durable and publishes views. Neither waits for readers; the first waits for
//! the second only when it is a whole commit ahead.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use statscache_core::{
    engine::{Committer, Engine, PendingCommit, PreparedCommit, Rejection},
    view::{InstanceState, View},
};

use crate::{
    bus::{Batch, BatchReceiver, Recv, RejectKind, Rejects},
    clock::Clock,
    disk::{self, Disk},
    health::{Health, Part},
    host::describe,
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

/// Memory that deltas may take before a commit comes early: cells of 64 bytes or so.
const PENDING_CELLS_MAX: usize = 1_000_000;
/// Journal read at a time for instances that lag: short against a commit interval.
const CATCH_UP_BYTES: usize = 1 << 20;
/// Wait before something that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

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
        queue: BatchReceiver,
        commit_interval: Duration,
        shared: Shared,
    ) -> std::io::Result<Self> {
        let (commits, pending) = sync_channel(1);
        let (done, finished) = sync_channel(1);
        let stopping = Arc::new(AtomicBool::new(false));
        let (for_commits, stop_commits) = (shared.clone(), stopping.clone());
        let committer = thread::Builder::new()
            .name("commit".to_owned())
            .spawn(move || commit_all(committer, &pending, &done, &stop_commits, &for_commits))?;
        let feeder = Feeder {
            engine,
            queue,
            commits,
            finished,
            in_flight: false,
            commit_interval,
            next_commit: Instant::now(),
            stopping: stopping.clone(),
            shared,
        };
        let feeder = thread::Builder::new().name("ingest".to_owned()).spawn(move || feeder.run())?;
        Ok(Self { feeder, committer, stopping })
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
    commits: SyncSender<PendingCommit>,
    finished: Receiver<()>,
    in_flight: bool,
    commit_interval: Duration,
    next_commit: Instant,
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
            self.commit_if_due();
        }
        self.wait_for_commit();
        self.commit();
    }

    /// Feeds a batch; as long as the journal cannot be written, tries again and takes no other, so
    /// that the queue fills up and what is lost is counted there.
    fn feed(&mut self, batch: Batch) {
        while let Err(why) = self.offer(&batch) {
            self.shared.health.trouble(Part::Journal, why);
            if self.stopping.load(Ordering::Relaxed) {
                tracing::error!(messages = batch.len(), "stopped with messages that the journal did not take");
                return;
            }
            thread::park_timeout(RETRY);
            self.commit_if_due();
        }
        self.shared.health.well(Part::Journal);
        self.queue.recycle(batch);
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

    fn catch_up(&mut self) -> bool {
        match self.engine.catch_up(CATCH_UP_BYTES, self.shared.clock.now()) {
            Ok(lagging) => lagging,
            Err(error) => {
                self.shared.health.trouble(Part::Journal, describe(&error));
                false
            }
        }
    }

    fn commit_if_due(&mut self) {
        match self.finished.try_recv() {
            Ok(()) => self.in_flight = false,
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
        if self.engine.pending_cells() > PENDING_CELLS_MAX {
            self.wait_for_commit();
            self.commit();
        } else if Instant::now() >= self.next_commit {
            if self.in_flight {
                // The commit before is still being written: this one gathers more meanwhile.
                self.next_commit = Instant::now() + self.commit_interval / 4;
            } else {
                self.commit();
            }
        }
    }

    fn wait_for_commit(&mut self) {
        if self.in_flight {
            let _ = self.finished.recv();
            self.in_flight = false;
        }
    }

    fn commit(&mut self) {
        self.next_commit = Instant::now() + self.commit_interval;
        let now = self.shared.clock.now();
        match self.engine.retain(now) {
            Ok(0) => {}
            Ok(segments) => tracing::debug!(segments, "journal segments dropped"),
            Err(error) => tracing::warn!("old journal segments cannot be dropped: {}", describe(&error)),
        }
        self.in_flight = self.commits.send(self.engine.take_commit(now)).is_ok();
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
                // Memory that does not read: going on would publish numbers that are wrong.
                shared.health.trouble(Part::Store, describe(&error));
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
        let view = committer.view();
        tell_quarantines(&shared.view.swap(view.clone()), &view);
        let store_bytes = committer.disk_bytes();
        shared.telemetry.update(|figures| {
            figures.commits += 1;
            figures.store_bytes = store_bytes;
        });
        let _ = done.send(());
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
