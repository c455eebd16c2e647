//! The page with what is seldom: odd texts, great numbers, questions that reach too far, a daemon that is away.

use super::*;

/// How the bars of a series are coloured.
fn colour(browser: &Browser, name: &str) -> String {
    browser.text(&format!(
        "[...document.querySelectorAll('.legend button')].find(button => button.querySelector('.name').textContent === \
         {}).querySelector('.swatch').style.background",
        json!(name)
    ))
}

#[test]
fn odd_texts_and_great_numbers_fit() {
    let Some(browser) = Browser::start() else { return };
    let mut scene = Scene::new();
    let long = "long".repeat(200);
    let image = "<img src=x onerror=alert(1)>";
    for (of, key) in [(long.as_str(), "c"), (image, "c"), ("", ""), ("a", "b · c"), ("a · b", "c")] {
        let msg = json!({"of": of, "add": 1_u64 << 52, "observe": 1e300, "member": of, "key": key, "status": of});
        scene.tell(&Message::new("org.example.prod.odd.event").at(scene.hour + 900).msg(msg));
    }
    scene.settle();
    browser.resize(360, 740);
    for metric in ["counts", "stats", "dists", "members", "keys", "status"] {
        let limits = if metric == "status" { "limit=100".to_owned() } else { scene.range() };
        let path = format!("/plugins/kinds/{metric}?{limits}");
        open(&browser, &scene.daemon, &path);
        assert_accessible(&browser, &path);
        let text = browser.text("document.querySelector('#answer').innerText");
        assert!(text.contains(image) && text.contains("(empty)"), "{metric}: {text}");
        assert!(!text.contains("000,000,000,000,000,000"), "{metric}: {text}");
        let tallest = browser
            .eval("Math.max(...[...document.querySelectorAll('#answer :is(li, tr)')].map(each => each.offsetHeight))");
        assert!(tallest.as_f64() < Some(180.0), "{metric}: {tallest} pixels");
        browser.picture(&format!("odd-{metric}"));
    }
    // What was most frequent stands in a row of the table, as all else.
    let path = format!("/plugins/kinds/keys?{}", scene.range());
    open(&browser, &scene.daemon, &path);
    assert_eq!(browser.text("getComputedStyle(document.querySelector('td.entries')).display"), "table-cell");
    // Names that look alike are not one.
    open(&browser, &scene.daemon, &format!("{path}&where.of=a*"));
    let names = browser.eval("[...document.querySelectorAll('.legend .name')].map(name => name.textContent)");
    assert_eq!(names, json!(["a · b · c", "a · b · c"]));
    // A mean is of each bucket, no rate.
    open(&browser, &scene.daemon, &format!("/plugins/kinds/stats?{}&step=5m", scene.range()));
    assert_eq!(browser.text("document.querySelector('figcaption').textContent"), "mean of each 5 minutes");
    assert_clean(&browser, &scene.daemon);
}

#[test]
fn a_value_stays_as_it_is() {
    let Some(browser) = Browser::start() else { return };
    let mut scene = Scene::new();
    for of in ["  spaces ", "two\nlines", "[brackets]"] {
        let msg = json!({"of": of, "status": 1});
        scene.tell(&Message::new("org.example.prod.odd.event").at(scene.hour + 900).msg(msg));
    }
    scene.settle();
    for value in ["%20%20spaces%20", "two%0Alines", "%5Bbrackets%5D"] {
        let path = format!("/plugins/kinds/status?where.of={value}");
        open(&browser, &scene.daemon, &path);
        // The form asks the same, and `curl` takes nothing in it for a pattern.
        browser
            .run("const limit = document.querySelector('#field-limit'); limit.value = '7'; limit.form.requestSubmit()");
        shown(&browser, &format!("{path}&limit=7"));
        assert_eq!(table(&browser).len(), 1, "{path}");
        let curl = browser.text("document.querySelector('#curl').textContent");
        assert!(curl.ends_with(&format!("?where.of={value}&limit=7'")), "{curl}");
    }
    // A part of a value finds nothing, and it is said how it would.
    open(&browser, &scene.daemon, "/plugins/kinds/status?where.of=bracket");
    assert!(browser.text("document.querySelector('#answer .notes').innerText").contains("*bracket*"));
    // Where nothing may be copied, the focus stays, and what is to be copied is selected.
    browser.run(
        "navigator.clipboard.writeText = () => Promise.reject(); document.execCommand = () => false;
         const button = document.querySelector('.take button'); button.focus(); button.click()",
    );
    browser.wait("document.activeElement.textContent === 'Press Ctrl-C'");
    let url = format!("http://{}/plugins/kinds/status?where.of=bracket", scene.daemon.address());
    assert_eq!(browser.text("getSelection().toString()"), url);
    assert_clean(&browser, &scene.daemon);
}

#[test]
fn the_newest_figures_are_shown_and_how_far_they_reach() {
    let Some(browser) = Browser::start() else { return };
    let mut scene = Scene::new();
    let path = "/plugins/volume/by_category?start=now-30d&step=1h";
    open(&browser, &scene.daemon, path);
    assert_eq!(browser.text("document.querySelector('#answer .notes').innerText"), "");
    let says = "document.querySelector('#answer [role=status]').innerText";
    assert!(browser.text(says).starts_with("90 messages"));
    // Asked again it is new, whatever the browser has kept.
    scene.tell(&Message::new("org.example.prod.wiki.edit"));
    scene.settle();
    browser.run("document.querySelector('#ask .primary').click()");
    browser.wait(&format!("{says}.startsWith('91 messages')"));
    // A series keeps its colour when it becomes the greatest.
    let before = colour(&browser, "wiki");
    for _ in 0..50 {
        scene.tell(&Message::new("org.example.prod.wiki.edit"));
    }
    scene.settle();
    browser.run("document.querySelector('#ask .primary').click()");
    browser.wait("document.querySelector('.legend .name').textContent === 'wiki'");
    assert_eq!(colour(&browser, "wiki"), before);
    // Seconds are kept for hours, not for days.
    open(&browser, &scene.daemon, "/plugins/volume/messages?start=now-30d&step=1s");
    let notes = browser.text("document.querySelector('#answer .notes').innerText");
    assert!(notes.contains("more was asked for: buckets of 1 second are not kept longer"), "{notes}");
    assert_clean(&browser, &scene.daemon);
}

#[test]
fn what_is_followed_comes_back_with_the_daemon() {
    let Some(browser) = Browser::start() else { return };
    let scene = Scene::new();
    // A stream that the daemon refuses: what is followed is asked for again and again.
    browser.open("about:blank");
    open(&browser, &scene.daemon, "/plugins/volume/messages?start=now-3h&step=1h");
    browser.run("window.EventSource = class extends EventSource { constructor() { super('/nothing/stream') } }");
    browser.run("document.querySelector('#live').click()");
    browser.wait("document.querySelector('#live-state').innerText.includes('not streamed now')");
    browser.run(
        "window.seen = performance.getEntriesByType('resource').filter(({name}) => name.includes('/messages?')).length",
    );
    browser.wait(
        "performance.getEntriesByType('resource').filter(({name}) => name.includes('/messages?')).length > window.seen",
    );
    assert_eq!(browser.eval("document.querySelector('#live').checked"), true);
}
