use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::{Count, Declare, Dist, Distinct, Field, Latest, Metric, Stat, Top};

/// One metric of each kind, and a message that says what goes into them.
struct Every {
    count: Count,
    stat: Stat,
    dist: Dist,
    distinct: Distinct,
    top: Top,
    latest: Latest,
    x: Field,
}

impl Plugin for Every {
    const ID: &'static str = "every";
    type Config = ();

    fn declare((): (), declare: &mut Declare) -> Result<Self, PluginError> {
        declare.topics(["t.#"]);
        let by = |name: &str| Metric::new(name).by(["topic"]);
        Ok(Self {
            count: declare.count(by("count")),
            stat: declare.stat(by("stat")),
            dist: declare.dist(by("dist")),
            distinct: declare.distinct(by("distinct")),
            top: declare.top(by("top"), 3),
            latest: declare.latest(by("latest").expire_after("1h")),
            x: declare.field("/msg/x"),
        })
    }

    fn process(&self, message: &Message<'_>, updates: &mut Updates<'_>) -> Result<(), PluginError> {
        let (x, by) = (message.get(self.x), [message.topic()]);
        if x.is_missing() {
            updates.remove(self.latest, by);
            return Ok(());
        }
        updates.add(self.count, by, x.as_i64().unwrap_or(1));
        for number in [x.as_f64().unwrap_or(f64::NAN), 0.5] {
            updates.observe(self.stat, by, number);
            updates.observe(self.dist, by, number);
        }
        if let Some(text) = x.as_text() {
            updates.insert(self.distinct, by, &text);
            updates.hit(self.top, by, &text, 2);
            updates.hit(self.top, by, "nothing", 0);
        }
        updates.set_raw(self.latest, by, x.raw().unwrap_or("nothing"))
    }
}

fn harness(values: &[Json]) -> Harness<Every> {
    let mut harness = Harness::new(());
    for x in values {
        harness.send("t.a", json!({"x": x}));
    }
    harness
}

#[test]
fn each_kind_is_asked_in_its_own_way() {
    let harness = harness(&[json!(3), json!("b"), json!(3), json!(true)]);
    assert_eq!(harness.count("count", ["t.a"]), 8);
    // What is no number is observed as NaN, and left out.
    for metric in ["stat", "dist"] {
        assert_eq!(harness.observations(metric, ["t.a"]), [3.0, 0.5, 0.5, 3.0, 0.5, 0.5]);
        assert_eq!(harness.sum(metric, ["t.a"]), 8.0);
        assert_eq!((harness.sum(metric, ["t.b"]).to_bits(), harness.observations(metric, ["t.b"])), (0, vec![]));
    }
    let members = ["3", "b", "true"];
    assert_eq!(harness.members("distinct", ["t.a"]), members.map(str::to_owned).into());
    let hits = [("3", 4), ("b", 2), ("true", 2)].map(|(key, weight)| (key.to_owned(), weight));
    assert_eq!(harness.hits("top", ["t.a"]), hits.into(), "a weight of 0 is nothing");
    assert_eq!(harness.latest("latest", ["t.a"]), Some(json!(true)));
    let of_stat = harness.updates().iter().filter(|update| update.metric == "stat");
    assert_eq!(of_stat.filter(|update| update.value.is_null() && !update.removed).count(), 2, "they are seen, though");
}

#[test]
fn removal_wins_over_what_is_not_later() {
    let at = Timestamp::from_secs;
    let mut harness = harness(&[]);
    let mut check = |secs, x: Json, expected: Option<Json>| {
        let msg = if x.is_null() { json!({}) } else { json!({"x": x}) };
        harness.at(at(secs)).send("t.a", msg);
        assert_eq!(harness.latest("latest", ["t.a"]), expected, "at {secs}");
        let all = expected.map_or(json!({}), |value| json!({"t.a": value}));
        assert_eq!(harness.all_latest("latest"), all, "at {secs}");
    };
    let gone = Json::Null;
    check(10, gone.clone(), None);
    check(20, json!(20), Some(json!(20)));
    check(19, gone.clone(), Some(json!(20)));
    check(20, gone.clone(), None);
    check(20, json!("same time"), None);
    check(18, json!("late"), None);
    check(21, json!("later"), Some(json!("later")));
    check(30, gone, None);
    let removals: Vec<i64> =
        harness.updates().iter().filter(|update| update.removed).map(|update| update.time.micros()).collect();
    assert_eq!(removals, [10, 19, 20, 30].map(|secs| secs * 1_000_000));
}

#[test]
fn lines_are_messages() {
    let mut harness = harness(&[]);
    harness.at(Timestamp::from_secs(7)).send_jsonl(concat!(
        r#"{"topic": "t.a", "msg_id": "2026-abc", "timestamp": 1768464003.25, "msg": {"x": 1e400}}"#,
        "\n\r\n",
        r#"  {"topic": "t.b", "msg_id": "", "timestamp": -1, "msg": {"x": [1]}}  "#,
        "\n",
        r#"{"topic": "t.c", "msg": {}}"#,
        "\n",
        r#"{"topic": "other"}"#,
    ));
    let newest: Vec<(&str, i64, &Json)> = harness
        .updates()
        .iter()
        .filter(|update| update.metric == "latest")
        .map(|update| (update.id.as_str(), update.time.micros(), &update.value))
        .collect();
    assert_eq!(
        newest,
        [
            ("abc", 1_768_464_003_250_000, &json!("1e400")),
            ("00000002-0000-4000-8000-000000000000", 7_000_000, &json!([1])),
            ("00000003-0000-4000-8000-000000000000", 7_000_000, &Json::Null),
        ]
    );
    harness.send_jsonl("");
}

/// What it panics with.
fn panic_of<R>(run: impl FnOnce() -> R) -> String {
    let payload = catch_unwind(AssertUnwindSafe(run)).err().expect("a panic");
    payload.downcast::<String>().map_or_else(|_| "no text".to_owned(), |text| *text)
}

#[test]
fn questions_and_lines_that_cannot_be() {
    let mut harness = harness(&[json!(1)]);
    for (said, words) in [
        (panic_of(|| harness.count("stat", ["t.a"])), "`stat` is a stat, and this asks for a count"),
        (panic_of(|| harness.sum("latest", ["t.a"])), "asks for a stat or a dist"),
        (panic_of(|| harness.latest("top", ["t.a"])), "`top` is a top"),
        (panic_of(|| harness.all_latest("count")), "`count` is a count"),
        (panic_of(|| harness.hits("tops", ["t.a"])), "no metric `tops`"),
        (panic_of(|| harness.members("distinct", [])), "has the dimensions"),
        (panic_of(|| harness.send_jsonl("{\"topic\": \"other\"}\n{\"topic\": 1}")), "line 2 has no `topic`"),
        (panic_of(|| harness.send_jsonl("\n{")), "line 2 is not JSON"),
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn what_is_not_json_is_refused_before_it_crosses() {
    let mut harness = harness(&[]);
    let sink = &mut Taken { declaration: &harness.declaration, id: "1", updates: Vec::new() };
    let mut updates = Updates::new(sink, Timestamp::default());
    for text in ["", "x", "{} {}", "NaN", "\"half"] {
        let error = updates.set_raw(harness.plugin.latest, ["a"], text).expect_err(text);
        assert!(error.message().contains("not JSON"), "{text}: {error}");
    }
    assert_eq!(sink.updates, []);
    harness.send("t.a", json!({"x": {"deep": [null]}}));
    assert_eq!(harness.latest("latest", ["t.a"]), Some(json!({"deep": [null]})));
}
