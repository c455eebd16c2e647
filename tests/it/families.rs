//! What the plugins of Fedora's bus are for, as those ask who use them: contributions to a forge, the calendar of a
//! person, the event log of release engineering.

use serde_json::{Value, json};

use crate::support::{DaemonSetup, Message, TestDaemon, TestPublisher, now_secs};

const DAY: i64 = 86_400;

/// A daemon that has these.
fn daemon_with(messages: &[Message]) -> TestDaemon {
    let mut publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    publisher.send_all(messages);
    daemon.wait_sequence(messages.len() as u64);
    daemon
}

fn message(topic: &str, at: i64, msg: Value) -> Message {
    Message::new(topic).at(at).msg(msg)
}

/// The start of this day, and of the one before. Of that nothing is running any more.
fn days() -> (i64, i64) {
    let today = now_secs().div_euclid(DAY) * DAY;
    (today, today - DAY)
}

/// `label value` of each row, in its order.
fn told(rows: &[Value], label: &str) -> Vec<String> {
    rows.iter().map(|row| format!("{} {}", row[label].as_str().expect("a text"), row["value"])).collect()
}

/// Every GET of a README's table of questions is answered, with something.
fn assert_questions_are_answered(daemon: &TestDaemon, readme: &str, count: usize) {
    let lines = readme.lines().filter(|line| line.starts_with("| "));
    let paths: Vec<&str> =
        lines.filter_map(|line| line.split('`').find(|part| part.starts_with("/plugins/"))).collect();
    assert_eq!(paths.len(), count, "{paths:?}");
    for path in paths {
        let answer = daemon.json(path);
        let found = ["rows", "values", "groups"].iter().find_map(|name| answer[*name].as_array());
        assert!(found.is_some_and(|found| !found.is_empty()), "{path}: {answer:#}");
    }
}

/// What a forge said on the day before this one and now: five by anna, one of them today, two by ben.
fn forge() -> Vec<Message> {
    let (today, day) = days();
    let sent = |rest: &str, at: i64, msg: Value| message(&format!("io.pagure.prod.pagure.{rest}"), at, msg);
    let teapot = json!({"name": "teapot", "namespace": null});
    vec![
        sent("issue.new", day, json!({"agent": "anna", "project": teapot})),
        sent("issue.comment.added", day + 60, json!({"agent": "ben", "project": teapot})),
        sent("issue.comment.edited", day + 120, json!({"agent": "ben", "project": teapot})),
        sent("pull-request.new", day + 180, json!({"agent": "anna", "pullrequest": {"project": {"name": "kettle"}}})),
        sent("git.receive", day + 240, json!({"agent": "anna", "repo": {"name": "kettle"}, "total_commits": 3})),
        sent("git.receive", day + DAY - 1, json!({"commit": {"email": "anna@fedoraproject.org", "repo": teapot}})),
        sent("project.forked", now_secs().max(today), json!({"agent": "anna", "project": teapot})),
        message("io.pagure.dev.pagure.issue.new", day, json!({"agent": "tester", "project": teapot})),
    ]
}

#[test]
fn a_forge_tells_who_contributes_to_what() {
    let daemon = daemon_with(&forge());
    let (today, day) = days();
    let range = format!("start={day}&end={today}&step=1d&order=-value");
    let rows = |metric: &str| daemon.rows(&format!("/plugins/pagure/{metric}?{range}"));
    assert_eq!(rows("contributions")[0]["value"], 6);
    assert_eq!(told(&rows("by_user"), "user"), ["anna 4", "ben 2"]);
    let mut projects = told(&rows("by_project"), "project");
    projects.sort_unstable();
    assert_eq!(projects, ["kettle 2", "teapot 3"], "an edited comment is nothing to a project");
    // Today goes on, so its rows are hidden from clients of the original that do not ask for later ones.
    let old = |what: &str| daemon.json(&format!("/api/number-of-contribution{what}to-pagure.io-1d?stop={today}"));
    assert_eq!(old("-"), json!([{"timestamp": today as f64, "volume": 6}]));
    assert_eq!(
        old("-per-user-"),
        json!([
            {"timestamp": today as f64, "user": "anna", "volume": 4},
            {"timestamp": today as f64, "user": "ben", "volume": 2},
        ])
    );
    assert_eq!(
        old("-per-project-"),
        json!([
            {"timestamp": today as f64, "project": "kettle", "volume": 2},
            {"timestamp": today as f64, "project": "teapot", "volume": 3},
        ])
    );
    assert_questions_are_answered(&daemon, include_str!("../../statscache-plugins/pagure/README.md"), 5);
    daemon.terminate();
}

/// What three people and a bot did: edits of a wiki by anna on three days, an update by her and ben.
fn work() -> Vec<Message> {
    let (_, day) = days();
    let edit = |days: i64, user: &str| {
        message("org.fedoraproject.prod.wiki.article.edit", day - days * DAY, json!({"user": user, "page": "Tea"}))
    };
    let update = |at: i64, agent: &str| {
        let msg = json!({"agent": agent, "update": {"user": {"name": "anna"}, "builds": []}});
        message("org.fedoraproject.prod.bodhi.update.edit", at, msg)
    };
    let edits = [(0, "anna"), (0, "anna"), (20, "anna"), (300, "anna"), (40, "carl"), (3, "zodbot")];
    let edits = edits.into_iter().map(|(days, user)| edit(days, user));
    edits.chain([update(day, "ben"), update(now_secs(), "ben")]).collect()
}

#[test]
fn a_person_has_a_calendar_and_a_month_its_ranking() {
    let daemon = daemon_with(&work());
    let (today, day) = days();
    let path = "/plugins/contributions/actions";
    let calendar = daemon.rows(&format!("{path}?where.user=anna&by=user&start=now-365d&step=1d&time=epoch"));
    let dates = |rows: &[Value]| -> Vec<(f64, i64)> {
        let date = |row: &Value| (row["time"].as_f64().expect("seconds"), row["value"].as_i64().expect("a count"));
        rows.iter().map(date).collect()
    };
    let date = |days: i64, count: i64| ((day - days * DAY) as f64, count);
    assert_eq!(dates(&calendar), [date(300, 1), date(20, 1), date(0, 3), (today as f64, 1)]);
    let ranking = daemon.rows(&format!("{path}?by=user&start=now-30d&step=all&order=-value&limit=10"));
    assert_eq!(told(&ranking, "user"), ["anna 5", "ben 2"], "carl's edit is too old, and a bot is nobody");
    let of_all = daemon.rows(&format!("{path}?by=category&start=now-365d&step=all&order=category"));
    assert_eq!(told(&of_all, "category"), ["bodhi 4", "wiki 5"]);
    assert_questions_are_answered(&daemon, include_str!("../../statscache-plugins/contributions/README.md"), 6);
    daemon.terminate();
}

/// Messages of all four sub-logs, and some that are none of their business.
fn releases(begin: i64) -> Vec<Message> {
    let sent = |rest: &str, at: i64, msg: Value| message(&format!("org.fedoraproject.prod.{rest}"), begin + at, msg);
    let image = |at: i64, region: &str, status: &str| {
        let image = "Fedora-Cloud-Base-rawhide-20260102.x86_64";
        let destination = format!("EC2 ({region})");
        let msg = json!({"image_name": image, "destination": destination, "status": status, "extra": {"id": "ami-1f"}});
        sent("fedimg.image.upload", at, msg)
    };
    let task = |at: i64, method: &str, srpm: &str, state: &str| {
        let request = json!(["Fedora-Live", "rawhide", {"format": "raw", "release": "2"}]);
        let info = json!({"request": request, "children": [{"id": 56_789}]});
        let msg = json!({
            "owner": "masher", "method": method, "srpm": srpm, "new": state, "id": 5, "instance": "primary", "info": info,
        });
        sent("buildsys.task.state.change", at, msg)
    };
    let regions = ["a-1", "a-2", "a-3", "a-4", "a-5", "a-6", "a-7", "a-8", "a-9"];
    let images = regions.into_iter().enumerate().map(|(n, region)| image(100 + n as i64, region, "completed"));
    images
        .chain([
            image(110, "b-1", "started"),
            sent("compose.rawhide.start", 0, json!({"arch": "arm"})),
            sent("compose.rawhide.mash.complete", 10, json!({})),
            sent("compose.rawhide.complete", 60, json!({"arch": "arm"})),
            sent("compose.branched.rsync.start", 61, json!({})),
            sent("bodhi.updates.epel.sync", 20, json!({"release": "9", "repo": "epel"})),
            task(30, "livecd", "Fedora-Live-x86_64", "CLOSED"),
            task(31, "appliance", "Fedora-Minimal-armhfp", "OPEN"),
            task(32, "build", "bash", "OPEN"),
        ])
        .collect()
}

/// What the dashboard of release engineering shows: in the order of its layout, eight entries of each component.
fn board(layout: &Value, mut entries: Vec<(String, i64, Value)>) -> Vec<String> {
    entries.sort_by_key(|(_, at, _)| -at);
    let verbs = &layout["default_options"]["status_verb_map"];
    let groups = layout["groups"].as_array().expect("groups").iter();
    let components = groups.flat_map(|group| group["components"].as_array().expect("components"));
    let lines_of = |component: &Value| -> Vec<String> {
        let of_it = entries.iter().filter(|(category, ..)| component["id"] == **category).take(8);
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let line = |(_, at, line): &(String, i64, Value)| {
            let status = text(&line["status"]).to_lowercase();
            let verb = verbs[&status].as_str().unwrap_or(&status).to_owned();
            let extra = ["link", "extra_text", "extra_link"].map(|name| text(&line[name])).join(" ");
            format!("{}: {} {verb} at {at}, {extra}", text(&component["name"]), text(&line["name"]))
        };
        of_it.map(line).collect()
    };
    components.flat_map(lines_of).collect()
}

#[test]
fn one_request_gives_all_that_the_release_dashboard_shows() {
    let (_, begin) = days();
    let daemon = daemon_with(&releases(begin));
    let layout = daemon.json("/plugins/releng/layout");
    let seconds = |time: &Value| time.as_f64().expect("seconds") as i64 - begin;
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let rows = daemon.rows("/plugins/releng/log?time=epoch");
    let shown = board(
        &layout,
        rows.iter().map(|row| (text(&row["category"]), seconds(&row["time"]), row["value"].clone())).collect(),
    );
    let task = "https://koji.fedoraproject.org/koji/taskinfo?taskID=5";
    let iso = "https://kojipkgs.fedoraproject.org/work/tasks/6789/56789/Fedora-Live-rawhide-2.iso";
    let mut expected = vec![
        "Rawhide Compose (Primary): Mash completed at 10, - - -".to_owned(),
        "Rawhide Compose (arm): Rawhide completed at 60, - - -".to_owned(),
        "Repo Updates (EPEL): 9-epel synced out at 20, - - -".to_owned(),
    ];
    // The oldest of nine images is not shown any more.
    expected.extend((2..=9).rev().map(|n| {
        let wizard = "https://redirect.fedoraproject.org/console.aws.amazon.com/ec2/v2/home?region=";
        format!(
            "AMIs (rawhide): Fedora-Cloud-Base-rawhide-20260102.x86_64 completed at {}, - EC2 (a-{n}) \
             {wizard}a-{n}#LaunchInstanceWizard:ami=ami-1f",
            99 + n
        )
    }));
    expected.push(format!("armhfp: Fedora-Minimal-armhfp (raw) (rawhide) opened at 31, - (details) {task}"));
    expected.push(format!("x86_64: Fedora-Live-x86_64 (raw) (rawhide) closed at 30, {iso} (details) {task}"));
    assert_eq!(shown, expected);
    // The old dashboard itself asks the original's API, and shows the same.
    let old = daemon.json("/api/release-engineering-event-logs");
    let entry = |row: &Value| {
        let line = serde_json::from_str(row["message"].as_str().expect("a text")).expect("JSON in a text");
        (text(&row["category"]), seconds(&row["timestamp"]), line)
    };
    let old_layout = daemon.json("/api/release-engineering-event-logs/layout");
    assert_eq!(board(&old_layout, old.as_array().expect("rows").iter().map(entry).collect()), expected);
    assert_questions_are_answered(&daemon, include_str!("../../statscache-plugins/releng/README.md"), 6);
    let counted = daemon.rows(&format!("/plugins/releng/events?by=category&start={begin}&step=all"));
    let of = |log: &str| {
        let rows = counted.iter().filter(|row| text(&row["category"]).starts_with(log));
        rows.filter_map(|row| row["value"].as_i64()).sum::<i64>()
    };
    assert_eq!(["ami", "artifact", "compose", "updates"].map(of), [9, 2, 4, 1], "{counted:?}");
    daemon.terminate();
}
