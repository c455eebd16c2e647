//! The tree itself: rules that can be checked are checked here, so that no document has to repeat them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Longest source file. Exceptions with their reason.
const LINES_MAX: usize = 600;
const LONG: [(&str, &str); 0] = [];

/// A text file of the tree.
struct Source {
    /// From the top of the tree, with slashes.
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Part of something that is shipped, and no test.
    fn is_shipped(&self) -> bool {
        let is_test =
            self.path.contains("/tests") || self.path.contains("_tests") || self.path.contains("/simulated.rs");
        self.is_rust() && self.path.contains("/src/") && !self.path.starts_with("tests/") && !is_test
    }

    /// Code of each line, without line comments and what is in quotes; with its number. Tests at the end of a file are
    /// not in it.
    fn code(&self) -> impl Iterator<Item = (usize, String)> + '_ {
        let lines = self.text.lines().take_while(|line| *line != "mod tests {");
        lines.enumerate().map(|(number, line)| (number + 1, without_text(line)))
    }
}

/// A line without its comment and without what is in quotes.
fn without_text(line: &str) -> String {
    let (mut code, mut quoted, mut before) = (String::new(), false, ' ');
    for (at, c) in line.char_indices() {
        match c {
            '"' if before != '\\' && before != '\'' => quoted = !quoted,
            '/' if !quoted && line[at..].starts_with("//") => return code,
            c if !quoted => code.push(c),
            _ => {}
        }
        before = if before == '\\' { ' ' } else { c };
    }
    code
}

/// Whether the word is in the text, not as part of another.
fn has_word(text: &str, word: &str) -> bool {
    let is_inside = |c: char| c.is_alphanumeric() || c == '_';
    let (opens, closes) = (word.starts_with(is_inside), word.ends_with(is_inside));
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        !(opens && before.ends_with(is_inside) || closes && after.starts_with(is_inside))
    })
}

/// All text files of the tree that are written by hand.
fn tree() -> Vec<Source> {
    let mut sources = Vec::new();
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is in the tree");
    collect(top, top, &mut sources);
    assert!(sources.iter().any(|source| source.path == "statscache-server/src/main.rs"), "this is not the tree");
    sources
}

fn collect(top: &Path, dir: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).expect("the tree can be read") {
        let path = entry.expect("the tree can be read").path();
        let name = path.file_name().expect("it has one").to_string_lossy().into_owned();
        if path.is_dir() {
            let is_made = name == "target" || name == "corpus" || name == "artifacts";
            if !is_made && (!name.starts_with('.') || name == ".ci") {
                collect(top, &path, sources);
            }
        // In a worktree `.git` is a file.
        } else if name != "Cargo.lock" && name != ".git" && !name.ends_with(".jsonl") {
            // What is not text is no concern of these rules.
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let path = path.strip_prefix(top).expect("it is below").to_string_lossy().replace('\\', "/");
            sources.push(Source { path, text });
        }
    }
}

fn file<'s>(sources: &'s [Source], path: &str) -> Option<&'s Source> {
    sources.iter().find(|source| source.path == path)
}

fn assert_none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn no_file_is_too_long() {
    let lines = |source: &Source| source.text.lines().count();
    let sources = tree();
    let long: Vec<String> = sources
        .iter()
        .filter(|source| (source.is_rust() || source.path.ends_with(".c")) && lines(source) > LINES_MAX)
        .filter(|source| !LONG.iter().any(|(path, _)| *path == source.path))
        .map(|source| format!("{}: {} lines", source.path, lines(source)))
        .collect();
    assert_none(&format!("at most {LINES_MAX} lines"), &long);
    for (path, _) in LONG {
        assert!(file(&sources, path).is_some_and(|it| lines(it) > LINES_MAX), "{path} needs no exception any more");
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<String> = tree()
        .into_iter()
        .filter(|source| {
            // Of a file of tests the name says it.
            source.is_rust()
                && !source.path.ends_with("tests.rs")
                && !source.text.trim_start_matches("#![no_main]\n").trim_start().starts_with("//!")
        })
        .map(|source| source.path)
        .collect();
    assert_none("the first line is `//!`", &silent);
}

/// Lines of shipped code with one of these in it, outside of these places.
fn outside(places: &[&str], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in tree().iter().filter(|source| source.is_shipped()) {
        if places.iter().any(|place| source.path.starts_with(place)) {
            continue;
        }
        for (number, code) in source.code() {
            if words.iter().any(|word| has_word(&code, word)) {
                found.push(format!("{}:{number}: {}", source.path, code.trim()));
            }
        }
    }
    found
}

#[test]
fn what_is_named_in_one_place_only() {
    let mut sled = outside(&["statscache-core/src/store/sled"], &["sled::"]);
    sled.retain(|line| !line.contains("self::sled::"));
    assert_none("only store/sled.rs knows sled", &sled);
    assert_none(
        "only clock.rs asks for the time",
        &outside(
            &["statscache-server/src/clock.rs", "examples/bridge/src/webhook.rs", "examples/scraper/src/clock.rs"],
            &["SystemTime::now", "Utc::now", "Timestamp::now", "Zoned::now"],
        ),
    );
    assert_none(
        "nothing below the server knows HTTP, sockets or a runtime",
        &outside(
            &["statscache-server/", "examples/"],
            &["tokio", "axum", "hyper", "zeromq", "TcpStream", "TcpListener", "UnixStream", "tracing"],
        ),
    );
    assert_none("only the host opens libraries", &outside(&["statscache-server/src/host/"], &["libloading"]));
    let mut unbounded = outside(&[], &["unbounded_channel", "unbounded", "channel()"]);
    // It takes one message.
    unbounded.retain(|line| !line.contains("oneshot::channel()"));
    assert_none("no queue is unbounded", &unbounded);
    assert_none(
        "nothing below main ends the process",
        &outside(&["statscache-server/src/cli.rs"], &["process::exit", "process::abort"]),
    );
}

#[test]
fn unsafe_code_is_where_it_may_be_and_says_why() {
    let places = [
        "plugin-sdk/src/abi/",
        "plugin-sdk/src/abi.rs",
        "plugin-sdk/src/export.rs",
        "statscache-server/src/host/library.rs",
        "statscache-server/src/host/call.rs",
        "statscache-server/src/memory.rs",
    ];
    assert_none(
        "unsafe code only in the SDK's shim, the host, and one call of the allocator",
        &outside(&places, &["unsafe"]),
    );

    let mut silent = Vec::new();
    for source in tree().iter().filter(|source| source.is_rust()) {
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = without_text(line);
            let is_block = code.contains("unsafe {") || code.contains("unsafe impl");
            // The reason is above the statement, which may begin a few lines before.
            let above = &lines[at.saturating_sub(8)..=at];
            if is_block && !above.iter().any(|line| line.contains("SAFETY: ")) {
                silent.push(format!("{}:{}: {}", source.path, at + 1, code.trim()));
            }
        }
    }
    assert_none("every unsafe block says why it is sound", &silent);
}

#[test]
fn no_path_of_one_machine() {
    // Put together, so that this file passes, too.
    let machine = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];
    let mut found = Vec::new();
    for source in tree() {
        for (number, line) in source.text.lines().enumerate() {
            // A URL may have such a part.
            let is_path = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '.' || c == '}');
            if machine.iter().any(|path| line.match_indices(path).any(|(at, _)| is_path(at))) {
                found.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    assert_none("no absolute path of a machine", &found);
}

/// Names of the dependencies in a section of a Cargo.toml.
fn dependencies(manifest: &str, section: &str) -> BTreeSet<String> {
    let lines = manifest.lines().skip_while(|line| *line != section).skip(1).take_while(|line| !line.starts_with('['));
    let name = |line: &str| line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned();
    lines.filter(|line| !line.starts_with('#') && !line.trim().is_empty()).map(name).collect()
}

#[test]
fn crates_depend_downwards() {
    let sources = tree();
    let of =
        |path: &str| dependencies(&file(&sources, path).unwrap_or_else(|| panic!("no {path}")).text, "[dependencies]");
    for (path, forbidden) in [
        ("plugin-sdk/Cargo.toml", &["statscache-core", "statscache-server", "tokio", "libloading", "sled"][..]),
        (
            "statscache-core/Cargo.toml",
            &["statscache-server", "tokio", "axum", "hyper", "zeromq", "libloading", "tracing", "jiff"],
        ),
        ("statscache-server/Cargo.toml", &["sled"]),
    ] {
        let found: Vec<&&str> = forbidden.iter().filter(|name| of(path).contains(**name)).collect();
        assert!(!of(path).is_empty() && found.is_empty(), "{path}: {found:?}");
    }
    let plugins = sources
        .iter()
        .filter(|source| source.path.starts_with("statscache-plugins/") && source.path.ends_with("/Cargo.toml"));
    let mut count = 0;
    for plugin in plugins {
        let names = dependencies(&plugin.text, "[dependencies]");
        let ours: Vec<&String> = names.iter().filter(|name| name.starts_with("statscache-")).collect();
        let is_other = |name: &&String| !["statscache-plugin-sdk", "statscache-fedmsg-meta"].contains(&name.as_str());
        assert!(!ours.iter().any(is_other), "{}: {ours:?}", plugin.path);
        count += 1;
    }
    assert!(count >= 2);
}

/// What is between backticks, outside of blocks of code.
fn quoted(markdown: &str) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    let mut in_block = false;
    for (number, line) in markdown.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            names.extend(line.split('`').skip(1).step_by(2).map(|name| (number + 1, name.to_owned())));
        }
    }
    names
}

/// Whether a text in backticks claims that a file exists; `./name` is one of the reader's own.
fn is_file_name(name: &str) -> bool {
    let ends = [".rs", ".toml", ".md", ".c", ".py", ".jsonl", ".h"].iter().any(|end| name.ends_with(end));
    ends && !name.contains([' ', '*', '{', '<', '$'])
        && !name.starts_with("./")
        && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'.')
}

/// The parts of a text in backticks that claim that a type exists: `Name`, `Name::item`, `path::Name`.
fn type_names(name: &str) -> Vec<&str> {
    let path = name.trim_start_matches('&').split(['(', '<', ' ', '{', '=']).next().unwrap_or_default();
    let is_type = |part: &&str| {
        part.len() > 2
            && part.starts_with(|c: char| c.is_ascii_uppercase())
            && part.chars().all(char::is_alphanumeric)
            && part.chars().any(char::is_lowercase)
    };
    path.split("::").filter(is_type).collect()
}

/// Types that documents may name and that are not ours.
const FOREIGN: [&str; 12] =
    ["Accept", "Arc", "ArcSwap", "Infinity", "Mutex", "NaN", "None", "Option", "Result", "Some", "String", "Vec"];

#[test]
fn architecture_names_what_exists() {
    let sources = tree();
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is in the tree");
    let rust: Vec<&Source> = sources.iter().filter(|source| source.is_rust()).collect();
    let mut missing = Vec::new();
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"] {
        // Not written yet, in the very first days.
        let Some(source) = file(&sources, document) else { continue };
        for (number, name) in quoted(&source.text) {
            if is_file_name(&name) {
                let is_there = |it: &Source| it.path == name || it.path.ends_with(&format!("/{name}"));
                if !sources.iter().any(is_there) && !top.join(&name).exists() {
                    missing.push(format!("{document}:{number}: no file `{name}`"));
                }
            } else if document == "ARCHITECTURE.md" {
                for part in type_names(&name) {
                    let is_named = |kind: &str| rust.iter().any(|it| it.text.contains(&format!("{kind} {part}")));
                    let is_variant =
                        || rust.iter().any(|it| it.text.lines().any(|line| line.trim_start().starts_with(part)));
                    let is_ours = ["struct", "enum", "trait", "type"].into_iter().any(is_named) || is_variant();
                    if !is_ours && !FOREIGN.contains(&part) {
                        missing.push(format!("{document}:{number}: no type `{part}`"));
                    }
                }
            }
        }
    }
    assert_none("what documents name exists", &missing);
}

/// Commands that a document tells people to type: lines of its shell blocks that begin with `cargo`.
fn commands(markdown: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut block: Option<String> = None;
    for line in markdown.lines() {
        match (line.trim().strip_prefix("```"), &block) {
            (Some(_), Some(_)) => block = None,
            (Some(language), None) => block = Some(language.to_owned()),
            (None, Some(language)) if ["sh", "console", "shell", "bash", ""].contains(&&**language) => {
                let command = line.trim().trim_start_matches("$ ").split(" #").next().unwrap_or_default().trim();
                if command.starts_with("cargo ") {
                    commands.push(command.to_owned());
                }
            }
            _ => {}
        }
    }
    commands
}

#[test]
fn what_the_readme_tells_to_type_is_run_in_ci() {
    let sources = tree();
    let (Some(readme), Some(ci)) = (file(&sources, "README.md"), file(&sources, ".ci/run")) else { return };
    let commands = commands(&readme.text);
    assert!(commands.len() >= 2, "the README has two commands at least: {commands:?}");
    let unknown: Vec<String> = commands.into_iter().filter(|command| !ci.text.contains(command)).collect();
    assert_none("commands of README.md that .ci/run does not run", &unknown);
}

#[test]
fn every_dependency_is_named_once() {
    let sources = tree();
    let manifest = &file(&sources, "Cargo.toml").expect("the workspace").text;
    let shared = dependencies(manifest, "[workspace.dependencies]");
    let mut used: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let members = sources.iter().filter(|source| source.path.ends_with("/Cargo.toml"));
    let outside = ["examples/", "fuzz/"];
    for member in members.filter(|member| !outside.iter().any(|dir| member.path.starts_with(dir))) {
        for section in ["[dependencies]", "[dev-dependencies]", "[build-dependencies]"] {
            for name in dependencies(&member.text, section) {
                assert!(shared.contains(&name), "{}: {name} is not in [workspace.dependencies]", member.path);
                used.entry(name).or_default().push(&member.path);
            }
        }
    }
    let unused: Vec<String> = shared.into_iter().filter(|name| !used.contains_key(name)).collect();
    assert_none("in [workspace.dependencies], used by nobody", &unused);
}

#[test]
fn the_checks_themselves() {
    assert_eq!(without_text(r#"let a = "unsafe // \" x"; b // unsafe"#), "let a = ; b ");
    assert!(has_word("x sled::Tree", "sled::") && !has_word("unsledded", "sled") && !has_word("sled_x", "sled"));
    assert!(has_word("unsafe { x }", "unsafe") && !has_word("#[allow(unsafe_code)]", "unsafe"));
    assert_eq!(
        quoted("a `b` c `d`\n```\n`no`\n```\n`e`"),
        [(1, "b".to_owned()), (1, "d".to_owned()), (5, "e".to_owned())]
    );
    assert!(
        is_file_name("src/main.rs") && is_file_name("Cargo.toml") && !is_file_name("a b.rs") && !is_file_name("*.rs")
    );
    assert_eq!(type_names("engine::Engine::ingest(x)"), ["Engine"]);
    assert_eq!(type_names("GET /plugins"), [] as [&str; 0]);
    assert_eq!(commands("```sh\n$ cargo test # all\nls\n```\n```rust\ncargo x\n```"), ["cargo test"]);
    assert_eq!(
        dependencies(
            "[a]\nx = 1\n[dependencies]\n# no\nserde.workspace = true\nlib = { path = \"y\" }\n\n[b]\nz = 1",
            "[dependencies]"
        )
        .len(),
        2
    );
}
