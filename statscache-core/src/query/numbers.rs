//! Numbers in latest values, read without a copy of anything, and their exact sums.
//!
//! What is read was checked to be JSON when it came in, so that nothing of it is checked again.

use std::{borrow::Cow, sync::Arc};

use super::QueryError;
use crate::{kind::Exact, limits::MEMBERS_MAX};

/// A number. Most are whole, and these are read and added up much faster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Whole(i64),
    Other(f64),
}

impl Number {
    /// `None` for anything else, and for what no double holds.
    pub(super) fn read(json: &str) -> Option<Self> {
        let digits = json.strip_prefix('-').unwrap_or(json);
        // Eighteen digits fit.
        if (1..=18).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let magnitude = digits.bytes().fold(0, |n, byte| n * 10 + i64::from(byte - b'0'));
            return Some(Self::Whole(if digits.len() == json.len() { magnitude } else { -magnitude }));
        }
        json.parse().ok().filter(|x: &f64| x.is_finite()).map(Self::Other)
    }

    fn to_f64(self) -> f64 {
        match self {
            Self::Whole(n) => n as f64,
            Self::Other(x) => x,
        }
    }
}

/// The number that a value is, or that its member of that name is.
pub(super) fn of(json: &str, member: Option<&str>) -> Option<f64> {
    let number = match member {
        None => Number::read(json.trim_ascii()),
        // Of two with one name the last one counts, as in most readers of JSON.
        Some(name) => Members::of(json)?.filter(|(key, _)| key == name).last().and_then(|(_, number)| number),
    };
    number.map(Number::to_f64)
}

/// Members of an object, each with its number if it has one.
pub(super) struct Members<'j> {
    rest: &'j str,
}

impl<'j> Members<'j> {
    /// `None` where the value is no object.
    pub(super) fn of(json: &'j str) -> Option<Self> {
        json.trim_ascii_start().strip_prefix('{').map(|rest| Self { rest })
    }

    /// What is before this place; goes on behind it.
    fn take(&mut self, len: usize) -> Option<&'j str> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn skip_to_token(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    /// A text as it is written, quotes and all.
    fn text(&mut self) -> Option<&'j str> {
        let len = text_len(self.rest.as_bytes())?;
        self.take(len)
    }

    fn value(&mut self) -> Option<&'j str> {
        let len = value_len(self.rest.as_bytes())?;
        self.take(len)
    }
}

impl<'j> Iterator for Members<'j> {
    type Item = (Cow<'j, str>, Option<Number>);

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_to_token();
        if self.rest.starts_with(',') {
            self.take(1)?;
            self.skip_to_token();
        }
        let key = self.text()?;
        let inner = &key[1..key.len() - 1];
        let key = if inner.contains('\\') { serde_json::from_str(key).ok()? } else { Cow::Borrowed(inner) };
        self.skip_to_token();
        // The colon.
        self.take(1)?;
        self.skip_to_token();
        let value = self.value()?;
        Some((key, Number::read(value)))
    }
}

/// Length of the text that is next, quotes and all.
fn text_len(bytes: &[u8]) -> Option<usize> {
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Length of the value that is next.
fn value_len(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'"' => text_len(bytes),
        b'{' | b'[' => nested_len(bytes),
        _ => bytes.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r')),
    }
}

/// Length of the object or array that is next.
fn nested_len(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        match bytes.get(at)? {
            b'"' => at += text_len(&bytes[at..])? - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// An exact sum.
#[derive(Clone, Debug, Default)]
pub(super) struct Total {
    whole: i64,
    /// Of what is not whole, or does not fit.
    rest: Option<Box<Exact>>,
}

impl Total {
    pub(super) fn add(&mut self, number: Number) {
        match number {
            Number::Whole(n) => match self.whole.checked_add(n) {
                Some(sum) => self.whole = sum,
                None => {
                    let sum = std::mem::replace(&mut self.whole, n);
                    add_whole(self.rest.get_or_insert_default(), sum);
                }
            },
            Number::Other(x) => self.rest.get_or_insert_default().add(x),
        }
    }

    /// The nearest double.
    pub(super) fn to_f64(&self) -> f64 {
        match &self.rest {
            None => self.whole as f64,
            Some(rest) => {
                let mut sum = Exact::clone(rest);
                add_whole(&mut sum, self.whole);
                sum.to_f64()
            }
        }
    }
}

/// Adds all 64 bits, in halves that doubles hold.
fn add_whole(to: &mut Exact, n: i64) {
    const HALF: f64 = 4_294_967_296.0;
    to.add((n >> 32) as f64 * HALF);
    to.add((n & 0xffff_ffff) as f64);
}

/// Names of members, in the order in which they came; the first stands for values that are numbers themselves.
#[derive(Debug)]
pub(super) struct Names {
    names: Vec<Arc<str>>,
    is_full: bool,
}

/// Number of the name that stands for values that are numbers themselves.
pub(super) const ITSELF: u16 = 0;

impl Default for Names {
    fn default() -> Self {
        Self { names: vec!["".into()], is_full: false }
    }
}

impl Names {
    /// The number of a name, which probably is this one.
    fn number(&mut self, name: &str, likely: usize) -> u16 {
        if self.names.get(likely).is_some_and(|known| **known == *name) {
            return likely as u16;
        }
        let known = self.names.iter().skip(1).position(|known| **known == *name);
        let number = known.map_or(self.names.len(), |at| at + 1);
        if number > MEMBERS_MAX {
            self.is_full = true;
            return MEMBERS_MAX as u16;
        }
        if known.is_none() {
            self.names.push(name.into());
        }
        number as u16
    }

    /// The number of a name, if it has come.
    pub(super) fn find(&self, name: &str) -> Option<u16> {
        self.names.iter().skip(1).position(|known| **known == *name).map(|at| at as u16 + 1)
    }

    pub(super) fn name(&self, number: u16) -> Arc<str> {
        self.names[usize::from(number)].clone()
    }

    /// An error where there were too many.
    pub(super) fn check(&self) -> Result<(), QueryError> {
        if self.is_full { Err(QueryError::TooManyMembers) } else { Ok(()) }
    }

    /// Appends the numbers that a value has.
    pub(super) fn read(&mut self, json: &str, into: &mut Vec<(u16, Number)>) {
        let Some(members) = Members::of(json) else {
            return into.extend(Number::read(json.trim_ascii()).map(|number| (ITSELF, number)));
        };
        let start = into.len();
        let mut likely = 1;
        for (name, number) in members {
            let Some(number) = number else { continue };
            let name = self.number(&name, likely);
            likely = usize::from(name) + 1;
            match into[start..].iter_mut().find(|(other, _)| *other == name) {
                Some(twice) => twice.1 = number,
                None => into.push((name, number)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a\"\\\\{}\\[\\],:é\n -]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a\"\\\\}é]{0,3}", inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_serde_reads(value in any_json(), is_pretty: bool) {
            let json = if is_pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let json = json.expect("JSON");
            let number = |value: &Value| value.as_f64().map(|x| x + 0.0);
            prop_assert_eq!(of(&json, None).map(|x| x + 0.0), number(&value));
            let read: Option<Vec<_>> = Members::of(&json)
                .map(|members| members.map(|(key, n)| (key.into_owned(), n.map(|n| n.to_f64() + 0.0))).collect());
            let expected: Option<Vec<_>> =
                value.as_object().map(|object| object.iter().map(|(key, value)| (key.clone(), number(value))).collect());
            prop_assert_eq!(&read, &expected, "{}", json);
        }

        #[test]
        fn totals_are_exact(numbers in proptest::collection::vec(any::<i64>(), 0..20), halves: Vec<i32>) {
            let (mut total, mut sum) = (Total::default(), 0_i128);
            for n in &numbers {
                total.add(Number::Whole(*n));
                sum += i128::from(*n);
            }
            prop_assert_eq!(total.to_f64(), sum as f64);
            for n in &halves {
                total.add(Number::Other(f64::from(*n) / 2.0));
                sum += i128::from(*n) / 2;
            }
            let odd = halves.iter().map(|n| n % 2).sum::<i32>();
            if odd % 2 == 0 {
                prop_assert_eq!(total.to_f64(), (sum + i128::from(odd / 2)) as f64);
            }
        }
    }

    #[test]
    fn names_are_numbered_as_they_come_and_not_for_ever() {
        let (mut names, mut numbers) = (Names::default(), Vec::new());
        names.read(r#"{"a": 1, "b": 2.5, "c": "x", "a": 3}"#, &mut numbers);
        names.read(r#"{"b": 4}"#, &mut numbers);
        names.read("5", &mut numbers);
        let whole = Number::Whole;
        assert_eq!(numbers, [(1, whole(3)), (2, Number::Other(2.5)), (2, whole(4)), (0, whole(5))]);
        assert_eq!((names.find("b"), names.find("c"), &*names.name(1)), (Some(2), None, "a"));
        for n in 0..MEMBERS_MAX - 2 {
            names.read(&format!("{{\"{n}\": 1}}"), &mut numbers);
        }
        assert!(names.check().is_ok());
        names.read(r#"{"more": 1}"#, &mut numbers);
        assert!(matches!(names.check(), Err(QueryError::TooManyMembers)));
    }
}
