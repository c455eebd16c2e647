//! `statscache backfill`: has a running daemon fill a span of time, and shows how far it is.

mod bar;
#[cfg(test)]
mod tests;

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, bail};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::Deserialize;
use statscache_plugin_sdk::Timestamp;

use crate::{
    clock::{Clock, SystemClock},
    history::{
        HistoryUrl, HttpClient, HttpError, Reply,
        progress::{BackfillRequest, BackfillState, BackfillStatus, PATH},
    },
    http::time,
};
use bar::Progress;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Beginning: RFC 3339, a date, seconds since 1970, or such as now-1h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: String,
    /// End, the same way
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: String,
    /// Where the daemon serves HTTP
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8888")]
    url: String,
    /// File with the daemon's token; else the environment's STATSCACHE_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Do not wait until it is done
    #[arg(long)]
    no_wait: bool,
}

/// Environment variable with the token.
const TOKEN: &str = "STATSCACHE_TOKEN";
/// How often the daemon is asked how far it is.
const POLL: Duration = Duration::from_millis(300);
/// Questions in a row without an answer after which the daemon is taken to be gone.
const SILENCE_MAX: u32 = 20;
const TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 16 << 20;

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let read = |name: &str, text: &str| {
        time::parse(text, now).with_context(|| format!("--{name} {text} is no time; allowed: {}", time::ALLOWED))
    };
    let span = (read("from", &args.from)?, read("to", &args.to)?);
    if span.0 >= span.1 {
        bail!("--from {} is not before --to {}", args.from, args.to);
    }
    let token = token(args)?;
    let daemon = Daemon::new(&args.url, token.as_deref())?;
    daemon.order(span).await?;
    let (from, to) = (time::rfc3339(span.0), time::rfc3339(span.1));
    if args.no_wait {
        println!("the daemon fills {from} to {to}");
        return Ok(());
    }
    let progress = tokio::select! {
        followed = follow(&daemon, span) => followed?,
        stopped = super::shutdown_signal() => {
            stopped?;
            eprintln!("\nnot waiting any more; the daemon goes on");
            return Ok(());
        }
    };
    println!("filled {from} to {to}: {} messages, {} of them known already", progress.messages, progress.duplicates);
    Ok(())
}

fn token(args: &Args) -> anyhow::Result<Option<String>> {
    let token = match &args.token_file {
        Some(path) => {
            std::fs::read_to_string(path).with_context(|| format!("cannot read the token file {}", path.display()))?
        }
        None => match std::env::var(TOKEN) {
            Ok(token) => token,
            Err(_) => return Ok(None),
        },
    };
    Ok(Some(token.trim().to_owned()))
}

/// Asks until the span is filled.
async fn follow(daemon: &Daemon, span: (Timestamp, Timestamp)) -> anyhow::Result<Progress> {
    let mut screen = Screen { is_terminal: std::io::stderr().is_terminal(), shown: String::new() };
    let mut silence = 0;
    loop {
        let status = match daemon.status().await {
            Ok(status) => status,
            Err(error) if silence < SILENCE_MAX && error.downcast_ref::<HttpError>().is_some() => {
                silence += 1;
                tokio::time::sleep(POLL).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        silence = 0;
        let progress = Progress::of(&status.ranges, span);
        screen.show(&progress, status.state);
        if progress.is_done() || (progress.ranges == 0 && status.state == BackfillState::Idle) {
            screen.end();
            return Ok(progress);
        }
        if let (BackfillState::Idle, Some(error)) = (status.state, &progress.error) {
            screen.end();
            bail!("the daemon has given up: {error}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Standard error: a bar that is drawn over and over, or a line for each step.
struct Screen {
    is_terminal: bool,
    shown: String,
}

impl Screen {
    fn show(&mut self, progress: &Progress, state: BackfillState) {
        let text = if self.is_terminal { progress.bar(state) } else { progress.line(state) };
        if text != self.shown {
            // Nothing can be done about a terminal that is gone.
            let _ = match self.is_terminal {
                true => write!(std::io::stderr(), "\r\x1b[K{text}"),
                false => writeln!(std::io::stderr(), "{text}"),
            };
            self.shown = text;
        }
    }

    fn end(&self) {
        if self.is_terminal {
            eprintln!();
        }
    }
}

/// A running daemon.
struct Daemon {
    http: HttpClient,
    uri: Uri,
    headers: HeaderMap,
}

/// What a daemon says when it refuses.
#[derive(Deserialize)]
struct Refusal {
    detail: String,
}

impl Daemon {
    fn new(url: &str, token: Option<&str>) -> anyhow::Result<Self> {
        // The same rules: a scheme, a host, no user name, no parameters.
        if HistoryUrl::parse(url).is_err() {
            bail!("--url {url} is no URL of a daemon; write one such as http://127.0.0.1:8888");
        }
        let uri: Uri = format!("{}{PATH}", url.trim_end_matches('/')).parse()?;
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .context("the token has characters that no header can have")?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(Self { http: HttpClient::new(TIMEOUT, ANSWER_BYTES_MAX), uri, headers })
    }

    async fn order(&self, (from, to): (Timestamp, Timestamp)) -> anyhow::Result<()> {
        let request = BackfillRequest { from: time::rfc3339(from), to: time::rfc3339(to) };
        let mut headers = self.headers.clone();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let reply = self.http.post(&self.uri, &headers, serde_json::to_vec(&request)?.into()).await;
        let reply = reply.with_context(|| format!("cannot reach {}; is the daemon running? see --url", self.uri))?;
        self.accept(&reply)
    }

    async fn status(&self) -> anyhow::Result<BackfillStatus> {
        let reply = self.http.get(&self.uri, &self.headers).await;
        let reply = reply.with_context(|| format!("cannot reach {} any more", self.uri))?;
        self.accept(&reply)?;
        serde_json::from_slice(&reply.body).with_context(|| format!("{} is not a statscache daemon", self.uri))
    }

    fn accept(&self, reply: &Reply) -> anyhow::Result<()> {
        if reply.status.is_success() {
            return Ok(());
        }
        let says = match serde_json::from_slice::<Refusal>(&reply.body) {
            Ok(refusal) => format!(": {}", refusal.detail),
            Err(_) => String::new(),
        };
        let hint = match reply.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                format!("; give the daemon's token with --token-file or in {TOKEN}")
            }
            StatusCode::NOT_FOUND if says.is_empty() => "; is it a statscache daemon? see --url".to_owned(),
            _ => String::new(),
        };
        bail!("{} answers {}{says}{hint}", self.uri, reply.status);
    }
}
