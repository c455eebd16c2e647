//! An invented bus, for load: families of messages in the shares that they have on Fedora's bus, with the sizes,
//! topics, users and packages that make up its cost; beside them what the other shipped plugins count.
//!
//! A message is a function of its number. Where it tells the present time it has [`TIME_MARK`], and in its `msg_id`
//! [`ID_MARK`]: whoever sends it writes over them.

mod cases;
mod fedora;
mod words;

use serde_json::{Value, json};

use super::Random;
use words::{certificate, hex, package, user};

/// Ten digits that stand for the present, in seconds since 1970.
pub const TIME_MARK: u64 = 1_618_033_988;
/// Twelve digits that stand for a number of the message's own.
pub const ID_MARK: &str = "271828182845";

/// Any seed does; the same one makes the same messages.
const SEED: u64 = 0x5eed_0b05;

/// A message without its envelope.
struct Content {
    topic: String,
    msg: Value,
}

/// How many of a thousand messages a family has, and how one of them is made.
type Family = (u64, fn(&mut Random) -> Content);

const FAMILIES: [Family; 22] = [
    (130, fedora::koji_task),
    (70, fedora::koji_build),
    (90, fedora::koji_tag),
    (60, fedora::koji_repository),
    (160, fedora::copr_build),
    (90, fedora::ci_test),
    (70, fedora::bodhi_update),
    (60, fedora::koschei_state),
    (50, fedora::git_receive),
    (40, fedora::openqa_job),
    (30, fedora::pagure_event),
    (25, fedora::github_event),
    (20, fedora::new_version),
    (10, fedora::badge),
    (10, fedora::wiki_edit),
    (10, fedora::account),
    (5, fedora::compose),
    (10, fedora::rare_service),
    (25, cases::uptime_check),
    (15, cases::link_use),
    (10, cases::membership),
    (10, cases::storage),
];

/// Topic and envelope of the message with this number.
pub fn message(number: u64) -> (String, Value) {
    let mut random = Random::for_number(SEED, number);
    let Content { topic, msg } = content(&mut random);
    let envelope = json!({
        "i": number,
        "timestamp": TIME_MARK,
        "msg_id": msg_id(),
        "topic": topic,
        "username": "apache",
        "source_name": "datanommer",
        "source_version": "0.9.1",
        "crypto": "x509",
        "signature": certificate(&mut random, 128),
        "certificate": certificate(&mut random, 780),
        "headers": headers(&mut random),
        "msg": msg,
    });
    (topic, envelope)
}

/// An id in the form of the bus, with [`ID_MARK`] in it.
pub fn msg_id() -> String {
    format!("2026-5ca1ab1e-0000-4000-8000-{ID_MARK}")
}

fn content(random: &mut Random) -> Content {
    let mut share = random.below(FAMILIES.iter().map(|(share, _)| share).sum());
    for (of_family, make) in FAMILIES {
        match share.checked_sub(of_family) {
            None => return make(random),
            Some(rest) => share = rest,
        }
    }
    cases::storage(random)
}

/// Three of ten messages name users and packages in headers, as fedora-messaging does.
fn headers(random: &mut Random) -> Value {
    if random.below(10) >= 3 {
        return json!({});
    }
    json!({
        "fedora_messaging_schema": "base.message",
        "fedora_messaging_severity": 20,
        "sent-at": "2026-01-15T08:00:00+00:00",
        format!("fedora_messaging_user_{}", user(random)): true,
        format!("fedora_messaging_rpm_{}", package(random)): true,
        "x-received-from": [{"cluster-name": format!("rabbit@{}", hex(random, 8)), "hops": 1}],
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What the numbers of a measurement rest on.
    #[test]
    fn sizes_shares_and_names_are_those_of_a_bus() {
        let count = 4000;
        let messages: Vec<(String, String)> =
            (0..count).map(message).map(|(topic, envelope)| (topic, envelope.to_string())).collect();
        let bytes: usize = messages.iter().map(|(topic, body)| topic.len() + body.len()).sum();
        let mean = bytes as u64 / count;
        assert!((2000..3000).contains(&mean), "mean size {mean}");
        let share = |word: &str| messages.iter().filter(|(topic, _)| topic.split('.').nth(3) == Some(word)).count();
        assert!((1250..1550).contains(&share("buildsys")), "buildsys {}", share("buildsys"));
        assert!((70..170).contains(&share("pagure")), "pagure {}", share("pagure"));
        for case in ["uptime", "usage", "membership", "storage", "compose", "bodhi", "ci"] {
            assert!(share(case) > 0, "{case}");
        }
        let topics: BTreeSet<&String> = messages.iter().map(|(topic, _)| topic).collect();
        assert!(topics.len() > 100, "{} topics", topics.len());
    }

    #[test]
    fn a_number_is_always_the_same_message() {
        assert_eq!(message(7), message(7));
        assert_ne!(message(7), message(8));
        let (_, envelope) = message(7);
        assert!(envelope["msg_id"].as_str().is_some_and(|id| id.ends_with(ID_MARK)));
        assert_eq!(envelope["timestamp"], TIME_MARK);
    }
}
