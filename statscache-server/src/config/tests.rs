//! The sample file, the table in the docs and the code agree; broken files are told all that is wrong with them.

use super::units::{parse_duration, parse_size, show_duration};
use statscache_core::identity::Naming;

use super::*;

const SAMPLE: &str = include_str!("../../../examples/statscache.toml");
const DOCS: &str = include_str!("../../../docs/configuration.md");

/// The sample with every `#key = value` and `#[[table]]` in force.
fn uncommented(sample: &str) -> String {
    let is_option = |line: &str| line.starts_with('[') || line.starts_with(|c: char| c.is_ascii_lowercase());
    let lines = sample.lines().map(|line| match line.strip_prefix('#') {
        Some(option) if is_option(option) => option,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Options of the sample: path, value, whether it stands for a default.
fn sample_options() -> Vec<(String, String, bool)> {
    let mut table = String::new();
    let mut options = Vec::new();
    for (line, original) in uncommented(SAMPLE).lines().zip(SAMPLE.lines()) {
        if line.starts_with('[') {
            table = line.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            options.push((format!("{table}.{key}"), value.to_owned(), original.starts_with('#')));
        }
    }
    options
}

/// Rows of the table in the docs: option, default, values.
fn docs_options() -> Vec<[String; 3]> {
    let rows = DOCS.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        [1, 2, 3].map(|cell| cells[cell].trim_matches('`').to_owned())
    })
    .collect()
}

fn default_with_endpoint() -> Config {
    let mut config = Config::default();
    config.bus.endpoints = vec!["tcp://127.0.0.1:9940".parse().expect("an endpoint")];
    config
}

#[test]
fn an_empty_file_is_the_default() {
    for text in [
        "",
        "\n",
        "# nothing\n",
        "\u{feff}",
        "[bus]\n[http]\n[admin]\n[data]\n[journal]\n[history]\n[plugins]\n[limits]\n[log]\n",
    ] {
        assert_eq!(Config::parse(text, "c.toml").expect(text), Config::default(), "{text:?}");
    }
}

#[test]
fn the_sample_is_the_default_as_it_stands_and_with_every_line_in_force() {
    assert_eq!(Config::parse(SAMPLE, "statscache.toml").expect("the sample"), default_with_endpoint());

    let all = uncommented(SAMPLE);
    let (mut config, reader) = read::read_with(&all, Path::new(""));
    assert_eq!(reader.absent(), Vec::<String>::new(), "options that the sample does not have");
    assert_eq!(reader.finish(), Vec::<Problem>::new());
    let instance = config.instances.remove(0);
    assert_eq!(config, default_with_endpoint());
    let line = SAMPLE.lines().position(|line| line == "#[[instance]]").expect("an instance") + 1;
    let expect =
        Config::parse("[[instance]]\nplugin = \"volume\"", "c.toml").expect("one instance").instances.remove(0);
    assert_eq!(instance, InstanceConfig { line, ..expect });
}

#[test]
fn every_option_of_the_sample_is_explained() {
    let lines: Vec<&str> = SAMPLE.lines().collect();
    for (i, line) in lines.iter().enumerate() {
        if !line.is_empty() && !line.starts_with("# ") && *line != "#" {
            assert!(i > 0 && lines[i - 1].starts_with("# "), "line {}: {line:?} has no comment above it", i + 1);
        }
    }
}

#[test]
fn the_docs_have_the_options_and_defaults_of_the_sample() {
    let sample = sample_options();
    let docs = docs_options();
    let names = |options: Vec<&String>| options.into_iter().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(docs.iter().map(|[name, ..]| name).collect()),
        names(sample.iter().map(|(name, ..)| name).collect())
    );
    for ([name, default, _], (_, value, is_default)) in docs.iter().zip(&sample) {
        let in_words = ["bus.endpoints", "instance.plugin", "instance.id"].contains(&name.as_str());
        assert!(in_words || (*is_default && default == value), "{name}: docs say {default}, the sample {value}");
    }
}

#[test]
fn ranges_are_as_documented_in_docs_and_sample_from_both_sides() {
    let mut checked = 0;
    for [option, _, values] in docs_options() {
        let Some((least, most)) = values.split_once(" to ").filter(|(least, _)| parse_bound(least).is_some()) else {
            continue;
        };
        if option.starts_with("instance.") {
            continue;
        }
        let (table, key) = option.split_once('.').expect("a table");
        let comment = comment_above(key);
        assert!(
            comment.ends_with(&format!(" {values}.")),
            "the sample says of {option}: {comment:?}, the docs {values}"
        );
        for (bound, step) in [(least, -1), (most, 1)] {
            let number = parse_bound(bound).expect("a bound");
            let file = |value: i128| {
                let value = if parse_duration(bound).is_some() { format!("\"{value}ms\"") } else { value.to_string() };
                // Not every bound goes with the defaults of the other options.
                let roomy = match option.as_str() {
                    "journal.segment" => "max_bytes = \"1TiB\"\n",
                    "limits.memory" => "cache = \"16MiB\"\n",
                    "limits.cache" => "memory = \"1TiB\"\n",
                    _ => "",
                };
                format!("[{table}]\n{roomy}{key} = {value}\n")
            };
            Config::parse(&file(number), "c.toml").unwrap_or_else(|error| panic!("{error}"));
            let error = Config::parse(&file(number + step), "c.toml").expect_err(key).to_string();
            assert!(error.contains(&format!("from {least} to {most}, not")), "{option}: {error}");
            checked += 1;
        }
    }
    assert_eq!(checked, 52, "bounds checked");
}

/// What the sample says about an option; the name alone must be enough to find it.
fn comment_above(key: &str) -> String {
    let lines: Vec<&str> = SAMPLE.lines().collect();
    let at: Vec<usize> = (0..lines.len()).filter(|i| lines[*i].starts_with(&format!("#{key} = "))).collect();
    assert_eq!(at.len(), 1, "lines with {key}");
    let first = (0..at[0]).rev().find(|i| !lines[*i].starts_with("# ")).expect("an empty line") + 1;
    lines[first..at[0]].iter().map(|line| &line[1..]).collect()
}

fn parse_bound(text: &str) -> Option<i128> {
    parse_size(text).map(i128::from).or_else(|| parse_duration(text).map(|span| span.as_millis() as i128))
}

#[test]
fn the_longest_body_goes_into_the_journal() {
    let parse = |size: u64| Config::parse(&format!("[bus]\nmax_message = {size}\n"), "c.toml");
    let longest = 63 << 20;
    let config = parse(longest).expect("the largest that is allowed");
    let topic = 1024;
    assert!(config.bus.message_bytes_max + topic + 1024 <= statscache_core::journal::RECORD_BYTES_MAX);
    let error = parse(longest + 1).expect_err("more than the journal takes").to_string();
    assert!(error.contains("from 1KiB to 63MiB, not 66060289"), "{error}");
}

#[test]
fn every_option_reaches_its_field() {
    let text = r#"
        [bus]
        endpoints = ["tcp://hub.example.org:9940", "ipc:///run/bus.sock"]
        bind = ["tcp://*:2003"]
        replay = { "tcp://hub.example.org:9940" = "tcp://hub.example.org:9941" }
        subscribe = ["org.example.", "io."]
        client = "zeromq"
        queue = "2MiB"
        when_full = "wait"
        max_message = 5000
        silence = "1m30s"
        heartbeat = "5s"
        dedupe_window = "2h"
        dedupe_max_ids = 3_000
        id_pointers = ["/msg/url", "/msg/a~1b~0"]
        id_topics = ["*.uptime.check"]
        [http]
        listen = "[::1]:80"
        [admin]
        token_file = "token"
        [data]
        dir = "state"
        commit_interval = "250ms"
        [journal]
        segment = "2MiB"
        max_bytes = "4MiB"
        max_age = "1d"
        [history]
        url = "https://apps.example.org/datagrepper/raw/"
        reach = "2d"
        settle = "1m"
        overlap = "5s"
        rate = 7
        timeout = "8s"
        serve = true
        [plugins]
        dirs = ["plugins", "/usr/lib/statscache"]
        bundled = false
        quarantine_after = 3
        grace = "2d"
        hold = true
        [limits]
        series_per_metric = 11
        label_bytes = 12_0
        value_bytes = "13 kB"
        metrics = 12
        event_ahead = "2h"
        memory = "512MiB"
        cache = "16MiB"
        answers = "2MiB"
        query_rows = 0xe
        connections = 15
        [log]
        level = "trace"
        [[instance]]
        plugin = "volume"
        [[instance]]
        plugin = "volume"
        id = "volume-2"
        enabled = false
        config = { topics = ["a.#"], n = 18446744073709551615, deep = { x = -1.5, y = true } }
        [[instance]]
        plugin = "other"
        [instance.config]
        deep.er = []
    "#;
    let instance = |plugin: &str, id: &str, enabled, config, line| InstanceConfig {
        plugin: plugin.to_owned(),
        id: id.to_owned(),
        enabled,
        config,
        line,
    };
    let endpoint = |text: &str| text.parse::<Endpoint>().expect("an endpoint");
    let expect = Config {
        bus: BusConfig {
            endpoints: vec![endpoint("tcp://hub.example.org:9940"), endpoint("ipc:///run/bus.sock")],
            bind: vec![endpoint("bind tcp://0.0.0.0:2003")],
            replay: vec![(endpoint("tcp://hub.example.org:9940"), endpoint("tcp://hub.example.org:9941"))],
            subscribe: vec!["org.example.".to_owned(), "io.".to_owned()],
            client: BusClient::Zeromq,
            queue_bytes_max: 2 << 20,
            when_full: BusWhenFull::Wait,
            message_bytes_max: 5000,
            silence: Duration::from_secs(90),
            heartbeat: Duration::from_secs(5),
            dedupe_window: Duration::from_secs(7200),
            dedupe_ids_max: 3000,
            naming: Naming {
                pointers: vec!["/msg/url".to_owned(), "/msg/a~1b~0".to_owned()],
                topics: vec!["*.uptime.check".parse().expect("a pattern")],
            },
        },
        http: HttpConfig { listen: "[::1]:80".parse().expect("an address") },
        admin: AdminConfig { token_file: Some("/etc/sc/token".into()) },
        data: DataConfig { dir: "/etc/sc/state".into(), commit_interval: Duration::from_millis(250) },
        journal: JournalSettings { segment_bytes: 2 << 20, bytes_max: 4 << 20, age_max: Duration::from_secs(86_400) },
        history: HistoryConfig {
            url: Some(HistoryUrl::parse("https://apps.example.org/datagrepper").expect("an address")),
            reach: Duration::from_secs(2 * 86_400),
            settle: Duration::from_secs(60),
            overlap: Duration::from_secs(5),
            rate: 7,
            timeout: Duration::from_secs(8),
            serve: true,
        },
        plugins: PluginsConfig {
            dirs: vec!["/etc/sc/plugins".into(), "/usr/lib/statscache".into()],
            bundled: false,
            quarantine_after: 3,
            grace: Duration::from_secs(2 * 86_400),
            hold: true,
        },
        limits: LimitsConfig {
            series_per_metric_max: 11,
            label_bytes_max: 120,
            value_bytes_max: 13_000,
            metrics_max: 12,
            event_ahead_max: Duration::from_secs(7200),
            memory_bytes_max: 512 << 20,
            cache_bytes_max: 16 << 20,
            answers_bytes_max: 2 << 20,
            query_rows_max: 14,
            connections_max: 15,
        },
        log: LogConfig { level: LogLevel::Trace },
        instances: vec![
            instance("volume", "volume", true, serde_json::json!({}), 55),
            instance(
                "volume",
                "volume-2",
                false,
                serde_json::json!({"topics": ["a.#"], "n": u64::MAX, "deep": {"x": -1.5, "y": true}}),
                57,
            ),
            instance("other", "other", true, serde_json::json!({"deep": {"er": []}}), 62),
        ],
    };
    assert_eq!(Config::parse(text, "/etc/sc/c.toml").expect("all options"), expect);
}

#[test]
fn who_is_asked_for_what_did_not_come_is_a_table_of_publishers() {
    for (replay, expect) in [
        (r#"{ "tcp://b:1" = "tcp://b:2" }"#, r#"[bus] replay: "tcp://b:1" is not one of `endpoints`"#),
        (r#"["tcp://a:1"]"#, r#"[bus] replay: must be a table, { "…" = "…" }, not a list"#),
    ] {
        let text = format!("[bus]\nendpoints = [\"tcp://a:1\"]\nreplay = {replay}\n");
        let error = Config::parse(&text, "c.toml").expect_err(replay).to_string();
        assert!(error.contains(expect), "{error}");
    }
}

#[test]
fn a_file_is_found_and_its_paths_start_from_its_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.toml");
    std::fs::write(&path, "[plugins]\ndirs = [\"lib\", \"../x\"]\n").expect("written");
    let config = Config::load(&path).expect("valid");
    assert_eq!(config.data.dir, dir.path().join("statscache-data"));
    assert_eq!(config.plugins.dirs, [dir.path().join("lib"), dir.path().join("../x")]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("c.toml");
    let chain = || {
        let error = Config::load(&path).expect_err("no configuration");
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        format!("{error}{}", source.unwrap_or_default()).replace(&path.display().to_string(), "c.toml")
    };
    assert_eq!(chain(), "cannot read the configuration file c.toml: No such file or directory (os error 2)");
    std::fs::write(&path, vec![b'#'; FILE_BYTES_MAX as usize]).expect("written");
    assert_eq!(Config::load(&path).expect("just short enough").bus, BusConfig::default());
    std::fs::write(&path, vec![b'#'; FILE_BYTES_MAX as usize + 1]).expect("written");
    assert_eq!(
        chain(),
        "cannot read the configuration file c.toml: it is longer than 1 MiB, so it is hardly a configuration"
    );
    std::fs::write(&path, b"[bus]\n# caf\xe9\n").expect("written");
    assert_eq!(chain(), "c.toml:2:6: byte 0xe9 is not UTF-8: save the file as UTF-8\n    2 | # caf\n      |      ^");
}

#[test]
fn a_daemon_without_a_bus_is_told_so() {
    let error = Config::default().require_bus("c.toml").expect_err("nothing to listen to").to_string();
    assert_eq!(
        error,
        "c.toml: [bus] endpoints and bind are both empty, so there is nothing to listen to; write the addresses of the \
         publishers, such as endpoints = [\"tcp://127.0.0.1:9940\"]"
    );
    for text in ["[bus]\nendpoints = [\"tcp://a:1\"]", "[bus]\nbind = [\"tcp://*:1\"]"] {
        Config::parse(text, "c.toml").expect(text).require_bus("c.toml").expect(text);
    }
}

#[test]
fn no_damage_to_a_file_makes_the_reader_panic() {
    let text: Vec<char> = uncommented(SAMPLE).chars().collect();
    let lines = text.iter().filter(|c| **c == '\n').count() + 1;
    let outcome = |text: String| {
        if let Err(ConfigError::Problems { problems, .. }) = Config::parse(&text, "c.toml") {
            assert!(!problems.is_empty() && problems.iter().all(|problem| problem.line <= lines + 1), "{problems:?}");
            assert!(!format!("{problems:?}{}", problems[0]).is_empty());
        }
    };
    let mut noise = "[]={}\"'#\n\0\u{e4}9.,-\\\r".chars().cycle();
    for at in 0..text.len() {
        if at % 7 == 0 {
            outcome(text[..at].iter().collect());
        }
        let mut damaged = text.clone();
        damaged[at] = noise.next().expect("endless");
        outcome(damaged.into_iter().collect());
    }
}

#[test]
fn levels_and_spans_have_names() {
    for level in ["error", "warn", "info", "debug", "trace"] {
        let config = Config::parse(&format!("log.level = {level:?}"), "c.toml").expect(level);
        assert_eq!(config.log.level.as_str(), level);
    }
    assert_eq!(show_duration(Config::default().bus.silence), "1m");
}

#[test]
fn an_instance_may_have_a_file_of_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect("written");
    let load = |main: &str| {
        write("c.toml", main);
        Config::load(&dir.path().join("c.toml"))
    };
    write("rules.toml", "[[rules]]\ntopic = \"#\"\nusers = [\"/who\"]\n");
    let instance = "[[instance]]\nplugin = \"volume\"\nconfig_file = \"rules.toml\"\n";
    let config =
        load(&format!("{instance}config = {{ latest_body = true }}\n")).expect("both").instances.remove(0).config;
    assert_eq!(config, serde_json::json!({"latest_body": true, "rules": [{"topic": "#", "users": ["/who"]}]}));
    write("broken.toml", "a = 1\nb =\n");
    write("date.toml", "\n\nwhen = 1979-05-27\n");
    for (main, words) in [
        (
            format!("{instance}config = {{ rules = [] }}\n"),
            &["c.toml:3:15: [[instance]] config_file", "`rules`", "keep one"][..],
        ),
        (
            instance.replace("rules.", "broken."),
            &["c.toml:3:15: [[instance]] config_file", "broken.toml:2: this is not TOML"],
        ),
        (instance.replace("rules.", "date."), &["date.toml:3: JSON", "dates"]),
        (instance.replace("rules.", "no."), &["cannot read", "no.toml", "No such file"]),
        (instance.replace("\"rules.toml\"", "1"), &["config_file: must be a text"]),
    ] {
        let error = load(&main).expect_err(&main).to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    }
}
