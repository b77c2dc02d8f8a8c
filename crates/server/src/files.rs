//! Keeps the storage as the log says: removes what was never finished, what was deleted, and what nobody knows of.
//!
//! A file's end is in the log before its object is removed, so that nobody is given a link to something that is about to
//! go. When a process dies in between, or a link that was signed before is used after, the object has no file any more:
//! that is what the sweep looks for.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use carelog_domain::file::{File, FileCommand, FileDeletion, FileEvent, FileStatus, UploadFailure};
use carelog_domain::{
    Actor, Circumstances, CorrelationId, FileId, OrganizationId, PatientId, StreamKind, Timestamp,
};
use carelog_event_log::{ExecuteError, Executed, Scope, StreamKey, new_id};
use carelog_files::{ListedObject, MAX_LINK_LIFE, Storage};
use carelog_records::FileRecord;
use carelog_records::queries::{self, FileFilter, Page};
use carelog_video::queries::organizations_that_may_record;
use cqrs_es::Aggregate as _;
use sqlx::{AssertSqlSafe, Postgres, Transaction};
use tracing::{info, warn};

use crate::recordings::{files_to_come, remove_pieces_of, sweep_pieces};
use crate::storages::{StoragesError, file_of, object_key, prefix_of};
use crate::system::System;

/// How often late uploads are looked for.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// Every so many looks, the storages themselves are looked through.
const SWEEP_EVERY: u32 = 60;
/// What was written less than this ago is left alone: its row may not be there yet, and a link to it may still hold.
const YOUNG: Duration = Duration::from_hours(1);
/// Files of one look.
const AT_A_TIME: u16 = 500;
/// Microseconds that a link holds at most: an upload that began in time may end this much later.
const GRACE_MICROS: i64 = MAX_LINK_LIFE.as_secs().cast_signed() * 1_000_000;

/// Works until the system stops.
pub async fn run(system: System) {
    let stop = system.runtime.stop.clone();
    let mut looks = 0_u32;
    while tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
        let now = system.log.clock().now();
        if let Err(error) = clean(&system, now).await {
            warn!(error = format!("{error:#}"), "files could not be cleaned; it is tried again");
        }
        looks = looks.wrapping_add(1);
        if looks % SWEEP_EVERY == 1
            && let Err(error) = sweep(&system, now).await
        {
            warn!(error = format!("{error:#}"), "storages could not be swept; it is tried again");
        }
    }
}

/// Ends uploads that are late, and removes files of patients who were erased meanwhile.
///
/// # Errors
/// When a database or a storage does not answer.
pub async fn clean(system: &System, now: Timestamp) -> anyhow::Result<()> {
    let mut tx = read(system).await?;
    let late =
        queries::list_late_uploads(&mut tx, now.saturating_add_micros(-GRACE_MICROS), AT_A_TIME).await?;
    let erased = queries::list_files_of_erased(&mut tx, AT_A_TIME).await?;
    tx.commit().await?;
    let reason = UploadFailure::Abandoned;
    let abandoned = late.iter().map(|file| (file, FileCommand::FailUpload { reason }));
    let reason = FileDeletion::PatientErased;
    let erased = erased.iter().map(|file| (file, FileCommand::Delete { reason }));
    for (file, command) in abandoned.chain(erased) {
        // One clinic's storage keeps no other from being cleaned; what is left there, the sweep removes.
        match end(system, file, command).await {
            Ok(()) => info!(file.id = %file.file_id, "a file was ended"),
            Err(error) => warn!(file.id = %file.file_id, error = format!("{error:#}"), "a file is left over"),
        }
    }
    Ok(())
}

/// Removes every object and unfinished upload that no file stands for.
///
/// # Errors
/// When a database or a storage does not answer.
pub async fn sweep(system: &System, now: Timestamp) -> anyhow::Result<()> {
    let mut tx = read(system).await?;
    let mut organizations: BTreeSet<_> =
        queries::organizations_with_files(&mut tx).await?.into_iter().collect();
    tx.commit().await?;
    let begin = AssertSqlSafe("begin read only; set local search_path to video, public");
    let mut tx = system.databases.core_system.begin_with(begin).await?;
    // A clinic may have pieces of recordings, and no file.
    organizations.extend(organizations_that_may_record(&mut tx).await?);
    tx.commit().await?;
    for organization_id in organizations {
        let storages = system.storages.get().context("no server was started")?;
        let storage = match storages.of(organization_id).await {
            Ok(storage) => storage,
            Err(StoragesError::NotConfigured) => continue,
            // One clinic's storage keeps no other from being swept.
            Err(error) => {
                warn!(organization.id = %organization_id, %error, "a storage cannot be swept");
                continue;
            }
        };
        if let Err(error) = sweep_storage(system, organization_id, &storage, now).await {
            warn!(organization.id = %organization_id, error = format!("{error:#}"), "a storage was not swept whole");
        }
    }
    Ok(())
}

/// Removes what of a patient is in the storage, every version of it.
///
/// # Errors
/// When a database or the storage does not answer: then something may be left.
pub async fn remove_files_of(
    system: &System,
    organization_id: OrganizationId,
    patient_id: PatientId,
) -> anyhow::Result<()> {
    let storages = system.storages.get().context("no server was started")?;
    match storages.of(organization_id).await {
        Ok(storage) => remove_pieces_of(system, &storage, organization_id, patient_id).await?,
        Err(StoragesError::NotConfigured) => {}
        Err(error) => return Err(error.into()),
    }
    let filter = FileFilter { patient_id: Some(patient_id), ..FileFilter::default() };
    let mut before = None;
    loop {
        let mut tx = read(system).await?;
        let page = Page { before, limit: AT_A_TIME };
        let files = queries::list_files(&mut tx, organization_id, &filter, page).await?;
        tx.commit().await?;
        let Some(last) = files.last() else { return Ok(()) };
        before = Some(last.stamp.created_position);
        for file in files {
            // Those that ended are removed once more: whoever ended them may have died before the removal.
            let command = match file.status {
                FileStatus::Requested | FileStatus::Stored => {
                    Some(FileCommand::Delete { reason: FileDeletion::PatientErased })
                }
                FileStatus::Failed | FileStatus::Deleted => None,
            };
            match command {
                Some(command) => end(system, &file, command).await?,
                None => match remove(system, organization_id, file.file_id).await {
                    // Where there is no storage any more, nothing of what ended can lie.
                    Err(error) if is_not_configured(&error) => {}
                    removed => removed?,
                },
            }
        }
    }
}

/// Writes a file's end into the log, and then removes its object.
async fn end(system: &System, file: &FileRecord, command: FileCommand) -> anyhow::Result<()> {
    let scope =
        Scope::new(file.organization_id, Circumstances::of(Actor::SYSTEM, CorrelationId::new(new_id())));
    match system.log.execute::<File>(&scope, file.file_id.uuid(), command).await {
        Ok(Executed::Appended(_) | Executed::Unchanged { .. } | Executed::Replayed(_)) => {
            remove(system, file.organization_id, file.file_id).await
        }
        // It was stored, or ended, since the records were read.
        Err(ExecuteError::Rejected(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_not_configured(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StoragesError::NotConfigured))
}

async fn remove(system: &System, organization_id: OrganizationId, file_id: FileId) -> anyhow::Result<()> {
    let storages = system.storages.get().context("no server was started")?;
    Ok(storages.of(organization_id).await?.remove(&object_key(organization_id, file_id)).await?)
}

async fn sweep_storage(
    system: &System,
    organization_id: OrganizationId,
    storage: &Storage,
    now: Timestamp,
) -> anyhow::Result<()> {
    let old = SystemTime::from(time::OffsetDateTime::from(now)) - YOUNG;
    sweep_pieces(system, organization_id, storage, old).await?;
    let prefix = prefix_of(organization_id);
    remove_unknown(system, organization_id, storage, &storage.list_uploads(&prefix).await?, old).await?;
    let mut after: Option<String> = None;
    loop {
        let objects = storage.list(&prefix, after.as_deref()).await?;
        let Some(last) = objects.last() else { return Ok(()) };
        after = Some(last.key.clone());
        remove_unknown(system, organization_id, storage, &objects, old).await?;
        if system.runtime.stop.is_cancelled() {
            return Ok(());
        }
    }
}

async fn remove_unknown(
    system: &System,
    organization_id: OrganizationId,
    storage: &Storage,
    objects: &[ListedObject],
    old: SystemTime,
) -> anyhow::Result<()> {
    // Whatever has another kind of key is not the organization's.
    let files: Vec<_> = objects
        .iter()
        .filter(|object| object.since < old)
        .filter_map(|object| file_of(organization_id, &object.key))
        .collect();
    if files.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = files.iter().map(|file_id| file_id.uuid()).collect();
    let mut tx = read(system).await?;
    let alive = queries::files_alive(&mut tx, organization_id, &ids).await?;
    tx.commit().await?;
    let unknown: Vec<_> = files.into_iter().filter(|file_id| !alive.contains(file_id)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let to_come = files_to_come(system, organization_id).await?;
    for file_id in unknown.into_iter().filter(|file_id| !to_come.contains(file_id)) {
        // The records may lag behind; before anything is removed, the log itself is asked.
        if is_alive(system, organization_id, file_id).await? {
            continue;
        }
        storage.remove(&object_key(organization_id, file_id)).await?;
        info!(file.id = %file_id, "an object without a file was removed");
    }
    Ok(())
}

async fn is_alive(system: &System, organization_id: OrganizationId, file_id: FileId) -> anyhow::Result<bool> {
    let key = StreamKey { organization_id, kind: StreamKind::File, id: file_id.uuid() };
    let mut file = File::default();
    for event in system.log.stream(&key, 0).await? {
        file.apply(event.decode_as::<FileEvent>()?);
    }
    Ok(match file.status() {
        Some(FileStatus::Requested | FileStatus::Stored) => true,
        Some(FileStatus::Failed | FileStatus::Deleted) | None => false,
    })
}

async fn read(system: &System) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let begin = AssertSqlSafe("begin read only; set local search_path to records, public");
    system.databases.core_system.begin_with(begin).await
}
