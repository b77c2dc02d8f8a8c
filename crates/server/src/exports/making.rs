//! Makes the file of one export, from where a process before had come.
//!
//! - *Lines* (CSV, NDJSON, FHIR) are stored part by part. After each part the export's row has what is needed to go on
//!   after it, wherever the next process runs; of the trail it reads only the page again in which the last part ends.
//! - *Parquet* has an index at its end, and a *bundle* a proof over all of it: what was read of the trail or the log is
//!   kept in the home, and the next process of the same home reads it there. One of another home begins anew.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, bail};
use bytes::Bytes;
use carelog_audit::queries;
use carelog_domain::{Actor, Circumstances, CorrelationId};
use carelog_event_log::{Expected, Scope};
use carelog_files::{BringError, Brought, Storage};
use futures::StreamExt;
use futures::stream::BoxStream;
use sqlx::AssertSqlSafe;
use tempfile::NamedTempFile;
use tokio::io::AsyncReadExt;

use super::spool::Spool;
use super::store::Job;
use super::{ExportForm, LEASE_MICROS, Workshop, kept, object_key};
use crate::audit::{ExportOptions, ExportProgress, Exporter, Unfinished};
use crate::http::{trail_lines, trail_table};

/// Bytes of a bundle that are read at a time.
const READ_BYTES: usize = 1 << 20;
/// The pages of a table, in the folder of an unfinished export.
const PAGES: &str = "pages.ndjson";

/// Makes the file of an export and puts it into the storage. `done` counts its entries.
pub(super) async fn make(workshop: &Workshop, job: &Job, done: &Arc<AtomicI64>) -> anyhow::Result<Brought> {
    let begin = AssertSqlSafe("begin read only; set local search_path to audit, public");
    let mut tx = workshop.system.databases.audit_system.begin_with(begin).await?;
    let newest = queries::newest_sequence(&mut tx, job.organization_id).await?;
    tx.commit().await?;
    anyhow::ensure!(newest >= job.until_sequence, "the trail is made anew and has come to entry {newest}");
    let storages = workshop.system.storages.get().context("no server was started")?;
    let storage = storages.of(job.organization_id).await?;
    let key = object_key(job.organization_id, job.export_id);
    match job.wanted.form {
        ExportForm::Csv | ExportForm::Ndjson | ExportForm::FhirR4Ndjson | ExportForm::FhirR5Ndjson => {
            lines(workshop, job, &storage, &key, done).await
        }
        ExportForm::Parquet => {
            let table = table(workshop, job, &storage, &key, done);
            tokio::select! {
                made = table => made,
                full = workshop.folder.full() => Err(full.into()),
            }
        }
        ExportForm::Bundle => bundle(workshop, job, &storage, &key, done).await,
    }
}

/// Stores lines part by part.
async fn lines(
    workshop: &Workshop,
    job: &Job,
    storage: &Storage,
    key: &str,
    done: &Arc<AtomicI64>,
) -> anyhow::Result<Brought> {
    let Workshop { system, exporter, max_bytes, .. } = workshop;
    let mut audit = system.databases.audit_system.acquire().await?;
    let goes_on = match kept::of(&mut audit, job).await? {
        Some(kept) => storage.go_on(key, &kept, *max_bytes).await?,
        None => None,
    };
    drop(audit);
    let mut bringing = if let Some(bringing) = goes_on {
        bringing
    } else {
        storage.remove(key).await?;
        storage.bring_anew(key, job.wanted.form.media_type(), *max_bytes).await?
    };
    let (pool, mark) = (system.databases.audit_app.clone(), bringing.mark());
    let mut pieces = trail_lines(pool, &exporter.origin, job, mark, Arc::clone(done))?;
    loop {
        let part = bringing.next_part(&mut pieces).await;
        let mut audit = system.databases.audit_system.acquire().await?;
        match part {
            Ok(Some(kept)) => {
                let until = system.log.clock().now().saturating_add_micros(LEASE_MICROS);
                if !kept::keep(&mut audit, job, system.runtime.owner, &kept, until).await? {
                    bail!("another process makes the export by now");
                }
            }
            Ok(None) => break,
            Err(error @ BringError::Changed) => {
                kept::forget(&mut audit, job, system.runtime.owner).await?;
                return Err(error.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bringing.finish().await?)
}

/// Makes a table of pages that lie in the home, and of those after them.
async fn table(
    workshop: &Workshop,
    job: &Job,
    storage: &Storage,
    key: &str,
    done: &Arc<AtomicI64>,
) -> anyhow::Result<Brought> {
    let Workshop { system, exporter, folder, max_bytes } = workshop;
    storage.remove(key).await?;
    let pages = folder.unfinished(job.organization_id, job.export_id)?.join(PAGES);
    let spool = Spool::open(&pages, exporter.max_bytes)?;
    let pool = system.databases.audit_app.clone();
    let pieces = trail_table(pool, &exporter.origin, job, spool, Arc::clone(done))?;
    Ok(storage.bring(key, job.wanted.form.media_type(), pieces, *max_bytes).await?)
}

/// Makes a bundle by way of lists that lie in the home.
async fn bundle(
    workshop: &Workshop,
    job: &Job,
    storage: &Storage,
    key: &str,
    done: &AtomicI64,
) -> anyhow::Result<Brought> {
    let Workshop { exporter, folder, max_bytes, .. } = workshop;
    storage.remove(key).await?;
    let unfinished = folder.unfinished(job.organization_id, job.export_id)?;
    let mut file = NamedTempFile::new_in(folder.path())?;
    // Locked until the bundle is stored.
    let _unfinished = tokio::select! {
        made = assemble(exporter, job, &unfinished, &mut file, done) => made?,
        full = folder.full() => return Err(full.into()),
    };
    let pieces = pieces(file.path()).await?;
    Ok(storage.bring(key, job.wanted.form.media_type(), pieces, *max_bytes).await?)
}

async fn assemble(
    exporter: &Exporter,
    job: &Job,
    unfinished: &Path,
    file: &mut NamedTempFile,
    done: &AtomicI64,
) -> anyhow::Result<Option<Unfinished>> {
    let options = ExportOptions {
        organization_id: job.organization_id,
        from: None,
        to: None,
        patient_id: job.wanted.patient_id,
        since: None,
    };
    let circumstances = Circumstances::of(Actor::SYSTEM, CorrelationId::new(job.export_id));
    let scope = Scope { expected: Expected::New, ..Scope::new(job.organization_id, circumstances) };
    let progress = |progress: ExportProgress| {
        done.store(i64::try_from(progress.done).unwrap_or(i64::MAX), Ordering::Relaxed);
    };
    let made = exporter.export_by_way_of(&options, &scope, unfinished, file, &progress).await;
    let (summary, unfinished) = made?;
    done.store(i64::try_from(summary.event_count).unwrap_or(i64::MAX), Ordering::Relaxed);
    Ok(unfinished)
}

async fn pieces(path: &Path) -> io::Result<BoxStream<'static, io::Result<Bytes>>> {
    let file = tokio::fs::File::open(path).await?;
    let pieces = futures::stream::try_unfold(file, async |mut file| {
        let mut piece = Vec::with_capacity(READ_BYTES);
        let length = (&mut file).take(READ_BYTES as u64).read_to_end(&mut piece).await?;
        Ok::<_, io::Error>((length > 0).then(|| (Bytes::from(piece), file)))
    });
    Ok(pieces.boxed())
}

/// Removes what is left of an export that has ended: its folder, and where it failed, its parts.
pub(super) async fn clear(workshop: &Workshop, job: &Job, is_failed: bool) -> anyhow::Result<()> {
    workshop.folder.forget(job.organization_id, job.export_id)?;
    if is_failed {
        let storages = workshop.system.storages.get().context("no server was started")?;
        let storage = storages.of(job.organization_id).await?;
        storage.remove(&object_key(job.organization_id, job.export_id)).await?;
    }
    Ok(())
}
