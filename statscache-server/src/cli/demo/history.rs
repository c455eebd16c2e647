//! What happened before the demo, served as a history service does, and how far the daemon is in reading it.

use std::{
    fs::File,
    io::{BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::net::TcpListener;

use super::story;
use crate::{
    clock::Clock,
    history::{
        HistoryUrl,
        backfill::Backfill,
        progress::{BackfillState, BackfillStatus},
        serve::{self, HistoryService},
    },
};

/// What is made up at once, seconds.
const PIECE: i64 = 30 * 86_400;
/// How often it is looked how far the daemon is.
const LOOK: Duration = Duration::from_millis(250);

/// Makes up what happened in `[start, end)` and serves it, in this process, until it ends.
pub(super) async fn serve(dir: &Path, start: i64, end: i64, clock: Arc<dyn Clock>) -> anyhow::Result<HistoryUrl> {
    let path = dir.join("history.jsonl");
    let service = tokio::task::spawn_blocking(move || make(path, start, end, clock)).await??;
    let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on a free port of 127.0.0.1")?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, serve::router(service)).await {
            tracing::error!("the history service ended: {error}");
        }
    });
    Ok(HistoryUrl::parse(&format!("http://{address}"))?)
}

fn make(path: PathBuf, start: i64, end: i64, clock: Arc<dyn Clock>) -> anyhow::Result<Arc<HistoryService>> {
    let failed = || format!("cannot write {}", path.display());
    let mut file = BufWriter::new(File::create(&path).with_context(failed)?);
    let mut from = start;
    while from < end {
        let to = end.min(from + PIECE);
        for line in story::between(from, to) {
            writeln!(file, "{}", line.text).with_context(failed)?;
        }
        from = to;
    }
    file.into_inner().with_context(failed)?;
    let service = HistoryService::of_lines(&path, clock)?;
    service.refresh()?;
    Ok(Arc::new(service))
}

/// Shows how far the daemon has read, where somebody looks on, and says when it has read all.
pub(super) async fn tell_progress(backfill: Arc<Backfill>) {
    let started = Instant::now();
    let is_terminal = std::io::stdout().is_terminal();
    loop {
        let status = backfill.status();
        if is_done(&status) {
            break;
        }
        if is_terminal {
            print!("\rhistory: {} messages", messages(&status));
            // A terminal that is gone is no concern of the daemon's.
            let _ = std::io::stdout().flush();
        }
        tokio::time::sleep(LOOK).await;
    }
    let clear = if is_terminal { "\r" } else { "" };
    let (count, seconds) = (messages(&backfill.status()), started.elapsed().as_secs_f64());
    match count {
        0 => println!("{clear}history is in: nothing was missing"),
        count => println!("{clear}history is in: {count} messages, after {seconds:.1} s"),
    }
}

fn is_done(status: &BackfillStatus) -> bool {
    let is_read = |state| status.state == state && status.ranges.iter().all(|range| range.is_done());
    is_read(BackfillState::Idle) && !status.ranges.is_empty()
}

fn messages(status: &BackfillStatus) -> u64 {
    status.ranges.iter().map(|range| range.messages).sum()
}
