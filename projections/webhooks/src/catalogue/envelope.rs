//! JSON Schema of what stands around `data` in a body.

use carelog_domain::Timestamp;
use carelog_domain::closed::ClosedValue;
use carelog_domain::schema::{Property, object};
use carelog_domain::webhook_subscription::WebhookFormat;
use serde_json::{Value, json};
use uuid::Uuid;

use super::PublishedType;
use crate::body::{SCHEMA_PREFIX, SOURCE_PREFIX};

/// The dialect of every schema here.
pub(super) const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

const UUID: &str = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
const SEQUENCE: &str = "Place among the organization's events, from 1. Partners do not receive all of them, so there \
                        are gaps; of two events the one with the lower number happened first in the log.";

/// The envelope with any `data`.
pub(super) fn schema(format: WebhookFormat) -> Value {
    let mut schema = match format {
        WebhookFormat::Standard => {
            object(&["The plain envelope: content type `application/json`."], standard())
        }
        WebhookFormat::Cloudevents => object(
            &["A CloudEvent 1.0 in structured mode: content type `application/cloudevents+json`."],
            cloud_event(),
        ),
    };
    insert(&mut schema, "$schema", DIALECT.into());
    schema
}

/// The envelope of one type around a schema of `data`.
pub(super) fn around(format: WebhookFormat, published: &PublishedType, data: Value) -> Value {
    let mut schema = schema(format);
    insert(&mut schema, "title", published.name.as_str().into());
    let constants: &[(&str, &str)] = match format {
        WebhookFormat::Standard => &[("event", published.name.as_str())],
        WebhookFormat::Cloudevents => {
            &[("type", published.name.as_str()), ("dataschema", &published.dataschema)]
        }
    };
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return schema };
    for (name, value) in constants {
        if let Some(property) = properties.get_mut(*name) {
            insert(property, "const", (*value).into());
        }
    }
    properties.insert("data".to_owned(), data);
    schema
}

fn insert(schema: &mut Value, keyword: &str, value: Value) {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert(keyword.to_owned(), value);
    }
}

fn standard() -> Vec<Property> {
    let sequence = json!({ "type": "integer", "minimum": 1, "maximum": i64::MAX });
    vec![
        Property::new("event", &["The type of the event."], json!({ "type": "string" })),
        Property::new("event_id", &["The event's own id, the same for every subscription."], Uuid::schema()),
        Property::new("timestamp", &["When it happened."], Timestamp::schema()),
        Property::new("organization_id", &["The organization in which it happened."], Uuid::schema()),
        Property::new("sequence", &[SEQUENCE], sequence),
        data(),
    ]
}

fn cloud_event() -> Vec<Property> {
    let constant = |value: &str| json!({ "type": "string", "const": value });
    let text = |pattern: String| json!({ "type": "string", "pattern": pattern });
    vec![
        Property::new("specversion", &["The version of CloudEvents."], constant("1.0")),
        Property::new("id", &["The delivery's id, as in the header `webhook-id`."], Uuid::schema()),
        Property::new(
            "source",
            &["The organization in which it happened."],
            text(format!("^{SOURCE_PREFIX}{UUID}$")),
        ),
        Property::new("type", &["The type of the event."], json!({ "type": "string" })),
        Property::new("time", &["When it happened."], Timestamp::schema()),
        Property::new(
            "subject",
            &["The aggregate that it happened to: its kind and its id."],
            text(format!("^[a-z_]+/{UUID}$")),
        ),
        Property::new("datacontenttype", &["What `data` is."], constant("application/json")),
        Property::new(
            "dataschema",
            &["The name of the schema of `data`: `GET /v1/event-types/{type}` shows it under this name."],
            text(format!("^{SCHEMA_PREFIX}[a-z_.]+:[0-9]+$")),
        ),
        Property::new("sequence", &[SEQUENCE, "As text."], text("^[1-9][0-9]*$".to_owned())),
        Property::new("eventid", &["The event's own id, the same for every subscription."], Uuid::schema()),
        data(),
    ]
}

fn data() -> Property {
    Property::new("data", &["The aggregate's id, its status and the facts."], json!({ "type": "object" }))
}
