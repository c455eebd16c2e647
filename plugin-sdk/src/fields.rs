//! Finds values in a JSON text by pointer, all of them in one pass, without building a tree.
//!
//! The pointers form a trie; the parser walks the text once, descends where the trie does, and
//! skips the rest unread. Values come out as slices of the text. Of two equal keys in an object
//! the last counts, as in Python. Nothing is said about the values themselves: a slice may hold
//! a number that fits no machine type.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A set of JSON pointers (RFC 6901), each with a slot.
#[derive(Clone, Debug, Default)]
pub struct FieldSet {
    nodes: Vec<Node>,
    pointers: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    slot: Option<usize>,
    children: Vec<(Box<str>, usize)>,
    /// Children whose keys are positions in an array, with those.
    elements: Vec<(usize, usize)>,
    /// All slots below, to be emptied when the key comes a second time.
    below: Vec<usize>,
}

/// The text is not JSON: what the parser said.
#[derive(Debug)]
pub struct FieldSetError(serde_json::Error);

impl fmt::Display for FieldSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for FieldSetError {}

impl FieldSet {
    /// The slot of this pointer, the same for the same pointer. Its text is trusted to be one.
    pub fn insert(&mut self, pointer: &str) -> usize {
        if let Some(slot) = self.pointers.iter().position(|known| known == pointer) {
            return slot;
        }
        let slot = self.pointers.len();
        self.pointers.push(pointer.to_owned());
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut at = 0;
        for word in pointer.split('/').skip(1) {
            let word = word.replace("~1", "/").replace("~0", "~");
            self.nodes[at].below.push(slot);
            at = match self.nodes[at].children.iter().find(|(key, _)| **key == *word) {
                Some((_, child)) => *child,
                None => {
                    let child = self.nodes.len();
                    self.nodes.push(Node::default());
                    self.nodes[at].elements.extend(position(&word).map(|position| (position, child)));
                    self.nodes[at].children.push((word.into(), child));
                    child
                }
            };
        }
        self.nodes[at].slot = Some(slot);
        slot
    }

    /// Number of slots.
    pub fn len(&self) -> usize {
        self.pointers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pointers.is_empty()
    }

    /// The pointers, by slot.
    pub fn pointers(&self) -> &[String] {
        &self.pointers
    }

    /// Fills `slots`, one for each pointer, with slices of `body`; `None` where it has nothing.
    /// The whole body is checked to be one JSON text.
    pub fn extract<'b>(&self, body: &'b str, slots: &mut [Option<&'b str>]) -> Result<(), FieldSetError> {
        assert_eq!(slots.len(), self.len(), "one slot for each pointer");
        self.walk(body, slots, false).or_else(|_| self.walk(body, slots, true)).map_err(FieldSetError)
    }

    /// The quick walk lets serde_json parse a scalar that stands where a trie expects an object,
    /// and so trips over one that it cannot hold (`1e400`, half a character). The careful walk
    /// cuts every value out before it looks inside, at the price of reading it twice.
    fn walk<'b>(&self, body: &'b str, slots: &mut [Option<&'b str>], careful: bool) -> serde_json::Result<()> {
        slots.fill(None);
        let mut parser = serde_json::Deserializer::from_str(body);
        if self.nodes.is_empty() {
            Deserializer::deserialize_ignored_any(&mut parser, IgnoredAny)?;
        } else {
            Walk { set: self, node: 0, slots, careful }.deserialize(&mut parser)?;
        }
        parser.end()
    }
}

/// The value at this pointer; `None` where there is none or the text is not JSON.
pub fn find<'b>(body: &'b str, pointer: &str) -> Option<&'b str> {
    let mut set = FieldSet::default();
    set.insert(pointer);
    let mut slots = [None];
    set.extract(body, &mut slots).ok()?;
    slots[0]
}

/// Walks the value at a node of the trie.
struct Walk<'s, 'b> {
    set: &'s FieldSet,
    node: usize,
    slots: &'s mut [Option<&'b str>],
    careful: bool,
}

impl<'b> Walk<'_, 'b> {
    /// Reads the value of one child: as a slice if somebody wants it whole, and down into it if
    /// somebody wants a part.
    fn child(&mut self, child: usize) -> Walk<'_, 'b> {
        let node = &self.set.nodes[child];
        for slot in &node.below {
            self.slots[*slot] = None;
        }
        Walk { set: self.set, node: child, slots: self.slots, careful: self.careful }
    }
}

impl<'b> DeserializeSeed<'b> for Walk<'_, 'b> {
    type Value = ();

    fn deserialize<D: Deserializer<'b>>(self, parser: D) -> Result<(), D::Error> {
        let node = &self.set.nodes[self.node];
        if node.slot.is_none() && !self.careful {
            return parser.deserialize_any(self);
        }
        let raw = <&'b RawValue as serde::Deserialize>::deserialize(parser)?.get();
        if let Some(slot) = node.slot {
            self.slots[slot] = Some(raw);
        }
        if node.children.is_empty() || !raw.starts_with(['{', '[']) {
            return Ok(());
        }
        let mut inner = serde_json::Deserializer::from_str(raw);
        inner.deserialize_any(self).map_err(serde::de::Error::custom)
    }
}

impl<'b> Visitor<'b> for Walk<'_, 'b> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'b>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(child) = map.next_key_seed(Key(&self.set.nodes[self.node]))? {
            match child {
                Some(child) => map.next_value_seed(self.child(child))?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'b>>(mut self, mut seq: A) -> Result<(), A::Error> {
        for position in 0_usize.. {
            let elements = &self.set.nodes[self.node].elements;
            let child = elements.iter().find(|(at, _)| *at == position).map(|(_, child)| *child);
            let more = match child {
                Some(child) => seq.next_element_seed(self.child(child))?.is_some(),
                None => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// The position that a key of a pointer means in an array: a number without leading zeros.
fn position(key: &str) -> Option<usize> {
    key.parse().ok().filter(|_| key == "0" || !key.starts_with(['0', '+']))
}

/// Which child of a node a key leads to. Keys are compared as bytes: half a character (a lone
/// surrogate) is legal in a key here and equals no pointer.
struct Key<'s>(&'s Node);

impl<'b> DeserializeSeed<'b> for Key<'_> {
    type Value = Option<usize>;
    fn deserialize<D: Deserializer<'b>>(self, parser: D) -> Result<Self::Value, D::Error> {
        parser.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Self::Value, E> {
        Ok(self.0.children.iter().find(|(name, _)| name.as_bytes() == key).map(|(_, child)| *child))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn check(body: &str, pointers: &[&str], expected: &[Option<&str>]) {
        let mut set = FieldSet::default();
        let slots: Vec<usize> = pointers.iter().map(|pointer| set.insert(pointer)).collect();
        let mut found = vec![None; set.len()];
        set.extract(body, &mut found).unwrap_or_else(|error| panic!("{body}: {error}"));
        let found: Vec<_> = slots.iter().map(|slot| found[*slot]).collect();
        assert_eq!(found, expected, "{body}");
    }

    #[test]
    fn whole_and_part_of_one_value() {
        check(
            r#"{"msg": {"a": [1, {"b": "x"}], "c": null}, "i": 1}"#,
            &["/msg", "/msg/a/1/b", "/msg/c", "/msg/d", "/i", "/msg/a/2"],
            &[Some(r#"{"a": [1, {"b": "x"}], "c": null}"#), Some("\"x\""), Some("null"), None, Some("1"), None],
        );
    }

    #[test]
    fn the_last_of_equal_keys_counts() {
        check(r#"{"a": {"b": 1}, "a": {"c": 2}}"#, &["/a/b", "/a/c"], &[None, Some("2")]);
        check(r#"{"a": {"b": 1}, "a": 3}"#, &["/a", "/a/b"], &[Some("3"), None]);
        check(r#"{"a": {"b": 1}, "a": 3}"#, &["/a/b"], &[None]);
    }

    #[test]
    fn what_serde_json_would_refuse_as_a_value_passes_as_a_slice() {
        check(
            r#"{"n": 99999999999999999999999, "m": 1e400}"#,
            &["/n", "/m"],
            &[Some("99999999999999999999999"), Some("1e400")],
        );
        check(r#"{"\ud83d": "\ud83d", "a": 1e400}"#, &["/a"], &[Some("1e400")]);
        check(r#"{"n": 1e400, "m": "\ud83d", "k": [1]}"#, &["/n/x", "/m/x", "/k/0"], &[None, None, Some("1")]);
    }

    #[test]
    fn scalars_where_an_object_was_expected() {
        for body in ["12", "\"x\"", "null", "true", "[1,2]", "-1.5", "99999999999999999999999", "1e400"] {
            check(body, &["/a"], &[None]);
        }
        check("[7]", &["/0"], &[Some("7")]);
        check(&format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000)), &["/1"], &[None]);
    }

    #[test]
    fn what_is_not_json_is_an_error() {
        let mut set = FieldSet::default();
        set.insert("/a");
        for body in ["", "{", "{\"a\":}", "{} x", "NaN", "{\"a\": NaN}", "{'a': 1}"] {
            assert!(set.extract(body, &mut [None]).is_err(), "{body:?}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-c/~\"\\\\é]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-c/~0-2]{0,2}", inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(
            body in any_json(),
            pointers in proptest::collection::vec(proptest::collection::vec("[a-c0-2]{0,2}|~0|~1", 1..4), 1..6),
        ) {
            let text = body.to_string();
            let mut set = FieldSet::default();
            for words in &pointers {
                set.insert(&format!("/{}", words.join("/")));
            }
            let mut slots = vec![None; set.len()];
            set.extract(&text, &mut slots).expect("valid JSON");
            for (pointer, found) in set.pointers().iter().zip(&slots) {
                let found: Option<Value> = found.map(|raw| serde_json::from_str(raw).expect("slice of JSON"));
                prop_assert_eq!(found.as_ref(), body.pointer(pointer), "{} in {}", pointer, text);
            }
        }
    }
}
