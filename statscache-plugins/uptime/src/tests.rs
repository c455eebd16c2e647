use serde_json::{Value, json};
use statscache_plugin_sdk::{Timestamp, testing::Harness};

use super::Uptime;

const TOPIC: &str = "org.example.prod.uptime.check";
const SITE: &str = "https://shop.example/";
/// Of the checks below.
const TIME: i64 = 1_700_000_040;

fn harness(config: Value) -> Harness<Uptime> {
    Harness::new(config)
}

fn found(http_status: impl Into<Value>, network_status: &str, is_match: impl Into<Value>) -> Value {
    json!({
        "url": SITE, "http_status": http_status.into(), "network_status": network_status, "match": is_match.into(),
        "tstamp": TIME, "response_seconds": 0.25,
    })
}

/// The reason that is found for this `msg`, which must be the same wherever it is said.
fn reason(config: Value, msg: &Value) -> String {
    let mut harness = harness(config);
    harness.send(TOPIC, msg.clone());
    let Some(state) = harness.latest("state", [SITE]) else {
        assert!(harness.updates().is_empty(), "{msg}: all or nothing");
        return "nothing".to_owned();
    };
    let reason = state["reason"].as_str().expect("a word").to_owned();
    let is_up = reason == "ok";
    assert_eq!(state["up"], is_up, "{msg}");
    assert_eq!(harness.sum("up", [SITE]), f64::from(u8::from(is_up)), "{msg}");
    assert_eq!(harness.observations("up", [SITE]).len(), 1, "{msg}");
    assert_eq!(harness.count("checks", [SITE, &reason]), 1, "{msg}");
    assert_eq!(harness.latest("last_good", [SITE]).is_some(), is_up, "{msg}");
    assert_eq!(harness.latest("down", [SITE]), (!is_up).then(|| state.clone()), "{msg}");
    assert_eq!(harness.latest("failures", [SITE]), (!is_up).then(|| state.clone()), "{msg}");
    reason
}

#[test]
fn a_site_is_up_if_network_status_and_match_are_well() {
    for (msg, expected) in [
        (found(200, "ok", true), "ok"),
        (found(204, "ok", Value::Null), "ok"),
        (found(399, "OK", true), "ok"),
        (found("200", "0", true), "ok"),
        (found(" 200 ", "ok", true), "ok"),
        (found(200.0, "ok", true), "ok"),
        (found("503.0", "ok", true), "http_503"),
        (found(200.5, "ok", true), "no_status"),
        (found("NaN", "ok", true), "no_status"),
        (found(400, "ok", true), "http_400"),
        (found(199, "ok", true), "http_199"),
        (found(503, "ok", false), "http_503"),
        (found(200, "ok", false), "match"),
        (found(200, "timeout", true), "timeout"),
        (found(200, &format!("{0}timeout{0}", " ".repeat(40)), true), "timeout"),
        (found(200, " ok\n", true), "ok"),
        (found(Value::Null, "dns", Value::Null), "dns"),
        (found(0, "refused", false), "refused"),
        (found(Value::Null, "ok", Value::Null), "no_status"),
        (found(99_999, "ok", true), "no_status"),
        (found(Value::Null, "Connection reset by peer!", Value::Null), "connection_reset_by_peer_"),
        (found(Value::Null, &"é".repeat(200), Value::Null), "________________________________"),
        (json!({"url": SITE, "http_status": 200}), "ok"),
        (json!({"url": SITE, "network_status": false}), "error"),
        (json!({"url": SITE, "network_status": true, "http_status": 301}), "ok"),
        (json!({"url": SITE, "network_status": 28}), "28"),
        (json!({"url": SITE}), "nothing"),
        (json!({"url": SITE, "http_status": [200], "network_status": {}}), "nothing"),
        (json!({"url": 7, "http_status": 200}), "nothing"),
        (json!({"url": " ", "http_status": 200}), "nothing"),
        (json!({"http_status": 200}), "nothing"),
        (json!(null), "nothing"),
        (json!([]), "nothing"),
    ] {
        assert_eq!(reason(json!({}), &msg), expected, "{msg}");
    }
}

#[test]
fn who_expects_another_status_says_so() {
    let login = json!({"good_statuses": ["401", "2xx"]});
    assert_eq!(reason(login.clone(), &found(401, "ok", true)), "ok");
    assert_eq!(reason(login.clone(), &found(299, "ok", true)), "ok");
    assert_eq!(reason(login.clone(), &found(402, "ok", true)), "http_402");
    assert_eq!(reason(login, &found(300, "ok", true)), "http_300");
    // The publisher knows the site better than the plugin.
    for (status, is_ok, expected) in [(401, true, "ok"), (200, false, "http_200")] {
        let mut msg = found(status, "ok", true);
        msg["status_ok"] = is_ok.into();
        assert_eq!(reason(json!({}), &msg), expected);
    }
}

#[test]
fn everything_counts_when_it_was_looked_at() {
    let arrival = Timestamp::from_secs(TIME + 7);
    let at = |secs: f64| Timestamp::from_micros((secs * 1e6) as i64);
    for (tstamp, expected) in [
        (json!(TIME), at(TIME as f64)),
        (json!(TIME as f64 + 0.5), at(TIME as f64 + 0.5)),
        (json!(TIME * 1000 + 250), at(TIME as f64 + 0.25)),
        (json!("1700000040"), at(TIME as f64)),
        (json!("2023-11-14T22:14:00Z"), at(TIME as f64)),
        (json!("2023-11-14T23:14:00.5+01:00"), at(TIME as f64 + 0.5)),
        (json!("2023-11-14T22:14:00"), at(TIME as f64)),
        (json!("yesterday"), arrival),
        (json!(-1), arrival),
        (json!("NaN"), arrival),
        (json!("1e300"), arrival),
        (json!(1e300), arrival),
        (json!(null), arrival),
        (json!({"secs": TIME}), arrival),
    ] {
        let mut harness = harness(json!({"chains": {"shop": [SITE]}}));
        let mut msg = found(200, "ok", true);
        msg["tstamp"] = tstamp.clone();
        harness.at(arrival).send(TOPIC, msg);
        let metrics: Vec<&str> = harness.updates().iter().map(|update| update.metric.as_str()).collect();
        assert_eq!(metrics, ["state", "down", "last_good", "up", "checks", "chains", "response_seconds"]);
        assert!(harness.updates().iter().all(|update| update.time == expected), "{tstamp}: {:?}", harness.updates());
    }
}

#[test]
fn an_incident_begins_after_the_last_good_check_and_ends_with_the_next() {
    let mut harness = harness(json!({}));
    let check = |harness: &mut Harness<Uptime>, minute: i64, status: u16| {
        let mut msg = found(status, "ok", true);
        msg["tstamp"] = (TIME + 60 * minute).into();
        harness.send(TOPIC, msg);
    };
    check(&mut harness, 0, 200);
    assert_eq!(harness.latest("down", [SITE]), None);
    // Late, and between the others: which comes first does not matter.
    for (minute, status) in [(3, 503), (1, 200), (2, 500)] {
        check(&mut harness, minute, status);
    }
    assert_eq!(harness.latest("down", [SITE]).expect("it is")["http_status"], 503);
    assert_eq!(harness.latest("state", [SITE]).expect("it is known")["up"], false);
    let good = harness.updates().iter().filter(|update| update.metric == "last_good").map(|update| update.time).max();
    assert_eq!(good, Some(Timestamp::from_secs(TIME + 60)), "down since then");
    check(&mut harness, 4, 200);
    check(&mut harness, 2, 500);
    assert_eq!(harness.latest("down", [SITE]), None, "also after a late failure");
    assert_eq!(harness.latest("failures", [SITE]).expect("it is kept")["http_status"], 503);
    assert_eq!(harness.sum("up", [SITE]), 3.0);
    assert_eq!(harness.observations("up", [SITE]).len(), 6, "the harness counts what comes twice");
}

#[test]
fn response_times_are_those_of_a_site_that_is_up() {
    let mut harness = harness(json!({}));
    for (status, seconds) in [
        (200, json!(0.5)),
        (503, json!(0.001)),
        (200, json!(-1)),
        (200, json!("fast")),
        (200, json!(1e17)),
        (200, json!(0)),
    ] {
        let mut msg = found(status, "ok", true);
        msg["response_seconds"] = seconds;
        harness.send(TOPIC, msg);
    }
    assert_eq!(harness.observations("response_seconds", [SITE]), [0.5, 0.0]);
    assert_eq!(harness.observations("up", [SITE]).len(), 6);
}

#[test]
fn a_site_counts_in_each_of_its_chains() {
    let chains = json!({"shop": [SITE, "https://pay.example/", SITE], "all": [SITE, "https://other.example/"]});
    let mut harness = harness(json!({ "chains": chains }));
    harness.send(TOPIC, found(200, "ok", true));
    harness.send(TOPIC, found(500, "ok", true));
    let mut other = found(200, "ok", true);
    other["url"] = "https://pay.example".into();
    harness.send(TOPIC, other);
    assert_eq!(harness.observations("chains", ["shop", SITE]), [1.0, 0.0]);
    assert_eq!(harness.observations("chains", ["all", SITE]), [1.0, 0.0]);
    let of_chains = harness.updates().iter().filter(|update| update.metric == "chains").count();
    assert_eq!(of_chains, 4, "an address that is not written the same is another site");
}

#[test]
fn fields_can_be_elsewhere() {
    let pointers =
        json!({"url": "/msg/target", "http_status": "/msg/code", "tstamp": "/timestamp", "network_status": "/msg/net"});
    let mut harness = harness(json!({"topics": ["probe.#"], "pointers": pointers, "failures": 3}));
    let envelope = json!({"topic": "probe.x", "timestamp": TIME, "msg": {"target": SITE, "code": 404, "net": "ok"}});
    harness.try_send("probe.x", "1", &envelope).expect("it is read");
    harness.send(TOPIC, found(200, "ok", true));
    assert_eq!(harness.count("checks", [SITE, "http_404"]), 1);
    assert_eq!(harness.updates()[0].time, Timestamp::from_secs(TIME));
    assert_eq!(harness.observations("up", [SITE]), [0.0], "of its own topics only");
}

#[test]
fn other_topics_are_not_looked_at() {
    let mut harness = harness(json!({}));
    for (topic, count) in [
        ("org.example.prod.uptime.check", 1),
        ("io.acme.stg.uptime", 2),
        ("org.example.prod.git.receive", 2),
        ("uptime.check", 2),
        ("org.example.prod.x.uptime", 2),
    ] {
        harness.send(topic, found(200, "ok", true));
        assert_eq!(harness.count("checks", [SITE, "ok"]), count, "{topic}");
    }
}

#[test]
fn configurations_that_cannot_work_are_refused_with_what_to_do() {
    for (config, words) in [
        (json!({"good_statuses": ["2x"]}), &["good_statuses", "`2x`", "2xx"][..]),
        (json!({"good_statuses": ["99"]}), &["`99`"]),
        (json!({"good_statuses": ["0xx"]}), &["`0xx`"]),
        (json!({"good_statuses": []}), &["good_statuses", "empty"]),
        (json!({"chains": {"shop": []}}), &["chains.shop", "no site"]),
        (json!({"failures": 0}), &["failures", "1 to 1000"]),
        (json!({"failures": 1001}), &["failures", "1 to 1000"]),
        (json!({"pointers": {"url": "msg/url"}}), &["`msg/url`", "JSON pointer"]),
        (json!({"pointers": {"uri": "/msg/url"}}), &["uri"]),
        (json!({"sites": []}), &["sites"]),
    ] {
        let error = Harness::<Uptime>::try_new(&config).err().unwrap_or_else(|| panic!("{config} is refused"));
        let text = format!("{error} {error:?}");
        assert!(words.iter().all(|word| text.contains(word)), "{config}: {text}");
    }
}
