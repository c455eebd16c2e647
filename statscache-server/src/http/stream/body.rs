//! The body of an answer that goes on: events while there are any, else a sign of life now and then.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Bytes, HttpBody};
use hyper::body::Frame;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::timeout,
};

use super::{
    commits::Commits,
    event::{self, Frames},
    followed::Followed,
};

/// How long nothing is said: proxies and our own connections leave after a minute or so.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Where events come from.
pub(super) enum Feed {
    Answers(Followed),
    Commits(Commits),
}

impl Feed {
    async fn next(&mut self) -> Option<Frames> {
        match self {
            Self::Answers(answers) => answers.next().await,
            Self::Commits(commits) => commits.next().await,
        }
    }
}

/// One reader.
struct Reader {
    feed: Feed,
    stopping: watch::Receiver<bool>,
    heartbeat: Duration,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    /// What goes out next; nothing at the end.
    async fn next(mut self) -> Option<(Frames, Self)> {
        let frames = tokio::select! {
            biased;
            _ = self.stopping.wait_for(|stop| *stop) => None,
            next = timeout(self.heartbeat, self.feed.next()) => {
                next.unwrap_or_else(|_| Some(event::text(event::HEARTBEAT)))
            }
        };
        frames.map(|frames| (frames, self))
    }
}

type Next = Pin<Box<dyn Future<Output = Option<(Frames, Reader)>> + Send>>;

/// The body. It looks for the newest only when what it gave before is on its way.
pub(super) struct EventStream {
    frames: Frames,
    /// Nothing after the end.
    next: Option<Next>,
}

impl EventStream {
    pub(super) fn new(feed: Feed, stopping: watch::Receiver<bool>, permit: OwnedSemaphorePermit) -> Self {
        Self::with(feed, stopping, permit, HEARTBEAT)
    }

    pub(super) fn with(
        feed: Feed,
        stopping: watch::Receiver<bool>,
        permit: OwnedSemaphorePermit,
        heartbeat: Duration,
    ) -> Self {
        let reader = Reader { feed, stopping, heartbeat, _permit: permit };
        Self { frames: event::text(event::HELLO), next: Some(Box::pin(reader.next())) }
    }
}

impl HttpBody for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(bytes) = self.frames.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let Some(next) = &mut self.next else { return Poll::Ready(None) };
            let next = ready!(next.as_mut().poll(cx));
            self.next = None;
            if let Some((frames, reader)) = next {
                self.frames = frames;
                self.next = Some(Box::pin(reader.next()));
            }
        }
    }
}
