//! The service over files and journals, asked over HTTP; and by our own client.

use std::{fs::OpenOptions, io::Write as _, net::SocketAddr};

use axum::http::{HeaderMap, Uri};
use proptest::prelude::*;
use serde_json::Value;
use statscache_core::journal::{Journal, JournalConfig, Record};
use statscache_plugin_sdk::Timestamp;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;
use crate::{
    clock::ManualClock,
    history::{FetchSettings, Fetched, Fetcher, HistoryUrl, HttpClient, RetryPolicy},
};

const NOW: i64 = 1_700_000_000;

async fn start(service: HistoryService) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let router = router(Arc::new(service));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_secs(NOW)))
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let uri: Uri = format!("http://{address}{path}").parse().expect("a URI");
    let client = HttpClient::new(std::time::Duration::from_secs(30), 1 << 30);
    let reply = client.get(&uri, &HeaderMap::new()).await.expect("an answer");
    (reply.status.as_u16(), String::from_utf8(reply.body.to_vec()).expect("UTF-8"))
}

async fn json(address: SocketAddr, path: &str) -> Value {
    let (status, body) = get(address, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
}

/// `n` of each message on a page.
async fn numbers(address: SocketAddr, path: &str) -> Vec<i64> {
    let answer = json(address, path).await;
    let messages = answer["raw_messages"].as_array().expect("a list");
    assert_eq!(answer["count"], messages.len());
    messages.iter().map(|message| message["msg"]["n"].as_i64().expect("a number")).collect()
}

fn line(number: usize, time: i64, topic: &str) -> String {
    format!(
        "{{\"topic\":\"{topic}\",  \"msg\":{{\"n\":{number},\"e\":1.50}},\"timestamp\":{time},\"msg_id\":\"2023-{number}\"}}"
    )
}

struct Lines {
    dir: TempDir,
}

impl Lines {
    fn new(text: &str) -> Self {
        let lines = Self { dir: tempfile::tempdir().expect("a folder") };
        lines.append(text);
        lines
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("messages.jsonl")
    }

    fn append(&self, text: &str) {
        let file = OpenOptions::new().create(true).append(true).open(self.path());
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("written");
    }

    fn service(&self) -> HistoryService {
        HistoryService::of_lines(&self.path(), clock()).expect("opened")
    }
}

/// Ten messages, a minute apart, the last now; the even ones are of git.
fn ten() -> String {
    let topic = |number| if number % 2 == 0 { "org.example.prod.git.push" } else { "org.example.prod.wiki.edit" };
    (0..10).map(|number| line(number, NOW - 60 * (9 - number as i64), topic(number)) + "\n").collect()
}

#[tokio::test]
async fn the_answer_is_that_of_datagrepper() {
    let lines = Lines::new(&ten());
    let address = start(lines.service()).await;
    let (status, body) = get(address, "/raw?delta=120&rows_per_page=2&order=asc&category=git").await;
    let expect = format!(
        "\"count\": 1, \"pages\": 1, \"raw_messages\": [{}], \"total\": 1}}\n",
        line(8, NOW - 60, "org.example.prod.git.push")
    );
    assert!(status == 200 && body.ends_with(&expect), "{body}");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(answer["arguments"]["start"], (NOW - 120) as f64);
    assert_eq!(answer["arguments"]["end"], NOW as f64);
    assert_eq!(answer["arguments"]["categories"][0], "git");

    for (path, expect) in [
        ("/raw", vec![9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        ("/raw/?order=asc&rows_per_page=3&page=2", vec![3, 4, 5]),
        ("/raw?rows_per_page=3&page=2", vec![6, 5, 4]),
        ("/raw?rows_per_page=3&page=9", vec![]),
        ("/raw?delta=60", vec![9, 8]),
        ("/raw?start=1699999580&end=1699999700.0", vec![4, 3, 2]),
        ("/raw?end=1700000000", vec![9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        ("/raw?end=1699999999&delta=1", vec![]),
        ("/raw?topic=org.example.prod.wiki.edit&order=asc", vec![1, 3, 5, 7, 9]),
        ("/raw?not_category=wiki&order=asc&start=1699999700", vec![4, 6, 8]),
        ("/raw?contains=%22n%22:7&category=wiki&start=0", vec![7]),
        ("/raw?contains=%22n%22:7&contains=%3A9,&category=wiki&start=0", vec![9, 7]),
        ("/raw?contains=topic&category=wiki&start=0", vec![]),
    ] {
        assert_eq!(numbers(address, path).await, expect, "{path}");
    }
    let page = json(address, "/raw?rows_per_page=3").await;
    assert_eq!((&page["pages"], &page["total"]), (&4.into(), &10.into()));
    assert_eq!(get(address, "/id?id=2023-3").await, (200, line(3, NOW - 360, "org.example.prod.wiki.edit")));
    assert_eq!(json(address, "/messagecount").await["messagecount"], 10);
    for (path, status, words) in [
        ("/id?id=2023-33", 404, "no message with the id `2023-33`"),
        ("/id", 400, "/id?id="),
        ("/raw?user=alice", 400, "filter by topic or category"),
        ("/raw?start=%ff", 400, "UTF-8"),
    ] {
        let (found, body) = get(address, path).await;
        assert!(found == status && body.contains(words), "{path}: {found} {body}");
    }
}

#[tokio::test]
async fn a_file_that_grows_is_read_on() {
    let lines = Lines::new(&format!("\n{}\r\n  {}", line(1, NOW, "a"), line(2, NOW, "a")));
    let address = start(lines.service()).await;
    assert_eq!(numbers(address, "/raw?order=asc&start=0").await.len(), 2, "the last line needs no end");
    // The same again, one without a time, one that Python wrote, half a line, and what is no message.
    lines.append(&format!("\n{}\n{}\n", line(2, NOW, "a"), r#"{"topic":"b","msg":{"n":NaN}}"#));
    lines.append("[]\n{\"topic\": \"c\", \"msg\"");
    let (_, body) = get(address, "/raw?topic=b").await;
    assert!(body.contains(r#""raw_messages": [{"topic":"b","msg":{"n":NaN}}], "total": 1}"#), "{body}");
    assert_eq!(json(address, "/messagecount").await["messagecount"], 3);
    lines.append(": {\"n\": 7}}\n");
    assert_eq!(numbers(address, "/raw?topic=c&start=0").await, [7]);
    // Another file in its place, a longer one.
    let other = lines.dir.path().join("other");
    std::fs::write(&other, line(5, NOW, "a") + &"\n".repeat(2000))
        .and_then(|()| std::fs::rename(&other, lines.path()))
        .expect("renamed");
    assert_eq!(numbers(address, "/raw?start=0").await, [5]);
}

#[test]
fn a_file_with_something_else_in_it_is_refused() {
    let lines = Lines::new(&format!("{}\n{{\"msg\": 5}}\n", line(1, NOW, "a")));
    let error = lines.service().refresh().expect_err("refused").to_string();
    assert!(error.contains("messages.jsonl:2: it is no JSON object with a text as `topic`"), "{error}");
    let missing =
        HistoryService::of_lines(&lines.dir.path().join("none"), clock()).err().map(|error| error.to_string());
    assert!(missing.is_some_and(|error| error.contains("none")));
}

fn push(journal: &mut Journal, number: usize, time: i64, topic: &str, body: &str) {
    journal.push(&Record {
        received: time * 1_000_000 + 5,
        time: time * 1_000_000,
        identity: number as u128,
        topic: topic.as_bytes(),
        body: body.as_bytes(),
        ..Record::default()
    });
    journal.write().expect("written");
}

#[tokio::test]
async fn a_journal_is_read_while_it_is_written_and_cut() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = JournalConfig { segment_bytes: 2000, retain_bytes: 4000, retain_micros: i64::MAX };
    let (mut journal, _) = Journal::open_path(dir.path(), config).expect("opened");
    for number in 1..=3 {
        push(&mut journal, number, NOW - number as i64, "a.b", &line(number, NOW, "a.b"));
    }
    // An answer cannot tell these.
    push(&mut journal, 4, NOW, "a.b", "{\"msg\":{}}");
    push(&mut journal, 5, NOW, "a.b", "5");
    push(&mut journal, 6, NOW, "a.b", &line(6, NOW, "a.c"));
    let other = HistoryService::of_journal_dir(dir.path(), clock()).expect("opened");
    let addresses = [start(HistoryService::of_journal(journal.handle(), clock())).await, start(other).await];
    for address in addresses {
        // By the time under which the journal keeps them.
        assert_eq!(numbers(address, "/raw?order=asc").await, [3, 2, 1]);
        assert_eq!(get(address, "/id?id=2023-2").await, (200, line(2, NOW, "a.b")));
    }
    for number in 10..60 {
        push(&mut journal, number, NOW + number as i64, "a.b", &line(number, NOW, "a.b"));
    }
    for address in addresses {
        assert_eq!(numbers(address, "/raw?rows_per_page=3").await, [59, 58, 57]);
        assert_eq!(json(address, "/messagecount").await["messagecount"], 53);
        assert_eq!(numbers(address, "/raw?order=asc&rows_per_page=100").await[..5], [3, 2, 1, 10, 11]);
    }
    let dropped = journal.retain(0, u64::MAX).expect("dropped");
    let first = dropped.last().map(|dropped| dropped.last + 1).expect("something was dropped");
    for address in addresses {
        let left = numbers(address, "/raw?order=asc&rows_per_page=100").await;
        assert_eq!(left.len() as u64, journal.next_sequence() - first);
        assert_eq!(left.last(), Some(&59));
    }
}

/// All that the client gets of `[start, end)` and the second before and after.
async fn fetch(address: SocketAddr, (start, end): (i64, i64)) -> Vec<Fetched> {
    let settings = FetchSettings {
        overlap: std::time::Duration::from_secs(1),
        rate: 1_000_000,
        retry: RetryPolicy { attempts: 1, ..RetryPolicy::default() },
        ..FetchSettings::new(HistoryUrl::parse(&format!("http://{address}/raw")).expect("an address"))
    };
    let mut fetcher = Fetcher::new(settings);
    let (mut at, end) = (Timestamp::from_secs(start), Timestamp::from_secs(end));
    let mut all = Vec::new();
    while at < end {
        let outcome = fetcher.fetch_slice(at, end, &mut all).await.expect("fetched");
        assert!(outcome.is_complete);
        at = outcome.until;
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the messages: the client gets each that lies in the span, as it is, and none that does not.
    #[test]
    fn client_and_service_agree(
        times in prop::collection::vec(prop_oneof![0_i64..40, 0_i64..20_000], 0..700),
        start in 0_i64..5_000,
        length in 1_i64..20_000,
    ) {
        let texts: Vec<String> = times.iter().enumerate().map(|(number, time)| line(number, NOW + time, "a.b")).collect();
        let lines = Lines::new(&texts.join("\n"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let fetched = runtime.block_on(async {
            fetch(super::tests::start(lines.service()).await, (NOW + start, NOW + start + length)).await
        });
        let span = start - 1..=start + length + 1;
        let mut expect: Vec<&str> =
            times.iter().zip(&texts).filter(|(time, _)| span.contains(time)).map(|(_, text)| text.as_str()).collect();
        let mut found: Vec<&str> = fetched.iter().map(|fetched| fetched.body.as_str()).collect();
        expect.sort_unstable();
        found.sort_unstable();
        // Slices overlap, so some come again.
        found.dedup();
        prop_assert_eq!(found, expect);
    }
}
