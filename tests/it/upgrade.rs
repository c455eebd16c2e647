//! Reloads: new plugins, other configurations and other versions while the daemon runs. What serves goes on until what
//! takes its place is whole, and whatever is wrong changes nothing.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use hyper::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, DaemonSetup, Message, SHIPPED, TestDaemon, TestPublisher, fetch, now_secs, raw_abi, raw_abi_version, run,
    signal, test_library,
};

const HOSTILE: &str = "statscache_test_plugin_hostile";
const TOKEN: (&str, &str) = ("authorization", "Bearer open sesame");

fn setup(publisher: &TestPublisher) -> DaemonSetup {
    let setup = DaemonSetup::new();
    fs::write(setup.dir().join("token"), "open sesame\n").expect("it is ours");
    setup.set("admin", "token_file", "\"token\"").endpoint(&publisher.address)
}

fn order(daemon: &TestDaemon, path: &str) -> Answer {
    daemon.ask(Method::POST, path, &[TOKEN])
}

/// A reload that works.
fn reload(daemon: &TestDaemon) -> Value {
    let answer = order(daemon, "/admin/reload");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn count(daemon: &TestDaemon, id: &str, metric: &str) -> i64 {
    let rows = daemon.rows(&format!("/plugins/{id}/{metric}?start=2000-01-01&end=now%2B1d&step=1d&by="));
    rows.iter().map(|row| row["value"].as_i64().expect("a count")).sum()
}

fn wait_count(daemon: &TestDaemon, id: &str, metric: &str, expect: i64) {
    daemon.wait_until(&format!("{id}/{metric} is {expect}"), |daemon| {
        daemon.plugin(id)["counters"].is_object() && count(daemon, id, metric) == expect
    });
    assert_eq!(count(daemon, id, metric), expect);
}

fn wait_building(daemon: &TestDaemon, id: &str, state: &str) {
    daemon.wait_until(&format!("what is built for {id} is {state}"), |daemon| {
        daemon.plugin(id)["building"]["state"] == state
    });
}

fn messages(n: std::ops::Range<i64>) -> Vec<Message> {
    let message =
        |n: i64| Message::new(&format!("org.fedoraproject.prod.git.t{}", n % 4)).at(now_secs()).msg(json!({"n": n}));
    n.map(message).collect()
}

#[test]
fn a_new_plugin_reads_the_journal_while_the_others_go_on() {
    let mut publisher = TestPublisher::start();
    let mut setup = setup(&publisher);
    let new = setup.plugin_path("new.so");
    let daemon = setup.start();
    publisher.reaches(&daemon);
    publisher.send_all(&messages(0..100));
    daemon.wait_sequence(100);
    raw_abi("raw-new", "", &new);
    let report = thread::scope(|scope| {
        let reloading = scope.spawn(|| reload(&daemon));
        publisher.send_all(&messages(100..300));
        reloading.join().expect("it reloads")
    });
    assert_eq!((&report["added"], &report["changed"]), (&json!(["raw-new"]), &json!([])), "{report}");
    assert_eq!(report["unchanged"], json!(SHIPPED), "{report}");
    publisher.send_all(&messages(300..400));
    wait_count(&daemon, "volume", "messages", 400);
    wait_count(&daemon, "raw-new", "messages", 400);
    // What counts since the start of the process counts on.
    assert_eq!(daemon.figure("statscache_messages_accepted_total"), 400.0);
    assert_eq!(daemon.figure("statscache_queue_dropped_total"), 0.0);
    assert_eq!(daemon.plugin("raw-new")["counters"]["missed"], 0);

    // And away again: the others do not notice.
    fs::remove_file(&new).expect("it is ours");
    let report = reload(&daemon);
    assert_eq!((&report["removed"], &report["unchanged"]), (&json!(["raw-new"]), &json!(SHIPPED)));
    assert_eq!(daemon.get("/plugins/raw-new").status, 404);
    let daemon = daemon.terminate().start();
    assert_eq!(count(&daemon, "volume", "messages"), 400);
}

#[test]
fn what_serves_goes_on_until_what_takes_its_place_is_whole() {
    let mut publisher = TestPublisher::start();
    let mut daemon = setup(&publisher).instance("volume", "volume", "").instance("releng", "releng", "").start();
    publisher.reaches(&daemon);
    publisher.send_all(&messages(0..2000));
    wait_count(&daemon, "volume", "messages", 2000);
    daemon.change(|setup| {
        let setup = setup.without_instances().instance("releng", "releng", "");
        setup.instance("volume", "volume", "{ latest_body = true }")
    });
    let is_over = AtomicBool::new(false);
    let looks = thread::scope(|scope| {
        let polling = scope.spawn(|| {
            let (mut last, mut looks) = (2000, 0);
            while !is_over.load(Ordering::Relaxed) {
                let now = count(&daemon, "volume", "messages");
                assert!(now >= last, "{now} after {last}");
                last = now;
                let rows = daemon.rows("/plugins/volume/latest_by_topic");
                let with_body = rows.iter().filter(|row| row["value"]["msg"].is_object()).count();
                assert!(rows.len() == 4 && (with_body == 0 || with_body == 4), "half of it: {rows:?}");
                looks += 1;
            }
            looks
        });
        let report = reload(&daemon);
        assert_eq!((&report["changed"], &report["unchanged"]), (&json!(["volume"]), &json!(["releng"])), "{report}");
        publisher.send_all(&messages(2000..2500));
        daemon.wait_until("the new one serves", |daemon| {
            daemon.rows("/plugins/volume/latest_by_topic")[0]["value"]["msg"].is_object()
        });
        wait_count(&daemon, "volume", "messages", 2500);
        is_over.store(true, Ordering::Relaxed);
        polling.join().expect("it looked on")
    });
    assert!(looks > 0);
    let volume = daemon.plugin("volume");
    assert_eq!((&volume["state"], &volume["building"]), (&json!("running"), &Value::Null));
    assert_eq!(volume["config"], json!({"latest_body": true}));
}

#[test]
fn what_is_built_can_be_held_compared_and_promoted() {
    let mut publisher = TestPublisher::start();
    let mut daemon = setup(&publisher).instance("volume", "volume", "").start();
    publisher.reaches(&daemon);
    publisher.send_all(&messages(0..100));
    daemon.wait_sequence(100);
    let nothing = daemon.get("/plugins/volume/diff");
    assert_eq!(nothing.status, 404);
    assert!(nothing.body.contains("nothing is built"), "{}", nothing.body);
    let nothing = order(&daemon, "/admin/plugins/volume/promote");
    assert_eq!(nothing.status, 409, "{}", nothing.body);
    assert_eq!(order(&daemon, "/admin/plugins/nobody/promote").status, 404);

    daemon.change(|setup| {
        setup.set("plugins", "hold", "true").without_instances().instance("volume", "volume", "{ latest_body = true }")
    });
    assert_eq!(reload(&daemon)["changed"], json!(["volume"]));
    publisher.send_all(&messages(100..150));
    wait_count(&daemon, "volume", "messages", 150);
    wait_building(&daemon, "volume", "held");
    daemon.wait_until("both have all", |daemon| {
        daemon.plugin("volume")["building"]["watermark"]["sequence"] == 150
            && daemon.plugin("volume")["watermark"]["sequence"] == 150
    });
    let volume = daemon.plugin("volume");
    assert_eq!(volume["state"], "running", "the old one goes on");
    assert_eq!(volume["building"]["counters"]["processed"], 150, "{volume:#}");
    assert_eq!(daemon.rows("/plugins/volume/latest_by_topic")[0]["value"]["msg"], Value::Null);

    let diff = daemon.json("/plugins/volume/diff?start=now-1h&limit=3");
    let metric = |name: &str| {
        let all = diff["metrics"].as_array().into_iter().flatten();
        all.clone().find(|metric| metric["name"] == name).cloned().unwrap_or_else(|| panic!("{diff:#}"))
    };
    assert_eq!((&diff["only_old"], &diff["only_new"], &diff["partial"]), (&json!([]), &json!([]), &json!(false)));
    assert!(metric("by_topic")["equal"].as_u64() >= Some(4), "{diff:#}");
    assert_eq!(metric("by_topic")["different"], 0, "{diff:#}");
    let latest = metric("latest_by_topic");
    assert_eq!((&latest["equal"], &latest["different"]), (&json!(0), &json!(4)), "{diff:#}");
    assert_eq!(latest["rows"].as_array().map(Vec::len), Some(3), "as many as `limit` says");
    let row = &latest["rows"][0];
    assert!(row["old"]["msg"].is_null() && row["new"]["msg"].is_object() && row["topic"].is_string(), "{row}");
    for (question, word) in [("limit=0", "limit"), ("fill=zero", "fill"), ("start=soon", "start"), ("step=7x", "step")]
    {
        let answer = daemon.get(&format!("/plugins/volume/diff?{question}"));
        assert!(answer.status == 400 && answer.body.contains(word), "{question}: {}", answer.body);
    }

    // A crash does not let it go.
    let mut daemon = daemon.kill().start();
    wait_building(&daemon, "volume", "held");
    let token = daemon.data_dir().with_file_name("token");
    let url = format!("http://{}", daemon.address());
    let promoted = run(&["promote", "volume", "--url", &url, "--token-file", &token.display().to_string()]);
    assert_eq!(promoted.code, Some(0), "{promoted:#?}");
    daemon.wait_until("the new one serves", |daemon| daemon.plugin("volume")["building"].is_null());
    let rows = daemon.rows("/plugins/volume/latest_by_topic");
    assert!(rows.iter().all(|row| row["value"]["msg"].is_object()), "{rows:?}");
    wait_count(&daemon, "volume", "messages", 150);

    // Taken back: what was there before is still there, and has what it missed.
    publisher.reaches(&daemon);
    publisher.send_all(&messages(150..160));
    wait_count(&daemon, "volume", "messages", 160);
    daemon.change(|setup| setup.without_instances().instance("volume", "volume", ""));
    reload(&daemon);
    wait_building(&daemon, "volume", "held");
    assert_eq!(order(&daemon, "/admin/plugins/volume/promote").status, 200);
    daemon.wait_until("the old one serves again", |daemon| daemon.plugin("volume")["building"].is_null());
    wait_count(&daemon, "volume", "messages", 160);
    assert_eq!(daemon.plugin("volume")["counters"]["processed"], 160);
}

#[test]
fn another_version_is_built_while_the_old_code_goes_on() {
    let mut publisher = TestPublisher::start();
    let mut setup = setup(&publisher).set("plugins", "hold", "true");
    let library = setup.plugin_path("raw.so");
    let other = setup.dir().join("other.so");
    raw_abi("raw", "", &library);
    let daemon = setup.start();
    publisher.reaches(&daemon);
    publisher.send_all(&messages(0..50));
    daemon.wait_sequence(50);

    // Written into the file that is in use.
    raw_abi_version("raw", 1, "LONGER_TABLES", &other);
    fs::copy(&other, &library).expect("written");
    let report = reload(&daemon);
    assert_eq!((&report["updated"], &report["changed"]), (&json!(["raw"]), &json!([])), "the numbers mean the same");
    raw_abi_version("raw", 2, "", &other);
    fs::copy(&other, &library).expect("written");
    assert_eq!(reload(&daemon)["changed"], json!(["raw"]));
    publisher.send_all(&messages(50..80));
    wait_count(&daemon, "raw", "messages", 80);
    assert_eq!(daemon.plugin("raw")["state"], "running");
    wait_building(&daemon, "raw", "held");
    // Loaded anew in the middle of it, both go on where they are.
    assert_eq!(reload(&daemon)["changed"], json!(["raw"]));
    publisher.send_all(&messages(80..100));
    wait_count(&daemon, "raw", "messages", 100);
    daemon.wait_until("the new one has all", |daemon| daemon.plugin("raw")["building"]["counters"]["processed"] == 100);
    // Three versions of this one, and those that ship.
    assert_eq!(daemon.figure("statscache_libraries"), 3.0 + SHIPPED.len() as f64);

    // Started again, its code is gone; it serves what it has.
    let daemon = daemon.terminate().start();
    publisher.reaches(&daemon);
    publisher.send_all(&messages(100..110));
    daemon.wait_until("the new one has all", |daemon| daemon.plugin("raw")["building"]["watermark"]["sequence"] == 110);
    assert_eq!(daemon.plugin("raw")["state"], "frozen");
    assert_eq!(count(&daemon, "raw", "messages"), 100);
    assert_eq!(order(&daemon, "/admin/plugins/raw/promote").status, 200);
    wait_count(&daemon, "raw", "messages", 110);
    assert_eq!(daemon.plugin("raw")["state"], "running");
}

#[test]
fn what_is_broken_changes_nothing() {
    let mut publisher = TestPublisher::start();
    let mut setup = setup(&publisher).plugin(&test_library(HOSTILE)).instance("volume", "volume", "");
    fs::write(setup.plugin_path("always-broken.so"), "no library").expect("written");
    let broken = setup.plugin_path("broken.so");
    let mut daemon = setup.start();
    publisher.reaches(&daemon);
    let mut sent = 0;
    let mut refused = |daemon: &TestDaemon, words: &[&str]| {
        let answer = order(daemon, "/admin/reload");
        assert_eq!(answer.status, 422, "{}", answer.body);
        for word in ["nothing was changed"].iter().chain(words) {
            assert!(answer.body.contains(word), "no {word:?} in {}", answer.body);
        }
        assert!(daemon.logged(&["not reloaded", words[0]]), "{:#?}", daemon.log());
        publisher.send_all(&messages(sent..sent + 10));
        sent += 10;
        wait_count(daemon, "volume", "messages", sent);
        let list = daemon.json("/plugins");
        let ids: Vec<&Value> = list["plugins"].as_array().into_iter().flatten().map(|plugin| &plugin["id"]).collect();
        assert_eq!(ids, ["volume", "always-broken.so"]);
    };
    fs::write(&broken, "no library either").expect("written");
    refused(&daemon, &["broken.so", "not a shared library"]);
    fs::remove_file(&broken).expect("it is ours");
    daemon.change(|setup| setup.text("\n[plugin]\nx = 1\n[limits]\nmetrics = 0\n"));
    refused(&daemon, &["plugin", "metrics", "statscache.toml"]);
    daemon.change(|setup| {
        let setup = setup.without_instances().instance("volume", "volume", "{ latest_bodi = true }");
        setup.instance("nobody", "nobody", "").instance("refuses", "hostile", "{ mode = \"error_create\" }")
    });
    refused(&daemon, &["latest_bodi", "nobody", "hostile: no"]);
    daemon
        .change(|setup| setup.without_instances().instance("volume", "volume", "").set("limits", "cache", "\"32MiB\""));
    let report = reload(&daemon);
    assert_eq!((&report["unchanged"], &report["restart"]), (&json!(["volume"]), &json!(["limits"])), "{report}");
    assert!(report["failed"][0].as_str().is_some_and(|failed| failed.contains("always-broken.so")), "{report}");
    // So does what takes a plugin with it.
    daemon.change(|setup| setup.text("\n[[instance]]\nid = \"off\"\nplugin = \"releng\"\nenabled = false\n"));
    assert_eq!(reload(&daemon)["unchanged"], json!(["volume"]));
    assert_eq!(daemon.plugin("off")["state"], "disabled");
}

#[test]
fn orders_want_the_token() {
    let publisher = TestPublisher::start();
    let mut daemon = setup(&publisher).instance("volume", "volume", "").start();
    let status = |method: Method, path: &str, token: &str| {
        let answer = fetch(daemon.address(), method, path, &[("authorization", token)]).expect("an answer");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{path}: {}", answer.body);
        answer.status
    };
    for token in
        ["", "Bearer", "Bearer ", "Bearer open sesam", "Bearer open sesamE", "Basic open sesame", "open sesame"]
    {
        assert_eq!(status(Method::POST, "/admin/reload", token), 401, "{token:?}");
        assert_eq!(status(Method::POST, "/admin/nothing", token), 401, "{token:?}");
    }
    assert_eq!(status(Method::GET, "/admin/reload", TOKEN.1), 405);
    assert_eq!(status(Method::DELETE, "/admin/plugins/volume/promote", TOKEN.1), 405);
    assert_eq!(status(Method::POST, "/admin/nothing", TOKEN.1), 404);
    assert!(!daemon.logged(&["reloaded"]), "{:#?}", daemon.log());

    let url = format!("http://{}", daemon.address());
    let token = daemon.data_dir().with_file_name("token").display().to_string();
    let reloaded = run(&["reload", "--url", &url, "--token-file", &token]);
    assert_eq!(reloaded.code, Some(0), "{reloaded:#?}");
    assert!(reloaded.stdout.contains("unchanged  volume"), "{reloaded:#?}");
    run(&["reload", "--url", &url]).fails_with(&["--token-file", "STATSCACHE_TOKEN"]);
    run(&["promote", "volume", "--url", &url, "--token-file", &token]).fails_with(&["409", "nothing is built"]);

    // Without a token it is off; the signal works always.
    daemon.change(|setup| setup.set("admin", "token_file", "\"\""));
    let mut daemon = daemon.terminate().start();
    let off = order(&daemon, "/admin/reload");
    assert!(off.status == 404 && off.body.contains("[admin] token_file"), "{}", off.body);
    daemon.change(|setup| setup.instance("releng", "releng", ""));
    signal(daemon.pid(), "HUP");
    daemon.wait_until("reloads", |daemon| daemon.logged(&["reloaded", "added releng", "unchanged volume"]));
    assert_eq!(daemon.plugin("releng")["plugin"], "releng");
    let setup = daemon.terminate().set("admin", "token_file", "\"no-such-token\"");
    let config = setup.write().display().to_string();
    run(&["run", "--config", &config]).fails_with(&["[admin] token_file", "no-such-token"]);
}

#[test]
fn nothing_is_lost_by_a_crash_in_the_middle_of_a_reload() {
    let mut publisher = TestPublisher::start();
    let mut daemon = setup(&publisher).instance("volume", "volume", "").instance("releng", "releng", "").start();
    let mut sent = 0;
    for round in 0..6 {
        publisher.reaches(&daemon);
        publisher.send_all(&messages(sent..sent + 300));
        sent += 300;
        daemon.wait_until("all are accepted", |daemon| daemon.journal_next() == sent as u64 + 1);
        let config = format!("{{ latest_body_bytes_max = {round} }}");
        daemon.change(|setup| {
            setup.without_instances().instance("volume", "volume", &config).instance("releng", "releng", "")
        });
        // Half of them are killed while it is loaded, the others while it is built.
        let address = daemon.address();
        let reloading = thread::spawn(move || fetch(address, Method::POST, "/admin/reload", &[TOKEN]).is_ok());
        if round % 2 == 0 {
            assert!(reloading.join().expect("no panic"), "it answers");
            daemon = daemon.kill().start();
        } else {
            daemon = daemon.kill().start();
            reloading.join().expect("no panic");
        }
        daemon.wait_until("the new one serves", |daemon| {
            let volume = daemon.plugin("volume");
            volume["building"].is_null() && volume["state"] == "running"
        });
        wait_count(&daemon, "volume", "messages", sent);
        assert_eq!(daemon.plugin("volume")["counters"]["processed"], sent);
        assert_eq!(daemon.plugin("releng")["counters"]["missed"], 0);
    }
}

#[test]
fn what_was_seen_of_an_idle_bus_is_known_after_a_reload() {
    let mut publisher = TestPublisher::start();
    let daemon = setup(&publisher).instance("volume", "volume", "").start();
    publisher.reaches(&daemon);
    let question = format!("/plugins/volume/messages?start={}&step=1s", now_secs() - 5);
    // Where the spans begin that were seen whole.
    let seen = || {
        let answer = daemon.json(&question);
        let spans = answer["coverage"].as_array().cloned().unwrap_or_default();
        let whole = spans.into_iter().filter(|span| span["coverage"] == "complete");
        whole.map(|span| span["start"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    daemon.wait_until("a second was seen", |_| !seen().is_empty());
    let before = seen();
    reload(&daemon);
    assert_eq!(seen(), before, "what was seen before is known");
    let later = daemon.figure("statscache_view_timestamp_seconds") as i64 + 4;
    daemon.wait_until("goes on", |daemon| daemon.figure("statscache_view_timestamp_seconds") as i64 > later);
    assert_eq!(seen(), before, "and there is no gap behind it");
}

#[test]
fn quarantined_instances_get_another_chance() {
    let mut publisher = TestPublisher::start();
    let setup = setup(&publisher).plugin(&test_library(HOSTILE)).set("plugins", "quarantine_after", "2");
    let daemon = setup.instance("asked", "hostile", "{ mode = \"asked\" }").instance("volume", "volume", "").start();
    publisher.reaches(&daemon);
    let bad = || Message::new("a.b").msg(json!({"do": "panic_process"}));
    publisher.send_all(&[Message::new("a.b"), bad(), bad(), Message::new("a.b")]);
    daemon.wait_until("gives up", |daemon| daemon.plugin("asked")["state"] == "quarantined");
    assert_eq!(count(&daemon, "asked", "seen"), 1);
    let report = reload(&daemon);
    assert_eq!((&report["revived"], &report["unchanged"]), (&json!(["asked"]), &json!(["volume"])), "{report}");
    wait_count(&daemon, "asked", "seen", 2);
    assert_eq!(daemon.plugin("asked")["state"], "running");
    assert_eq!(daemon.plugin("asked")["counters"]["failed"], 2);
}

#[test]
fn one_that_does_not_return_holds_up_no_reload() {
    let mut publisher = TestPublisher::start();
    let setup = setup(&publisher).plugin(&test_library(HOSTILE)).instance("volume", "volume", "");
    let mut daemon = setup.instance("asked", "hostile", "{ mode = \"asked\" }").start();
    publisher.reaches(&daemon);
    publisher.send(&Message::new("a.b").msg(json!({"do": "stall_ms", "n": 4_000})));
    publisher.send_all(&messages(0..20));
    wait_count(&daemon, "volume", "messages", 21);
    assert!(daemon.plugin("asked")["lag"]["messages"].as_u64() >= Some(20), "{}", daemon.plugin("asked"));
    daemon.change(|setup| setup.instance("neighbour", "neighbour", ""));
    assert_eq!(reload(&daemon)["added"], json!(["neighbour"]));
    assert!(daemon.logged(&["asked", "left behind"]), "{:#?}", daemon.log());
    publisher.send_all(&messages(20..30));
    wait_count(&daemon, "volume", "messages", 31);
    wait_count(&daemon, "neighbour", "seen", 31);
    // What it was in the middle of counts once.
    wait_count(&daemon, "asked", "seen", 31);
    assert_eq!(daemon.plugin("asked")["counters"]["processed"], 31);
    assert!(Path::new(&daemon.data_dir()).join("loaded").exists());
}
