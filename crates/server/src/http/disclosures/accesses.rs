//! Who touched a patient's records, as the patient may see it.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::OriginalUri;
use axum::response::Response;
use carelog_audit::{Action, Entry, Order, Outcome, TrailFilter, TrailPage, queries};
use carelog_domain::access::AccessEvent;
use carelog_domain::{EventType, PatientId, PurposeOfUse, StreamKind, Timestamp};
use carelog_event_log::RecordedEvent;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::suspensions::{self, SuspensionView};
use super::{ListQuery, accounting, known};
use crate::http::body::{PathId, Query};
use crate::http::caller::Caller;
use crate::http::freshness::View;
use crate::http::page::{Page, Window};
use crate::http::problem::Problem;
use crate::http::{Api, access, schemas};

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list_accesses))
}

/// Somebody touched the patient's records. Who it was is not told here.
#[derive(Serialize, ToSchema)]
struct PatientAccessView {
    /// When.
    #[schema(schema_with = schemas::moment)]
    occurred_at: Timestamp,
    /// What was done.
    #[schema(schema_with = schemas::action)]
    action: Action,
    /// Whether it was done.
    #[schema(schema_with = schemas::outcome)]
    outcome: Outcome,
    /// To what kind of record.
    #[schema(schema_with = schemas::stream_kind)]
    kind: StreamKind,
    /// In which way.
    #[schema(schema_with = schemas::event_type)]
    event: EventType,
    /// What for, where it was said.
    #[schema(value_type = Option<String>)]
    purpose: Option<PurposeOfUse>,
}

impl From<Entry> for PatientAccessView {
    fn from(entry: Entry) -> Self {
        Self {
            occurred_at: entry.occurred_at,
            action: entry.action,
            outcome: entry.outcome,
            kind: entry.target_kind,
            event: entry.event_type,
            purpose: entry.circumstances.purpose,
        }
    }
}

/// Who touched a patient's records, as the patient may see it: when, what and what for, and no one's name or id.
#[utoipa::path(get, path = "/v1/patients/{patient_id}/accesses", tag = "history",
    params(("patient_id" = Uuid, Path), ListQuery),
    responses((status = 200, description = "One page.", body = Page<PatientAccessView>)))]
async fn list_accesses(
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    PathId(id): PathId,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let window = Window::read(query.limit, query.after.as_deref())?;
    caller.may_touch(PatientId::new(id)).await?;
    let patient_id = known(&caller, id).await?;
    caller.wait_for(query.wait_for.as_deref(), View::Trail).await?;
    let filter = TrailFilter { subject_id: Some(patient_id), ..TrailFilter::default() };
    let mut page = TrailPage {
        order: Order::NewestFirst,
        after: window.cursor().map(|cursor| cursor.number),
        limit: window.of_records().limit,
    };
    let wanted = usize::from(page.limit);
    let mut told = Vec::new();
    // Until a page is full: a gap would tell of what stands there.
    loop {
        let mut tx = caller.read_trail().await?;
        let entries = queries::list_entries(&mut tx, caller.organization_id, &filter, page).await?;
        tx.commit().await?;
        let is_last = entries.len() < wanted;
        page.after = entries.last().map(|entry| entry.sequence).or(page.after);
        told.extend(told_to_patient(&caller, patient_id, entries).await?);
        if is_last || told.len() >= wanted {
            break;
        }
    }
    let (entries, next) = window.cut(told, |entry| entry.sequence);
    access::record_trail_query(&caller, Some(patient_id), entries.len()).await?;
    let items = entries.into_iter().map(PatientAccessView::from).collect();
    Ok(Page::<PatientAccessView> { items, next }.respond(&uri))
}

/// Entries without disclosures to agencies for which the account is suspended, and without suspensions and holds, which
/// are the clinic's own.
async fn told_to_patient(
    caller: &Caller,
    patient_id: PatientId,
    mut entries: Vec<Entry>,
) -> Result<Vec<Entry>, Problem> {
    entries.retain(|entry| {
        !matches!(
            entry.event_type,
            EventType::AccountingSuspended
                | EventType::AccountingResumed
                | EventType::LegalHoldPlaced
                | EventType::LegalHoldReleased
                | EventType::PatientAccountingSuspended
                | EventType::PatientAccountingResumed
                | EventType::PatientLegalHoldPlaced
                | EventType::PatientLegalHoldReleased
        )
    });
    let (suspensions, now) = (suspensions::of(caller, patient_id).await?, caller.api.now());
    if !suspensions::any_hold(&suspensions, now) {
        return Ok(entries);
    }
    let disclosures = entries.iter().filter(|entry| entry.event_type == EventType::AccessDisclosureMade);
    let sequences: Vec<i64> = disclosures.map(|entry| entry.sequence).collect();
    let mut silent = HashSet::new();
    for event in caller.api.log().organization_at(caller.organization_id, &sequences).await? {
        if is_silent(caller, &event, &suspensions, now).await? {
            silent.insert(event.organization_sequence);
        }
    }
    Ok(entries.into_iter().filter(|entry| !silent.contains(&entry.sequence)).collect())
}

async fn is_silent(
    caller: &Caller,
    event: &RecordedEvent,
    suspensions: &[SuspensionView],
    now: Timestamp,
) -> Result<bool, Problem> {
    let decoded = event.decode_as().map_err(|error| Problem::internal(&error))?;
    let AccessEvent::DisclosureMade(made) = decoded else { return Ok(false) };
    let told = accounting::opened(caller, event, made.personal).await?;
    let until = told.and_then(|told| suspensions::suspended_until(suspensions, &told.recipient, now));
    Ok(until.is_some())
}
