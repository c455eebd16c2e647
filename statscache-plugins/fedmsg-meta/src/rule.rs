//! Rules as they are written: in `rules.toml`, in a file of the operator's, in a configuration.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize as DeriveDeserialize, Serialize};

/// One rule: what messages of some topics say about users and packages. Of each of the two, the first rule that fits
/// the topic and has that key decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Topics it is for: `*` is one word, `#` any number of words; a text that ends in a dot is a prefix.
    pub topic: String,
    /// Where the names of users are. An empty list: there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<Vec<Source>>,
    /// Where the names of packages are. An empty list: there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packages: Option<Vec<Source>>,
}

/// A place that names are read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(untagged)]
pub enum Source {
    /// A JSON pointer into `msg`, such as `/commit/username`; the key `*` stands for every element of a list and every
    /// value of an object.
    Place(String),
    /// Several sources, of which the first that yields a name counts.
    First(Vec<Source>),
    /// A place and what is done with its texts.
    Detail(Box<Detail>),
}

/// A source with more to say. One of `at`, `keys_of`, `topic_words` and `text` is needed. Texts go through `find`, `as`
/// and `not`, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, DeriveDeserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Detail {
    /// A JSON pointer into `msg`, as a source alone is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// A JSON pointer to objects whose keys are the texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_of: Option<String>,
    /// Words of the topic, joined by dots: from the first number on, up to the second and without it. They count from 0,
    /// negative ones from the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_words: Option<[i32; 2]>,
    /// A text that is always there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// All of these must hold.
    #[serde(rename = "if", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// A regular expression: every match becomes a text of its own, or its first group where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub find: Option<String>,
    /// What is done with each text, one after the other.
    #[serde(rename = "as", skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Names to leave out. A `*` at the beginning or the end stands for anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not: Vec<String>,
}

/// Something that is done with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, DeriveDeserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Splits it at blanks and commas.
    Words,
    /// The name of a build `name-version-release`.
    Nvr,
    /// Lower case.
    Lower,
    /// The account of `x@fedoraproject.org`, `Full Name <x@fedoraproject.org>` or `http://x.id.fedoraproject.org/`; any
    /// other address is dropped, and what is no address stays.
    Account,
}

/// Something that must hold for a source to count. `is` or `missing` is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, DeriveDeserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Condition {
    /// A JSON pointer into `msg`. If it begins as that of the source does up to a `*`, the same element is meant.
    pub at: String,
    /// The text there is one of these. A `*` at the beginning or the end stands for anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is: Option<Vec<String>>,
    /// With `is`: or there is nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub or_missing: bool,
    /// `true`: there is nothing, or null. `false`: there is something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<bool>,
}

/// By hand, because serde says of an untagged enum only that nothing fits, and not what is wrong with it.
impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = Source;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON pointer such as \"/agent\", a list of which the first that yields counts, or a table")
    }

    fn visit_str<E>(self, text: &str) -> Result<Source, E> {
        Ok(Source::Place(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Source, A::Error> {
        let mut sources = Vec::new();
        while let Some(source) = items.next_element()? {
            sources.push(source);
        }
        Ok(Source::First(sources))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Source, A::Error> {
        Ok(Source::Detail(Box::new(Detail::deserialize(MapAccessDeserializer::new(entries))?)))
    }
}
