//! Answers as they are sent: made once for each view, kept as bytes, shared by all who ask the same.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use quick_cache::{Equivalent, Weighter, sync::Cache};
use statscache_core::view::View;
use statscache_plugin_sdk::Timestamp;
use tokio::sync::Mutex as TurnMutex;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    common,
    encode::{self, WORTH_BYTES},
    format::Format,
    negotiate::Encoding,
    problem::Problem,
    queries::Queries,
};
use crate::telemetry::AnswerFigures;

/// Which of all views: also after a reload or a restart no two are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ViewId {
    version: u64,
    as_of: Timestamp,
}

impl ViewId {
    pub(super) fn of(view: &View) -> Self {
        Self { version: view.version, as_of: view.as_of }
    }
}

/// In which form an answer is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Variant {
    pub(super) format: Format,
    pub(super) encoding: Encoding,
}

impl Variant {
    /// As the client's headers say.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self { format: Format::of(headers)?, encoding: Encoding::of(headers) })
    }
}

/// An answer in one form.
pub(super) struct Rendered {
    view: ViewId,
    headers: HeaderMap,
    pub(super) body: Bytes,
    /// Hash of what it says, without when that was and how far the plugin had got.
    pub(super) fingerprint: u64,
}

/// What an answer is made of.
pub(super) struct Draft {
    pub(super) view: ViewId,
    pub(super) body: Vec<u8>,
    pub(super) fingerprint: u64,
    /// Those of its own: its type, how fresh it is, where its list goes on.
    pub(super) headers: HeaderMap,
}

impl Rendered {
    fn new(draft: Draft, target: &str, variant: Variant) -> std::io::Result<Self> {
        let Draft { view, body, fingerprint, mut headers } = draft;
        let name = variant.encoding.name().filter(|_| body.len() >= WORTH_BYTES);
        let body = match name {
            Some(name) => {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
                encode::pack(&body, variant.encoding)?
            }
            None => body,
        };
        let asked = xxh3_64(format!("{target}\n{variant:?}").as_bytes());
        let tag = format!("\"{:x}-{:x}-{asked:x}\"", view.version, view.as_of.micros());
        headers.insert(header::ETAG, HeaderValue::from_str(&tag).map_err(std::io::Error::other)?);
        headers.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
        common::set_headers(&mut headers);
        Ok(Self { view, headers, body: body.into(), fingerprint })
    }

    /// The response: without a body if the client has it already.
    pub(super) fn respond(&self, asked: &HeaderMap) -> Response {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = self.headers.clone();
        if is_known(asked, &self.headers[header::ETAG]) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING] {
                response.headers_mut().remove(name);
            }
        } else {
            *response.body_mut() = Body::from(self.body.clone());
        }
        response
    }
}

/// Whether the client has what has this tag: `If-None-Match`, compared weakly (RFC 9110, 13.1.2).
pub(super) fn is_known(asked: &HeaderMap, tag: &HeaderValue) -> bool {
    let mine = without_weakness(tag.as_bytes());
    let lists = asked.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = lists.flat_map(|list| list.as_bytes().split(|byte| *byte == b','));
    tags.any(|one| one.trim_ascii() == b"*" || without_weakness(one.trim_ascii()) == mine)
}

fn without_weakness(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    target: Box<str>,
    variant: Variant,
}

/// A [`Key`], borrowed.
struct KeyRef<'t> {
    target: &'t str,
    variant: Variant,
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.target.hash(state);
        self.variant.hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.target == *key.target && self.variant == key.variant
    }
}

#[derive(Clone)]
struct Weight;

impl Weighter<Key, Arc<Rendered>> for Weight {
    fn weight(&self, key: &Key, answer: &Arc<Rendered>) -> u64 {
        /// Of the maps and headers around an answer.
        const AROUND: usize = 1500;
        (key.target.len() + answer.body.len() + AROUND) as u64
    }
}

/// An answer under way.
struct Slot {
    view: ViewId,
    /// Held by the one that makes it.
    turn: Arc<TurnMutex<()>>,
    made: OnceLock<Result<Arc<Rendered>, Problem>>,
}

/// All answers.
pub(super) struct Answers {
    kept: Cache<Key, Arc<Rendered>, Weight>,
    under_way: Mutex<HashMap<Key, Weak<Slot>>>,
    made: AtomicU64,
    found: AtomicU64,
}

impl Answers {
    /// Keeps at most so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        /// A guess at how long they are, for the first size of the table.
        const BYTES_TYPICAL: usize = 4 << 10;
        let kept = Cache::with_weighter(bytes_max / BYTES_TYPICAL, bytes_max as u64, Weight);
        Self { kept, under_way: Mutex::default(), made: AtomicU64::new(0), found: AtomicU64::new(0) }
    }

    /// What they came to so far.
    pub(super) fn figures(&self) -> AnswerFigures {
        AnswerFigures { made: self.made.load(Relaxed), found: self.found.load(Relaxed), bytes: self.kept.weight() }
    }

    /// The answer from this view, if it is there.
    pub(super) fn kept(&self, target: &str, variant: Variant, view: ViewId) -> Option<Arc<Rendered>> {
        let answer = self.kept.get(&KeyRef { target, variant }).filter(|answer| answer.view == view)?;
        self.found.fetch_add(1, Relaxed);
        Some(answer)
    }

    /// The answer from this view or a newer one. However many ask at the same time, `make` runs once, also when those
    /// who asked first have left meanwhile.
    pub(super) async fn get(
        self: &Arc<Self>,
        queries: &Queries,
        (target, variant, view): (&str, Variant, ViewId),
        make: impl FnOnce() -> Result<Draft, Problem> + Send + 'static,
    ) -> Result<Arc<Rendered>, Problem> {
        if let Some(answer) = self.kept(target, variant, view) {
            return Ok(answer);
        }
        let key = Key { target: target.into(), variant };
        let slot = self.slot(&key, view);
        let Ok(mine) = tokio::time::timeout(queries.wait_max(), slot.turn.clone().lock_owned()).await else {
            return Err(Problem::busy());
        };
        if let Some(made) = slot.made.get() {
            self.found.fetch_add(1, Relaxed);
            return made.clone();
        }
        // The one who made it may have left between the two looks.
        if let Some(answer) = self.kept(target, variant, view) {
            return Ok(answer);
        }
        let answers = self.clone();
        let making = queries.run(move || {
            let made = answers.make(&key, make);
            // Nobody else sets it while `mine` is held.
            let _ = slot.made.set(made.clone());
            drop(mine);
            made
        });
        making.await?
    }

    fn make(&self, key: &Key, make: impl FnOnce() -> Result<Draft, Problem>) -> Result<Arc<Rendered>, Problem> {
        self.made.fetch_add(1, Relaxed);
        let answer = Rendered::new(make()?, &key.target, key.variant).map_err(|error| {
            tracing::error!("an answer could not be packed: {error}");
            Problem::internal()
        })?;
        let answer = Arc::new(answer);
        self.kept.insert(key.clone(), answer.clone());
        Ok(answer)
    }

    fn slot(&self, key: &Key, view: ViewId) -> Arc<Slot> {
        /// So many keys of answers that nobody waits for any more may be left behind.
        const LEFT_MAX: usize = 256;
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = under_way.get(key).and_then(Weak::upgrade).filter(|slot| slot.view == view) {
            return slot;
        }
        if under_way.len() >= LEFT_MAX {
            under_way.retain(|_, slot| slot.strong_count() > 0);
        }
        let slot = Arc::new(Slot { view, turn: Arc::default(), made: OnceLock::new() });
        under_way.insert(key.clone(), Arc::downgrade(&slot));
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::AtomicUsize,
        task::{Context, Waker},
    };

    use super::*;

    fn view(version: u64) -> ViewId {
        ViewId { version, as_of: Timestamp::from_secs(7) }
    }

    fn draft(version: u64, text: &str) -> Draft {
        Draft { view: view(version), body: text.as_bytes().to_vec(), fingerprint: 0, headers: HeaderMap::new() }
    }

    const JSON: Variant = Variant { format: Format::Json, encoding: Encoding::Identity };

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_thousand_that_ask_at_once_make_one_answer() {
        let (answers, queries) = (Arc::new(Answers::new(1 << 20)), Arc::new(Queries::new()));
        let made = Arc::new(AtomicUsize::new(0));
        // Nobody gets it before all have asked.
        let asked = Arc::new(tokio::sync::Barrier::new(1000));
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let readers: Vec<_> = (0..1000)
            .map(|_| {
                let (answers, queries, made) = (answers.clone(), queries.clone(), made.clone());
                let (asked, gate) = (asked.clone(), gate.clone());
                tokio::spawn(async move {
                    let make = move || {
                        made.fetch_add(1, Relaxed);
                        let _ = gate.lock().expect("the gate").recv();
                        Ok(draft(1, "answer"))
                    };
                    let asking = answers.get(&queries, ("/a", JSON, view(1)), make);
                    let (_, answer) = tokio::join!(asked.wait(), asking);
                    answer.expect("an answer").body.clone()
                })
            })
            .collect();
        open.send(()).expect("somebody makes it");
        for reader in readers {
            assert_eq!(reader.await.expect("a reader"), "answer");
        }
        assert_eq!(made.load(Relaxed), 1);
        assert_eq!((answers.figures().made, answers.figures().found), (1, 999));
    }

    #[tokio::test]
    async fn who_left_does_not_stop_what_others_wait_for() {
        let (answers, queries) = (Arc::new(Answers::new(1 << 20)), Queries::new());
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let make = move || {
            let _ = begun.send(());
            let _ = gate.recv();
            Ok(draft(1, "first"))
        };
        {
            let asking = answers.get(&queries, ("/a", JSON, view(1)), make);
            tokio::select! {
                _ = asking => panic!("nobody has opened the gate"),
                _ = begins => {}
            }
        }
        let second = answers.get(&queries, ("/a", JSON, view(1)), || Ok(draft(1, "second")));
        let mut second = std::pin::pin!(second);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(second.as_mut().poll(&mut cx).is_pending(), "it waits for the first");
        open.send(()).expect("it is being made still");
        assert_eq!(second.await.expect("an answer").body, "first");
    }

    #[tokio::test]
    async fn every_view_and_every_form_has_its_own() {
        let (answers, queries) = (Arc::new(Answers::new(1 << 20)), Queries::new());
        let long = "long ".repeat(1000);
        let gzip = Variant { encoding: Encoding::Gzip, ..JSON };
        let mut tags = Vec::new();
        for (target, variant, version) in [
            ("/a", JSON, 1),
            ("/b", JSON, 1),
            ("/a", gzip, 1),
            ("/a", JSON, 2),
            ("/a", Variant { format: Format::Csv, ..JSON }, 2),
        ] {
            let text = long.clone();
            let make = move || Ok(draft(version, &text));
            let answer = answers.get(&queries, (target, variant, view(version)), make).await.expect("an answer");
            tags.push(answer.headers[header::ETAG].clone());
            assert_eq!(answer.headers.contains_key(header::CONTENT_ENCODING), variant == gzip);
            assert_eq!(answer.body.len() < long.len(), variant == gzip);
            assert!(answers.kept(target, variant, view(version)).is_some());
            assert!(answers.kept(target, variant, view(version + 1)).is_none());
        }
        let count = tags.len();
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), count, "{tags:?}");
        assert!(answers.kept("/a", gzip, view(1)).is_some() && answers.kept("/a", JSON, view(1)).is_none());
    }

    #[tokio::test]
    async fn no_more_is_kept_than_may_be_and_problems_are_not() {
        let (answers, queries) = (Arc::new(Answers::new(100_000)), Queries::new());
        for n in 0..200 {
            let target = format!("/{n}");
            let make = || Ok(draft(1, &"x".repeat(5000)));
            answers.get(&queries, (&target, JSON, view(1)), make).await.expect("an answer");
        }
        assert!(answers.figures().bytes <= 100_000, "{:?}", answers.figures());
        let problem = answers.get(&queries, ("/p", JSON, view(1)), || Err(Problem::busy())).await;
        assert!(problem.is_err());
        let better = answers.get(&queries, ("/p", JSON, view(1)), || Ok(draft(1, "fine"))).await;
        assert_eq!(better.expect("an answer").body, "fine");
        assert!(answers.under_way.lock().expect("the map").len() <= 257);
    }

    #[test]
    fn a_tag_is_known_in_any_list() {
        let tag = HeaderValue::from_static("\"1-2\"");
        for (sent, known) in [
            (&["\"1-2\""][..], true),
            (&["W/\"1-2\""], true),
            (&["\"0\", \"1-2\""], true),
            (&["\"0\"", "\"1-2\""], true),
            (&["*"], true),
            (&["\"1-3\""], false),
            (&["1-2"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in sent {
                headers.append(header::IF_NONE_MATCH, HeaderValue::from_static(value));
            }
            assert_eq!(is_known(&headers, &tag), known, "{sent:?}");
        }
    }
}
