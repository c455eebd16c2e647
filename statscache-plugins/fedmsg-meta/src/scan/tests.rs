use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn check(text: &str, pointers: &[&str], expected: &[Option<&str>]) {
    let mut set = Pointers::default();
    let slots: Vec<usize> = pointers.iter().map(|pointer| set.insert(pointer)).collect();
    set.find(text, |found| {
        let found: Vec<_> = slots.iter().map(|slot| found[*slot]).collect();
        assert_eq!(found, expected, "{text}");
    });
}

#[test]
fn whole_and_part_of_one_value() {
    check(
        r#" { "a" : [ 1 , {"b": "x"} ] , "c":null, "d" : -1.5e400 } "#,
        &["", "/a", "/a/1/b", "/c", "/d", "/e", "/a/2", "/a/01"],
        &[
            Some(r#"{ "a" : [ 1 , {"b": "x"} ] , "c":null, "d" : -1.5e400 }"#),
            Some(r#"[ 1 , {"b": "x"} ]"#),
            Some("\"x\""),
            Some("null"),
            Some("-1.5e400"),
            None,
            None,
            None,
        ],
    );
}

#[test]
fn the_first_of_equal_keys_counts() {
    check(r#"{"a": {"b": 1}, "a": {"b": 3, "c": 2}}"#, &["/a/b", "/a/c"], &[Some("1"), Some("2")]);
    check(r#"{"a": {"b": 1}, "a": 3, "c": 4}"#, &["/a", "/a/b", "/c"], &[Some(r#"{"b": 1}"#), Some("1"), Some("4")]);
}

#[test]
fn keys_and_strings_with_escapes() {
    check(
        r#"{"\u0061": 1, "b\"}": 2, "c/d": "]\\", "\ud83d": 4}"#,
        &["/a", "/b\"}", "/c~1d"],
        &[Some("1"), Some("2"), Some(r#""]\\""#)],
    );
    // An escaped key is not the one that is spelled so.
    check(r#"{"a\\b": 1}"#, &["/a\\\\b", "/a\\b"], &[None, Some("1")]);
}

#[test]
fn more_pointers_than_fit_on_the_stack() {
    let pointers: Vec<String> = (0..100).map(|n| format!("/{n}")).collect();
    let text = json!((0..100).collect::<Vec<_>>()).to_string();
    let mut set = Pointers::default();
    let slots: Vec<usize> = pointers.iter().map(|pointer| set.insert(pointer)).collect();
    assert_eq!(set.insert("/7"), slots[7]);
    set.find(&text, |found| {
        for (slot, pointer) in slots.iter().zip(&pointers) {
            assert_eq!(found[*slot], pointer.strip_prefix('/'));
        }
    });
}

#[test]
fn members_of_lists_objects_and_nothing() {
    let members = |raw: &'static str| {
        let mut members = Vec::new();
        each(raw, &mut |key, value| members.push((key.into_owned(), value)));
        members
    };
    assert_eq!(members(r#"[1, {"a": 2} ,"x"]"#), [("", "1"), ("", r#"{"a": 2}"#), ("", "\"x\"")].map(owned));
    assert_eq!(members(r#"{"a": 1e400, "\u00e9": []}"#), [("a", "1e400"), ("é", "[]")].map(owned));
    for raw in ["1", "\"[1]\"", "null", "", "[]", "{ }"] {
        assert_eq!(members(raw), [], "{raw}");
    }
}

fn owned((key, value): (&str, &'static str)) -> (String, &'static str) {
    (key.to_owned(), value)
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 4.0)),
        "[a-c/~\"\\\\é{}\\[\\],:\u{1}]{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-c/~0-2\"é]{0,2}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn agrees_with_serde_json(
        body in any_json(),
        pretty in any::<bool>(),
        pointers in proptest::collection::vec(proptest::collection::vec("[a-c0-2\"é]{0,2}|~0|~1", 0..4), 1..6),
    ) {
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }.expect("text");
        let mut set = Pointers::default();
        let pointers: Vec<String> = pointers.iter().map(|words| words.iter().map(|word| format!("/{word}")).collect()).collect();
        let slots: Vec<usize> = pointers.iter().map(|pointer| set.insert(pointer)).collect();
        set.find(&text, |found| {
            for (pointer, slot) in pointers.iter().zip(&slots) {
                let found: Option<Value> = found[*slot].map(|raw| serde_json::from_str(raw).expect("slice of JSON"));
                assert_eq!(found.as_ref(), body.pointer(pointer), "{pointer} in {text}");
            }
        });
    }

    /// Whatever it is given, it ends and does not panic.
    #[test]
    fn text_that_is_not_json(text in "[\\[\\]{}:,\"\\\\ a1é]{0,30}") {
        let mut set = Pointers::default();
        for pointer in ["", "/a", "/0", "/a/1", "/a/a/0"] {
            set.insert(pointer);
        }
        set.find(&text, |found| found.len());
        each(&text, &mut |_, _| {});
    }
}
