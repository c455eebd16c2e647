//! Against a daemon that is played.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::history::progress::BackfillRange;

/// A daemon that answers with one status after the other, then with the last again.
struct Fake {
    statuses: Vec<BackfillStatus>,
    asked: AtomicUsize,
    ordered: Mutex<Vec<(String, Value)>>,
}

async fn start(statuses: Vec<BackfillStatus>) -> (Arc<Fake>, String) {
    let fake = Arc::new(Fake { statuses, asked: AtomicUsize::new(0), ordered: Mutex::default() });
    let router = Router::new().route(PATH, get(status).post(order)).with_state(fake.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (fake, url)
}

async fn order(State(fake): State<Arc<Fake>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let token = headers.get("authorization").map_or("", |value| value.to_str().expect("text")).to_owned();
    if token != "Bearer secret" {
        let detail = "the token is missing or wrong";
        return (StatusCode::UNAUTHORIZED, Json(json!({"detail": detail}))).into_response();
    }
    fake.ordered.lock().expect("whole").push((token, body));
    StatusCode::ACCEPTED.into_response()
}

async fn status(State(fake): State<Arc<Fake>>) -> Response {
    let number = fake.asked.fetch_add(1, Ordering::Relaxed);
    Json(fake.statuses[number.min(fake.statuses.len() - 1)].clone()).into_response()
}

fn range(from: &str, to: &str, done_until: &str, messages: u64, error: Option<&str>) -> BackfillRange {
    let day = |text: &str| format!("2026-01-{text}T00:00:00Z");
    BackfillRange {
        from: day(from),
        to: day(to),
        done_until: day(done_until),
        messages,
        duplicates: messages / 10,
        audience: "everyone".to_owned(),
        error: error.map(str::to_owned),
    }
}

fn args(url: &str, dir: &std::path::Path, token: &str) -> Args {
    let file = dir.join(token.trim());
    std::fs::write(&file, token).expect("written");
    let (from, to) = ("2026-01-01".to_owned(), "2026-01-03T00:00".to_owned());
    Args { from, to, url: url.to_owned(), token_file: Some(file), no_wait: false }
}

#[tokio::test]
async fn a_span_is_ordered_and_followed_to_its_end() {
    use BackfillState::{Idle, Running, Waiting};
    let other = range("05", "06", "05", 7, None);
    let of = |state, range: BackfillRange| BackfillStatus { state, ranges: vec![range, other.clone()] };
    let (fake, url) = start(vec![
        of(Running, range("01", "03", "01", 0, None)),
        of(Waiting, range("01", "03", "02", 50, Some("no answer"))),
        of(Running, range("01", "03", "03", 100, None)),
    ])
    .await;
    let dir = tempfile::tempdir().expect("a folder");
    run(&args(&url, dir.path(), " secret\n")).await.expect("filled");
    let expect = json!({"from": "2026-01-01T00:00:00Z", "to": "2026-01-03T00:00:00Z"});
    assert_eq!(*fake.ordered.lock().expect("whole"), [("Bearer secret".to_owned(), expect)]);
    assert_eq!(fake.asked.load(Ordering::Relaxed), 3, "that of others is not waited for");

    run(&Args { no_wait: true, ..args(&url, dir.path(), "secret") }).await.expect("ordered");
    assert_eq!(fake.asked.load(Ordering::Relaxed), 3);

    let (_fake, url) = start(vec![of(Idle, range("01", "03", "02", 50, Some("status 404")))]).await;
    let error = run(&args(&url, dir.path(), "secret")).await.expect_err("given up").to_string();
    assert_eq!(error, "the daemon has given up: status 404");
}

#[tokio::test]
async fn what_is_wrong_is_told() {
    let (fake, url) = start(Vec::new()).await;
    let dir = tempfile::tempdir().expect("a folder");
    let good = args(&url, dir.path(), "secret");
    let with = |change: fn(&mut Args)| {
        let mut args = args(&good.url, dir.path(), "secret");
        change(&mut args);
        args
    };
    for (args, words) in [
        (args(&url, dir.path(), "wrong"), "401 Unauthorized: the token is missing or wrong; give the daemon's token"),
        (with(|args| args.url.push_str("x/")), "404 Not Found; is it a statscache daemon? see --url"),
        (with(|args| args.url = "localhost:8888".to_owned()), "is no URL of a daemon"),
        (with(|args| args.from = "soon".to_owned()), "--from soon is no time; allowed: RFC 3339"),
        (with(|args| args.to.clone_from(&args.from)), "is not before --to 2026-01-01"),
        (with(|args| args.token_file = Some("/nonexistent/token".into())), "token file /nonexistent/token"),
        (with(|args| args.url = "http://127.0.0.1:1".to_owned()), "is the daemon running? see --url"),
    ] {
        let error = run(&args).await.expect_err(words);
        assert!(format!("{error:#}").contains(words), "{error:#}");
    }
    assert!(fake.ordered.lock().expect("whole").is_empty());
}

#[test]
fn the_bar_shows_how_far_it_is() {
    let span = (Timestamp::from_secs(1_767_225_600), Timestamp::from_secs(1_767_225_600 + 4 * 86_400));
    let ranges = [
        range("01", "02", "02", 100, None),
        range("02", "04", "03", 30, Some("no answer")),
        range("05", "09", "05", 5, None),
    ];
    let progress = Progress::of(&ranges, span);
    assert_eq!((progress.ranges, progress.is_done()), (2, false));
    assert_eq!(progress.line(BackfillState::Running), " 66 %, at 2026-01-03T00:00:00Z, 130 messages, 13 known");
    assert_eq!(
        progress.bar(BackfillState::Waiting),
        "[###################-----------]  66 %, at 2026-01-03T00:00:00Z, 130 messages, 13 known; waiting: no answer"
    );
    let progress = Progress::of(&ranges[..1], span);
    assert_eq!(
        (progress.line(BackfillState::Idle), progress.is_done()),
        ("100 %, 100 messages, 10 known".to_owned(), true)
    );
    assert!(!Progress::of(&[], span).is_done());
}
