//! Files: announced here, uploaded to and fetched from the storage itself by signed links, checked, and deleted.
//!
//! No byte of a file passes through the API. A link is in the log before it leaves. No name that a person gave stands in
//! a link: links reach the logs of proxies.

pub(super) mod bodies;
mod checking;
pub(super) mod links;

use std::sync::Arc;

use axum::extract::OriginalUri;
use axum::response::Response;
use carelog_domain::file::{
    File, FileCommand, FileDeletion, FileKind, FileName, FileStatus, LinkDisposition, MAX_LINK_SECONDS,
    RequestUpload,
};
use carelog_domain::{FileId, FormId, PatientId, StreamKind};
use carelog_records::queries::{self, FileFilter};
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use self::bodies::FileView;
use self::bodies::{
    DownloadBody, DownloadView, ListQuery, PartsBody, RequestUploadBody, RequestedView, UploadView,
};
use self::links::Announcement;
use super::body::{PathId, Query};
use super::caller::Caller;
use super::command::{CommandAnswer, Nothing, Wish, json, shown};
use super::freshness::View;
use super::page::{Fresh, Page, Window};
use super::problem::Problem;
use super::{Api, access};
use crate::storages::object_key;

pub(super) use self::checking::Checks;

/// How long an upload may take from its announcement to its completion.
const UPLOAD_LIFE_MICROS: i64 = 24 * 3_600 * 1_000_000;
/// How long a link to a file holds where nothing is said.
const LINK_SECONDS: u16 = 300;

pub(super) fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(request, list))
        .routes(routes!(get, delete))
        .routes(routes!(upload_links))
        .routes(routes!(complete))
        .routes(routes!(download_link))
}

/// Announce a file, and get links to upload it by.
#[utoipa::path(post, path = "/v1/files", tag = "files", request_body = RequestUploadBody,
    responses((status = 201, description = "Awaited.", body = RequestedView)))]
async fn request(caller: Caller, wish: Wish<RequestUploadBody>) -> Result<Response, Problem> {
    let body = wish.body;
    if !body.kind.is_uploaded() {
        return Err(Problem::invalid("/kind", "such files are made by Carelog itself"));
    }
    // Such ids follow from what they stand for (`derived_id`): who could choose one would put a file in the place of a
    // document that Carelog is about to make.
    if body.id.is_some_and(|id| id.get_version_num() == 8) {
        return Err(Problem::invalid("/id", "ids of version 8 are made by Carelog itself"));
    }
    let patient_id = may_be_about(&caller, body.kind, body.patient_id.map(PatientId::new)).await?;
    let form_id = body.form_id.map(FormId::new);
    if let Some(form_id) = form_id {
        let Some(patient_id) = patient_id else {
            return Err(Problem::invalid("/form_id", "belongs to a patient, and none is named"));
        };
        caller.require_form(form_id, patient_id).await?;
    }
    // Before anything is written: where there is no storage, nothing is announced.
    let storage = links::storage(&caller).await?;
    let id = wish.terms.id_of_new(&caller, body.id);
    let command = FileCommand::RequestUpload(RequestUpload {
        patient_id,
        form_id,
        kind: body.kind,
        content_type: body.content_type,
        size_bytes: body.size_bytes,
        content_sha256: body.content_sha256,
        expires_at: caller.api.now().saturating_add_micros(UPLOAD_LIFE_MICROS),
        name: body.name.map(|name| FileName { name: name.into() }),
    });
    let done = caller.create::<File>(&wish.terms, id, None, command).await.map_err(bodies::pointed_at)?;
    let announcement = Announcement::of(&caller, FileId::new(done.answer.id)).await?;
    // A repetition may come when the upload is long over; then there is nothing to send any more.
    let upload = match announcement.status {
        FileStatus::Requested => Some(links::upload(&caller, &storage, &announcement, &[]).await?),
        FileStatus::Stored | FileStatus::Failed | FileStatus::Deleted => None,
    };
    let answer = done.answer.clone();
    Ok(done.respond(StatusCode::CREATED, &RequestedView { answer, upload }))
}

/// Get links again, to what has not arrived: after the first ones ended, or to go on after an interruption.
#[utoipa::path(post, path = "/v1/files/{file_id}/upload-links", tag = "files",
    params(("file_id" = Uuid, Path)), request_body = PartsBody,
    responses((status = 200, description = "The links.", body = UploadView)))]
async fn upload_links(
    caller: Caller,
    PathId(id): PathId,
    wish: Wish<PartsBody>,
) -> Result<Response, Problem> {
    let announcement = awaited(&caller, FileId::new(id)).await?;
    let storage = links::storage(&caller).await?;
    let upload = links::upload(&caller, &storage, &announcement, &wish.body.parts).await?;
    Ok(json(StatusCode::OK, &upload))
}

/// Say that the upload is done. What arrived is read and compared with what was announced; a large file may take longer
/// than this answer, which then is 202: ask again.
#[utoipa::path(post, path = "/v1/files/{file_id}/complete", tag = "files",
    params(("file_id" = Uuid, Path)), request_body = Nothing,
    responses((status = 200, description = "Stored.", body = CommandAnswer),
        (status = 202, description = "It is being read.", body = Nothing)))]
async fn complete(caller: Caller, PathId(id): PathId, wish: Wish<Nothing>) -> Result<Response, Problem> {
    let file_id = FileId::new(id);
    let announcement = Announcement::of(&caller, file_id).await?;
    may_write(&caller, &announcement).await?;
    checking::complete(&caller, file_id, wish.terms).await
}

/// Get a link to fetch the file by. That it was given is in the log before it is; each call gives a new one, also under
/// the same idempotency key.
#[utoipa::path(post, path = "/v1/files/{file_id}/download-links", tag = "files",
    params(("file_id" = Uuid, Path)), request_body = DownloadBody,
    responses((status = 200, description = "The link.", body = DownloadView)))]
async fn download_link(
    caller: Caller,
    PathId(id): PathId,
    wish: Wish<DownloadBody>,
) -> Result<Response, Problem> {
    let file_id = FileId::new(id);
    let announcement = Announcement::of(&caller, file_id).await?;
    may_read(&caller, &announcement).await?;
    let storage = links::storage(&caller).await?;
    let valid_seconds = wish.body.valid_seconds.unwrap_or(LINK_SECONDS);
    let disposition = wish.body.disposition.unwrap_or(LinkDisposition::Attachment);
    let command = FileCommand::IssueLink { valid_seconds, disposition };
    let terms = wish.terms.each_anew();
    let done = caller.change::<File>(&terms, id, None, command).await.map_err(bodies::pointed_at)?;
    let now = caller.api.now();
    let view = links::download(&storage, &announcement, disposition, valid_seconds, now).await?;
    Ok(done.respond(StatusCode::OK, &view))
}

/// Delete a file, in every version, or call its upload off. One about a patient under a legal hold stays: `legal_hold`.
#[utoipa::path(delete, path = "/v1/files/{file_id}", tag = "files", params(("file_id" = Uuid, Path)),
    responses((status = 200, description = "Deleted.", body = CommandAnswer)))]
async fn delete(caller: Caller, PathId(id): PathId, wish: Wish<Nothing>) -> Result<Response, Problem> {
    let file_id = FileId::new(id);
    let storage = links::storage(&caller).await?;
    // What is repeated is answered as it was then.
    let patient_id = if caller.is_repeated(&wish.terms).await? {
        None
    } else {
        Announcement::of(&caller, file_id).await?.facts.patient_id
    };
    let command = FileCommand::Delete { reason: FileDeletion::Requested };
    let done = caller.change_unless_held::<File>(&wish.terms, id, patient_id, command).await?;
    // The log says already that it is gone; what cannot be removed now, the sweep removes.
    if let Err(error) = storage.remove(&object_key(caller.organization_id, file_id)).await {
        tracing::warn!(file.id = %file_id, error = &error as &dyn std::error::Error, "an object is removed later");
    }
    Ok(done.changed())
}

/// Files, the newest first.
#[utoipa::path(get, path = "/v1/files", tag = "files", params(ListQuery),
    responses((status = 200, description = "One page.", body = Page<FileView>)))]
async fn list(
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let window = Window::read(query.limit, query.after.as_deref())?;
    caller.wait_for(query.wait_for.as_deref(), View::Records).await?;
    let patient_id = caller.patient_meant(query.patient_id.map(PatientId::new)).await?;
    let filter = FileFilter {
        status: query.status,
        kind: query.kind,
        patient_id,
        form_id: query.form_id.map(FormId::new),
    };
    let mut tx = caller.read().await?;
    let records = queries::list_files(&mut tx, caller.organization_id, &filter, window.of_records()).await?;
    tx.commit().await?;
    let (records, next) = window.cut(records, |record| record.stamp.created_position);
    let about: Vec<_> = records.iter().map(|record| record.patient_id).collect();
    let items: Vec<FileView> = records.into_iter().map(|record| FileView::of(&record, None)).collect();
    access::record_search(&caller, StreamKind::File, about.into_iter()).await?;
    Ok(Page { items, next }.respond(&uri))
}

/// One file with its name; its bytes are fetched by a link.
#[utoipa::path(get, path = "/v1/files/{file_id}", tag = "files",
    params(("file_id" = Uuid, Path), Fresh),
    responses((status = 200, description = "It.", body = FileView)))]
async fn get(caller: Caller, PathId(id): PathId, Query(fresh): Query<Fresh>) -> Result<Response, Problem> {
    caller.wait_for(fresh.wait_for.as_deref(), View::Records).await?;
    let mut tx = caller.read().await?;
    let record = queries::get_file(&mut tx, caller.organization_id, FileId::new(id)).await?;
    tx.commit().await?;
    let record = record.ok_or_else(Problem::not_found)?;
    may_see(&caller, record.kind, record.patient_id).await?;
    let view = FileView::open(&caller, &record).await?;
    access::record_read(&caller, StreamKind::File, id, record.patient_id).await?;
    shown(view.version, &view)
}

/// Whom a new file may be about: a patient's key is always about its own patient.
async fn may_be_about(
    caller: &Caller,
    kind: FileKind,
    patient_id: Option<PatientId>,
) -> Result<Option<PatientId>, Problem> {
    let patient_id = caller.patient_meant(patient_id).await?;
    match patient_id {
        Some(patient_id) => caller.require_patient(patient_id).await?,
        None if kind == FileKind::FormAttachment => {
            return Err(Problem::invalid("/patient_id", "such a file is about a patient"));
        }
        None => {}
    }
    Ok(patient_id)
}

/// A patient's key sees its own patient's files, and the clinic's own videos and faces.
async fn may_see(caller: &Caller, kind: FileKind, patient_id: Option<PatientId>) -> Result<(), Problem> {
    match patient_id {
        Some(patient_id) => caller.may_touch(patient_id).await,
        None if matches!(kind, FileKind::ExerciseVideo | FileKind::ProfileImage) => Ok(()),
        None if caller.bound_to().is_none() => Ok(()),
        None => Err(caller.refuse_foreign().await),
    }
}

async fn may_read(caller: &Caller, announcement: &Announcement) -> Result<(), Problem> {
    may_see(caller, announcement.facts.kind, announcement.facts.patient_id).await
}

async fn may_write(caller: &Caller, announcement: &Announcement) -> Result<(), Problem> {
    match announcement.facts.patient_id {
        Some(patient_id) => caller.may_touch(patient_id).await,
        None if caller.bound_to().is_none() => Ok(()),
        None => Err(caller.refuse_foreign().await),
    }
}

/// A file whose upload the caller may go on with.
async fn awaited(caller: &Caller, file_id: FileId) -> Result<Announcement, Problem> {
    let announcement = Announcement::of(caller, file_id).await?;
    may_write(caller, &announcement).await?;
    match announcement.status {
        FileStatus::Requested if announcement.facts.expires_at > caller.api.now() => Ok(announcement),
        FileStatus::Requested | FileStatus::Failed => Err(Problem::new(StatusCode::CONFLICT, "upload_ended")
            .detail("the upload came to nothing; request another one")),
        FileStatus::Stored => Err(Problem::new(StatusCode::CONFLICT, "already_stored")),
        FileStatus::Deleted => Err(Problem::new(StatusCode::CONFLICT, "already_deleted")),
    }
}

const _: () = assert!(LINK_SECONDS <= MAX_LINK_SECONDS);
