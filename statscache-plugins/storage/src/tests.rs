use serde_json::{Value as Json, json};
use statscache_plugin_sdk::{Timestamp, testing::Harness};

use super::Storage;

const TOPIC: &str = "org.example.prod.storage.changed";

fn told(msg: Json) -> Harness<Storage> {
    let mut harness = Harness::<Storage>::new(());
    harness.send(TOPIC, msg);
    harness
}

/// A project as GitLab's API gives it, cut short.
fn project() -> Json {
    json!({
        "id": 4711, "path": "pump", "path_with_namespace": "harbour/cranes/pump",
        "namespace": {"id": 12, "full_path": "harbour/cranes"},
        "statistics": {
            "commit_count": 37, "storage_size": 1_038_090, "repository_size": 1_000_000, "wiki_size": 90,
            "lfs_objects_size": 8000, "job_artifacts_size": 30_000, "packages_size": 0, "snippets_size": 7
        }
    })
}

#[test]
fn a_project_of_gitlab_has_six_sizes() {
    let sizes = json!({
        "storage": 1_038_090, "repository": 1_000_000, "wiki": 90, "lfs": 8000, "artifacts": 30_000, "packages": 0
    });
    for msg in [project(), json!({"project": project()})] {
        let harness = told(msg);
        assert_eq!(harness.latest("projects", ["harbour/cranes/pump"]), Some(sizes.clone()));
        assert_eq!(harness.updates().len(), 1);
    }
}

#[test]
fn plain_sizes_do_as_well() {
    let harness = told(json!({"project": "a/b", "storage": 12, "wiki": 0}));
    assert_eq!(harness.latest("projects", ["a/b"]), Some(json!({"storage": 12, "wiki": 0})));
}

#[test]
fn what_is_no_size_is_left_out() {
    let harness =
        told(json!({"project": "a", "storage": -1, "repository": "12", "wiki": null, "lfs": [1], "packages": 3}));
    assert_eq!(harness.latest("projects", ["a"]), Some(json!({"packages": 3})));
}

#[test]
fn hooks_say_what_moved_and_where() {
    let renamed = |event: &str, old: &str, new: &str| json!({"event_name": event, "old_path_with_namespace": old, "path_with_namespace": new, "project_id": 7});
    let group = |event: &str, old: Json, new: &str| json!({"event_name": event, "old_full_path": old, "full_path": new, "path": "last", "group_id": 7});
    for (msg, path, to) in [
        (renamed("project_rename", "a/b", "a/c"), "a/b", json!("a/c")),
        (renamed("project_transfer", "a/b", "d/b"), "a/b", json!("d/b")),
        (group("group_rename", json!("a/b"), "a/c"), "a/b", json!("a/c")),
        (group("group_transfer", json!("a/b"), "c/b"), "a/b", json!("c/b")),
        (json!({"event_name": "user_rename", "old_username": "ann", "username": "anna"}), "ann", json!("anna")),
        (json!({"event_name": "project_destroy", "path_with_namespace": "a/b"}), "a/b", json!(null)),
        (group("group_destroy", json!(null), "a/b"), "a/b", json!(null)),
        (json!({"event_name": "user_destroy", "username": "ann"}), "ann", json!(null)),
        (json!({"from": "a/b", "to": "c"}), "a/b", json!("c")),
        (json!({"from": "a/b", "to": null}), "a/b", json!(null)),
    ] {
        let harness = told(msg.clone());
        assert_eq!(harness.latest("moves", [path]), Some(json!({"to": to})), "{msg}");
        assert_eq!(harness.updates().len(), 1, "{msg}");
    }
}

#[test]
fn what_says_nothing_changes_nothing() {
    for msg in [
        json!({}),
        json!(null),
        json!("text"),
        json!([1]),
        json!({"project": "a/b"}),
        json!({"project": {"path_with_namespace": "a/b", "statistics": null}}),
        json!({"project": "", "storage": 1}),
        json!({"project": "/a", "storage": 1}),
        json!({"project": "a//b", "storage": 1}),
        json!({"project": 7, "storage": 1}),
        json!({"event_name": "push", "path_with_namespace": "a/b"}),
        json!({"event_name": "project_create", "path_with_namespace": "a/b"}),
        // The name was changed, and the path was not.
        json!({"event_name": "project_rename", "old_path_with_namespace": "a/b", "path_with_namespace": "a/b"}),
        json!({"event_name": "project_rename", "path_with_namespace": "a/b"}),
        json!({"event_name": "project_rename", "old_path_with_namespace": "a/b"}),
        json!({"event_name": "project_rename", "old_path_with_namespace": "a/b", "path_with_namespace": "b/"}),
        json!({"event_name": "group_destroy", "path": "b"}),
        json!({"event_name": 7}),
        json!({"from": "a"}),
        json!({"to": "a"}),
        json!({"from": "", "to": null}),
        json!({"from": null, "to": null}),
    ] {
        assert_eq!(told(msg.clone()).updates(), [], "{msg}");
    }
}

#[test]
fn a_hook_that_carries_statistics_is_a_hook() {
    let mut msg = project();
    msg["event_name"] = json!("project_rename");
    msg["old_path_with_namespace"] = json!("harbour/pump");
    let harness = told(msg);
    assert_eq!(harness.latest("moves", ["harbour/pump"]), Some(json!({"to": "harbour/cranes/pump"})));
    assert_eq!(harness.all_latest("projects"), json!({}));
}

#[test]
fn updates_count_at_the_time_of_their_message_and_in_any_order() {
    let messages =
        [json!({"project": "a", "storage": 1}), json!({"project": "a", "storage": 2}), json!({"from": "a", "to": "b"})];
    let said = |order: [usize; 3]| {
        let mut harness = Harness::<Storage>::new(());
        for n in order {
            harness.at(Timestamp::from_secs(1_700_000_000 + n as i64)).send(TOPIC, messages[n].clone());
        }
        (harness.latest("projects", ["a"]), harness.latest("moves", ["a"]))
    };
    let expected = (Some(json!({"storage": 2})), Some(json!({"to": "b"})));
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        assert_eq!(said(order), expected, "{order:?}");
    }
}

#[test]
fn topics_place_and_life_are_the_operators() {
    let config = json!({"topics": ["eu.sizes.#"], "object": "/body/data", "expire_after": "30d"});
    let mut harness = Harness::<Storage>::new(&config);
    let envelope = json!({"topic": "eu.sizes.x", "body": {"data": {"project": "a", "storage": 1}}});
    harness.try_send("eu.sizes.x", "1", &envelope).expect("told");
    assert_eq!(harness.latest("projects", ["a"]), Some(json!({"storage": 1})));
    let metrics = &harness.declaration().metrics;
    assert_eq!(serde_json::to_value(metrics[0].kind).expect("JSON"), json!({"type": "latest", "n": 1, "ttl": "30d"}));
    assert_eq!(metrics[0].moved.as_ref().map(|moved| &*moved.metric), Some("moves"));
    for (config, word) in [
        (json!({"expire_after": "soon"}), "soon"),
        (json!({"object": "msg"}), "JSON pointer"),
        (json!({"topic": "x"}), "topic"),
    ] {
        let error = Harness::<Storage>::try_new(&config).err().expect("refused").to_string();
        assert!(error.contains(word), "{config}: {error}");
    }
}
