//! The client of a history service: reads a span of time a slice at a time, completely, at a bounded rate.
//!
//! The service sorts by time only, so that two messages of the same second can change places between one page and the
//! next, and what arrives late moves everything behind it. Hence: the end is fixed, the order ascending, the number of
//! pages is read anew with each page, and the distinct messages are counted: if they are fewer than the service says
//! there are, the slice is read again.

mod outcome;
mod slices;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    hash::{BuildHasher, Hasher, RandomState},
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use statscache_plugin_sdk::Timestamp;

use super::{
    HistoryUrl,
    answer::{AnswerReader, Page},
    http::{HttpClient, HttpError},
    pace::{Pace, Retry, RetryPolicy},
};
use crate::config::HistoryConfig;
pub use outcome::{Fetched, HistoryError, PageSink, SliceOutcome, Stopped};
use slices::{Slices, floor_ceil};

/// Rows of a page; no service gives more.
const ROWS: u32 = 100;
/// A slice of more pages is made shorter, where it can be: services get slow far behind its beginning.
const PAGES_MAX: u64 = 50;
/// A service that has more pages for a second or two than that is not believed.
const PAGES_LIMIT: u64 = 100_000;
/// How often a slice is read in all to find what is missing.
const READS_MAX: u32 = 3;
/// After so many failures a slice is made shorter: what cannot be answered in time for an hour may be for a minute.
const FAILURES_BEFORE_SHORTER: u32 = 2;

/// How a history service is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchSettings {
    /// Where it is.
    pub url: HistoryUrl,
    /// How much before its start and behind its end a span is asked for.
    pub overlap: Duration,
    /// Requests a second at most, at least one.
    pub rate: u32,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// What is done when there is none.
    pub retry: RetryPolicy,
    /// Longest answer, in bytes.
    pub answer_bytes_max: usize,
}

impl FetchSettings {
    /// With the defaults of the configuration.
    pub fn new(url: HistoryUrl) -> Self {
        let HistoryConfig { overlap, rate, timeout, .. } = HistoryConfig::default();
        Self { url, overlap, rate, timeout, retry: RetryPolicy::default(), answer_bytes_max: 64 << 20 }
    }

    /// As configured; `None` without a service.
    pub fn from_config(config: &HistoryConfig) -> Option<Self> {
        let settings = Self::new(config.url.clone()?);
        Some(Self { overlap: config.overlap, rate: config.rate, timeout: config.timeout, ..settings })
    }
}

/// Fetches from one history service, one request at a time.
pub struct Fetcher {
    settings: FetchSettings,
    http: HttpClient,
    answers: AnswerReader,
    pace: Pace,
    slices: Slices,
    /// Rows asked for; fewer when pages get too long.
    rows: u32,
    random: RandomState,
    requests: u64,
}

/// A slice is to be read anew, otherwise.
enum Again {
    /// With a shorter one.
    Shorter,
    /// With fewer rows a page.
    FewerRows,
}

/// Why a page was not read.
enum Missed {
    Error(HistoryError),
    Again(Again),
}

impl From<HistoryError> for Missed {
    fn from(error: HistoryError) -> Self {
        Self::Error(error)
    }
}

impl Fetcher {
    /// Nothing is asked yet.
    pub fn new(settings: FetchSettings) -> Self {
        Self {
            http: HttpClient::new(settings.timeout, settings.answer_bytes_max),
            answers: AnswerReader::new(),
            pace: Pace::new(settings.rate),
            slices: Slices::new(settings.overlap),
            rows: ROWS,
            random: RandomState::new(),
            requests: 0,
            settings,
        }
    }

    /// How the service is asked.
    pub fn settings(&self) -> &FetchSettings {
        &self.settings
    }

    /// Fetches a first slice of `[start, end)`, as long as the service can give it at once; [`SliceOutcome::until`] says
    /// where the next begins. Messages go to the sink a page at a time, in about the order of their times, none twice;
    /// with them come those of the overlap, which lie outside of the slice. What was handed over stays so after an error;
    /// the slice is then to be fetched again from its start.
    pub async fn fetch_slice(
        &mut self,
        start: Timestamp,
        end: Timestamp,
        sink: &mut impl PageSink,
    ) -> Result<SliceOutcome, HistoryError> {
        let before = self.requests;
        self.rows = ROWS;
        let mut reading = Reading::default();
        loop {
            let until = self.slices.end(start, end);
            let mut outcome = SliceOutcome { until, is_complete: true, ..SliceOutcome::default() };
            if start >= end {
                return Ok(outcome);
            }
            match self.read_slice((start, until), &mut reading, sink).await {
                Ok(is_complete) => {
                    outcome.is_complete = is_complete;
                    outcome.messages = reading.seen.len() as u64;
                    outcome.unreadable = reading.unreadable;
                    outcome.requests = self.requests - before;
                    self.slices.has_read(outcome.messages, PAGES_MAX * u64::from(ROWS));
                    return Ok(outcome);
                }
                Err(Missed::Error(error)) => return Err(error),
                Err(Missed::Again(Again::Shorter)) => self.slices.shorten(until.micros() - start.micros(), 0.5),
                Err(Missed::Again(Again::FewerRows)) => self.rows = (self.rows / 4).max(1),
            }
        }
    }

    /// Reads all pages of a slice, again if something is missing. Whether nothing is.
    async fn read_slice(
        &mut self,
        slice: (Timestamp, Timestamp),
        reading: &mut Reading,
        sink: &mut impl PageSink,
    ) -> Result<bool, Missed> {
        let width = slice.1.micros() - slice.0.micros();
        let can_shorten = self.slices.can_shorten(width);
        for _ in 0..READS_MAX {
            reading.unreadable = 0;
            let (mut number, mut expected) = (1, 0);
            loop {
                let page = self.page(slice, number, can_shorten && number == 1).await?;
                let is_deep = self.rows == ROWS && page.pages > PAGES_MAX;
                if number == 1 && can_shorten && is_deep {
                    self.slices.shorten(width, PAGES_MAX as f64 / page.pages as f64);
                    return Err(Missed::Again(Again::Shorter));
                }
                if page.pages > PAGES_LIMIT {
                    return Err(HistoryError::TooMany { url: self.uri_text(slice, number), pages: page.pages }.into());
                }
                // Of a single page, 1.x gives the number of its rows as the total.
                expected = if page.pages > 1 { page.total.max(expected) } else { expected };
                let (is_empty, pages) = (page.rows.is_empty() && page.unreadable == 0, page.pages);
                reading.unreadable += page.unreadable;
                let new = reading.take(page);
                if !new.is_empty() {
                    sink.page(new).await.map_err(|Stopped| HistoryError::Stopped)?;
                }
                if is_empty || number >= pages {
                    break;
                }
                number += 1;
            }
            if reading.seen.len() as u64 + reading.unreadable >= expected {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads a page, with as many attempts as it takes. `can_shorten`: rather than insist, ask for less.
    async fn page(&mut self, slice: (Timestamp, Timestamp), number: u64, can_shorten: bool) -> Result<Page, Missed> {
        let url = self.uri_text(slice, number);
        let uri: Uri = url.parse().map_err(|_| HistoryError::Url { url: url.clone() })?;
        let mut retry = Retry::new(self.settings.retry, self.random.build_hasher().finish());
        loop {
            let at = self.pace.next(Instant::now());
            tokio::time::sleep_until(at.into()).await;
            self.requests += 1;
            let (why, asked) = match self.attempt(&uri).await {
                Ok(page) => return Ok(page),
                Err(Failure::Passing { why, asked }) => (why, asked),
                Err(Failure::Slow { why }) if can_shorten && retry.failures() + 1 >= FAILURES_BEFORE_SHORTER => {
                    tracing::debug!(%url, "a shorter time is asked for: {why}");
                    return Err(Missed::Again(Again::Shorter));
                }
                Err(Failure::Slow { why }) => (why, None),
                Err(Failure::TooLarge(_)) if self.rows > 1 => return Err(Missed::Again(Again::FewerRows)),
                Err(Failure::TooLarge(bytes_max)) => return Err(HistoryError::TooLarge { url, bytes_max }.into()),
                Err(Failure::NotFollowed(to)) => return Err(HistoryError::Redirected { url, to }.into()),
                Err(Failure::Refused { status, answer }) => {
                    return Err(HistoryError::Refused { url, status, answer }.into());
                }
            };
            let Some(wait) = retry.after_failure(asked) else {
                let attempts = retry.failures();
                return Err(HistoryError::Unavailable { url, attempts, why, retry_after: asked }.into());
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&self, uri: &Uri) -> Result<Page, Failure> {
        let mut headers = HeaderMap::new();
        // The type of the answer is this text, whatever it is; without it, it would be HTML.
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let reply = self.http.get(uri, &headers).await.map_err(|error| match error {
            HttpError::TooLarge(bytes_max) => Failure::TooLarge(bytes_max),
            HttpError::Redirect(to) => Failure::NotFollowed(to),
            HttpError::Timeout(_) => Failure::Slow { why: error.to_string() },
            error => Failure::Passing { why: error.to_string(), asked: None },
        })?;
        let (status, asked) = (reply.status, reply.retry_after);
        let answer = || beginning(&reply.body);
        if status.is_success() {
            let page = self.answers.read(&reply.body);
            return page.map_err(|why| Failure::Passing {
                why: format!("the answer cannot be used: {why}; it begins {:?}", answer()),
                asked: None,
            });
        }
        let why = format!("it answers {status}: {:?}", answer());
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Err(Failure::Passing { why, asked }),
            StatusCode::SERVICE_UNAVAILABLE => Err(Failure::Passing { why, asked }),
            StatusCode::PAYLOAD_TOO_LARGE => Err(Failure::TooLarge(self.settings.answer_bytes_max)),
            status if status.is_server_error() => Err(Failure::Slow { why }),
            status => Err(Failure::Refused { status: status.as_u16(), answer: answer() }),
        }
    }

    fn uri_text(&self, (start, end): (Timestamp, Timestamp), page: u64) -> String {
        let overlap = i64::try_from(self.settings.overlap.as_micros()).unwrap_or(i64::MAX);
        let (start, end) = floor_ceil(start.plus_micros(-overlap), end.plus_micros(overlap));
        let (base, rows) = (&self.settings.url, self.rows);
        format!("{base}/raw?start={start}.0&end={end}.0&order=asc&rows_per_page={rows}&page={page}")
    }
}

/// Why an attempt failed.
enum Failure {
    /// It will not be otherwise next time.
    Refused {
        status: u16,
        answer: String,
    },
    /// A redirect that leads to nowhere.
    NotFollowed(String),
    /// Next time it may be otherwise.
    Passing {
        why: String,
        asked: Option<Duration>,
    },
    /// It may have been too much to ask for.
    Slow {
        why: String,
    },
    TooLarge(usize),
}

/// What was read of a slice.
#[derive(Default)]
struct Reading {
    seen: HashSet<u128>,
    /// In the last time of reading.
    unreadable: u64,
}

impl Reading {
    /// The messages of a page that were not seen before.
    fn take(&mut self, page: Page) -> Vec<Fetched> {
        let rows = page.rows.into_iter();
        rows.filter(|row| self.seen.insert(row.key)).map(|row| row.message).collect()
    }
}

/// The beginning of an answer, for people.
fn beginning(body: &[u8]) -> String {
    const CHARS: usize = 200;
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * CHARS)]);
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(CHARS).collect()
}
