//! The API's reference as one page that loads nothing from elsewhere.

pub(super) mod analytics;
pub(super) mod events;

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header;
use serde_json::Value;

use super::openapi;

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const STYLE: &str = "
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1.5rem; }
h2 { margin-top: 2.5rem; text-transform: capitalize; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: .5rem .75rem; }
summary { cursor: pointer; }
code, .method { font: 14px/1.4 ui-monospace, monospace; }
.method { display: inline-block; min-width: 4.5rem; font-weight: 700; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .5rem; border-bottom: 1px solid var(--line); }
td:first-child { white-space: nowrap; }
nav a { margin-right: 1rem; text-transform: capitalize; }";

static PAGE: LazyLock<bytes::Bytes> = LazyLock::new(|| page(openapi::document()).into());

/// `GET /docs`
pub(super) async fn serve() -> Response {
    answer(PAGE.clone())
}

/// A page that may load nothing.
fn answer(page: bytes::Bytes) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)];
    (headers, page).into_response()
}

/// One operation in the document.
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    value: &'a Value,
}

fn page(document: &Value) -> String {
    let operations: Vec<Operation<'_>> = document
        .pointer("/paths")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .flat_map(|(path, item)| {
            item.as_object().into_iter().flatten().map(move |operation| (path, operation))
        })
        .map(|(path, (method, value))| Operation { method, path, value })
        .collect();
    let mut tags: Vec<&str> = operations.iter().map(Operation::tag).collect();
    tags.sort_unstable();
    tags.dedup();
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Carelog API</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\
         <h1>Carelog API</h1><p>{}</p><p>Every refusal is <code>application/problem+json</code> (RFC 9457). \
         For programs: <a href=\"/openapi.json\">openapi.json</a>. What webhooks send: \
         <a href=\"/docs/events\">events</a>. What figures mean: \
         <a href=\"/docs/analytics\">analytics</a>.</p><nav>",
        escaped(text(document, "/info/description"))
    );
    for tag in &tags {
        let _ = write!(html, "<a href=\"#{0}\">{0}</a>", escaped(&tag.replace(' ', "-")));
    }
    html.push_str("</nav>");
    for tag in &tags {
        let _ = write!(html, "<h2 id=\"{}\">{}</h2>", escaped(&tag.replace(' ', "-")), escaped(tag));
        for operation in operations.iter().filter(|operation| operation.tag() == *tag) {
            operation.write(document, &mut html);
        }
    }
    html.push_str("</body></html>");
    html
}

impl Operation<'_> {
    fn tag(&self) -> &str {
        text(self.value, "/tags/0")
    }

    fn write(&self, document: &Value, html: &mut String) {
        let _ = write!(
            html,
            "<details><summary><span class=\"method\">{}</span><code>{}</code> {}</summary><p>{}</p>",
            escaped(&self.method.to_uppercase()),
            escaped(self.path),
            escaped(text(self.value, "/summary")),
            escaped(text(self.value, "/description"))
        );
        self.write_parameters(document, html);
        let body = self.value.pointer("/requestBody/content/application~1json/schema");
        write_schema(document, "Body", body, html);
        for code in ["200", "201"] {
            let pointer = format!("/responses/{code}/content/application~1json/schema");
            write_schema(document, &format!("Answer {code}"), self.value.pointer(&pointer), html);
        }
        html.push_str("</details>");
    }

    fn write_parameters(&self, document: &Value, html: &mut String) {
        let Some(parameters) = self.value.get("parameters").and_then(Value::as_array) else { return };
        html.push_str("<h4>Parameters</h4><table>");
        for parameter in parameters {
            let parameter = resolved(document, parameter);
            let _ = write!(
                html,
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                escaped(text(parameter, "/name")),
                escaped(text(parameter, "/in")),
                escaped(text(parameter, "/description"))
            );
        }
        html.push_str("</table>");
    }
}

fn write_schema(document: &Value, title: &str, schema: Option<&Value>, html: &mut String) {
    let Some(schema) = schema.map(|schema| resolved(document, schema)) else { return };
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let _ = write!(html, "<h4>{}</h4><table>", escaped(title));
    for (name, property) in properties {
        let mark = if required.contains(&name.as_str()) { "required" } else { "" };
        let _ = write!(
            html,
            "<tr><td><code>{}</code></td><td>{}</td><td>{mark}</td><td>{}</td></tr>",
            escaped(name),
            escaped(&kind(document, property)),
            escaped(text(property, "/description"))
        );
    }
    html.push_str("</table>");
}

/// The type of a property in a few words.
fn kind(document: &Value, property: &Value) -> String {
    if let Some(values) = property.get("enum").and_then(Value::as_array) {
        return values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" | ");
    }
    if let Some(items) = property.get("items") {
        return format!("list of {}", kind(document, resolved(document, items)));
    }
    let format = text(property, "/format");
    let kind = match property.get("type") {
        Some(Value::String(kind)) => kind.clone(),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "object".to_owned(),
    };
    if format.is_empty() { kind } else { format!("{kind} ({format})") }
}

fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let reference =
        value.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
    reference.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_operation_and_loads_nothing() {
        let page = page(openapi::document());

        assert!(page.contains("/v1/appointments/{appointment_id}/confirm"));
        assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("src="));
    }

    #[test]
    fn what_comes_from_the_document_is_escaped() {
        assert_eq!(escaped("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}
