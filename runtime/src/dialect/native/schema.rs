//! The JSON Schema of a Spec.

/// The JSON Schema (draft 2020-12) of a Spec as JSON or TOML, for editors: names,
/// types, defaults, and what the documentation of each field says. What it
/// refuses, reading refuses; reading refuses more (names, limits, paths).
///
/// It is the file `spec.schema.json` of the crate.
pub const SCHEMA: &str = include_str!("../../../spec.schema.json");

#[cfg(test)]
mod tests {
    use super::*;
    use schemars::generate::SchemaSettings;
    use serde_json::{Value, json};
    use skep_sys::abi::{CAPABILITY_NAMES, Resource};

    use crate::spec::Spec;

    /// The schema, out of the types and their documentation.
    fn generated() -> Value {
        let generator = SchemaSettings::draft2020_12().into_generator();
        let mut schema = generator.into_root_schema_for::<Spec>().to_value();
        schema["title"] = json!("A container of Skep");
        schema["properties"]["version"]["const"] = json!(1);
        schema["properties"]["$schema"] =
            json!({ "type": "string", "description": "For editors: where this schema is." });
        // Any spelling is read; these are proposed.
        let names = json!({ "anyOf": [{ "enum": CAPABILITY_NAMES }, { "type": "string" }] });
        schema["$defs"]["CapabilityList"]["items"] = names;
        schema["$defs"]["Limits"]["propertyNames"] =
            json!({ "anyOf": [{ "enum": Resource::NAMES }, { "type": "string" }] });
        for name in ["MachineName", "HostName"] {
            schema["$defs"][name]["minLength"] = json!(1);
            schema["$defs"][name]["maxLength"] = json!(64);
        }
        plain(&mut schema);
        schema
    }

    /// Descriptions come from rustdoc: without its links and its examples.
    fn plain(schema: &mut Value) {
        match schema {
            Value::Object(fields) => {
                if let Some(Value::String(text)) = fields.get_mut("description") {
                    let prose = text.split("\n```").next().unwrap_or_default();
                    let prose = prose.replace("[`", "`").replace("`]", "`");
                    let paragraphs: Vec<String> =
                        prose.trim().split("\n\n").map(|part| part.replace('\n', " ")).collect();
                    *text = paragraphs.join("\n\n");
                }
                fields.values_mut().for_each(plain);
            }
            Value::Array(items) => items.iter_mut().for_each(plain),
            _ => {}
        }
    }

    /// After a change of the Spec: `SKEP_UPDATE=1 cargo test -p skep schema`.
    #[test]
    fn the_committed_schema_is_current() {
        let current = format!("{:#}\n", generated());
        if std::env::var_os("SKEP_UPDATE").is_some() {
            let file = concat!(env!("CARGO_MANIFEST_DIR"), "/spec.schema.json");
            std::fs::write(file, &current).unwrap();
        } else {
            assert!(current == SCHEMA, "runtime/spec.schema.json is old; run this test with SKEP_UPDATE=1");
        }
    }

    #[test]
    fn the_schema_has_every_field_with_its_documentation() {
        let schema = generated();
        let spec = serde_json::to_value(Spec::default()).unwrap();
        for name in spec.as_object().unwrap().keys() {
            let property = &schema["properties"][name];
            assert!(property["description"].as_str().is_some_and(|text| !text.is_empty()), "{name}: {property}");
            assert!(!property["description"].as_str().unwrap().contains("[`"), "{name}: {property}");
        }
        assert_eq!(open_objects(&schema), 0, "some struct accepts unknown fields: add `deny_unknown_fields`");
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(schema["additionalProperties"], false);
    }

    /// How many objects may hold fields of any name.
    fn open_objects(schema: &Value) -> usize {
        let inner = match schema {
            Value::Object(fields) => fields.values().map(open_objects).sum(),
            Value::Array(items) => items.iter().map(open_objects).sum(),
            _ => 0,
        };
        inner + usize::from(schema["type"] == "object" && schema.get("additionalProperties").is_none())
    }
}
