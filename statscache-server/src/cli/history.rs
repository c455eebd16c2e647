//! `statscache history`: a history service over a file of messages, or over a journal.

use std::{future::IntoFuture, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use axum::http::Uri;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    clock::SystemClock,
    config::LogConfig,
    history::serve::{self, HistoryService},
    http::problem::Problem,
};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    from: From,
    /// Address to serve on; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8889")]
    listen: SocketAddr,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct From {
    /// Journal of a daemon: the folder `journal` in its data directory; the daemon may be running
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,
    /// File with a message a line, JSON objects with a `topic`; it may grow
    #[arg(long, value_name = "FILE")]
    jsonl: Option<PathBuf>,
}

/// Time for answers that are under way at the end.
const LINGER: Duration = Duration::from_secs(2);

pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    super::run::start_log(&LogConfig::default());
    let stop = super::shutdown_signal();
    let listener = TcpListener::bind(args.listen).await;
    let listener =
        listener.with_context(|| format!("cannot listen on {}; choose another with --listen", args.listen))?;
    let address = listener.local_addr()?;
    let service = open(&args.from)?;
    let messages = tokio::task::block_in_place(|| service.refresh())?;

    let router = serve::router(service).fallback(not_found);
    let (stopping, mut stopped) = watch::channel(false);
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
        // An error means that nobody could stop us any more: stop, too.
        let _ = stopped.wait_for(|stop| *stop).await;
    });
    let mut serving = tokio::spawn(serving.into_future());
    eprintln!("serving {messages} messages at http://{address}/raw");
    tokio::select! {
        ended = &mut serving => ended??,
        signal = stop => {
            signal?;
            let _ = stopping.send(true);
            // Who reads too slowly is left.
            let _ = tokio::time::timeout(LINGER, serving).await;
        }
    }
    Ok(())
}

fn open(from: &From) -> anyhow::Result<Arc<HistoryService>> {
    let clock = Arc::new(SystemClock);
    let service = match (&from.journal, &from.jsonl) {
        (Some(dir), _) => {
            let inner = dir.join("journal");
            if inner.is_dir() {
                bail!("{} is no journal; it has one in it: --journal {}", dir.display(), inner.display());
            }
            HistoryService::of_journal_dir(dir, clock)?
        }
        (None, Some(file)) => HistoryService::of_lines(file, clock)?,
        (None, None) => bail!("there is nothing to serve; give --journal or --jsonl"),
    };
    Ok(Arc::new(service))
}

async fn not_found(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at {}; there are /raw, /id and /messagecount", uri.path()))
}
