//! The schemas describe what is sent, as an independent validator sees it.

use jsonschema::Validator;

use super::*;

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::options().should_validate_formats(true).build(schema).unwrap()
}

/// The schema without leave for properties that it does not name.
fn shut(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(keywords) => {
            for value in keywords.values_mut() {
                *value = shut(value.take());
            }
            if let Some(open) = keywords.get_mut("additionalProperties") {
                assert_eq!(*open, true);
                *open = false.into();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| *value = shut(value.take())),
        _ => {}
    }
    schema
}

#[test]
fn every_type_that_is_sent_is_there_once_and_no_other() {
    let names: Vec<EventType> = catalogue().items.iter().map(|item| item.name).collect();

    assert_eq!(names, EventType::received().collect::<Vec<_>>());
    assert!(catalogue().find(EventType::OrganizationRegistered).is_none());
}

#[test]
fn examples_are_as_the_schemas_say_and_have_nothing_besides() {
    for item in &catalogue().items {
        for &format in WebhookFormat::ALL {
            let (schema, example) = (item.body_schema(format), item.examples.get(format));

            assert!(jsonschema::meta::is_valid(&schema), "{}", item.name);
            let wrong: Vec<String> =
                validator(&shut(schema)).iter_errors(example).map(|error| error.to_string()).collect();
            assert!(wrong.is_empty(), "{} {format}: {wrong:?}", item.name);
            assert!(validator(catalogue().envelopes.get(format)).is_valid(example), "{} {format}", item.name);
        }
        assert!(validator(&shut(item.schema.clone())).is_valid(&item.examples.standard["data"]));
    }
}

#[test]
fn a_body_of_another_type_does_not_fit() {
    for item in &catalogue().items {
        for &format in WebhookFormat::ALL {
            let schema = validator(&item.body_schema(format));

            let fitting: Vec<EventType> = catalogue()
                .items
                .iter()
                .filter(|other| schema.is_valid(other.examples.get(format)))
                .map(|other| other.name)
                .collect();

            assert_eq!(fitting, [item.name], "{format}");
        }
    }
}

#[test]
fn a_cloud_event_names_the_schema_of_its_data() {
    for item in &catalogue().items {
        assert_eq!(item.examples.cloudevents["dataschema"], item.dataschema.as_str());
        assert_eq!(item.schema["$id"], item.dataschema.as_str());
    }
}

#[test]
fn no_fact_has_the_name_of_what_is_put_before_the_facts() {
    for event_type in EventType::received() {
        let facts = event_type.facts_schema();
        let own_id = format!("{}_id", event_type.stream_kind());

        assert!(facts["properties"].get("status").is_none(), "{event_type}");
        assert!(facts["properties"].get(&own_id).is_none(), "{event_type}");
    }
}
