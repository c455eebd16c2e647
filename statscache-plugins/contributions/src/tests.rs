use serde_json::{Value as Json, json};
use statscache_plugin_sdk::testing::Harness;

use super::{BOTS, Contributions};

/// `user category` of what a message counts for.
fn counted(config: Json, topic: &str, msg: Json) -> Vec<String> {
    let mut harness = Harness::<Contributions>::new(config);
    harness.send(topic, msg);
    harness.updates().iter().map(|it| it.labels.join(" ")).collect()
}

#[test]
fn a_message_counts_once_for_each_user() {
    let topic = "org.fedoraproject.prod.wiki.article.edit";
    assert_eq!(counted(json!({}), topic, json!({"user": "anna", "page": "Tea"})), ["anna wiki"]);
    let msg = json!({"agent": "ben", "update": {"user": {"name": "anna"}}});
    assert_eq!(counted(json!({}), "org.fedoraproject.prod.bodhi.update.edit", msg), ["anna bodhi", "ben bodhi"]);
    let both = json!({"agent": "anna", "update": {"user": {"name": "anna"}}});
    assert_eq!(counted(json!({}), "org.fedoraproject.prod.bodhi.update.edit", both), ["anna bodhi"]);
    for msg in [json!({}), json!(null), json!([]), json!({"user": 7}), json!({"user": ""})] {
        assert!(counted(json!({}), topic, msg.clone()).is_empty(), "{msg}");
    }
}

#[test]
fn bots_are_left_out() {
    let topic = "org.fedoraproject.prod.bodhi.update.edit";
    for bot in BOTS {
        assert!(counted(json!({}), topic, json!({"agent": bot})).is_empty(), "{bot}");
    }
    let config = json!({"ignore_users": ["teabot"]});
    assert!(counted(config.clone(), topic, json!({"agent": "teabot"})).is_empty());
    assert_eq!(counted(config, topic, json!({"agent": "bodhi"})), ["bodhi bodhi"], "the list replaces the default");
    assert!(BOTS.is_sorted(), "in order");
}

#[test]
fn who_uses_something_does_not_contribute() {
    let msg = || json!({"user": "anna", "link": "tea", "group": "tea"});
    for category in ["usage", "membership"] {
        assert!(counted(json!({}), &format!("org.example.prod.{category}.said"), msg()).is_empty(), "{category}");
    }
    let config = json!({"ignore_categories": ["tea"]});
    assert!(counted(config.clone(), "org.example.prod.tea.made", msg()).is_empty());
    assert_eq!(counted(config, "org.example.prod.usage.said", msg()), ["anna usage"], "the list replaces the default");
}

#[test]
fn the_fourth_word_of_a_topic_is_its_category() {
    let rules = json!([{"topic": "#", "users": ["/agent"]}]);
    for (topic, category) in [
        ("org.fedoraproject.prod.bodhi.update.edit", "bodhi"),
        ("org.example.prod.teapot.boiled", "teapot"),
        ("/topic/VirtualTopic.eng.bugzilla.bug.create", "bugzilla"),
        ("tea.boiled", "unclassified"),
    ] {
        let counted = counted(json!({"rules": rules}), topic, json!({"agent": "anna"}));
        assert_eq!(counted, [format!("anna {category}")], "{topic}");
    }
}

#[test]
fn topics_say_what_is_a_contribution() {
    let config = || json!({"topics": ["*.*.*.git.#", "*.*.*.wiki.#"]});
    let msg = || json!({"agent": "anna", "user": "anna"});
    assert!(counted(config(), "org.fedoraproject.prod.bodhi.update.edit", msg()).is_empty());
    assert_eq!(counted(config(), "org.example.stage.wiki.article.edit", msg()), ["anna wiki"]);
    for (config, word) in [(json!({"topics": []}), "config.topics"), (json!({"bots": []}), "bots")] {
        let error = Harness::<Contributions>::try_new(config.clone()).err();
        assert!(error.is_some_and(|error| error.to_string().contains(word)), "{config}");
    }
}
