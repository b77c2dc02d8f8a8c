//! Makes long exports: of the trail as a table, or of the log as a file that proves itself.
//!
//! Whoever asks for one writes an access to the log, whose id is the export's, and then a row of `exports.jobs`. A process
//! in the role `workers` takes a row that nobody holds, of the clinic that has waited longest for its turn, makes the file
//! and puts it into the clinic's own storage, below `exports/`; the row says how far it is. When the process dies, its lease
//! runs out and another goes on, as `making.rs` says: a table has the same entries however often it is made, because it
//! ends at the newest entry of the moment when it was asked for. Files are handed out by signed links, each of them another
//! access, and removed after a week.

mod folder;
mod kept;
mod making;
mod spool;
pub mod store;
mod wanted;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Context;
use carelog_domain::{OrganizationId, Timestamp};
use carelog_files::{BringError, Brought};
use tracing::{info, warn};
use uuid::Uuid;

pub use self::folder::Folder;
pub use self::wanted::{ExportForm, Wanted};

pub(crate) use self::spool::{Spool, SpooledPage};

use self::store::{End, Job};
use crate::audit::{ExportError, Exporter};
use crate::storages::StoragesError;
use crate::system::System;

/// How often exports are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often an export that is made says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long a process that says nothing keeps an export.
const LEASE_MICROS: i64 = 30 * 1_000_000;
/// Pause before one that failed is begun again.
const PAUSE_MICROS: i64 = 30 * 1_000_000;
/// An export that failed so often is given up.
const MAX_ATTEMPTS: i32 = 5;
/// How long files are kept.
const KEEP_MICROS: i64 = 7 * 24 * 3_600 * 1_000_000;
/// Pause before a file that could not be removed is tried again.
const LEFT_OVER_PAUSE_MICROS: i64 = 3_600 * 1_000_000;
/// Files that are removed in one look.
const REMOVED_AT_A_TIME: i64 = 50;

/// The key of an export's object.
pub fn object_key(organization_id: OrganizationId, export_id: Uuid) -> String {
    format!("exports/{organization_id}/{export_id}")
}

/// What exports are made with.
#[derive(Debug)]
pub struct Workshop {
    /// The running system.
    pub system: System,
    /// Makes bundles.
    pub exporter: Exporter,
    /// Where files lie until they are in a storage.
    pub folder: Folder,
    /// Bytes of the largest file.
    pub max_bytes: i64,
}

/// Works until the system stops.
pub async fn run(workshop: Workshop) {
    let stop = workshop.system.runtime.stop.clone();
    while tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
        let look = async {
            while make_next(&workshop).await? {}
            forget_ended(&workshop).await?;
            remove_late(&workshop.system).await
        };
        let looked = tokio::select! {
            () = stop.cancelled() => return,
            looked = look => looked,
        };
        if let Err(error) = looked {
            warn!(error = format!("{error:#}"), "exports cannot be made; it is tried again");
        }
    }
}

/// Makes the next export that nobody makes. False where there is none.
async fn make_next(workshop: &Workshop) -> anyhow::Result<bool> {
    let system = &workshop.system;
    let owner = system.runtime.owner;
    let now = system.log.clock().now();
    let mut audit = system.databases.audit_system.acquire().await?;
    let job = store::claim(&mut audit, owner, now, now.saturating_add_micros(LEASE_MICROS)).await?;
    drop(audit);
    let Some(job) = job else { return Ok(false) };
    if job.attempts > MAX_ATTEMPTS {
        // Each process that began it died of it: another one would as well.
        let mut audit = system.databases.audit_system.acquire().await?;
        store::end(&mut audit, &job, owner, End::Failed { failure: "gave_up" }, now).await?;
        warn!(organization.id = %job.organization_id, export.id = %job.export_id, "an export is given up");
        drop(audit);
        clear(workshop, &job, true).await;
        return Ok(true);
    }
    let done = Arc::new(AtomicI64::new(0));
    let made = tokio::select! {
        made = Box::pin(making::make(workshop, &job, &done)) => made,
        lost = tell(system, &job, &done) => return lost.map(|()| true),
    };
    let count = done.load(Ordering::Relaxed);
    let now = system.log.clock().now();
    let end = match made {
        Ok(Brought { size_bytes, content_sha256 }) => End::Complete { size_bytes, content_sha256, count },
        Err(error) => {
            let failure = failure(&error);
            let error = format!("{error:#}");
            warn!(organization.id = %job.organization_id, export.id = %job.export_id, error, "an export is not made");
            match failure {
                Some(failure) => End::Failed { failure },
                None if job.attempts >= MAX_ATTEMPTS => End::Failed { failure: "gave_up" },
                None => End::Later(now.saturating_add_micros(PAUSE_MICROS)),
            }
        }
    };
    let mut audit = system.databases.audit_system.acquire().await?;
    if store::end(&mut audit, &job, owner, end, now).await? {
        info!(organization.id = %job.organization_id, export.id = %job.export_id, ?end, "an export ended");
        drop(audit);
        let is_failed = match end {
            End::Later(_) => return Ok(true),
            End::Complete { .. } => false,
            End::Failed { .. } => true,
        };
        clear(workshop, &job, is_failed).await;
    }
    Ok(true)
}

async fn clear(workshop: &Workshop, job: &Job, is_failed: bool) {
    if let Err(error) = making::clear(workshop, job, is_failed).await {
        let error = format!("{error:#}");
        warn!(organization.id = %job.organization_id, export.id = %job.export_id, error, "an export left something");
    }
}

/// Says how far an export is, until another process has it.
async fn tell(system: &System, job: &Job, done: &AtomicI64) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(TELL_EVERY).await;
        let until = system.log.clock().now().saturating_add_micros(LEASE_MICROS);
        let count = done.load(Ordering::Relaxed);
        let mut audit = system.databases.audit_system.acquire().await?;
        if !store::advance(&mut audit, job, system.runtime.owner, count, until).await? {
            return Ok(());
        }
    }
}

/// What no other try would mend, by its code.
fn failure(error: &anyhow::Error) -> Option<&'static str> {
    if let Some(StoragesError::NotConfigured | StoragesError::Settings(_)) = error.downcast_ref() {
        return Some("storage_not_configured");
    }
    if let Some(BringError::TooLarge { .. }) = error.downcast_ref() {
        return Some("too_large");
    }
    match error.downcast_ref() {
        Some(ExportError::Write(error)) if error.kind() == io::ErrorKind::FileTooLarge => Some("too_large"),
        Some(ExportError::Nothing) => Some("nothing_found"),
        Some(
            ExportError::Changed(_)
            | ExportError::AnotherKey(_)
            | ExportError::Missing(_)
            | ExportError::Contradicted,
        ) => Some("log_damaged"),
        _ => None,
    }
}

/// Removes what the home has of exports that ended elsewhere.
async fn forget_ended(workshop: &Workshop) -> anyhow::Result<()> {
    for (organization_id, export_id) in workshop.folder.all_unfinished()? {
        let mut audit = workshop.system.databases.audit_system.acquire().await?;
        let job = store::get(&mut audit, organization_id, export_id).await?;
        if job.is_none_or(|job| job.status != "running") {
            workshop.folder.forget(organization_id, export_id)?;
        }
    }
    Ok(())
}

/// Removes files whose days are over.
async fn remove_late(system: &System) -> anyhow::Result<()> {
    let now: Timestamp = system.log.clock().now();
    let before = now.saturating_add_micros(-KEEP_MICROS);
    let mut audit = system.databases.audit_system.acquire().await?;
    let late = store::late(&mut audit, before, now, REMOVED_AT_A_TIME).await?;
    drop(audit);
    for (organization_id, export_id) in late {
        let storages = system.storages.get().context("no server was started")?;
        let removed = async {
            let storage = storages.of(organization_id).await?;
            storage.remove(&object_key(organization_id, export_id)).await.map_err(StoragesError::from)
        };
        let removed = removed.await;
        let mut audit = system.databases.audit_system.acquire().await?;
        match removed {
            // A storage that is gone took the file with it.
            Ok(()) | Err(StoragesError::NotConfigured) => {
                store::expire(&mut audit, organization_id, export_id).await?;
            }
            // One clinic's storage keeps no other from being cleaned.
            Err(error) => {
                warn!(organization.id = %organization_id, %error, "the file of an export is left over");
                let until = now.saturating_add_micros(LEFT_OVER_PAUSE_MICROS);
                store::put_off(&mut audit, organization_id, export_id, until).await?;
            }
        }
    }
    Ok(())
}
