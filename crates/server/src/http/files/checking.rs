//! Checking what arrived: all of it is read from the storage before anybody may fetch it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::response::Response;
use carelog_domain::file::{File, FileCommand, FileRejection, FileStatus, FoundObject};
use carelog_domain::{FileId, OrganizationId, Rejection as _};
use carelog_files::{Examined, Storage};
use http::StatusCode;

use super::super::caller::Caller;
use super::super::command::{Terms, json};
use super::super::problem::Problem;
use super::links::{self, Announcement};

/// So long a caller is kept waiting; reading goes on afterwards.
const PATIENCE: Duration = Duration::from_secs(20);
/// Files read at the same time by one process; each reads as fast as the storage gives.
const AT_A_TIME: usize = 32;
/// Of one organization, whose storage may be slow.
const OF_ONE: usize = 8;

/// The files that are being read.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct Checks(Arc<Mutex<HashSet<(OrganizationId, FileId)>>>);

/// Ends with the reading, however it ends.
struct Check {
    checks: Checks,
    file: (OrganizationId, FileId),
}

impl Checks {
    /// Nothing where the file is being read already.
    fn begin(&self, file: (OrganizationId, FileId)) -> Result<Option<Check>, Problem> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.contains(&file) {
            return Ok(None);
        }
        let own = running.iter().filter(|(organization_id, _)| *organization_id == file.0).count();
        if running.len() >= AT_A_TIME || own >= OF_ONE {
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable").retry_after(1));
        }
        running.insert(file);
        Ok(Some(Check { checks: self.clone(), file }))
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        self.checks.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.file);
    }
}

/// Completes an upload. Where it takes long, the caller is told to ask again.
pub(super) async fn complete(caller: &Caller, file_id: FileId, terms: Terms) -> Result<Response, Problem> {
    let check = caller.api.checks.begin((caller.organization_id, file_id))?;
    let Some(check) = check else { return Ok(being_read()) };
    let tasks = caller.api.system.runtime.tasks.clone();
    let caller = caller.clone();
    let reading = tasks.spawn(async move {
        let _check = check;
        // As the log has it now: whoever read the file before may just have ended.
        let announcement = Announcement::of(&caller, file_id).await?;
        read_and_record(&caller, &announcement, &terms).await
    });
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(Ok(done)) => done,
        Ok(Err(error)) => Err(Problem::internal(&error)),
        Err(_) => Ok(being_read()),
    }
}

fn being_read() -> Response {
    json(StatusCode::ACCEPTED, &serde_json::json!({}))
}

async fn read_and_record(
    caller: &Caller,
    announcement: &Announcement,
    terms: &Terms,
) -> Result<Response, Problem> {
    let id = announcement.file_id.uuid();
    let storage = links::storage(caller).await?;
    // What was decided before is decided again without a look, and gives the same answer.
    let found = match announcement.status {
        FileStatus::Requested => found(&storage, announcement).await?,
        FileStatus::Stored | FileStatus::Failed | FileStatus::Deleted => as_announced(announcement),
    };
    let recorded = caller.change::<File>(terms, id, None, FileCommand::RecordStored(found)).await;
    let problem = match recorded {
        Ok(done) => return Ok(done.changed()),
        Err(problem) => problem,
    };
    let reason = MISMATCHES
        .iter()
        .find(|rejection| rejection.code() == problem.code())
        .and_then(|rejection| rejection.upload_failure());
    if let Some(reason) = reason {
        caller.change::<File>(&Terms::NONE, id, None, FileCommand::FailUpload { reason }).await?;
        // The log says already that it is gone; what cannot be removed now, the sweep removes.
        if let Err(error) = storage.remove(&announcement.key()).await {
            let file_id = announcement.file_id;
            tracing::warn!(file.id = %file_id, error = &error as &dyn std::error::Error, "an object is removed later");
        }
    }
    Err(problem)
}

/// How what arrived can differ from what was said.
const MISMATCHES: [FileRejection; 4] = [
    FileRejection::WrongSize,
    FileRejection::WrongHash,
    FileRejection::WrongType,
    FileRejection::NotEncrypted,
];

async fn found(storage: &Storage, announcement: &Announcement) -> Result<FoundObject, Problem> {
    let key = announcement.key();
    join_parts(storage, announcement, &key).await?;
    match storage.examine(&key, announcement.facts.size_bytes).await? {
        Examined::Found(found) => Ok(found),
        // The size alone says that it is another file; the rest of it is nobody's business.
        Examined::TooLarge { size_bytes } => Ok(FoundObject { size_bytes, ..as_announced(announcement) }),
        Examined::Absent => Err(incomplete("nothing has arrived yet")),
    }
}

async fn join_parts(storage: &Storage, announcement: &Announcement, key: &str) -> Result<(), Problem> {
    let Some(part_count) = announcement.part_count() else { return Ok(()) };
    let uploads = storage.uploads(key).await?;
    // None is left where an earlier try came as far as joining them.
    if uploads.is_empty() {
        return Ok(());
    }
    // Two who began at once may have filled one each.
    for upload_id in uploads {
        let parts = storage.parts(key, &upload_id).await?;
        if parts.iter().map(|part| part.number).eq(1..=part_count) {
            return Ok(storage.complete(key, &upload_id, &parts).await?);
        }
    }
    // Whoever joined them before may have left an upload that was begun beside.
    if storage.has(key).await? {
        return Ok(storage.abort_uploads(key).await?);
    }
    Err(incomplete("parts are missing; upload-links names those that arrived"))
}

fn incomplete(detail: &'static str) -> Problem {
    Problem::new(StatusCode::CONFLICT, "upload_incomplete").detail(detail)
}

const fn as_announced(announcement: &Announcement) -> FoundObject {
    FoundObject {
        size_bytes: announcement.facts.size_bytes,
        content_sha256: announcement.facts.content_sha256,
        content_type: Some(announcement.facts.content_type),
        encryption: None,
    }
}
