//! `/openapi.json`: a valid document, and what it says holds when [schemathesis](https://schemathesis.io) tries it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    discovery::with_everything,
    support::{TestDaemon, note},
};

/// Whether this tool is there. Says loudly what is left out, and fails when that was forbidden.
fn has(tool: &str) -> bool {
    let asked = Command::new(tool).arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = asked.is_ok_and(|status| status.success());
    if !found {
        let required = std::env::var_os("STATSCACHE_REQUIRE_SCHEMATHESIS").is_some_and(|value| value == "1");
        assert!(!required, "STATSCACHE_REQUIRE_SCHEMATHESIS=1, and there is no command {tool}");
        note(&format!("SKIPPED: {tool} not found: nothing was tested with it"));
    }
    found
}

/// Runs a tool in a folder; it must be content.
fn check(dir: &Path, tool: &str, args: &[&str]) {
    let output = Command::new(tool).args(args).current_dir(dir).output().expect("it was there");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{tool} {args:?}: {}\n{stdout}\n{stderr}", output.status);
}

/// What bearers of the token may do is tried as well.
const TOKEN: &str = "a token for tests";

/// Everything that can be on is.
fn daemon() -> TestDaemon {
    with_everything(|setup| {
        let file = setup.dir().join("token");
        fs::write(&file, TOKEN).expect("it is ours");
        setup.set("admin", "token_file", &format!("{file:?}")).set("history", "serve", "true")
    })
}

#[test]
fn the_document_is_valid() {
    if !has("openapi-spec-validator") {
        return;
    }
    let daemon = daemon();
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("openapi.json"), daemon.get("/openapi.json").body).expect("it is ours");
    check(dir.path(), "openapi-spec-validator", &["--errors", "all", "openapi.json"]);
}

#[test]
fn what_the_document_says_holds() {
    if !has("schemathesis") {
        return;
    }
    let daemon = daemon();
    let dir = tempfile::tempdir().expect("a folder");
    for (name, text) in [
        ("schemathesis.toml", include_str!("openapi/schemathesis.toml")),
        ("hooks.py", include_str!("openapi/hooks.py")),
    ] {
        fs::write(dir.path().join(name), text).expect("it is ours");
    }
    let url = format!("http://{}/openapi.json", daemon.address());
    let bearer = format!("Authorization: Bearer {TOKEN}");
    check(dir.path(), "schemathesis", &["run", &url, "--seed", "1", "--workers", "1", "--no-color", "-H", &bearer]);
}
