//! Bodies, queries and paths of requests, each refused with a pointer to what is wrong.
//!
//! A parser's message quotes the value that it did not expect; here that could be a name. The answers therefore say
//! what was expected, and never what was given.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment, Track};
use uuid::Uuid;

use super::Api;
use super::problem::Problem;

/// How much of a body that is too long is taken in, so that its sender comes to read the answer.
const MAX_DRAINED_BYTES: usize = 4 << 20;

/// Takes a body in, up to a length.
///
/// # Errors
/// When it is longer, breaks off, or is not called JSON.
pub(super) async fn collect(
    headers: &HeaderMap,
    body: axum::body::Body,
    max_bytes: usize,
) -> Result<Bytes, Problem> {
    let bytes = collect_bytes(headers, body, max_bytes).await?;
    if bytes.is_empty() || is_json(headers) {
        return Ok(bytes);
    }
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type")
        .detail("send application/json"))
}

/// Takes a body of any type in, up to a length.
///
/// # Errors
/// When it is longer, or breaks off.
pub(super) async fn collect_bytes(
    headers: &HeaderMap,
    mut body: axum::body::Body,
    max_bytes: usize,
) -> Result<Bytes, Problem> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max_bytes) {
        drain(body).await;
        return Err(too_large(max_bytes));
    }
    match Limited::new(&mut body, max_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            drain(body).await;
            Err(too_large(max_bytes))
        }
        Err(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "body_broke_off")),
    }
}

/// Takes the rest of a body that is refused and forgets it. A connection that is closed with bytes unread is reset,
/// and the reset may overtake the answer.
async fn drain(body: axum::body::Body) {
    let mut rest = Limited::new(body, MAX_DRAINED_BYTES);
    while let Some(Ok(_)) = rest.frame().await {}
}

fn too_large(max_bytes: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large")
        .detail(format!("a body has at most {max_bytes} bytes"))
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// Reads a body. None at all counts as an object without fields.
///
/// # Errors
/// When it is no JSON, or not of this shape.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    // A parser would take a list for the fields in their order.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::invalid("", "expected an object"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value =
        serde_path_to_error::deserialize(&mut json).map_err(|error| refused(error.inner(), error.path()))?;
    // What follows the value belongs to no field.
    json.end().map_err(|error| refused(&error, &Track::new().path()))?;
    Ok(value)
}

fn refused(error: &serde_json::Error, path: &Path) -> Problem {
    match error.classify() {
        serde_json::error::Category::Data => {
            let (field, detail) = redacted(&error.to_string());
            let mut pointer = pointer(path);
            // A missing or unknown field is reported at its parent.
            if let Some(field) = field
                && !pointer.ends_with(&format!("/{field}"))
            {
                push(&mut pointer, &field);
            }
            Problem::invalid(pointer, detail)
        }
        serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof
        | serde_json::error::Category::Io => Problem::new(StatusCode::BAD_REQUEST, "malformed_json")
            .detail(format!("no JSON from line {} column {}", error.line(), error.column())),
    }
}

/// The field that a message is about, and what it says without the value.
fn redacted(message: &str) -> (Option<String>, Cow<'static, str>) {
    let message = message.rsplit_once(" at line ").map_or(message, |(message, _)| message);
    let named = |prefix: &str| {
        let rest = message.strip_prefix(prefix)?.strip_prefix('`')?;
        rest.split_once('`').map(|(name, _)| name.to_owned())
    };
    if let Some(field) = named("missing field ") {
        return (Some(field), Cow::Borrowed("is missing"));
    }
    if let Some(field) = named("unknown field ") {
        return (Some(field), Cow::Borrowed("is not a field of this body"));
    }
    if let Some(field) = named("duplicate field ") {
        return (Some(field), Cow::Borrowed("stands there twice"));
    }
    if let Some((_, expected)) = message.rsplit_once("expected ") {
        return (None, Cow::Owned(format!("expected {expected}")));
    }
    (None, Cow::Borrowed("is not valid"))
}

fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                let _ = write!(pointer, "/{index}");
            }
            Segment::Map { key } => push(&mut pointer, key),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

fn push(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

/// The query of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Api>> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Api>) -> Result<Self, Problem> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| {
                let message = rejection.body_text();
                let message = message.rsplit_once("query string: ").map_or("", |(_, message)| message);
                match redacted(message) {
                    (Some(field), detail) => Problem::invalid_query(format!("{field}: {detail}")),
                    (None, detail) => {
                        let name = message.split_once(": ").map_or("", |(name, _)| name);
                        let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                        let name = if is_name { name } else { "" };
                        Problem::invalid_query(format!("{name}: {detail}"))
                    }
                }
            })
    }
}

/// The id in a path. What is no id names nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathId(pub Uuid);

impl FromRequestParts<Arc<Api>> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let params = path_params(parts, api).await?;
        let first = params.iter().next().and_then(|(_, text)| text.parse().ok());
        first.map(Self).ok_or_else(Problem::not_found)
    }
}

/// The name at the end of a path. What is no such name names nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathName<T>(pub T);

impl<T: FromStr> FromRequestParts<Arc<Api>> for PathName<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let params = path_params(parts, api).await?;
        let last = params.iter().last().and_then(|(_, text)| text.parse().ok());
        last.map(Self).ok_or_else(Problem::not_found)
    }
}

async fn path_params(parts: &mut Parts, api: &Arc<Api>) -> Result<RawPathParams, Problem> {
    RawPathParams::from_request_parts(parts, api).await.map_err(|_| Problem::not_found())
}
