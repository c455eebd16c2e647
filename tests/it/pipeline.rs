//! From a publisher to JSON: what is counted, where, and how it is asked for.

use std::{collections::BTreeMap, fmt::Write, fs};

use serde_json::{Value, json};

use crate::support::{
    DaemonSetup, Message, PublishProcess, SHIPPED, TestDaemon, TestPublisher, now_secs, topic_counts,
};

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;

/// Seconds since 1970 of an RFC 3339 time as the daemon writes it, by way of the daemon's own reader.
fn secs(time: &Value) -> i64 {
    let text = time.as_str().expect("a time is text");
    let civil = text.strip_suffix('Z').expect("UTC");
    let (date, clock) = civil.split_once('T').expect("RFC 3339");
    let numbers = |text: &str, by: char| -> Vec<i64> {
        text.split(by).map(|part| part.split('.').next().unwrap_or("").parse().expect("a number")).collect()
    };
    let (date, clock) = (numbers(date, '-'), numbers(clock, ':'));
    // Days since 1970, by the rule for March-based years.
    let (y, m) = if date[1] <= 2 { (date[0] - 1, date[1] + 9) } else { (date[0], date[1] - 3) };
    let days =
        y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (m * 153 + 2) / 5 + date[2] - 719_469;
    days * DAY + clock[0] * HOUR + clock[1] * MINUTE + clock[2]
}

/// Value by (start of the bucket, label).
fn cells(rows: &[Value], label: &str) -> BTreeMap<(i64, String), i64> {
    let cell = |row: &Value| {
        let label = row[label].as_str().unwrap_or_default().to_owned();
        ((secs(&row["time"]), label), row["value"].as_i64().expect("a count"))
    };
    let map: BTreeMap<_, _> = rows.iter().map(cell).collect();
    assert_eq!(map.len(), rows.len(), "one row for each bucket and label: {rows:?}");
    map
}

/// Messages of each (bucket of that width, label).
fn recount(messages: &[Message], width: i64, label: impl Fn(&Message) -> &str) -> BTreeMap<(i64, String), i64> {
    let mut counts = BTreeMap::new();
    for message in messages {
        *counts.entry((message.bucket(width), label(message).to_owned())).or_default() += 1;
    }
    counts
}

fn check_counts(daemon: &TestDaemon, messages: &[Message], range: &str, step: &str, width: i64) {
    let rows = |metric: &str| daemon.rows(&format!("/plugins/volume/{metric}?{range}&step={step}"));
    assert_eq!(cells(&rows("by_topic"), "topic"), recount(messages, width, |m| &m.topic), "by_topic, {step}");
    assert_eq!(cells(&rows("by_category"), "category"), recount(messages, width, Message::category), "{step}");
    assert_eq!(cells(&rows("messages"), "-"), recount(messages, width, |_| ""), "messages, {step}");
}

#[test]
fn from_a_publisher_process_to_json() {
    let begin = (now_secs() - 900) / MINUTE * MINUTE;
    let topics = ["git.receive", "git.branch", "bodhi.update.comment", "buildsys.tag", "copr.build.end"];
    let message = |n: i64| {
        let topic = format!("org.fedoraproject.prod.{}", topics[(n % 7 % 5) as usize]);
        Message::new(&topic).at(begin + n * 37 % 600).msg(json!({"n": n, "text": "x".repeat((n % 90) as usize)}))
    };
    let messages: Vec<Message> = (0..500).map(message).collect();
    let setup = DaemonSetup::new();
    let file = setup.dir().join("messages.jsonl");
    let lines: Vec<String> = messages.iter().map(Message::body).collect();
    fs::write(&file, lines.join("\n")).expect("written");

    // Twice through the file, of which the second time is nothing but duplicates.
    let publisher = PublishProcess::start(&file, &["--loop", "--count", "1000", "--rate", "2000"]);
    let daemon = setup.endpoint(&publisher.address).start();
    assert!(publisher.finish().contains("1000 messages sent"));
    daemon.wait_sequence(500);
    daemon.wait_until("counts duplicates", |daemon| daemon.json("/bus")["duplicates"] == 500);

    let list = daemon.json("/plugins");
    let plugins = list["plugins"].as_array().expect("a list");
    let summary = |plugin: &Value| format!("{} {}", plugin["id"], plugin["state"]).replace('"', "");
    assert_eq!(plugins.iter().map(summary).collect::<Vec<_>>(), SHIPPED.map(|id| format!("{id} running")));
    for plugin in plugins {
        assert!(plugin["library"].as_str().is_some_and(|from| from.starts_with("bundled ")), "{plugin}");
        assert!(plugin["version"].is_string() && !plugin["summary"].as_str().unwrap_or("").is_empty(), "{plugin}");
        assert_eq!((&plugin["lag"]["messages"], &plugin["counters"]["failed"]), (&json!(0), &json!(0)), "{plugin}");
        for link in [&plugin["links"]["self"], &plugin["links"]["schema"]] {
            daemon.json(link.as_str().expect("a link"));
        }
        for metric in plugin["metrics"].as_array().expect("a list") {
            daemon.json(metric["links"]["values"].as_str().expect("a link"));
            daemon.json(metric["links"]["example"].as_str().expect("a link"));
        }
    }
    assert_eq!(daemon.plugin("volume")["counters"]["processed"], 500);

    let range = format!("start={begin}&end={}", begin + 600);
    check_counts(&daemon, &messages, &range, "1s", 1);
    check_counts(&daemon, &messages, &range, "1m", MINUTE);
    check_counts(&daemon, &messages, "start=now-2d", "1h", HOUR);
    check_counts(&daemon, &messages, "start=now-2d", "1d", DAY);

    let rows = daemon.rows("/plugins/volume/latest_by_topic?order=topic");
    let newest = |topic: &str| {
        let mut all: Vec<&Message> = messages.iter().filter(|message| message.topic == topic).collect();
        all.sort_by(|a, b| (a.time, &a.id).partial_cmp(&(b.time, &b.id)).expect("no NaN"));
        let newest = *all.last().expect("each topic was sent");
        json!({"topic": topic, "id": newest.shown_id(), "at": newest.time as i64, "value": {"bytes": newest.body().len()}})
    };
    let shown =
        |row: &Value| json!({"topic": row["topic"], "id": row["id"], "at": secs(&row["time"]), "value": row["value"]});
    let expected: Vec<Value> = topic_counts(&messages).keys().map(|topic| newest(topic)).collect();
    assert_eq!(rows.iter().map(shown).collect::<Vec<_>>(), expected);
    daemon.terminate();
}

/// Rows as text: seconds after `begin`, then labels and value in the order of the columns.
fn table(answer: &Value, begin: i64) -> String {
    let columns: Vec<&str> =
        answer["columns"].as_array().expect("columns").iter().filter_map(|column| column["name"].as_str()).collect();
    let mut text = String::new();
    for row in answer["rows"].as_array().expect("rows") {
        assert_eq!(row.as_object().expect("flat").len(), columns.len(), "{row}");
        for name in &columns {
            let _ = match (*name, &row[*name]) {
                ("time", time) => write!(text, "{}", secs(time) - begin),
                // What there is came in while we listened, but when it happened nobody did.
                ("coverage", coverage) => {
                    assert_eq!(coverage, "partial", "{row}");
                    Ok(())
                }
                (_, Value::String(label)) => write!(text, " {}", label.rsplit("prod.").next().unwrap_or("")),
                (_, value) => write!(text, " {value}"),
            };
        }
        text.push_str(", ");
    }
    if answer["truncated"] == true { text + "…" } else { text.trim_end_matches(", ").to_owned() }
}

#[test]
fn questions() {
    // Yesterday, at the beginning of an hour: minutes are kept, seconds are not any more.
    let begin = (now_secs() - DAY) / HOUR * HOUR;
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    for (at, topic, count) in
        [(0, "git.push", 1), (59, "git.push", 2), (60, "git.pull", 4), (60, "copr.end", 8), (3599, "copr.end", 16)]
    {
        for _ in 0..count {
            publisher.send(&Message::new(&format!("org.fedoraproject.prod.{topic}")).at(begin + at));
        }
    }
    daemon.wait_sequence(31);

    let at = |secs: i64| begin + secs;
    let (start, end) = (at(0), at(3600));
    let rfc3339 = daemon.json(&format!("/plugins/volume/messages?start={start}&end={end}"))["start"].clone();
    let rfc3339 = rfc3339.as_str().expect("a time");
    for (metric, question, expect) in [
        ("messages", format!("start={start}&end={end}&step=1m"), "0 3, 60 12, 3540 16"),
        ("messages", format!("start={start}&end={end}"), "0 3, 60 12, 3540 16"),
        ("messages", format!("start={start}&end={end}&step=1h"), "0 31"),
        ("messages", format!("start={start}&end={end}&step=2m"), "0 15, 3480 16"),
        ("messages", format!("start={rfc3339}&end={end}&step=1h"), "0 31"),
        // Half-open: the bucket at the end is out, the one at the start is in, also if start is within it.
        ("messages", format!("start={}&end={}&step=1m", at(60), at(3540)), "60 12"),
        ("messages", format!("start={}&end={}&step=1m", at(61), at(3541)), "60 12, 3540 16"),
        ("messages", format!("start={}&end={}&step=1m", at(120), at(3540)), ""),
        ("by_category", format!("start={start}&end={end}&step=1h"), "0 copr 24, 0 git 7"),
        (
            "by_category",
            format!("start={start}&end={end}&step=1m&order=-value"),
            "3540 copr 16, 60 copr 8, 60 git 4, 0 git 3",
        ),
        (
            "by_category",
            format!("start={start}&end={end}&step=1m&order=desc"),
            "3540 copr 16, 60 copr 8, 60 git 4, 0 git 3",
        ),
        ("by_category", format!("start={start}&end={end}&step=1m&order=-category&limit=2"), "0 git 3, 60 git 4, …"),
        (
            "by_category",
            format!("start={start}&end={end}&step=1m&limit=4"),
            "0 git 3, 60 copr 8, 60 git 4, 3540 copr 16",
        ),
        ("by_category", format!("start={start}&end={end}&step=1h&by="), "0 31"),
        ("by_category", format!("start={start}&end={end}&step=1h&where.category=git"), "0 git 7"),
        ("by_category", format!("start={start}&end={end}&step=1h&where.category=no"), ""),
        ("by_topic", format!("start={start}&end={end}&step=1h&where.topic=*.git.*"), "0 git.pull 4, 0 git.push 3"),
        ("by_topic", format!("start={start}&end={end}&step=1h&where.topic=*.git.*&by="), "0 7"),
        (
            "by_topic",
            format!("start={start}&end={end}&step=1h&where.topic=*.pull&where.topic=*.end"),
            "0 copr.end 24, 0 git.pull 4",
        ),
        ("by_topic", "start=now-30h&step=1d&by=&where.topic=*push".to_owned(), "day 3"),
        ("latest_by_topic", "order=topic&where.topic=*git*".to_owned(), "latest"),
    ] {
        let path = format!("/plugins/volume/{metric}?{question}");
        let answer = daemon.json(&path);
        let got = table(&answer, begin);
        match expect {
            "day 3" => assert!(got.ends_with(" 3") && !got.contains(','), "{path}: {got}"),
            "latest" => {
                let times: Vec<i64> =
                    answer["rows"].as_array().into_iter().flatten().map(|row| secs(&row["time"]) - begin).collect();
                assert_eq!(times, [60, 59], "{path}: {got}");
            }
            expect => assert_eq!(got, expect, "{path}"),
        }
        assert_eq!(answer["partial"], false, "{path}");
    }
    let answer = daemon.json(&format!("/plugins/volume/by_topic?start={start}&end={end}&step=1h&by="));
    let columns = json!([
        {"name": "time", "type": "time"},
        {"name": "value", "type": "integer"},
        {"name": "coverage", "type": "string"},
    ]);
    assert_eq!((&answer["columns"], &answer["step"], &answer["unit"]), (&columns, &json!("1h"), &json!("messages")));
    assert_eq!((secs(&answer["start"]), secs(&answer["end"])), (start, end));
    let coverage = json!([{"start": answer["start"], "end": answer["end"], "coverage": "missing"}]);
    assert_eq!(answer["coverage"], coverage, "yesterday nobody listened");
    assert_eq!(daemon.json("/plugins/volume/latest_by_topic")["coverage"], Value::Null);
    assert_eq!(answer["watermark"]["sequence"], 31);
    assert_eq!(secs(&answer["watermark"]["time"]), at(3599));
    assert!((now_secs() - secs(&answer["as_of"])).abs() < 5, "{answer}");
}

#[test]
fn the_past_is_counted_in_its_own_bucket() {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let message = |at| Message::new("org.fedoraproject.prod.git.push").at(at);
    // 2013-09-20, its last second, the first of the next day, and the first second there is.
    publisher.send_all(&[message(1_379_635_200), message(1_379_721_599), message(1_379_721_600), message(0)]);
    publisher.send_all(&[message(now_secs())]);
    daemon.wait_sequence(5);
    let day = 1_379_635_200;
    for (question, expect) in [
        ("start=2013-09-01&end=2013-10-01&step=1d", "0 2, 86400 1"),
        ("start=2013-09-01&end=2013-10-01", "0 2, 86400 1"),
        ("start=2013-09-20T00:00:00Z&end=2013-09-21&step=1d", "0 2"),
        ("start=2013-09-20&end=2013-09-27&step=7d", "-86400 3"),
        ("start=1970-01-01&end=1970-01-02&step=1d", "-1379635200 1"),
    ] {
        let answer = daemon.json(&format!("/plugins/volume/messages?{question}"));
        assert_eq!(table(&answer, day), expect, "{question}");
    }
    // Hours of that day are kept no longer, and the answer says so, rather than that there was nothing.
    let answer = daemon.get("/plugins/volume/messages?start=2013-09-20&end=2013-09-21&step=1h");
    assert_eq!(answer.status, 400);
    let problem = answer.json();
    assert_eq!(problem["parameter"], "step");
    assert!(problem["allowed"].to_string().contains("1d forever"), "{problem}");
}

#[test]
fn a_message_counts_once_whoever_sends_it_how_often() {
    let (mut one, mut two) = (TestPublisher::start(), TestPublisher::start());
    let daemon = DaemonSetup::new().endpoint(&one.address).endpoint(&two.address).start();
    one.reaches(&daemon);
    two.reaches(&daemon);
    let topic = "org.fedoraproject.prod.git.push";
    let with_year = |n: usize| Message::new(topic).id(&format!("2026-0000000{n}-dup"));
    let without_year = |n: usize| Message::new(topic).id(&format!("0000000{n}-dup"));
    for n in 0..10 {
        one.send(&with_year(n % 5));
        two.send(&without_year(n % 5));
    }
    daemon.wait_until("has seen all", |daemon| {
        let bus = daemon.json("/bus");
        bus["accepted"].as_u64().zip(bus["duplicates"].as_u64()).is_some_and(|(a, b)| a + b == 20)
    });
    assert_eq!(daemon.json("/bus")["accepted"], 5);
    daemon.wait_sequence(5);

    // Across a restart, too.
    let daemon = daemon.terminate().start();
    one.reaches(&daemon);
    (0..5).for_each(|n| one.send(&with_year(n)));
    one.send(&with_year(5));
    daemon.wait_sequence(6);
    assert_eq!(daemon.json("/bus")["duplicates"], 5);
    let rows = daemon.rows("/plugins/volume/messages?start=now-2d&step=1d");
    assert_eq!(rows.iter().filter_map(|row| row["value"].as_i64()).sum::<i64>(), 6);
}

#[test]
fn what_is_no_message_is_counted_shown_and_passed_over() {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().set("bus", "max_message", "\"1KiB\"").endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let good =
        |n: u32| format!("{{\"msg_id\": \"good-{n}\", \"timestamp\": {}, \"n\": NaN, \"i\": [-Infinity]}}", now_secs());
    let long_topic = "t".repeat(1025);
    let long_body = format!("\"{}\"", "b".repeat(1023));
    let bad: [(&str, &[&[u8]]); 9] = [
        ("no_separator", &[b"a.lone.frame {}"]),
        ("frame_count", &[b"a.b", b"{}", b"{}"]),
        ("topic_not_utf8", &[b"a.\xff.b", b"{}"]),
        ("topic_too_long", &[long_topic.as_bytes(), b"{}"]),
        ("body_too_long", &[b"a.b", long_body.as_bytes()]),
        ("body_not_utf8", &[b"a.b", b"{\"a\": \"\xff\"}"]),
        ("body_not_json", &[b"a.b", b"{\"a\": "]),
        ("body_not_json", &[b"a.b", b""]),
        ("body_not_json", &[b"a.b\0{'single': 1}"]),
    ];
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    for (n, (kind, frames)) in bad.into_iter().enumerate() {
        publisher.send_frames(frames);
        publisher.send_body("org.fedoraproject.prod.git.push", &good(n as u32));
        *expected.entry(kind).or_default() += 1;
    }
    // One frame is a message, too, with a NUL in it.
    publisher.send_frames(&[format!("org.fedoraproject.prod.one.frame\0{}", good(99)).as_bytes()]);
    daemon.wait_sequence(10);

    let bus = daemon.json("/bus");
    for (kind, count) in &expected {
        assert_eq!(bus["rejected"][*kind].as_u64(), Some(*count), "{kind}: {:#}", bus["rejected"]);
        assert_eq!(daemon.figure(&format!("statscache_rejected_total{{kind=\"{kind}\"}}")), *count as f64);
        let shown = bus["rejects"].as_array().into_iter().flatten().filter(|reject| reject["kind"] == *kind);
        assert_eq!(shown.count() as u64, *count, "{kind}: {:#}", bus["rejects"]);
    }
    let shown = |kind: &str| {
        let mut rejects = bus["rejects"].as_array().into_iter().flatten();
        rejects.rfind(|reject| reject["kind"] == kind).cloned().unwrap_or_default()
    };
    assert_eq!(
        (&shown("body_not_json")["topic"], &shown("body_not_json")["body"]),
        (&json!("a.b"), &json!("{'single': 1}"))
    );
    assert_eq!(shown("body_too_long")["body_bytes"], 1025);
    assert_eq!(shown("no_separator")["endpoint"], publisher.address.as_str());
    assert_eq!(daemon.figure("statscache_messages_repaired_total"), 10.0, "NaN is read as null");

    let rows = daemon.rows("/plugins/volume/by_category?start=now-2d&step=1d&by=category&order=category");
    let shown: Vec<String> = rows.iter().map(|row| format!("{} {}", row["category"], row["value"])).collect();
    assert_eq!(shown, ["\"git\" 9", "\"one\" 1"]);
}

#[test]
fn the_release_engineering_log() {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let now = now_secs();
    let send = |publisher: &mut TestPublisher, age: i64, rest: &str, msg: Value| {
        publisher.send(&Message::new(&format!("org.fedoraproject.prod.{rest}")).at(now - age).msg(msg));
    };
    send(&mut publisher, 9, "compose.rawhide.start", json!({"arch": "x86_64"}));
    send(&mut publisher, 8, "compose.rawhide.complete", json!({"arch": "x86_64"}));
    // Late: it does not replace what is newer.
    send(&mut publisher, 10, "compose.rawhide.start", json!({"arch": "x86_64"}));
    send(&mut publisher, 7, "compose.branched.mash.start", json!({}));
    send(&mut publisher, 6, "bodhi.updates.fedora.sync", json!({"release": "41", "repo": "updates"}));
    send(
        &mut publisher,
        5,
        "fedimg.image.upload",
        json!({"status": "completed", "image_name": "Fedora-Cloud-Base-rawhide-1.x86_64.raw", "destination": "EC2 (us-east-1)", "extra": {"id": "ami-1"}}),
    );
    send(
        &mut publisher,
        4,
        "buildsys.task.state.change",
        json!({"owner": "masher", "method": "livecd", "srpm": "Fedora-Live-x86_64", "new": "OPEN", "id": 77}),
    );
    // Not of the expected shape, or of no interest: passed over, no failure.
    send(&mut publisher, 3, "bodhi.updates.fedora.sync", json!({"release": {}}));
    send(&mut publisher, 2, "fedimg.image.upload", json!({"status": "started"}));
    send(&mut publisher, 1, "git.receive", json!({}));
    daemon.wait_sequence(10);

    let rows = daemon.rows("/plugins/releng/log?order=category");
    let shown = |row: &Value| {
        format!(
            "{} | {} | {} | {}",
            row["category"],
            row["constraint"],
            row["value"]["status"],
            now - secs(&row["time"])
        )
        .replace('"', "")
    };
    assert_eq!(
        rows.iter().map(shown).collect::<Vec<_>>(),
        [
            "ami-rawhide | Fedora-Cloud-Base-rawhide-1.x86_64.raw-us-east-1 | completed | 5",
            "artifact-livecd_x86_64 | Fedora-Live-x86_64 | OPEN | 4",
            "compose-branched_primary | mash | start | 7",
            "compose-rawhide_x86_64 | rawhide | complete | 8",
            "updates-fedora | 41-updates | synced out | 6",
        ]
    );
    assert_eq!(rows[1]["value"]["extra_link"], "https://koji.fedoraproject.org/koji/taskinfo?taskID=77");
    let releng = daemon.plugin("releng");
    assert_eq!((&releng["counters"]["processed"], &releng["counters"]["failed"]), (&json!(9), &json!(0)));
    let rows = daemon.rows("/plugins/releng/events?start=now-2d&step=1d&by=category&where.category=compose-rawhide*");
    assert_eq!(rows.iter().filter_map(|row| row["value"].as_i64()).sum::<i64>(), 3);
}

#[test]
fn publishers_come_and_go() {
    let mut setup = DaemonSetup::new();
    let mut publisher = TestPublisher::start();
    let address = publisher.address.clone();
    setup = setup.endpoint(&address).set("bus", "heartbeat", "\"1s\"");
    drop(publisher);
    // Nobody is there yet.
    let daemon = setup.start();
    daemon.wait_until("shows that nobody is there", |daemon| {
        daemon.json("/bus")["endpoints"][0]["last_error"].as_str().is_some_and(|error| error.contains("refused"))
    });
    assert_eq!(daemon.get("/readyz").status, 200, "a bus without publishers is not its fault");
    let topic = "org.fedoraproject.prod.git.push";
    for round in 1..=3 {
        publisher = TestPublisher::bind(&address);
        publisher.reaches(&daemon);
        daemon.wait_until("connects anew", |daemon| {
            // Heard of this publisher, not of the one before.
            publisher.send_frames(&[b"", b"knock"]);
            publisher.subscribers() == 1
                && daemon.json("/bus")["endpoints"][0]["state"] == "connected"
                && daemon.json("/bus")["endpoints"][0]["connects"] == round
        });
        let before = daemon.json("/bus")["endpoints"][0]["rejected"].as_u64();
        daemon.wait_until("hears it", |daemon| {
            publisher.send_frames(&[b"", b"knock"]);
            daemon.json("/bus")["endpoints"][0]["rejected"].as_u64() > before
        });
        publisher.send(&Message::new(topic));
        daemon.wait_sequence(round);
        drop(publisher);
    }
}
