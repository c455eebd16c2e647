use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

/// Random numbers for one case (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }
}

/// A value, spelled in some way.
fn spell(value: &Value, dice: &mut Dice, out: &mut String) {
    blanks(dice, out);
    match value {
        Value::Null => out.push_str(["null", "null", "NaN", "Infinity", "-Infinity"][dice.below(5)]),
        Value::Bool(_) => out.push_str(&value.to_string()),
        Value::Number(number) if number.is_f64() => {
            out.push_str(&number.to_string());
            out.push_str(["", "e0", "0", "00E+0"][if number.to_string().contains('e') { 0 } else { dice.below(4) }]);
        }
        Value::Number(number) => {
            let is_exact = number.as_i64().is_some_and(|number| number.abs() < 1 << 53);
            out.push_str(&number.to_string());
            out.push_str(["", ".0", "e0", ".00e+0"][if is_exact { dice.below(4) } else { 0 }]);
        }
        Value::String(text) => spell_text(text, dice, out),
        Value::Array(values) => {
            out.push('[');
            for (position, value) in values.iter().enumerate() {
                out.push_str(if position > 0 { "," } else { "" });
                spell(value, dice, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            (1..members.len()).for_each(|last| members.swap(last, dice.below(last + 1)));
            out.push('{');
            for (position, (key, value)) in members.into_iter().enumerate() {
                out.push_str(if position > 0 { "," } else { "" });
                blanks(dice, out);
                spell_text(key, dice, out);
                blanks(dice, out);
                out.push(':');
                spell(value, dice, out);
            }
            out.push('}');
        }
    }
    blanks(dice, out);
}

fn blanks(dice: &mut Dice, out: &mut String) {
    out.push_str(["", "", " ", "\n\t \r"][dice.below(4)]);
}

fn spell_text(text: &str, dice: &mut Dice, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        let must = character < ' ' || matches!(character, '"' | '\\');
        match character {
            '"' | '\\' | '/' if dice.below(2) == 0 => out.extend(['\\', character]),
            '\n' if dice.below(2) == 0 => out.push_str("\\n"),
            '\u{8}' if dice.below(2) == 0 => out.push_str("\\b"),
            _ if must || dice.below(3) == 0 => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let hex = format!("{unit:04x}");
                    out.push_str("\\u");
                    out.push_str(&if dice.below(2) == 0 { hex } else { hex.to_uppercase() });
                }
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just(String::new()),
        "[ -~]{0,4}",
        prop::collection::vec(any::<char>(), 0..4).prop_map(String::from_iter),
        "[\"\\\\/\n\u{8}é😀\u{ffff}]{0,4}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3..3_i64).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1000..1000_i32).prop_map(|number| Value::from(f64::from(number) + 0.375)),
        any::<i32>().prop_map(|number| Value::from((f64::from(number) * 2.0 + 1.0) / 1024.0)),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(text.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// The value with one change somewhere.
fn changed(value: &Value, dice: &mut Dice) -> Value {
    match value {
        Value::Array(values) if !values.is_empty() && dice.below(4) > 0 => {
            let mut values = values.clone();
            let position = dice.below(values.len());
            match dice.below(4) {
                0 => drop(values.remove(position)),
                1 => values.insert(position, json!(["more"])),
                _ => values[position] = changed(&values[position], dice),
            }
            values.into()
        }
        Value::Object(map) if !map.is_empty() && dice.below(4) > 0 => {
            let mut map = map.clone();
            let key = map.keys().nth(dice.below(map.len())).expect("there is one").clone();
            let old = map.remove(&key).expect("it is there");
            match dice.below(4) {
                0 => {}
                1 => drop(map.insert(key + "x.", old)),
                _ => drop(map.insert(key, changed(&old, dice))),
            }
            map.into()
        }
        Value::String(text) if dice.below(2) == 0 => (text.clone() + "x").into(),
        Value::Number(number) if dice.below(2) == 0 => number.to_string().into(),
        Value::Number(number) if number.is_i64() => number.as_i64().expect("it is").wrapping_add(1).into(),
        Value::Null => json!({}),
        _ => Value::Array(vec![value.clone()]),
    }
}

/// A message in an envelope of some relay.
fn body(msg: &Value, dice: &mut Dice) -> String {
    let mut message = json!({ "topic": "a.b", "msg_id": "2015-x", "username": "apache" });
    for (key, value) in [
        ("headers", json!({ "msg": [dice.below(9)] })),
        ("timestamp", json!([1_379_638_157.5, 1_379_638_157]).get(dice.below(2)).cloned().unwrap_or_default()),
        ("username", "datanommer".into()),
        ("certificate", Value::Null),
        ("i", dice.below(3).into()),
    ] {
        if dice.below(2) == 0 {
            message[key] = value;
        }
    }
    message["msg"] = msg.clone();
    let mut text = String::new();
    spell(&message, dice, &mut text);
    text
}

fn check(a: &str, b: &str, same: bool) -> Result<(), TestCaseError> {
    prop_assert_eq!(same_content(("a.b", a), ("a.b", b)), same, "\n{}\n{}", a, b);
    prop_assert_eq!(of_content("x", "a.b", a) == of_content("x", "a.b", b), same, "\n{}\n{}", a, b);
    Ok(())
}

proptest! {
    #[test]
    fn a_message_respelled_is_the_same(msg in value(), seed in any::<u64>()) {
        let mut dice = Dice(seed);
        check(&body(&msg, &mut dice), &body(&msg, &mut dice), true)?;
    }

    #[test]
    fn any_change_of_a_value_is_another_message(msg in value(), seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let other = changed(&msg, &mut dice);
        prop_assume!(msg != other);
        check(&body(&msg, &mut dice), &body(&other, &mut dice), false)?;
    }

    /// Whatever the text, also none that is JSON.
    #[test]
    fn a_text_is_the_same_as_itself(text in "[\\[\\]{}\"\\\\:,.0-9eE+\\-truenalsfmg ué]{0,40}") {
        check(&text, &text.clone(), true)?;
        prop_assert!(canonical::canonical(&text).len() > 1 || text.is_empty());
    }

    /// What is spelled is JSON, and means the same as serde_json's own spelling.
    #[test]
    fn it_is_json(msg in value(), seed in any::<u64>()) {
        let mut text = String::new();
        spell(&msg, &mut Dice(seed), &mut text);
        let repaired = text.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null");
        prop_assert!(serde_json::from_str::<Value>(&repaired).is_ok(), "{}", repaired);
        check(&format!("{{\"msg\": {text}}}"), &format!("{{\"msg\": {msg}}}"), true)?;
    }
}

#[test]
fn values_are_compared() {
    for (a, b, same) in [
        ("1", "1.0", true),
        ("1", "10e-1", true),
        ("-0", "0", true),
        ("-0.0", "0", true),
        ("1e18", "1000000000000000000", true),
        ("1", "\"1\"", false),
        ("1", "true", false),
        ("0.1", "0.10", true),
        ("0.1", "0.2", false),
        ("9223372036854775807", "9223372036854775806", false),
        ("18446744073709551615", "18446744073709551614", false),
        ("123456789012345678901234567890", "123456789012345678901234567890", true),
        ("123456789012345678901234567890", "123456789012345678901234567891", false),
        ("1e400", "1e400", true),
        ("1e400", "1e401", false),
        ("1e400", "null", false),
        ("NaN", "-Infinity", true),
        ("\"NaN\"", "null", false),
        (r#""\ud83d\ude00""#, "\"😀\"", true),
        (r#""\ud83d""#, r#""\uD83D""#, true),
        (r#""\ud83d""#, r#""\ud83e""#, false),
        (r#""\ud83d\n""#, r#""\ufffd\n""#, false),
        (r#""\ud83d\ud83d\ude00""#, r#""\ud83d😀""#, true),
        (r#"{"a": 1, "a": 2}"#, r#"{"a": 2}"#, true),
        (r#"{"a": 1, "a": 2}"#, r#"{"a": 1}"#, false),
        (r#"{"a": {}, "\u0062": 2}"#, r#"{"b": 2, "a": {}}"#, true),
        ("[1, 2]", "[2, 1]", false),
        ("[1, [2]]", "[[1], 2]", false),
        ("[]", "{}", false),
        ("\"\"", "null", false),
    ] {
        let body = |msg: &str, i: u32| format!("{{\"i\": {i}, \"msg\": {msg}}}");
        for (a, b) in [(a, b), (b, a)] {
            check(&body(a, 1), &body(b, 2), same).unwrap_or_else(|error| panic!("{a} {b}: {error}"));
        }
    }
}

#[test]
fn a_body_without_msg_is_compared_as_a_whole() {
    for (a, b, same) in [
        (r#"{"a": 1, "b": 2}"#, r#"{"b":2,"a":1.0}"#, true),
        (r#"{"a": 1, "b": 2}"#, r#"{"b": 2, "a": 2}"#, false),
        (r#"{"a": {"msg": 1}, "b": 2}"#, r#"{"a": {"msg": 1}, "b": 3}"#, false),
        (r#"{"msg": {"a": 1}}"#, r#"{"a": 1}"#, false),
        (r#"{"msg": 1, "\u006dsg": 2}"#, r#"{"msg": 2}"#, true),
        ("[1]", "[ 1 ]", true),
        ("no JSON", "no JSON", true),
        ("no JSON", "no  JSON", false),
        (r#"{"msg": 1} x"#, r#"{"msg": 1} y"#, false),
        (r#"{"msg": 1"#, r#"{ "msg": 1"#, false),
        (r#"{"msg": -}"#, r#"{"msg":-}"#, false),
        ("", " ", false),
    ] {
        check(a, b, same).unwrap_or_else(|error| panic!("{a} {b}: {error}"));
    }
}

#[test]
fn topic_and_id_count() {
    let body = r#"{"msg": 1}"#;
    assert!(!same_content(("a.b", body), ("a.c", body)));
    assert_ne!(of_content("x", "a.b", body), of_content("x", "a.c", body));
    assert_ne!(of_content("x", "a.b", body), of_content("y", "a.b", body));
    assert_ne!(of_content("x", "a.b", body), super::super::of_id("x"));
}

#[test]
fn what_is_nested_too_deeply_is_compared_by_its_bytes() {
    let nested = |depth: usize, blank: &str| format!("{{\"msg\":{blank}{}{}}}", "[".repeat(depth), "]".repeat(depth));
    for (depth, same) in [(100, true), (200, false), (200_000, false)] {
        assert_eq!(same_content(("a", &nested(depth, "")), ("a", &nested(depth, " "))), same, "{depth}");
        assert!(same_content(("a", &nested(depth, "")), ("a", &nested(depth, ""))));
    }
    let open = "[".repeat(200_000);
    assert_eq!(of_content("x", "a", &open), of_content("x", "a", &open));
    let objects = "{\"msg\":".repeat(200_000);
    assert!(!same_content(("a", &open), ("a", &objects)));
}
