//! The document holds together: every reference, every type, every example.

use std::collections::BTreeSet;

use carelog_domain::EventType;

use super::*;

fn references<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let mut found = BTreeSet::new();
    references(&DOCUMENT, &mut found);

    assert!(found.len() > 4 * catalogue().items.len());
    for reference in found {
        assert!(DOCUMENT.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
    }
}

#[test]
fn every_public_type_is_there_once_in_each_format() {
    let public: BTreeSet<&str> = EventType::received().map(EventType::as_str).collect();
    for format in WebhookFormat::ALL {
        let messages = DOCUMENT["channels"][format.as_str()]["messages"].as_object().unwrap();
        assert_eq!(messages.keys().map(String::as_str).collect::<BTreeSet<_>>(), public);
        let sent = DOCUMENT["operations"][format!("send_{format}")]["messages"].as_array().unwrap();
        assert_eq!(sent.len(), public.len());
    }
    let messages = DOCUMENT["components"]["messages"].as_object().unwrap();
    assert_eq!(messages.len(), public.len() * WebhookFormat::ALL.len());
}

#[test]
fn every_example_is_as_its_message_says() {
    for message in DOCUMENT["components"]["messages"].as_object().unwrap().values() {
        for part in ["headers", "payload"] {
            let mut schema = message[part].clone();
            schema["components"] = DOCUMENT["components"].clone();
            let validator =
                jsonschema::draft7::options().should_validate_formats(true).build(&schema).unwrap();
            let example = &message["examples"][0][part];

            let wrong: Vec<String> = validator.iter_errors(example).map(|error| error.to_string()).collect();

            assert!(wrong.is_empty(), "{} {part}: {wrong:?}", message["name"]);
            assert!(!validator.is_valid(&json!({})), "{} {part}", message["name"]);
        }
    }
}

fn keywords<'v>(schema: &'v Value, found: &mut BTreeSet<&'v str>) {
    let Some(schema) = schema.as_object() else { return };
    found.extend(schema.keys().map(String::as_str));
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flat_map(Map::values).for_each(|property| keywords(property, found));
    schema.get("items").into_iter().for_each(|items| keywords(items, found));
}

#[test]
fn schemas_keep_to_what_both_dialects_know() {
    let known: BTreeSet<&str> = BTreeSet::from([
        "$ref",
        "additionalProperties",
        "const",
        "description",
        "enum",
        "examples",
        "format",
        "items",
        "maximum",
        "minimum",
        "pattern",
        "properties",
        "required",
        "title",
        "type",
    ]);
    let mut found = BTreeSet::new();
    DOCUMENT["components"]["schemas"]
        .as_object()
        .unwrap()
        .values()
        .for_each(|schema| keywords(schema, &mut found));
    for message in DOCUMENT["components"]["messages"].as_object().unwrap().values() {
        keywords(&message["payload"], &mut found);
    }

    assert!(found.is_subset(&known), "{found:?}");
}
