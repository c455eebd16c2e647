use super::*;

fn problem(text: &str, list: &str) -> String {
    let error = Config::parse(text, list).err().unwrap_or_else(|| panic!("{text} {list} is refused"));
    format!("{error:#}")
}

#[test]
fn sites_take_what_they_do_not_say_from_the_whole() {
    let text = r#"
        interval = "2m"
        timeout = "5s"
        [[site]]
        url = "https://shop.example/"
        [[site]]
        url = "http://pay.example:8080/health?deep=1"
        interval = "30s"
        timeout = "500ms"
        match = "\\bok\\b"
        status = [200, 204]
    "#;
    let config = Config::parse(text, "# a list\n\nhttps://c.example\n  https://d.example/ \n").expect("sound");
    let sites = &config.sites;
    let urls: Vec<&str> = (0..sites.len() as u32).map(|site| sites.url(site)).collect();
    assert_eq!(
        urls,
        ["https://shop.example/", "http://pay.example:8080/health?deep=1", "https://c.example", "https://d.example/"]
    );
    assert!(Arc::ptr_eq(sites.rule(0), sites.rule(3)), "what is the same is there once");
    let (shop, pay) = (sites.rule(0), sites.rule(1));
    assert_eq!((shop.interval_secs, shop.timeout), (120, Duration::from_secs(5)));
    assert_eq!((shop.pattern.as_deref(), &*shop.statuses), (None, &[][..]));
    assert_eq!((pay.interval_secs, pay.timeout), (30, Duration::from_millis(500)));
    assert_eq!((pay.pattern.as_deref(), &*pay.statuses), (Some("\\bok\\b"), &[200, 204][..]));
    assert!((sites.rate() - 7.0 / 120.0).abs() < 1e-9, "{}", sites.rate());
    assert!(sites.need_tls());
}

#[test]
fn the_sample_is_sound() {
    let sample = include_str!("../../scraper.toml");
    let config = Config::parse(sample, "").expect("sound");
    assert!(config.sites.len() > 1 && !config.bind.is_empty());
    // What stands there as a comment is the default.
    let commented: String =
        sample.lines().map(|line| format!("{}\n", line.strip_prefix("#=").unwrap_or(line))).collect();
    let all = Config::parse(&commented, "").expect("sound, too");
    assert_eq!(format!("{all:?}"), format!("{config:?}"));
    assert_ne!(commented, sample);
}

#[test]
fn what_cannot_work_is_refused_with_what_to_do() {
    let site = |line: &str| format!("[[site]]\nurl = \"http://a.example/\"\n{line}");
    for (text, words) in [
        (String::new(), &["no sites", "sites_file"][..]),
        ("intervall = \"1m\"".to_owned(), &["unknown field `intervall`"]),
        (site("interval = \"1 min\""), &["`1 min` is not a span", "30s"]),
        (site("interval = \"1500ms\""), &["site http://a.example/", "whole seconds"]),
        (site("interval = \"0s\""), &["whole seconds"]),
        (site("interval = \"25h\""), &["up to a day"]),
        (site("interval = \"5s\""), &["timeout 10s", "longer than the interval 5s"]),
        (site("timeout = \"0s\""), &["timeout 0ns is 0"]),
        (site("match = \"(\""), &["match", "unclosed group"]),
        (site("match = \"\\\\w{999}{999}\""), &["match", "size limit"]),
        (site("status = [20]"), &["status 20"]),
        (site("statuses = [200]"), &["unknown field `statuses`"]),
        (site("") + &site(""), &["http://a.example/: it is in the list already"]),
        (format!("concurrency = 0\n{}", site("")), &["concurrency: 0"]),
        (
            format!("bind = [\"ipc:///run/x\", \"tcp://:1\"]\n{}", site("")),
            &["`ipc:///run/x`", "`tcp://:1`", "tcp://HOST:PORT"],
        ),
        (format!("topic = \"a..b\"\n{}", site("")), &["`a..b` is no topic"]),
        (format!("user_agent = \"a\\nb\"\n{}", site("")), &["user_agent"]),
    ] {
        let problem = problem(&text, "");
        assert!(words.iter().all(|word| problem.contains(word)), "{text}: {words:?}\n{problem}");
    }
}

#[test]
fn addresses_are_checked_before_anything_is_asked() {
    for (url, words) in [
        ("shop.example", "http://"),
        ("ftp://shop.example/", "http://"),
        ("http://", "is no URL"),
        ("http:///path", "is no URL"),
        ("http://a b/", "is no URL"),
        ("http://anna:secret@shop.example/", "password"),
        ("http://grün.example/", "xn--"),
        ("http://shop.example/#top", "behind #"),
        ("http://:80/", "no host"),
    ] {
        let problem = problem("", url);
        assert!(problem.contains("sites_file, line 1") && problem.contains(words), "{url}: {problem}");
    }
    let long = format!("http://a.example/{}", "x".repeat(URL_BYTES_MAX));
    assert!(problem("", &long).contains("longer than 1000 bytes"));
    assert!(Config::parse("", &long[..URL_BYTES_MAX]).is_ok());
    assert!(Config::parse("", "http://[::1]:8080/\nhttp://127.0.0.1/").is_ok());
    let many: String = (0..50).map(|n| format!("{n}\n")).collect();
    let problem = problem("", &many);
    assert!(
        problem.contains("line 20:") && !problem.contains("line 21:") && problem.contains("and 30 more"),
        "{problem}"
    );
}
