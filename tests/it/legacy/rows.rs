//! The rows of the model: what the original counted of which message, and what this daemon does.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::model::{LOG, Model};

/// A row: its time, and its columns in order of their names.
#[derive(Clone, Debug)]
pub struct Row {
    pub time: i64,
    pub columns: Vec<(&'static str, Value)>,
}

impl Row {
    pub fn json(&self) -> Value {
        let mut row = json!({"timestamp": self.time as f64});
        for (name, value) in &self.columns {
            row[*name] = value.clone();
        }
        row
    }
}

/// A message that was sent.
pub struct Sent {
    pub micros: i64,
    pub topic: String,
    /// The envelope as it was sent.
    pub envelope: Value,
    /// Whom the original found in it, and which packages.
    pub users: Vec<String>,
    pub packages: Vec<String>,
    /// Whom the rules of here find, where that is known to be somebody else.
    pub users_by_rules: Option<Vec<String>>,
}

impl Sent {
    /// Of an envelope with a time that is a number.
    pub fn new(envelope: Value, users: Vec<String>, packages: Vec<String>) -> Option<Self> {
        let micros = (envelope["timestamp"].as_f64()? * 1e6).round() as i64;
        let topic = envelope["topic"].as_str()?.to_owned();
        Some(Self { micros, topic, envelope, users, packages, users_by_rules: None })
    }

    /// The same text: the same message.
    pub fn identity(&self) -> String {
        let envelope = &self.envelope;
        match &envelope["msg_id"] {
            Value::Null => envelope.to_string(),
            id => json!([id, self.topic, envelope["msg"]]).to_string(),
        }
    }

    fn project(&self, has_old_pushes: bool) -> Option<&Value> {
        let msg = &self.envelope["msg"];
        let project = match &*self.topic {
            "io.pagure.prod.pagure.issue.comment.edited" => return None,
            topic if topic.contains("io.pagure.prod.pagure.pull-request") => &msg["pullrequest"]["project"],
            "io.pagure.prod.pagure.git.receive" if has_old_pushes && msg["repo"].is_null() => &msg["commit"]["repo"],
            "io.pagure.prod.pagure.git.receive" => &msg["repo"],
            _ => &msg["project"],
        };
        Some(&project["name"]).filter(|name| name.is_string())
    }
}

/// Of entries with one time another one stays than did in the original: category, constraint, and its status.
const SAME_TIME: [(&str, &str, &str); 2] =
    [("compose-branched_primary", "branched", "start"), ("compose-rawhide_primary", "pungify", "start")];

/// Width of the buckets of an ident.
pub fn seconds(ident: &str) -> i64 {
    match ident.rsplit('-').next() {
        Some("1s") => 1,
        Some("5s") => 5,
        Some("15s") => 15,
        Some("1m") => 60,
        Some("1h") => 3600,
        Some("1d") => 86_400,
        step => panic!("{ident}: {step:?}"),
    }
}

impl Model<'_> {
    /// All rows of an ident, ever; in order of their making.
    pub fn rows(&self, ident: &str) -> Vec<Row> {
        if ident == LOG {
            return self.log_rows();
        }
        let width = seconds(ident);
        let is_in_buckets = self.is("buckets") || !matches!(ident, "volume-1s" | "volume-5s" | "volume-1m");
        let column = column_of(ident);
        let mut counts: Vec<((i64, Value), i64)> = Vec::new();
        let mut seen = BTreeSet::new();
        for sent in self.messages.iter().filter(|sent| seen.insert(sent.identity()) || !self.is("once")) {
            let time = match is_in_buckets {
                true => (sent.micros.div_euclid(width * 1_000_000) + 1) * width * 1_000_000,
                false => sent.micros,
            };
            for label in self.labels(ident, sent) {
                match counts.iter_mut().find(|(key, _)| *key == (time, label.clone())) {
                    Some((_, count)) => *count += 1,
                    None => counts.push(((time, label), 1)),
                }
            }
        }
        let row = |((micros, label), count): ((i64, Value), i64)| {
            let labels = column.map(|column| (column, label));
            Row {
                time: micros.div_euclid(1_000_000),
                columns: labels.into_iter().chain([("volume", json!(count))]).collect(),
            }
        };
        counts.into_iter().map(row).collect()
    }

    /// Under which labels a message counts; one that is null where rows have none.
    fn labels(&self, ident: &str, sent: &Sent) -> Vec<Value> {
        let is_pagure = sent.topic.contains("io.pagure.prod");
        let users = sent.users_by_rules.as_ref().filter(|_| self.is("names")).unwrap_or(&sent.users);
        let each = |names: &[String]| names.iter().map(|name| json!(name)).collect();
        match column_of(ident) {
            _ if ident.starts_with("number-of") && !is_pagure => Vec::new(),
            Some("project") => sent.project(self.is("old-pushes")).into_iter().cloned().collect(),
            Some("user") => each(users),
            Some("package") => each(&sent.packages),
            Some("topic") => vec![json!(sent.topic)],
            Some("category") => {
                let no_category = self.is("unclassified").then_some("unclassified");
                sent.topic.split('.').nth(3).or(no_category).into_iter().map(|name| json!(name)).collect()
            }
            _ => vec![Value::Null],
        }
    }

    fn log_rows(&self) -> Vec<Row> {
        let row = |row: &Value| {
            let mut message = row["message"].clone();
            let mut line: Value = serde_json::from_str(message.as_str().expect("a text")).expect("JSON");
            let constraint = match row["category_constraint"].is_null() && self.is("updates") {
                true => line["name"].clone(),
                false => row["category_constraint"].clone(),
            };
            let is_it = |(category, of, _): &&(&str, &str, &str)| row["category"] == *category && constraint == *of;
            if let Some((_, _, status)) = SAME_TIME.iter().find(is_it).filter(|_| self.is("same-time")) {
                line["status"] = json!(status);
                message = json!(line.to_string());
            }
            let columns =
                vec![("category", row["category"].clone()), ("category_constraint", constraint), ("message", message)];
            Row { time: row["timestamp"].as_f64().expect("a time") as i64, columns }
        };
        self.log.as_array().expect("rows").iter().map(row).collect()
    }
}

/// The column of the label, if rows of this ident have one.
fn column_of(ident: &str) -> Option<&'static str> {
    let columns = ["category", "topic", "user", "package", "project"];
    let of = |column: &&str| ident.contains(&format!("-by-{column}-")) || ident.contains(&format!("-per-{column}-"));
    columns.into_iter().find(of)
}
