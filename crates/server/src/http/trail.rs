//! The audit trail: who did what to whose record. Asking for it is an entry of its own.

mod address;
mod columns;
mod entry;
mod export;
mod fhir;
mod filter;
mod jobs;
mod replay;

use std::sync::Arc;

use axum::extract::OriginalUri;
use axum::response::Response;
use carelog_analytics::columnar::PARQUET;
use carelog_audit::signer::origin;
use carelog_audit::{Order, Subject, TrailFilter, TrailPage, queries};
use carelog_domain::{Timestamp, closed_enum};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use self::address::{AskedAddress, Mark};
use self::entry::EntryView;
pub(crate) use self::export::{trail_lines, trail_table};
use self::filter::TrailQuery;
use super::accept::{Offer, preferred, varies};
use super::body::Query;
use super::caller::Caller;
use super::freshness::View;
use super::page::{Cursor, Window, following, linked};
use super::problem::Problem;
use super::{Api, access, schemas};

/// Entries are counted no further than this, so that a wide question stays cheap.
const MOST_COUNTED: i64 = 100_000;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(list_subjects))
        .routes(routes!(replay::replay))
        .merge(jobs::routes())
}

closed_enum! {
    /// In which form entries are handed out.
    pub enum TrailFormat {
        /// A page, as JSON.
        Json = "json",
        /// All of them, as CSV.
        Csv = "csv",
        /// All of them, a JSON object a line.
        Ndjson = "ndjson",
        /// All of them, as Apache Parquet.
        Parquet = "parquet",
        /// A page, as a FHIR R4 Bundle of AuditEvents.
        FhirR4 = "fhir_r4",
        /// A page, as a FHIR R5 Bundle of AuditEvents.
        FhirR5 = "fhir_r5",
        /// All of them, a FHIR R4 AuditEvent a line.
        FhirR4Ndjson = "fhir_r4_ndjson",
        /// All of them, a FHIR R5 AuditEvent a line.
        FhirR5Ndjson = "fhir_r5_ndjson",
    }
}

/// A page or an export, in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Page(PageForm),
    Export(ExportForm),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageForm {
    Json,
    Fhir(fhir::Version),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExportForm {
    Csv,
    Ndjson,
    Parquet,
    Fhir(fhir::Version),
}

impl TrailFormat {
    const fn form(self) -> Form {
        match self {
            Self::Json => Form::Page(PageForm::Json),
            Self::FhirR4 => Form::Page(PageForm::Fhir(fhir::Version::R4)),
            Self::FhirR5 => Form::Page(PageForm::Fhir(fhir::Version::R5)),
            Self::Csv => Form::Export(ExportForm::Csv),
            Self::Ndjson => Form::Export(ExportForm::Ndjson),
            Self::Parquet => Form::Export(ExportForm::Parquet),
            Self::FhirR4Ndjson => Form::Export(ExportForm::Fhir(fhir::Version::R4)),
            Self::FhirR5Ndjson => Form::Export(ExportForm::Fhir(fhir::Version::R5)),
        }
    }
}

impl TrailFormat {
    /// The form by its media type.
    const fn offer(self) -> Offer<Self> {
        let (essence, version) = match self {
            Self::Json => ("application/json", None),
            Self::Csv => ("text/csv", None),
            Self::Ndjson => ("application/x-ndjson", None),
            Self::Parquet => (PARQUET, None),
            Self::FhirR4 => (fhir::PAGE, Some(fhir::R4)),
            Self::FhirR5 => (fhir::PAGE, Some(fhir::R5)),
            Self::FhirR4Ndjson => (fhir::LINES, Some(fhir::R4)),
            Self::FhirR5Ndjson => (fhir::LINES, Some(fhir::R5)),
        };
        let parameter = match version {
            None => None,
            Some(version) => Some((fhir::VERSION, version)),
        };
        Offer { form: self, essence, parameter }
    }
}

/// In which direction the list runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum OrderQuery {
    #[default]
    NewestFirst,
    OldestFirst,
}

/// One page of the trail.
#[derive(Serialize, ToSchema)]
struct TrailView {
    /// The entries, in the order of the list.
    items: Vec<EntryView>,
    /// How many entries the filter finds on all pages.
    total: i64,
    /// Whether there are more than `total`, beyond which nobody counted.
    total_is_more: bool,
    /// Give it as `after` to see the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// One page of patients.
#[derive(Serialize, ToSchema)]
struct SubjectsView {
    /// The patients, by their ids.
    items: Vec<SubjectView>,
    /// How many patients there are on all pages.
    total: i64,
    /// Give it as `after` to see the next page; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A patient whom entries are about.
#[derive(Serialize, ToSchema)]
struct SubjectView {
    /// The patient.
    patient_id: Uuid,
    /// How many of the entries are about them.
    entries: i64,
    /// When the first of these happened.
    #[schema(schema_with = schemas::moment)]
    first_at: Timestamp,
    /// When the last of these happened.
    #[schema(schema_with = schemas::moment)]
    last_at: Timestamp,
}

impl From<Subject> for SubjectView {
    fn from(subject: Subject) -> Self {
        Self {
            patient_id: subject.subject_id.uuid(),
            entries: subject.entry_count,
            first_at: subject.first_at,
            last_at: subject.last_at,
        }
    }
}

/// Entries of the audit trail: a page of them, or all of them as CSV, NDJSON or Parquet.
///
/// An export is what there is when it begins, the oldest entry first; its `carelog-entries` says how many it has. A cell of
/// a CSV that a spreadsheet would take for a formula begins with an apostrophe. Each form can be asked for by `format` or
/// by `Accept`, of which the form with the highest weight is given: `application/fhir+json; fhirVersion=4.0` is a Bundle of
/// a page, `application/fhir+ndjson` an export, with 4.0 or 5.0; R4 keeps to the patterns of IHE BALP.
#[utoipa::path(get, path = "/v1/trail", tag = "trail", params(TrailQuery, AskedAddress),
    responses((status = 200, description = "One page, or the export.", content(
        (TrailView = "application/json"), (String = "text/csv"), (String = "application/x-ndjson"),
        (Vec<u8> = "application/vnd.apache.parquet"), (Object = "application/fhir+json"), (String = "application/fhir+ndjson")))))]
async fn list(
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    address: AskedAddress,
    Query(query): Query<TrailQuery>,
) -> Result<Response, Problem> {
    let format = match query.format {
        Some(format) => format,
        None => accepted(&headers)?,
    };
    let filter = query.filter(&caller, address).await?;
    let mut response = answer(caller, &uri, &query, filter, format).await?;
    varies(response.headers_mut());
    Ok(response)
}

/// The form that `Accept` prefers.
fn accepted(headers: &HeaderMap) -> Result<TrailFormat, Problem> {
    let offers: Vec<_> = TrailFormat::ALL.iter().map(|&format| format.offer()).collect();
    preferred(headers, &offers).ok_or_else(|| {
        let known: Vec<String> = offers.iter().map(Offer::to_string).collect();
        Problem::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable")
            .detail(format!("the trail is handed out as {}", known.join(", ")))
    })
}

async fn answer(
    caller: Caller,
    uri: &Uri,
    query: &TrailQuery,
    filter: TrailFilter,
    format: TrailFormat,
) -> Result<Response, Problem> {
    caller.wait_for(query.wait_for.as_deref(), View::Trail).await?;
    let form = match format.form() {
        Form::Page(form) => form,
        Form::Export(form) => {
            query.refuse_paging()?;
            return export::respond(caller, filter, form).await;
        }
    };
    let window = Window::read(query.limit, query.after.as_deref())?;
    let mark = Mark::of(filter.address.as_ref());
    if let Some(cursor) = window.cursor() {
        Mark::from_id(cursor.id).refuse_unless(mark)?;
    }
    let page = TrailPage {
        order: match query.order.unwrap_or_default() {
            OrderQuery::NewestFirst => Order::NewestFirst,
            OrderQuery::OldestFirst => Order::OldestFirst,
        },
        after: window.cursor().map(|cursor| cursor.number),
        limit: window.of_records().limit,
    };
    let organization_id = caller.organization_id;
    let mut tx = caller.read_trail().await?;
    let entries = queries::list_entries(&mut tx, organization_id, &filter, page).await?;
    // The newest sequence is how many entries there are; only a filter needs a count.
    let counted = if filter == TrailFilter::default() {
        queries::newest_sequence(&mut tx, organization_id).await?
    } else {
        queries::count_entries(&mut tx, organization_id, &filter, i64::MAX, MOST_COUNTED + 1).await?
    };
    tx.commit().await?;
    let (entries, next) = window.cut_at(entries, |entry| Cursor { number: entry.sequence, id: mark.id() });
    access::record_trail_query(&caller, filter.subject_id, entries.len()).await?;
    let total_is_more = filter != TrailFilter::default() && counted > MOST_COUNTED;
    let total = if total_is_more { MOST_COUNTED } else { counted };
    let items: Vec<EntryView> = entries.into_iter().map(EntryView::from).collect();
    Ok(match form {
        PageForm::Json => {
            let view = TrailView { items, total, total_is_more, next };
            linked(uri, view.next.as_deref(), &view)
        }
        PageForm::Fhir(version) => {
            let origin = origin(&caller.api.origin, organization_id);
            let events = items.iter().map(|entry| fhir::audit_event(entry, version, &origin)).collect();
            let next_url = next.as_deref().map(|next| following(uri, next));
            let total = (!total_is_more).then_some(total);
            let bundle = fhir::bundle(events, total, &uri.to_string(), next_url.as_deref());
            let mut response = linked(uri, next.as_deref(), &bundle);
            let content_type = HeaderValue::from_static(version.page_type());
            response.headers_mut().insert(header::CONTENT_TYPE, content_type);
            response
        }
    })
}

/// The patients whom entries are about: how far the reach of a key, of a record or of a wish went. One of `actor_id`,
/// `on_behalf_of`, `target_id`, `session_id`, `correlation_id` and the header `Carelog-Address` has to be given.
#[utoipa::path(get, path = "/v1/trail/patients", tag = "trail", params(TrailQuery, AskedAddress),
    responses((status = 200, description = "One page.", body = SubjectsView)))]
async fn list_subjects(
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    address: AskedAddress,
    Query(query): Query<TrailQuery>,
) -> Result<Response, Problem> {
    let window = Window::read(query.limit, query.after.as_deref())?;
    if query.order.is_some() || query.format.is_some_and(|format| format != TrailFormat::Json) {
        return Err(Problem::invalid_query("order and format: expected none here"));
    }
    let filter = query.filter(&caller, address).await?;
    let is_narrow = filter.actor_id.is_some()
        || filter.on_behalf_of.is_some()
        || filter.target_id.is_some()
        || filter.address.is_some()
        || filter.session_id.is_some()
        || filter.correlation_id.is_some();
    if !is_narrow {
        return Err(Problem::invalid_query(
            "expected one of actor_id, on_behalf_of, target_id, session_id, correlation_id and the header Carelog-Address",
        ));
    }
    let mark = Mark::of(filter.address.as_ref());
    if let Some(cursor) = window.cursor() {
        Mark::from_number(cursor.number).refuse_unless(mark)?;
    }
    caller.wait_for(query.wait_for.as_deref(), View::Trail).await?;
    let after = window.cursor().map_or(Uuid::nil(), |cursor| cursor.id);
    let mut tx = caller.read_trail().await?;
    let subjects =
        queries::list_subjects(&mut tx, caller.organization_id, &filter, after, window.limit_and_one())
            .await?;
    let total = queries::count_subjects(&mut tx, caller.organization_id, &filter).await?;
    tx.commit().await?;
    let (subjects, next) =
        window.cut_at(subjects, |subject| Cursor { number: mark.number(), id: subject.subject_id.uuid() });
    access::record_trail_query(&caller, filter.subject_id, subjects.len()).await?;
    let view = SubjectsView { items: subjects.into_iter().map(SubjectView::from).collect(), total, next };
    Ok(linked(&uri, view.next.as_deref(), &view))
}
