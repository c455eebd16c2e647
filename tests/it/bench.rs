//! `statscache bench`: it ends with a verdict, however it ends nothing is left, and what is the operator's is not
//! touched.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use statscache_server::bench::{self as measure, Ceiling, Scratch, Setup, Under};

use crate::support::{BINARY, SOON, look, run_slowly, signal};

/// A folder with a configuration, messages, and room for the measurement.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(config: &str) -> Self {
        let bench = Self { dir: tempfile::tempdir().expect("a folder") };
        fs::create_dir(bench.path("room")).expect("it is ours");
        fs::write(bench.path("statscache.toml"), config).expect("written");
        let message = |topic: &str| format!("{{\"topic\": \"{topic}\", \"msg\": {{\"n\": 1}}, \"timestamp\": 1}}\n");
        let messages = (0..50).map(|n| message(&format!("org.example.prod.part{n}.made")));
        fs::write(bench.path("messages.jsonl"), messages.collect::<String>()).expect("written");
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What is typed, but for `more`.
    fn args(&self, more: &[&str]) -> Vec<String> {
        let text = |name: &str| self.path(name).to_str().expect("UTF-8").to_owned();
        let mut args = vec!["bench".to_owned(), "--config".to_owned(), text("statscache.toml")];
        args.extend(["--messages".to_owned(), text("messages.jsonl"), "--dir".to_owned(), text("room")]);
        args.extend(more.iter().map(|&arg| arg.to_owned()));
        args
    }

    fn run(&self, more: &[&str]) -> crate::support::Finished {
        let args = self.args(more);
        run_slowly(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn start(&self, more: &[&str]) -> Child {
        let command = Command::new(BINARY)
            .args(self.args(more))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        command.expect("the binary starts")
    }

    /// Processes with this folder in their arguments.
    fn processes(&self) -> Vec<String> {
        let folder = self.dir.path().to_str().expect("UTF-8");
        let all = fs::read_dir("/proc").expect("Linux").filter_map(Result::ok);
        // One that has just ended cannot be read.
        let texts = all.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
        let texts = texts.map(|text| String::from_utf8_lossy(&text).replace('\0', " "));
        texts.filter(|text| text.contains(folder)).collect()
    }

    fn is_empty(&self, name: &str) -> bool {
        fs::read_dir(self.path(name)).expect("it is there").next().is_none()
    }

    /// Waits until a daemon is measured.
    fn wait_for_daemon(&self) {
        let is_daemon = |text: &String| text.contains("bench-part daemon");
        let seen = look(SOON, || self.processes().iter().any(is_daemon).then_some(()));
        assert!(seen.is_some() && !self.is_empty("room"), "no daemon: {:?}", self.processes());
    }

    fn assert_nothing_runs(&self) {
        let ended = look(SOON, || self.processes().is_empty().then_some(()));
        assert!(ended.is_some(), "still there: {:?}", self.processes());
    }
}

/// The operator's own data and port, which nobody may touch.
const CONFIG: &str = "[bus]\nendpoints = [\"tcp://127.0.0.1:1\"]\n[http]\nlisten = \"127.0.0.1:1\"\n\
                      [data]\ndir = \"data\"\ncommit_interval = \"100ms\"\n[[instance]]\nplugin = \"volume\"\n";

#[test]
fn a_short_run_ends_with_a_verdict_and_leaves_nothing() {
    let bench = Bench::new(CONFIG);
    let finished = bench.run(&["--seconds", "3", "--json"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:#?}");
    let report: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    assert_eq!(report["messages"]["different"], 50);
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("a number in {report:#}"));
    assert!(number(&report["ceiling"]["per_second"]) > 0.0 && number(&report["ceiling"]["cpu_micros"]) > 0.0);
    let steps = report["steps"].as_array().expect("steps");
    assert!(!steps.is_empty(), "{report:#}");
    for step in steps.iter().filter(|step| step["limit"].is_null()) {
        assert_eq!(step["dropped"], 0.0, "{step:#}");
        assert!(number(&step["received_per_second"]) >= 0.9 * number(&step["asked_per_second"]), "{step:#}");
        assert!(number(&step["resident_mib"]) > 1.0 && number(&step["cpu_micros"]) > 0.0, "{step:#}");
        let threads = step["threads"].to_string();
        assert!(threads.contains("fold volume") && !threads.contains("fold releng"), "its instances: {threads}");
    }
    let verdict = &report["verdict"];
    assert!(verdict["keeps_up_per_second"].is_number() || verdict["limit"].is_object(), "{verdict:#}");
    bench.assert_nothing_runs();
    assert!(bench.is_empty("room") && !bench.path("data").exists());
}

#[test]
fn people_get_a_table() {
    let bench = Bench::new(CONFIG);
    let finished = bench.run(&["--seconds", "3"]);
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    for words in ["asked/s", "CPU us/msg", "busiest thread", "keeps up with", "ceiling: ", "messages.jsonl"] {
        assert!(finished.stdout.contains(words), "no {words:?} in\n{}", finished.stdout);
    }
}

#[test]
fn what_cannot_be_measured_is_said() {
    let bench = Bench::new(CONFIG);
    bench.run(&["--seconds", "1"]).fails_with(&["--seconds must be from 3"]);
    fs::remove_dir(bench.path("room")).expect("it is ours");
    bench.run(&["--seconds", "3"]).fails_with(&["cannot make the folder", "--dir", "No such file"]);
    fs::write(bench.path("messages.jsonl"), "{\"topic\": 3}\n").expect("written");
    bench.run(&[]).fails_with(&["messages.jsonl:1", "topic"]);
    fs::remove_file(bench.path("messages.jsonl")).expect("it is ours");
    bench.run(&[]).fails_with(&["cannot read", "messages.jsonl"]);

    let without = |config: &str| Bench::new(config).run(&["--seconds", "3"]);
    without("[bus]\nsubscribe = [\"org.other.\"]\n").fails_with(&["none of 50 messages", "subscribe", "org.other."]);
    without("[plugins]\nbundled = false\n").fails_with(&["no plugin is started", "[[instance]]"]);
    without("[bus]\ntypo = 1\n").fails_with(&["statscache.toml:2:", "typo"]);
}

#[test]
fn interrupted_it_leaves_nothing() {
    let bench = Bench::new(CONFIG);
    let mut process = bench.start(&["--seconds", "20"]);
    bench.wait_for_daemon();
    signal(process.id(), "INT");
    let ended = look(SOON, || process.try_wait().expect("it is ours"));
    assert_eq!(ended.and_then(|status| status.code()), Some(1));
    bench.assert_nothing_runs();
    assert!(bench.is_empty("room"));
}

/// No handler runs; its processes see that nobody is there any more, and the daemon removes the folder.
#[test]
fn killed_it_leaves_nothing() {
    let bench = Bench::new(CONFIG);
    let mut process = bench.start(&["--seconds", "20"]);
    bench.wait_for_daemon();
    process.kill().expect("it is ours");
    process.wait().expect("it is ours");
    bench.assert_nothing_runs();
    assert!(bench.is_empty("room"));
}

/// As after a start that took longer than all steps may.
#[test]
fn without_time_there_is_one_step() {
    let bench = Bench::new(CONFIG);
    let setup = Setup {
        program: (BINARY.into(), Vec::new()),
        config: Some(bench.path("statscache.toml")),
        messages: Some(bench.path("messages.jsonl")),
        dir: Some(bench.path("room")),
        time: Duration::ZERO,
    };
    let ceiling = Ceiling { per_second: 500.0, cpu_micros: 1.0 };
    let under = Under { ceiling, commit_interval: Duration::from_millis(100), time: setup.time };
    let mut told = Vec::new();
    let rising = tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let scratch = Scratch::new(setup.dir.as_deref())?;
        measure::rising(&setup, &scratch, &under, &mut |step| told.push(step.asked_per_second)).await
    });
    let steps = rising.expect("measured").steps;
    assert_eq!(told, [20.0], "{steps:?}");
    assert!(steps.len() == 1 && steps[0].received_per_second > 0.0, "{steps:?}");
}

/// A measurement without any file of the operator's.
#[test]
fn the_invented_bus_reaches_every_shipped_plugin() {
    let finished = run_slowly(&["bench", "--seconds", "4", "--json"]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:#?}");
    let report: Value = serde_json::from_str(&finished.stdout).expect("JSON");
    let instances = report["instances"].as_array().expect("instances");
    assert!(instances.len() >= 8, "{instances:?}");
    for instance in instances {
        assert!(instance["messages"].as_u64() > Some(0), "{instance} of {instances:?}");
    }
}
