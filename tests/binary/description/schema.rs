//! Checks documents against the JSON schemas of an `OpenAPI` description. A keyword that it does not know is a mistake, so nothing
//! passes because nobody looked.

use serde_json::Value;

/// What is wrong with `document`, each with the place; nothing when all is well. Fields that the schema does not name are wrong too:
/// what is answered has to be described.
pub(super) fn complaints(description: &Value, schema: &Value, document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(description, schema, document, "", &mut found);
    found
}

/// The schema, or whatever else, that a `$ref` leads to.
pub(super) fn resolved<'a>(description: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(reference) => {
            let path = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads elsewhere"));
            description.pointer(path).unwrap_or_else(|| panic!("{reference} leads nowhere"))
        }
        None => value,
    }
}

fn check(description: &Value, schema: &Value, document: &Value, at: &str, found: &mut Vec<String>) {
    let schema = resolved(description, schema);
    let mut complain = |words: String| found.push(format!("{at}: {words}"));
    for (keyword, wanted) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "type" => has_type(wanted, document),
            "const" => document == wanted,
            "enum" => wanted.as_array().unwrap().contains(document),
            "minimum" => document.as_i64().is_none_or(|n| n >= wanted.as_i64().unwrap()),
            "minLength" => length(document).is_none_or(|n| n >= wanted.as_u64().unwrap()),
            "maxLength" => length(document).is_none_or(|n| n <= wanted.as_u64().unwrap()),
            "maxItems" => document.as_array().is_none_or(|a| a.len() as u64 <= wanted.as_u64().unwrap()),
            "format" => {
                assert_eq!(wanted, "date-time");
                document.as_str().is_none_or(|text| text.parse::<jiff::Timestamp>().is_ok())
            }
            "oneOf" => {
                let fits = |schema: &&Value| complaints(description, schema, document).is_empty();
                wanted.as_array().unwrap().iter().filter(fits).count() == 1
            }
            "required" => {
                let has = |name: &Value| document.get(name.as_str().unwrap()).is_some();
                document.as_object().is_none_or(|_| wanted.as_array().unwrap().iter().all(has))
            }
            // Below; the rest tells people, not machines.
            "properties" | "additionalProperties" | "items" | "description" | "default" => true,
            other => panic!("{at}: the schema's keyword {other} is not known here"),
        };
        if !holds {
            complain(format!("{document} is not {keyword} {wanted}"));
        }
    }
    if let Some(fields) = document.as_object() {
        let open = schema.get("additionalProperties").unwrap_or(&Value::Bool(false));
        // A schema without fields says nothing of them.
        let says = schema.get("properties").is_some() || schema.get("additionalProperties").is_some();
        for (name, value) in fields.iter().filter(|_| says) {
            let at = format!("{at}/{name}");
            match schema.pointer(&format!("/properties/{name}")).unwrap_or(open) {
                Value::Bool(true) => {}
                Value::Bool(false) => found.push(format!("{at}: it is not described")),
                schema => check(description, schema, value, &at, found),
            }
        }
    }
    if let (Some(items), Some(schema)) = (document.as_array(), schema.get("items")) {
        for (n, item) in items.iter().enumerate() {
            check(description, schema, item, &format!("{at}/{n}"), found);
        }
    }
}

fn length(document: &Value) -> Option<u64> {
    document.as_str().map(|text| text.chars().count() as u64)
}

fn has_type(wanted: &Value, document: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "null" => document.is_null(),
        "boolean" => document.is_boolean(),
        "integer" => document.is_i64() || document.is_u64(),
        "string" => document.is_string(),
        "array" => document.is_array(),
        "object" => document.is_object(),
        other => panic!("{other} is no type that is used here"),
    };
    wanted.as_array().map_or_else(|| is(wanted), |several| several.iter().any(is))
}

#[test]
fn what_does_not_fit_is_found() {
    let description = serde_json::json!({"a": {
        "type": "object",
        "required": ["n", "at"],
        "properties": {
            "n": {"type": "integer", "minimum": 1},
            "at": {"type": ["string", "null"], "format": "date-time"},
            "list": {"type": "array", "items": {"enum": ["x", "y"]}},
            "one": {"oneOf": [{"type": "null"}, {"type": "string", "maxLength": 2}]},
        },
    }});
    let schema = serde_json::json!({"$ref": "#/a"});
    for (document, wrong) in [
        (serde_json::json!({"n": 1, "at": null, "list": ["x"], "one": "ab"}), 0),
        (serde_json::json!({"n": 1, "at": "2026-01-02T03:04:05Z", "one": null}), 0),
        (serde_json::json!({"n": 1}), 1),
        (serde_json::json!({"n": 0, "at": "yesterday"}), 2),
        (serde_json::json!({"n": "1", "at": null}), 1),
        (serde_json::json!({"n": 1, "at": null, "list": ["x", "z"]}), 1),
        (serde_json::json!({"n": 1, "at": null, "one": "abc"}), 1),
        (serde_json::json!({"n": 1, "at": null, "more": 1}), 1),
        (serde_json::json!([]), 1),
    ] {
        assert_eq!(complaints(&description, &schema, &document).len(), wrong, "{document}");
    }
}
