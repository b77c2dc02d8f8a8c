//! The schema of facts says what the types do, neither more nor less.

use jsonschema::Validator;
use proptest::prelude::*;

use crate::any::tests::variation;
use crate::closed::{ClosedValue, Sha256Digest};
use crate::examples::{Variation, events};
use crate::{EventType, Timestamp};

use super::*;

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::options().should_validate_formats(true).build(schema).unwrap()
}

/// The schema without leave for properties that it does not name.
fn shut(event_type: EventType) -> Validator {
    let mut schema = event_type.facts_schema();
    assert_eq!(schema["additionalProperties"], true);
    schema["additionalProperties"] = false.into();
    validator(&schema)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

    #[test]
    fn facts_of_every_event_are_as_their_schema_says(variation in variation()) {
        for event in events(variation) {
            let facts: Value = serde_json::from_slice(&event.encode().unwrap().facts).unwrap();

            let wrong: Vec<String> =
                shut(event.event_type()).iter_errors(&facts).map(|error| error.to_string()).collect();
            prop_assert!(wrong.is_empty(), "{} {facts}: {wrong:?}", event.event_type());
        }
    }
}

#[test]
fn a_fact_that_is_missing_or_of_another_type_is_refused() {
    for event in events(Variation::fixed()) {
        let schema = event.event_type().facts_schema();
        let required = schema["required"].as_array().unwrap().clone();
        let schema = validator(&schema);
        let facts: Map<String, Value> = serde_json::from_slice(&event.encode().unwrap().facts).unwrap();
        for name in facts.keys() {
            let mut missing = facts.clone();
            missing.remove(name);
            let another = facts.iter().map(|(own, value)| {
                let value = if own == name { json!({ "of": "another type" }) } else { value.clone() };
                (own.clone(), value)
            });
            let another: Map<String, Value> = another.collect();

            let is_required = required.iter().any(|required| required == name);
            assert!(is_required || !event.event_type().is_public(), "receivers count on {name}");
            assert_eq!(
                schema.is_valid(&missing.into()),
                !is_required,
                "{} without {name}",
                event.event_type()
            );
            assert!(!schema.is_valid(&another.into()), "{} with another {name}", event.event_type());
        }
    }
}

#[test]
fn every_type_and_every_fact_of_a_public_event_is_described() {
    for event_type in EventType::received() {
        let schema = event_type.facts_schema();
        assert!(!event_type.description().is_empty() && schema["description"].is_string(), "{event_type}");
        for (name, property) in schema["properties"].as_object().unwrap() {
            let description = property["description"].as_str().unwrap_or_default();

            assert!(
                description.ends_with('.') && description.len() > 12,
                "{event_type} {name}: {description}"
            );
        }
    }
}

#[test]
fn bounds_formats_and_values_are_those_of_the_types() {
    assert_eq!(u16::schema(), json!({ "type": "integer", "minimum": 0, "maximum": 65_535 }));
    let optional = <Option<crate::appointment::TimePrecision>>::schema();
    assert_eq!(optional["type"], json!(["string", "null"]));
    assert_eq!(optional["enum"], json!(["minute", "day", null]));
    for (text, is_valid) in [
        ("2026-03-02T09:30:00.000000Z", true),
        ("2026-03-02T09:30:00Z", false),
        ("2026-03-02T09:30:00.000000+00:00", false),
        ("2026-13-02T09:30:00.000000Z", false),
    ] {
        assert_eq!(validator(&Timestamp::schema()).is_valid(&text.into()), is_valid, "{text}");
    }
    let id = validator(&crate::PatientId::schema());
    assert!(id.is_valid(&json!("019cade2-11c0-7000-8000-000000000001")) && !id.is_valid(&json!("P-7")));
    let digest = validator(&Sha256Digest::schema());
    assert!(digest.is_valid(&"0c".repeat(32).into()) && !digest.is_valid(&"0C".repeat(32).into()));
}
