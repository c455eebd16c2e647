//! Files beyond all bounds.

use super::*;

#[test]
fn nesting_has_an_end() {
    for text in [
        "a.".repeat(200_000) + "b = 1",
        format!("[{}b]", "a.".repeat(200_000)),
        format!("a = {}", "[".repeat(200_000)),
        format!("a = {}", "{b = ".repeat(100_000)),
    ] {
        let error = Config::parse(&text, "c.toml").expect_err("too deep").to_string();
        assert!(error.starts_with("c.toml:1:") && error.contains("recurs") && error.len() < 400, "{error}");
    }
}

#[test]
fn a_file_of_nothing_but_faults_is_not_told_forever() {
    let error = Config::parse(&(0..1000).map(|i| format!("x{i} = {i}\n")).collect::<String>(), "c.toml");
    let error = error.expect_err("a thousand unknown keys").to_string();
    assert_eq!((error.lines().count(), error.lines().last()), (151, Some("c.toml: and 950 more problems")));

    let error = Config::parse(&"=\n".repeat(100_000), "c.toml").expect_err("not TOML").to_string();
    assert_eq!(error.lines().last(), Some("c.toml: and 99950 more problems"));

    let error = Config::parse(&format!("bus.subscribe = [{}]", "'',".repeat(1001)), "c.toml").expect_err("too many");
    assert!(error.to_string().contains("[bus] subscribe: must have at most 1000 entries, not 1001\n"), "{error}");
}
