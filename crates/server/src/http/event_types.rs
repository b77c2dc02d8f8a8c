//! The catalogue of events: what partners may receive, how it looks, and an example. No organization's data is in it.

use std::sync::{Arc, LazyLock};

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use carelog_domain::webhook_subscription::WebhookFormat;
use carelog_domain::{EventType, StreamKind};
use carelog_webhooks::catalogue::{ByFormat, PublishedType, catalogue};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::PathName;
use super::caller::{Caller, text};
use super::problem::Problem;
use super::{Api, schemas};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get))
}

/// Every type of event that partners may receive.
#[derive(Serialize, ToSchema)]
struct CatalogueView<'a> {
    /// JSON Schema of what stands around `data`, by format.
    #[schema(inline)]
    envelopes: ByFormatView<'a>,
    /// The types.
    #[schema(inline)]
    items: Vec<EventTypeView<'a>>,
}

/// Something for each format of a body.
#[derive(Serialize, ToSchema)]
struct ByFormatView<'a> {
    /// For the plain envelope of Standard Webhooks.
    #[schema(value_type = Object)]
    standard: &'a Value,
    /// For the structured CloudEvent.
    #[schema(value_type = Object)]
    cloudevents: &'a Value,
}

/// A type of event as partners receive it.
#[derive(Serialize, ToSchema)]
struct EventTypeView<'a> {
    /// The type.
    #[schema(schema_with = schemas::public_event_type)]
    name: EventType,
    /// The kind of aggregate that it happens to.
    #[schema(schema_with = schemas::stream_kind)]
    aggregate: StreamKind,
    /// What happened.
    description: &'a str,
    /// The version of the shape of `data`.
    schema_version: u16,
    /// The name of the schema: its `$id`, and `dataschema` in a CloudEvent.
    dataschema: &'a str,
    /// JSON Schema (2020-12) of `data`.
    #[schema(value_type = Object)]
    schema: &'a Value,
    /// A whole body in each format.
    #[schema(inline)]
    examples: ByFormatView<'a>,
    /// JSON Schema of a whole body in each format; only where one type is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(inline)]
    body_schemas: Option<ByFormatView<'a>>,
}

impl<'a> ByFormatView<'a> {
    const fn of(by_format: &'a ByFormat) -> Self {
        Self { standard: &by_format.standard, cloudevents: &by_format.cloudevents }
    }
}

impl<'a> EventTypeView<'a> {
    fn of(item: &'a PublishedType) -> Self {
        Self {
            name: item.name,
            aggregate: item.aggregate,
            description: item.description,
            schema_version: item.schema_version,
            dataschema: &item.dataschema,
            schema: &item.schema,
            examples: ByFormatView::of(&item.examples),
            body_schemas: None,
        }
    }
}

/// An answer that is the same until another build runs.
struct Constant {
    bytes: Bytes,
    etag: String,
}

impl Constant {
    fn of(view: &impl Serialize) -> Self {
        let bytes = serde_json::to_vec(view).unwrap_or_default();
        let etag = format!("\"{}\"", hex::encode(Sha256::digest(&bytes)));
        Self { bytes: bytes.into(), etag }
    }

    /// The answer, or that the caller has it already.
    fn respond(&self, headers: &HeaderMap) -> Result<Response, Problem> {
        let etag = HeaderValue::from_str(&self.etag).map_err(|error| Problem::internal(&error))?;
        let shared = [(header::ETAG, etag), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
        let known = text(headers, header::IF_NONE_MATCH.as_str()).unwrap_or_default();
        let is_known = known
            .split(',')
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == "*" || tag == self.etag);
        if is_known {
            return Ok((StatusCode::NOT_MODIFIED, shared).into_response());
        }
        let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        Ok((shared, content_type, self.bytes.clone()).into_response())
    }
}

static LIST: LazyLock<Constant> = LazyLock::new(|| {
    let items = catalogue().items.iter().map(EventTypeView::of).collect();
    Constant::of(&CatalogueView { envelopes: ByFormatView::of(&catalogue().envelopes), items })
});

/// Every type of event that partners may receive, with its schema and examples. The same for every key.
#[utoipa::path(get, path = "/v1/event-types", tag = "webhooks",
    params(("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier answer.")),
    responses((status = 200, description = "All of them.", body = inline(CatalogueView<'_>)),
              (status = 304, description = "As before.")))]
async fn list(_: Caller, headers: HeaderMap) -> Result<Response, Problem> {
    LIST.respond(&headers)
}

/// One type of event, with schemas that a validator can take as they are.
#[utoipa::path(get, path = "/v1/event-types/{event_type}", tag = "webhooks",
    params(("event_type" = String, Path, description = "Its name, such as `appointment.booked`."),
           ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier answer.")),
    responses((status = 200, description = "It.", body = inline(EventTypeView<'_>)),
              (status = 304, description = "As before.")))]
async fn get(
    _: Caller,
    PathName(event_type): PathName<EventType>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let item = catalogue().find(event_type).ok_or_else(Problem::not_found)?;
    let [standard, cloudevents] =
        [WebhookFormat::Standard, WebhookFormat::Cloudevents].map(|format| item.body_schema(format));
    let body_schemas = ByFormatView { standard: &standard, cloudevents: &cloudevents };
    Constant::of(&EventTypeView { body_schemas: Some(body_schemas), ..EventTypeView::of(item) })
        .respond(&headers)
}
