//! Fills what was missed from a history service, in the background and on demand.
//!
//! There is no list of what is to be done: what an instance lacks is in its coverage, and what is filled is marked in
//! the journal and read from there like anything else. So it goes on after a crash where it was, a new plugin gets its
//! history, and a bus that is away is followed by way of the service. Only what somebody has asked for beyond the reach
//! is remembered, in a file.

mod sink;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use statscache_core::{
    coverage::{Coverage, Seen},
    engine::Intake,
    history::{History, Mark},
    journal::{Audience, GapCause, JournalHandle},
    view::{InstanceState, InstanceView, View},
};
use statscache_plugin_sdk::Timestamp;
use tokio::sync::{Notify, watch};

use super::{
    FetchSettings, Fetcher, HistoryError,
    asked::Asked,
    plan::{self, Job},
    progress::{BackfillRange, BackfillState, BackfillStatus},
};
use crate::{
    clock::Clock,
    config::HistoryConfig,
    disk::Disk,
    health::describe,
    http::time::rfc3339,
    ingest::{Commands, PresentView},
};

use sink::{Sink, Taken};

/// How often it is looked for something to fill.
const LOOK: Duration = Duration::from_secs(1);
/// What is missing up to the present is asked for when it is that long, microseconds: while the bus is away, twice a
/// minute.
const EDGE_MICROS: i64 = 30_000_000;
/// Wait before a service that has failed is asked again, at first and at most.
const RETRY: std::ops::RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_secs(300);
/// Of the first message that a journal ever took.
const FIRST_SEQUENCE: u64 = 1;
/// What is shown of a range that is filled for all instances.
const EVERYONE: &str = "everyone";
/// Ranges that are done and still shown.
const SHOWN_MAX: usize = 32;

/// What a backfill works with.
pub struct Parts {
    /// The present view.
    pub view: Arc<PresentView>,
    /// To whom has the intake.
    pub commands: Commands,
    /// The journal.
    pub journal: JournalHandle,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where the data is.
    pub disk: Disk,
}

/// What it does, for whoever asks; and what it is to do.
pub struct Backfill {
    config: HistoryConfig,
    asked: Mutex<Asked>,
    status: Mutex<BackfillStatus>,
    woken: Notify,
}

impl Backfill {
    /// Nothing is asked for yet but what is remembered.
    pub fn new(config: HistoryConfig, asked: Asked) -> Self {
        let status = Mutex::new(BackfillStatus { state: BackfillState::Idle, ranges: Vec::new() });
        Self { config, asked: Mutex::new(asked), status, woken: Notify::new() }
    }

    /// Whether there is a service to be asked.
    pub fn is_configured(&self) -> bool {
        self.config.url.is_some()
    }

    /// Asks for all that is missing in `[from, to)`, however long ago.
    pub fn ask(&self, from: Timestamp, to: Timestamp) -> std::io::Result<()> {
        lock(&self.asked).add(from, to)?;
        // Until it was looked at nobody can know that there is nothing to do.
        let mut status = lock(&self.status);
        status.state = BackfillState::Running;
        of_range(&mut status, (from, to), EVERYONE).done_until = rfc3339(from);
        self.woken.notify_one();
        Ok(())
    }

    /// These were asked for and there is nothing to fill, or no more.
    fn done(&self, ranges: &[(Timestamp, Timestamp)]) {
        lock(&self.asked).done(ranges);
        let mut status = lock(&self.status);
        for (from, to) in ranges {
            of_range(&mut status, (*from, *to), EVERYONE).done_until = rfc3339(*to);
        }
    }

    /// How far it is.
    pub fn status(&self) -> BackfillStatus {
        lock(&self.status).clone()
    }

    /// What is being filled for an instance.
    pub fn of(&self, id: &str) -> Option<BackfillRange> {
        let status = lock(&self.status);
        let of_it = |range: &&BackfillRange| range.audience == id || range.audience == EVERYONE;
        status.ranges.iter().find(|range| of_it(range) && !range.is_done()).cloned()
    }

    /// Fills until it is told to stop.
    pub async fn run(self: Arc<Self>, parts: Parts, mut stopping: watch::Receiver<bool>) {
        let Some(settings) = FetchSettings::from_config(&self.config) else { return };
        let mut task = Task {
            fetcher: Fetcher::new(settings),
            given_up: BTreeMap::new(),
            backfill: self,
            parts,
            wait: *RETRY.start(),
            behind_gap: None,
        };
        tokio::select! {
            // An error means that nobody could stop us any more: stop, too.
            _ = stopping.wait_for(|stop| *stop) => {}
            () = task.run() => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is shown of a range; newly made if nothing is.
fn of_range<'s>(
    status: &'s mut BackfillStatus,
    (from, to): (Timestamp, Timestamp),
    audience: &str,
) -> &'s mut BackfillRange {
    let (from, to) = (rfc3339(from), rfc3339(to));
    let is_it = |range: &BackfillRange| range.from == from && range.to == to && range.audience == audience;
    let position = status.ranges.iter().position(is_it).unwrap_or_else(|| {
        // What is not done is shown as long as it takes.
        if status.ranges.len() >= SHOWN_MAX {
            let oldest = status.ranges.iter().position(BackfillRange::is_done).unwrap_or(0);
            status.ranges.remove(oldest);
        }
        let (done_until, audience) = (from.clone(), audience.to_owned());
        let (messages, duplicates, error) = (0, 0, None);
        status.ranges.push(BackfillRange { from, to, done_until, messages, duplicates, audience, error });
        status.ranges.len() - 1
    });
    &mut status.ranges[position]
}

/// What there is to do.
#[derive(Default)]
struct Plan {
    jobs: Vec<Job>,
    /// What was asked for and is there.
    done: Vec<(Timestamp, Timestamp)>,
}

struct Task {
    backfill: Arc<Backfill>,
    parts: Parts,
    fetcher: Fetcher,
    /// By namespace: what the service has not all of. It is not asked again before the next start.
    given_up: BTreeMap<u32, Coverage>,
    wait: Duration,
    /// When what follows the last damage of the journal came in: it tells nothing of what was before.
    behind_gap: Option<Timestamp>,
}

/// Why a job was not done.
enum Undone {
    /// The engine was started anew meanwhile, or it stops.
    Away,
    /// For everyone it cannot be told what is missing.
    Split,
    /// The service, or the disk.
    Failed(String, Option<HistoryError>),
}

impl Task {
    async fn run(&mut self) {
        loop {
            let Plan { jobs, done } = self.plan();
            self.backfill.done(&done);
            let held: BTreeSet<u32> = jobs.iter().flat_map(|job| self.building_of(job)).collect();
            self.call(move |intake| intake.set_unfilled(held)).await;
            if jobs.is_empty() {
                self.set_state(BackfillState::Idle);
                let _ = tokio::time::timeout(LOOK, self.backfill.woken.notified()).await;
                continue;
            }
            for job in jobs {
                match self.fill(job.clone()).await {
                    Ok(()) => self.wait = *RETRY.start(),
                    Err(Undone::Away) => {
                        tokio::time::sleep(LOOK).await;
                        break;
                    }
                    Err(Undone::Split) => self.fill_for_each(job).await,
                    Err(Undone::Failed(why, error)) => {
                        self.fail(&job, why, error).await;
                        break;
                    }
                }
            }
        }
    }

    /// What is to be filled.
    fn plan(&self) -> Plan {
        // Before the view: what is asked for later is looked at later.
        let asked = lock(&self.backfill.asked).ranges();
        let view = self.parts.view.load();
        let config = &self.backfill.config;
        let Some((start, end)) = plan::window(self.parts.clock.now(), config.reach, config.settle) else {
            return Plan::default();
        };
        // What the journal holds no more cannot be compared with what was seen in part.
        let reach = self.journal_reach().unwrap_or(end);
        let running = view.all().filter(|(_, instance)| instance.state == InstanceState::Running);
        let seen: Vec<(u32, Coverage)> =
            running.map(|(_, instance)| (instance.ns, self.has(&view, instance, (reach, end)))).collect();
        let mut jobs = plan::plan(&seen, (start, end));
        // While the bus is away the present is missing all the time.
        jobs.retain(|job| job.end < end || job.end.micros() - job.start.micros() >= EDGE_MICROS);
        let mut done = Vec::new();
        for (from, to) in asked {
            jobs.extend(plan::plan(&seen, (from, to.min(start))));
            if plan::plan(&seen, (from, to.min(end))).iter().all(|job| job.end >= end) {
                done.push((from, to));
            }
        }
        let surely = reach.plus_micros(self.overlap());
        let mut jobs = plan::to_those_who_run(jobs, seen.iter().map(|(ns, _)| *ns), surely);
        jobs.sort_by_key(|job| job.start);
        Plan { jobs, done }
    }

    /// What an instance has, or will have without help, or cannot be helped with.
    fn has(&self, view: &View, instance: &InstanceView, (reach, end): (Timestamp, Timestamp)) -> Coverage {
        let mut has = instance.reading.seen_by(&view.coverage);
        // What came just before a connection was lost may not be claimed, and some of it may be stamped a little
        // before or behind: where the journal does not tell, nobody can.
        let by_bus = view.coverage.meet(instance.reading.read()).clamp(Timestamp::from_micros(i64::MIN), reach);
        for (from, to, _) in by_bus.intervals() {
            has.add(from.plus_micros(-self.overlap()), to.plus_micros(self.overlap()).min(reach), Seen::Whole);
        }
        if view.lag(instance) > 0 {
            has.add(instance.reading.until(), end, Seen::Whole);
        }
        // It has read that, and failed on something of it.
        let failed = instance.reading.read().intervals().filter(|(_, _, seen)| *seen == Seen::Part);
        let beyond = has.clamp(Timestamp::from_micros(i64::MIN), reach);
        let old = beyond.intervals().filter(|(_, _, seen)| *seen == Seen::Part);
        let settled: Vec<_> = failed.chain(old).map(|(from, to, _)| (from, to)).collect();
        settled.into_iter().for_each(|(from, to)| has.add(from, to, Seen::Whole));
        if let Some(given_up) = self.given_up.get(&instance.ns) {
            has.merge(given_up);
        }
        has
    }

    /// How far from its time a message may be looked for, microseconds.
    fn overlap(&self) -> i64 {
        i64::try_from(self.backfill.config.overlap.as_micros()).unwrap_or(i64::MAX)
    }

    /// When the oldest message of the journal came in, or the oldest behind its damage; the beginning of time if it
    /// has all that ever came.
    fn journal_reach(&self) -> Option<Timestamp> {
        let first = self.parts.journal.stats().first;
        if first <= FIRST_SEQUENCE {
            return Some(self.behind_gap.unwrap_or(Timestamp::from_micros(i64::MIN)));
        }
        let mut reader = self.parts.journal.reader(first);
        let chunk = reader.next_chunk(1).ok()?;
        let oldest = chunk.iter().next().map(|(_, record)| Timestamp::from_micros(record.received))?;
        Some(self.behind_gap.map_or(oldest, |behind| behind.max(oldest)))
    }

    /// Those that are being built and that the job is for.
    fn building_of(&self, job: &Job) -> Vec<u32> {
        let view = self.parts.view.load();
        view.building.values().map(|instance| instance.ns).filter(|ns| job.audience.contains(ns)).collect()
    }

    /// The same job for each instance by itself.
    async fn fill_for_each(&mut self, job: Job) {
        let view = self.parts.view.load_full();
        let running = view.all().filter(|(_, instance)| instance.state == InstanceState::Running);
        let numbers: Vec<u32> =
            running.map(|(_, instance)| instance.ns).filter(|ns| job.audience.contains(ns)).collect();
        for ns in numbers {
            let job = Job { audience: ns..=ns, ..job.clone() };
            match self.fill(job.clone()).await {
                Err(Undone::Failed(why, error)) => return self.fail(&job, why, error).await,
                // The journal changes, or the engine starts anew: planned again in a moment.
                Err(_) => return tokio::time::sleep(LOOK).await,
                Ok(()) => {}
            }
        }
    }

    /// Fetches what a job is about, a slice after the other.
    async fn fill(&mut self, job: Job) -> Result<(), Undone> {
        let audience = Audience { first: *job.audience.start(), last: *job.audience.end() };
        self.begin(&job, audience).await?;
        self.show(&job, |_| {});
        self.set_state(BackfillState::Running);
        let mut start = job.start;
        while start < job.end {
            let first = self.call(|intake| intake.next_sequence()).await.ok_or(Undone::Away)?;
            let mut sink = Sink { parts: &self.parts, taken: Taken::default(), failure: None, is_away: false };
            let fetched = self.fetcher.fetch_slice(start, job.end, &mut sink).await;
            let Sink { taken, failure, is_away, .. } = sink;
            self.show(&job, |range| {
                range.messages += taken.messages;
                range.duplicates += taken.duplicates;
            });
            let outcome = match (fetched, failure, is_away) {
                (Ok(outcome), ..) => outcome,
                (Err(_), Some(why), _) => return Err(Undone::Failed(why, None)),
                (Err(_), _, true) => return Err(Undone::Away),
                (Err(error), ..) => return Err(Undone::Failed(describe(&error), Some(error))),
            };
            let is_whole = outcome.is_complete && outcome.unreadable == 0;
            let seen = if is_whole { Seen::Whole } else { Seen::Part };
            self.mark(Mark { start, end: outcome.until, first, seen }).await?;
            if !is_whole {
                self.give_up(&job, start, outcome.until);
            }
            start = outcome.until;
            self.show(&job, |range| range.done_until = rfc3339(start));
        }
        self.call(Intake::end_history).await.ok_or(Undone::Away)?;
        self.wait_until_read(&job).await;
        Ok(())
    }

    /// Tells the intake what is coming. First it is found out, beside it, what the journal has of that time already.
    async fn begin(&mut self, job: &Job, audience: Audience) -> Result<(), Undone> {
        let overlap = self.overlap();
        let wide = (job.start.plus_micros(-overlap), job.end.plus_micros(overlap));
        // Around it only what the journal can be compared with.
        let has_around = self.journal_reach().is_some_and(|reach| reach < wide.0);
        let span = if has_around { wide } else { (job.start, job.end) };
        let journal = self.parts.journal.clone();
        let scanned = tokio::task::spawn_blocking(move || {
            let mut history = History::new(vec![span], audience);
            let mut reader = journal.reader(journal.stats().first);
            let mut behind_gap = None;
            loop {
                let chunk = reader.next_chunk(1 << 20)?;
                if chunk.is_empty() {
                    return Ok((history, chunk.next_sequence(), behind_gap));
                }
                if chunk.gap().is_some_and(|gap| gap.cause != GapCause::Retention) {
                    behind_gap = chunk.iter().next().map(|(_, record)| Timestamp::from_micros(record.received));
                }
                history.note(&chunk);
                reader.recycle(chunk);
            }
        });
        let (history, noted, behind_gap) = match scanned.await {
            Ok(Ok(scanned)) => scanned,
            Ok(Err(error)) => {
                let error: statscache_core::journal::JournalError = error;
                return Err(Undone::Failed(describe(&error), None));
            }
            Err(_) => return Err(Undone::Away),
        };
        if behind_gap > self.behind_gap {
            // Planned again with that in mind.
            self.behind_gap = behind_gap;
            return Err(Undone::Away);
        }
        match self.call(move |intake| intake.begin_history(history, noted)).await {
            Some(Ok(true)) => Ok(()),
            Some(Ok(false)) => Err(Undone::Split),
            Some(Err(error)) => Err(Undone::Failed(describe(&error), None)),
            None => Err(Undone::Away),
        }
    }

    async fn mark(&self, mark: Mark) -> Result<(), Undone> {
        let now = self.parts.clock.now();
        match self.call(move |intake| intake.mark(&mark, now)).await {
            Some(Ok(true)) => Ok(()),
            Some(Err(error)) => Err(Undone::Failed(describe(&error), None)),
            Some(Ok(false)) | None => Err(Undone::Away),
        }
    }

    /// The next plan is made from what instances say that they have: when they have read it.
    async fn wait_until_read(&self, job: &Job) {
        const READ: Duration = Duration::from_secs(30);
        let Some(head) = self.call(|intake| intake.next_sequence()).await else { return };
        let has_read = || {
            let view = self.parts.view.load();
            let mut of_it = view.all().filter(|(_, it)| job.audience.contains(&it.ns));
            of_it.all(|(_, it)| it.state != InstanceState::Running || it.cursor.next >= head)
        };
        let wait = async {
            while !has_read() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = tokio::time::timeout(READ, wait).await;
    }

    fn give_up(&mut self, job: &Job, start: Timestamp, end: Timestamp) {
        tracing::warn!(
            from = rfc3339(start),
            to = rfc3339(end),
            "the history service does not give all of this time; it stays partial, and is asked for again at the next start"
        );
        let view = self.parts.view.load();
        for (_, instance) in view.all().filter(|(_, instance)| job.audience.contains(&instance.ns)) {
            self.given_up.entry(instance.ns).or_default().add(start, end, Seen::Whole);
        }
    }

    async fn fail(&mut self, job: &Job, why: String, error: Option<HistoryError>) {
        tracing::error!(wait = ?self.wait, "history cannot be fetched, it is tried again: {why}");
        self.show(job, |range| range.error = Some(why));
        self.set_state(BackfillState::Waiting);
        let asked = match error {
            Some(HistoryError::Unavailable { retry_after, .. }) => retry_after.unwrap_or_default(),
            Some(error) if error.is_final() => *RETRY.end(),
            _ => Duration::ZERO,
        };
        let wait = self.wait.max(asked.min(*RETRY.end()));
        self.wait = (self.wait * 2).min(*RETRY.end());
        let _ = tokio::time::timeout(wait, self.backfill.woken.notified()).await;
    }

    fn set_state(&self, state: BackfillState) {
        lock(&self.backfill.status).state = state;
    }

    /// Changes what is shown of a job, which is the newest one about that time.
    fn show(&self, job: &Job, change: impl FnOnce(&mut BackfillRange)) {
        let audience = self.name_of(job);
        let mut status = lock(&self.backfill.status);
        let range = of_range(&mut status, (job.start, job.end), &audience);
        range.error = None;
        change(range);
    }

    fn name_of(&self, job: &Job) -> String {
        if job.audience == plan::EVERYONE {
            return EVERYONE.to_owned();
        }
        let view = self.parts.view.load();
        let of_it = view.all().find(|(_, instance)| job.audience.contains(&instance.ns));
        of_it.map_or_else(|| format!("namespace {}", job.audience.start()), |(id, _)| id.clone())
    }

    /// Has something done with the intake; none if that cannot be now.
    async fn call<R: Send + 'static>(&self, run: impl FnOnce(&mut Intake) -> R + Send + 'static) -> Option<R> {
        self.parts.commands.call(run).await.ok()
    }
}
