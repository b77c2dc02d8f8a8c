//! The API's document (OpenAPI 3.1), made from the code: the routes describe themselves, and what is the same for all
//! of them is added here once.

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::authorization::{self, Allows};
use super::problem::{FieldProblem, ProblemBody};
use super::resources;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Carelog",
        description = "The event log of a tele-rehabilitation platform. Commands append events, reads show current \
                       state, and no event is ever changed or removed.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(ProblemBody<'static>, FieldProblem))
)]
struct Frame;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let (_, document) = resources().split_for_parts();
    let mut document = serde_json::to_value(document).unwrap_or_default();
    complete(&mut document);
    document
});

static BYTES: LazyLock<bytes::Bytes> =
    LazyLock::new(|| serde_json::to_vec(&*DOCUMENT).unwrap_or_default().into());

/// The document before any route is added.
pub(super) fn frame() -> utoipa::openapi::OpenApi {
    Frame::openapi()
}

/// The whole document.
pub(super) fn document() -> &'static Value {
    &DOCUMENT
}

/// `GET /openapi.json`
pub(super) async fn serve() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], BYTES.clone()).into_response()
}

/// Adds what every operation shares: its name, its key, its headers and its refusals.
fn complete(document: &mut Value) {
    if let Some(components) = document.pointer_mut("/components").and_then(Value::as_object_mut) {
        components.insert("securitySchemes".to_owned(), security_schemes());
        components.insert("parameters".to_owned(), parameters());
    }
    let Some(paths) = document.pointer_mut("/paths").and_then(Value::as_object_mut) else { return };
    // The router's mark of a parameter that takes the rest of a path.
    let marked: Vec<String> = paths.keys().filter(|path| path.contains("{*")).cloned().collect();
    for path in marked {
        if let Some(item) = paths.remove(&path) {
            paths.insert(path.replace("{*", "{"), item);
        }
    }
    for (path, item) in paths {
        let Some(item) = item.as_object_mut() else { continue };
        for (method, operation) in item {
            if let Some(operation) = operation.as_object_mut() {
                complete_operation(&method.to_uppercase(), path, operation);
            }
        }
    }
}

fn complete_operation(method: &str, path: &str, operation: &mut Map<String, Value>) {
    let name = path.trim_start_matches("/v1/").replace(['/', '-'], "_").replace(['{', '}'], "");
    operation.insert("operationId".to_owned(), format!("{}_{name}", method.to_lowercase()).into());
    let is_operators = authorization::allows(method, path) == Some(Allows::Operator);
    let scheme = if is_operators { "operator_key" } else { "api_key" };
    operation.insert("security".to_owned(), json!([{ scheme: [] }]));
    if let Some(Allows::Keys(scope, roles)) = authorization::allows(method, path) {
        let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        let note = format!("Scope `{scope}`; roles: {}.", roles.join(", "));
        operation.entry("description").or_insert(note.into());
    }
    let is_command = method != "GET";
    let names: &[&str] = if is_command {
        &["RequestId", "CorrelationId", "PurposeOfUse", "IdempotencyKey", "IfMatch"]
    } else {
        &["RequestId", "CorrelationId", "PurposeOfUse", "CarelogWait"]
    };
    let shared = names.iter().map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }));
    if let Some(list) = operation.entry("parameters").or_insert_with(|| json!([])).as_array_mut() {
        list.extend(shared);
    }
    let codes: &[&str] = if is_command {
        &["400", "401", "403", "404", "409", "412", "413", "415", "422", "429", "500", "503"]
    } else {
        &["400", "401", "403", "404", "422", "429", "500", "503"]
    };
    if let Some(responses) = operation.entry("responses").or_insert_with(|| json!({})).as_object_mut() {
        for code in codes {
            responses.insert((*code).to_owned(), refusal(code));
        }
        for code in ["406", "410"] {
            if responses.contains_key(code) {
                responses.insert(code.to_owned(), refusal(code));
            }
        }
    }
}

fn refusal(code: &str) -> Value {
    let description = match code {
        "400" => "No JSON, or a header that does not fit.",
        "401" => "No key, or none that is valid.",
        "403" => "The key may not do this.",
        "404" => "Not known to the key's organization.",
        "406" => "In no form that `Accept` names.",
        "409" => "The present state does not allow it, or the idempotency key is in use.",
        "410" => "The cursor is of another life of the log.",
        "412" => "It is not at the version named in `If-Match`.",
        "413" => "The body is too long.",
        "415" => "The body is not called JSON.",
        "422" => "A part of the request does not fit.",
        "429" => "Too many requests; see `Retry-After`.",
        "500" => "A failure here; the log has it under the request id.",
        _ => "Not at present; see `Retry-After`.",
    };
    json!({
        "description": description,
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
    })
}

fn security_schemes() -> Value {
    json!({
        "api_key": {
            "type": "http",
            "scheme": "bearer",
            "description": "`clk_<id>_<secret>`, bound to one organization.",
        },
        "operator_key": {
            "type": "http",
            "scheme": "bearer",
            "description": "`clo_<secret>`, from the file `operator.key` in Carelog's home.",
        },
    })
}

fn parameters() -> Value {
    let header = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "header", "required": false, "description": description, "schema": schema });
    let uuid = || json!({ "type": "string", "format": "uuid" });
    let purposes: Vec<&str> =
        carelog_domain::PurposeOfUse::ALL.iter().map(|purpose| purpose.as_str()).collect();
    json!({
        "RequestId": header("X-Request-Id", "Names the request in answers and logs.", uuid()),
        "CorrelationId": header("X-Correlation-Id", "Ties together what one wish led to.", uuid()),
        "PurposeOfUse": header(
            "X-Purpose-Of-Use", "Why records are touched.", json!({ "type": "string", "enum": purposes })
        ),
        "IdempotencyKey": header(
            "Idempotency-Key",
            "A repetition with the same key and body gets the first answer.",
            json!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" })
        ),
        "IfMatch": header(
            "If-Match",
            "The version that the caller has in mind, as in `ETag`.",
            json!({ "type": "string", "pattern": "^\"[0-9]{1,18}\"$" })
        ),
        "CarelogWait": header(
            "Carelog-Wait", "As `wait_for` in the query.", json!({ "type": "string" })
        ),
    })
}
