//! Whether a JSON text is as its schema says.

use serde_json::{Value, json};

/// Checks a value against as much of JSON Schema as the daemon's schemas use; an unknown keyword is an error, so that
/// nothing passes unseen.
pub fn validate(schema: &Value, value: &Value, root: &Value, at: &str) -> Result<(), String> {
    if schema == &json!(true) {
        return Ok(());
    }
    let schema = schema.as_object().ok_or_else(|| format!("{at}: no schema: {schema}"))?;
    for (keyword, rule) in schema {
        match keyword.as_str() {
            "$schema" | "title" | "description" | "$defs" | "definitions" | "format" | "default" => {}
            "$ref" => {
                let pointer = rule.as_str().and_then(|text| text.strip_prefix('#')).ok_or("a local reference")?;
                validate(root.pointer(pointer).ok_or_else(|| format!("{at}: no {rule}"))?, value, root, at)?;
            }
            "type" => {
                let names = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                let fits = |name: &Value| match name.as_str() {
                    Some("null") => value.is_null(),
                    Some("boolean") => value.is_boolean(),
                    Some("integer") => value.is_i64() || value.is_u64(),
                    Some("number") => value.is_number(),
                    Some("string") => value.is_string(),
                    Some("array") => value.is_array(),
                    Some("object") => value.is_object(),
                    _ => false,
                };
                if !names.iter().any(fits) {
                    return Err(format!("{at}: {value} is no {rule}"));
                }
            }
            "enum" => {
                if !rule.as_array().is_some_and(|all| all.contains(value)) {
                    return Err(format!("{at}: {value} is none of {rule}"));
                }
            }
            "minimum" => {
                if value.as_f64() < rule.as_f64() {
                    return Err(format!("{at}: {value} below {rule}"));
                }
            }
            "anyOf" => {
                let fits = |one: &Value| validate(one, value, root, at).is_ok();
                if !rule.as_array().is_some_and(|all| all.iter().any(fits)) {
                    return Err(format!("{at}: {value} fits none of {rule}"));
                }
            }
            "required" => {
                for name in rule.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    if value.get(name).is_none() {
                        return Err(format!("{at}: no {name}"));
                    }
                }
            }
            "items" => {
                for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                    validate(rule, item, root, &format!("{at}/{n}"))?;
                }
            }
            "properties" => {
                for (name, of) in rule.as_object().ok_or("properties")? {
                    if let Some(value) = value.get(name) {
                        validate(of, value, root, &format!("{at}/{name}"))?;
                    }
                }
            }
            "additionalProperties" if rule == &json!(true) => {}
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (name, value) in value.as_object().into_iter().flatten() {
                    if !known.is_some_and(|known| known.contains_key(name)) {
                        if rule == &json!(false) {
                            return Err(format!("{at}: {name} is not in the schema"));
                        }
                        validate(rule, value, root, &format!("{at}/{name}"))?;
                    }
                }
            }
            other => return Err(format!("{at}: this test does not know the keyword {other}")),
        }
    }
    Ok(())
}
