//! One attempt of a delivery: what was sent, to the byte, and what is kept of the answer.
//!
//! What was sent is computed anew by the code that sends, in the version that runs now, from the event, the version of the subscription that the
//! attempt has noted, and the moment of the attempt; nothing of it is stored. The signature is among it: whoever may
//! look here may also give the subscription a new secret. Values of the partner's own headers, and the query of the
//! URL, may be credentials and are not shown.
//!
//! A receiver may echo personal data, so that an answer is shown is an event like every reading of such data.

use std::sync::Arc;

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carelog_domain::webhook_delivery::{WebhookDelivery, WebhookDeliveryCommand};
use carelog_domain::{DeliveryId, EventType, PatientId, StreamKind, SubscriptionId, Timestamp};
use carelog_event_log::StreamKey;
use carelog_webhooks::answers::{self, Answer, Opened};
use carelog_webhooks::queries::{self, AttemptRow, DeliveryRow};
use carelog_webhooks::sending::{BodyEnd, PreparedRequest};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::{PathId, PathName, Query};
use super::caller::Caller;
use super::command::{CommandAnswer, Nothing, Wish, json};
use super::freshness::View;
use super::organizations::timestamp;
use super::page::Fresh;
use super::problem::Problem;
use super::{Api, access, schemas};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(get)).routes(routes!(expunge))
}

/// One HTTP try.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AttemptView {
    /// Numbers the attempts of the delivery from 1.
    number: i16,
    /// How it ended.
    #[schema(schema_with = schemas::attempt_outcome)]
    outcome: String,
    /// What exactly was wrong with TLS or the look-up of the name; nothing where the outcome tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schemas::attempt_detail, required = false)]
    detail: Option<String>,
    /// The HTTP status, when there was one.
    status: Option<i16>,
    /// When it began.
    #[schema(schema_with = schemas::moment)]
    started_at: Timestamp,
    /// How long it took, in milliseconds.
    duration_ms: i32,
    /// Of which for the look-up of the name. Nothing where the URL holds an address, or a kept connection was used.
    lookup_ms: Option<i32>,
    /// Of which to connect, TLS included. Nothing where a kept connection was used.
    connect_ms: Option<i32>,
    /// Of which until the head of the answer came, or did not.
    wait_ms: Option<i32>,
    /// Of which for the body of the answer.
    body_ms: Option<i32>,
    /// The version of the subscription that told what to send; nothing where nothing was, or nobody knows.
    subscription_version: Option<i64>,
}

/// One HTTP try with what went over the wire.
#[derive(Debug, Serialize, ToSchema)]
struct ExchangeView {
    #[serde(flatten)]
    attempt: AttemptView,
    /// What was sent, or would have been where no connection came about. Nothing where nobody knows any more: the
    /// worker was lost midway, or the subscription is gone.
    request: Option<RequestView>,
    /// What is kept of the answer; nothing where it had no body and no telling header, or where it was removed.
    answer: Option<AnswerView>,
}

/// What was sent.
#[derive(Debug, Serialize, ToSchema)]
struct RequestView {
    /// Always `POST`.
    method: &'static str,
    /// Where to, without a query.
    url: String,
    /// All but those with which HTTP frames a request (`host`, `accept`, `content-length`).
    headers: Vec<HeaderView>,
    /// The exact bytes; they are JSON.
    body: String,
}

/// A header.
#[derive(Debug, Serialize, ToSchema)]
struct HeaderView {
    /// Its name, in small letters.
    name: String,
    /// Its value; nothing for the subscription's own headers.
    value: Option<String>,
}

/// What is kept of an answer.
#[derive(Debug, Default, Serialize, ToSchema)]
struct AnswerView {
    /// Whether it was erased with the patient whom it may be about; then nothing else is shown.
    is_erased: bool,
    /// Those that help to understand a failure; of a redirect's target the host alone.
    headers: Vec<HeaderView>,
    /// The first bytes of the body, at most 1024.
    body: String,
    /// Whether `body` is base64, because the bytes are no UTF-8.
    is_base64: bool,
    /// How many bytes of the body were read; no more than about 16 KiB are.
    read_bytes: usize,
    /// How the body ended: `complete`, `cut_off`, `broken` or `timed_out`.
    end: Option<BodyEndView>,
}

/// How the body of an answer ended.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BodyEndView {
    Absent,
    Complete,
    CutOff,
    Broken,
    TimedOut,
}

impl AttemptView {
    pub(super) fn of(row: AttemptRow) -> Result<Self, Problem> {
        Ok(Self {
            number: row.number,
            outcome: row.outcome,
            detail: row.detail,
            status: row.status,
            started_at: timestamp(row.started_at)?,
            duration_ms: row.duration_ms,
            lookup_ms: row.lookup_ms,
            connect_ms: row.connect_ms,
            wait_ms: row.wait_ms,
            body_ms: row.body_ms,
            subscription_version: row.subscription_version,
        })
    }
}

impl RequestView {
    fn of(request: &PreparedRequest) -> Self {
        let headers = request.shown_headers().into_iter();
        Self {
            method: PreparedRequest::METHOD,
            url: request.shown_url(),
            headers: headers.map(|header| HeaderView { name: header.name, value: header.value }).collect(),
            body: String::from_utf8_lossy(&request.body()).into_owned(),
        }
    }
}

impl AnswerView {
    fn of(opened: Opened) -> Self {
        let Opened::Answer(Answer { headers, body, read_bytes, end }) = opened else {
            return Self { is_erased: true, ..Self::default() };
        };
        let (body, is_base64) = match std::str::from_utf8(&body) {
            Ok(text) => (text.to_owned(), false),
            Err(_) => (STANDARD.encode(&body), true),
        };
        Self {
            is_erased: false,
            headers: headers
                .into_iter()
                .map(|(name, value)| HeaderView { name, value: Some(value) })
                .collect(),
            body,
            is_base64,
            read_bytes,
            end: Some(end.into()),
        }
    }
}

impl From<BodyEnd> for BodyEndView {
    fn from(end: BodyEnd) -> Self {
        match end {
            BodyEnd::Absent => Self::Absent,
            BodyEnd::Complete => Self::Complete,
            BodyEnd::CutOff => Self::CutOff,
            BodyEnd::Broken => Self::Broken,
            BodyEnd::TimedOut => Self::TimedOut,
        }
    }
}

/// One attempt with what was sent and what is kept of the answer.
#[utoipa::path(get, path = "/v1/webhook-deliveries/{delivery_id}/attempts/{number}", tag = "webhooks",
    params(("delivery_id" = Uuid, Path), ("number" = i16, Path), Fresh),
    responses((status = 200, description = "It.", body = ExchangeView)))]
async fn get(
    caller: Caller,
    PathId(id): PathId,
    PathName(number): PathName<i16>,
    Query(fresh): Query<Fresh>,
) -> Result<Response, Problem> {
    caller.wait_for(fresh.wait_for.as_deref(), View::Webhooks).await?;
    let (organization_id, delivery_id) = (caller.organization_id, DeliveryId::new(id));
    let mut tx = caller.read().await?;
    let delivery = queries::delivery(&mut tx, organization_id, delivery_id).await?;
    let attempts = queries::attempts(&mut tx, organization_id, delivery_id).await?;
    let vault = caller.api.log().vault();
    let answer = answers::answers(&mut tx, vault, organization_id, delivery_id).await?.remove(&number);
    tx.commit().await?;
    let delivery = delivery.ok_or_else(Problem::not_found)?;
    let attempt = attempts.into_iter().find(|row| row.number == number).ok_or_else(Problem::not_found)?;
    let attempt = AttemptView::of(attempt)?;
    let (request, subject) = request(&caller, &delivery, &attempt).await?;
    // Somebody asked for its removal, and was stopped before it was done.
    let answer = if is_expunged(&caller, delivery_id).await? { None } else { answer };
    if matches!(answer, Some(Opened::Answer(_))) {
        access::record_read(&caller, StreamKind::WebhookDelivery, id, subject).await?;
    }
    let view = ExchangeView { attempt, request, answer: answer.map(AnswerView::of) };
    Ok(json(StatusCode::OK, &view))
}

/// Whether nothing may be shown of the answers any more, as the log has it.
async fn is_expunged(caller: &Caller, delivery_id: DeliveryId) -> Result<bool, Problem> {
    let stream = StreamKey {
        organization_id: caller.organization_id,
        kind: StreamKind::WebhookDelivery,
        id: delivery_id.uuid(),
    };
    let events = caller.api.log().stream(&stream, 0).await?;
    Ok(events.iter().any(|event| event.event_type == EventType::WebhookDeliveryAnswersExpunged))
}

/// What was sent, and whom the event is about.
async fn request(
    caller: &Caller,
    delivery: &DeliveryRow,
    attempt: &AttemptView,
) -> Result<(Option<RequestView>, Option<PatientId>), Problem> {
    let organization_id = caller.organization_id;
    let found = caller.api.log().organization(organization_id, delivery.source_sequence - 1, 1).await?;
    let event =
        found.into_iter().next().ok_or_else(|| Problem::fault("a delivered event is not in the log"))?;
    let Some(version) = attempt.subscription_version else { return Ok((None, event.subject)) };
    let key = (organization_id, SubscriptionId::new(delivery.subscription_id));
    let mut tx = caller.read().await?;
    let subscription = caller.api.subscriptions.open_at(&mut tx, key, version).await?;
    tx.commit().await?;
    let request = subscription.and_then(|subscription| {
        subscription.request(DeliveryId::new(delivery.delivery_id), &event, attempt.started_at)
    });
    Ok((request.as_ref().map(RequestView::of), event.subject))
}

/// Remove what is kept of the receiver's answers for good, and keep nothing of those to come. The outcomes stay. Where the
/// event is about a patient under a legal hold, the answers stay as well: `legal_hold`.
#[utoipa::path(post, path = "/v1/webhook-deliveries/{delivery_id}/expunge", tag = "webhooks",
    params(("delivery_id" = Uuid, Path)), request_body = Nothing,
    responses((status = 200, description = "Removed.", body = CommandAnswer)))]
async fn expunge(caller: Caller, PathId(id): PathId, wish: Wish<Nothing>) -> Result<Response, Problem> {
    let (organization_id, delivery_id) = (caller.organization_id, DeliveryId::new(id));
    let mut tx = caller.read().await?;
    let row = queries::delivery(&mut tx, organization_id, delivery_id).await?;
    tx.commit().await?;
    let row = row.ok_or_else(Problem::not_found)?;
    // What is repeated is answered as it was then.
    let patient_id = if caller.is_repeated(&wish.terms).await? {
        None
    } else {
        let source = caller.api.log().organization(organization_id, row.source_sequence - 1, 1).await?;
        source.first().and_then(|event| event.subject)
    };
    let emission = row.emission().ok_or_else(|| Problem::fault("webhooks.webhook_events.source_type"))?;
    let command = WebhookDeliveryCommand::ExpungeAnswers { emission };
    let done = caller.change_unless_held::<WebhookDelivery>(&wish.terms, id, patient_id, command).await?;
    // Also where it was done before: that time may have ended between the two.
    let mut connection = caller.api.system.databases.core_system.acquire().await?;
    answers::expunge(&mut connection, organization_id, delivery_id).await?;
    Ok(done.changed())
}
