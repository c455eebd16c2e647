//! Messages that were published while nobody here listened: asked of a history service, and served to whoever asks us.
//!
//! A **history service** answers as datagrepper does: `/raw?start=…&end=…` gives the messages of a span of time, a page
//! at a time. [`Fetcher`] is its client, [`plan`](plan::plan) says what to ask it for, [`serve`] is such a service over
//! what we have ourselves. [`progress`] is what the daemon and the command line tell each other about it.
//!
//! Times are those that messages carry (`timestamp`), not those of their arrival; a span that was missed on the bus is
//! therefore asked for with some overlap on both sides, and what comes twice is dropped by whoever takes it.

mod answer;
pub mod asked;
pub mod backfill;
pub mod client;
mod http;
mod pace;
pub mod plan;
pub mod progress;
pub mod serve;
mod text;
mod url;

pub use client::{FetchSettings, Fetched, Fetcher, HistoryError, PageSink, SliceOutcome, Stopped};
pub(crate) use http::{HttpClient, HttpError, Reply};
pub use pace::RetryPolicy;
pub use url::{HistoryUrl, HistoryUrlError};
