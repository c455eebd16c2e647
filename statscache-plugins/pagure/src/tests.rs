use serde_json::{Value as Json, json};
use statscache_plugin_sdk::testing::Harness;

use super::Pagure;

/// What a message on this topic of pagure.io counts as: contributions, of each user, to each project.
fn counted(topic: &str, msg: Json) -> Vec<String> {
    counted_by(json!({}), &format!("io.pagure.prod.pagure.{topic}"), msg)
}

fn counted_by(config: Json, topic: &str, msg: Json) -> Vec<String> {
    let mut harness = Harness::<Pagure>::new(config);
    harness.send(topic, msg);
    harness.updates().iter().map(|it| format!("{} {}: {}", it.metric, it.labels.join(" "), it.value)).collect()
}

#[test]
fn a_contribution_counts_for_its_user_and_its_project() {
    let named = json!({"name": "teapot", "user": {"name": "owner"}});
    for (topic, msg) in [
        ("issue.new", json!({"agent": "anna", "project": named})),
        ("project.forked", json!({"agent": "anna", "project": named})),
        ("git.receive", json!({"agent": "anna", "repo": named})),
        ("pull-request.closed", json!({"agent": "anna", "pullrequest": {"project": named, "title": "spout"}})),
        // Until 2016 a push was a message for each commit.
        ("git.receive", json!({"commit": {"email": "anna@fedoraproject.org", "repo": named}})),
    ] {
        let expected = ["contributions : 1", "by_user anna: 1", "by_project teapot: 1"];
        assert_eq!(counted(topic, msg.clone()), expected, "{topic} {msg}");
    }
}

#[test]
fn an_edited_comment_is_none_to_the_project() {
    let msg = json!({"agent": "anna", "project": {"name": "teapot"}});
    assert_eq!(counted("issue.comment.edited", msg), ["contributions : 1", "by_user anna: 1"]);
}

#[test]
fn of_odd_messages_counts_what_can_be_told() {
    for msg in [json!({}), json!(null), json!([]), json!("text"), json!({"project": null, "repo": {"name": 7}})] {
        assert_eq!(counted("issue.new", msg.clone()), ["contributions : 1"], "{msg}");
    }
    let msg = json!({"project": {"name": ""}, "repo": {"name": "kettle"}});
    assert_eq!(counted("issue.new", msg), ["contributions : 1", "by_project kettle: 1"]);
}

#[test]
fn other_forges_are_configured() {
    assert!(counted_by(json!({}), "io.pagure.dev.pagure.issue.new", json!({})).is_empty(), "that is for tests");
    assert!(counted_by(json!({}), "org.fedoraproject.prod.pagure.issue.new", json!({})).is_empty());
    let config = json!({
        "topics": ["org.example.*.forge.#"],
        "project_pointers": ["/msg/project/fullname", "/msg/project/name"],
    });
    let counted = |msg| counted_by(config.clone(), "org.example.prod.forge.issue.new", msg);
    let project = json!({"project": {"name": "teapot", "fullname": "kitchen/teapot"}});
    assert_eq!(counted(project), ["contributions : 1", "by_project kitchen/teapot: 1"]);
    assert_eq!(counted(json!({"project": {"name": "lid"}})), ["contributions : 1", "by_project lid: 1"]);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (config, word) in [
        (json!({"topics": []}), "config.topics"),
        (json!({"project_pointers": ["msg/project"]}), "msg/project"),
        (json!({"topic": ["#"]}), "topic"),
    ] {
        let error = Harness::<Pagure>::try_new(config.clone()).err();
        assert!(error.is_some_and(|error| error.to_string().contains(word)), "{config}");
    }
}
