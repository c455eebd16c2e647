//! Against a local service that answers as datagrepper does, and misbehaves in every way that was seen or feared.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, Uri},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;

use super::*;
use crate::http::urlquery;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Flavour {
    Zero,
    One,
}

type Parameters = HashMap<String, String>;
/// What to do instead of answering, by the number of the request from 1 on.
type Script = Box<dyn Fn(u64, &Parameters, &mut Vec<(i64, String)>) -> Option<Response> + Send + Sync>;

/// A service and what it was asked.
struct Fake {
    flavour: Flavour,
    /// In the order of its rows; times are not sorted any more.
    rows: Mutex<Vec<(i64, String)>>,
    script: Script,
    asked: Mutex<Vec<Parameters>>,
}

impl Fake {
    fn new(rows: Vec<(i64, String)>) -> Self {
        let script: Script = Box::new(|_, _, _| None);
        Self { flavour: Flavour::Zero, rows: Mutex::new(rows), script, asked: Mutex::default() }
    }

    fn script(
        mut self,
        script: impl Fn(u64, &Parameters, &mut Vec<(i64, String)>) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        self.script = Box::new(script);
        self
    }

    /// Serves it; gives settings for tests, which wait for nobody.
    async fn start(self) -> (Arc<Self>, FetchSettings) {
        let fake = Arc::new(self);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let router = Router::new().route("/grep/raw", get(raw)).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (fake, local(&format!("http://{address}/grep")))
    }

    fn asked(&self) -> Vec<Parameters> {
        self.asked.lock().expect("whole").clone()
    }

    fn answer(&self, parameters: &Parameters) -> String {
        let number = |name: &str| parameters[name].parse::<f64>().expect("a number") as i64;
        let (start, end) = (number("start"), number("end"));
        let rows = self.rows.lock().expect("whole");
        let found: Vec<&str> =
            rows.iter().filter(|(time, _)| (start..=end).contains(time)).map(|(_, body)| body.as_str()).collect();
        let (page, size) = (number("page") as usize, number("rows_per_page") as usize);
        assert!(page >= 1 && (1..=100).contains(&size) && parameters["order"] == "asc", "{parameters:?}");
        let shown: Vec<&str> = found.iter().skip((page - 1) * size).take(size).copied().collect();
        let pages = found.len().div_ceil(size);
        let total = if self.flavour == Flavour::One && pages == 1 { shown.len() } else { found.len() };
        format!(
            "{{\"arguments\": {{\"start\": {start}.0, \"meta\": []}}, \"count\": {}, \"pages\": {pages}, \
             \"raw_messages\": [{}], \"total\": {total}}}\n",
            shown.len(),
            shown.join(", ")
        )
    }
}

async fn raw(State(fake): State<Arc<Fake>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let parameters = urlquery::parse(&query.unwrap_or_default()).expect("a query");
    let parameters: Parameters = parameters.into_iter().collect();
    assert_eq!(headers["accept"], "application/json");
    let number = {
        let mut asked = fake.asked.lock().expect("whole");
        asked.push(parameters.clone());
        asked.len() as u64
    };
    let scripted = (fake.script)(number, &parameters, &mut fake.rows.lock().expect("whole"));
    match scripted {
        // The type that it sends says nothing.
        None => ([("content-type", "text/html")], fake.answer(&parameters)).into_response(),
        // Asked for nothing: it never answers.
        Some(response) if response.status() == StatusCode::NO_CONTENT => std::future::pending().await,
        Some(response) => response,
    }
}

fn local(url: &str) -> FetchSettings {
    let ms = Duration::from_millis;
    FetchSettings {
        rate: 1_000_000,
        retry: RetryPolicy { first: ms(1), max: ms(2), attempts: 4 },
        ..FetchSettings::new(HistoryUrl::parse(url).expect("an address"))
    }
}

fn time(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// A message as datagrepper writes it.
fn message(flavour: Flavour, time: i64, number: usize) -> (i64, String) {
    let rest = match flavour {
        Flavour::Zero => {
            format!("\"i\": {number}, \"headers\": {{}}, \"source_name\": \"datanommer\", \"crypto\": \"x509\"")
        }
        Flavour::One => "\"i\": 0, \"headers\": {\"sent-at\": \"x\"}, \"users\": [\"a\"], \"crypto\": null".to_owned(),
    };
    let value = if number % 7 == 3 { "NaN".to_owned() } else { number.to_string() };
    let body = format!(
        "{{\"topic\": \"org.example.prod.t\", \"timestamp\": {time}.0, \"msg_id\": \"2026-{time}-{number}\", \
         \"msg\": {{\"n\": {value}}}, {rest}}}"
    );
    (time, body)
}

/// `count` messages, `every` seconds apart, from 1,700,000,000 on.
fn messages(flavour: Flavour, count: usize, every: f64) -> Vec<(i64, String)> {
    let start = 1_700_000_000.0;
    (0..count).map(|number| message(flavour, (start + number as f64 * every) as i64, number)).collect()
}

/// What fetching a span slice by slice has brought.
struct Fetch {
    bodies: Vec<String>,
    outcomes: Vec<SliceOutcome>,
}

async fn fetch(settings: FetchSettings, start: i64, end: i64) -> Result<Fetch, HistoryError> {
    let mut fetcher = Fetcher::new(settings);
    let (mut at, end) = (time(start), time(end));
    let (mut bodies, mut outcomes) = (Vec::new(), Vec::new());
    while at < end {
        let mut sink: Vec<Fetched> = Vec::new();
        let outcome = fetcher.fetch_slice(at, end, &mut sink).await?;
        assert!(outcome.until > at && outcome.until <= end, "{outcome:?}");
        let distinct: BTreeSet<&str> = sink.iter().map(|fetched| fetched.body.as_str()).collect();
        assert_eq!((sink.len(), sink.len() as u64), (distinct.len(), outcome.messages), "none twice");
        bodies.extend(sink.into_iter().map(|fetched| fetched.body));
        at = outcome.until;
        outcomes.push(outcome);
    }
    Ok(Fetch { bodies, outcomes })
}

impl Fetch {
    /// All of them came, byte by byte, and nothing else.
    fn is_exactly(&self, rows: &[(i64, String)]) {
        let found: BTreeSet<&str> = self.bodies.iter().map(String::as_str).collect();
        let expect: BTreeSet<&str> = rows.iter().map(|(_, body)| body.as_str()).collect();
        assert_eq!(found.len(), expect.len());
        assert!(found == expect);
    }

    fn is_complete(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.is_complete)
    }
}

const START: i64 = 1_700_000_000;

#[tokio::test]
async fn both_versions_are_read_page_by_page() {
    for flavour in [Flavour::Zero, Flavour::One] {
        for count in [0, 1, 99, 100, 101, 457] {
            let rows = messages(flavour, count, 5.0);
            let (fake, settings) = Fake { flavour, ..Fake::new(rows.clone()) }.start().await;
            let fetched = fetch(settings, START, START + 3600).await.expect("fetched");
            fetched.is_exactly(&rows);
            assert!(fetched.is_complete());
            assert_eq!(fake.asked().len(), count.div_ceil(100).max(1), "{flavour:?} {count}");
            assert_eq!((&*fake.asked()[0]["start"], &*fake.asked()[0]["end"]), ("1699999990.0", "1700003610.0"));
        }
    }
}

#[tokio::test]
async fn topic_and_time_are_told() {
    let rows = messages(Flavour::One, 1, 1.0);
    let (_fake, settings) = Fake::new(rows.clone()).start().await;
    let mut sink = Vec::new();
    let outcome = Fetcher::new(settings).fetch_slice(time(START), time(START + 60), &mut sink).await.expect("fetched");
    let expect = SliceOutcome { until: time(START + 60), messages: 1, unreadable: 0, requests: 1, is_complete: true };
    assert_eq!(outcome, expect);
    let topic = "org.example.prod.t".to_owned();
    assert_eq!(sink, [Fetched { topic, body: rows[0].1.clone(), time: Some(time(START)) }]);
}

#[tokio::test]
async fn rows_that_change_places_are_found_by_reading_again() {
    // Two hundred and fifty of one second: on the second page, the first row is the last one of the first page.
    let rows: Vec<_> = (0..250).map(|number| message(Flavour::Zero, START, number)).collect();
    let (fake, settings) = Fake::new(rows.clone())
        .script(|number, _, rows| {
            if matches!(number, 2 | 3) {
                rows.swap(99, 100);
            }
            None
        })
        .start()
        .await;
    let fetched = fetch(settings, START, START + 60).await.expect("fetched");
    fetched.is_exactly(&rows);
    assert!(fetched.is_complete());
    assert_eq!(fake.asked().len(), 6, "read twice");

    // It does so each time: what is missing stays missing, and that is said.
    let (fake, settings) = Fake::new(rows.clone())
        .script(|_, parameters, rows| {
            if parameters["page"] == "2" {
                rows[100] = rows[99].clone();
            }
            None
        })
        .start()
        .await;
    let fetched = fetch(settings, START, START + 60).await.expect("fetched");
    assert_eq!((fetched.bodies.len(), fetched.is_complete()), (249, false));
    assert_eq!(fake.asked().len(), 9, "read three times");
}

#[tokio::test]
async fn what_arrives_late_among_pages_is_found() {
    let rows = messages(Flavour::One, 250, 1.0);
    let late = message(Flavour::One, START, 1000);
    let expect: Vec<_> = rows.iter().cloned().chain([late.clone()]).collect();
    let (_fake, settings) = Fake::new(rows)
        .script(move |number, _, rows| {
            if number == 2 {
                rows.insert(5, late.clone());
            }
            None
        })
        .start()
        .await;
    let fetched = fetch(settings, START, START + 600).await.expect("fetched");
    fetched.is_exactly(&expect);
    assert!(fetched.is_complete());
}

#[tokio::test]
async fn dense_time_is_read_in_shorter_slices() {
    let rows = messages(Flavour::Zero, 9000, 0.4);
    let (fake, settings) = Fake::new(rows.clone()).start().await;
    let fetched = fetch(settings, START, START + 3600).await.expect("fetched");
    fetched.is_exactly(&rows);
    assert!(fetched.is_complete() && fetched.outcomes.len() >= 2, "{:?}", fetched.outcomes);
    let deepest = fake.asked().iter().map(|asked| asked["page"].parse::<u64>().expect("a number")).max();
    assert!(deepest.is_some_and(|page| page <= PAGES_MAX), "{deepest:?}");
}

#[tokio::test]
async fn a_second_full_of_messages_is_read_to_its_end() {
    let rows: Vec<_> = (0..6050).map(|number| message(Flavour::One, START + 7, number)).collect();
    let (_fake, settings) = Fake { flavour: Flavour::One, ..Fake::new(rows.clone()) }.start().await;
    let fetched = fetch(settings, START, START + 15).await.expect("fetched");
    fetched.is_exactly(&rows);
    assert!(fetched.is_complete());
}

#[tokio::test]
async fn an_empty_year_takes_few_requests() {
    let (fake, settings) = Fake::new(Vec::new()).start().await;
    let fetched = fetch(settings, START, START + 366 * 86_400).await.expect("fetched");
    assert!(fetched.bodies.is_empty() && fetched.is_complete());
    assert!(fake.asked().len() <= 20, "{} requests", fake.asked().len());
}

fn status(status: u16, body: &'static str) -> Option<Response> {
    Some((StatusCode::from_u16(status).expect("a status"), body).into_response())
}

/// It says that it is longer than it is.
fn cut_off() -> Option<Response> {
    let body = Body::new(CutOff(Some("{\"raw_messages\": [".into())));
    Some(Response::new(body))
}

/// A body that breaks off.
struct CutOff(Option<hyper::body::Bytes>);

impl hyper::body::Body for CutOff {
    type Data = hyper::body::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        let next = self.0.take().map(hyper::body::Frame::data);
        std::task::Poll::Ready(Some(next.ok_or_else(|| std::io::Error::other("the disk is gone"))))
    }
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let rows = messages(Flavour::Zero, 150, 1.0);
    let (fake, settings) = Fake::new(rows.clone())
        .script(|number, _, _| match number {
            1 => status(503, "come back later"),
            2 => Some((StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")]).into_response()),
            3 => status(200, "<html>a proxy's page</html>"),
            5 => status(500, "{\"error\": \"database\", \"arguments\": {}}"),
            6 => status(200, "{\"raw_messages\": [{\"topic\": \"a\"}, {\"topi"),
            7 => cut_off(),
            _ => None,
        })
        .start()
        .await;
    let fetched = fetch(settings, START, START + 600).await.expect("fetched");
    fetched.is_exactly(&rows);
    assert_eq!((fake.asked().len(), fetched.outcomes[0].requests), (8, 8));
}

#[tokio::test]
async fn a_refusal_is_final_and_told_in_full() {
    for refused in [400, 403, 404] {
        let (fake, settings) =
            Fake::new(Vec::new()).script(move |_, _, _| status(refused, "<h1>No\n  such\tthing</h1>")).start().await;
        let Err(error) = fetch(settings, START, START + 60).await else { panic!("not refused") };
        assert!(error.is_final() && fake.asked().len() == 1, "{error}");
        let text = error.to_string();
        for words in ["/grep/raw?start=1699999990.0&end=1700000070.0", &refused.to_string(), "<h1>No such thing</h1>"] {
            assert!(text.contains(words), "no {words} in {text}");
        }
    }
}

#[tokio::test]
async fn a_service_that_stays_broken_is_given_up_for_now() {
    let (fake, settings) = Fake::new(Vec::new()).script(|_, _, _| status(500, "boom")).start().await;
    let Err(error) = fetch(settings, START, START + 86_400).await else { panic!("no error") };
    assert!(!error.is_final(), "{error}");
    assert!(error.to_string().contains("after 4 attempts") && error.to_string().contains("boom"), "{error}");
    // An hour, halved down to twenty seconds with two attempts each.
    assert_eq!(fake.asked().len(), 20);

    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
    let Err(error) = fetch(local(&format!("http://{free}")), START, START + 60).await else {
        panic!("nobody is there")
    };
    assert!(!error.is_final() && error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_long_wait_that_is_asked_for_is_the_callers() {
    let (fake, settings) = Fake::new(Vec::new())
        .script(|_, _, _| Some((StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1000")]).into_response()))
        .start()
        .await;
    match fetch(settings, START, START + 60).await {
        Err(HistoryError::Unavailable { retry_after, attempts: 1, .. }) => {
            assert_eq!(retry_after, Some(Duration::from_secs(1000)));
        }
        other => panic!("{:?}", other.map(|fetched| fetched.outcomes)),
    }
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_answered_in_time_is_asked_in_parts() {
    let rows = messages(Flavour::Zero, 60, 60.0);
    let (_fake, settings) = Fake::new(rows.clone())
        .script(|_, parameters, _| {
            let number = |name: &str| parameters[name].parse::<f64>().expect("a number");
            let is_long = number("end") - number("start") > 1000.0;
            is_long.then(|| StatusCode::NO_CONTENT.into_response())
        })
        .start()
        .await;
    let settings = FetchSettings { timeout: Duration::from_millis(250), ..settings };
    // It grows again, and fails again; four slices are enough to see.
    let fetched = fetch(settings, START, START + 3600).await.expect("fetched");
    fetched.is_exactly(&rows);
    assert!(fetched.outcomes.len() >= 4, "{:?}", fetched.outcomes);
}

#[tokio::test]
async fn answers_that_are_too_long_are_asked_for_in_fewer_rows() {
    let rows = messages(Flavour::Zero, 150, 1.0);
    let (fake, settings) = Fake::new(rows.clone()).start().await;
    let short = FetchSettings { answer_bytes_max: 10_000, ..settings.clone() };
    let fetched = fetch(short, START, START + 600).await.expect("fetched");
    fetched.is_exactly(&rows);
    assert_eq!(fake.asked().last().map(|asked| asked["rows_per_page"].clone()).as_deref(), Some("25"));

    let shorter = FetchSettings { answer_bytes_max: 200, ..settings };
    let Err(error) = fetch(shorter, START, START + 600).await else { panic!("no error") };
    assert!(matches!(error, HistoryError::TooLarge { bytes_max: 200, .. }) && error.is_final(), "{error}");
    assert!(error.to_string().contains("rows_per_page=1&"), "{error}");
}

#[tokio::test]
async fn redirects_are_followed_a_few_times() {
    let (fake, settings) = Fake::new(messages(Flavour::Zero, 3, 1.0)).start().await;
    let to = settings.url.clone();
    let lead = move |uri: Uri| async move {
        let query = uri.query().expect("some");
        (StatusCode::MOVED_PERMANENTLY, [("location", format!("{to}/raw?{query}"))])
    };
    let around = |uri: Uri| async move { (StatusCode::FOUND, [("location", uri.to_string())]) };
    let router = Router::new().route("/old/raw", get(lead)).route("/around/raw", get(around));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, router).await });

    let fetched = fetch(local(&format!("http://{address}/old")), START, START + 60).await;
    assert_eq!((fetched.expect("fetched").bodies.len(), fake.asked().len()), (3, 1));
    let around = local(&format!("http://{address}/around"));
    let Err(error) = fetch(around, START, START + 60).await else { panic!("no error") };
    assert!(error.is_final() && error.to_string().contains("after 3 others"), "{error}");
}

#[tokio::test]
async fn a_service_that_counts_without_end_is_not_believed() {
    let body = "{\"pages\": 1e9, \"total\": 1e11, \"raw_messages\": []}";
    let (_fake, settings) = Fake::new(Vec::new()).script(move |_, _, _| status(200, body)).start().await;
    let Err(error) = fetch(settings, START, START + 3600).await else { panic!("no error") };
    assert!(matches!(error, HistoryError::TooMany { pages: 1_000_000_000, .. }), "{error}");
}

#[tokio::test]
async fn fetching_ends_when_nobody_takes_the_messages() {
    let (fake, settings) = Fake::new(messages(Flavour::Zero, 350, 1.0)).start().await;
    let (mut sink, mut pages) = tokio::sync::mpsc::channel(1);
    let task = tokio::spawn(async move {
        let mut fetcher = Fetcher::new(settings);
        fetcher.fetch_slice(time(START), time(START + 600), &mut sink).await
    });
    assert_eq!(pages.recv().await.map(|page| page.len()), Some(100));
    drop(pages);
    assert!(matches!(task.await.expect("no panic"), Err(HistoryError::Stopped)));
    assert!(fake.asked().len() < 4);
}
