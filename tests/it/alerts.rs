//! What watches the daemon and shows its numbers: alerts for Prometheus, and what Grafana is provisioned with.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::support::{BINARY, DaemonSetup, TestPublisher, note};

const RULES: &str = include_str!("../../examples/deploy/prometheus/statscache.rules.yml");
const TESTS: &str = include_str!("../../examples/deploy/prometheus/statscache.rules.test.yml");
const RUNBOOK: &str = include_str!("../../docs/operations.md");

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/deploy")
}

/// Whether a program is there; says so when it is not, and fails where it has to be.
fn has(program: &str, version: &[&str], variable: &str, what: &str) -> bool {
    let status = Command::new(program).args(version).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_there = status.is_ok_and(|status| status.success());
    let required = std::env::var_os(variable).is_some_and(|value| value == "1");
    assert!(is_there || !required, "{variable}=1, and there is no {program}");
    if !is_there {
        note(&format!("SKIPPED: no {program} here: {what}"));
    }
    is_there
}

fn alerts() -> Vec<&'static str> {
    let names: Vec<&str> = RULES.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() > 10, "the rules are written differently now: {names:?}");
    names
}

/// Names of our figures in a text.
fn figures(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    let is_figure = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    words.filter(|word| word.strip_prefix("statscache_").is_some_and(is_figure)).collect()
}

#[test]
fn each_alert_fires_in_a_test_and_stands_in_the_runbook() {
    let section = RUNBOOK.split("\n## ").find(|section| section.starts_with("Alerts\n")).expect("a section");
    let told: Vec<&str> =
        section.lines().filter_map(|line| line.strip_prefix("| `Statscache").and(line.split('`').nth(1))).collect();
    assert_eq!(told, alerts(), "the table in docs/operations.md and the rules, in the same order");
    for alert in alerts() {
        assert!(
            TESTS.contains(&format!("{alert}\n")) || TESTS.contains(&format!("\"{alert}\"")),
            "{alert} has no test"
        );
    }
}

#[test]
fn the_rules_are_sound_and_fire() {
    if !has("promtool", &["--version"], "STATSCACHE_REQUIRE_PROMTOOL", "the alerts were not checked") {
        return;
    }
    let promtool = |args: &[&str]| {
        let output = Command::new("promtool").args(args).current_dir(deploy().join("prometheus")).output();
        let output = output.expect("it was there");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "promtool {args:?}: {said}");
    };
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["check", "rules", "statscache.rules.yml"]);
    promtool(&["test", "rules", "statscache.rules.test.yml"]);
}

#[test]
fn every_figure_that_a_rule_or_the_runbook_names_is_there() {
    let publisher = TestPublisher::start();
    let daemon = DaemonSetup::new().endpoint(&publisher.address).start();
    let metrics = daemon.get("/metrics").body;
    let there: BTreeSet<&str> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for text in [RULES, TESTS, RUNBOOK] {
        let missing: Vec<&str> = figures(text).difference(&there).copied().collect();
        assert!(missing.is_empty(), "no such figures: {missing:?}");
    }
    // A series that comes only with the first trouble would never fire.
    for (name, label) in
        [("trouble", "part=\"store\""), ("bus_peers", "endpoint="), ("plugin_running", "plugin=\"volume\"")]
    {
        let start = format!("statscache_{name}{{{label}");
        assert!(metrics.lines().any(|line| line.starts_with(&start)), "no {start} in\n{metrics}");
    }
    daemon.terminate();
}

/// A YAML file as JSON.
fn yaml(path: &Path) -> Value {
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let output = Command::new("python3").args(["-c", script]).arg(path).output().expect("it was there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn grafana_finds_its_source_and_its_dashboards() {
    let (source, provider) = (deploy().join("grafana/datasource.yaml"), deploy().join("grafana/dashboards.yaml"));
    // schemathesis brings it.
    let variable = "STATSCACHE_REQUIRE_SCHEMATHESIS";
    if has("python3", &["-c", "import yaml"], variable, "YAML for Grafana was not read") {
        let source = &yaml(&source)["datasources"][0];
        assert_eq!((&source["type"], &source["uid"]), (&"prometheus".into(), &"statscache".into()));
        let provider = &yaml(&provider)["providers"][0];
        assert_eq!(provider["type"], "file");
        assert!(provider["options"]["path"].is_string());
    }

    let daemon = DaemonSetup::new().start();
    // Who has read enough of the table is no reason to panic.
    let url = format!("http://{}", daemon.address());
    let mut child = Command::new(BINARY)
        .args(["plugins", "--url", &url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ours");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(deploy().join("grafana/fetch-dashboards"))
        .arg(format!("http://{}/", daemon.address()))
        .arg(folder.path())
        .env("STATSCACHE", BINARY)
        .output()
        .expect("sh is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder.path()).expect("ours") {
        let path = entry.expect("ours").path();
        let text = fs::read_to_string(&path).expect("text");
        assert!(!text.contains("DS_STATSCACHE}"), "{} asks for a data source", path.display());
        let dashboard: Value = serde_json::from_str(&text).expect("JSON");
        let panels = dashboard["panels"].as_array().expect("panels");
        let with_source: Vec<&Value> = panels.iter().filter(|panel| panel["datasource"].is_object()).collect();
        assert!(with_source.iter().all(|panel| panel["datasource"]["uid"] == "statscache"), "{text}");
        found.insert(path.file_stem().expect("a name").to_string_lossy().into_owned());
    }
    let list = daemon.json("/plugins");
    let plugins = list["plugins"].as_array().expect("plugins").iter();
    let ids: BTreeSet<String> = plugins.filter_map(|plugin| plugin["id"].as_str().map(str::to_owned)).collect();
    assert_eq!(found, ids);
    daemon.terminate();
}
