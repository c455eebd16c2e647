//! The dashboards below `/dashboards/`, in a real browser: their numbers are those of the JSON, and what is not known is
//! said.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};

use crate::{
    http::assert_problem,
    page::{assert_accessible, assert_clean},
    support::{Browser, DaemonSetup, Message, TestDaemon, TestPublisher, now_secs},
};

mod cases;

const PAGES: [&str; 9] =
    ["index", "volume", "contributions", "usage", "membership", "storage", "uptime", "releng", "releng-legacy"];
const PLUGINS: [&str; 7] = ["volume", "contributions", "usage", "membership", "storage", "uptime", "releng"];
const SHOP: &str = "https://shop.example.org/";
const PAY: &str = "https://pay.example.org/";
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A daemon with the plugins of all pages, and who tells it things.
struct Scene {
    daemon: TestDaemon,
    publisher: TestPublisher,
    now: i64,
    sent: u64,
}

impl Scene {
    fn new() -> Self {
        let mut publisher = TestPublisher::start();
        let mut setup = DaemonSetup::new().endpoint(&publisher.address);
        for id in PLUGINS {
            let config =
                if id == "uptime" { format!("{{ chains = {{ shop = [{SHOP:?}, {PAY:?}] }} }}") } else { String::new() };
            setup = setup.instance(id, id, &config);
        }
        let daemon = setup.start();
        publisher.reaches(&daemon);
        Self { daemon, publisher, now: now_secs(), sent: 0 }
    }

    /// A message on `org.fedoraproject.prod.TOPIC`, so many seconds ago.
    fn tell(&mut self, topic: &str, ago: i64, msg: Value) {
        let message = Message::new(&format!("org.fedoraproject.prod.{topic}")).at(self.now - ago).msg(msg);
        self.publisher.send(&message);
        self.sent += 1;
    }

    fn settle(&self) {
        self.daemon.wait_sequence(self.sent);
    }

    /// Rows of an answer.
    fn rows(&self, path: &str) -> Vec<Value> {
        self.daemon.json(path)["rows"].as_array().unwrap_or_else(|| panic!("no rows at {path}")).clone()
    }
}

/// Opens a page of the daemon, and returns when it has drawn.
fn open(browser: &Browser, daemon: &TestDaemon, page: &str) {
    browser.open("about:blank");
    browser.open(&format!("http://{}/dashboards/{page}", daemon.address()));
    drawn(browser);
}

/// Waits for the first answer.
fn drawn(browser: &Browser) {
    browser.wait("document.documentElement.dataset.turn");
}

/// What the page says.
fn text(browser: &Browser) -> String {
    browser.text("document.querySelector('main').innerText")
}

/// Lets the page ask again now, as when somebody comes back to it.
fn look_again(browser: &Browser) {
    browser.run("document.dispatchEvent(new Event('visibilitychange'))");
}

/// Another choice in a field of the page's form, as a person makes it.
fn choose(browser: &Browser, field: &str, value: &str) {
    browser.run(&format!(
        "const field = document.querySelector('[name={field}]'); field.value = '{value}'; \
         field.dispatchEvent(new Event('change', {{bubbles: true}}))"
    ));
}

/// Rows of the table whose caption begins so, cell by cell.
fn table(browser: &Browser, caption: &str) -> Vec<Vec<String>> {
    let rows = browser.eval(&format!(
        "[...[...document.querySelectorAll('table')].find(table => table.caption.textContent.startsWith({}))\
         ?.tBodies[0].rows ?? []].map(row => [...row.cells].map(cell => cell.textContent))",
        json!(caption)
    ));
    serde_json::from_value(rows).expect("rows of texts")
}

/// Figures of a legend, by name.
fn legend(browser: &Browser) -> BTreeMap<String, String> {
    let pairs = browser.eval(
        "Object.fromEntries([...document.querySelectorAll('.legend li:has(.value)')].map(item => \
         [item.childNodes[1].textContent, item.querySelector('.value').textContent]))",
    );
    serde_json::from_value(pairs).expect("texts by name")
}

/// For people who cannot see it well, have a small screen or prefer the dark.
fn assert_usable(browser: &Browser, page: &str) {
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        for (width, height) in [(1200, 900), (360, 740)] {
            browser.resize(width, height);
            // Charts are drawn again in the next frame.
            browser.run("return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))");
            assert_accessible(browser, &format!("{page}, {scheme}, {width} wide"));
            browser.picture(&format!("dashboard-{page}-{scheme}-{width}"));
        }
    }
    browser.prefer("light");
    browser.resize(1200, 900);
}

#[test]
fn the_files_are_served_and_asked_for_again_cheaply() {
    let daemon = DaemonSetup::new().start();
    let page = daemon.get("/dashboards/");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.body.contains("<h1>Dashboards</h1>"), "{}", page.body);
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for page in PAGES {
        let html = daemon.get(&format!("/dashboards/{page}.html"));
        assert_eq!(html.status, 200, "{page}");
        // Whatever it is made of is there, and is only asked whether it still is what it was.
        let parts = html.body.split('"').filter(|part| [".js", ".css", ".svg"].iter().any(|end| part.ends_with(end)));
        for part in parts {
            let path = format!("/dashboards/{part}");
            let answer = daemon.get(&path);
            assert_eq!((answer.status, answer.header("cache-control")), (200, "no-cache"), "{path}");
            let again = daemon.ask(hyper::Method::GET, &path, &[("if-none-match", answer.header("etag"))]);
            assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
        }
    }
    let moved = daemon.get("/dashboards");
    assert_eq!((moved.status, moved.header("location")), (302, "dashboards/"));
    for path in ["/dashboards/none.html", "/dashboards/..%2FCargo.toml", "/dashboards/README.md"] {
        assert_problem(path, &daemon.get(path), 404);
    }
    assert_eq!(daemon.json("/")["links"]["dashboards"], "/dashboards/");
}

#[test]
fn pages_of_an_empty_daemon_say_so() {
    let Some(browser) = Browser::start() else { return };
    let scene = Scene::new();
    for (page, words) in [
        ("index", "volume: running"),
        ("volume", "No message in this time."),
        ("contributions", "Nobody did anything in the last 30 days."),
        ("usage", "Nothing was used in this time."),
        ("membership", "No report in this time."),
        ("storage", "No project has said what it takes yet."),
        ("uptime", "No site has been checked yet."),
        ("releng", "Nothing of a release was heard yet."),
        ("releng-legacy", "Nothing yet."),
    ] {
        open(&browser, &scene.daemon, &format!("{page}.html"));
        assert!(text(&browser).contains(words), "{page}: {words} in {}", text(&browser));
        assert_usable(&browser, &format!("{page}-empty"));
        assert_clean(&browser, &scene.daemon);
    }
    open(&browser, &scene.daemon, "volume.html?range=30d");
    assert!(text(&browser).contains("The bus was not seen for"), "zero and unknown differ: {}", text(&browser));
}

#[test]
fn a_plugin_that_is_not_there_is_named() {
    let Some(browser) = Browser::start() else { return };
    let daemon = DaemonSetup::new().instance("volume", "volume", "").start();
    for plugin in PLUGINS.into_iter().filter(|plugin| *plugin != "volume") {
        open(&browser, &daemon, &format!("{plugin}.html"));
        let words = format!("there is no plugin `{plugin}`");
        assert!(text(&browser).contains(&words), "{words} in {}", text(&browser));
        assert_clean(&browser, &daemon);
    }
    open(&browser, &daemon, "index.html");
    let said = text(&browser);
    assert!(said.contains("plugin usage does not run here") && said.contains("volume: running"), "{said}");
    // The old API has no place to say why: the script is not there, and the browser says that.
    open(&browser, &daemon, "releng-legacy.html");
    assert!(text(&browser).contains("does not run the plugin releng"), "{}", text(&browser));
}

#[test]
fn pages_work_from_files_and_say_when_the_daemon_is_gone() {
    let Some(browser) = Browser::start() else { return };
    let mut scene = Scene::new();
    scene.tell("git.push", 60, json!({}));
    scene.settle();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/dashboards");
    let folder = folder.canonicalize().expect("it is there");
    let url = |page: &str, address: &str| format!("file://{}/{page}.html?daemon=http://{address}", folder.display());
    let address = scene.daemon.address().to_string();
    for page in PAGES {
        browser.open(&url(page, &address));
        drawn(&browser);
        assert!(text(&browser).contains(&format!("http://{address}/")), "{page}: {}", text(&browser));
        assert_eq!(browser.log(), [] as [String; 0], "{page}: the console");
    }
    browser.open(&url("volume", &address));
    drawn(&browser);
    assert_eq!(legend(&browser), [("git".to_owned(), "1".to_owned())].into());
    // The other pages are of the same daemon.
    let links = browser.eval("[...document.querySelectorAll('nav a')].every(link => link.href.includes('daemon='))");
    assert_eq!(links, true);
    choose(&browser, "range", "7d");
    browser.wait("location.search.includes('range=7d')");
    drop(scene.daemon.kill());
    look_again(&browser);
    browser.wait("document.querySelector('#notes').innerText.includes('does not answer')");
    assert_eq!(
        browser.text("getComputedStyle(document.querySelector('#content')).opacity"),
        "0.55",
        "what it said last"
    );
    assert_eq!(legend(&browser), [("git".to_owned(), "1".to_owned())].into());
    browser.open(&url("index", &address));
    drawn(&browser);
    assert!(text(&browser).contains("does not answer. Is it running?"), "{}", text(&browser));
}

#[test]
fn a_served_page_says_that_it_may_ask_its_own_daemon_only() {
    let Some(browser) = Browser::start() else { return };
    let daemon = DaemonSetup::new().start();
    let other = DaemonSetup::new().start();
    open(&browser, &daemon, &format!("volume.html?daemon=http://{}", other.address()));
    assert!(text(&browser).contains("may ask that daemon alone"), "{}", text(&browser));
    // JSONP would run what the other one answers.
    open(&browser, &daemon, &format!("releng-legacy.html?daemon=http://{}", other.address()));
    assert!(text(&browser).contains("this page asks only the daemon that it came from"), "{}", text(&browser));
}

#[test]
fn figures_that_are_behind_are_said_to_be() {
    let Some(browser) = Browser::start() else { return };
    let mut scene = Scene::new();
    scene.tell("git.push", 60, json!({}));
    scene.settle();
    open(&browser, &scene.daemon, "volume.html");
    assert!(!text(&browser).contains("not up to date"), "{}", text(&browser));
    // The daemon's answer, with what it says while a plugin reads up.
    let changed = |change: &str| {
        browser.run(&format!(
            "const real = window.realFetch ??= window.fetch; window.fetch = async (...asked) => {{ \
             const body = await (await real(...asked)).json(); body.answers.forEach(answer => {{ {change} }}); \
             return new Response(JSON.stringify(body)); }}"
        ));
        look_again(&browser);
    };
    let says = |words: &str| browser.wait(&format!("document.querySelector('#notes').innerText.includes('{words}')"));
    changed("answer.partial = true");
    says("these figures are not up to date yet");
    changed("answer.truncated = true");
    says("some are left out here");
    changed("answer.problem = {detail: 'plugin `volume` could not be started'}");
    says("could not be started");
    assert_eq!(legend(&browser), BTreeMap::new(), "what is not known is not shown");
}
