use std::io::Write as _;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value as Json, json};
use statscache_plugin_sdk::{Timestamp, testing::Harness};

use super::{BRANCHES, OTHER_TOPICS, Releng, layout};

const PREFIX: &str = "org.fedoraproject.prod";

/// One message, and all that the log says afterwards.
fn check(topic: &str, msg: Json, log: Json) {
    let mut harness = Harness::<Releng>::new(());
    harness.send(&format!("{PREFIX}.{topic}"), msg.clone());
    assert_eq!(harness.all_latest("log"), log, "{topic} {msg}");
    let events: i64 = harness.updates().iter().filter(|u| u.metric == "events").filter_map(|u| u.value.as_i64()).sum();
    assert_eq!(events, log.as_object().map_or(0, serde_json::Map::len) as i64, "{topic} {msg}");
}

/// One message that is none of the log's business.
fn check_passed_over(topic: &str, msg: Json) {
    check(topic, msg, json!({}));
}

#[test]
fn composes() {
    let entry = |name, status| json!({"name": name, "status": status});
    for (topic, msg, category, constraint, line) in [
        ("compose.rawhide.start", json!({}), "compose-rawhide_primary", "rawhide", entry("Rawhide", "start")),
        ("compose.rawhide.mash.start", json!({"arch": "arm"}), "compose-rawhide_arm", "mash", entry("Mash", "start")),
        (
            "compose.branched.complete",
            json!({"arch": ""}),
            "compose-branched_primary",
            "branched",
            entry("Branched", "complete"),
        ),
        (
            "compose.branched.pungify.complete",
            json!({"arch": null}),
            "compose-branched_primary",
            "pungify",
            entry("Pungify", "complete"),
        ),
        (
            "compose.branched.rsync.complete",
            json!({"arch": "s390"}),
            "compose-branched_s390",
            "rsync",
            entry("Rsync", "complete"),
        ),
        (
            "compose.branched.rsync.start",
            json!("no object"),
            "compose-branched_primary",
            "rsync",
            entry("Rsync", "start"),
        ),
    ] {
        check(topic, msg, json!({format!("{category}/{constraint}"): line}));
    }
    for topic in [
        "compose.28.start",
        "compose.rawhide.image.start",
        "compose.rawhide.mash.done",
        "compose.rawhide.mash.start.late",
        "compose.rawhide",
        "compose.start",
    ] {
        check_passed_over(topic, json!({}));
    }
}

#[test]
fn updates() {
    check(
        "bodhi.updates.fedora.sync",
        json!({"release": "41", "repo": "updates-testing", "bytes": "3 GiB", "deleted": "12"}),
        json!({"updates-fedora/41-updates-testing": {"name": "41-updates-testing", "status": "synced out"}}),
    );
    check(
        "bodhi.updates.epel.sync",
        json!({"release": 9, "repo": "epel"}),
        json!({"updates-epel/9-epel": {"name": "9-epel", "status": "synced out"}}),
    );
    for msg in [json!({}), json!({"release": "41"}), json!({"release": "41", "repo": ""}), json!([]), json!(null)] {
        check_passed_over("bodhi.updates.fedora.sync", msg);
    }
    check_passed_over("bodhi.updates.centos.sync", json!({"release": "41", "repo": "updates"}));
}

#[test]
fn each_repository_has_one_entry() {
    let mut harness = Harness::<Releng>::new(());
    let topic = format!("{PREFIX}.bodhi.updates.fedora.sync");
    for (at, release) in [(300, "41"), (100, "41"), (200, "40")] {
        harness.at(Timestamp::from_secs(at)).send(&topic, json!({"release": release, "repo": "updates"}));
    }
    let log = harness.all_latest("log");
    assert_eq!(
        log.as_object().map(|log| log.keys().cloned().collect()),
        Some(vec!["updates-fedora/40-updates".to_owned(), "updates-fedora/41-updates".to_owned()])
    );
    assert_eq!(harness.count("events", ["updates-fedora", "synced out"]), 3);
}

#[test]
fn amis() {
    let msg = |image: &str, destination: &str| json!({"image_name": image, "destination": destination, "status": "completed", "extra": {"id": "ami-1f2e"}});
    let link = |region| {
        format!(
            "https://redirect.fedoraproject.org/console.aws.amazon.com/ec2/v2/home?region={region}#LaunchInstanceWizard:ami=ami-1f2e"
        )
    };
    for (topic, image, destination, category, region) in [
        (
            "fedimg.image.upload",
            "Fedora-Cloud-Base-rawhide-20160102.x86_64",
            "EC2 (us-east-1)",
            "ami-rawhide",
            "us-east-1",
        ),
        ("fedimg.image.test", "Fedora-Cloud-Base-Rawhide-20160102.i386", "EC2 (eu-west-1)", "ami-rawhide", "eu-west-1"),
        ("fedimg.image.upload", "Fedora-Cloud-Base-23-20160102.x86_64", "eu-west-1", "ami-branched", "eu-west-1"),
        ("fedimg.image.upload", "short", "Somewhere (", "ami-branched", "Somewhere ("),
        ("fedimg.image.upload", "a-b-c.rawhide-rawhide", "x () y", "ami-branched", "x () y"),
    ] {
        let line = json!({"name": image, "status": "completed", "extra_text": destination, "extra_link": link(region)});
        check(topic, msg(image, destination), json!({format!("{category}/{image}-{region}"): line}));
    }
    check(
        "fedimg.image.test",
        json!({"image_name": "i", "destination": "d", "status": "completed"}),
        json!({"ami-branched/i-d": {"name": "i", "status": "completed", "extra_text": "d"}}),
    );
    for msg in [
        json!({}),
        json!({"image_name": "i", "destination": "d"}),
        json!({"image_name": "i", "destination": "d", "status": "started"}),
        json!({"image_name": "i", "destination": "d", "status": "failed"}),
        json!({"image_name": null, "destination": "d", "status": "completed"}),
        json!({"image_name": "i", "destination": ["d"], "status": "completed"}),
    ] {
        check_passed_over("fedimg.image.upload", msg);
    }
    check_passed_over("fedimg.image.copy", msg("Fedora-Cloud-Base-23-20160102.x86_64", "eu-west-1"));
}

#[test]
fn artifacts() {
    let topic = "buildsys.task.state.change";
    let request = json!(["Fedora-Live-KDE", "rawhide", "x86_64", "rawhide", "kde.ks", {"release": "20160102"}]);
    let task = json!({
        "attribute": "state", "owner": "masher", "instance": "primary", "id": 12_345_678, "method": "livecd",
        "srpm": "Fedora-Live-KDE-x86_64", "old": "OPEN", "new": "CLOSED",
        "info": {"request": request, "children": [{"id": 12_345_679}], "result": "done"},
    });
    let image =
        json!({"request": ["Fedora-Minimal", "23", {"format": "raw", "release": "1"}], "children": [{"id": 1}]});
    let with = |changes: Json| {
        let mut task = task.clone();
        for (key, value) in changes.as_object().expect("an object") {
            task[key] = value.clone();
        }
        task
    };
    let details = "https://koji.fedoraproject.org/koji/taskinfo?taskID=12345678";
    let iso = "https://kojipkgs.fedoraproject.org/work/tasks/5679/12345679/Fedora-Live-KDE-rawhide-20160102.iso";
    let name = "Fedora-Live-KDE-x86_64 (rawhide)";
    let line = |name, status, link: Option<&str>, details: Option<&str>| {
        let mut line = json!({"name": name, "status": status});
        if let Some(link) = link {
            line["link"] = link.into();
        }
        if let Some(details) = details {
            line["extra_text"] = "(details)".into();
            line["extra_link"] = details.into();
        }
        line
    };
    for (msg, category, constraint, line) in [
        (task.clone(), "artifact-livecd_x86_64", name, line(name, "CLOSED", Some(iso), Some(details))),
        (with(json!({"new": "OPEN"})), "artifact-livecd_x86_64", name, line(name, "OPEN", None, Some(details))),
        (
            with(json!({"instance": "arm"})),
            "artifact-livecd_x86_64",
            name,
            line(name, "CLOSED", Some(iso), Some("https://arm.koji.fedoraproject.org/koji/taskinfo?taskID=12345678")),
        ),
        (
            with(json!({"instance": "evil.example/"})),
            "artifact-livecd_x86_64",
            name,
            line(name, "CLOSED", Some(iso), None),
        ),
        (
            with(json!({"method": "appliance", "srpm": "Fedora-Minimal-armhfp", "info": image})),
            "artifact-appliance_armhfp",
            "Fedora-Minimal-armhfp (raw) (branched)",
            line("Fedora-Minimal-armhfp (raw) (branched)", "CLOSED", None, Some(details)),
        ),
        (
            with(json!({"info": null, "id": null})),
            "artifact-livecd_x86_64",
            "Fedora-Live-KDE-x86_64",
            line("Fedora-Live-KDE-x86_64", "CLOSED", None, None),
        ),
        (
            with(json!({"info": {"request": [], "children": [1, 2]}})),
            "artifact-livecd_x86_64",
            "Fedora-Live-KDE-x86_64",
            line("Fedora-Live-KDE-x86_64", "CLOSED", None, Some(details)),
        ),
        (
            with(json!({"info": [1e300, "odd"], "srpm": "nodash"})),
            "artifact-livecd_nodash",
            "nodash",
            line("nodash", "CLOSED", None, Some(details)),
        ),
    ] {
        check(topic, msg, json!({format!("{category}/{constraint}"): line}));
    }
    for changes in [
        json!({"owner": "somebody"}),
        json!({"owner": null}),
        json!({"method": "build"}),
        json!({"srpm": null}),
        json!({"new": {}}),
    ] {
        check_passed_over(topic, with(changes));
    }
}

#[test]
fn a_link_of_the_history_service_is_taken() {
    let topic = format!("{PREFIX}.buildsys.task.state.change");
    let msg = json!({"owner": "masher", "method": "livecd", "srpm": "Live-i686", "new": "FAILED", "id": 1});
    let envelope = json!({"topic": topic, "msg": msg, "meta": {"link": "https://example.org/1"}});
    let mut harness = Harness::<Releng>::new(());
    harness.try_send(&topic, "1", &envelope).expect("logged");
    let line = harness.latest("log", ["artifact-livecd_i686", "Live-i686"]).expect("an entry");
    assert_eq!(line["extra_link"], "https://example.org/1");
}

#[test]
fn another_bus() {
    let mut harness = Harness::<Releng>::new(json!({"topic_prefix": "org.fedoraproject.stg"}));
    harness.send("org.fedoraproject.prod.compose.rawhide.start", json!({}));
    harness.send("org.fedoraproject.stg.compose.rawhide.start", json!({}));
    assert_eq!(harness.count("events", ["compose-rawhide_primary", "start"]), 1);
    for prefix in ["", ".", "org.", "org..prod", "org.*.prod", "#"] {
        let error = Harness::<Releng>::try_new(json!({"topic_prefix": prefix})).err();
        assert!(error.is_some_and(|error| error.message().contains("topic_prefix")), "{prefix:?}");
    }
}

#[test]
fn the_sample_messages_fill_every_part_of_the_log() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/messages/demo.jsonl");
    let mut harness = Harness::<Releng>::new(());
    for text in read(&samples).lines() {
        let message: Json = serde_json::from_str(text).expect("a line of JSON");
        let (topic, id) = (message["topic"].as_str().expect("a topic"), message["msg_id"].as_str().expect("an id"));
        harness.at(Timestamp::from_secs(message["timestamp"].as_i64().expect("a time")));
        harness.try_send(topic, id, &message).expect("logged or passed over");
    }
    let categories: BTreeSet<&str> =
        harness.updates().iter().filter(|u| u.metric == "log").map(|u| u.labels[0].as_str()).collect();
    let expected = "ami-branched ami-rawhide artifact-appliance_armhfp artifact-livecd_i686 artifact-livecd_x86_64 \
                    compose-branched_primary compose-rawhide_primary updates-epel updates-fedora";
    assert_eq!(categories.into_iter().collect::<Vec<_>>().join(" "), expected);
    assert_eq!(
        harness.latest("log", ["compose-rawhide_primary", "rawhide"]),
        Some(json!({"name": "Rawhide", "status": "complete"}))
    );
}

/// The rows of the original statscache for the same messages, and where this plugin differs.
#[test]
fn entries_agree_with_the_original() {
    let Some(shared) = shared() else { return };
    let mut harness = Harness::<Releng>::new(());
    for (line, text) in read(&shared.join("messages.jsonl")).lines().enumerate() {
        let row: Json = serde_json::from_str(text).expect("a line of JSON");
        let message = &row["message"];
        let (Some(topic), Some(time)) = (message["topic"].as_str(), message["timestamp"].as_f64()) else { continue };
        harness.at(Timestamp::from_micros((time * 1e6).round() as i64));
        harness.try_send(topic, &format!("{line:04}"), message).expect("no message of the bus makes it fail");
    }
    let golden: Json = serde_json::from_str(&read(&shared.join("statscache_rows.json"))).expect("JSON");
    let rows = golden["rows"]["release-engineering-event-logs"].as_array().expect("rows");
    let mut expected = BTreeMap::new();
    for row in rows {
        let key = format!(
            "{}/{}",
            row["category"].as_str().expect("text"),
            row["category_constraint"].as_str().expect("text")
        );
        let line: Json = serde_json::from_str(row["message"].as_str().expect("JSON in a string")).expect("JSON");
        expected.insert(key, line);
    }
    assert_eq!(expected.len(), rows.len(), "the original has one row for each of these");

    let differences = [
        // Start and completion bear the same time. The original keeps what came first; here the
        // greater message id counts as newer, whatever the order of arrival.
        ("compose-branched_arm/branched", json!({"name": "Branched", "status": "start"})),
        ("compose-branched_primary/branched", json!({"name": "Branched", "status": "start"})),
        ("compose-rawhide_primary/pungify", json!({"name": "Pungify", "status": "start"})),
    ];
    for (key, line) in differences {
        assert_ne!(expected.insert(key.to_owned(), line), None, "{key}: no difference from a row that is not there");
    }
    assert_eq!(harness.all_latest("log"), json!(expected));
}

/// The folder of reference data, which is kept out of this repository.
fn shared() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let path = std::env::var_os("STATSCACHE_SHARED").map_or_else(beside, PathBuf::from).join("fedmsg");
    if !path.is_dir() {
        // Not eprintln: the test harness would swallow it.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no reference data in {}; set STATSCACHE_SHARED to the folder that has it",
            path.display()
        );
        return None;
    }
    Some(path)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_layout_shows_categories_of_the_log() {
    let layout = layout::layout();
    let groups = layout["groups"].as_array().expect("groups");
    let components: Vec<&Json> =
        groups.iter().flat_map(|group| group["components"].as_array().expect("components")).collect();
    let ids: BTreeSet<&str> = components.iter().map(|component| component["id"].as_str().expect("text")).collect();
    assert_eq!(ids.len(), components.len(), "each once");
    let names: BTreeSet<&str> = components.iter().map(|component| component["name"].as_str().expect("text")).collect();
    assert_eq!(names.len(), components.len(), "no two with the same name");
    for id in ids {
        let (log, rest) = id.split_once('-').expect("a log and what of it");
        let is_category = match log {
            "compose" => rest.split_once('_').is_some_and(|(branch, _)| BRANCHES.contains(&branch)),
            "updates" => OTHER_TOPICS.contains(&format!("bodhi.updates.{rest}.sync").as_str()),
            "ami" => BRANCHES.contains(&rest),
            "artifact" => rest.split_once('_').is_some_and(|(method, _)| ["appliance", "livecd"].contains(&method)),
            _ => false,
        };
        assert!(is_category, "{id}");
    }
}
