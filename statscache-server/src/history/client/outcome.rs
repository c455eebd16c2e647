//! What fetching gives: messages, what is known of a slice, errors.

use std::time::Duration;

use statscache_plugin_sdk::Timestamp;
use tokio::sync::mpsc;

/// A message of a history service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its topic.
    pub topic: String,
    /// The message as JSON, byte by byte as the service wrote it.
    pub body: String,
    /// When it happened, if it says so.
    pub time: Option<Timestamp>,
}

/// Nobody takes messages any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// Takes what is fetched, a page at a time. The next page is asked for when it is done with this one.
pub trait PageSink: Send {
    /// Takes a page; it is not empty.
    fn page(&mut self, messages: Vec<Fetched>) -> impl Future<Output = Result<(), Stopped>> + Send;
}

impl PageSink for Vec<Fetched> {
    async fn page(&mut self, messages: Vec<Fetched>) -> Result<(), Stopped> {
        self.extend(messages);
        Ok(())
    }
}

impl PageSink for mpsc::Sender<Vec<Fetched>> {
    async fn page(&mut self, messages: Vec<Fetched>) -> Result<(), Stopped> {
        self.send(messages).await.map_err(|_| Stopped)
    }
}

/// What is known of a slice that was fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SliceOutcome {
    /// The slice's end: everything from its start to here was read.
    pub until: Timestamp,
    /// Distinct messages, those of the overlap included.
    pub messages: u64,
    /// Entries that are no message with a topic, and were left out.
    pub unreadable: u64,
    /// Requests that were made.
    pub requests: u64,
    /// Whether nothing is missing, by the service's own count.
    pub is_complete: bool,
}

/// Why a slice could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The service does not want to answer, and will not later.
    #[error(
        "the history service refuses {url} with status {status}: {answer:?}; check [history] url, the address before \
         `/raw`"
    )]
    Refused {
        /// The whole request.
        url: String,
        /// HTTP status.
        status: u16,
        /// The beginning of its answer.
        answer: String,
    },
    /// It points elsewhere, and not to a place that can be asked.
    #[error("the history service redirects {url} to {to}; write the place where it is now as [history] url")]
    Redirected {
        /// The whole request.
        url: String,
        /// The place, and what is wrong with it.
        to: String,
    },
    /// There was no usable answer, however often it was asked.
    #[error("the history service gives no answer to {url} after {attempts} attempts: {why}")]
    Unavailable {
        /// The whole request.
        url: String,
        /// How often it was made.
        attempts: u32,
        /// What went wrong last.
        why: String,
        /// How long the service wants to be left alone, if it said so.
        retry_after: Option<Duration>,
    },
    /// A single message is longer than an answer may be.
    #[error("the history service's answer to {url} is longer than {bytes_max} bytes, with one message a page")]
    TooLarge {
        /// The whole request.
        url: String,
        /// The bound.
        bytes_max: usize,
    },
    /// It claims more than there can be.
    #[error("the history service says that {url} has {pages} pages, which is not believed")]
    TooMany {
        /// The whole request.
        url: String,
        /// What it says.
        pages: u64,
    },
    /// The request cannot be written as a URL.
    #[error("{url} cannot be asked for: it is no URL; check [history] url")]
    Url {
        /// The text.
        url: String,
    },
    /// The sink takes nothing more.
    #[error("fetching was stopped")]
    Stopped,
}

impl HistoryError {
    /// Whether asking again later is of no use: somebody has to change something.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Unavailable { .. })
    }
}
