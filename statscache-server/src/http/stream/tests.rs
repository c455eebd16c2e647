use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    routing::get,
};
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

use super::{
    super::connections::LimitedListener,
    body::{EventStream, Feed},
    event::Frames,
    followed::Followed,
    hub::{Latest, Newest, Room},
    question::Question,
};

/// For what should happen at once, on a busy machine.
const SOON: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(3600);

type Sender = watch::Sender<Option<Latest>>;

fn latest(fingerprint: u64, json: &str) -> Option<Latest> {
    Some(Latest { json: Bytes::copy_from_slice(json.as_bytes()), fingerprint, problem: None })
}

fn text(frames: Option<Frames>) -> String {
    let bytes: Vec<u8> = frames.into_iter().flatten().flatten().collect();
    String::from_utf8(bytes).expect("text")
}

/// What comes next; nothing if nothing does without somebody doing something.
async fn next(answers: &mut Followed) -> Option<String> {
    tokio::select! {
        biased;
        frames = answers.next() => Some(text(frames)),
        () = tokio::task::yield_now() => None,
    }
}

#[test]
fn a_question_is_the_path_of_a_metric() {
    for (read, question) in [
        ("/plugins/volume/messages", ("volume", "messages", None)),
        ("/plugins/a+b/c%20d?", ("a+b", "c d", Some(""))),
        ("/plugins/a/b?step=1m&start=now-1h?", ("a", "b", Some("step=1m&start=now-1h?"))),
    ] {
        let (id, metric, query) = question;
        let path = format!("{}/stream", read.split('?').next().unwrap_or_default());
        let question = Question::of_stream(&path, (id.to_owned(), metric.to_owned()), query);
        assert_eq!(Question::read(read).expect(read), question, "{read}");
    }
    for wrong in ["", "/", "/plugins", "/plugins/a", "/plugins//b", "/plugins/a/", "/plugins/a/b/stream", "/bus/a/b"] {
        let problem = Question::read(wrong).expect_err(wrong).to_json();
        assert!(String::from_utf8_lossy(&problem).contains(r#""parameter":"q""#), "{wrong}");
    }
    for wrong in
        ["plugins/a/b", "http://x/plugins/a/b", "/plugins/%ff/b", "/plugins/a/b?%zz=1", "/plugins/a/b?format=csv"]
    {
        assert!(Question::read(wrong).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn an_answer_is_sent_when_it_is_another() {
    let (sender, receiver) = watch::channel(None);
    let mut answers = Followed::one(receiver, None);
    assert_eq!(next(&mut answers).await, None, "there is none yet");
    sender.send_replace(latest(1, "{}"));
    assert_eq!(next(&mut answers).await.as_deref(), Some("event: answer\nid: 0000000000000001\ndata: {}\n\n"));
    sender.send_replace(latest(1, "{\"as_of\":2}"));
    assert_eq!(next(&mut answers).await, None, "it says the same");
    sender.send_replace(latest(2, "[2]"));
    sender.send_replace(latest(3, "[3]"));
    assert_eq!(next(&mut answers).await.as_deref(), Some("event: answer\nid: 0000000000000003\ndata: [3]\n\n"));
    assert_eq!(next(&mut answers).await, None, "what was between is missed");
    drop(sender);
    assert_eq!(next(&mut answers).await.as_deref(), Some(""), "that was the end");
}

#[tokio::test]
async fn who_comes_back_gets_what_it_has_not() {
    for (id, is_sent) in [(None, true), (Some("00000000000000ff"), false), (Some("ff"), false), (Some("fe"), true)] {
        let (_sender, receiver) = watch::channel(latest(255, "{}"));
        assert_eq!(next(&mut Followed::one(receiver, id)).await.is_some(), is_sent, "{id:?}");
    }
    for (id, sent) in [
        (None, "abc"),
        (Some("1-2-3"), ""),
        (Some("1--3"), "b"),
        (Some("-2"), "ac"),
        (Some("2-1-x"), "abc"),
        (Some(""), "abc"),
    ] {
        let (senders, mut answers) = named(id);
        let mut got = String::new();
        while let Some(event) = next(&mut answers).await {
            got.extend(["a", "b", "c"].into_iter().filter(|name| event.contains(&format!("{{\"q\":\"{name}\""))));
        }
        assert_eq!(got, sent, "{id:?}");
        drop(senders);
    }
}

/// Three questions, their answers 1, 2 and 3.
fn named(last_event_id: Option<&str>) -> (Vec<Sender>, Followed) {
    let all = (1..).zip(["a", "b", "c"]).map(|(fingerprint, name)| {
        let (sender, receiver) = watch::channel(latest(fingerprint, "{}"));
        (sender, (name.to_owned(), receiver))
    });
    let (senders, receivers): (Vec<Sender>, Vec<(String, Newest)>) = all.unzip();
    (senders, Followed::named(receivers, last_event_id))
}

#[tokio::test]
async fn several_take_turns() {
    let (senders, mut answers) = named(None);
    let mut got = Vec::new();
    for fingerprint in 10..16 {
        // The first of them always has something new.
        senders[0].send_replace(latest(fingerprint, "[1]"));
        got.push(next(&mut answers).await.expect("there is something"));
    }
    let names: Vec<&str> = got.iter().filter_map(|event| event.split("\"q\":").nth(1)?.get(1..2)).collect();
    assert_eq!(names, ["a", "b", "c", "a", "a", "a"]);
    assert_eq!(got[1], "event: answer\nid: 000000000000000a-0000000000000002-\ndata: {\"q\":\"b\",\"answer\":{}}\n\n");
    assert!(got[5].contains("id: 000000000000000f-0000000000000002-0000000000000003\n"), "{}", got[5]);
}

#[test]
fn answers_have_room_together() {
    let all = AtomicUsize::new(0);
    let (mut one, mut other) = (Room::new(&all), Room::new(&all));
    let long = "x".repeat(40 << 20);
    let fits = |room: &mut Room<'_>, json: &str| room.take(latest(1, json).expect("one")).problem.is_none();
    assert!(fits(&mut one, &long) && fits(&mut one, &long), "the second is in the place of the first");
    assert!(!fits(&mut other, &long));
    assert!(fits(&mut other, "{}"));
    drop(one);
    assert!(fits(&mut other, &long));
    drop(other);
    assert_eq!(all.into_inner(), 0);
}

fn permit() -> (Arc<Semaphore>, OwnedSemaphorePermit) {
    let permits = Arc::new(Semaphore::new(1));
    let permit = permits.clone().try_acquire_owned().expect("there is one");
    (permits, permit)
}

#[tokio::test]
async fn a_stream_lives_and_ends() {
    let (_sender, receiver) = watch::channel(latest(1, "{}"));
    let (stop, stopping) = watch::channel(false);
    let (permits, permit) = permit();
    let feed = Feed::Answers(Followed::one(receiver, None));
    let mut body = Body::new(EventStream::with(feed, stopping, permit, Duration::from_millis(1)));
    let mut frames = Vec::new();
    for _ in 0..6 {
        let frame = tokio::time::timeout(SOON, body.frame()).await.expect("soon").expect("more").expect("a frame");
        frames.push(frame.into_data().expect("data"));
    }
    assert_eq!(frames[0], "retry: 3000\n\n");
    assert_eq!(frames[1..4].concat(), b"event: answer\nid: 0000000000000001\ndata: {}\n\n");
    assert_eq!(frames[4..], [":\n\n", ":\n\n"], "a sign of life");
    assert_eq!(permits.available_permits(), 0);
    stop.send_replace(true);
    assert!(body.frame().await.is_none(), "the end");
    assert!(body.frame().await.is_none(), "it stays the end");
    assert_eq!(permits.available_permits(), 1, "there is room for another");
}

/// Reads until this is there.
async fn read_until(client: &mut TcpStream, end: &str) {
    let (mut text, mut buffer) = (Vec::new(), [0; 65_536]);
    while !text.windows(end.len()).any(|window| window == end.as_bytes()) {
        let len = tokio::time::timeout(SOON, client.read(&mut buffer)).await.expect("soon").expect("it is read");
        assert!(len > 0, "the stream ends before {end:?}");
        text.extend_from_slice(&buffer[..len]);
    }
}

#[tokio::test]
async fn one_that_reads_nothing_is_left_and_holds_up_nobody() {
    let (sender, receiver) = watch::channel(None);
    let (_stop, stopping) = watch::channel(false);
    let permits = Arc::new(Semaphore::new(2));
    let readers = permits.clone();
    let open = get(move || async move {
        let permit = readers.try_acquire_owned().expect("two at a time");
        let feed = Feed::Answers(Followed::one(receiver.clone(), None));
        Body::new(EventStream::with(feed, stopping.clone(), permit, LONG))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let listener = LimitedListener::new(listener, 2, Duration::from_secs(2));
    let server = tokio::spawn(axum::serve(listener, Router::new().route("/", open)).into_future());
    let connect = async || {
        let mut client = TcpStream::connect(address).await.expect("connected");
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
        read_until(&mut client, "retry").await;
        client
    };
    let (silent, mut reading) = (connect().await, connect().await);
    // More than the system takes for one that does not read.
    let json = format!("\"{}\"", "x".repeat(1 << 20));
    for fingerprint in 1..30 {
        sender.send_replace(latest(fingerprint, &json));
        read_until(&mut reading, &format!("id: {fingerprint:016x}\n")).await;
    }
    // The other goes on: it is not the one that is left.
    let goes_on = async {
        let mut fingerprint = 30;
        let mut is_over = false;
        while !is_over {
            is_over = permits.available_permits() > 0;
            sender.send_replace(latest(fingerprint, "{}"));
            read_until(&mut reading, &format!("id: {fingerprint:016x}\n")).await;
            fingerprint += 1;
        }
    };
    tokio::time::timeout(SOON, goes_on).await.expect("it is left");
    drop(silent);
    server.abort();
}
