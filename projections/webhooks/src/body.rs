//! The body that partners receive: closed facts of the log, and nothing else.
//!
//! The facts are copied byte for byte. They can hold ids, enums, times and numbers only, which their types assure
//! (`carelog_domain::closed`), so there is no step here that could let personal data through. Facts of an old schema
//! version are lifted first: what is published is the newest one. `catalogue` describes what is written here.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt::Write;

use bytes::Bytes;
use carelog_domain::DeliveryId;
use carelog_domain::upcast::{UPCASTERS, Upcaster, to_newest};
use carelog_domain::webhook_subscription::WebhookFormat;
use carelog_event_log::RecordedEvent;

/// Begins the names of schemas: `urn:carelog:event-type:appointment.booked:1`.
pub(crate) const SCHEMA_PREFIX: &str = "urn:carelog:event-type:";
/// Begins the names of organizations.
pub(crate) const SOURCE_PREFIX: &str = "urn:carelog:organization:";

/// The body of a delivery; the same bytes for every attempt.
pub(crate) fn body(format: WebhookFormat, delivery_id: DeliveryId, event: &RecordedEvent) -> Bytes {
    let mut json = String::with_capacity(512 + event.facts.len());
    let published = Published::of(UPCASTERS, event);
    match format {
        WebhookFormat::Standard => standard(&mut json, event, &published),
        WebhookFormat::Cloudevents => cloud_event(&mut json, delivery_id, event, &published),
    }
    .expect("writing into a String cannot fail");
    Bytes::from(json)
}

/// Facts as they go out, and the schema version that they are in.
struct Published<'a> {
    version: u16,
    facts: Cow<'a, [u8]>,
}

impl<'a> Published<'a> {
    /// Facts that no step lifts stay as they are, under the version that they were written in.
    fn of(steps: &[Upcaster], event: &'a RecordedEvent) -> Self {
        match to_newest(steps, event.event_type, event.schema_version, &event.facts) {
            Ok(facts) => Self { version: event.event_type.schema_version(), facts },
            Err(_) => Self { version: event.schema_version, facts: Cow::Borrowed(&event.facts) },
        }
    }
}

fn standard(json: &mut String, event: &RecordedEvent, published: &Published<'_>) -> std::fmt::Result {
    write!(
        json,
        r#"{{"event":"{}","event_id":"{}","timestamp":"{}","organization_id":"{}","sequence":{},"data":"#,
        event.event_type,
        event.event_id,
        event.occurred_at,
        event.stream.organization_id,
        event.organization_sequence
    )?;
    data(json, event, published)?;
    json.write_char('}')
}

/// CloudEvents 1.0 in structured mode: in binary mode the attributes would stand in headers, which are not signed.
fn cloud_event(
    json: &mut String,
    delivery_id: DeliveryId,
    event: &RecordedEvent,
    published: &Published<'_>,
) -> std::fmt::Result {
    write!(
        json,
        r#"{{"specversion":"1.0","id":"{delivery_id}","source":"{SOURCE_PREFIX}{}","type":"{}","time":"{}","subject":"{}/{}","datacontenttype":"application/json","dataschema":"{SCHEMA_PREFIX}{}:{}","sequence":"{}","eventid":"{}","data":"#,
        event.stream.organization_id,
        event.event_type,
        event.occurred_at,
        event.stream.kind,
        event.stream.id,
        event.event_type,
        published.version,
        event.organization_sequence,
        event.event_id
    )?;
    data(json, event, published)?;
    json.write_char('}')
}

/// The aggregate's id, its new status, and the facts.
fn data(json: &mut String, event: &RecordedEvent, published: &Published<'_>) -> std::fmt::Result {
    let status = status(event.event_type.as_str());
    write!(json, r#"{{"{}_id":"{}","status":"{status}""#, event.stream.kind, event.stream.id)?;
    let facts = std::str::from_utf8(&published.facts).unwrap_or("{}");
    match facts.strip_prefix('{') {
        Some("}") | None => json.write_char('}'),
        Some(rest) => write!(json, ",{rest}"),
    }
}

/// What became of the aggregate: `booked` of `appointment.booked`.
pub(crate) fn status(event_type: &str) -> &str {
    event_type.rsplit('.').next().unwrap_or_default()
}
