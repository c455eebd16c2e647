//! Sizes of projects, added up along namespaces that move: in whatever order messages come, and after `kill -9`, the
//! answers are those of a recount in which everything happens in order.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{DaemonSetup, Message, TestDaemon, TestPublisher, now_secs};

const PROJECTS: &str = "/plugins/storage/projects";

fn setup() -> DaemonSetup {
    DaemonSetup::new().instance("storage", "storage", "")
}

/// Something that happened to a path.
#[derive(Clone, Debug)]
enum Fact {
    Sizes(String, i64, i64),
    Renamed(&'static str, String, String),
    Gone(&'static str, String),
}

impl Fact {
    fn message(&self, at: i64) -> Message {
        let msg = match self {
            Self::Sizes(path, repository, wiki) => json!({
                "path_with_namespace": path,
                "statistics": {"storage_size": repository + wiki, "repository_size": repository, "wiki_size": wiki}
            }),
            Self::Renamed(event, old, new) if event.starts_with("project") => {
                json!({"event_name": event, "old_path_with_namespace": old, "path_with_namespace": new})
            }
            Self::Renamed(event, old, new) => json!({"event_name": event, "old_full_path": old, "full_path": new}),
            Self::Gone(event, path) if event.starts_with("project") => {
                json!({"event_name": event, "path_with_namespace": path})
            }
            Self::Gone(event, path) => json!({"event_name": event, "full_path": path}),
        };
        Message::new("org.example.prod.storage.changed").at(at).msg(msg)
    }
}

/// The projects that there are when all that has happened in this order, with repository and wiki.
fn recount(facts: &[Fact]) -> BTreeMap<String, (i64, i64)> {
    // Where it was said, where it is.
    let mut tree: Vec<(&str, String, (i64, i64))> = Vec::new();
    let below =
        |path: &str, at: &str| at.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    for fact in facts {
        match fact {
            Fact::Sizes(path, repository, wiki) => {
                tree.retain(|(said, ..)| said != path);
                tree.push((path, path.clone(), (*repository, *wiki)));
            }
            Fact::Renamed(_, old, new) => {
                for (_, at, _) in tree.iter_mut().filter(|(_, at, _)| below(old, at)) {
                    *at = format!("{new}{}", &at[old.len()..]);
                }
            }
            Fact::Gone(_, path) => tree.retain(|(_, at, _)| !below(path, at)),
        }
    }
    // Of those that have met, the one that was said last.
    tree.into_iter().map(|(_, at, sizes)| (at, sizes)).collect()
}

/// Sums of those below `root` at that depth, as the rows tell them.
fn sums(projects: &BTreeMap<String, (i64, i64)>, root: &str, depth: usize) -> BTreeMap<String, Value> {
    let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for (path, (repository, wiki)) in projects.iter().filter(|(path, _)| path.starts_with(root)) {
        let group: Vec<&str> = path.split('/').take(depth).collect();
        let sum = sums.entry(group.join("/")).or_default();
        *sum = (sum.0 + repository, sum.1 + wiki);
    }
    let told =
        |(repository, wiki): (i64, i64)| json!({"storage": repository + wiki, "repository": repository, "wiki": wiki});
    sums.into_iter().map(|(group, sum)| (group, told(sum))).collect()
}

fn rows(daemon: &TestDaemon, question: &str) -> BTreeMap<String, Value> {
    let rows = daemon.rows(&format!("{PROJECTS}?{question}"));
    let told: BTreeMap<_, _> =
        rows.iter().map(|row| (row["project"].as_str().expect("a path").to_owned(), row["value"].clone())).collect();
    assert_eq!(told.len(), rows.len(), "one row for each path: {rows:?}");
    told
}

fn check(daemon: &TestDaemon, projects: &BTreeMap<String, (i64, i64)>) {
    assert_eq!(rows(daemon, ""), sums(projects, "", 9));
    for depth in [0, 1, 2, 3, 9] {
        assert_eq!(rows(daemon, &format!("rollup=sum&depth={depth}")), sums(projects, "", depth), "depth {depth}");
    }
    assert_eq!(rows(daemon, "rollup=sum&depth=2&where.project=a/*"), sums(projects, "a/", 2));
}

/// A forge in which much moves. The same each time.
fn history() -> Vec<Fact> {
    let mut state = 5_u64;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut facts = Vec::new();
    for _ in 0..400 {
        let mut path = |depth: u64| -> String {
            let parts: Vec<&str> = (0..depth).map(|_| ["a", "b", "c", "ab", "d"][below(5) as usize]).collect();
            parts.join("/")
        };
        let (project, group, [from, to]) = (path(4), path(2), [path(3), path(3)]);
        let other = path(2);
        facts.push(match below(12) {
            0 => Fact::Renamed("group_rename", group, other),
            1 => Fact::Renamed("project_transfer", project, path_of(&other, "moved")),
            2 => Fact::Renamed("group_transfer", from, to),
            3 if below(2) == 0 => Fact::Gone("project_destroy", project),
            3 if below(4) == 0 => Fact::Gone("group_destroy", group),
            _ => Fact::Sizes(project, below(1 << 40) as i64, below(1000) as i64),
        });
    }
    facts
}

fn path_of(group: &str, name: &str) -> String {
    format!("{group}/{name}")
}

#[test]
fn in_any_order_and_after_a_crash_everything_is_where_it_went() {
    let begin = now_secs() - 7200;
    let facts = history();
    let expected = recount(&facts);
    assert!(expected.len() > 50, "enough is left: {}", expected.len());
    let mut messages: Vec<Message> = facts.iter().zip(begin..).map(|(fact, at)| fact.message(at)).collect();
    // Far apart what happened together.
    messages.sort_by_key(|message| message.body().len() % 17);
    let (first, second) = messages.split_at(messages.len() / 2);
    let mut publisher = TestPublisher::start();
    let daemon = setup().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    publisher.send_all(first);
    daemon.wait_sequence(first.len() as u64);
    assert!(!rows(&daemon, "rollup=sum").is_empty());
    let daemon = daemon.kill().start();
    publisher.reaches(&daemon);
    publisher.send_all(second);
    daemon.wait_sequence(messages.len() as u64);
    check(&daemon, &expected);
    let daemon = daemon.kill().start();
    daemon.wait_sequence(messages.len() as u64);
    check(&daemon, &expected);
}

#[test]
fn a_namespace_that_moves_takes_its_projects_along() {
    let begin = now_secs() - 7200;
    let mut publisher = TestPublisher::start();
    let daemon = setup().endpoint(&publisher.address).start();
    publisher.reaches(&daemon);
    let mut sent = 0;
    let mut say = |facts: &[Fact]| {
        for fact in facts {
            sent += 1;
            publisher.send(&fact.message(begin + sent));
        }
        daemon.wait_sequence(sent as u64);
    };
    let size = |path: &str, repository| Fact::Sizes(path.to_owned(), repository, 1);
    let storage = |question: &str| -> Vec<(String, i64)> {
        let rows = daemon.rows(&format!("{PROJECTS}?{question}"));
        let told = |row: &Value| {
            (row["project"].as_str().expect("a path").to_owned(), row["value"]["storage"].as_i64().expect("bytes"))
        };
        rows.iter().map(told).collect()
    };
    let expect = |rows: &[(&str, i64)]| rows.iter().map(|(path, n)| ((*path).to_owned(), *n)).collect::<Vec<_>>();
    say(&[size("port/cranes/pump", 99), size("port/cranes/arm", 49), size("port/boats", 9), size("yard/dock", 1)]);
    assert_eq!(storage("rollup=sum&order=-value.storage"), expect(&[("port", 160), ("yard", 2)]));
    say(&[Fact::Renamed("group_rename", "port/cranes".to_owned(), "yard/cranes".to_owned())]);
    assert_eq!(storage("rollup=sum&order=-value.storage"), expect(&[("yard", 152), ("port", 10)]));
    assert_eq!(
        storage("rollup=sum&depth=2&where.project=yard/*&order=-value.storage"),
        expect(&[("yard/cranes", 150), ("yard/dock", 2)])
    );
    let largest = [("yard/cranes/pump", 100), ("yard/cranes/arm", 50), ("port/boats", 10), ("yard/dock", 2)];
    assert_eq!(storage("order=-value.storage"), expect(&largest));
    assert_eq!(storage("rollup=sum&depth=99&order=-value.storage"), expect(&largest));
    assert_eq!(storage("where.project=port/cranes/*"), []);
    say(&[size("yard/cranes/pump", 199), Fact::Gone("project_destroy", "yard/cranes/arm".to_owned())]);
    assert_eq!(storage("rollup=sum&depth=0"), expect(&[("", 212)]));
    say(&[Fact::Gone("group_destroy", "yard".to_owned()), size("yard/new", 4)]);
    assert_eq!(storage("rollup=sum&order=project"), expect(&[("port", 10), ("yard", 5)]));
    let csv = daemon.get(&format!("{PROJECTS}?rollup=sum&order=-value.wiki&limit=1&format=csv")).body;
    assert!(csv.starts_with("time,project,value.repository,value.storage,value.wiki,values,others\r\n"), "{csv}");
    let answer = daemon.json(&format!("{PROJECTS}?rollup=sum"));
    let types: Vec<&str> =
        answer["columns"].as_array().into_iter().flatten().filter_map(|it| it["type"].as_str()).collect();
    assert_eq!(types, ["time", "string", "object", "integer", "integer"]);
}
