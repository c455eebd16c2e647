//! What each part of a rule means, on messages of our own.

use serde_json::{Value as Json, json};

use crate::{Explainer, Rules, Speaker};

/// The users that one rule finds in a message.
fn users(sources: Json, topic: &str, msg: Json) -> Vec<String> {
    let rules = json!([{"topic": "#", "users": sources}]);
    let rules = Rules::with(serde_json::from_value(rules).expect("rules")).expect("sound rules");
    let (_, said) =
        Explainer::new(&rules).explain(&json!({"topic": topic, "msg": msg}).to_string()).expect("a message");
    assert_eq!(said.users.by, Speaker::Generic("config.rules[0]".to_owned()));
    said.users.names.into_iter().map(|found| found.name).collect()
}

#[track_caller]
fn check(sources: Json, msg: Json, expected: &[&str]) {
    assert_eq!(users(sources, "a.b.c.d", msg), expected);
}

#[test]
fn places_in_order_and_each_name_once() {
    check(
        json!(["/b", "/a/*", "/c/*/name"]),
        json!({"a": ["y", "x"], "b": "y", "c": {"k": {"name": "z"}}}),
        &["x", "y", "z"],
    );
    check(json!(["/a/1", "/a~1b"]), json!({"a": ["x", "y"], "a/b": "z"}), &["y", "z"]);
    check(json!([{"keys_of": "/a"}]), json!({"a": {"x": 1, "y\n": 2}}), &["x", "y"]);
    check(json!([{"keys_of": "/a"}, "/b", "/c", "/d"]), json!({"a": ["x"], "b": 7, "c": null, "d": " "}), &[]);
    check(json!(["/*"]), json!(["x", ["y"], "z"]), &["x", "z"]);
    check(json!([{"text": "x"}]), json!(null), &["x"]);
    for msg in [json!(null), json!("text"), json!([1]), json!(7)] {
        check(json!(["/a", "/a/*/b"]), msg, &[]);
    }
}

#[test]
fn more_names_than_a_message_may_count_are_cut_in_their_order() {
    let name = |number: usize| format!("{number:05}");
    let all: Vec<String> = (0..3000).rev().map(name).collect();
    let found = users(json!(["/a/*", "/a/*"]), "a.b.c.d", json!({ "a": all }));
    assert_eq!(found, (0..2000).map(name).collect::<Vec<_>>());
}

#[test]
fn the_first_alternative_that_yields() {
    let sources = json!([["/a", "/b"], "/c"]);
    check(sources.clone(), json!({"a": "x", "b": "y", "c": "z"}), &["x", "z"]);
    check(sources.clone(), json!({"a": {"name": "x"}, "b": "y"}), &["y"]);
    check(sources, json!({}), &[]);
}

#[test]
fn conditions_of_the_message() {
    let is = |condition: Json| json!([{"at": "/a", "if": [condition]}]);
    for (condition, msg, holds) in [
        (json!({"at": "/k", "is": ["x", "y*"]}), json!({"k": "yes"}), true),
        (json!({"at": "/k", "is": ["x", "y*"]}), json!({"k": "no"}), false),
        (json!({"at": "/k", "is": ["7"]}), json!({"k": 7}), true),
        (json!({"at": "/k", "is": ["x"]}), json!({}), false),
        (json!({"at": "/k", "is": ["x"], "or_missing": true}), json!({}), true),
        (json!({"at": "/k", "is": ["x"], "or_missing": true}), json!({"k": null}), true),
        (json!({"at": "/k", "is": ["x"], "or_missing": true}), json!({"k": "y"}), false),
        (json!({"at": "/k/*/n", "is": ["x"]}), json!({"k": [{"n": "y"}, {"n": "x"}]}), true),
        (json!({"at": "/k", "missing": true}), json!({"k": null}), true),
        (json!({"at": "/k", "missing": true}), json!({"k": {}}), false),
        (json!({"at": "/k", "missing": false}), json!({"k": {}}), true),
        (json!({"at": "/k", "missing": false}), json!({}), false),
    ] {
        let mut msg = msg;
        msg["a"] = json!("anna");
        let expected: &[&str] = if holds { &["anna"] } else { &[] };
        assert_eq!(users(is(condition.clone()), "a.b", msg.clone()), expected, "{condition} of {msg}");
    }
}

#[test]
fn a_condition_on_the_same_element() {
    let sources = json!([{"at": "/p/*/q/*/name", "if": [
        {"at": "/p/*/q/*/kind", "is": ["rpm"]}, {"at": "/p/*/on", "is": ["true"]}, {"at": "/all", "is": ["yes"]},
    ]}]);
    let msg = json!({"all": "yes", "p": [
        {"on": true, "q": [{"name": "a", "kind": "rpm"}, {"name": "b", "kind": "deb"}]},
        {"on": false, "q": [{"name": "c", "kind": "rpm"}]},
        {"on": true, "q": [{"name": "d", "kind": "rpm"}]},
    ]});
    check(sources.clone(), msg.clone(), &["a", "d"]);
    let mut off = msg;
    off["all"] = json!("no");
    check(sources, off, &[]);
}

#[test]
fn words_of_the_topic() {
    let words = |from: i32, to: i32, topic: &str| users(json!([{"topic_words": [from, to]}]), topic, json!({}));
    assert_eq!(words(2, -1, "a.b.c.d.e"), ["c.d"]);
    assert_eq!(words(-2, 99, "a.b.c"), ["b.c"]);
    for (from, to, topic) in [(5, -1, "a.b.c.d.e"), (2, 1, "a.b.c"), (-9, -9, "a"), (3, 3, "a.b.c.d")] {
        assert!(words(from, to, topic).is_empty(), "{from} {to} {topic}");
    }
}

#[test]
fn users_and_packages_are_decided_apart() {
    let own = json!([
        {"topic": "x.#", "packages": ["/p"]},
        {"topic": "x.y.#", "users": []},
        {"topic": "x.#", "users": ["/u"], "packages": ["/q"]},
    ]);
    let rules = Rules::with(serde_json::from_value(own).expect("rules")).expect("sound rules");
    let explainer = Explainer::new(&rules);
    let rule = |number: usize| Speaker::Rule(format!("config.rules[{number}]"));
    for (topic, users, packages) in [("x.y.z", rule(1), rule(0)), ("x.z", rule(2), rule(0))] {
        let said = explainer.explain(&json!({"topic": topic, "msg": {}}).to_string()).expect("a message").1;
        assert_eq!((said.users.by, said.packages.by), (users, packages), "{topic}");
    }
}

#[test]
fn headers_come_before_rules() {
    let explainer = Explainer::new(&Rules::with(Vec::new()).expect("shipped rules"));
    let headers = json!({
        "fedora_messaging_schema": "koji", "fedora_messaging_user_anna": true, "fedora_messaging_user_bert": false,
        "fedora_messaging_user_": true, "x-fedora_messaging_user_carl": true, "fedora_messaging_rpm_zsh": true,
    });
    let msg = json!({"owner": "dora", "name": "bash"});
    let topic = "org.example.prod.buildsys.tag";
    let explain = |envelope: Json| explainer.explain(&envelope.to_string()).expect("a message").1;
    let said = explain(json!({"topic": topic, "msg": msg, "headers": headers}));
    assert_eq!((&said.users.by, &said.packages.by), (&Speaker::Headers, &Speaker::Headers));
    assert_eq!((&*said.users.names[0].name, said.users.names.len()), ("anna", 1));
    assert_eq!((&*said.packages.names[0].name, said.packages.names.len()), ("zsh", 1));
    // What the headers do not say, the rules do.
    for headers in
        [json!({"fedora_messaging_rpm_zsh": true}), json!({"fedora_messaging_rpm_zsh": true, "sent-at": null})]
    {
        let said = explain(json!({"topic": topic, "msg": msg, "headers": headers}));
        assert_eq!((&*said.users.names[0].name, &*said.packages.names[0].name), ("dora", "zsh"));
    }
    for headers in [json!(null), json!([]), json!("fedora_messaging_user_anna"), json!({})] {
        assert_eq!(explain(json!({"topic": topic, "msg": msg, "headers": headers})).users.names[0].name, "dora");
    }
}

#[test]
fn only_the_last_shipped_rule_is_for_all_topics() {
    let rules = Rules::with(Vec::new()).expect("shipped rules");
    let last = rules.names().last().expect("rules").0.to_owned();
    let said = Explainer::new(&rules).explain(r#"{"topic": "x", "msg": {"agent": "anna", "package": "bash"}}"#);
    let said = said.expect("a message").1;
    assert_eq!((said.users.by, said.packages.by), (Speaker::Generic(last.clone()), Speaker::Generic(last)));
}
