//! The answers to some questions, each when it has changed: a reader's side of them.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{
    event::{self, Frames},
    hub::{Latest, Newest},
};

/// What one reader follows.
pub(super) struct Followed {
    sources: Vec<Source>,
    /// Whose turn it is: one that changes all the time leaves room for the others.
    turn: usize,
}

/// One question of it.
struct Source {
    /// Its text as JSON, where there are several.
    name: Option<String>,
    /// Fingerprint of what was sent last.
    sent: Option<u64>,
    /// Gives the receiver back when there is something that it has not shown.
    waiting: Waiting,
}

type Waiting = Pin<Box<dyn Future<Output = Option<Newest>> + Send>>;

fn wait(mut newest: Newest) -> Waiting {
    Box::pin(async move { newest.changed().await.ok().map(|()| newest) })
}

impl Source {
    fn new(name: Option<String>, mut newest: Newest, sent: Option<u64>) -> Self {
        newest.mark_changed();
        Self { name, sent, waiting: wait(newest) }
    }

    /// What there is that was not sent; nothing if there never will be.
    fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<Option<Latest>> {
        loop {
            let Some(mut newest) = ready!(self.waiting.as_mut().poll(cx)) else { return Poll::Ready(None) };
            let latest = newest.borrow_and_update().clone();
            self.waiting = wait(newest);
            if let Some(latest) = latest.filter(|latest| self.sent != Some(latest.fingerprint)) {
                self.sent = Some(latest.fingerprint);
                return Poll::Ready(Some(latest));
            }
        }
    }
}

impl Followed {
    /// Of the one question that the URL is.
    pub(super) fn one(newest: Newest, last_event_id: Option<&str>) -> Self {
        let sent = sent(last_event_id).next().flatten();
        Self { sources: vec![Source::new(None, newest, sent)], turn: 0 }
    }

    /// Of several, each with its text.
    pub(super) fn named(questions: Vec<(String, Newest)>, last_event_id: Option<&str>) -> Self {
        let sent = sent(last_event_id).chain(std::iter::repeat(None));
        let source =
            |((text, newest), sent)| Source::new(Some(serde_json::Value::from(text).to_string()), newest, sent);
        Self { sources: questions.into_iter().zip(sent).map(source).collect(), turn: 0 }
    }

    /// Waits for the next event. Nothing is lost if it is dropped before.
    pub(super) async fn next(&mut self) -> Option<Frames> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frames>> {
        let len = self.sources.len();
        for at in (0..len).map(|offset| (self.turn + offset) % len) {
            if let Poll::Ready(latest) = self.sources[at].poll_news(cx) {
                self.turn = at + 1;
                return Poll::Ready(latest.map(|latest| self.event(at, latest)));
            }
        }
        Poll::Pending
    }

    fn event(&self, at: usize, latest: Latest) -> Frames {
        let kind = if latest.problem.is_some() { "problem" } else { "answer" };
        match &self.sources[at].name {
            None => event::event(kind, &self.id(), latest.json),
            Some(name) => event::named_event(kind, &self.id(), name, latest.json),
        }
    }

    /// What was sent last of each question, in their order.
    fn id(&self) -> String {
        let sent = |source: &Source| source.sent.map_or_else(String::new, |sent| format!("{sent:016x}"));
        self.sources.iter().map(sent).collect::<Vec<_>>().join("-")
    }
}

/// Reads what [`Followed::id`] wrote; what it did not write is nothing.
fn sent(id: Option<&str>) -> impl Iterator<Item = Option<u64>> {
    id.into_iter().flat_map(|id| id.split('-')).map(|part| u64::from_str_radix(part, 16).ok())
}
