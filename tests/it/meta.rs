//! Users and packages of messages: what explains them, and that the daemon counts the same.

use std::fs;

use serde_json::{Value, json};

use crate::support::{DaemonSetup, Finished, Message, TestPublisher, now_secs, run};

/// Rules of an operator, whose shop nobody else knows.
const RULES: &str = "\
[[rules]]
topic = \"*.*.*.shop.#\"
users = [\"/cashier\", { at = \"/customers/*/name\", not = [\"test*\"] }]
packages = [{ at = \"/goods/*/sku\", if = [{ at = \"/goods/*/kind\", is = [\"rpm\"] }], as = [\"nvr\"] }]

[[rules]]
topic = \"*.*.*.stock.#\"
users = []
";

fn messages() -> Vec<(&'static str, Value)> {
    let goods = json!([{"sku": "bash-5.2-1", "kind": "rpm"}, {"sku": "apple-1-1", "kind": "fruit"}]);
    vec![
        (
            "org.example.prod.shop.sale",
            json!({"cashier": "anna", "customers": [{"name": "bert"}, {"name": "test7"}], "goods": goods, "agent": "robot"}),
        ),
        ("org.example.prod.buildsys.tag", json!({"owner": "anna", "user": "carl", "name": "zsh", "tag": "f43"})),
        ("org.example.prod.unheard.of", json!({"user": {"username": "dora"}, "package": "fish"})),
        ("org.example.prod.nagios.host.state.change", json!({"host": "web1"})),
    ]
}

/// The lines of a file: as they come from the bus, and as an archive wraps them.
fn lines() -> Vec<String> {
    let envelopes = messages().into_iter().enumerate().map(|(n, (topic, msg))| {
        let envelope = json!({"topic": topic, "msg_id": format!("id-{n}"), "timestamp": now_secs(), "msg": msg});
        if n == 1 { json!({"message": envelope, "source": "archive"}) } else { envelope }
    });
    envelopes.map(|envelope| envelope.to_string()).collect()
}

fn explain(setup: &DaemonSetup, lines: &[String], args: &[&str]) -> Finished {
    let write = |name: &str, text: &str| {
        let path = setup.dir().join(name);
        fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let (file, rules) = (write("messages.jsonl", &lines.join("\n")), write("shop.toml", RULES));
    run(&[&["meta", "explain", &file, "--rules", &rules], args].concat())
}

#[test]
fn explain_names_rule_and_place() {
    let setup = DaemonSetup::new();
    let said = explain(&setup, &lines(), &[]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    for words in [
        "1: org.example.prod.shop.sale\n  user anna from /cashier, says ",
        "shop.toml:1\n  user bert from /customers/*/name, says ",
        "  package bash from /goods/*/sku, says ",
        "2: org.example.prod.buildsys.tag\n  user anna from /owner, says fedmsg-meta/rules.toml:",
        "  user carl from /user, says fedmsg-meta/rules.toml:",
        "  package zsh from /name, says ",
        "  user dora from /user/username, says ",
        " (generic)\n  package fish from /package, says ",
        "4: org.example.prod.nagios.host.state.change\n  no user, says fedmsg-meta/rules.toml:",
        "4 messages, 3 with users, 3 with packages\n1 of them without a rule for their topic; 0 lines",
        "shop.toml:6\n",
    ] {
        assert!(said.stdout.contains(words), "no {words:?} in\n{}", said.stdout);
    }
    assert!(!said.stdout.contains("robot") && !said.stdout.contains("apple"), "{}", said.stdout);
}

#[test]
fn explain_goes_on_behind_a_line_that_is_no_message() {
    let mut lines = lines();
    lines.insert(1, "{\"topic\": ".to_owned());
    lines.insert(2, String::new());
    lines.insert(3, "{\"topic\": 7}".to_owned());
    let setup = DaemonSetup::new();
    let said = explain(&setup, &lines, &["--json"]);
    said.fails_with(&["2 lines are no messages"]);
    let rows: Vec<Value> = said.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let errors: Vec<_> = rows.iter().filter(|row| row.get("error").is_some()).map(|row| &row["line"]).collect();
    assert_eq!(errors, [2, 4], "{rows:?}");
    let last = rows.last().expect("a summary");
    let figures = ["messages", "with_users", "with_packages", "generic", "malformed"];
    assert_eq!(figures.map(|name| &last["summary"][name]), [4, 3, 3, 1, 2], "{last}");
    assert_eq!(rows[0]["users"]["names"][0], json!({"name": "anna", "at": "/cashier"}));
    assert!(rows[4]["packages"]["by"]["generic"].is_string(), "{}", rows[4]);
}

#[test]
fn explain_refuses_rules_that_are_wrong() {
    let setup = DaemonSetup::new();
    for (rules, words) in [
        ("[[rules]]\ntopic = \"#\"\nusers = [\n  { att = \"/x\" },\n]\n", &["wrong.toml:4:", "att", "keys_of"][..]),
        ("[[rules]]\ntopic = \"a.#.\"\nusers = []\n", &["wrong.toml:1.topic", "a.#."]),
        (
            "[[rules]]\ntopic = \"#\"\n\n[[rules]]\ntopic = \"#\"\nusers = [{ at = \"/x\", find = \"(\" }]\n",
            &["wrong.toml:1: it says nothing"],
        ),
        ("[[rule]]\ntopic = \"#\"\n", &["wrong.toml:1", "rule", "rules"]),
        ("[[rules]]\ntopic = \"#\"\nusers = [{ at = \"/x\", find = \"(\" }]\n", &["wrong.toml:1.users[0].find", "("]),
        (
            "[[rules]]\ntopic = \"#\"\nusers = [{ at = \"/x\", text = \"y\" }]\n",
            &["wrong.toml:1.users[0]", "topic_words"],
        ),
    ] {
        let path = setup.dir().join("wrong.toml");
        fs::write(&path, rules).expect("written");
        run(&["meta", "explain", "-", "--rules", path.to_str().expect("UTF-8")]).fails_with(words);
    }
    run(&["meta", "explain", "/nowhere.jsonl"]).fails_with(&["/nowhere.jsonl", "No such file"]);
}

#[test]
fn the_daemon_counts_what_is_explained() {
    let mut publisher = TestPublisher::start();
    let setup = DaemonSetup::new()
        .without_instances()
        .endpoint(&publisher.address)
        .text("[[instance]]\nplugin = \"volume\"\nconfig_file = \"shop.toml\"\n");
    fs::write(setup.dir().join("shop.toml"), RULES).expect("written");
    let daemon = setup.start();
    publisher.reaches(&daemon);
    let before = daemon.journal_next();
    for (topic, msg) in messages() {
        publisher.send(&Message::new(topic).msg(msg));
    }
    daemon.wait_sequence(before + 3);
    let totals = |metric: &str, label: &str| -> Vec<(String, i64)> {
        let rows = daemon.rows(&format!("/plugins/volume/{metric}?start=now-1d&step=all&by={label}"));
        let mut totals: Vec<_> = rows
            .iter()
            .map(|row| (row[label].as_str().unwrap_or_default().to_owned(), row["value"].as_i64().unwrap_or_default()))
            .collect();
        totals.sort();
        totals
    };
    let expected = |names: &[(&str, i64)]| names.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect::<Vec<_>>();
    assert_eq!(totals("by_user", "user"), expected(&[("anna", 2), ("bert", 1), ("carl", 1), ("dora", 1)]));
    assert_eq!(totals("by_package", "package"), expected(&[("bash", 1), ("fish", 1), ("zsh", 1)]));
}
