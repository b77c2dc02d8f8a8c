//! The organization's events from a cursor, with a long poll: the pull side of webhooks.
//!
//! A cursor carries the life of the log besides the place, so that a log that was restored from an old backup and
//! went on differently is noticed instead of followed.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carelog_domain::{
    Actor, EventId, EventType, PatientId, PurposeOfUse, RequestId, Role, StreamKind, Timestamp,
};
use carelog_event_log::RecordedEvent;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::body::Query;
use super::caller::Caller;
use super::command::json;
use super::limits::Waiting;
use super::page::Window;
use super::problem::Problem;
use super::{Api, schemas};

pub(super) const LONGEST_WAIT_SECONDS: u64 = 30;
/// Pause between two looks of one waiting client: other organizations of the lane wake it too.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(follow))
}

/// From where, and how long to wait.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FollowQuery {
    /// The `next` of the answer before; from the first event where it is absent.
    after: Option<String>,
    /// So many, 50 where it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// How many seconds to wait for an event where there is none yet.
    #[param(minimum = 0, maximum = 30)]
    wait: Option<u64>,
}

/// A part of the organization's events.
#[derive(Serialize, ToSchema)]
struct EventsView<'a> {
    /// In order, without a gap for those who may see all.
    #[schema(inline)]
    events: Vec<EventView<'a>>,
    /// Give it as `after` to go on.
    next: String,
}

/// An event, without its personal part.
#[derive(Serialize, ToSchema)]
struct EventView<'a> {
    /// Its id.
    #[schema(value_type = Uuid)]
    event_id: EventId,
    /// Its type.
    #[schema(schema_with = schemas::event_type)]
    event: EventType,
    /// The version of its facts' shape.
    schema_version: u16,
    /// Its gapless place among the organization's events.
    sequence: i64,
    /// The kind of its stream.
    #[schema(schema_with = schemas::stream_kind)]
    stream_kind: StreamKind,
    /// Its stream.
    stream_id: Uuid,
    /// Its gapless place in the stream.
    version: i64,
    /// The patient whom it is about.
    #[schema(value_type = Option<Uuid>)]
    patient_id: Option<PatientId>,
    /// When it happened.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Timestamp,
    /// When it was written.
    #[schema(schema_with = schemas::moment)]
    recorded_at: Timestamp,
    /// Who caused it.
    #[schema(value_type = Object)]
    actor: &'a Actor,
    /// Why, where it was said.
    #[schema(value_type = Option<String>)]
    purpose: Option<PurposeOfUse>,
    /// Ties together what one wish led to.
    correlation_id: Uuid,
    /// The event that caused it.
    causation_id: Option<Uuid>,
    /// The HTTP request, where there was one.
    request_id: Option<Uuid>,
    /// Its facts.
    #[schema(value_type = Object)]
    facts: &'a RawValue,
    /// Whether it has a personal part, which is not shown here.
    has_personal: bool,
    /// Its leaf in the organization's tree.
    leaf_hash: String,
}

impl<'a> EventView<'a> {
    fn of(event: &'a RecordedEvent) -> Result<Self, Problem> {
        let circumstances = &event.circumstances;
        Ok(Self {
            event_id: event.event_id,
            event: event.event_type,
            schema_version: event.schema_version,
            sequence: event.organization_sequence,
            stream_kind: event.stream.kind,
            stream_id: event.stream.id,
            version: event.version,
            patient_id: event.subject,
            occurred_at: event.occurred_at,
            recorded_at: event.recorded_at,
            actor: &circumstances.actor,
            purpose: circumstances.purpose,
            correlation_id: circumstances.correlation_id.uuid(),
            causation_id: circumstances.causation_id.map(EventId::uuid),
            request_id: circumstances.request_id.map(RequestId::uuid),
            facts: serde_json::from_slice(&event.facts).map_err(|error| Problem::internal(&error))?,
            has_personal: event.personal.is_some(),
            leaf_hash: hex::encode(event.leaf_hash),
        })
    }
}

/// The organization's events in order; partners see the public ones.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(FollowQuery),
    responses((status = 200, description = "What there is.", body = inline(EventsView<'_>)),
              (status = 410, description = "The cursor is of another life of the log.")))]
async fn follow(caller: Caller, Query(query): Query<FollowQuery>) -> Result<Response, Problem> {
    let limit = Window::read(query.limit, None)?.limit_and_one() - 1;
    let wait = query.wait.unwrap_or_default();
    if wait > LONGEST_WAIT_SECONDS {
        return Err(Problem::invalid_query("wait: expected a number from 0 to 30"));
    }
    let _place = place_to_wait(&caller, wait)?;
    let epoch = caller.api.log().epoch();
    let mut after = match &query.after {
        None => 0,
        Some(cursor) => sequence_of(cursor, epoch)?,
    };
    let events = next_events(&caller, &mut after, limit, Duration::from_secs(wait)).await?;
    let events = events.iter().map(EventView::of).collect::<Result<Vec<_>, _>>()?;
    Ok(json(StatusCode::OK, &EventsView { events, next: cursor(epoch, after) }))
}

/// The next events that the caller may see; moves `after` behind everything that was looked at.
async fn next_events(
    caller: &Caller,
    after: &mut i64,
    limit: i64,
    wait: Duration,
) -> Result<Vec<RecordedEvent>, Problem> {
    let log = caller.api.log();
    let sees_all = caller.role() != Role::Partner;
    let deadline = Instant::now() + wait;
    let mut head = log.head(log.lane_of(caller.organization_id).await?);
    loop {
        head.borrow_and_update();
        let mut events = log.organization(caller.organization_id, *after, limit).await?;
        let is_full = i64::try_from(events.len()).is_ok_and(|count| count == limit);
        if let Some(last) = events.last() {
            *after = last.organization_sequence;
        }
        events.retain(|event| sees_all || event.event_type.is_public());
        if !events.is_empty() || caller.api.system.runtime.stop.is_cancelled() {
            return Ok(events);
        }
        if is_full && Instant::now() < deadline + Duration::from_secs(1) {
            continue;
        }
        let changed = tokio::select! {
            changed = tokio::time::timeout_at(deadline, head.changed()) => changed,
            () = caller.api.system.runtime.stop.cancelled() => return Ok(events),
        };
        if !matches!(changed, Ok(Ok(()))) {
            return Ok(events);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Room to wait in, for a request that says it would; to be held until its answer.
///
/// # Errors
/// When too many requests of the caller's key wait already.
pub(super) fn place_to_wait(caller: &Caller, wait_seconds: u64) -> Result<Option<Waiting>, Problem> {
    match &caller.principal {
        Some(principal) if wait_seconds > 0 => {
            caller.api.limits.begin_waiting(principal.api_key_id).map(Some)
        }
        Some(_) | None => Ok(None),
    }
}

/// The text of a place among an organization's events, in one life of the log.
pub(super) fn cursor(epoch: Uuid, sequence: i64) -> String {
    let mut bytes = [0; 24];
    let (life, place) = bytes.split_at_mut(16);
    life.copy_from_slice(epoch.as_bytes());
    place.copy_from_slice(&sequence.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The place that a cursor names.
///
/// # Errors
/// When it is none of ours, or of another life of the log.
pub(super) fn sequence_of(cursor: &str, epoch: Uuid) -> Result<i64, Problem> {
    let bytes: Option<[u8; 24]> = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| bytes.try_into().ok());
    let parts = bytes.as_ref().and_then(|bytes| bytes.split_first_chunk::<16>());
    let Some((life, place)) = parts else {
        return Err(Problem::invalid_query("after: expected the cursor of an earlier answer"));
    };
    if *life != *epoch.as_bytes() {
        return Err(Problem::new(StatusCode::GONE, "cursor_of_another_log")
            .detail("the log was replaced since this cursor was given: begin anew"));
    }
    let place: [u8; 8] = place.try_into().unwrap_or_default();
    Ok(i64::from_be_bytes(place).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_of_one_life_of_the_log() {
        let (life, another) = (Uuid::from_u128(1), Uuid::from_u128(2));

        assert_eq!(sequence_of(&cursor(life, 42), life).unwrap(), 42);
        assert_eq!(sequence_of(&cursor(life, 42), another).unwrap_err().status(), StatusCode::GONE);
        assert_eq!(sequence_of("nonsense", life).unwrap_err().code(), "invalid_query");
    }
}
