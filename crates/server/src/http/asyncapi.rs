//! What is sent to partners, as a document for programs (AsyncAPI 3.0), made from the catalogue of events.
//!
//! A channel for each format of the body, and in it a message for each type of event. The payloads keep to keywords
//! that mean the same in the dialect of AsyncAPI (JSON Schema draft 7) and in that of the catalogue.

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use carelog_domain::webhook_subscription::WebhookFormat;
use carelog_webhooks::catalogue::{PublishedType, catalogue};
use http::header;
use serde_json::{Map, Value, json};

use super::receiving::{HEADERS, SECTIONS};

static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

static BYTES: LazyLock<bytes::Bytes> =
    LazyLock::new(|| serde_json::to_vec(&*DOCUMENT).unwrap_or_default().into());

/// `GET /asyncapi.json`
pub(super) async fn serve() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], BYTES.clone()).into_response()
}

fn document() -> Value {
    let formats = || WebhookFormat::ALL.iter().copied();
    let items = &catalogue().items;
    let channels: Map<String, Value> =
        formats().map(|format| (format.as_str().to_owned(), channel(format))).collect();
    let operations: Map<String, Value> =
        formats().map(|format| (format!("send_{format}"), operation(format))).collect();
    let messages: Map<String, Value> = formats()
        .flat_map(|format| items.iter().map(move |item| (message_name(format, item), message(format, item))))
        .collect();
    let mut schemas: Map<String, Value> =
        items.iter().map(|item| (item.name.as_str().to_owned(), anonymous(item.schema.clone()))).collect();
    schemas.insert("headers".to_owned(), headers());
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Carelog webhooks",
            "version": env!("CARGO_PKG_VERSION"),
            "description": description(),
            "license": { "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" },
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": schemas },
    })
}

fn description() -> String {
    let sections: Vec<String> =
        SECTIONS.iter().map(|(title, paragraph)| format!("## {title}\n\n{paragraph}")).collect();
    format!(
        "Events of a clinic, sent as signed HTTPS requests to whoever subscribed.\n\n{}",
        sections.join("\n\n")
    )
}

/// Where a subscription leads to is known to the subscription alone.
fn channel(format: WebhookFormat) -> Value {
    let messages: Map<String, Value> = catalogue()
        .items
        .iter()
        .map(|item| {
            let reference = format!("#/components/messages/{}", message_name(format, item));
            (item.name.as_str().to_owned(), json!({ "$ref": reference }))
        })
        .collect();
    json!({
        "address": null,
        "title": format.description(),
        "description": format!("The URL of a subscription with `format` `{format}`."),
        "messages": messages,
    })
}

fn operation(format: WebhookFormat) -> Value {
    let messages: Vec<Value> = catalogue()
        .items
        .iter()
        .map(|item| json!({ "$ref": format!("#/channels/{format}/messages/{}", item.name) }))
        .collect();
    json!({
        "action": "send",
        "channel": { "$ref": format!("#/channels/{format}") },
        "title": "Send an event",
        "summary": "A POST for each attempt of a delivery; any 2xx within ten seconds is success.",
        "messages": messages,
        "bindings": { "http": { "method": "POST", "bindingVersion": "0.3.0" } },
    })
}

fn message_name(format: WebhookFormat, item: &PublishedType) -> String {
    format!("{format}.{}", item.name)
}

fn message(format: WebhookFormat, item: &PublishedType) -> Value {
    let data = json!({ "$ref": format!("#/components/schemas/{}", item.name) });
    let content_type = match format {
        WebhookFormat::Standard => "application/json",
        WebhookFormat::Cloudevents => "application/cloudevents+json",
    };
    let example_headers: Map<String, Value> =
        HEADERS.iter().map(|(name, _, example)| ((*name).to_owned(), (*example).into())).collect();
    json!({
        "name": item.name,
        "title": item.name,
        "summary": item.description,
        "contentType": content_type,
        "tags": [{ "name": item.aggregate }],
        "headers": { "$ref": "#/components/schemas/headers" },
        "payload": anonymous(item.body_schema_around(format, data)),
        "examples": [{ "headers": example_headers, "payload": item.examples.get(format) }],
    })
}

fn headers() -> Value {
    let mut properties: Map<String, Value> = HEADERS
        .iter()
        .map(|(name, meaning, example)| {
            let schema = json!({ "type": "string", "description": meaning, "examples": [example] });
            ((*name).to_owned(), schema)
        })
        .collect();
    let checkpoint =
        "The newest signed checkpoint of the clinic's log, in base64; absent until one was signed.";
    let checkpoint = json!({ "type": "string", "description": checkpoint });
    properties.insert(carelog_webhooks::CHECKPOINT_HEADER.to_string(), checkpoint);
    let required: Vec<&str> = HEADERS.iter().map(|(name, ..)| *name).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

/// The dialect and the name are the catalogue's: here the place in the document is the name.
fn anonymous(mut schema: Value) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("$schema");
        schema.remove("$id");
    }
    schema
}
