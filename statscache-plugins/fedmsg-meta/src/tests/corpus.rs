//! How right the rules are on messages whose users and packages are known.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use serde_json::Value as Json;

use crate::{Explainer, Finding, Rules};

/// A message and what is known about it.
struct Known {
    topic: String,
    envelope: String,
    users: Option<BTreeSet<String>>,
    packages: Option<BTreeSet<String>>,
}

/// How many were exactly right.
#[derive(Default)]
struct Score {
    right: usize,
    all: usize,
    wrong: Vec<String>,
}

impl Score {
    fn add(&mut self, topic: &str, expected: Option<&BTreeSet<String>>, found: &Finding) {
        let Some(expected) = expected else { return };
        let names: BTreeSet<String> = found.names.iter().map(|found| found.name.clone()).collect();
        self.all += 1;
        self.right += usize::from(names == *expected);
        if names != *expected {
            self.wrong.push(format!("{topic}: {names:?}, not {expected:?} ({:?})", found.by));
        }
    }

    fn percent(&self) -> f64 {
        100.0 * self.right as f64 / self.all.max(1) as f64
    }
}

fn score<'k>(rules: &Rules, messages: impl IntoIterator<Item = &'k Known>, scores: &mut [Score; 2]) {
    let explainer = Explainer::new(rules);
    for known in messages {
        let (topic, said) = explainer.explain(&known.envelope).expect("an envelope");
        assert_eq!(topic, known.topic);
        scores[0].add(&topic, known.users.as_ref(), &said.users);
        scores[1].add(&topic, known.packages.as_ref(), &said.packages);
    }
}

#[test]
fn nearly_all_messages_are_exactly_right() {
    let Some(messages) = messages() else { return };
    let mut scores = <[Score; 2]>::default();
    score(&Rules::with(Vec::new()).expect("shipped rules"), &messages, &mut scores);
    for (score, (name, least)) in scores.iter().zip([("users", 97.0), ("packages", 98.0)]) {
        println!("{name}: {} of {} exactly right, {:.2} %", score.right, score.all, score.percent());
        println!("{}", score.wrong.join("\n"));
        assert!(score.percent() >= least, "{name}: {:.2} %\n{}", score.percent(), score.wrong.join("\n"));
    }
}

/// How far the rule for all topics gets with services that nobody has written rules for.
#[test]
fn a_service_without_rules_is_often_right() {
    let Some(messages) = messages() else { return };
    let services: BTreeSet<&str> = messages.iter().map(|known| service(&known.topic)).collect();
    let mut scores = <[Score; 2]>::default();
    for service_left_out in services {
        let mut rules = Rules::with(Vec::new()).expect("shipped rules");
        rules.retain(|rule| service(&rule.topic) != service_left_out);
        score(&rules, messages.iter().filter(|known| service(&known.topic) == service_left_out), &mut scores);
    }
    for (score, (name, least)) in scores.iter().zip([("users", 60.0), ("packages", 60.0)]) {
        println!("{name}: {} of {} right without rules, {:.2} %", score.right, score.all, score.percent());
        println!("{}", score.wrong.join("\n"));
        assert!(score.percent() >= least, "{name}: {:.2} %\n{}", score.percent(), score.wrong.join("\n"));
    }
}

/// The fourth word; the first where there are too few.
fn service(topic: &str) -> &str {
    let mut words = topic.split('.');
    if topic.starts_with("fedoracollege") { words.next() } else { words.nth(3) }.unwrap_or(topic)
}

/// The messages, unless they are not there.
fn messages() -> Option<Vec<Known>> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = std::env::var_os("STATSCACHE_SHARED").map_or_else(beside, PathBuf::from);
    let path = folder.join("fedmsg/messages.jsonl");
    let Ok(text) = fs::read_to_string(&path) else {
        // Not eprintln: the test harness would swallow it.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no reference data in {}; set STATSCACHE_SHARED to the folder that has it",
            path.display()
        );
        return None;
    };
    Some(text.lines().map(|line| known(&serde_json::from_str(line).expect("a line of JSON"))).collect())
}

fn known(row: &Json) -> Known {
    let names = |key: &str, computed: &str| {
        let list = row[key].as_array().or_else(|| row[computed].as_array())?;
        Some(list.iter().filter_map(Json::as_str).map(str::to_owned).collect())
    };
    Known {
        topic: row["message"]["topic"].as_str().expect("a topic").to_owned(),
        envelope: row["message"].to_string(),
        users: names("usernames", "oracle_usernames"),
        packages: names("packages", "oracle_packages"),
    }
}
