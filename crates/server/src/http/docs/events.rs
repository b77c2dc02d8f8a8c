//! The catalogue of events for people: one page, without scripts, that loads nothing from elsewhere.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::response::Response;
use carelog_domain::webhook_subscription::WebhookFormat;
use carelog_webhooks::catalogue::{PublishedType, catalogue};
use serde_json::Value;

use super::super::receiving::{HEADERS, SECTIONS};
use super::{STYLE, answer, escaped, text};

const EVENT_STYLE: &str = "
h3 { margin-top: 2rem; }
h3 code { font-size: 1.1rem; }
pre { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; padding: .75rem; }
caption { text-align: left; font-weight: 700; padding: .25rem 0; }
tbody th { font-weight: 400; }
table.fields td:nth-child(2) { min-width: 9rem; }
nav li { margin: .25rem 0; }
nav li a, nav li strong { text-transform: none; }
.skip { position: absolute; left: -100rem; }
.skip:focus { position: static; }";

static PAGE: LazyLock<bytes::Bytes> = LazyLock::new(|| page().into());

/// `GET /docs/events`
pub(in super::super) async fn serve() -> Response {
    answer(PAGE.clone())
}

fn page() -> String {
    let items = &catalogue().items;
    let mut kinds: Vec<&str> = items.iter().map(|item| item.aggregate.as_str()).collect();
    kinds.dedup();
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Carelog events</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}{EVENT_STYLE}</style></head><body>\
         <a class=\"skip\" href=\"#main\">Skip to the content</a>\
         <header><h1>Carelog events</h1><p>What a webhook subscription can receive. Subscribe to <code>*</code>, to a \
         kind such as <code>appointment.*</code>, or to a type by its name. The commands and reads are in the \
         <a href=\"/docs\">API reference</a>. For programs: <a href=\"/asyncapi.json\">asyncapi.json</a>, and \
         <code>GET /v1/event-types</code> with any key.</p></header><nav aria-label=\"Event types\"><ul>"
    );
    for kind in &kinds {
        let _ = write!(html, "<li><strong>{kind}</strong>: ");
        for item in items.iter().filter(|item| item.aggregate.as_str() == *kind) {
            let _ = write!(html, "<a href=\"#{0}\">{0}</a> ", item.name);
        }
        html.push_str("</li>");
    }
    html.push_str("</ul></nav><main id=\"main\">");
    write_receiving(&mut html);
    for kind in &kinds {
        let _ = write!(
            html,
            "<section aria-labelledby=\"kind-{kind}\"><h2 id=\"kind-{kind}\">{}</h2>",
            kind.replace('_', " ")
        );
        for item in items.iter().filter(|item| item.aggregate.as_str() == *kind) {
            write_type(item, &mut html);
        }
        html.push_str("</section>");
    }
    html.push_str("</main></body></html>");
    html
}

fn write_receiving(html: &mut String) {
    html.push_str("<section aria-labelledby=\"receiving\"><h2 id=\"receiving\">Receiving</h2>");
    for (title, paragraph) in SECTIONS {
        let _ = write!(html, "<h3>{title}</h3><p>{}</p>", with_code(paragraph));
    }
    html.push_str(
        "<table><caption>Headers of every request</caption><thead><tr><th scope=\"col\">Header</th>\
         <th scope=\"col\">Meaning</th><th scope=\"col\">Example</th></tr></thead><tbody>",
    );
    for (name, meaning, example) in HEADERS {
        let _ = write!(
            html,
            "<tr><th scope=\"row\"><code>{name}</code></th><td>{}</td><td><code>{example}</code></td></tr>",
            with_code(meaning)
        );
    }
    html.push_str("</tbody></table>");
    for (title, schema) in [
        ("Standard body", &catalogue().envelopes.standard),
        ("CloudEvents body", &catalogue().envelopes.cloudevents),
    ] {
        write_fields(title, schema, html);
    }
    html.push_str("</section>");
}

fn write_type(item: &PublishedType, html: &mut String) {
    let name = item.name;
    let _ = write!(
        html,
        "<article aria-labelledby=\"{name}\"><h3 id=\"{name}\"><code>{name}</code></h3><p>{}</p>\
         <p>Schema <code>{}</code></p>",
        with_code(item.description),
        escaped(&item.dataschema)
    );
    write_fields("Fields of data", &item.schema, html);
    for (summary, value) in [
        ("Example", item.examples.get(WebhookFormat::Standard)),
        ("Example as a CloudEvent", item.examples.get(WebhookFormat::Cloudevents)),
        ("JSON Schema of data", &item.schema),
    ] {
        let json = serde_json::to_string_pretty(value).unwrap_or_default();
        let _ = write!(
            html,
            "<details><summary>{summary}</summary><pre tabindex=\"0\" role=\"region\" \
             aria-label=\"{summary}, {name}\"><code>{}</code></pre></details>",
            escaped(&json)
        );
    }
    html.push_str("</article>");
}

fn write_fields(caption: &str, schema: &Value, html: &mut String) {
    let _ = write!(
        html,
        "<table class=\"fields\"><caption>{caption}</caption><thead><tr><th scope=\"col\">Field</th>\
         <th scope=\"col\">Type</th><th scope=\"col\">Meaning</th></tr></thead><tbody>"
    );
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let _ = write!(
            html,
            "<tr><th scope=\"row\"><code>{}</code></th><td>{}</td><td>{}</td></tr>",
            escaped(name),
            escaped(&kind(property)),
            with_code(text(property, "/description"))
        );
    }
    html.push_str("</tbody></table>");
}

/// The type of a property in a few words.
fn kind(property: &Value) -> String {
    if let Some(constant) = property.get("const").and_then(Value::as_str) {
        return format!("always \"{constant}\"");
    }
    let (mut name, is_nullable) = match property.get("type") {
        Some(Value::Array(kinds)) => {
            (kinds.first().and_then(Value::as_str).unwrap_or_default().to_owned(), kinds.len() > 1)
        }
        other => (other.and_then(Value::as_str).unwrap_or_default().to_owned(), false),
    };
    match property.get("format").and_then(Value::as_str) {
        Some("uuid") => "UUID".clone_into(&mut name),
        Some("date-time") => "moment in UTC, to the microsecond".clone_into(&mut name),
        Some(format) => name = format!("{name} ({format})"),
        None => {}
    }
    if property.get("enum").is_some() {
        "one of the values".clone_into(&mut name);
    }
    if let (Some(least), Some(most)) = (property.get("minimum"), property.get("maximum")) {
        name = format!("{name} from {least} to {most}");
    }
    if is_nullable { format!("{name}, or null") } else { name }
}

/// Escaped, and what stands between backticks as code.
fn with_code(words: &str) -> String {
    let mut html = String::with_capacity(words.len());
    for (index, part) in words.split('`').enumerate() {
        let part = escaped(part);
        if index % 2 == 1 {
            let _ = write!(html, "<code>{part}</code>");
        } else {
            html.push_str(&part);
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_heading_a_link_and_a_row_for_each_field() {
        let page = page();

        for item in &catalogue().items {
            let name = item.name;
            assert_eq!(page.matches(&format!("<h3 id=\"{name}\">")).count(), 1, "{name}");
            assert_eq!(page.matches(&format!("<a href=\"#{name}\">")).count(), 1, "{name}");
            for field in item.schema["properties"].as_object().unwrap().keys() {
                assert!(page.contains(&format!("<th scope=\"row\"><code>{field}</code></th>")), "{field}");
            }
        }
    }

    #[test]
    fn code_is_marked_and_escaped() {
        assert_eq!(with_code("take `v1,<base64>` & go"), "take <code>v1,&lt;base64&gt;</code> &amp; go");
    }

    #[test]
    fn a_field_is_told_in_words() {
        let of = |schema: Value| kind(&schema);

        assert_eq!(of(serde_json::json!({ "type": ["string", "null"], "format": "uuid" })), "UUID, or null");
        assert_eq!(
            of(serde_json::json!({ "type": "integer", "minimum": 0, "maximum": 9 })),
            "integer from 0 to 9"
        );
    }
}
