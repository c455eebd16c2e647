//! Who answers for whom: one task for each question that has readers, and how many of all that there may be.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    super::{AppState, answers::Rendered, problem::Problem},
    question::Question,
};
use crate::telemetry::StreamFigures;

/// Questions that are followed at a time: each is answered once for every commit.
const QUESTIONS_MAX: usize = 1000;
/// Bytes of one answer that is followed: nobody reads more every second, and a slow reader holds on to one or two.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Bytes of all answers that are followed.
const ALL_BYTES_MAX: usize = 64 << 20;
/// How long a stream waits for the first answer: as long as a query for its turn.
const FIRST_MAX: Duration = Duration::from_secs(5);

/// What is known of the answer to a question.
#[derive(Clone, Debug)]
pub(super) struct Latest {
    /// The answer, or the problem, as JSON.
    pub(super) json: Bytes,
    /// Differs where what it says does.
    pub(super) fingerprint: u64,
    /// Why there is no answer.
    pub(super) problem: Option<Problem>,
}

impl Latest {
    fn of(answered: Result<Arc<Rendered>, Problem>) -> Self {
        let too_long = |len| {
            Problem::too_expensive(format!(
                "the answer has {len} bytes, and streams send at most {ANSWER_BYTES_MAX}; ask for fewer rows with \
                 `limit`, a coarser step or a shorter range"
            ))
        };
        match answered {
            Ok(answer) if answer.body.len() > ANSWER_BYTES_MAX => Self::problem(too_long(answer.body.len())),
            Ok(answer) => Self { json: answer.body.clone(), fingerprint: answer.fingerprint, problem: None },
            Err(problem) => Self::problem(problem),
        }
    }

    fn problem(problem: Problem) -> Self {
        let json = Bytes::from(problem.to_json());
        Self { fingerprint: xxh3_64(&json), json, problem: Some(problem) }
    }
}

/// What the answer to one question takes of the memory for all.
pub(super) struct Room<'s> {
    all: &'s AtomicUsize,
    mine: usize,
}

impl<'s> Room<'s> {
    pub(super) fn new(all: &'s AtomicUsize) -> Self {
        Self { all, mine: 0 }
    }

    /// Puts this in the place of what there was; what does not fit any more is a problem.
    pub(super) fn take(&mut self, latest: Latest) -> Latest {
        match self.resize(latest.json.len()) {
            true => latest,
            false => Latest::problem(Problem::full("what is followed takes all the memory for that; follow less")),
        }
    }

    fn resize(&mut self, bytes: usize) -> bool {
        let others = self.all.fetch_sub(self.mine, Relaxed) - self.mine;
        self.mine = if others + bytes <= ALL_BYTES_MAX { bytes } else { 0 };
        self.all.fetch_add(self.mine, Relaxed);
        self.mine == bytes
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.mine, Relaxed);
    }
}

/// The newest answer to a question; nothing before the first.
pub(super) type Newest = watch::Receiver<Option<Latest>>;

/// All streams.
pub(in crate::http) struct Streams {
    /// How many more there may be.
    permits: Arc<Semaphore>,
    /// Half of the turns of queries: streams never hold up those who ask once.
    turns: Semaphore,
    questions: Mutex<HashMap<Arc<Question>, watch::Sender<Option<Latest>>>>,
    /// Bytes of their answers.
    bytes: AtomicUsize,
    stopping: watch::Sender<bool>,
}

impl Streams {
    /// None may be opened before [`Streams::open`].
    pub(in crate::http) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            permits: Arc::new(Semaphore::new(0)),
            turns: Semaphore::new((cores / 2).max(1)),
            questions: Mutex::default(),
            bytes: AtomicUsize::new(0),
            stopping: watch::Sender::new(false),
        }
    }

    /// Lets half of the connections be streams, since those last: the others are for those who ask once.
    pub(in crate::http) fn open(&self, connections_max: usize) {
        self.permits.add_permits((connections_max / 2).max(1));
    }

    /// Ends all streams.
    pub(in crate::http) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Becomes true when all streams end; each has one.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// What there is of them.
    pub(in crate::http) fn figures(&self) -> StreamFigures {
        StreamFigures { streams: self.stopping.receiver_count(), questions: self.questions().len() }
    }

    /// The right to be a stream.
    pub(super) fn permit(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.permits.clone().try_acquire_owned().map_err(|_| {
            Problem::full("half of the connections that there may be are streams; end one, or ask without `stream`")
        })
    }

    /// Follows a question; who is the first has it answered from then on.
    pub(super) fn subscribe(&self, state: &AppState, question: Arc<Question>) -> Result<Newest, Problem> {
        let mut questions = self.questions();
        if let Some(sender) = questions.get(&question) {
            return Ok(sender.subscribe());
        }
        if questions.len() >= QUESTIONS_MAX {
            return Err(Problem::full("too many different questions are followed; end a stream, or ask without"));
        }
        let (sender, receiver) = watch::channel(None);
        questions.insert(question.clone(), sender.clone());
        tokio::spawn(follow(state.clone(), question, sender));
        Ok(receiver)
    }

    /// Gives a question up, unless it has readers.
    fn forget(&self, question: &Question, sender: &watch::Sender<Option<Latest>>) -> bool {
        let mut questions = self.questions();
        let is_alone = sender.receiver_count() == 0;
        if is_alone {
            questions.remove(question);
        }
        is_alone
    }

    fn questions(&self) -> MutexGuard<'_, HashMap<Arc<Question>, watch::Sender<Option<Latest>>>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers a question from each view, or the newest of those that came meanwhile, while it has readers.
async fn follow(state: AppState, question: Arc<Question>, sender: watch::Sender<Option<Latest>>) {
    let mut news = state.view.news();
    let mut room = Room::new(&state.streams.bytes);
    loop {
        news.mark_unchanged();
        if let Some(latest) = look(&state, &question).await {
            publish(&sender, room.take(latest));
        }
        tokio::select! {
            biased;
            () = sender.closed() => if state.streams.forget(&question, &sender) { return },
            _ = news.changed() => {}
        }
    }
}

/// The present answer; nothing if others took all the time there was.
async fn look(state: &AppState, question: &Arc<Question>) -> Option<Latest> {
    // It is never closed.
    let _turn = state.streams.turns.acquire().await;
    match question.answer(state).await {
        Err(problem) if problem.is_busy() => None,
        answered => Some(Latest::of(answered)),
    }
}

/// Replaces what is known; wakes readers only where it says something else. Who comes later gets the newest either way.
fn publish(sender: &watch::Sender<Option<Latest>>, latest: Latest) {
    sender.send_if_modified(|known| {
        let is_news = known.as_ref().is_none_or(|known| known.fingerprint != latest.fingerprint);
        *known = Some(latest);
        is_news
    });
}

/// Waits for the first answer; if it is a problem, there is no stream.
pub(super) async fn first(newest: &mut Newest) -> Result<(), Problem> {
    let first = tokio::time::timeout(FIRST_MAX, newest.wait_for(Option::is_some)).await;
    let known = first.map_err(|_| Problem::busy())?.map_err(|_| Problem::internal())?;
    known.as_ref().and_then(|latest| latest.problem.clone()).map_or(Ok(()), Err)
}
