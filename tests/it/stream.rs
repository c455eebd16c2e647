//! Server-sent events: the present answer at once, the next when it says something else, and an end in order.

mod reader;

use std::{fs, thread};

use hyper::Method;
use serde_json::{Value, json};

use crate::{
    http::assert_problem,
    support::{DaemonSetup, Message, SOON, TestDaemon, TestPublisher, look},
};
use reader::{Event, EventReader};

const LATEST: &str = "/plugins/volume/latest_by_topic";
const TOKEN: (&str, &str) = ("authorization", "Bearer open sesame");

fn message(topic: &str) -> Message {
    Message::new(&format!("org.fedoraproject.prod.{topic}"))
}

/// Latest messages of these topics: nothing of it moves with the time.
fn latest(topics: &str) -> String {
    format!("{LATEST}?where.topic=org.fedoraproject.prod.{topics}&order=topic")
}

fn stream_of(question: &str) -> String {
    match question.split_once('?') {
        Some((path, query)) => format!("{path}/stream?{query}"),
        None => format!("{question}/stream"),
    }
}

/// Percent-encoded, all of it.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn several(questions: &[&str]) -> String {
    let questions: Vec<String> = questions.iter().map(|question| format!("q={}", encoded(question))).collect();
    format!("/stream?{}", questions.join("&"))
}

fn topics(answer: &Value) -> Vec<&str> {
    answer["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row["topic"].as_str()?.rsplit('.').next())
        .collect()
}

/// What an answer says, whenever it does.
fn content(answer: &Value) -> Value {
    let mut content = answer.clone();
    for moving in ["as_of", "watermark", "start", "end"] {
        content.as_object_mut().expect("an answer").remove(moving);
    }
    content
}

/// Reads until an answer shows these topics. Every event on the way says something else than the one before.
fn wait_topics(reader: &mut EventReader, before: &mut Event, expect: &[&str]) {
    while topics(&before.data) != expect {
        let event = reader.next();
        assert_eq!(event.kind, "answer", "{event:?}");
        assert_ne!(content(&event.data), content(&before.data), "sent again: {event:?}");
        assert_ne!(event.id, before.id);
        *before = event;
    }
}

#[test]
fn the_answer_comes_at_once_and_when_it_has_changed() {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    publisher.send(&message("git.a"));
    daemon.wait_sequence(1);
    let question = latest("git.*");
    let packed = ("accept-encoding", "gzip, zstd");
    let mut reader = EventReader::open(&daemon, &stream_of(&question), &[packed]);
    for header in [
        "HTTP/1.1 200 ",
        "content-type: text/event-stream\r\n",
        "cache-control: no-store\r\n",
        "x-accel-buffering: no\r\n",
    ] {
        assert!(reader.head.contains(header), "{header}: {}", reader.head);
    }
    assert!(!reader.head.contains("content-encoding"), "{}", reader.head);
    let mut event = reader.next();
    assert_eq!((event.kind.as_str(), reader.retry), ("answer", Some(3000)));
    assert_eq!(content(&event.data), content(&daemon.json(&question)));
    assert_eq!(topics(&event.data), ["a"]);
    publisher.send(&message("git.b"));
    wait_topics(&mut reader, &mut event, &["a", "b"]);
    // Buckets as well.
    let mut counts = EventReader::open(&daemon, "/plugins/volume/messages/stream?start=now-1h&by=", &[]);
    let total = |event: &Event| {
        let rows = event.data["rows"].as_array().expect("rows").clone();
        rows.iter().map(|row| row["value"].as_i64().expect("a count")).sum::<i64>()
    };
    assert_eq!(total(&counts.next()), 2);
    publisher.send(&message("git.c"));
    while total(&counts.next()) != 3 {}
    let head = daemon.ask(Method::HEAD, &stream_of(&question), &[]);
    assert_eq!((head.status, head.header("content-type"), head.body.as_str()), (200, "text/event-stream", ""));
}

#[test]
fn nothing_is_sent_while_the_answer_stays() {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let (quiet, loud) = (stream_of(&latest("quiet.*")), stream_of(&latest("loud.*")));
    let (mut one, mut other) = (EventReader::open(&daemon, &quiet, &[]), EventReader::open(&daemon, &loud, &[]));
    let (mut before, mut last) = (one.next(), other.next());
    for n in ["1", "2", "3"] {
        publisher.send(&message(&format!("loud.{n}")));
        while topics(&last.data).last() != Some(&n) {
            last = other.next();
        }
        // The quiet question has been answered from a view as new as that, too: who comes now gets that answer.
        daemon.wait_until("the quiet question is answered anew", |daemon| {
            let now = EventReader::open(daemon, &quiet, &[]).next();
            now.data["as_of"].as_str() >= last.data["as_of"].as_str()
        });
    }
    publisher.send(&message("quiet.now"));
    wait_topics(&mut one, &mut before, &["now"]);
}

#[test]
fn who_comes_back_is_not_sent_again_what_it_has() {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    publisher.send(&message("git.a"));
    daemon.wait_sequence(1);
    let path = stream_of(&latest("git.*"));
    let mut event = EventReader::open(&daemon, &path, &[]).next();
    // In another order it is the same question; and a new life of the daemon changes nothing.
    let daemon = daemon.terminate().start();
    publisher.reaches(&daemon);
    let mut back = EventReader::open(&daemon, &path, &[("Last-Event-ID", &event.id)]);
    publisher.send(&message("git.b"));
    wait_topics(&mut back, &mut event, &["a", "b"]);
    for id in ["", "0", "zz", &"f".repeat(16), &"-".repeat(1000)] {
        let mut other = EventReader::open(&daemon, &path, &[("Last-Event-ID", id)]);
        assert_eq!(topics(&other.next().data), ["a", "b"], "{id}");
    }
}

#[test]
fn several_questions_share_a_connection() {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let (git, none, copr) = (latest("git.*"), "/plugins/none/messages", latest("copr.*"));
    let path = several(&[&git, none, &copr]);
    let mut reader = EventReader::open(&daemon, &path, &[]);
    let mut first: Vec<Event> = (0..3).map(|_| reader.next()).collect();
    first.sort_by_key(|event| [&*git, none, &copr].iter().position(|question| event.data["q"] == **question));
    let kinds: Vec<&str> = first.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["answer", "problem", "answer"], "{first:?}");
    assert_eq!(content(&first[0].data["answer"]), content(&daemon.json(&git)));
    assert_eq!(first[1].data["problem"], daemon.get(none).json());
    publisher.send(&message("copr.build"));
    let next = |reader: &mut EventReader, question: &str| {
        let mut event = reader.next();
        while topics(&event.data["answer"]).is_empty() {
            event = reader.next();
        }
        assert_eq!((event.kind.as_str(), &event.data["q"]), ("answer", &json!(question)), "{event:?}");
        event
    };
    let event = next(&mut reader, &copr);
    assert_eq!(topics(&event.data["answer"]), ["build"]);
    // Who comes back gets only what is new since.
    daemon.wait_sequence(1);
    let mut back = EventReader::open(&daemon, &path, &[("last-event-id", &event.id)]);
    publisher.send(&message("git.push"));
    for reader in [&mut reader, &mut back] {
        assert_eq!(topics(&next(reader, &git).data["answer"]), ["push"]);
    }
}

#[test]
fn commits_tell_what_they_changed() {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let mut reader = EventReader::open(&daemon, "/stream", &[]);
    let first = reader.next();
    assert_eq!((first.kind.as_str(), &first.data["changed"]), ("commit", &json!([])), "{first:?}");
    publisher.send(&message("git.push"));
    let mut version = first.data["version"].as_u64().expect("a number");
    let event = loop {
        let event = reader.next();
        let next = event.data["version"].as_u64().expect("a number");
        assert!(next > version && event.data["as_of"].is_string(), "{event:?}");
        version = next;
        if event.data["changed"] != json!([]) {
            break event;
        }
    };
    let changed: Vec<&str> =
        event.data["changed"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(changed.contains(&"volume/messages") && !changed.iter().any(|it| it.starts_with("releng/")), "{event:?}");
    // A commit with nothing new says so; who missed some is told of all that it missed.
    assert_eq!(reader.next().data["changed"], json!([]));
    let mut back = EventReader::open(&daemon, "/stream", &[("last-event-id", &first.id)]);
    assert_eq!(back.next().data["changed"], event.data["changed"]);
    let mut new = EventReader::open(&daemon, "/stream", &[]);
    assert_eq!(new.next().data["changed"], event.data["changed"]);
}

#[test]
fn all_readers_get_the_same_and_one_that_does_not_read_is_harmless() {
    const READERS: usize = 200;
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let path = stream_of(&latest("git.*"));
    let silent: Vec<EventReader> = (0..10).map(|_| EventReader::open(&daemon, &path, &[])).collect();
    let mut readers: Vec<EventReader> = (0..READERS).map(|_| EventReader::open(&daemon, &path, &[])).collect();
    for reader in &mut readers {
        assert_eq!(topics(&reader.next().data), Vec::<&str>::new());
    }
    publisher.send(&message("git.push"));
    let shown: Vec<Event> = readers
        .iter_mut()
        .map(|reader| {
            look(SOON, || Some(reader.next()).filter(|event| !topics(&event.data).is_empty())).expect("it is shown")
        })
        .collect();
    assert_eq!(daemon.figure("statscache_streams"), 210.0);
    assert_eq!(daemon.figure("statscache_stream_questions"), 1.0);
    for event in &shown {
        assert_eq!((&event.id, content(&event.data)), (&shown[0].id, content(&shown[0].data)));
    }
    assert_eq!(topics(&shown[0].data), ["push"]);
    // However many they are, each commit has it answered once.
    let work = |daemon: &TestDaemon| {
        (daemon.figure("statscache_answers_made_total"), daemon.figure("statscache_commits_total"))
    };
    let (made_before, commits_before) = work(&daemon);
    daemon.wait_until("some commits later", |daemon| work(daemon).1 >= commits_before + 3.0);
    let (commits, made) = (work(&daemon).1 - commits_before, work(&daemon).0 - made_before);
    assert!((1.0..=commits + 2.0).contains(&made), "{made} answers in {commits} commits");
    drop((readers, silent));
    daemon.wait_until("nobody follows it, nobody answers it", |daemon| {
        daemon.figure("statscache_streams") + daemon.figure("statscache_stream_questions") == 0.0
    });
}

#[test]
fn streams_end_in_order_when_the_daemon_stops() {
    let daemon = DaemonSetup::new().start();
    let mut readers: Vec<EventReader> =
        ["/stream", &stream_of(LATEST), &several(&[LATEST])].map(|path| EventReader::open(&daemon, path, &[])).into();
    for reader in &mut readers {
        reader.next();
    }
    let stopping = thread::spawn(|| daemon.terminate());
    for reader in readers {
        // Not cut off: that would be the deadline for those who do not end by themselves.
        reader.read_to_end();
    }
    stopping.join().expect("it stops");
}

#[test]
fn a_reload_takes_a_question_away_and_brings_it_back() {
    let setup = DaemonSetup::new().set("admin", "token_file", "\"token\"");
    fs::write(setup.dir().join("token"), "open sesame\n").expect("it is ours");
    let mut daemon = setup.instance("volume", "volume", "").instance("extra", "volume", "").start();
    let path = "/plugins/extra/latest_by_topic/stream";
    let reload = |daemon: &TestDaemon| assert_eq!(daemon.ask(Method::POST, "/admin/reload", &[TOKEN]).status, 200);
    let (mut reader, mut commits) = (EventReader::open(&daemon, path, &[]), EventReader::open(&daemon, "/stream", &[]));
    assert_eq!((reader.next().kind, commits.next().kind), ("answer".to_owned(), "commit".to_owned()));
    daemon.change(|setup| setup.without_instances().instance("volume", "volume", ""));
    reload(&daemon);
    let problem = reader.next();
    assert_eq!((problem.kind.as_str(), &problem.data["status"]), ("problem", &json!(404)), "{problem:?}");
    assert_problem(path, &daemon.get(path), 404);
    daemon.change(|setup| setup.instance("extra", "volume", ""));
    reload(&daemon);
    let event = look(SOON, || Some(reader.next()).filter(|event| event.kind == "answer"));
    assert_eq!(event.expect("it is back").data["rows"], json!([]));
    commits.next();
}

#[test]
fn what_cannot_be_followed_is_a_problem_before_it_begins() {
    let daemon = DaemonSetup::new().start();
    let (messages, many) = ("/plugins/volume/messages", vec![LATEST; 33]);
    for (path, status, words) in [
        ("/plugins/none/messages/stream", 404, &["`none`", "volume"][..]),
        ("/plugins/volume/none/stream", 404, &["`none`", "messages"]),
        (&format!("{messages}/stream?step=fast"), 400, &["fast"]),
        (&format!("{messages}/stream?start=now&end=now-1h"), 400, &["before `end`"]),
        (&format!("{messages}/stream?start=%ff"), 400, &["UTF-8"]),
        (&format!("{messages}/stream?format=csv"), 400, &["`csv`", "json"]),
        ("/stream?p=1", 400, &["`p`", "q"]),
        ("/stream?q=", 400, &["/plugins/volume/messages?start=now-1h"]),
        ("/stream?q=%2Fbus", 400, &["`/bus`"]),
        ("/stream?q=%2Fplugins%2Fvolume%2Fmessages&step=1m", 400, &["`step`"]),
        (&several(&many), 400, &["at most 32"]),
    ] {
        let problem = assert_problem(path, &daemon.get(path), status);
        for word in words {
            assert!(problem["detail"].as_str().is_some_and(|it| it.contains(word)), "{path}: {word} in {problem}");
        }
    }
    assert_problem("POST", &daemon.ask(Method::POST, "/stream", &[]), 405);
}

#[test]
fn half_of_the_connections_are_for_those_who_ask_once() {
    let daemon = DaemonSetup::new().set("limits", "connections", "5").start();
    let mut streams: Vec<EventReader> =
        [&stream_of(LATEST), "/stream"].map(|path| EventReader::open(&daemon, path, &[])).into();
    for path in [&*stream_of(LATEST), "/stream", &several(&[LATEST])] {
        let answer = daemon.get(path);
        assert_problem(path, &answer, 503);
        assert_eq!(answer.header("retry-after"), "1", "{path}");
    }
    assert_eq!(daemon.get(LATEST).status, 200);
    drop(streams.pop());
    daemon.wait_until_within(SOON, "there is room for another stream", |daemon| {
        EventReader::status(daemon, "/stream") == 200
    });
    streams[0].next();
}
