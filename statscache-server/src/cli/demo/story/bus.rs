//! A distribution is made: packages, updates, composes, and work on a code forge. Topics and shapes are those of
//! Fedora's bus.

use serde_json::{Value, json};

use super::{
    DAY, Event, HOUR, Random,
    cast::{PACKAGES, PROJECTS, person, version, words},
    times,
};

const FEDORA: &str = "org.fedoraproject.prod";

/// Messages about packages of an hour.
pub(super) fn packages(random: &mut Random, start: i64) -> Vec<Event> {
    times(random, start, 13.0).into_iter().map(|time| package(random, time)).collect()
}

/// What happens at a time: the end of its topic, and the `msg`.
type Kind = fn(&mut Random, i64) -> (&'static str, Value);

/// A message about a package.
pub(super) fn package(random: &mut Random, time: i64) -> Event {
    const KINDS: [Kind; 8] = [commit, build, build, tag, comment, request, copr, wiki];
    let (topic, msg) = random.pick(&KINDS)(random, time);
    Event::new(time, format!("{FEDORA}.{topic}"), msg)
}

fn commit(random: &mut Random, time: i64) -> (&'static str, Value) {
    let (user, package) = (person(random, time), *random.favour(&PACKAGES));
    let files = json!({format!("{package}.spec"): {"additions": random.below(40), "deletions": random.below(20)}});
    let commit = json!({
        "username": user, "agent": user, "repo": package, "namespace": "rpms", "branch": "rawhide",
        "rev": random.digits(40), "summary": words(random, 5), "stats": {"files": files},
    });
    ("git.receive", json!({"commit": commit}))
}

fn build(random: &mut Random, time: i64) -> (&'static str, Value) {
    let (old, new) = *random.pick(&[(None, 0), (Some(0), 1), (Some(0), 1), (Some(0), 3)]);
    let msg = json!({
        "attribute": "state", "old": old, "new": new, "instance": "primary", "name": random.favour(&PACKAGES),
        "version": version(random), "release": "1.fc43", "owner": person(random, time),
        "build_id": 2_700_000 + random.below(100_000), "task_id": random.below(1 << 27),
    });
    ("buildsys.build.state.change", msg)
}

fn tag(random: &mut Random, time: i64) -> (&'static str, Value) {
    let tag = random.pick(&["f43-updates-candidate", "f43-signing-pending", "f43-updates-testing"]);
    let owner = person(random, time);
    let msg = json!({
        "instance": "primary", "name": random.favour(&PACKAGES), "version": version(random), "release": "1.fc43",
        "tag": tag, "owner": owner, "user": owner, "build_id": 2_700_000 + random.below(100_000),
    });
    ("buildsys.tag", msg)
}

fn update(random: &mut Random, time: i64) -> Value {
    let nvr = format!("{}-{}-1.fc43", random.favour(&PACKAGES), version(random));
    json!({
        "alias": format!("FEDORA-2026-{}", random.digits(10)), "status": "testing", "type": "bugfix",
        "title": nvr, "user": {"name": person(random, time)}, "builds": [{"nvr": nvr, "epoch": 0}],
        "release": {"name": "F43", "version": "43", "branch": "f43"},
    })
}

fn comment(random: &mut Random, time: i64) -> (&'static str, Value) {
    let karma = *random.pick(&[-1, 0, 1, 1]);
    let user = json!({"name": person(random, time), "groups": []});
    let comment = json!({"user": user, "karma": karma, "text": words(random, 12), "update": update(random, time)});
    ("bodhi.update.comment", json!({"comment": comment}))
}

fn request(random: &mut Random, time: i64) -> (&'static str, Value) {
    let topic = *random.pick(&["bodhi.update.request.testing", "bodhi.update.request.stable"]);
    (topic, json!({"agent": person(random, time), "update": update(random, time)}))
}

fn copr(random: &mut Random, time: i64) -> (&'static str, Value) {
    let user = person(random, time);
    let msg = json!({
        "user": user, "owner": user, "copr": "nightly", "pkg": random.favour(&PACKAGES), "version": version(random),
        "build": 9_000_000 + random.below(100_000), "chroot": "fedora-43-x86_64", "status": random.below(2),
    });
    ("copr.build.end", msg)
}

fn wiki(random: &mut Random, time: i64) -> (&'static str, Value) {
    let title = random.pick(&["Release Notes", "Test Day", "Packaging:Tips", "Infrastructure/Notes"]);
    ("wiki.article.edit", json!({"title": title, "user": person(random, time), "minor_edit": random.chance(0.3)}))
}

/// Work on the forge in an hour.
pub(super) fn forge(random: &mut Random, start: i64) -> Vec<Event> {
    times(random, start, 5.0).into_iter().map(|time| forge_event(random, time)).collect()
}

/// A message about work on the forge.
pub(super) fn forge_event(random: &mut Random, time: i64) -> Event {
    const KINDS: [&str; 7] = [
        "issue.new",
        "issue.comment.added",
        "issue.comment.added",
        "pull-request.new",
        "pull-request.comment.added",
        "pull-request.closed",
        "git.receive",
    ];
    let (kind, agent, name) = (*random.pick(&KINDS), person(random, time), *random.favour(&PROJECTS));
    let user = json!({"name": agent, "fullname": agent, "url_path": format!("user/{agent}")});
    let project = json!({"name": name, "fullname": name, "namespace": null, "url_path": name, "user": user});
    let thing = json!({"id": random.below(400), "title": words(random, 5), "status": "Open", "user": user,
                       "comments": [{"id": random.below(90_000), "comment": words(random, 8), "user": user}]});
    let msg = match kind {
        "git.receive" => json!({"agent": agent, "repo": project, "branch": "main", "forced": false,
                                "end_commit": random.digits(40), "total_commits": 1 + random.below(4)}),
        kind if kind.starts_with("issue") => json!({"agent": agent, "issue": thing, "project": project}),
        _ => {
            let mut request = thing;
            request["project"] = project;
            request["branch"] = "main".into();
            json!({"agent": agent, "pullrequest": request})
        }
    };
    Event::new(time, format!("io.pagure.prod.pagure.{kind}"), msg)
}

/// What release engineering does every day: composes, syncs, images, spins.
pub(super) fn composes(random: &mut Random, start: i64) -> Vec<Event> {
    let mut events = Vec::new();
    for (branch, hour) in [("rawhide", 5), ("branched", 7)] {
        compose(random, branch, start + hour * HOUR, &mut events);
    }
    for (distro, release, repo) in [
        ("fedora", "43", "updates"),
        ("fedora", "43", "updates-testing"),
        ("fedora", "42", "updates"),
        ("epel", "9", "epel"),
    ] {
        let msg =
            json!({"release": release, "repo": repo, "bytes": format!("{} GiB", 1 + random.below(9)), "deleted": "0"});
        events.push(releng(random, start + 14 * HOUR, &format!("bodhi.updates.{distro}.sync"), msg));
    }
    images(random, start, &mut events);
    spins(random, start, &mut events);
    events
}

/// A compose with its steps, each twenty minutes.
fn compose(random: &mut Random, branch: &str, start: i64, events: &mut Vec<Event>) {
    const STEP: i64 = 1200;
    for (number, step) in ["", ".mash", ".pungify", ".rsync"].into_iter().enumerate() {
        let begin = start + number as i64 * STEP;
        let end = if step.is_empty() { start + 4 * STEP + 60 } else { begin + STEP - 60 };
        for (time, status, log) in [(begin, "start", "start"), (end, "complete", "done")] {
            let id = format!("{branch}-{}", start.div_euclid(DAY));
            let msg = json!({"log": log, "branch": branch, "arch": "", "compose_id": id, "short": "Fedora"});
            events.push(releng(random, time, &format!("compose.{branch}{step}.{status}"), msg));
        }
    }
}

/// Cloud images are uploaded.
fn images(random: &mut Random, start: i64, events: &mut Vec<Event>) {
    for version in ["rawhide", "43"] {
        for region in ["us-east-1", "eu-west-1", "ap-southeast-2"] {
            let msg = json!({
                "image_name": format!("Fedora-Cloud-Base-{version}.x86_64"), "destination": format!("EC2 ({region})"),
                "status": "completed", "extra": {"id": format!("ami-{}", random.digits(8)), "virt_type": "hvm"},
                "image_url": "https://composes.example.org/base.raw.xz",
            });
            events.push(releng(random, start + 9 * HOUR, "fedimg.image.upload", msg));
        }
    }
}

/// Live images and appliances are built; now and then one fails.
fn spins(random: &mut Random, start: i64, events: &mut Vec<Event>) {
    for (method, name, arch) in [
        ("livecd", "Fedora-Live-Slate", "x86_64"),
        ("livecd", "Fedora-Live-Pebble", "i686"),
        ("appliance", "Fedora-Minimal", "armhfp"),
    ] {
        let id = random.below(1 << 27);
        for (hour, state) in [(10, "OPEN"), (12, if random.chance(0.1) { "FAILED" } else { "CLOSED" })] {
            let options = json!({"release": start.div_euclid(DAY), "repo": [], "format": "raw"});
            let request = json!([name, "rawhide", arch, "rawhide", format!("{}.ks", name.to_lowercase()), options]);
            let msg = json!({
                "attribute": "state", "old": "FREE", "new": state, "instance": "primary", "id": id, "method": method,
                "owner": "masher", "srpm": format!("{name}-{arch}"),
                "info": {"request": request, "children": [{"id": id + 1}], "result": "finished"},
            });
            events.push(releng(random, start + hour * HOUR, "buildsys.task.state.change", msg));
        }
    }
}

/// Within five minutes of that time.
fn releng(random: &mut Random, time: i64, topic: &str, msg: Value) -> Event {
    Event::new(time + random.below(300) as i64 % 59, format!("{FEDORA}.{topic}"), msg)
}
