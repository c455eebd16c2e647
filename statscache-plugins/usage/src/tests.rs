use serde_json::{Value as Json, json};
use statscache_plugin_sdk::{Timestamp, testing::Harness};

use super::*;

const TOPIC: &str = "org.example.prod.usage.click";

fn used(uses: &[Json]) -> Harness<Usage> {
    let mut harness = Harness::<Usage>::new(());
    uses.iter().for_each(|msg| harness.send(TOPIC, msg.clone()));
    harness
}

#[test]
fn a_use_counts_for_its_link_and_its_user() {
    let click = |link: &str, user: &str| json!({"link": link, "user": user});
    let harness = used(&[click("/mail", "anna"), click("/mail", "anna"), click("/mail", "bo"), click("/wiki", "anna")]);
    assert_eq!((harness.count("uses", ["/mail"]), harness.count("uses", ["/wiki"])), (3, 1));
    assert_eq!(harness.members("users", ["/mail"]), ["anna", "bo"].map(str::to_owned).into());
    assert_eq!(harness.members("active_users", []).len(), 2);
    assert_eq!(harness.count("favourites", ["anna", "/mail"]), 2);
    assert_eq!(harness.count("favourites", ["bo", "/wiki"]), 0);
}

#[test]
fn a_number_is_a_name_too_and_blanks_are_not() {
    let harness = used(&[json!({"link": 17, "user": 4}), json!({"link": " 17 ", "user": "  "})]);
    assert_eq!(harness.count("uses", ["17"]), 2);
    assert_eq!(harness.members("users", ["17"]), ["4".to_owned()].into());
}

#[test]
fn the_newest_use_says_what_a_link_is_called() {
    let mut harness = Harness::<Usage>::new(());
    for (time, title) in [(100, "Mail"), (300, "Webmail"), (200, "E-mail")] {
        let msg = json!({"link": "/mail", "title": title, "url": "https://mail.example.org/"});
        harness.at(Timestamp::from_secs(time)).send(TOPIC, msg);
    }
    let newest = json!({"title": "Webmail", "url": "https://mail.example.org/"});
    assert_eq!(harness.latest("links", ["/mail"]), Some(newest));
    assert_eq!(used(&[json!({"link": "/x", "title": null})]).latest("links", ["/x"]), Some(json!({})));
}

#[test]
fn what_is_no_use_is_passed_over() {
    let rubbish = [json!({"user": "anna"}), json!({"link": null}), json!({"link": ["/mail"]}), json!({"link": ""})];
    let mut harness = used(&rubbish);
    for msg in [json!(null), json!([]), json!("link"), json!(1)] {
        harness.send(TOPIC, msg);
    }
    harness.send("org.example.prod.other.click", json!({"link": "/mail"}));
    assert_eq!(harness.updates(), []);
    // Somebody who is not known has used it all the same.
    harness.send(TOPIC, json!({"link": "/mail", "user": {"name": "anna"}}));
    assert_eq!((harness.count("uses", ["/mail"]), harness.members("active_users", []).len()), (1, 0));
}

#[test]
fn topics_and_places_can_be_chosen() {
    let config = json!({"topics": ["shop.clicks.#"], "link": "/msg/target/id", "user": "/msg/by"});
    let mut harness = Harness::<Usage>::new(config);
    harness.send("shop.clicks", json!({"target": {"id": "basket"}, "by": "anna"}));
    harness.send(TOPIC, json!({"target": {"id": "basket"}, "by": "anna"}));
    assert_eq!(harness.count("favourites", ["anna", "basket"]), 1);
    for (config, why) in [
        (json!({"topics": []}), "config.topics"),
        (json!({"link": "msg"}), "msg"),
        (json!({"links": "/msg/link"}), "unknown key `links`"),
    ] {
        let error = Harness::<Usage>::try_new(&config).err().unwrap_or_else(|| panic!("{config} is taken"));
        assert!(error.message().contains(why), "{config}: {}", error.message());
    }
}

/// A page that asks for 7, 30 and 365 days finds buckets for each.
#[test]
fn a_year_is_kept_and_a_month_by_the_hour() {
    let harness = used(&[]);
    let tiers = |name: &str| {
        let metric = harness.declaration().metrics.iter().find(|metric| metric.name == name);
        metric.unwrap_or_else(|| panic!("no {name}")).tiers.to_string()
    };
    assert_eq!([tiers("uses"), tiers("active_users")], [TIERS, TIERS]);
    assert_eq!([tiers("users"), tiers("favourites")], [DAYS, DAYS]);
}
