//! The thread that feeds the journal: messages off the queue, coverage of the bus, and when to commit.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use statscache_core::{
    engine::{Counters, Intake, PendingCommit, Rejection},
    journal::Journal,
    limits::PENDING_BYTES_MAX,
};

use super::{
    RETRY, Shared,
    command::{Command, Generation},
    workers::{Gathering, Workers},
};
use crate::{
    bus::{Batch, BatchReceiver, Claims, CoverageWatch, Recv, RejectKind},
    disk,
    health::{Part, describe},
};

/// Memory that deltas may take before a commit comes early: before instances wait for one.
const EARLY_COMMIT_BYTES: usize = PENDING_BYTES_MAX / 4 * 3;
/// How often the bus is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is looked whether all instances have answered.
const GATHER_LOOK: Duration = Duration::from_millis(1);
/// How long the last commit waits for instances.
const LAST_GATHERING: Duration = Duration::from_secs(5);

/// Why a [`Feeder`] is done.
pub(super) enum End {
    /// All senders of the queue are gone.
    Closed,
    /// To go on with other instances.
    Reload(Generation),
}

/// What goes on when the instances are others: the queue, and what is known of the bus.
pub(super) struct Feeding {
    queue: BatchReceiver,
    watch: CoverageWatch,
    orders: Receiver<Command>,
    /// What was seen of the bus, once this many messages have been fed: those that were queued then.
    claims: VecDeque<(u64, Claims)>,
    fed: u64,
    /// Messages of the batch that is being fed.
    in_hand: u64,
    /// Messages were taken from the queue and are nowhere.
    lost: bool,
    next_look: Instant,
    commit_interval: Duration,
    stopping: Arc<AtomicBool>,
    /// What became of messages under those that ran before.
    counters: Counters,
}

impl Feeding {
    pub(super) fn new(
        queue: BatchReceiver,
        watch: CoverageWatch,
        orders: Receiver<Command>,
        commit_interval: Duration,
        stopping: Arc<AtomicBool>,
    ) -> Self {
        Self {
            queue,
            watch,
            orders,
            claims: VecDeque::new(),
            fed: 0,
            in_hand: 0,
            lost: false,
            next_look: Instant::now(),
            commit_interval,
            stopping,
            counters: Counters::default(),
        }
    }

    pub(super) fn stopping(&self) -> Arc<AtomicBool> {
        self.stopping.clone()
    }
}

pub(super) struct Feeder<'f> {
    intake: Intake,
    workers: Workers,
    feeding: &'f mut Feeding,
    /// The commit that instances are asked about.
    gathering: Option<Gathering>,
    commits: SyncSender<PendingCommit>,
    finished: Receiver<()>,
    in_flight: bool,
    next_commit: Instant,
    /// The last commit is being made: nothing may happen that would be part of another.
    is_ending: bool,
    shared: Shared,
}

impl<'f> Feeder<'f> {
    pub(super) fn new(
        (intake, workers): (Intake, Workers),
        feeding: &'f mut Feeding,
        (commits, finished): (SyncSender<PendingCommit>, Receiver<()>),
        shared: Shared,
    ) -> Self {
        Self {
            intake,
            workers,
            feeding,
            gathering: None,
            commits,
            finished,
            in_flight: false,
            next_commit: Instant::now(),
            is_ending: false,
            shared,
        }
    }

    /// Feeds until there is nothing more, or others are to fold. Everything taken from the queue is
    /// in the journal then.
    pub(super) fn run(&mut self) -> End {
        loop {
            let due = self.next_commit.saturating_duration_since(Instant::now());
            let wait = if self.gathering.is_some() { GATHER_LOOK } else { due };
            match self.feeding.queue.recv_timeout(wait) {
                Recv::Batch(batch) => self.feed(batch),
                Recv::Timeout => {}
                Recv::Closed => break,
            }
            self.look();
            self.commit_if_due();
            while let Ok(order) = self.feeding.orders.try_recv() {
                match order {
                    Command::Call(call) => call(&mut self.intake),
                    Command::Reload(generation) => {
                        self.commit_before_reload();
                        return End::Reload(generation);
                    }
                }
            }
        }
        self.feeding.next_look = Instant::now();
        self.look();
        self.tell_coverage(0);
        self.last_commit();
        End::Closed
    }

    /// Ends those who fold, and gives the journal back.
    pub(super) fn into_journal(self) -> Journal {
        self.feeding.counters = self.intake.counters().and(&self.feeding.counters);
        self.workers.stop();
        self.intake.into_journal()
    }

    /// Feeds a batch; as long as the journal cannot be written, tries again and takes no other, so
    /// that the queue fills up and what is lost is counted there.
    fn feed(&mut self, mut batch: Batch) {
        let messages = batch.len() as u64;
        self.feeding.in_hand = messages;
        while let Err(why) = self.offer(&mut batch) {
            self.shared.health.trouble(Part::Journal, why);
            if self.feeding.stopping.load(Ordering::Relaxed) {
                tracing::error!(messages, "stopped with messages that the journal did not take");
                // Nor is anything said about when they came.
                self.feeding.lost = true;
                return;
            }
            thread::park_timeout(RETRY);
            self.look();
            self.commit_if_due();
        }
        self.shared.health.well(Part::Journal);
        self.feeding.fed += messages;
        self.feeding.in_hand = 0;
        self.feeding.queue.recycle(batch);
    }

    /// Looks at the bus once a second. What was seen up to then is true when everything that was queued
    /// then has been fed; it is told a look later, because a source may still have held a batch.
    fn look(&mut self) {
        if self.is_ending || Instant::now() < self.feeding.next_look {
            return;
        }
        self.feeding.next_look = Instant::now() + LOOK;
        self.tell_coverage(1);
        let waiting = self.feeding.queue.stats().messages() + self.feeding.in_hand;
        let claims = self.feeding.watch.tick(self.shared.clock.now());
        if !claims.is_empty() {
            self.feeding.claims.push_back((self.feeding.fed + waiting, claims));
        }
    }

    /// Tells the engine what may be told by now, except the last so many.
    fn tell_coverage(&mut self, but: usize) {
        while !self.feeding.lost && self.feeding.claims.len() > but && self.feeding.claims[0].0 <= self.feeding.fed {
            let Some((_, claims)) = self.feeding.claims.pop_front() else { return };
            claims.claims().for_each(|claim| self.intake.cover(claim));
        }
    }

    fn offer(&mut self, batch: &mut Batch) -> Result<(), String> {
        self.shared.disk.has(disk::JOURNAL_LEAVES).map_err(|error| describe(&error))?;
        let (received_us, endpoint) = (batch.received_us(), batch.endpoint().clone());
        let rejects = &self.shared.rejects;
        let mut reject = |_, why, (topic, body): (&[u8], &[u8])| {
            rejects.record(kind_of(why), &endpoint, received_us, topic, body);
        };
        let now = self.shared.clock.now();
        self.intake.ingest(batch.incoming(), now, &mut reject).map_err(|error| describe(&error))?;
        let counters = self.intake.counters().and(&self.feeding.counters);
        self.shared.telemetry.update(|figures| figures.counters = counters);
        Ok(())
    }

    fn commit_if_due(&mut self) {
        if self.is_ending {
            return;
        }
        if self.finished.try_recv().is_ok() {
            self.commit_done();
        }
        let is_large = self.intake.pending_bytes() > EARLY_COMMIT_BYTES;
        if self.gathering.is_none() && !self.in_flight && (is_large || Instant::now() >= self.next_commit) {
            self.next_commit = Instant::now() + self.feeding.commit_interval;
            self.retain();
            self.bound_memory();
            self.gathering = Some(self.workers.ask(&mut self.intake, self.shared.clock.now()));
        }
        if self.gathering.as_mut().is_some_and(|gathering| self.workers.is_gathered(gathering)) {
            self.commit(false);
        } else if self.in_flight {
            // The commit before is still being written: this one gathers more meanwhile.
            self.next_commit = self.next_commit.max(Instant::now() + GATHER_LOOK);
        }
    }

    /// Hands over what instances have handed over.
    fn commit(&mut self, is_last: bool) {
        let Some(gathering) = self.gathering.take() else { return };
        let (request, deltas) = self.workers.close(gathering, &self.intake);
        let commit = self.intake.commit(&request, deltas);
        let commit = if is_last { commit.last() } else { commit };
        self.in_flight = self.commits.send(commit).is_ok();
    }

    fn last_commit(&mut self) {
        if self.gathering.is_some() {
            self.commit(false);
        }
        self.wait_for_commit();
        let mut gathering = self.workers.ask_last(&mut self.intake, self.shared.clock.now());
        let deadline = Instant::now() + LAST_GATHERING;
        while !self.workers.is_gathered(&mut gathering) && Instant::now() < deadline {
            thread::park_timeout(GATHER_LOOK);
        }
        self.gathering = Some(gathering);
        self.commit(true);
    }

    /// Commits what has been folded by now, coverage included. Whoever does not answer has nothing in it: what it
    /// folded is folded again, from the journal.
    fn commit_before_reload(&mut self) {
        self.is_ending = true;
        if self.gathering.is_some() {
            self.commit(false);
        }
        self.wait_for_commit();
        let mut gathering = self.workers.ask(&mut self.intake, self.shared.clock.now());
        while !self.workers.is_gathered(&mut gathering) {
            thread::park_timeout(GATHER_LOOK);
        }
        self.gathering = Some(gathering);
        self.commit(true);
        self.wait_for_commit();
    }

    /// As long as the commit cannot be written, only the journal takes what comes.
    fn wait_for_commit(&mut self) {
        while self.in_flight {
            match self.finished.recv_timeout(GATHER_LOOK) {
                Ok(()) => self.commit_done(),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    if let Recv::Batch(batch) = self.feeding.queue.recv_timeout(Duration::ZERO) {
                        self.feed(batch);
                    }
                }
            }
        }
    }

    fn commit_done(&mut self) {
        self.in_flight = false;
        self.intake.commit_written();
    }

    fn retain(&mut self) {
        match self.intake.retain(self.shared.clock.now()) {
            Ok(0) => {}
            Ok(segments) => tracing::debug!(segments, "journal segments dropped"),
            Err(error) => tracing::warn!("old journal segments cannot be dropped: {}", describe(&error)),
        }
    }

    /// Beyond the bound new label sets are folded: what grows without end is stopped before the kernel
    /// stops the daemon.
    fn bound_memory(&mut self) {
        let (was_full, is_full) = (self.intake.is_full(), self.intake.bound_memory(self.shared.view.load().memory()));
        match (was_full, is_full) {
            (false, true) => tracing::warn!(
                "memory is at its bound, see [limits] memory: new label sets are counted under `__other__` until there is room"
            ),
            (true, false) => tracing::info!("there is room for new label sets again"),
            _ => {}
        }
        let (bytes, bytes_max) = self.intake.memory();
        self.shared.telemetry.update(|figures| {
            figures.memory = (bytes, bytes_max);
            figures.memory_full = is_full;
        });
    }
}

fn kind_of(why: Rejection) -> RejectKind {
    match why {
        Rejection::TopicNotUtf8 => RejectKind::TopicNotUtf8,
        Rejection::BodyNotUtf8 => RejectKind::BodyNotUtf8,
        Rejection::BodyNotJson => RejectKind::BodyNotJson,
        Rejection::TooLong => RejectKind::BodyTooLong,
    }
}
