//! From TOML to the JSON that a plugin is given.

use std::{ops::Range, path::Path};

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// The table as a JSON object. What JSON cannot hold is told to `refuse` and left out.
pub(super) fn object(table: &DeTable<'_>, refuse: &mut impl FnMut(Range<usize>, String)) -> Value {
    let mut object = Map::new();
    for (key, item) in table.iter() {
        if let Some(item) = value(item, refuse) {
            object.insert(key.get_ref().to_string(), item);
        }
    }
    Value::Object(object)
}

/// The keys and values of a TOML file, of at most 1 MiB. An error begins with the file, and its line where it has one.
pub(super) fn file(path: &Path) -> Result<Map<String, Value>, String> {
    let name = path.display();
    let bytes = super::read_bounded(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("{name} is not UTF-8"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let at = |start: usize, why: &str| {
        let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
        format!("{name}:{line}: {why}")
    };
    let tree = DeTable::parse(text).map_err(|error| {
        at(error.span().map_or(0, |span| span.start), &format!("this is not TOML: {}", error.message()))
    })?;
    let mut refused = Vec::new();
    let object = object(tree.get_ref(), &mut |span, why| refused.push(at(span.start, &why)));
    match (refused.into_iter().next(), object) {
        (None, Value::Object(map)) => Ok(map),
        (Some(why), _) => Err(why),
        (None, _) => Ok(Map::new()),
    }
}

/// Any whole number that TOML can spell and 128 bits can hold.
pub(super) fn integer(integer: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn value(item: &Spanned<DeValue<'_>>, refuse: &mut impl FnMut(Range<usize>, String)) -> Option<Value> {
    let mut no = |why: &str| {
        refuse(item.span(), why.to_owned());
        None
    };
    match item.get_ref() {
        DeValue::String(text) => Some(Value::from(text.as_ref())),
        DeValue::Boolean(flag) => Some(Value::from(*flag)),
        DeValue::Integer(number) => match integer(number).and_then(Number::from_i128) {
            Some(number) => Some(Value::Number(number)),
            None => {
                no("whole numbers go from -9223372036854775808 to 18446744073709551615; put a larger one in quotes")
            }
        },
        DeValue::Float(number) => match number.as_str().parse().ok().and_then(Number::from_f64) {
            Some(number) => Some(Value::Number(number)),
            None => no("JSON, which plugins are given, has no infinity and no nan"),
        },
        // JSON has no dates: a plugin that wants one reads a text, and the operator should see that it is one.
        DeValue::Datetime(_) => no("JSON, which plugins are given, has no dates; put it in quotes"),
        DeValue::Array(items) => Some(items.iter().filter_map(|item| value(item, refuse)).collect()),
        DeValue::Table(table) => Some(object(table, refuse)),
    }
}
