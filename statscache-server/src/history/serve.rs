//! A history service over what is here: lines of a file, the journal of a daemon that is elsewhere, or our own.
//!
//! It answers as datagrepper 0.x: `/raw`, `/id`, `/messagecount`. Messages are given byte by byte as they are kept. Those
//! of a journal whose body has no `topic`, or another than they were published under, are left out: an answer of this
//! form cannot tell them.

mod archive;
mod index;
mod params;
#[cfg(test)]
mod tests;

use std::{
    fmt::Write,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use statscache_core::journal::JournalHandle;
use statscache_plugin_sdk::host::find;
use tokio::sync::Semaphore;

pub use archive::ArchiveError;
use archive::{Archive, Bodies, JournalPlace, Lines};
use index::{Entry, Index};
use params::Ask;

use super::text::{HeadReader, readable};
use crate::{
    clock::Clock,
    http::{problem::Problem, urlquery},
};

/// Requests that read from the disk at the same time; others wait.
const READERS: usize = 4;
/// Messages that are looked through for a text in one request.
const SEARCHED_MAX: usize = 100_000;
/// Messages of one answer together.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Serves messages to whoever asks for a span of time.
pub struct HistoryService {
    kept: Mutex<Kept>,
    clock: Arc<dyn Clock>,
    readers: Arc<Semaphore>,
}

struct Kept {
    archive: Archive,
    index: Index,
}

impl HistoryService {
    /// Over a file with a message a line, which may grow.
    pub fn of_lines(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, ArchiveError> {
        Ok(Self::new(Archive::Lines(Lines::open(path)?), clock))
    }

    /// Over the journal in a directory, which another process may be writing.
    pub fn of_journal_dir(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, ArchiveError> {
        Ok(Self::new(Archive::Journal(JournalPlace::open(path)?), clock))
    }

    /// Over the journal of this process. Reads nothing yet.
    pub fn of_journal(handle: JournalHandle, clock: Arc<dyn Clock>) -> Self {
        Self::new(Archive::Journal(JournalPlace::live(handle)), clock)
    }

    fn new(archive: Archive, clock: Arc<dyn Clock>) -> Self {
        let kept = Mutex::new(Kept { archive, index: Index::default() });
        Self { kept, clock, readers: Arc::new(Semaphore::new(READERS)) }
    }

    /// Reads what is new; how many messages there are. Blocks: the first time for as long as it takes to read all.
    pub fn refresh(&self) -> Result<usize, ArchiveError> {
        self.look().map(|kept| kept.index.len())
    }

    fn look(&self) -> Result<MutexGuard<'_, Kept>, ArchiveError> {
        // After a panic it is as whole as before: what was added is put in its place next time.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { archive, index } = &mut *kept;
        archive.look(index)?;
        Ok(kept)
    }

    /// The messages from here on are read without the lock.
    fn select<T>(&self, select: impl FnOnce(&Index) -> T) -> Result<(T, Arc<dyn Bodies>), ArchiveError> {
        let kept = self.look()?;
        Ok((select(&kept.index), kept.archive.bodies()))
    }

    fn raw(&self, ask: &Ask) -> Result<Response, Failed> {
        let select = |index: &Index| {
            let topics = index.topics(|topic| ask.wants(topic));
            let wanted = index.between(ask.start, ask.end).iter().filter(|entry| entry.is_of(&topics));
            match ask.contains.is_empty() {
                true => (page(ask, wanted.clone()), wanted.count()),
                // They are looked through for a text, without the lock.
                false => (wanted.take(SEARCHED_MAX + 1).copied().collect(), 0),
            }
        };
        let ((mut entries, mut total), bodies) = self.select(select)?;
        if !ask.contains.is_empty() {
            let found = containing(entries, &ask.contains, &*bodies)?;
            (entries, total) = (page(ask, found.iter()), found.len());
        }
        let bytes: u64 = entries.iter().map(|entry| u64::from(entry.len)).sum();
        if bytes > ANSWER_BYTES_MAX && entries.len() > 1 {
            let hint = format!("these {} messages have {bytes} bytes; ask for fewer with rows_per_page", entries.len());
            return Ok((StatusCode::PAYLOAD_TOO_LARGE, hint).into_response());
        }
        let places: Vec<(u64, u32)> = entries.iter().map(|entry| (entry.place, entry.len)).collect();
        let messages: Vec<String> = bodies.bodies(&places)?.into_iter().flatten().collect();
        Ok(json(answer(ask, &messages, total)))
    }

    fn one(&self, msg_id: &str) -> Result<Response, Failed> {
        let (places, bodies) =
            self.select(|index| index.with_id(msg_id).map(|entry| (entry.place, entry.len)).collect::<Vec<_>>())?;
        let heads = HeadReader::new();
        let has_id =
            |body: &String| heads.read(&readable(body)).is_some_and(|head| head.msg_id.as_deref() == Some(msg_id));
        match bodies.bodies(&places)?.into_iter().flatten().find(has_id) {
            Some(body) => Ok(json(body)),
            None => Err(Problem::not_found(format!("there is no message with the id `{msg_id}` here")).into()),
        }
    }
}

/// Why there is no answer.
enum Failed {
    Problem(Problem),
    Archive(ArchiveError),
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<ArchiveError> for Failed {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

/// The page that is asked for.
fn page<'e>(ask: &Ask, wanted: impl DoubleEndedIterator<Item = &'e Entry>) -> Vec<Entry> {
    let (skip, rows) = ((ask.page - 1).saturating_mul(ask.rows), ask.rows);
    match ask.is_descending {
        true => wanted.rev().skip(skip).take(rows).copied().collect(),
        false => wanted.skip(skip).take(rows).copied().collect(),
    }
}

/// Those of the messages with one of the texts in their `msg`.
fn containing(found: Vec<Entry>, texts: &[String], bodies: &dyn Bodies) -> Result<Vec<Entry>, Failed> {
    if found.len() > SEARCHED_MAX {
        let detail = format!("more than {SEARCHED_MAX} messages would be looked through; ask for less time");
        return Err(Problem::too_expensive(detail).into());
    }
    let mut containing = Vec::new();
    for some in found.chunks(100) {
        let places: Vec<(u64, u32)> = some.iter().map(|entry| (entry.place, entry.len)).collect();
        for (entry, body) in some.iter().zip(bodies.bodies(&places)?) {
            let Some(body) = body else { continue };
            let body = readable(&body);
            let msg = find(&body, "/msg").unwrap_or_default();
            if texts.iter().any(|text| msg.contains(text.as_str())) {
                containing.push(*entry);
            }
        }
    }
    Ok(containing)
}

fn answer(ask: &Ask, messages: &[String], total: usize) -> String {
    let (count, pages) = (messages.len(), total.div_ceil(ask.rows));
    let mut text = String::with_capacity(512 + messages.iter().map(|message| message.len() + 2).sum::<usize>());
    // Writing into a text does not fail.
    let _ = write!(text, "{{\"arguments\": {}, \"count\": {count}, \"pages\": {pages}, ", ask.arguments());
    let _ = writeln!(text, "\"raw_messages\": [{}], \"total\": {total}}}", messages.join(", "));
    text
}

fn json(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// `/raw`, `/id` and `/messagecount`.
pub fn router(service: Arc<HistoryService>) -> Router {
    Router::new()
        .route("/raw", get(raw))
        .route("/raw/", get(raw))
        .route("/id", get(id))
        .route("/messagecount", get(message_count))
        .with_state(service)
}

async fn raw(State(service): State<Arc<HistoryService>>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let parameters = urlquery::parse(query.as_deref().unwrap_or_default())?;
    let ask = Ask::read(&parameters, service.clock.now())?;
    read(service, move |service| service.raw(&ask)).await
}

async fn id(State(service): State<Arc<HistoryService>>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let parameters = urlquery::parse(query.as_deref().unwrap_or_default())?;
    let Some((_, id)) = parameters.into_iter().find(|(name, _)| name == "id") else {
        return Err(Problem::parameter("id", Some(""), "the msg_id of a message, /id?id=…"));
    };
    read(service, move |service| service.one(&id)).await
}

async fn message_count(State(service): State<Arc<HistoryService>>) -> Result<Response, Problem> {
    read(service, |service| Ok(json(format!("{{\"messagecount\": {}}}\n", service.refresh()?)))).await
}

/// Reads where waiting for the disk holds nobody up.
async fn read(
    service: Arc<HistoryService>,
    work: impl FnOnce(&HistoryService) -> Result<Response, Failed> + Send + 'static,
) -> Result<Response, Problem> {
    // Whoever asked may be gone before the reader is done.
    let permit = service.readers.clone().acquire_owned().await.map_err(|_| Problem::internal())?;
    let reading = move || {
        let _permit = permit;
        work(&service)
    };
    match tokio::task::spawn_blocking(reading).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(Failed::Problem(problem))) => Err(problem),
        Ok(Err(Failed::Archive(error))) => {
            tracing::error!("history cannot be read: {}", crate::health::describe(&error));
            Err(Problem::internal())
        }
        Err(error) => {
            tracing::error!("a reader of history panicked: {error}");
            Err(Problem::internal())
        }
    }
}
