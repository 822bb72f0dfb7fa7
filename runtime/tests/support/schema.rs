//! As much of JSON Schema (draft 2020-12) as the schema of a Spec uses; a keyword
//! that is not known here is a failure, not ignored.

use serde_json::Value;

/// Why `value` does not fit, with its path; `Ok` if it does.
pub(crate) fn validate(schema: &Value, value: &Value) -> Result<(), String> {
    fits(schema, schema, value).map_err(|why| format!("{why} in {value}"))
}

fn fits(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let rules = match schema {
        Value::Bool(true) => return Ok(()),
        Value::Object(rules) => rules,
        other => return Err(format!("nothing fits {other}")),
    };
    for (keyword, rule) in rules {
        let every = |all: &Value, mut wanted: Box<dyn FnMut(usize, usize) -> bool>| {
            let all = all.as_array().map(Vec::as_slice).unwrap_or_default();
            let fitting = all.iter().filter(|one| fits(root, one, value).is_ok()).count();
            wanted(fitting, all.len())
        };
        let length = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let right = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "format" | "examples" => true,
            "$ref" => {
                let target = rule.as_str().and_then(|path| path.strip_prefix('#')).and_then(|path| root.pointer(path));
                fits(root, target.ok_or_else(|| format!("{rule} leads nowhere"))?, value)?;
                true
            }
            "type" => match rule {
                Value::Array(types) => types.iter().any(|name| is_of(name, value)),
                name => is_of(name, value),
            },
            "const" => rule == value,
            "enum" => rule.as_array().is_some_and(|all| all.contains(value)),
            "anyOf" => every(rule, Box::new(|fitting, _| fitting > 0)),
            "oneOf" => every(rule, Box::new(|fitting, _| fitting == 1)),
            "allOf" => every(rule, Box::new(|fitting, all| fitting == all)),
            "minimum" => value.as_f64() >= rule.as_f64() || !value.is_number(),
            "maximum" => value.as_f64() <= rule.as_f64() || !value.is_number(),
            "minLength" => value.as_str().is_none_or(|text| rule.as_u64() <= Some(length(text.chars().count()))),
            "maxLength" => value.as_str().is_none_or(|text| rule.as_u64() >= Some(length(text.chars().count()))),
            "minItems" => value.as_array().is_none_or(|items| rule.as_u64() <= Some(length(items.len()))),
            "maxItems" => value.as_array().is_none_or(|items| rule.as_u64() >= Some(length(items.len()))),
            "uniqueItems" => value
                .as_array()
                .is_none_or(|items| items.iter().enumerate().all(|(nth, item)| !items[..nth].contains(item))),
            "items" => {
                for (nth, item) in value.as_array().into_iter().flatten().enumerate() {
                    fits(root, rule, item).map_err(|why| format!("[{nth}]{why}"))?;
                }
                true
            }
            "required" => value.as_object().is_none_or(|fields| {
                rule.as_array()
                    .is_some_and(|all| all.iter().all(|name| fields.contains_key(name.as_str().unwrap_or(""))))
            }),
            "properties" | "additionalProperties" => {
                for (name, field) in value.as_object().into_iter().flatten() {
                    let known = rules.get("properties").and_then(|all| all.get(name));
                    let rule = if keyword == "properties" { known } else { Some(rule).filter(|_| known.is_none()) };
                    rule.map_or(Ok(()), |rule| fits(root, rule, field)).map_err(|why| format!(".{name}{why}"))?;
                }
                true
            }
            "propertyNames" => {
                for name in value.as_object().into_iter().flatten().map(|(name, _)| name) {
                    fits(root, rule, &Value::String(name.clone()))?;
                }
                true
            }
            _ => return Err(format!(": the keyword {keyword} is not known to this test")),
        };
        if !right {
            return Err(format!(": {keyword} {rule} does not hold"));
        }
    }
    Ok(())
}

fn is_of(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        _ => false,
    }
}
