//! The audit trail: who did what to whose record. Asking for it is an entry of its own.

use std::sync::Arc;

use axum::extract::OriginalUri;
use axum::response::Response;
use carelog_audit::{Action, Entry, Order, Outcome, TrailFilter, TrailPage, queries};
use carelog_domain::{
    Actor, CorrelationId, EventId, EventType, Origin, PatientId, PurposeOfUse, RequestId, StreamKind,
    Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::body::Query;
use super::caller::Caller;
use super::freshness::View;
use super::page::{Page, Window};
use super::problem::Problem;
use super::{Api, access, schemas};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list))
}

/// In which direction the list runs.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum OrderQuery {
    #[default]
    NewestFirst,
    OldestFirst,
}

/// Which entries are listed; everything that is given has to hold.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// About one patient.
    patient_id: Option<Uuid>,
    /// Done by one key, run or component.
    actor_id: Option<Uuid>,
    /// Done to one record.
    target_id: Option<Uuid>,
    /// Event types that begin so: `appointment.`, or a whole type.
    event: Option<String>,
    /// Part of one wish.
    correlation_id: Option<Uuid>,
    /// Happened at this moment or later.
    #[param(schema_with = schemas::moment, required = false)]
    from: Option<Timestamp>,
    /// Happened before this moment.
    #[param(schema_with = schemas::moment, required = false)]
    before: Option<Timestamp>,
    /// What was done.
    #[param(schema_with = schemas::action, required = false)]
    action: Option<Action>,
    /// Whether it was done.
    #[param(schema_with = schemas::outcome, required = false)]
    outcome: Option<Outcome>,
    /// In which direction; the newest first where it is absent.
    #[param(inline)]
    order: Option<OrderQuery>,
    /// The `next` of the page before.
    after: Option<String>,
    /// So many, 50 where it is absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
    /// The `position` of a command that the list has to show.
    wait_for: Option<String>,
}

/// An entry of the trail.
#[derive(Debug, Serialize, ToSchema)]
struct EntryView {
    /// Its gapless place among the organization's events.
    sequence: i64,
    /// The event that it is about.
    event_id: Uuid,
    /// The event's type.
    #[schema(schema_with = schemas::event_type)]
    event: EventType,
    /// What was done.
    #[schema(schema_with = schemas::action)]
    action: Action,
    /// Whether it was done.
    #[schema(schema_with = schemas::outcome)]
    outcome: Outcome,
    /// To what kind of record.
    #[schema(schema_with = schemas::stream_kind)]
    target_kind: StreamKind,
    /// To which record; nothing where it was a list.
    target_id: Option<Uuid>,
    /// About whom.
    patient_id: Option<Uuid>,
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
    /// Live or imported.
    #[schema(value_type = String)]
    origin: Origin,
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        let circumstances = entry.circumstances;
        Self {
            sequence: entry.sequence,
            event_id: entry.event_id.uuid(),
            event: entry.event_type,
            action: entry.action,
            outcome: entry.outcome,
            target_kind: entry.target_kind,
            target_id: entry.target_id,
            patient_id: entry.subject_id.map(PatientId::uuid),
            actor: circumstances.actor,
            purpose: circumstances.purpose,
            occurred_at: entry.occurred_at,
            recorded_at: entry.recorded_at,
            correlation_id: circumstances.correlation_id.uuid(),
            causation_id: circumstances.causation_id.map(EventId::uuid),
            request_id: circumstances.request_id.map(RequestId::uuid),
            origin: circumstances.origin,
        }
    }
}

/// Entries of the audit trail.
#[utoipa::path(get, path = "/v1/trail", tag = "trail", params(ListQuery),
    responses((status = 200, description = "One page.", body = Page<EntryView>)))]
async fn list(
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let window = Window::read(query.limit, query.after.as_deref())?;
    let is_type =
        |text: &str| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_lowercase() || b"._".contains(&b));
    if query.event.as_deref().is_some_and(|event| !is_type(event)) {
        return Err(Problem::invalid_query("event: expected the beginning of an event type"));
    }
    caller.wait_for(query.wait_for.as_deref(), View::Trail).await?;
    let filter = TrailFilter {
        subject_id: query.patient_id.map(PatientId::new),
        actor_id: query.actor_id,
        target_id: query.target_id,
        event_type_prefix: query.event,
        correlation_id: query.correlation_id.map(CorrelationId::new),
        occurred_from: query.from,
        occurred_before: query.before,
        action: query.action,
        outcome: query.outcome,
    };
    let page = TrailPage {
        order: match query.order.unwrap_or_default() {
            OrderQuery::NewestFirst => Order::NewestFirst,
            OrderQuery::OldestFirst => Order::OldestFirst,
        },
        after: window.cursor().map(|cursor| cursor.number),
        limit: window.of_records().limit,
    };
    let mut tx = caller.read_trail().await?;
    let entries = queries::list_entries(&mut tx, caller.organization_id, &filter, page).await?;
    tx.commit().await?;
    let (entries, next) = window.cut(entries, |entry| entry.sequence);
    access::record_trail_query(&caller, filter.subject_id, entries.len()).await?;
    let items = entries.into_iter().map(EntryView::from).collect();
    Ok(Page::<EntryView> { items, next }.respond(&uri))
}
