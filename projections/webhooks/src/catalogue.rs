//! The catalogue: every type of event that partners may receive, with its JSON Schema and an example.
//!
//! Nothing is written by hand twice. The schema of the facts comes from their Rust types (`carelog_domain::schema`),
//! what [`body`](crate::body) puts around them is described here, and the examples are what `body` makes of example
//! events.
//!
//! `data` and the envelopes may come to have more properties, and receivers ignore those that they do not know. All
//! else is promised: a property stays, keeps its type and its meaning, and an enum gets no further value. What cannot
//! keep that promise becomes a new type of event. `catalogue.json` beside this crate's manifest pins what was promised,
//! and a test compares (`compatibility.rs`).

#[cfg(test)]
mod compatibility;
mod envelope;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use carelog_domain::closed::ClosedValue;
use carelog_domain::published::{example, example_id, example_moment, example_stream};
use carelog_domain::schema::Property;
use carelog_domain::webhook_subscription::WebhookFormat;
use carelog_domain::{
    Actor, Circumstances, CorrelationId, DeliveryId, EventId, EventType, OrganizationId, StreamKind,
};
use carelog_event_log::{RecordedEvent, StreamKey};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::body::{SCHEMA_PREFIX, body, status};

/// All of it.
#[derive(Debug, Serialize)]
pub struct Catalogue {
    /// JSON Schema of what stands around `data`, by format.
    pub envelopes: ByFormat,
    /// The types, in the order of declaration.
    pub items: Vec<PublishedType>,
}

/// Something for each format of a body.
#[derive(Debug, Serialize)]
pub struct ByFormat {
    /// For the plain envelope of Standard Webhooks.
    pub standard: Value,
    /// For the structured CloudEvent.
    pub cloudevents: Value,
}

/// A type of event as partners receive it.
#[derive(Debug, Serialize)]
pub struct PublishedType {
    /// The type.
    pub name: EventType,
    /// The kind of stream in which such events stand.
    pub aggregate: StreamKind,
    /// What happened.
    pub description: &'static str,
    /// The version of the shape of `data`; grows when a property is added that older events are lifted to.
    pub schema_version: u16,
    /// The name of the schema: its `$id`, and `dataschema` in a CloudEvent.
    pub dataschema: String,
    /// JSON Schema (2020-12) of `data`.
    pub schema: Value,
    /// A whole body in each format.
    pub examples: ByFormat,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| Catalogue {
    envelopes: ByFormat {
        standard: envelope::schema(WebhookFormat::Standard),
        cloudevents: envelope::schema(WebhookFormat::Cloudevents),
    },
    items: EventType::received().filter_map(PublishedType::of).collect(),
});

/// The catalogue of this build.
pub fn catalogue() -> &'static Catalogue {
    &CATALOGUE
}

impl Catalogue {
    /// One type; none where partners may not receive it.
    pub fn find(&self, event_type: EventType) -> Option<&PublishedType> {
        self.items.iter().find(|item| item.name == event_type)
    }
}

impl ByFormat {
    /// The one for this format.
    pub const fn get(&self, format: WebhookFormat) -> &Value {
        match format {
            WebhookFormat::Standard => &self.standard,
            WebhookFormat::Cloudevents => &self.cloudevents,
        }
    }
}

impl PublishedType {
    fn of(event_type: EventType) -> Option<Self> {
        let event = example_event(event_type)?;
        let example = |format| {
            let delivery_id = DeliveryId::new(example_stream(StreamKind::WebhookDelivery));
            serde_json::from_slice(&body(format, delivery_id, &event)).ok()
        };
        let schema_version = event_type.schema_version();
        let dataschema = format!("{SCHEMA_PREFIX}{event_type}:{schema_version}");
        Some(Self {
            name: event_type,
            aggregate: event_type.stream_kind(),
            description: event_type.description(),
            schema_version,
            schema: data_schema(event_type, &dataschema),
            dataschema,
            examples: ByFormat {
                standard: example(WebhookFormat::Standard)?,
                cloudevents: example(WebhookFormat::Cloudevents)?,
            },
        })
    }

    /// JSON Schema of a whole body, `data` included, to be given to a validator as it is.
    pub fn body_schema(&self, format: WebhookFormat) -> Value {
        envelope::around(format, self, self.schema.clone())
    }

    /// The same with `data` described by another schema, such as a reference.
    pub fn body_schema_around(&self, format: WebhookFormat, data: Value) -> Value {
        envelope::around(format, self, data)
    }
}

/// The facts, and what `body` puts before them.
fn data_schema(event_type: EventType, id: &str) -> Value {
    let kind = event_type.stream_kind();
    let own_id = Property::new(format!("{kind}_id"), &[own_id(kind)], Uuid::schema());
    let status = Property::new(
        "status",
        &["What became of it: the second half of the type's name."],
        json!({ "type": "string", "const": status(event_type.as_str()) }),
    );
    let mut schema = event_type.facts_schema();
    for Property { name, schema: property, .. } in [own_id, status] {
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            required.insert(0, name.clone().into());
        }
        if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert(name, property);
        }
    }
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("$schema".to_owned(), envelope::DIALECT.into());
        schema.insert("$id".to_owned(), id.into());
        schema.insert("title".to_owned(), event_type.as_str().into());
    }
    schema
}

const fn own_id(kind: StreamKind) -> &'static str {
    match kind {
        StreamKind::Organization => "The organization that it happened to.",
        StreamKind::Patient | StreamKind::LegalHold | StreamKind::Accounting => {
            "The patient whom it happened to."
        }
        StreamKind::Specialist => "The specialist whom it happened to.",
        StreamKind::Appointment => "The appointment that it happened to.",
        StreamKind::Form => "The form that it happened to.",
        StreamKind::File => "The file that it happened to.",
        StreamKind::TreatmentPlan => "The treatment plan that it happened to.",
        StreamKind::VideoRoom => "The video room that it happened to.",
        StreamKind::VideoNotice => "The notice.",
        StreamKind::WebhookSubscription => "The subscription that it happened to.",
        StreamKind::WebhookDelivery => "The delivery that it happened to.",
        StreamKind::WebhookReplay => "The replay that it happened to.",
        StreamKind::Access => "The access.",
    }
}

/// An event of the log like those that partners receive; none of a type that they do not.
pub(crate) fn example_event(event_type: EventType) -> Option<RecordedEvent> {
    let encoded = example(event_type)?.encode().ok()?;
    let kind = event_type.stream_kind();
    let organization_id = OrganizationId::new(example_stream(StreamKind::Organization));
    Some(RecordedEvent {
        lane: 0,
        position: 42,
        organization_sequence: 42,
        stream: StreamKey { organization_id, kind, id: example_stream(kind) },
        version: 1,
        event_id: EventId::new(example_id(42)),
        event_type,
        schema_version: event_type.schema_version(),
        occurred_at: example_moment(),
        recorded_at: example_moment(),
        circumstances: Circumstances::of(Actor::SYSTEM, CorrelationId::new(example_id(43))),
        subject: encoded.patient_id,
        facts: encoded.facts.into(),
        personal: None,
        network: None,
        leaf_hash: [0; 32],
    })
}
