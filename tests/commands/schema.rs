//! `schema`: the published shape is the one that is read, key by key.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::json::from_toml;
use super::{examples, file, septum};

fn schema() -> Value {
    let ran = septum(["schema"]);
    assert_eq!(ran.status, 0);
    ran.json()
}

/// A policy that has a key of no meaning in the object that this part of the schema describes.
fn with_unknown_key(definition: &str) -> Value {
    let unknown = json!({ "zzzzzzzz": 1 });
    let named = |kind: &str| json!({ kind: { "x": unknown } });
    let inside = |kind: &str, key: &str| json!({ kind: [{ "name": "x", key: unknown }] });
    let mut policy = match definition {
        "" => unknown,
        "switch" | "conntrack" => json!({ definition: unknown }),
        "timeouts" => json!({ "conntrack": { "timeouts": unknown } }),
        "segment" | "workload" | "uplink" => named(definition),
        "network" => named("cidr"),
        "rule" | "invariant" => json!({ definition: [unknown] }),
        "test" => json!({ "test": [{ "zzzzzzzz": 1, "from": "a", "to": "b", "allow": "any" }] }),
        "limit" => json!({ "workload": { "x": { "limit": unknown } } }),
        "except" => inside("rule", "except"),
        "packet" | "expect" => json!({ "test": [{ "name": "x", "packet": unknown, "expect": unknown }] }),
        "flows" => inside("invariant", "never"),
        "blast_radius" => inside("invariant", "blast_radius"),
        "lint" => json!({ "lint": unknown }),
        "lint_allow" => json!({ "lint": { "allow": [unknown] } }),
        other => panic!("a new object in the schema: {other}"),
    };
    policy["version"] = json!(1);
    policy
}

/// The keys that the reader says an object has.
fn keys_read(definition: &str) -> BTreeSet<String> {
    let (_folder, path) = file("policy.json", &with_unknown_key(definition).to_string());
    let document = septum(["check", "-o", "json", path.to_str().unwrap()]).json();
    let diagnostics = document["diagnostics"].as_array().expect("an array").clone();
    let about = |it: &&Value| {
        let what = format!("`{definition}` has no key `zzzzzzzz`");
        let of_object = !matches!(definition, "packet" | "expect") || it["message"] == what;
        it["code"] == "S0201" && of_object
    };
    let unknown = diagnostics.iter().find(about).unwrap_or_else(|| panic!("{definition}: {document}"));
    let help = unknown["help"].as_str().expect("help");
    assert!(help.starts_with("the keys are "), "{help}");
    help.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_object_has_the_keys_that_are_read() {
    let schema = schema();
    let definitions = schema["$defs"].as_object().expect("definitions");
    let objects = definitions.iter().filter(|(_, definition)| definition.get("properties").is_some());
    let objects = objects.map(|(name, definition)| (name.as_str(), definition)).chain([("", &schema)]);
    let mut count = 0;
    for (name, definition) in objects {
        let published: BTreeSet<String> =
            definition["properties"].as_object().expect("properties").keys().cloned().collect();
        assert_eq!(published, keys_read(name), "{name}");
        assert_eq!(definition["additionalProperties"], false, "{name}");
        count += 1;
    }
    assert!(count > 12);
}

#[test]
fn examples_have_the_published_shape() {
    let schema = schema();
    for example in examples() {
        let document = from_toml(&fs::read_to_string(&example).unwrap());
        assert_eq!(fits(&schema, &schema, &document), Ok(()), "{}", example.display());
    }
}

#[test]
fn what_is_refused_does_not_fit_and_what_is_read_fits() {
    let schema = schema();
    for (part, is_read) in [
        (json!({}), true),
        (json!({ "segment": { "a": { "vlan": 4095 } } }), false),
        (json!({ "segment": { "a": { "vlan": 4094, "mtu": 9000, "subnet": "10.0.0.0/8" } } }), true),
        (json!({ "default": "allow", "switch": { "workers": "auto" } }), true),
        (json!({ "default": "accept" }), false),
        (json!({ "switch": { "workers": 0 } }), false),
        (json!({ "conntrack": { "tcp": "strict", "pick_up": 0, "timeouts": { "udp": 1 } } }), true),
        (json!({ "conntrack": { "pick_up": 3601 } }), false),
        (json!({ "conntrack": { "half_open_per_workload": 0 } }), false),
        (json!({ "conntrack": { "timeouts": { "udp": 0 } } }), false),
        (json!({ "service": { "x": [] } }), false),
        (json!({ "rule": [{ "name": "x", "allow": "any" }] }), true),
        (json!({ "rule": [{ "name": "x", "allow": "any", "deny": "any" }] }), false),
        (json!({ "rule": [{ "name": "x" }] }), false),
        (json!({ "rule": [{ "name": "x", "allow": "any", "priority": -1 }] }), false),
        (json!({ "rule": [{ "name": "x", "allow": "any", "priority": 4294967295_u32 }] }), true),
        (json!({ "rule": { "name": "x", "allow": "any" } }), false),
        (json!({ "rule": [{ "name": "x", "allow": "any", "except": { "from": "a=b" } }] }), true),
        (json!({ "cidr": { "x": { "in": "10.0.0.0/8", "except": [] } } }), true),
        (json!({ "cidr": { "x": { "except": [] } } }), false),
        (json!({ "invariant": [{ "name": "x", "never": {} }] }), false),
        (json!({ "invariant": [{ "name": "x", "never": { "to": "any" } }] }), true),
        (json!({ "test": [{ "name": "x", "from": "a", "to": "b" }] }), false),
    ] {
        let mut policy = part;
        policy["version"] = json!(1);
        let (_folder, path) = file("policy.json", &policy.to_string());
        assert_eq!(septum(["check", path.to_str().unwrap()]).status == 0, is_read, "{policy}");
        assert_eq!(fits(&schema, &schema, &policy).is_ok(), is_read, "{policy}");
    }
}

/// Whether a value fits a schema: the words of JSON Schema that ours uses, patterns aside.
fn fits(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    for (word, argument) in schema.as_object().expect("an object") {
        let list = || argument.as_array().expect("a list").iter();
        let fitting = || list().filter(|inner| fits(root, inner, value).is_ok()).count();
        let number = |pick: fn(&Value) -> Option<i64>| pick(argument).expect("a number");
        let length = || value.as_str().map_or(1, |text| text.chars().count() as i64);
        let holds = match word.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" | "pattern" => true,
            "$ref" => {
                let pointer = argument.as_str().expect("a reference").trim_start_matches('#');
                fits(root, root.pointer(pointer).expect("a definition"), value)?;
                true
            }
            "type" => match argument.as_str().expect("a type") {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64() || value.is_u64(),
                other => panic!("a new type: {other}"),
            },
            "const" => value == argument,
            "enum" => list().any(|one| one == value),
            "anyOf" => fitting() > 0,
            "oneOf" => fitting() == 1,
            "allOf" => fitting() == list().count(),
            "not" => fits(root, argument, value).is_err(),
            "required" => list().all(|key| value.get(key.as_str().expect("a key")).is_some()),
            "minimum" => value.as_i64().is_none_or(|it| it >= number(Value::as_i64)),
            "maximum" => value.as_i64().is_none_or(|it| it <= number(Value::as_i64)),
            "minLength" => length() >= number(Value::as_i64),
            "maxLength" => length() <= number(Value::as_i64),
            "minItems" => value.as_array().is_none_or(|items| items.len() as i64 >= number(Value::as_i64)),
            "dependentRequired" => argument.as_object().expect("an object").iter().all(|(key, needed)| {
                value.get(key).is_none()
                    || needed
                        .as_array()
                        .expect("a list")
                        .iter()
                        .all(|it| value.get(it.as_str().unwrap()).is_some())
            }),
            "items" => {
                value.as_array().into_iter().flatten().try_for_each(|item| fits(root, argument, item))?;
                true
            }
            "propertyNames" => {
                let names = value.as_object().into_iter().flat_map(|entries| entries.keys());
                names.map(|name| json!(name)).try_for_each(|name| fits(root, argument, &name))?;
                true
            }
            "properties" | "additionalProperties" => true,
            other => panic!("a new word: {other}"),
        };
        if !holds {
            return Err(format!("{value} does not fit `{word}`: {argument}"));
        }
    }
    for (key, inner) in value.as_object().into_iter().flatten() {
        match schema.get("properties").and_then(|properties| properties.get(key)) {
            Some(property) => fits(root, property, inner)?,
            None => match schema.get("additionalProperties") {
                Some(Value::Bool(false)) => return Err(format!("no key {key}")),
                Some(additional) => fits(root, additional, inner)?,
                None => {}
            },
        }
    }
    Ok(())
}
