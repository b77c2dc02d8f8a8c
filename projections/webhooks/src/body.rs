//! The body that partners receive: closed facts of the log, and nothing else.
//!
//! The facts are copied byte for byte. They can hold ids, enums, times and numbers only, which their types assure
//! (`carelog_domain::closed`), so there is no step here that could let personal data through.

use std::fmt::Write;

use bytes::Bytes;
use carelog_domain::DeliveryId;
use carelog_domain::webhook_subscription::WebhookFormat;
use carelog_event_log::RecordedEvent;

/// The body of a delivery; the same bytes for every attempt.
pub(crate) fn body(format: WebhookFormat, delivery_id: DeliveryId, event: &RecordedEvent) -> Bytes {
    let mut json = String::with_capacity(512 + event.facts.len());
    match format {
        WebhookFormat::Standard => standard(&mut json, event),
        WebhookFormat::Cloudevents => cloud_event(&mut json, delivery_id, event),
    }
    .expect("writing into a String cannot fail");
    Bytes::from(json)
}

fn standard(json: &mut String, event: &RecordedEvent) -> std::fmt::Result {
    write!(
        json,
        r#"{{"event":"{}","event_id":"{}","timestamp":"{}","organization_id":"{}","sequence":{},"data":"#,
        event.event_type,
        event.event_id,
        event.occurred_at,
        event.stream.organization_id,
        event.organization_sequence
    )?;
    data(json, event)?;
    json.write_char('}')
}

/// CloudEvents 1.0 in structured mode: in binary mode the attributes would stand in headers, which are not signed.
fn cloud_event(json: &mut String, delivery_id: DeliveryId, event: &RecordedEvent) -> std::fmt::Result {
    write!(
        json,
        r#"{{"specversion":"1.0","id":"{delivery_id}","source":"urn:carelog:organization:{}","type":"{}","time":"{}","subject":"{}/{}","datacontenttype":"application/json","sequence":"{}","eventid":"{}","data":"#,
        event.stream.organization_id,
        event.event_type,
        event.occurred_at,
        event.stream.kind,
        event.stream.id,
        event.organization_sequence,
        event.event_id
    )?;
    data(json, event)?;
    json.write_char('}')
}

/// The aggregate's id, its new status, and the facts.
fn data(json: &mut String, event: &RecordedEvent) -> std::fmt::Result {
    let status = event.event_type.as_str().rsplit('.').next().unwrap_or_default();
    write!(json, r#"{{"{}_id":"{}","status":"{status}""#, event.stream.kind, event.stream.id)?;
    let facts = std::str::from_utf8(&event.facts).unwrap_or("{}");
    match facts.strip_prefix('{') {
        Some("}") | None => json.write_char('}'),
        Some(rest) => write!(json, ",{rest}"),
    }
}
