//! Long exports, made by themselves and fetched from the clinic's storage.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use carelog_audit::{AddressIndex, Topic, queries};
use carelog_domain::access::{Access, AccessCommand};
use carelog_domain::file::LinkDisposition;
use carelog_domain::{PatientId, StreamKind, Timestamp};
use carelog_event_log::new_id;
use carelog_files::Download;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::address::AskedAddress;
use crate::exports::store::{self, Job};
use crate::exports::{ExportForm, Wanted, object_key};
use crate::http::body::PathId;
use crate::http::caller::Caller;
use crate::http::command::{Nothing, Wish, json};
use crate::http::files::bodies::DownloadView;
use crate::http::files::links;
use crate::http::freshness::View;
use crate::http::past::ends_before_it_begins;
use crate::http::problem::Problem;
use crate::http::proofs::covering;
use crate::http::{Api, access, schemas};

/// How long a link holds.
const LINK_LIFE: Duration = Duration::from_mins(15);
/// When somebody whose clinic waits for many exports may ask again, in seconds: few are made in less.
const FULL_RETRY_SECONDS: u64 = 30;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(create)).routes(routes!(get)).routes(routes!(download_link))
}

/// What is to be exported.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ExportBody {
    /// In which form: entries of the trail as `csv`, `ndjson`, `parquet`, or FHIR AuditEvents a line (`fhir_r4_ndjson`,
    /// `fhir_r5_ndjson`), or events as a `bundle` that proves itself.
    #[schema(schema_with = schemas::export_form)]
    form: ExportForm,
    /// About one patient.
    patient_id: Option<Uuid>,
    /// What entries are about; none for a bundle.
    #[schema(schema_with = schemas::topic, required = false)]
    topic: Option<Topic>,
    /// Entries that happened at this moment or later; none for a bundle.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Entries that happened before this moment; none for a bundle.
    #[schema(value_type = Option<String>, format = DateTime)]
    before: Option<Timestamp>,
    /// Entries that were asked for in one session of the console, the first of each request; none for a bundle.
    session_id: Option<Uuid>,
}

/// An export that was asked for.
#[derive(Serialize, ToSchema)]
struct RequestedView<'a> {
    /// Its id.
    id: Uuid,
    /// Entries or events that it will have.
    total: i64,
    /// Give it to a read as `wait_for`.
    position: Option<&'a str>,
}

/// An export and how far it has come.
#[derive(Debug, Serialize, ToSchema)]
struct ExportView {
    /// Its id.
    id: Uuid,
    /// In which form.
    #[schema(schema_with = schemas::export_form)]
    form: ExportForm,
    /// `running`, `complete`, `failed`, or `expired`, when its file was removed.
    status: String,
    /// Why it was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    /// Entries or events that are done.
    done: i64,
    /// Entries or events that it will have.
    total: i64,
    /// Bytes of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<i64>,
    /// SHA-256 of the file, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_sha256: Option<String>,
    /// The newest signed checkpoint of the clinic's log that covers all of it, once it is complete and one was signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
    /// When it was asked for.
    #[schema(schema_with = schemas::moment)]
    requested_at: Timestamp,
    /// When it ended. Its file is kept for a week.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
}

impl From<Job> for ExportView {
    fn from(job: Job) -> Self {
        Self {
            id: job.export_id,
            form: job.wanted.form,
            status: job.status,
            failure: job.failure,
            done: job.done,
            total: job.total,
            size_bytes: job.size_bytes,
            content_sha256: job.content_sha256.map(|digest| digest.to_string()),
            checkpoint: None,
            requested_at: job.requested_at,
            finished_at: job.finished_at,
        }
    }
}

impl ExportBody {
    fn wanted(&self, address: Option<AddressIndex>) -> Result<Wanted, Problem> {
        if self.from.zip(self.before).is_some_and(|(from, before)| before < from) {
            return Err(ends_before_it_begins());
        }
        let is_narrowed = self.topic.is_some()
            || self.from.is_some()
            || self.before.is_some()
            || self.session_id.is_some()
            || address.is_some();
        if self.form == ExportForm::Bundle && is_narrowed {
            let expected = "is a bundle, which has no topic, no range of time, no address and no session";
            return Err(Problem::invalid("/form", expected));
        }
        Ok(Wanted {
            form: self.form,
            patient_id: self.patient_id.map(PatientId::new),
            topic: self.topic,
            from: self.from,
            before: self.before,
            address,
            session_id: self.session_id,
        })
    }
}

/// Ask for a long export. It is made by itself, in whatever process, and lies in the clinic's storage for a week. That it
/// was asked for is in the log before anything is made; each link to it is another access. A clinic waits for so many at a
/// time; another one is refused with `too_many_exports` until one of them has ended.
#[utoipa::path(post, path = "/v1/trail/exports", tag = "trail", params(AskedAddress), request_body = ExportBody,
    responses((status = 202, description = "Asked for.", body = inline(RequestedView<'_>))))]
async fn create(caller: Caller, address: AskedAddress, wish: Wish<ExportBody>) -> Result<Response, Problem> {
    let address = address.index(&caller).await?;
    let wanted = wish.body.wanted(address)?;
    // The body does not tell the address, and by another one it is another export.
    let terms = match &address {
        Some(address) => wish.terms.with(address.bytes()),
        None => wish.terms,
    };
    // Where files cannot lie, no export is made.
    links::storage(&caller).await?;
    caller.wait_for(None, View::Trail).await?;
    let organization_id = caller.organization_id;
    let mut tx = caller.read_trail().await?;
    // Requests of the same moment may all find room: what is bounded is the work, and before anything is written down.
    let unfinished = store::count_unfinished(&mut tx, organization_id).await?;
    let most = caller.api.exports.unfinished_per_organization.get();
    // A request that is repeated needs no room: its export is one of those.
    if unfinished >= i64::from(most) && !caller.is_repeated(&terms).await? {
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_exports")
            .detail(format!(
                "{unfinished} exports of the clinic are not made yet: ask again when one of them has ended"
            ))
            .retry_after(FULL_RETRY_SECONDS));
    }
    let until = queries::newest_sequence(&mut tx, organization_id).await?;
    let total = queries::count_entries(&mut tx, organization_id, &wanted.filter(), until, i64::MAX).await?;
    tx.commit().await?;
    let command = AccessCommand::RecordExport {
        target_kind: StreamKind::Access,
        patient_id: wanted.patient_id,
        record_count: u32::try_from(total).unwrap_or(u32::MAX),
    };
    let done = caller.create::<Access>(&terms, new_id(), None, command).await?;
    let (id, now) = (done.answer.id, caller.api.now());
    // A request that is repeated, because its first answer was lost, finds it there.
    let mut audit = caller.api.system.databases.audit_system.acquire().await?;
    store::request(&mut audit, organization_id, id, &wanted, (until, total), now).await?;
    // As it was asked for first.
    let job = job(&caller, id).await?;
    let view = RequestedView { id, total: job.total, position: done.answer.position.as_deref() };
    Ok(done.respond(StatusCode::ACCEPTED, &view))
}

/// An export and how far it has come.
#[utoipa::path(get, path = "/v1/trail/exports/{export_id}", tag = "trail", params(("export_id" = Uuid, Path)),
    responses((status = 200, description = "It.", body = ExportView)))]
async fn get(caller: Caller, PathId(id): PathId) -> Result<Response, Problem> {
    let job = job(&caller, id).await?;
    let checkpoint = match job.status.as_str() {
        "complete" => covering(&caller, job.until_sequence).await?.map(|checkpoint| checkpoint.to_string()),
        _ => None,
    };
    Ok(json(StatusCode::OK, &ExportView { checkpoint, ..ExportView::from(job) }))
}

/// Get a link to the file of an export that is complete. It holds for 15 minutes, and a download that was cut off goes on
/// with `Range`.
#[utoipa::path(post, path = "/v1/trail/exports/{export_id}/download-links", tag = "trail",
    params(("export_id" = Uuid, Path)), request_body = Nothing,
    responses((status = 200, description = "The link.", body = DownloadView)))]
async fn download_link(caller: Caller, PathId(id): PathId, _: Wish<Nothing>) -> Result<Response, Problem> {
    let job = job(&caller, id).await?;
    if job.status != "complete" {
        return Err(Problem::new(StatusCode::CONFLICT, "export_not_complete")
            .detail(format!("the export is {}", job.status)));
    }
    let storage = links::storage(&caller).await?;
    access::record_trail_export(&caller, job.wanted.patient_id, job.total).await?;
    let form = job.wanted.form;
    let download = Download {
        content_type: form.media_type(),
        disposition: LinkDisposition::Attachment,
        name: format!("trail-{id}.{}", form.extension()),
    };
    let now = caller.api.now();
    let key = object_key(caller.organization_id, id);
    let link = storage.sign_download(&key, &download, links::system_time(now), LINK_LIFE).await?;
    let expires_at = now.saturating_add_micros(links::micros(LINK_LIFE));
    Ok(json(StatusCode::OK, &DownloadView { link: link.into(), expires_at }))
}

async fn job(caller: &Caller, id: Uuid) -> Result<Job, Problem> {
    let mut tx = caller.read_trail().await?;
    let job = store::get(&mut tx, caller.organization_id, id).await?;
    tx.commit().await?;
    job.ok_or_else(Problem::not_found)
}
