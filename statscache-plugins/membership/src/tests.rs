use std::collections::{BTreeMap, HashSet};

use serde_json::json;
use statscache_core::kind::{DistinctRule, DistinctState, Rule};
use statscache_plugin_sdk::{
    Declaration, Label, LabelValue, Timestamp,
    abi::FieldValue,
    host::{self, Sink, Value},
    testing::Harness,
};

use super::*;

const TOPIC: &str = "org.example.prod.membership.report";

#[test]
fn members_and_cities_are_counted_once_however_often_reported() {
    let mut harness = Harness::<Membership>::new(());
    let reports =
        [("choir", "anna", "Lund"), ("choir", "anna", "Lund"), ("choir", "bo", "Lund"), ("band", "anna", "Umeå")];
    for (group, user, city) in reports {
        harness.send(TOPIC, json!({"group": group, "user": user, "city": city}));
    }
    assert_eq!((harness.count("reports", ["choir"]), harness.members("members", ["choir"]).len()), (3, 2));
    assert_eq!(harness.members("cities", ["choir"]), ["Lund".to_owned()].into());
    assert_eq!((harness.members("all_members", []).len(), harness.members("all_cities", []).len()), (2, 2));
}

#[test]
fn what_is_missing_is_left_out() {
    let mut harness = Harness::<Membership>::new(());
    for msg in [json!(null), json!({"user": "anna"}), json!({"group": {}, "user": "anna"}), json!({"group": " "})] {
        harness.send(TOPIC, msg);
    }
    assert_eq!(harness.updates(), []);
    harness.send(TOPIC, json!({"group": 7, "user": null, "city": ["Lund"]}));
    harness.send(TOPIC, json!({"group": "7", "user": 12}));
    assert_eq!((harness.count("reports", ["7"]), harness.members("members", ["7"]).len()), (2, 1));
    assert_eq!(harness.members("cities", ["7"]).len(), 0);
}

#[test]
fn topics_and_places_can_be_chosen() {
    let config = json!({"topics": ["club.#"], "group": "/team", "user": "/msg/who/name", "city": "/msg/who/town"});
    let mut harness = Harness::<Membership>::new(config);
    let envelope = json!({"topic": "club.seen", "team": "red", "msg": {"who": {"name": "anna", "town": "Lund"}}});
    harness.try_send("club.seen", "1", &envelope).expect("it is taken");
    assert_eq!((harness.members("members", ["red"]).len(), harness.members("cities", ["red"]).len()), (1, 1));
    let refused = Harness::<Membership>::try_new(json!({"topics": []})).err();
    assert!(refused.is_some_and(|error| error.message().contains("config.topics")));
}

/// What the daemon keeps: a state for each metric, group and day.
#[derive(Default)]
struct Days {
    metrics: Vec<String>,
    cells: BTreeMap<(usize, String, i64), DistinctState>,
}

impl Days {
    fn new(declaration: &Declaration) -> Self {
        let metrics = declaration.metrics.iter().map(|metric| metric.name.clone()).collect();
        Self { metrics, cells: BTreeMap::new() }
    }

    /// Different members of a group (none: of all) within days.
    fn estimate(&self, metric: &str, group: &str, days: std::ops::Range<i64>) -> u64 {
        let of_it = |(number, of, day): &(usize, String, i64)| {
            self.metrics[*number] == metric && of == group && days.contains(day)
        };
        let mut all = DistinctState::default();
        let cells = self.cells.iter().filter(|(cell, _)| of_it(cell));
        cells.for_each(|(_, state)| DistinctRule.merge(&mut all, state.clone()));
        all.estimate()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.cells.values().for_each(|state| DistinctRule.encode(state, &mut bytes));
        bytes
    }
}

impl Sink for Days {
    fn update(&mut self, metric: u32, labels: &[Label<'_>], time: Timestamp, value: Value<'_>) {
        let Value::Insert(member) = value else { return };
        let group = match labels.first().map(|label| label.get()) {
            Some(LabelValue::Text(group)) => group.to_owned(),
            _ => String::new(),
        };
        let day = time.micros().div_euclid(86_400_000_000);
        self.cells.entry((metric as usize, group, day)).or_default().insert(member);
    }
}

/// Numbers that look random and are the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// A report: day, group, user, city.
type Report = (i64, u64, u64, u64);

/// Groups of 100 to 100,000 users, each of whom is seen again and again; each has a home.
fn reports(count: usize) -> Vec<Report> {
    let mut random = Random(6);
    let report = |_| {
        let group = random.below(8);
        let size = [100, 256, 300, 1_000, 5_000, 20_000, 60_000, 100_000][group as usize];
        // Some are in two groups.
        let user = group * 50_000 + random.below(size);
        (random.below(10) as i64, group, user, user % (size / 20))
    };
    (0..count).map(report).collect()
}

fn feed<'r>(reports: impl IntoIterator<Item = &'r Report>) -> Days {
    let (plugin, declaration) = host::create::<Membership>("null").expect("it starts");
    assert_eq!(declaration.fields, ["/msg/group", "/msg/user", "/msg/city"]);
    let mut days = Days::new(&declaration);
    for &(day, group, user, city) in reports {
        let raw = [format!("\"group {group}\""), format!("\"user-{user}\""), format!("\"city {city}\"")];
        let fields: Vec<FieldValue<'_>> = raw.iter().map(|raw| FieldValue::from(Some(raw.as_str()))).collect();
        let time = Timestamp::from_secs(day * 86_400 + (user % 86_400) as i64);
        let message = Message::new(TOPIC, "1", time, "{}", &fields);
        plugin.process(&message, &mut Updates::new(&mut days, time)).expect("it does not fail");
    }
    days
}

/// A million reports against exact sets, by group and over all, of a day and of ten: exact up to 256, and beyond
/// that within four standard errors.
#[test]
fn a_million_reports_are_counted_within_the_promised_error() {
    let reports = reports(1_000_000);
    let days = feed(&reports);
    let mut beyond = 0;
    for window in [0..1, 3..5, 0..10] {
        for group in (0..8).map(Some).chain([None]) {
            let of_it = |(day, of, ..): &&Report| window.contains(day) && group.is_none_or(|group| group == *of);
            let chosen = || reports.iter().filter(of_it);
            let users: HashSet<u64> = chosen().map(|report| report.2).collect();
            let cities: HashSet<u64> = chosen().map(|report| report.3).collect();
            let name = group.map_or_else(String::new, |group| format!("group {group}"));
            let metrics = if group.is_some() { ["members", "cities"] } else { ["all_members", "all_cities"] };
            for (metric, exact) in metrics.into_iter().zip([users.len() as f64, cities.len() as f64]) {
                let estimate = days.estimate(metric, &name, window.clone()) as f64;
                let allowed = if exact <= 256.0 { 0.0 } else { 4.0 * 1.04 / 64.0 * exact };
                assert!(
                    (estimate - exact).abs() <= allowed,
                    "{metric} of {name} in {window:?}: {estimate}, not {exact}"
                );
                beyond += usize::from(exact > 256.0);
            }
        }
    }
    assert!(beyond > 30, "both sides of 256 are tried: {beyond}");
}

/// In another order, and some of it twice: the same bytes.
#[test]
fn order_and_repetition_leave_no_trace() {
    let reports = reports(50_000);
    let expected = feed(&reports).bytes();
    let mut shuffled: Vec<&Report> = reports.iter().chain(&reports[..20_000]).collect();
    let mut random = Random(7);
    for end in (1..shuffled.len()).rev() {
        shuffled.swap(end, random.below(end as u64 + 1) as usize);
    }
    assert!(feed(shuffled).bytes() == expected, "the state depends on the order");
}
