use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Value as Json, json};
use statscache_plugin_sdk::testing::Harness;

use super::{Hostile, Neighbour};

/// Sends `messages` messages; how many came through.
fn seen(config: Json, messages: usize) -> i64 {
    let mut harness = Harness::<Hostile>::new(config);
    for i in 0..messages {
        let _ = harness.try_send("a", &i.to_string(), &json!({"msg": {}}));
    }
    harness.count("seen", ["a"])
}

#[test]
fn it_can_behave() {
    assert_eq!(seen(json!({}), 3), 3);
    let mut harness = Harness::<Neighbour>::new(());
    harness.send("a", json!({}));
    assert_eq!(harness.count("seen", ["a"]), 1);
}

#[test]
fn errors_take_the_message_back() {
    assert_eq!(seen(json!({"mode": "error_process"}), 3), 0);
    assert_eq!(seen(json!({"mode": "error_every"}), 7), 5);
    assert_eq!(seen(json!({"mode": "error_every", "n": 2}), 7), 4);
}

#[test]
fn it_does_not_start() {
    let refusal = |mode| Harness::<Hostile>::try_new(json!({"mode": mode})).err().expect("refused").to_string();
    assert_eq!(refusal("error_create"), "hostile: no; do not load me");
    let problems = refusal("bad_declaration");
    for problem in ["a.*b", "no-slash", "Bad Name", "`time`", "two dimensions called `x`", "tier", "keeps 0 values"] {
        assert!(problems.contains(problem), "{problem}: {problems}");
    }
    assert!(catch_unwind(|| Harness::<Hostile>::try_new(json!({"mode": "panic_create"}))).is_err());
}

#[test]
fn what_the_harness_notices() {
    for mode in [
        "panic_process",
        "wrong_labels",
        "many_labels",
        "unknown_metric",
        "wrong_kind",
        "remove_count",
        "unknown_label",
    ] {
        let mut harness = Harness::<Hostile>::new(json!({"mode": mode}));
        let result = catch_unwind(AssertUnwindSafe(|| harness.try_send("a", "1", &json!({}))));
        assert!(result.is_err(), "{mode} went unnoticed");
    }
}

#[test]
fn how_much_it_says() {
    for (mode, n, updates) in [
        ("flood", 5, 5),
        ("many_series", 5, 5),
        ("huge_label", 5, 1),
        ("huge_value", 5, 1),
        ("deep_value", 5, 1),
        ("odd_labels", 1, 12),
        ("far_times", 1, 6),
        ("overflow", 1, 4),
        ("not_finite", 1, 3),
        ("extremes", 1, 6),
        ("many_members", 5, 5),
        ("huge_member", 5, 1),
        ("many_keys", 5, 5),
        ("huge_key", 5, 1),
        ("huge_weights", 1, 3),
        ("far_removal", 1, 2),
        ("stall_ms", 1, 0),
    ] {
        let mut harness = Harness::<Hostile>::new(json!({"mode": mode, "n": n}));
        harness.send("a", json!({}));
        assert_eq!(harness.updates().len(), 1 + updates, "{mode}");
        let mut asked = Harness::<Hostile>::new(json!({"mode": "asked"}));
        asked.send("a", json!({"do": mode, "n": n}));
        assert_eq!(asked.updates(), harness.updates(), "{mode}, asked for");
    }
}
