//! Numbered messages that did not come are asked for; what cannot be had is said, and receiving goes on.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use statscache_server::bus::{
    Batch, BatchSender, EndpointStatus, Recv, ReplayConfig, ReplayPositions, ReplaySnapshot, ReplaySource, Source,
    SourceFuture, WhenFull, queue,
};
use tokio::{runtime::Runtime, sync::watch};

use crate::{
    coverage::{seen, wait_complete},
    interop::support::{Library, libraries},
    support::{DaemonSetup, LOOK, Message, Reply, SOON, TestDaemon, TestPublisher, TestReplier, look, now_secs},
};

const TOPIC: &str = "org.fedoraproject.prod.git.push";
const NO_MATCH: &str = "error: 'There was no match for the given query'";

fn body(number: i64) -> String {
    json!({"topic": TOPIC, "msg_id": format!("2026-{number}"), "msg": {}, "seq_id": number}).to_string()
}

fn error(text: &str) -> Reply {
    Reply::Frames(vec![text.as_bytes().to_vec()])
}

fn asked(question: &Value) -> Vec<i64> {
    let list = |value: &Value| value.as_array().map(|all| all.iter().filter_map(Value::as_i64).collect::<Vec<_>>());
    match (list(&question["seq_id_range"]), list(&question["seq_ids"])) {
        (Some(range), None) => (range[0]..=range[1]).collect(),
        (None, Some(list)) => list,
        other => panic!("{other:?} in {question}"),
    }
}

/// A store that understands every question.
fn all_of(question: &Value) -> Reply {
    Reply::Frames(asked(question).into_iter().map(|number| body(number).into_bytes()).collect())
}

/// The store that comes with fedmsg, which does not know ranges.
fn lists_of(question: &Value) -> Reply {
    match question["seq_ids"].as_array() {
        Some(list) if list.len() <= 100 => all_of(question),
        _ => error("error: 'type object 'Message' has no attribute 'seq_ids''"),
    }
}

/// Sends what it is handed.
struct Scripted {
    status: Arc<EndpointStatus>,
    numbers: tokio::sync::mpsc::UnboundedReceiver<i64>,
}

impl Source for Scripted {
    fn run(mut self: Box<Self>, sink: BatchSender, mut stop: watch::Receiver<bool>) -> SourceFuture {
        Box::pin(async move {
            loop {
                let number = tokio::select! {
                    number = self.numbers.recv() => number,
                    _ = stop.changed() => None,
                };
                let Some(number) = number else { return };
                let mut batch = Batch::new(self.status.clone());
                batch.push(TOPIC.as_bytes(), body(number).as_bytes());
                sink.send(&mut batch).await.expect("open");
            }
        })
    }

    fn status(&self) -> Arc<EndpointStatus> {
        self.status.clone()
    }
}

/// A source that sends what it is told to, with a replay endpoint, and what comes out of both.
struct Bench {
    runtime: Runtime,
    status: Arc<EndpointStatus>,
    numbers: tokio::sync::mpsc::UnboundedSender<i64>,
    stop: watch::Sender<bool>,
    running: tokio::task::JoinHandle<()>,
    heard: Arc<Mutex<Vec<i64>>>,
    /// Nobody takes anything from the queue.
    held: Arc<AtomicBool>,
}

impl Bench {
    fn start(replier: &str, change: impl FnOnce(&mut ReplayConfig)) -> Self {
        Self::with_queue(1 << 20, replier, change)
    }

    fn with_queue(queue_bytes: usize, replier: &str, change: impl FnOnce(&mut ReplayConfig)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("threads can be started");
        let endpoint = "tcp://127.0.0.1:1".parse().expect("valid");
        let (numbers, receiver) = tokio::sync::mpsc::unbounded_channel();
        let status = EndpointStatus::new(&endpoint, "scripted");
        let source = Scripted { status: status.clone(), numbers: receiver };
        let mut config = ReplayConfig::new(replier.parse().expect("valid"), Arc::new(|| 1));
        config.backoff_min = Duration::from_millis(1);
        change(&mut config);
        let nowhere = std::path::Path::new("/nowhere/replay.json");
        let positions = ReplayPositions::open(nowhere, 0, Duration::from_secs(1));
        let source = Box::new(ReplaySource::new(Box::new(source), config, &positions));
        let (sender, mut queued) = queue(queue_bytes, WhenFull::Drop);
        let (stop, stopping) = watch::channel(false);
        let running = runtime.spawn(source.run(sender, stopping));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let held = Arc::new(AtomicBool::new(false));
        let (hearing, holding) = (heard.clone(), held.clone());
        std::thread::spawn(move || {
            loop {
                if holding.load(Ordering::Relaxed) {
                    std::thread::sleep(LOOK);
                    continue;
                }
                match queued.recv_timeout(LOOK) {
                    Recv::Batch(batch) => {
                        let number = |body| serde_json::from_slice::<Value>(body).ok()?["seq_id"].as_i64();
                        let numbers = batch.iter().filter_map(|(_, body)| number(body));
                        hearing.lock().unwrap_or_else(PoisonError::into_inner).extend(numbers);
                    }
                    Recv::Timeout => {}
                    Recv::Closed => return,
                }
            }
        });
        Self { runtime, status, numbers, stop, running, heard, held }
    }

    /// Sends live messages, each when the one before has been heard.
    fn send(&self, numbers: &[i64]) {
        for number in numbers {
            self.numbers.send(*number).expect("it runs");
            self.wait(&format!("hears {number}"), |bench| bench.heard().contains(number));
        }
    }

    fn heard(&self) -> Vec<i64> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replay(&self) -> ReplaySnapshot {
        self.status.snapshot().replay.expect("it has a replay endpoint")
    }

    #[track_caller]
    fn wait(&self, what: &str, mut is_true: impl FnMut(&Self) -> bool) {
        let waited = look(SOON, || is_true(self).then_some(()));
        assert!(waited.is_some(), "not within {SOON:?}: {what}\n{:?}\n{:#?}", self.heard(), self.replay());
    }

    /// Waits until nothing is asked for any more; gives what was brought, what was lost, and the last error.
    #[track_caller]
    fn settled(&self) -> (u64, u64, String) {
        self.wait("every gap is done", |bench| {
            let replay = bench.replay();
            replay.missing == replay.replayed + replay.lost
        });
        let replay = self.replay();
        (replay.replayed, replay.lost, replay.last_error.unwrap_or_default())
    }

    /// Stops; gives all that was heard, in order of numbers.
    fn finish(self) -> Vec<i64> {
        self.stop.send_replace(true);
        let ended = self.runtime.block_on(async { tokio::time::timeout(SOON, self.running).await });
        ended.expect("it stops").expect("no panic");
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        heard.sort_unstable();
        heard
    }
}

#[test]
fn what_did_not_come_is_brought_in_few_questions() {
    let replier = TestReplier::start(all_of);
    let bench = Bench::start(&replier.address, |_| {});
    bench.send(&[3, 4, 1205, 1206, 1208]);
    assert_eq!(bench.settled(), (1201, 0, String::new()));
    assert_eq!((bench.replay().gaps, bench.replay().last_seq_id), (2, Some(1208)));
    bench.wait("hears all", |bench| bench.heard().len() == 1206);
    assert_eq!(bench.finish(), (3..=1208).collect::<Vec<_>>());
    let ranges: Vec<Value> = replier.questions().into_iter().map(|question| question["seq_id_range"].clone()).collect();
    assert_eq!(ranges, [json!([5, 504]), json!([505, 1004]), json!([1005, 1204]), json!([1207, 1207])]);
}

#[test]
fn a_store_that_knows_no_ranges_is_asked_one_by_one() {
    let replier = TestReplier::start(lists_of);
    let bench = Bench::start(&replier.address, |_| {});
    bench.send(&[0, 251, 253]);
    assert_eq!(bench.settled(), (251, 0, String::new()));
    bench.wait("hears all", |bench| bench.heard().len() == 254);
    assert_eq!(bench.finish(), (0..=253).collect::<Vec<_>>());
    let lens: Vec<usize> = replier.questions().iter().map(|question| asked(question).len()).collect();
    assert_eq!(lens, [250, 100, 100, 50, 1], "a range only once");
}

#[test]
fn a_full_queue_is_waited_for() {
    let replier = TestReplier::start(all_of);
    let bench = Bench::with_queue(1, &replier.address, |_| {});
    bench.send(&[1]);
    bench.held.store(true, Ordering::Relaxed);
    bench.numbers.send(1000).expect("it runs");
    bench.wait("is asked", |_| !replier.questions().is_empty());
    bench.held.store(false, Ordering::Relaxed);
    assert_eq!(bench.settled(), (998, 0, String::new()));
    bench.wait("hears all", |bench| bench.heard().len() == 1000);
    assert_eq!((bench.status.snapshot().dropped_messages, bench.finish().len()), (0, 1000));
}

#[test]
fn what_is_gone_is_counted() {
    let replier = TestReplier::start(|question| match asked(question).iter().filter(|number| **number > 5).count() {
        0 => error(NO_MATCH),
        // Numbers that nobody asked for, one twice, and a frame that is none.
        _ => Reply::Frames([4, 7, 7, 99, 8].iter().map(|number| body(*number).into_bytes()).chain([vec![0]]).collect()),
    });
    let bench = Bench::start(&replier.address, |_| {});
    bench.send(&[1, 4]);
    assert_eq!(bench.settled(), (0, 2, "it has none of the messages".to_owned()));
    bench.send(&[10]);
    assert_eq!(bench.settled().0, 2);
    bench.wait("hears all", |bench| bench.heard().len() == 5);
    assert_eq!((bench.replay().missing, bench.replay().lost), (7, 5));
    assert_eq!(bench.finish(), [1, 4, 7, 8, 10]);
    assert_eq!(replier.questions().len(), 2, "what is gone is not asked for again");
}

#[test]
fn of_a_long_gap_the_last_are_asked_for() {
    let replier = TestReplier::start(all_of);
    let bench = Bench::start(&replier.address, |config| config.gap_max = 3);
    bench.send(&[1, i64::MAX]);
    assert_eq!(bench.settled(), (3, i64::MAX as u64 - 5, String::new()));
    bench.wait("hears all", |bench| bench.heard().len() == 5);
    assert_eq!(bench.finish()[1..], [i64::MAX - 3, i64::MAX - 2, i64::MAX - 1, i64::MAX]);
}

#[test]
fn a_dead_server_holds_up_nothing() {
    let replier = TestReplier::start(|_| Reply::Silence);
    let bench = Bench::start(&replier.address, |config| {
        config.deadline = Duration::from_secs(1);
        config.attempts_max = 2;
    });
    bench.send(&[1, 3]);
    bench.wait("is asked", |_| !replier.questions().is_empty());
    bench.send(&[4, 5, 6, 9]);
    assert_eq!(bench.settled(), (0, 3, "cannot be asked: no answer within 1s".to_owned()));
    assert_eq!(bench.finish(), [1, 3, 4, 5, 6, 9]);
    assert_eq!(replier.questions().len(), 3, "two attempts, and one at the next gap");
}

#[test]
fn stopping_waits_for_no_answer() {
    let replier = TestReplier::start(|_| Reply::Silence);
    let bench = Bench::start(&replier.address, |config| config.deadline = 10 * SOON);
    bench.send(&[1, 3]);
    bench.wait("is asked", |_| !replier.questions().is_empty());
    assert_eq!(bench.finish(), [1, 3]);
}

#[test]
fn nonsense_is_tried_again_and_then_given_up() {
    let claim = [&[1, 0, 2][..], &(1_u64 << 62).to_be_bytes()].concat();
    for (answer, words) in [
        (vec![], "without a frame"),
        (vec![b"{}".to_vec()], "is no message: \"{}\""),
        (vec![b"\xff\xfe".to_vec()], "is no message"),
        (vec![b"error: 'out of order'".to_vec()], "it answered \"'out of order'\""),
    ] {
        let replier = TestReplier::start(move |_| Reply::Frames(answer.clone()));
        let bench = Bench::start(&replier.address, |config| config.attempts_max = 2);
        bench.send(&[1, 3]);
        let (replayed, lost, error) = bench.settled();
        assert!((replayed, lost) == (0, 1) && error.contains(words), "{words}: {error}");
        bench.finish();
    }
    for (bytes, words) in [(b"HTTP/1.1 400 no\r\n\r\n".to_vec(), "the protocol"), (claim, "is longer than")] {
        let replier = TestReplier::start(move |_| Reply::Bytes(bytes.clone()));
        let bench = Bench::start(&replier.address, |config| config.attempts_max = 2);
        bench.send(&[1, 4]);
        let (replayed, lost, error) = bench.settled();
        assert!((replayed, lost) == (0, 2) && error.contains(words), "{words}: {error}");
        bench.finish();
    }
}

#[test]
fn what_is_too_long_for_one_answer_is_asked_for_in_parts() {
    let replier = TestReplier::start(all_of);
    let long = body(1_000_000).len();
    let bench = Bench::start(&replier.address, |config| {
        config.limits.body_bytes_max = long;
        config.answer_bytes_max = 3 * long;
    });
    bench.send(&[999_990, 1_000_001]);
    assert_eq!(bench.settled(), (10, 0, String::new()));
    bench.wait("hears all", |bench| bench.heard().len() == 12);
    assert_eq!(bench.finish().len(), 12);
    // One that is alone too long is passed over.
    let bench = Bench::start(&replier.address, |config| {
        config.limits.body_bytes_max = long - 1;
        config.answer_bytes_max = 1;
    });
    bench.send(&[999_998, 1_000_002]);
    let (replayed, lost, error) = bench.settled();
    assert!((replayed, lost) == (1, 2) && error.contains("is longer than"), "{replayed} {lost} {error}");
    assert_eq!(bench.finish(), [999_998, 999_999, 1_000_002]);
}

#[test]
fn what_is_not_subscribed_to_is_not_missed() {
    let other = |number| body(number).replace(TOPIC, "other.topic").into_bytes();
    let replier = TestReplier::start(move |_| Reply::Frames(vec![other(2), body(3).into_bytes()]));
    let bench = Bench::start(&replier.address, |config| config.subscriptions = vec![b"org.".to_vec()]);
    bench.send(&[1, 4]);
    assert_eq!(bench.settled(), (2, 0, String::new()));
    bench.wait("hears all", |bench| bench.heard().len() == 3);
    assert_eq!(bench.finish(), [1, 3, 4]);
}

#[test]
fn a_socket_of_libzmq_answers() {
    if !libraries().contains(&Library::Libzmq) {
        return;
    }
    let mut server = Command::new("python3")
        .args(["-c", include_str!("interop/rep.py"), TOPIC])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs: it was asked for its zmq before");
    let mut line = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut line).expect("UTF-8");
    let bench = Bench::start(line.trim().trim_start_matches("bound "), |_| {});
    bench.send(&[0, 251, 253, 255]);
    assert_eq!(bench.settled(), (127, 125, String::new()));
    bench.wait("hears all", |bench| bench.heard().len() == 4 + 127);
    bench.finish();
    drop(server.stdin.take());
    server.wait().expect("it is ours");
}

/// A publisher that numbers what it sends, and keeps it.
struct Numbered {
    publisher: TestPublisher,
    stored: Arc<Mutex<BTreeMap<i64, String>>>,
    next: i64,
}

impl Numbered {
    fn start() -> Self {
        Self { publisher: TestPublisher::start(), stored: Arc::default(), next: 1 }
    }

    /// Answers from what was kept, as the store that comes with fedmsg does.
    fn replier(&self) -> TestReplier {
        let stored = self.stored.clone();
        TestReplier::start(move |question| {
            let stored = stored.lock().unwrap_or_else(PoisonError::into_inner);
            if question["seq_ids"].is_null() {
                return lists_of(question);
            }
            let found: Vec<_> = asked(question).iter().filter_map(|number| stored.get(number)).collect();
            match found.is_empty() {
                true => error(NO_MATCH),
                false => Reply::Frames(found.into_iter().map(|body| body.clone().into_bytes()).collect()),
            }
        })
    }

    /// Publishes the next message; one that is lost goes nowhere but into the store.
    fn publish(&mut self, is_lost: bool) {
        let mut body: Value = serde_json::from_str(&Message::new(TOPIC).body()).expect("JSON");
        body["seq_id"] = self.next.into();
        let body = body.to_string();
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).insert(self.next, body.clone());
        if !is_lost {
            self.publisher.send_body(TOPIC, &body);
        }
        self.next += 1;
    }

    /// All that was published has been counted, each message once.
    fn all_counted(&self, daemon: &TestDaemon) {
        let all = self.next - 1;
        let counted = |daemon: &TestDaemon| {
            let rows = daemon.rows("/plugins/volume/messages?start=now-1d&step=1h");
            rows.iter().filter_map(|row| row["value"].as_i64()).sum::<i64>()
        };
        daemon.wait_until(&format!("{all} are counted"), |daemon| counted(daemon) >= all);
        assert_eq!(counted(daemon), all, "none twice");
    }
}

fn replay_of(daemon: &TestDaemon) -> Value {
    daemon.json("/bus")["endpoints"][0]["replay"].clone()
}

fn setup(numbered: &Numbered, replier: &str) -> DaemonSetup {
    let address = &numbered.publisher.address;
    DaemonSetup::new().endpoint(address).set("bus", "replay", &format!("{{ {address:?} = {replier:?} }}"))
}

#[test]
fn every_message_counts_once_whatever_was_lost_on_the_way() {
    let mut numbered = Numbered::start();
    let replier = numbered.replier();
    let daemon = setup(&numbered, &replier.address).start();
    numbered.publisher.reaches(&daemon);
    for number in 0..400 {
        // The first is where it begins; the last ends the last gap.
        numbered.publish(number % 7 > 3 && number < 399);
    }
    numbered.all_counted(&daemon);
    let replay = replay_of(&daemon);
    assert_eq!((&replay["lost"], &replay["last_seq_id"], &replay["gaps"]), (&json!(0), &json!(400), &json!(57)));
    assert_eq!((&replay["missing"], &replay["replayed"]), (&json!(171), &json!(171)), "{replay}");
    assert_eq!(replay["endpoint"], replier.address.as_str());

    // What is published while it is down is a gap, too.
    let setup = daemon.terminate();
    (0..150).for_each(|_| numbered.publish(true));
    let daemon = setup.start();
    numbered.publisher.reaches(&daemon);
    numbered.publish(false);
    numbered.all_counted(&daemon);
    assert_eq!(replay_of(&daemon)["replayed"], 150);

    // And after a crash, when what is not known to be counted is asked for again.
    let file = daemon.data_dir().join("replay.json");
    let kept = || std::fs::read_to_string(&file).unwrap_or_default().contains("\"seq_id\":551,");
    daemon.wait_until("keeps its position", |_| kept());
    (0..5).for_each(|_| numbered.publish(false));
    numbered.all_counted(&daemon);
    let setup = daemon.kill();
    (0..5).for_each(|_| numbered.publish(true));
    let daemon = setup.start();
    numbered.publisher.reaches(&daemon);
    numbered.publish(false);
    numbered.all_counted(&daemon);
    let replayed = replay_of(&daemon)["replayed"].as_u64();
    assert!(replayed >= Some(5), "{replayed:?}");
}

#[test]
fn what_cannot_be_had_makes_its_time_partial_and_the_rest_goes_on() {
    let mut numbered = Numbered::start();
    let is_up = Arc::new(AtomicBool::new(false));
    let up = is_up.clone();
    let replier = TestReplier::start(move |question| match up.load(Ordering::Relaxed) {
        true => all_of(question),
        false => error(NO_MATCH),
    });
    let begin = now_secs();
    let daemon = setup(&numbered, &replier.address).start();
    numbered.publisher.reaches(&daemon);
    numbered.publish(false);
    let first = wait_complete(&daemon, &mut numbered.publisher, begin, 3);

    // One that can be had changes nothing about what was seen.
    is_up.store(true, Ordering::Relaxed);
    numbered.publish(false);
    numbered.publish(true);
    numbered.publish(false);
    daemon.wait_until("brings it", |daemon| replay_of(daemon)["replayed"] == 1);
    let brought = wait_complete(&daemon, &mut numbered.publisher, now_secs(), 3);
    assert_eq!(seen(&daemon, first, brought + 3), "c".repeat((brought + 3 - first) as usize));

    is_up.store(false, Ordering::Relaxed);
    numbered.publish(false);
    let lost_at = now_secs();
    numbered.publish(true);
    numbered.publish(true);
    numbered.publish(false);
    daemon.wait_until("has lost two", |daemon| replay_of(daemon)["lost"] == 2);
    assert_eq!(replay_of(&daemon)["last_replay_error"], "it has none of the messages");
    assert_eq!(
        daemon.figure(&format!("statscache_bus_lost_total{{endpoint=\"{}\"}}", numbered.publisher.address)),
        2.0
    );
    daemon.wait_until("doubts that second", |daemon| seen(daemon, lost_at, lost_at + 1) == "p");
    wait_complete(&daemon, &mut numbered.publisher, lost_at + 2, 2);
    assert_eq!(seen(&daemon, lost_at, lost_at + 1), "p", "for good");
    assert_eq!(seen(&daemon, first, brought + 2), "c".repeat((brought + 2 - first) as usize));
}

#[test]
fn nobody_who_answers_is_no_reason_to_stop() {
    let mut numbered = Numbered::start();
    let gone = TestPublisher::start().address.clone();
    let daemon = setup(&numbered, &gone).start();
    numbered.publisher.reaches(&daemon);
    numbered.publish(false);
    numbered.publish(true);
    numbered.publish(false);
    daemon.wait_until("tried", |daemon| {
        replay_of(daemon)["last_replay_error"].as_str().is_some_and(|error| error.contains("cannot connect"))
    });
    numbered.publish(false);
    daemon.wait_until("counts on", |daemon| daemon.json("/bus")["accepted"] == 3);
    daemon.wait_until("gives it up", |daemon| replay_of(daemon)["lost"] == 1);
}
