//! Page by page: real messages, through the real plugins, to the figures that people see.

use super::*;

/// A whole number as the pages write it, in English.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[test]
fn volume_counts_by_category_and_follows() {
    let Some(browser) = Browser::start() else { return };
    let mut scene = Scene::new();
    // All in one bar, wherever the half hour is just now.
    let begin = (scene.now - 2 * HOUR).div_euclid(HOUR / 2) * (HOUR / 2) + 60;
    let ago = scene.now - begin;
    // More categories than have a colour, and one message of six days ago.
    for n in 0..12 {
        for m in 0..=n {
            // The largest has a name that is wider than a phone.
            let long = "-and-so-on".repeat(if n == 11 { 12 } else { 0 });
            scene.tell(&format!("kind{n:02}{long}.done"), ago - m, json!({}));
        }
    }
    scene.tell("kind00.done", 6 * DAY, json!({}));
    scene.settle();
    open(&browser, &scene.daemon, "volume.html");
    let rows = scene.rows("/plugins/volume/by_category?start=now-24h&step=all&order=-value");
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    for row in &rows[..8] {
        expected.insert(row["category"].as_str().expect("a text").to_owned(), row["value"].to_string());
    }
    let rest: i64 = rows[8..].iter().filter_map(|row| row["value"].as_i64()).sum();
    expected.insert("4 others".to_owned(), rest.to_string());
    assert_eq!(legend(&browser), expected);
    assert!(text(&browser).contains("78 messages, in bars of 30 minutes each"), "{}", text(&browser));
    let bars = browser.eval(
        "[...document.querySelectorAll('.chart .fill.s0')].reduce((sum, bar) => sum + Number(bar.getAttribute('height')), 0)",
    );
    let others = browser.eval(
        "[...document.querySelectorAll('.chart .fill.rest')].reduce((sum, bar) => sum + Number(bar.getAttribute('height')), 0)",
    );
    let (first, rest_height) = (bars.as_f64().expect("a number"), others.as_f64().expect("a number"));
    assert!(
        (first / rest_height - 12.0 / rest as f64).abs() < 0.001,
        "heights are proportional: {first} {rest_height}"
    );
    // What a bar is made of, when it is pointed at.
    browser.run(
        "const bars = [...document.querySelectorAll('.chart .hit')]; const full = [...document.querySelectorAll('.chart .fill.s0')][0]; \
         bars.find(bar => Math.abs(bar.x.baseVal.value - full.x.baseVal.value) < 2).dispatchEvent(new PointerEvent('pointerenter'))",
    );
    let tip = browser.text("document.querySelector('.tip').innerText");
    let first = &rows[0];
    assert!(tip.contains(&format!("{}\n{}", first["category"].as_str().expect("a text"), first["value"])), "{tip}");
    assert_usable(&browser, "volume");
    choose(&browser, "range", "7d");
    browser.wait("document.querySelector('main').innerText.includes('79 messages, in bars of 3 hours each')");
    scene.tell("kind00.done", 0, json!({}));
    scene.settle();
    look_again(&browser);
    browser.wait("document.querySelector('main').innerText.includes('80 messages')");
    // The table has them all, too.
    let sum = table(&browser, "Messages by category").iter().fold(0, |sum, row| {
        sum + row[1..row.len() - 1]
            .iter()
            .map(|cell| cell.replace(',', "").parse::<i64>().expect("a number"))
            .sum::<i64>()
    });
    assert_eq!(sum, 80);
    assert_clean(&browser, &scene.daemon);
}

#[test]
fn contributions_are_a_calendar_and_a_ranking() {
    let Some(browser) = Browser::start() else { return };
    let mut scene = Scene::new();
    for n in 0..40 {
        for _ in 0..=n % 5 {
            scene.tell("wiki.article.edit", n * 9 * DAY / 2, json!({"user": "anna"}));
        }
    }
    for n in 0..9 {
        scene.tell("wiki.article.edit", n * HOUR + DAY, json!({"user": "<b>ben</b>"}));
    }
    scene.settle();
    open(&browser, &scene.daemon, "contributions.html?user=anna");
    let days = scene.rows("/plugins/contributions/actions?where.user=anna&by=user&start=now-365d&step=1d");
    let total: i64 = days.iter().filter_map(|row| row["value"].as_i64()).sum();
    assert_eq!((days.len(), total), (40, 120));
    assert!(text(&browser).contains("120 actions on 40 days"), "{}", text(&browser));
    let titles = browser.eval(
        "[...document.querySelectorAll('.calendar .day')].map(day => day.title).filter(title => /: \\d+ action/.test(title)).length",
    );
    assert_eq!(titles, 40);
    assert_eq!(browser.eval("document.querySelectorAll('.calendar .day').length"), 366);
    assert_eq!(browser.eval("document.querySelectorAll('.calendar .day.missing').length > 300"), true);
    assert_eq!(table(&browser, "Days with actions").len(), 40, "the same for who cannot see it");
    let most = scene.rows("/plugins/contributions/actions?by=user&start=now-30d&step=all&order=-value&limit=10");
    let shown: Vec<Vec<String>> = table(&browser, "In the last 30 days");
    let expected: Vec<Vec<String>> = most
        .iter()
        .map(|row| vec![row["user"].as_str().expect("a text").to_owned(), row["value"].to_string(), String::new()])
        .collect();
    assert_eq!(shown, expected, "names are texts, whatever is in them");
    assert_usable(&browser, "contributions");
    // Nobody chosen: the most active; and names are proposed.
    open(&browser, &scene.daemon, "contributions.html");
    browser.wait("document.querySelector('h2')?.innerText.startsWith('The year of ')");
    browser.run("document.querySelector('[name=user]').value = 'an'; document.querySelector('[name=user]').dispatchEvent(new Event('input'))");
    browser.wait("[...document.querySelectorAll('#users option')].map(option => option.value).join() === 'anna'");
    choose(&browser, "user", "anna");
    browser.wait("document.querySelector('h2').innerText === 'The year of anna'");
    assert_clean(&browser, &scene.daemon);
}

#[test]
fn usage_is_reported() {
    let Some(browser) = Browser::start() else { return };
    let mut scene = Scene::new();
    for n in 0..12_i64 {
        for m in 0..=n {
            let msg = json!({"link": format!("/tool/{n}"), "user": format!("user-{}", m % 4), "title": format!("Tool {n}"),
                "url": format!("https://tools.example.org/{n}")});
            scene.tell("usage.click", m * DAY + 60, msg);
        }
    }
    scene.tell(
        "usage.click",
        60,
        json!({"link": "javascript:alert(1)", "user": "user-9", "url": "javascript:alert(1)"}),
    );
    scene.settle();
    open(&browser, &scene.daemon, "usage.html?user=user-3");
    let uses = scene.rows("/plugins/usage/uses?start=now-30d&step=all&order=-value&limit=10");
    let people = scene.rows("/plugins/usage/users?start=now-30d&step=all");
    let people_of =
        |link: &Value| people.iter().find(|row| row["link"] == *link).map(|row| row["value"]["estimate"].to_string());
    let shown = table(&browser, "The 10 links used most");
    assert_eq!(shown.len(), 10);
    for (row, cells) in uses.iter().zip(&shown) {
        let title = row["link"].as_str().expect("a text").replace("/tool/", "Tool ");
        assert_eq!(cells[..3], [title, row["value"].to_string(), people_of(&row["link"]).expect("people")]);
    }
    let favourites = scene.rows("/plugins/usage/favourites?where.user=user-3&start=now-30d&step=all&order=-value");
    assert_eq!(table(&browser, "What user-3 used most").len(), favourites.len());
    assert!(text(&browser).contains("Uses\n79\nPeople\n5\n"), "{}", text(&browser));
    // Somebody who goes through it with the keyboard stays where they are when it is drawn again.
    browser.run("document.querySelectorAll('tbody a')[3].focus()");
    let link = browser.text("document.activeElement.innerText");
    let turn = browser.eval("document.documentElement.dataset.turn");
    look_again(&browser);
    browser.wait(&format!("document.documentElement.dataset.turn !== {turn}"));
    assert_eq!(browser.text("document.activeElement.innerText"), link);
    assert!(link.starts_with("Tool "), "{link}");
    assert_usable(&browser, "usage");
    choose(&browser, "range", "7d");
    browser.wait("document.querySelector('h2').innerText === 'In the last 7 days'");
    let all = &scene.rows("/plugins/usage/uses?start=now-7d&step=all&by=")[0]["value"];
    assert!(text(&browser).contains(&format!("Uses\n{all}\n")), "{all} in {}", text(&browser));
    choose(&browser, "user", "user-9");
    browser.wait("document.querySelector('main').innerText.includes('What user-9 used')");
    assert_eq!(browser.eval("document.querySelectorAll('a[href^=\"javascript\"]').length"), 0, "nothing is run");
    assert_clean(&browser, &scene.daemon);
}

#[test]
fn members_are_counted_once() {
    let Some(browser) = Browser::start() else { return };
    let mut scene = Scene::new();
    for n in 0..700 {
        let group = ["choir", "chess"][usize::from(n % 7 == 0)];
        let msg = json!({"group": group, "user": format!("user-{}", n % 400), "city": format!("city-{}", n % 9)});
        scene.tell("membership.report", 60 + n, msg);
    }
    scene.settle();
    open(&browser, &scene.daemon, "membership.html");
    let said = |value: &Value| {
        let (estimate, error) =
            (value["estimate"].as_f64().expect("a number"), value["error"].as_f64().expect("a number"));
        match error {
            0.0 => grouped(estimate as i64),
            error => format!("≈ {} ± {}", grouped(estimate.round() as i64), grouped((estimate * error).ceil() as i64)),
        }
    };
    let of = |metric: &str, group: &str| {
        said(
            &scene.rows(&format!("/plugins/membership/{metric}?start=now-365d&step=all&where.group={group}"))[0]["value"],
        )
    };
    let row = |group: &str, reports: &str| {
        vec![group.to_owned(), of("members", group), of("cities", group), reports.to_owned()]
    };
    assert_eq!(table(&browser, "Of 2 groups"), [row("choir", "600"), row("chess", "100")]);
    let all = said(&scene.rows("/plugins/membership/all_members?start=now-365d&step=all")[0]["value"]);
    assert!(text(&browser).contains(&format!("Members, each once\n{all}\n")), "{all} in {}", text(&browser));
    assert_usable(&browser, "membership");
    assert_clean(&browser, &scene.daemon);
}

#[test]
fn storage_is_a_map_to_look_into() {
    let Some(browser) = Browser::start() else { return };
    let mut scene = Scene::new();
    const MIB: i64 = 1 << 20;
    for n in 0..24_i64 {
        let path = format!("{}/team-{}/project-{n}", ["apps", "docs", "ops"][n as usize % 3], n % 4);
        let statistics = json!({"storage_size": (n + 1) * 5 * MIB, "repository_size": (n + 1) * 3 * MIB, "wiki_size": MIB,
            "lfs_objects_size": n * MIB / 2, "job_artifacts_size": n * MIB / 4, "packages_size": 0});
        scene.tell("storage.project", 60, json!({"path_with_namespace": path, "statistics": statistics}));
    }
    scene.settle();
    open(&browser, &scene.daemon, "storage.html");
    let sums = scene.rows("/plugins/storage/projects?rollup=sum&path=project&depth=1");
    assert_eq!(sums.len(), 3, "{sums:?}");
    let mib = |row: &Value| format!("{} MiB", row["value"]["storage"].as_i64().expect("bytes") / MIB);
    let expected: Vec<(String, String)> = ["ops", "docs", "apps"]
        .map(|name| (name.to_owned(), mib(sums.iter().find(|row| row["project"] == name).expect("a sum"))))
        .into();
    browser.wait("document.querySelectorAll('.tree > .tile').length === 3");
    let shown: Vec<(String, String)> =
        table(&browser, "The largest first").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(shown, expected);
    // Areas are what they say they are.
    let areas = browser.eval(
        "[...document.querySelectorAll('.tree > .tile')].map(tile => parseFloat(tile.style.width) * parseFloat(tile.style.height))",
    );
    let areas: Vec<f64> = serde_json::from_value(areas).expect("numbers");
    let size =
        |name: &str| sums.iter().find(|row| row["project"] == name).and_then(|row| row["value"]["storage"].as_f64());
    let (ops, apps) = (size("ops").expect("bytes"), size("apps").expect("bytes"));
    assert!((areas[0] / areas[2] - ops / apps).abs() < 0.01, "{areas:?}");
    assert_usable(&browser, "storage");
    browser.run("document.querySelector('.tile[href*=\"path=ops\"]').click()");
    browser.wait("document.querySelector('h2')?.innerText === 'ops'");
    assert_eq!(table(&browser, "The largest first").len(), 4);
    browser.run("document.querySelector('th a[href*=\"team-1\"]').click()");
    browser.wait("document.querySelector('h2')?.innerText === 'ops/team-1'");
    assert_eq!(table(&browser, "The largest first").len(), 2);
    browser.run("document.querySelector('th a').click()");
    browser.wait("document.querySelector('h2')?.innerText.startsWith('ops/team-1/project-')");
    assert!(text(&browser).contains("Projects\n1\n"), "{}", text(&browser));
    assert_clean(&browser, &scene.daemon);
}

#[test]
fn uptime_tells_what_is_down_and_since_when() {
    let Some(browser) = Browser::start() else { return };
    let mut scene = Scene::new();
    let now = scene.now;
    for n in 0..20_i64 {
        let ago = 60 + n * 30;
        for (site, status) in [(SHOP, if n < 3 { 503 } else { 200 }), (PAY, 200)] {
            let msg = json!({"url": site, "http_status": status, "network_status": "ok", "match": true,
                "tstamp": now - ago, "response_seconds": 0.25});
            scene.tell("uptime.check", ago, msg);
        }
    }
    let silent = json!({"url": "https://old.example.org/", "http_status": 200, "network_status": "ok", "match": true, "tstamp": now - 7200});
    scene.tell("uptime.check", 7200, silent);
    scene.settle();
    open(&browser, &scene.daemon, "uptime.html");
    let said = text(&browser);
    assert!(said.contains("1 of 3 sites up"), "{said}");
    let incident = browser.text("document.querySelector('.log').innerText");
    assert!(incident.contains("shop.example.org") && incident.contains("HTTP status 503"), "{incident}");
    let good = scene.rows(&format!("/plugins/uptime/last_good?where.site={SHOP}"))[0]["time"].to_string();
    let since = format!("{} UTC)", &good[12..17]);
    assert!(incident.contains(&since), "{since} in {incident}");
    let sites = table(&browser, "24 h, 7 d, 30 d");
    let of = |name: &str| sites.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("{name} in {sites:?}"));
    assert_eq!(of("shop.example.org")[1..5], ["✕ Down", "85.00 %", "85.00 %", "85.00 %"]);
    assert_eq!(of("pay.example.org")[1..5], ["✓ Up", "100 %", "100 %", "100 %"]);
    assert_eq!(of("old.example.org")[1], "? Not checked");
    let times = scene.rows(&format!("/plugins/uptime/response_seconds?start=now-24h&step=all&where.site={PAY}"));
    let millis = |name: &str| format!("{} ms", (times[0]["value"][name].as_f64().expect("seconds") * 1000.0).round());
    assert_eq!(of("pay.example.org")[5..7], [millis("p50"), millis("p95")]);
    let label = browser.text("document.querySelector('.day24').getAttribute('aria-label')");
    assert!(
        label.starts_with("Last 24 hours: bad checks in 1 hour") || label.starts_with("Last 24 hours: bad checks in 2"),
        "{label}"
    );
    assert_eq!(
        table(&browser, "A chain works"),
        [["shop", "85.00 %", "85.00 %", "pay.example.org 100 % × shop.example.org 85.00 %"]]
    );
    let failures = table(&browser, "The newest 20");
    assert_eq!(failures.len(), 3, "{failures:?}");
    assert!(failures.iter().all(|row| row[1] == "shop.example.org" && row[2] == "HTTP status 503"), "{failures:?}");
    assert_usable(&browser, "uptime");
    assert_clean(&browser, &scene.daemon);
}

#[test]
fn releases_are_shown_alike_by_both_apis() {
    let Some(browser) = Browser::start() else { return };
    let mut scene = Scene::new();
    scene.tell("compose.rawhide.start", 500, json!({"arch": "arm"}));
    scene.tell("compose.rawhide.rsync.complete", 6 * HOUR + HOUR / 2, json!({}));
    for n in 0..9 {
        scene.tell("bodhi.updates.fedora.sync", 100 + n, json!({"release": format!("f{n}"), "repo": "updates"}));
    }
    let image = json!({"status": "completed", "image_name": "Example-Cloud-Base-Rawhide-20260101.x86_64",
        "destination": "EC2 (eu-west-1)", "extra": {"id": "ami-0000"}});
    scene.tell("fedimg.image.upload", 50, image);
    scene.settle();
    let entries = || {
        browser.eval(
            "Object.fromEntries([...document.querySelectorAll('[data-component]')].map(part => [part.dataset.component, \
             [...part.querySelectorAll('li')].map(item => `${item.firstChild.textContent} ${item.dataset.status}`)]))",
        )
    };
    open(&browser, &scene.daemon, "releng.html");
    let modern = entries();
    assert_eq!(modern["compose-rawhide_arm"], json!(["Rawhide start"]));
    assert_eq!(modern["compose-rawhide_primary"], json!(["Rsync complete"]));
    let updates: Vec<String> = (0..8).map(|n| format!("f{n}-updates synced out")).collect();
    assert_eq!(modern["updates-fedora"], json!(updates), "the newest eight of nine");
    assert!(text(&browser).contains("completed\n6 hours ago"), "{}", text(&browser));
    assert_eq!(browser.eval("document.querySelectorAll('a[href*=\"LaunchInstanceWizard\"]').length"), 1);
    assert_usable(&browser, "releng");
    assert_clean(&browser, &scene.daemon);
    open(&browser, &scene.daemon, "releng-legacy.html");
    assert_eq!(entries(), modern);
    assert_usable(&browser, "releng-legacy");
    assert_clean(&browser, &scene.daemon);
}
