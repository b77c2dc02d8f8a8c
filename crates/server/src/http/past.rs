//! Records as they were, for whoever answers for them: at a version, at a moment, and what changed between two versions.
//!
//! Shown are the same views as of the live records, with the personal values that their versions had, as far as their keys
//! are there. All is read from the log itself, so that nothing that was answered before is missing.

mod view;

use std::sync::Arc;

use axum::extract::{FromRequestParts, OriginalUri, RawPathParams};
use axum::response::Response;
use carelog_domain::access::DenialReason;
use carelog_domain::organization::Scope;
use carelog_domain::{Actor, EventId, EventType, PurposeOfUse, RequestId, Timestamp};
use carelog_event_log::{LogPosition, RecordedEvent};
use http::StatusCode;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) use self::view::{PastSubscriptionView, StateView};
use super::body::Query;
use super::caller::{Caller, forbidden};
use super::command::json;
use super::page::{Page, Window};
use super::problem::Problem;
use super::{Api, access, freshness, schemas};
use crate::past::difference::differences;
use crate::past::{self, Moment, Past, PastError, RecordKind};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(state)).routes(routes!(versions)).routes(routes!(changes))
}

/// The record in a path. What is no kind or no id names nothing.
#[derive(Clone, Copy, Debug, IntoParams)]
#[into_params(parameter_in = Path)]
struct RecordPath {
    /// What kind of record.
    #[param(schema_with = schemas::record_kind)]
    kind: RecordKind,
    /// Its id; a video room has one of its own, which the trail names.
    record_id: Uuid,
}

impl FromRequestParts<Arc<Api>> for RecordPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, api).await.map_err(|_| Problem::not_found())?;
        let mut texts = params.iter().map(|(_, text)| text);
        let kind = texts.next().and_then(|text| text.parse().ok());
        let id = texts.next().and_then(|text| text.parse().ok());
        kind.zip(id).map(|(kind, record_id)| Self { kind, record_id }).ok_or_else(Problem::not_found)
    }
}

/// Up to where it is looked back; the newest state where nothing is given, and one thing at most.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MomentQuery {
    /// As it was at this version.
    #[param(minimum = 1)]
    version: Option<i64>,
    /// As it was known at this moment: by when events were written.
    #[param(schema_with = schemas::moment, required = false)]
    known_at: Option<Timestamp>,
    /// As it was at this moment, as far as is known today: by when events happened.
    #[param(schema_with = schemas::moment, required = false)]
    true_at: Option<Timestamp>,
}

/// Between which versions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ChangesQuery {
    /// The earlier version; with 0, which has nothing, all is new.
    #[param(minimum = 0)]
    from: i64,
    /// The later version.
    #[param(minimum = 1)]
    to: i64,
}

/// Which versions are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct VersionsQuery {
    /// The `next` of the page before.
    after: Option<String>,
    /// So many, 50 where it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

/// A record as it was.
#[derive(Serialize, ToSchema)]
struct PastView {
    /// What kind of record.
    #[schema(schema_with = schemas::record_kind)]
    kind: RecordKind,
    /// Its id.
    id: Uuid,
    /// The newest version among the events that made this state.
    version: i64,
    /// How many events made this state. Fewer than `version` where events were told late.
    event_count: usize,
    /// The newest version that there is.
    newest_version: i64,
    /// The record, as reads of it show it.
    state: StateView,
}

/// One version of a record, and the event that made it.
#[derive(Serialize, ToSchema)]
struct VersionView {
    /// The version.
    version: i64,
    /// The event.
    event_id: Uuid,
    /// Its type.
    #[schema(schema_with = schemas::event_type)]
    event: EventType,
    /// By whom.
    #[schema(value_type = Object)]
    actor: Actor,
    /// Why, where it was said.
    #[schema(value_type = Option<String>)]
    purpose: Option<PurposeOfUse>,
    /// When it happened.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Timestamp,
    /// When it was written to the log.
    #[schema(schema_with = schemas::moment)]
    recorded_at: Timestamp,
    /// Ties together what one wish led to.
    correlation_id: Uuid,
    /// The event that caused it.
    causation_id: Option<Uuid>,
    /// The HTTP request, where there was one.
    request_id: Option<Uuid>,
    /// Its gapless place among the organization's events.
    sequence: i64,
    /// Its place in the log; give it to a read as `wait_for`.
    position: String,
}

/// What changed between two versions of a record.
#[derive(Serialize, ToSchema)]
struct ChangesView {
    /// What kind of record.
    #[schema(schema_with = schemas::record_kind)]
    kind: RecordKind,
    /// Its id.
    id: Uuid,
    /// The earlier version.
    from: i64,
    /// The later version.
    to: i64,
    /// Each place of the state that differs.
    changes: Vec<ChangeView>,
}

/// A place of the state that differs.
#[derive(Serialize, ToSchema)]
struct ChangeView {
    /// JSON pointer (RFC 6901) into the state.
    pointer: String,
    /// What stood there; absent where nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    before: Option<Value>,
    /// What stands there; absent where nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    after: Option<Value>,
}

impl From<&RecordedEvent> for VersionView {
    fn from(event: &RecordedEvent) -> Self {
        let circumstances = &event.circumstances;
        Self {
            version: event.version,
            event_id: event.event_id.uuid(),
            event: event.event_type,
            actor: circumstances.actor,
            purpose: circumstances.purpose,
            occurred_at: event.occurred_at,
            recorded_at: event.recorded_at,
            correlation_id: circumstances.correlation_id.uuid(),
            causation_id: circumstances.causation_id.map(EventId::uuid),
            request_id: circumstances.request_id.map(RequestId::uuid),
            sequence: event.organization_sequence,
            position: freshness::token(LogPosition { lane: event.lane, position: event.position }),
        }
    }
}

impl MomentQuery {
    fn moment(&self) -> Result<Moment, Problem> {
        match (self.version, self.known_at, self.true_at) {
            (None, None, None) => Ok(Moment::Newest),
            (Some(version), None, None) if version >= 1 => Ok(Moment::Version(version)),
            (Some(_), None, None) => Err(Problem::invalid_query("version: expected a number from 1")),
            (None, Some(moment), None) => Ok(Moment::KnownAt(moment)),
            (None, None, Some(moment)) => Ok(Moment::TrueAt(moment)),
            _ => Err(Problem::invalid_query("expected one of version, known_at and true_at")),
        }
    }
}

/// A record as it was.
#[utoipa::path(get, path = "/v1/records/{kind}/{record_id}", tag = "history", params(RecordPath, MomentQuery),
    responses((status = 200, description = "It, as it was.", body = PastView)))]
async fn state(
    caller: Caller,
    path: RecordPath,
    Query(query): Query<MomentQuery>,
) -> Result<Response, Problem> {
    let moment = query.moment()?;
    let events = read(&caller, path).await?;
    let beside = read_beside(&caller, path).await?;
    let past = fold(path.kind, &events, &beside, moment)?;
    let newest_version = events.last().map_or(0, |event| event.version);
    let (version, event_count) = (past.version, past.event_count);
    let state = StateView::open(&caller, past.record).await?;
    record_read(&caller, path, &events).await?;
    let view = PastView { kind: path.kind, id: path.record_id, version, event_count, newest_version, state };
    Ok(json(StatusCode::OK, &view))
}

/// The versions of a record, the oldest first: who changed it, when, and as part of what.
#[utoipa::path(get, path = "/v1/records/{kind}/{record_id}/versions", tag = "history",
    params(RecordPath, VersionsQuery),
    responses((status = 200, description = "One page.", body = Page<VersionView>)))]
async fn versions(
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    path: RecordPath,
    Query(query): Query<VersionsQuery>,
) -> Result<Response, Problem> {
    let window = Window::read(query.limit, query.after.as_deref())?;
    let events = read(&caller, path).await?;
    let after = window.cursor().map_or(0, |cursor| cursor.number);
    let limit = usize::try_from(window.limit_and_one()).unwrap_or_default();
    let later = events.iter().filter(|event| event.version > after).take(limit);
    let (items, next) = window.cut(later.map(VersionView::from).collect(), |version| version.version);
    record_read(&caller, path, &events).await?;
    Ok(Page::<VersionView> { items, next }.respond(&uri))
}

/// What changed between two versions of a record. `version` and `updated_at`, which always do, are left out.
#[utoipa::path(get, path = "/v1/records/{kind}/{record_id}/changes", tag = "history",
    params(RecordPath, ChangesQuery),
    responses((status = 200, description = "What differs.", body = ChangesView)))]
async fn changes(
    caller: Caller,
    path: RecordPath,
    Query(query): Query<ChangesQuery>,
) -> Result<Response, Problem> {
    let ChangesQuery { from, to } = query;
    if from < 0 || to < 1 {
        return Err(Problem::invalid_query("expected from to be 0 or more, and to to be 1 or more"));
    }
    if to < from {
        return Err(ends_before_it_begins());
    }
    let events = read(&caller, path).await?;
    let beside = read_beside(&caller, path).await?;
    // The later one is looked at first: it is the one that may not be there.
    let after = compared(&caller, fold(path.kind, &events, &beside, Moment::Version(to))?).await?;
    let before = match from {
        0 => Value::Object(serde_json::Map::new()),
        from => compared(&caller, fold(path.kind, &events, &beside, Moment::Version(from))?).await?,
    };
    let changes = differences(&before, &after);
    record_read(&caller, path, &events).await?;
    let changes = changes.into_iter().map(|found| ChangeView {
        pointer: found.pointer,
        before: found.before,
        after: found.after,
    });
    let view = ChangesView { kind: path.kind, id: path.record_id, from, to, changes: changes.collect() };
    Ok(json(StatusCode::OK, &view))
}

/// The answer to a range that runs backwards.
pub(super) fn ends_before_it_begins() -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "range_ends_before_it_begins")
        .detail("the range ends before it begins")
}

/// Every event of a record of the caller's organization.
async fn read(caller: &Caller, path: RecordPath) -> Result<Vec<RecordedEvent>, Problem> {
    let may_see_webhooks =
        caller.principal.as_ref().is_none_or(|principal| principal.scopes.contains(&Scope::Webhooks));
    if path.kind == RecordKind::WebhookSubscription && !may_see_webhooks {
        return Err(caller.refuse(DenialReason::MissingScope, forbidden("missing_scope")).await);
    }
    let events = past::events(caller.api.log(), caller.organization_id, path.kind, path.record_id).await?;
    if events.is_empty() { Err(Problem::not_found()) } else { Ok(events) }
}

async fn read_beside(caller: &Caller, path: RecordPath) -> Result<Vec<RecordedEvent>, Problem> {
    let log = caller.api.log();
    Ok(past::events_beside(log, caller.organization_id, path.kind, path.record_id).await?)
}

fn fold(
    kind: RecordKind,
    events: &[RecordedEvent],
    beside: &[RecordedEvent],
    moment: Moment,
) -> Result<Past, Problem> {
    past::fold(kind, events, beside, moment).map_err(|error| match error {
        PastError::Unknown => Problem::not_found(),
        PastError::VersionBeyondLast { last } => Problem::new(StatusCode::NOT_FOUND, "version_beyond_last")
            .detail(format!("the record has {last} versions")),
        PastError::BeforeFirstEvent => Problem::new(StatusCode::NOT_FOUND, "before_first_event")
            .detail("the record begins later than that"),
        error @ (PastError::Codec(_) | PastError::Fold(_)) => Problem::internal(&error),
    })
}

async fn compared(caller: &Caller, past: Past) -> Result<Value, Problem> {
    let state = StateView::open(caller, past.record).await?;
    let mut state = serde_json::to_value(&state).map_err(|error| Problem::internal(&error))?;
    if let Some(fields) = state.as_object_mut() {
        fields.retain(|name, _| name != "version" && name != "updated_at");
    }
    Ok(state)
}

/// Before anything of a record leaves.
async fn record_read(caller: &Caller, path: RecordPath, events: &[RecordedEvent]) -> Result<(), Problem> {
    let patient_id = events.first().and_then(|event| event.subject);
    access::record_read(caller, path.kind.stream_kind(), path.record_id, patient_id).await
}
