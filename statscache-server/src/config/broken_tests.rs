//! Broken files, and all that their authors are told.

use super::Config;

/// A file `c.toml` and its errors, as an operator sees them.
fn check(text: &str, expect: &str) {
    let found = match Config::parse(text, "c.toml") {
        Ok(config) => panic!("accepted: {config:#?}"),
        Err(error) => error.to_string(),
    };
    assert_eq!(found, expect.trim_matches('\n'), "\n--- file\n{text}\n--- found\n{found}\n");
}

#[test]
fn a_near_miss_is_named() {
    check(
        r#"[bus]
endpoint = ["tcp://127.0.0.1:9940"]
max-message = 1
[bsu]
[limits]
sereis_per_metric = 1
"#,
        r##"
c.toml:2:1: unknown key `endpoint` in [bus]; did you mean `endpoints`?
    2 | endpoint = ["tcp://127.0.0.1:9940"]
      | ^^^^^^^^
c.toml:3:1: unknown key `max-message` in [bus]; did you mean `max_message`?
    3 | max-message = 1
      | ^^^^^^^^^^^
c.toml:4:2: unknown section [bsu]; did you mean `bus`?
    4 | [bsu]
      |  ^^^
c.toml:6:1: unknown key `sereis_per_metric` in [limits]; did you mean `series_per_metric`?
    6 | sereis_per_metric = 1
      | ^^^^^^^^^^^^^^^^^
"##,
    );
}

#[test]
fn a_key_in_the_wrong_place_is_told_the_right_one() {
    check(
        r#"listen = "127.0.0.1:1"
[http]
queue = 5
[data]
zzz = 1
[statsd]
[unknown.deeper]
"#,
        r##"
c.toml:1:1: unknown key `listen` at the top level; it belongs in [http]
    1 | listen = "127.0.0.1:1"
      | ^^^^^^
c.toml:3:1: unknown key `queue` in [http]; it belongs in [bus]
    3 | queue = 5
      | ^^^^^
c.toml:5:1: unknown key `zzz` in [data]
    5 | zzz = 1
      | ^^^
c.toml:6:2: unknown section [statsd]
    6 | [statsd]
      |  ^^^^^^
c.toml:7:2: unknown section [unknown]
    7 | [unknown.deeper]
      |  ^^^^^^^
"##,
    );
}

#[test]
fn every_problem_is_told_at_once() {
    check(
        r#"[bus]
endpoints = ["127.0.0.1:9940", "tcp://a:1", "tcp://a:1", 5]
silence = 60
queue = "64M"
when_full = "block"
[http]
listen = ":8888"
[log]
level = "warning"
file = "x"
[[instance]]
enabled = 1
"#,
        r##"
c.toml:2:14: [bus] endpoints: endpoint "127.0.0.1:9940": the transport is missing; write tcp://host:port, tcp://[ipv6]:port or ipc:///path
    2 | endpoints = ["127.0.0.1:9940", "tcp://a:1", "tcp://a:1", 5]
      |              ^^^^^^^^^^^^^^^^
c.toml:2:45: [bus] endpoints: "tcp://a:1" is in the list already
    2 | endpoints = ["127.0.0.1:9940", "tcp://a:1", "tcp://a:1", 5]
      |                                             ^^^^^^^^^^^
c.toml:2:58: [bus] endpoints: must be a list of texts in quotes, not 5
    2 | endpoints = ["127.0.0.1:9940", "tcp://a:1", "tcp://a:1", 5]
      |                                                          ^
c.toml:3:11: [bus] silence: must be a span of time such as "15s", "1m30s", "250ms" or "7d", not 60
    3 | silence = 60
      |           ^^
c.toml:4:9: [bus] queue: must be a size such as "64MiB", "10MB" or 1500 (bytes), not "64M"
    4 | queue = "64M"
      |         ^^^^^
c.toml:5:13: [bus] when_full: must be "drop" or "wait", not "block"
    5 | when_full = "block"
      |             ^^^^^^^
c.toml:7:10: [http] listen: must be an IP address and a port such as "127.0.0.1:8888" or "[::1]:8888", not ":8888"; write "0.0.0.0:8888" for every interface, "127.0.0.1:8888" for this machine alone
    7 | listen = ":8888"
      |          ^^^^^^^
c.toml:9:9: [log] level: must be "error", "warn", "info", "debug" or "trace", not "warning"
    9 | level = "warning"
      |         ^^^^^^^^^
c.toml:10:1: unknown key `file` in [log]
   10 | file = "x"
      | ^^^^
c.toml:11:1: [[instance]] plugin: is missing; name the plugin, such as plugin = "volume"
   11 | [[instance]]
      | ^^^^^^^^^^^^
c.toml:12:11: [[instance]] enabled: must be true or false, not 1
   12 | enabled = 1
      |           ^
"##,
    );
}

#[test]
fn who_is_asked_for_what_did_not_come_belongs_to_a_publisher() {
    check(
        r#"[bus]
endpoints = ["tcp://a:1"]
[bus.replay]
"tcp://a:1" = "tcp://a:2"
" tcp://a:1" = "tcp://a:3"
"tcp://b:1" = "tcp://*:*"
"a:1" = 5
"#,
        r##"
c.toml:4:1: [bus] replay: "tcp://a:1" is in the table already
    4 | "tcp://a:1" = "tcp://a:2"
      | ^^^^^^^^^^^
c.toml:6:15: [bus] replay: endpoint "tcp://*:*": `*` as port is only for binding; write tcp://host:port, tcp://[ipv6]:port or ipc:///path
    6 | "tcp://b:1" = "tcp://*:*"
      |               ^^^^^^^^^^^
c.toml:7:1: [bus] replay: endpoint "a:1": the transport is missing; write tcp://host:port, tcp://[ipv6]:port or ipc:///path
    7 | "a:1" = 5
      | ^^^^^
c.toml:7:9: [bus] replay: must be a table of texts in quotes, not 5
    7 | "a:1" = 5
      |         ^
"##,
    );
}

#[test]
fn values_of_the_wrong_type_are_shown() {
    check(
        r#"[bus]
endpoints = "tcp://a:1"
bind = [
  "tcp://*:1",
  7,
]
client = true
max_message = 1e3
heartbeat = [
  1,
]
dedupe_max_ids = "many"
[http]
listen = 8888
[plugins]
bundled = "yes"
[log]
level = { x = 1 }
"#,
        r##"
c.toml:2:13: [bus] endpoints: must be a list of texts, ["…", "…"], not "tcp://a:1"
    2 | endpoints = "tcp://a:1"
      |             ^^^^^^^^^^^
c.toml:5:3: [bus] bind: must be a list of texts in quotes, not 7
    5 |   7,
      |   ^
c.toml:7:10: [bus] client: must be "zmtp" or "zeromq", not true
    7 | client = true
      |          ^^^^
c.toml:8:15: [bus] max_message: must be a size such as "64MiB", "10MB" or 1500 (bytes), not 1e3
    8 | max_message = 1e3
      |               ^^^
c.toml:9:13: [bus] heartbeat: must be a span of time such as "15s", "1m30s", "250ms" or "7d", not a list
    9 | heartbeat = [
      |             ^
c.toml:12:18: [bus] dedupe_max_ids: must be a whole number from 1000 to 1000000000, not "many"
   12 | dedupe_max_ids = "many"
      |                  ^^^^^^
c.toml:14:10: [http] listen: must be a text in quotes, not 8888
   14 | listen = 8888
      |          ^^^^
c.toml:16:11: [plugins] bundled: must be true or false, not "yes"
   16 | bundled = "yes"
      |           ^^^^^
c.toml:18:9: [log] level: must be "error", "warn", "info", "debug" or "trace", not a table
   18 | level = { x = 1 }
      |         ^^^^^^^^^
"##,
    );
}

#[test]
fn tables_of_the_wrong_kind_are_told_how_to_be_written() {
    check(
        r#"bus = 3
[[http]]
[instance]
plugin = "volume"
"#,
        r##"
c.toml:1:7: `bus` must be a table, written [bus], not 3
    1 | bus = 3
      |       ^
c.toml:2:1: `http` must be a table, written [http], not a list
    2 | [[http]]
      | ^^^^^^^^
c.toml:3:1: `instance` must be a list of tables, each written [[instance]], not a table
    3 | [instance]
      | ^^^^^^^^^^
"##,
    );
    check(
        r#"instance = [1, { plugin = "x" }]
"#,
        r##"
c.toml:1:13: `instance` must be a list of tables, each written [[instance]], not 1
    1 | instance = [1, { plugin = "x" }]
      |             ^
"##,
    );
    check(
        "[bus.endpoints]\nx = 1\n",
        r##"
c.toml:1:1: [bus] endpoints: must be a list of texts, ["…", "…"], not a table
    1 | [bus.endpoints]
      | ^^^^^^^^^^^^^^^
"##,
    );
}

#[test]
fn numbers_out_of_range_are_told_the_range() {
    check(
        r#"[bus]
queue = "1MB"
heartbeat = "2h"
[data]
commit_interval = "5ms"
[plugins]
quarantine_after = 0
[limits]
query_rows = -1
connections = 99999999999999999999
"#,
        r##"
c.toml:2:9: [bus] queue: must be from 1MiB to 64GiB, not "1MB"
    2 | queue = "1MB"
      |         ^^^^^
c.toml:3:13: [bus] heartbeat: must be from 1s to 1h, not "2h"
    3 | heartbeat = "2h"
      |             ^^^^
c.toml:5:19: [data] commit_interval: must be from 100ms to 1m, not "5ms"
    5 | commit_interval = "5ms"
      |                   ^^^^^
c.toml:7:20: [plugins] quarantine_after: must be a whole number from 1 to 1000000, not 0
    7 | quarantine_after = 0
      |                    ^
c.toml:9:14: [limits] query_rows: must be a whole number from 1 to 10000000, not -1
    9 | query_rows = -1
      |              ^^
c.toml:10:15: [limits] connections: must be a whole number from 1 to 1000000, not 99999999999999999999
   10 | connections = 99999999999999999999
      |               ^^^^^^^^^^^^^^^^^^^^
"##,
    );
}

#[test]
fn a_journal_must_hold_two_segments() {
    check(
        "[journal]\nsegment = \"1GiB\"\nmax_bytes = \"1GiB\"\n",
        r##"
c.toml:3:13: [journal] max_bytes: max_bytes (1GiB) must be at least twice segment (1GiB)
    3 | max_bytes = "1GiB"
      |             ^^^^^^
"##,
    );
    check(
        r#"[journal]
segment = "8MiB"
max_bytes = "15MiB"
"#,
        r##"
c.toml:3:13: [journal] max_bytes: max_bytes (15MiB) must be at least twice segment (8MiB)
    3 | max_bytes = "15MiB"
      |             ^^^^^^^
"##,
    );
}

#[test]
fn what_plugins_do_is_not_done_by_subscriptions() {
    check(
        "[bus]\nsubscribe = [\"org.fedoraproject.*.git\", \"#\"]\n",
        r##"
c.toml:2:14: [bus] subscribe: "org.fedoraproject.*.git" has a wildcard, and only the topics of plugins can; the bus compares the first bytes: write "org.fedoraproject." to receive every topic that begins so
    2 | subscribe = ["org.fedoraproject.*.git", "#"]
      |              ^^^^^^^^^^^^^^^^^^^^^^^^^
c.toml:2:41: [bus] subscribe: "#" has a wildcard, and only the topics of plugins can; the bus compares the first bytes: write "" to receive every topic that begins so
    2 | subscribe = ["org.fedoraproject.*.git", "#"]
      |                                         ^^^
"##,
    );
    check(
        "[bus]\nsubscribe = []\n",
        r##"
c.toml:2:13: [bus] subscribe: an empty list receives nothing; write [""] to receive everything
    2 | subscribe = []
      |             ^^
"##,
    );
}

#[test]
fn topics_without_pointers_mean_nothing() {
    check(
        r##"[bus]
id_topics = ["#.check"]
"##,
        r##"
c.toml:2:13: [bus] id_topics: means nothing without `id_pointers`, which say what makes two messages there the same
    2 | id_topics = ["#.check"]
      |             ^^^^^^^^^^^
"##,
    );
}

#[test]
fn addresses_paths_and_pointers_are_explained() {
    check(
        r#"[bus]
id_pointers = ["msg/url", "/a~2", ""]
[http]
listen = "localhost:80"
[data]
dir = "~/state"
[plugins]
dirs = [""]
"#,
        r##"
c.toml:2:16: [bus] id_pointers: must be a JSON pointer such as "/msg/url", in which ~0 stands for `~` and ~1 for `/`, not "msg/url"
    2 | id_pointers = ["msg/url", "/a~2", ""]
      |                ^^^^^^^^^
c.toml:2:27: [bus] id_pointers: must be a JSON pointer such as "/msg/url", in which ~0 stands for `~` and ~1 for `/`, not "/a~2"
    2 | id_pointers = ["msg/url", "/a~2", ""]
      |                           ^^^^^^
c.toml:2:35: [bus] id_pointers: must be a JSON pointer such as "/msg/url", in which ~0 stands for `~` and ~1 for `/`, not ""
    2 | id_pointers = ["msg/url", "/a~2", ""]
      |                                   ^^
c.toml:4:10: [http] listen: must be an IP address and a port such as "127.0.0.1:8888" or "[::1]:8888", not "localhost:80"; write "127.0.0.1:80"
    4 | listen = "localhost:80"
      |          ^^^^^^^^^^^^^^
c.toml:6:7: [data] dir: must be a path, not "~/state"; `~` is a shell's; write the directory out
    6 | dir = "~/state"
      |       ^^^^^^^^^
c.toml:8:9: [plugins] dirs: must be a path, not ""
    8 | dirs = [""]
      |         ^^
"##,
    );
    check(
        "[http]\nlisten = \"*:80\"\n",
        r##"
c.toml:2:10: [http] listen: must be an IP address and a port such as "127.0.0.1:8888" or "[::1]:8888", not "*:80"; write "0.0.0.0:80" for every interface, "127.0.0.1:80" for this machine alone
    2 | listen = "*:80"
      |          ^^^^^^
"##,
    );
    check(
        "[http]\nlisten = \"example.org\"\n",
        r##"
c.toml:2:10: [http] listen: must be an IP address and a port such as "127.0.0.1:8888" or "[::1]:8888", not "example.org"
    2 | listen = "example.org"
      |          ^^^^^^^^^^^^^
"##,
    );
}

#[test]
fn instances_have_a_plugin_and_an_id_of_their_own() {
    check(
        r#"[[instance]]
id = "a"
[[instance]]
plugin = "volume"
[[instance]]
plugin = "volume"
[[instance]]
plugin = "other"
id = "volume"
[[instance]]
plugin = "Volume 2"
[[instance]]
plugin = "volume"
id = ""
"#,
        r##"
c.toml:1:1: [[instance]] plugin: is missing; name the plugin, such as plugin = "volume"
    1 | [[instance]]
      | ^^^^^^^^^^^^
c.toml:6:10: [[instance]] plugin: `volume` is the id of the instance at line 3 already; give this one an id of its own
    6 | plugin = "volume"
      |          ^^^^^^^^
c.toml:9:6: [[instance]] id: `volume` is the id of the instance at line 3 already; give this one an id of its own
    9 | id = "volume"
      |      ^^^^^^^^
c.toml:11:10: [[instance]] plugin: must be 1 to 64 lower-case letters, digits and `-`, not "Volume 2"
   11 | plugin = "Volume 2"
      |          ^^^^^^^^^^
c.toml:14:6: [[instance]] id: must be 1 to 64 lower-case letters, digits and `-`, not ""
   14 | id = ""
      |      ^^
"##,
    );
}

#[test]
fn what_json_cannot_hold_is_refused() {
    check(
        r#"[[instance]]
plugin = "x"
config = { at = 1979-05-27, n = [nan, 1e999] }
[[instance]]
plugin = "y"
config = 3
[[instance]]
plugin = "z"
[instance.config.deep]
n = 99999999999999999999
"#,
        r##"
c.toml:3:17: [[instance]] config: JSON, which plugins are given, has no dates; put it in quotes
    3 | config = { at = 1979-05-27, n = [nan, 1e999] }
      |                 ^^^^^^^^^^
c.toml:3:34: [[instance]] config: JSON, which plugins are given, has no infinity and no nan
    3 | config = { at = 1979-05-27, n = [nan, 1e999] }
      |                                  ^^^
c.toml:3:39: [[instance]] config: JSON, which plugins are given, has no infinity and no nan
    3 | config = { at = 1979-05-27, n = [nan, 1e999] }
      |                                       ^^^^^
c.toml:6:10: [[instance]] config: must be a table, written [instance.config] or { key = value }, not 3
    6 | config = 3
      |          ^
c.toml:10:5: [[instance]] config: whole numbers go from -9223372036854775808 to 18446744073709551615; put a larger one in quotes
   10 | n = 99999999999999999999
      |     ^^^^^^^^^^^^^^^^^^^^
"##,
    );
}

#[test]
fn a_key_twice_does_not_hide_the_rest() {
    check(
        r#"[bus]
queue = "x"
queue = "2MiB"
[bus]
foo = 1
"#,
        r##"
c.toml:2:9: [bus] queue: must be a size such as "64MiB", "10MB" or 1500 (bytes), not "x"
    2 | queue = "x"
      |         ^^^
c.toml:3:1: `queue` is given a second time; keep one of the two
    3 | queue = "2MiB"
      | ^^^^^
c.toml:4:2: `bus` is given a second time; keep one of the two
    4 | [bus]
      |  ^^^
c.toml:5:1: unknown key `foo` in [bus]
    5 | foo = 1
      | ^^^
"##,
    );
}

#[test]
fn faults_of_syntax_are_told_alone() {
    check(
        r#"[bus
queue = 1
http = = 2
"#,
        r##"
c.toml:1:5: this is not TOML: unclosed table, expected `]`
    1 | [bus
      |     ^
c.toml:3:8: this is not TOML: extra `=`
    3 | http = = 2
      |        ^
"##,
    );
    check(
        r#"[bus]
queue = "1MiB
unknown = 1
"#,
        r##"
c.toml:2:14: this is not TOML: invalid basic string, expected `"`
    2 | queue = "1MiB
      |              ^
"##,
    );
    check(
        "[bus]\nqueue 5\n",
        r##"
c.toml:2:7: this is not TOML: key with no value, expected `=`
    2 | queue 5
      |       ^
"##,
    );
    check(
        "[bus]\nqueue = 01\n",
        r##"
c.toml:2:9: this is not TOML: unexpected leading zero
    2 | queue = 01
      |         ^
"##,
    );
}

#[test]
fn a_place_is_counted_in_characters() {
    check(
        "[log]\r\n\tlevel = \"ä\" # ü\r\n\"lögs\" = 1\r\n",
        r##"
c.toml:2:10: [log] level: must be "error", "warn", "info", "debug" or "trace", not "ä"
    2 |  level = "ä" # ü
      |          ^^^
c.toml:3:1: unknown key `lögs` in [log]
    3 | "lögs" = 1
      | ^^^^^^
"##,
    );
    check(
        "[log]\n\t\"ä\u{85}\" = \"é\"\n",
        r##"
c.toml:2:2: unknown key `ä\u{85}` in [log]
    2 |  "ä�" = "é"
      |  ^^^^
"##,
    );
}

#[test]
fn a_long_line_is_cut() {
    check(
        &format!("[log]\n{}level = \"x\" # {}\n", " ".repeat(100), "y".repeat(120)),
        r##"
c.toml:2:109: [log] level: must be "error", "warn", "info", "debug" or "trace", not "x"
    2 |                                 level = "x" # yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy
      |                                         ^^^
"##,
    );
}

#[test]
fn a_history_service_has_an_address() {
    check(
        r#"[history]
url = "apps.example.org"
rate = 0
"#,
        r##"
c.toml:2:7: [history] url: "apps.example.org" is no address of a history service: it does not begin with http:// or https://; write what stands before `/raw`, such as "https://apps.fedoraproject.org/datagrepper"
    2 | url = "apps.example.org"
      |       ^^^^^^^^^^^^^^^^^^
c.toml:3:8: [history] rate: must be a whole number from 1 to 1000, not 0
    3 | rate = 0
      |        ^
"##,
    );
}
