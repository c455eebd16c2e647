//! The page at `/`, in a real browser: what it shows, how it is used, and who can.

use hyper::Method;
use serde_json::{Value, json};

use crate::{
    http::assert_problem,
    support::{
        Browser, DaemonSetup, ENTER, Message, SPACE, TAB, TestDaemon, TestPublisher, now_secs, rfc3339, test_library,
    },
};

mod odd;

const HOUR: i64 = 3600;
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// A daemon with plugins of all kinds, and what it is told.
struct Scene {
    daemon: TestDaemon,
    publisher: TestPublisher,
    /// The hour of the messages, in seconds.
    hour: i64,
    sent: u64,
}

impl Scene {
    fn new() -> Self {
        let mut publisher = TestPublisher::start();
        let setup =
            DaemonSetup::new().endpoint(&publisher.address).plugin(&test_library("statscache_test_plugin_kinds"));
        let setup = setup.instance("kinds", "kinds", "").instance("volume", "volume", "");
        let daemon = setup.start();
        publisher.reaches(&daemon);
        let hour = (now_secs().div_euclid(HOUR) - 2) * HOUR;
        let mut scene = Self { daemon, publisher, hour, sent: 0 };
        for n in 0..90 {
            let category = ["bodhi", "git", "copr"][n as usize % 5 % 3];
            let msg = json!({
                "of": format!("part/{}", n % 3), "add": n, "observe": n * n, "member": n % 17,
                "key": format!("key-{}", n % 4), "weight": n % 4 + 1, "status": n,
            });
            // Every other minute from 10 to 28.
            let at = scene.hour + 600 + n % 10 * 120;
            scene.tell(&Message::new(&format!("org.example.prod.{category}.event")).at(at).msg(msg));
        }
        scene.settle();
        scene
    }

    fn tell(&mut self, message: &Message) {
        self.publisher.send(message);
        self.sent += 1;
    }

    fn settle(&self) {
        self.daemon.wait_sequence(self.sent);
    }

    /// The hour of the messages as parameters.
    fn range(&self) -> String {
        format!("start={}&end={}", rfc3339(self.hour), rfc3339(self.hour + HOUR))
    }
}

/// The page with that question in its URL; returns when the answer is there.
fn open(browser: &Browser, daemon: &TestDaemon, path: &str) {
    // A URL that differs in its fragment alone would load nothing.
    browser.open("about:blank");
    browser.open(&format!("http://{}/#{path}", daemon.address()));
    browser.wait("document.documentElement.dataset.ready");
    if !path.is_empty() {
        shown(browser, path);
    }
}

/// Waits until the answer at that path is shown.
fn shown(browser: &Browser, path: &str) {
    browser.wait(&format!("document.querySelector('#answer').dataset.shown === {}", json!(path)));
}

/// What the table says, a list of texts for each row.
fn table(browser: &Browser) -> Vec<Vec<String>> {
    let rows = browser.eval(
        "[...document.querySelectorAll('table.data tbody tr')].map(row => [...row.cells].map(cell => \
         cell.querySelector('time')?.dateTime ?? cell.textContent))",
    );
    serde_json::from_value(rows).expect("rows of texts")
}

/// The console said nothing, and everything that was asked for came, from here.
pub fn assert_clean(browser: &Browser, daemon: &TestDaemon) {
    let bad = browser.eval(&format!(
        "performance.getEntriesByType('resource').filter(({{name, responseStatus}}) => \
         !name.startsWith('http://{}/') || responseStatus >= 400).map(({{name, responseStatus}}) => `${{responseStatus}} ${{name}}`)",
        daemon.address()
    ));
    assert_eq!(bad, json!([]), "requests elsewhere, or refused");
    assert_eq!(browser.log(), [] as [String; 0], "the console");
}

pub fn assert_accessible(browser: &Browser, what: &str) {
    let complaints = browser.run(include_str!("page/audit.js"));
    assert_eq!(complaints, json!([]), "{what}: {complaints:#}");
}

#[test]
fn people_get_a_page_and_programs_an_index() {
    let daemon = DaemonSetup::new().start();
    let ask = |headers: &[(&str, &str)]| daemon.ask(Method::GET, "/", headers);
    for (accept, content) in [
        (BROWSER, "text/html; charset=utf-8"),
        ("text/html", "text/html; charset=utf-8"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("application/json, text/html;q=0.9", "application/json"),
        ("image/png", "application/json"),
    ] {
        let answer = ask(&[("accept", accept)]);
        assert_eq!((answer.status, answer.header("content-type")), (200, content), "{accept}");
        assert!(answer.header("vary").to_lowercase().contains("accept"), "{accept}: {:?}", answer.headers);
    }
    assert_eq!(ask(&[]).header("content-type"), "application/json");
    let page = ask(&[("accept", BROWSER)]);
    let policy = page.header("content-security-policy");
    for (word, is_in) in [("default-src 'none'", true), ("script-src 'self'", true), ("unsafe", false), ("http", false)]
    {
        assert_eq!(policy.contains(word), is_in, "{word} in {policy}");
    }
    let etag = page.header("etag");
    assert!(etag.starts_with('"'), "a strong tag: {etag}");
    let again = ask(&[("accept", BROWSER), ("if-none-match", &format!("\"other\", {etag}"))]);
    assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", etag));
    assert_eq!(ask(&[("accept", BROWSER), ("if-none-match", "\"other\"")]).status, 200);
}

#[test]
fn parts_of_the_page_are_kept_for_ever() {
    let daemon = DaemonSetup::new().start();
    let page = daemon.ask(Method::GET, "/", &[("accept", BROWSER)]).body;
    let parts: Vec<&str> = page.split('"').filter(|text| text.starts_with("/ui/")).collect();
    assert!(parts.len() >= 6, "{parts:?}");
    for path in &parts {
        let part = daemon.get(path);
        assert_eq!((part.status, part.header("cache-control")), (200, "public, max-age=31536000, immutable"), "{path}");
        assert!(!part.body.is_empty() && part.header("etag").starts_with('"'), "{path}");
    }
    let (folder, _) = parts[0].rsplit_once('/').expect("a folder");
    for path in [format!("{folder}/none.js"), format!("{folder}/../../plugins"), "/ui/0000/app.js".to_owned()] {
        assert_problem(&path, &daemon.get(&path), 404);
    }
    for path in ["/web", "/web/", "/web/static/x.js"] {
        let moved = daemon.get(path);
        assert_eq!((moved.status, moved.header("location")), (302, "/"), "{path}");
    }
}

#[test]
fn what_runs_is_shown_to_everybody() {
    let Some(browser) = Browser::start() else { return };
    let mut scene = Scene::new();
    scene.tell(&Message::new("org.example.prod.git.push"));
    scene.settle();
    open(&browser, &scene.daemon, "");
    let first = browser.wait("document.querySelector('#answer').dataset.shown");
    assert_eq!(first, "/plugins/kinds/counts?start=now-1h", "the first metric, the last hour");
    let path = format!("/plugins/volume/by_category?{}&step=2m", scene.range());
    open(&browser, &scene.daemon, &path);
    browser.wait("document.querySelector('[data-plugin=volume] .spark')");
    let cards = browser.text("[...document.querySelectorAll('[data-plugin]')].map(card => card.dataset.plugin).join()");
    assert_eq!(cards, "kinds,volume");
    let card = browser.text("document.querySelector('[data-plugin=volume]').innerText");
    for words in ["Running", "Last message", "nothing", "91 messages", "by_category", "Messages of each category."] {
        assert!(card.contains(words), "{words} in {card}");
    }
    assert!(card.contains("just now") || card.contains(" ago"), "{card}");
    let spark = browser.text("document.querySelector('[data-plugin=volume] .spark').getAttribute('aria-label')");
    assert!(spark.contains("messages: 1 message in"), "{spark}");
    let health = browser.text("document.querySelector('#health').innerText");
    assert!(health.contains("connected to 1 endpoint") && health.contains("91 messages accepted"), "{health}");
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        for (width, height) in [(1400, 1000), (360, 740)] {
            browser.resize(width, height);
            browser.run("document.querySelectorAll('details').forEach(each => each.open = true)");
            assert_accessible(&browser, &format!("{scheme}, {width} wide, everything open"));
            browser.run("document.querySelectorAll('details').forEach(each => each.open = false)");
            browser.picture(&format!("page-{scheme}-{width}"));
        }
    }
    // Nothing on it leads nowhere.
    let links =
        browser.eval("[...new Set([...document.links].map(link => link.href).filter(href => !href.includes('#')))]");
    let links: Vec<String> = serde_json::from_value(links).expect("texts");
    let here = format!("http://{}", scene.daemon.address());
    for link in links.iter().filter_map(|link| link.strip_prefix(&here)) {
        assert_eq!(scene.daemon.get(link).status, 200, "{link}");
    }
    assert!(links.len() > 10, "{links:?}");
    let (light, dark) = ("rgb(245, 246, 248)", "rgb(15, 19, 24)");
    for (scheme, colour) in [("light", light), ("dark", dark)] {
        browser.prefer(scheme);
        assert_eq!(browser.text("getComputedStyle(document.body).backgroundColor"), colour, "{scheme}");
    }
    assert_clean(&browser, &scene.daemon);
}

#[test]
fn a_question_is_asked_with_the_keyboard() {
    let Some(browser) = Browser::start() else { return };
    let scene = Scene::new();
    let range = scene.range();
    let base = "/plugins/volume/by_category";
    open(&browser, &scene.daemon, &format!("{base}?{range}"));
    // From the top of the page: the first stop leads past everything.
    browser.press(&[TAB]);
    assert_eq!(browser.text("document.activeElement.textContent"), "Skip to asking");
    browser.press(&[ENTER]);
    let reach = |id: &str| {
        for _ in 0..40 {
            browser.press(&[TAB]);
            if browser.text("document.activeElement.id") == id {
                let outline = browser.text("getComputedStyle(document.activeElement).outlineStyle");
                return assert_ne!(outline, "none", "one sees that {id} has the focus");
            }
        }
        panic!("{id} is not reached with the tab key");
    };
    reach("field-step");
    browser.write("20m");
    reach("field-where.category-0");
    browser.write("g*");
    browser.press(&[ENTER]);
    let path = format!("{base}?{range}&step=20m&where.category=g*");
    shown(&browser, &path);
    let expected: Vec<Vec<String>> = scene.daemon.rows(&path).iter().map(row_of_counts).collect();
    assert!(expected.len() == 2 && expected.iter().all(|row| row[1] == "git"), "{expected:?}");
    assert_eq!(table(&browser), expected);
    let url = format!("http://{}{path}", scene.daemon.address());
    assert_eq!(browser.text("document.querySelector('#url').textContent"), url);
    assert_eq!(browser.text("document.querySelector('#curl').textContent"), format!("curl '{url}'"));
    assert_eq!(browser.text("location.hash"), format!("#{path}"));
    let said = browser.text("document.querySelector('#answer [role=status]').innerText");
    assert!(said.starts_with("36 messages · 3 buckets of 20 minutes · 1 series"), "{said}");
    browser.run(
        "[...document.querySelectorAll('.take button')].find(button => button.textContent === 'Copy URL').click()",
    );
    browser.wait("[...document.querySelectorAll('.take button')].some(button => button.textContent === 'Copied')");
    // Without labels: the box is left with the space bar.
    reach("field-by-category");
    browser.press(&[SPACE, ENTER]);
    shown(&browser, &format!("{path}&by="));
    let total: i64 = table(&browser).iter().map(|row| row[1].parse::<i64>().expect("a number")).sum();
    assert_eq!(total, 36);
    // A link shows the same, and the form says it.
    open(&browser, &scene.daemon, &format!("{path}&by="));
    assert_eq!(browser.text("document.querySelector('#field-step').value"), "20m");
    assert_eq!(browser.eval("document.querySelector('#field-by-category').checked"), false);
    assert_clean(&browser, &scene.daemon);
}

/// A row of counts by one label, as the table has it.
fn row_of_counts(row: &Value) -> Vec<String> {
    let text = |key: &str| row[key].as_str().map_or_else(|| row[key].to_string(), str::to_owned);
    ["time", "category", "value", "coverage"].map(text).to_vec()
}

/// How many bars there are: stretches of the first colour just above the axis.
const BARS: &str = "
    const canvas = document.querySelector('.canvas canvas'), pen = canvas.getContext('2d');
    const over = document.querySelector('.u-over');
    const scale = canvas.width / canvas.clientWidth;
    const y = Math.round((over.offsetTop + over.offsetHeight - 3) * scale);
    const [r, g, b] = document.querySelector('.legend .swatch').style.background.match(/\\d+/g).map(Number);
    const row = pen.getImageData(0, y, canvas.width, 1).data;
    let bars = 0, was = false;
    for (let x = 0; x < canvas.width; x += 1) {
        const is = Math.abs(row[4 * x] - r) + Math.abs(row[4 * x + 1] - g) + Math.abs(row[4 * x + 2] - b) < 12;
        bars += is && !was;
        was = is;
    }
    return bars";

#[test]
fn what_was_counted_is_drawn() {
    let Some(browser) = Browser::start() else { return };
    let scene = Scene::new();
    let path = format!("/plugins/volume/messages?{}&step=1m", scene.range());
    open(&browser, &scene.daemon, &path);
    assert_eq!(browser.run(BARS), 10, "a bar for every other minute");
    let words = browser.text("document.querySelector('.canvas').getAttribute('aria-label')");
    assert!(words.contains("messages per minute") && words.contains("1 series"), "{words}");
    // Nobody listened then, which is said and shaded.
    assert!(browser.text("document.querySelector('.legend').innerText").contains("Not seen: nobody knows"));
    browser.picture("chart-bars");
    // Pointing at a bar tells its number.
    browser.run(
        "const over = document.querySelector('.u-over'), box = over.getBoundingClientRect();
         over.dispatchEvent(new MouseEvent('mousemove', {clientX: box.left + box.width * 10.5 / 60, clientY: box.top + 9, bubbles: true}))",
    );
    browser.wait("document.querySelector('.legend').innerText.includes(', partial')");
    assert!(browser.text("document.querySelector('.legend li').innerText").contains('9'));
    // A series that is switched off is drawn no more; the button keeps the focus.
    open(&browser, &scene.daemon, &format!("/plugins/volume/by_category?{}&step=1m", scene.range()));
    let before = browser.run(BARS);
    browser.run("const button = document.querySelector('.legend button'); button.focus(); button.click()");
    assert_eq!(browser.text("document.activeElement.getAttribute('aria-pressed')"), "false");
    assert!(before.as_i64() > Some(0) && browser.run(BARS) == 0, "{before}");
    assert_clean(&browser, &scene.daemon);
}

#[test]
fn every_kind_is_shown() {
    let Some(browser) = Browser::start() else { return };
    let scene = Scene::new();
    for (metric, parameters, columns, is_drawn) in [
        ("counts", "step=5m", "bucket from,of,value,coverage", true),
        ("stats", "step=5m", "bucket from,of,mean,sum,n,min,max,stddev,coverage", true),
        ("dists", "step=5m", "bucket from,of,p50,p90,p95,p99,min,max,n,coverage", true),
        ("members", "step=5m&by=", "bucket from,estimate,error,coverage", true),
        ("keys", "step=5m", "bucket from,of,value,coverage", true),
        ("status", "order=-value", "time,of,value,id", false),
        ("status", "rollup=sum", "time,of,value,values,others", false),
        ("recent", "limit=4", "time,of,value,id", false),
    ] {
        let range = if is_drawn { scene.range() } else { "start=0".to_owned() };
        let path = format!("/plugins/kinds/{metric}?{range}&{parameters}");
        // The form writes the parameters in its own order; the page shows what the URL says.
        open(&browser, &scene.daemon, &path);
        let rows = scene.daemon.json(&path)["rows"].as_array().map_or(0, Vec::len);
        assert!(rows > 0 && table(&browser).len() == rows, "{path}: {rows} rows");
        let head =
            browser.text("[...document.querySelectorAll('table.data thead th')].map(th => th.textContent).join()");
        assert_eq!(head, columns, "{path}");
        assert_eq!(browser.eval("!!document.querySelector('.canvas canvas')"), is_drawn, "{path}");
        assert_accessible(&browser, &path);
        browser.picture(&format!("kind-{metric}"));
    }
    // Of one thing, how it is spread is drawn at once.
    open(&browser, &scene.daemon, &format!("/plugins/kinds/dists?{}&step=5m&by=", scene.range()));
    let legend = browser
        .text("[...document.querySelectorAll('.legend button .name')].map(name => name.innerText).sort().join()");
    assert_eq!(legend, "p50,p90,p99");
    // What is drawn can be chosen, and is in the link.
    let path = format!("/plugins/kinds/dists?{}&step=5m", scene.range());
    open(&browser, &scene.daemon, &path);
    browser.run(
        "const part = document.querySelector('#part'); part.value = 'p99'; part.dispatchEvent(new Event('change'))",
    );
    browser.wait("document.querySelector('figcaption').textContent.startsWith('p99')");
    assert!(browser.text("location.hash").ends_with("&ui.part=p99"));
    assert_clean(&browser, &scene.daemon);
}

#[test]
fn what_is_wrong_is_said_where_it_is() {
    let Some(browser) = Browser::start() else { return };
    let daemon = DaemonSetup::new().start();
    for (query, field, words) in [
        ("start=yesterday", "field-start", "RFC 3339"),
        ("step=fast", "field-step", "fast"),
        ("limit=0", "field-limit", "whole number"),
        ("order=size", "field-order", "time, value"),
    ] {
        let path = format!("/plugins/volume/by_topic?{query}");
        open(&browser, &daemon, &path);
        let beside = browser.text(&format!("document.getElementById('{field}-error').innerText"));
        assert!(beside.contains(words), "{query}: {beside}");
        assert_eq!(browser.text("document.activeElement.id"), field, "{query}");
        assert_eq!(browser.text("document.activeElement.getAttribute('aria-invalid')"), "true", "{query}");
        assert_accessible(&browser, query);
        // The browser says itself that an answer was refused; nothing else.
        let log = browser.log();
        assert!(log.len() == 1 && log[0].contains("400"), "{query}: {log:?}");
    }
    browser.picture("problem");
    // What has no field is said below; so is what there is not.
    open(&browser, &daemon, "/plugins/volume/by_topic?were.topic=x");
    assert!(browser.text("document.querySelector('#answer [role=alert]').innerText").contains("were.topic"));
    open(&browser, &daemon, "/plugins/volume/none");
    assert!(browser.text("document.querySelector('#answer').innerText").contains("no metric"));
    // Nothing yet: that, too, in words.
    open(&browser, &daemon, "/plugins/volume/latest_by_topic?limit=3");
    assert!(browser.text("document.querySelector('#answer').innerText").contains("No value"));
    let card = browser.text("document.querySelector('[data-plugin=volume]').innerText");
    assert!(card.contains("none yet"), "{card}");
}

#[test]
fn values_of_labels_are_proposed() {
    let Some(browser) = Browser::start() else { return };
    let scene = Scene::new();
    open(&browser, &scene.daemon, &format!("/plugins/volume/by_category?{}", scene.range()));
    let proposed = |texts: &str| {
        browser.wait(&format!(
            "[...document.querySelector('[name=\"where.category\"]').list.options].map(option => option.value).join() === '{texts}'"
        ));
    };
    browser.run("document.querySelector('[name=\"where.category\"]').focus()");
    proposed("bodhi,copr,git");
    browser.write("o");
    proposed("bodhi,copr");
    // One more of them: either will do.
    browser.run("document.querySelector('.alternatives button').click()");
    assert_eq!(browser.text("document.activeElement.id"), "field-where.category-1");
    browser.write("copr");
    browser.run("document.querySelector('[name=\"where.category\"]').value = 'bodhi'");
    browser.press(&[ENTER]);
    shown(&browser, &format!("/plugins/volume/by_category?{}&where.category=bodhi&where.category=copr", scene.range()));
    assert!(table(&browser).iter().all(|row| row[1] != "git"));
    assert_clean(&browser, &scene.daemon);
}

#[test]
fn times_are_shown_in_either_zone() {
    let Some(browser) = Browser::start() else { return };
    let scene = Scene::new();
    browser.live_in("Asia/Tokyo");
    open(&browser, &scene.daemon, &format!("/plugins/volume/messages?{}&step=1h", scene.range()));
    let cell = "document.querySelector('table.data tbody time')";
    let (hour, later) = (scene.hour / HOUR % 24, (scene.hour / HOUR + 9) % 24);
    let (utc, tokyo) = (format!("{hour:02}:00:00"), format!("{later:02}:00:00"));
    assert!(browser.text(&format!("{cell}.innerText")).ends_with(&utc), "UTC at first");
    assert!(browser.text(&format!("{cell}.title")).ends_with(&format!("{tokyo} Asia/Tokyo")), "the other beside it");
    browser.run(
        "const zone = document.querySelector('#zone'); zone.value = 'local'; zone.dispatchEvent(new Event('change'))",
    );
    browser.wait(&format!("{cell}.innerText.endsWith('{tokyo}')"));
    assert!(browser.text("document.querySelector('table.data caption').innerText").ends_with("Times in Asia/Tokyo."));
    // The next visit has it, too.
    open(&browser, &scene.daemon, "/plugins/volume/latest_by_topic?limit=1");
    assert!(browser.text("document.querySelector('table.data caption').innerText").ends_with("Times in Asia/Tokyo."));
    assert_clean(&browser, &scene.daemon);
}

#[test]
fn an_answer_is_followed() {
    let Some(browser) = Browser::start() else { return };
    let mut scene = Scene::new();
    let path = "/plugins/volume/by_category?start=now-3h&step=1h&by=";
    open(&browser, &scene.daemon, path);
    let says = "document.querySelector('#answer [role=status]').innerText";
    browser.wait(&format!("{says}.startsWith('90 messages')"));
    browser.run("const live = document.querySelector('#live'); live.focus(); live.click()");
    browser.wait("document.querySelector('#live-state').innerText === 'Live: connected.'");
    assert!(browser.text("location.hash").ends_with("&ui.live=1"));
    scene.tell(&Message::new("org.example.prod.wiki.edit"));
    browser.wait(&format!("{says}.startsWith('91 messages')"));
    // The switch has the focus still, and ends it.
    browser.press(&[SPACE]);
    browser.wait("document.querySelector('#live-state').innerText === '' && !location.hash.includes('ui.live')");
    assert_clean(&browser, &scene.daemon);
}

#[test]
fn what_does_not_run_says_why() {
    let Some(browser) = Browser::start() else { return };
    let mut setup = DaemonSetup::new().instance("odd", "no-such-plugin", "").instance("volume", "volume", "");
    std::fs::write(setup.plugin_path("text.so"), "no library").expect("written");
    let daemon = setup.start();
    open(&browser, &daemon, "");
    let card = |id: &str| browser.text(&format!("document.querySelector('[data-plugin=\"{id}\"]').innerText"));
    for (id, words) in [("odd", "Failed"), ("odd", "no-such-plugin"), ("text.so", "Failed"), ("volume", "Running")] {
        assert!(card(id).contains(words), "{id}: {}", card(id));
    }
    assert!(browser.text("document.querySelector('#health').innerText").contains("Bus: connected to 0 of 1 endpoint"));
    assert_accessible(&browser, "failed plugins");
    browser.picture("failed");
    // A daemon that is gone is not shown as one that does well.
    drop(daemon.kill());
    browser.run("document.dispatchEvent(new Event('visibilitychange'))");
    browser.wait("document.querySelector('#trouble').innerText.includes('does not answer')");
    assert_eq!(browser.text("getComputedStyle(document.querySelector('.list')).opacity"), "0.5", "what it said last");
}
