//! Brings a practice's appointment history into the log.
//!
//! Each line of a CSV file is an appointment. A clinic is registered with its first line, a patient with the first
//! line of that clinic that names them, and the appointment gets the events that its line tells of: booked, then
//! confirmed where a reminder was sent, then onboarded and completed, or no-show. Every event keeps the moment
//! when it happened; when it was written stands beside it. [`Row::history`](row) says which moments are not in
//! such files and what is taken instead.
//!
//! # Guarantees
//! - The aggregates decide, as they do for commands of today. What they refuse, and what cannot be read, is listed
//!   with line, reason and the row itself; nothing is left out silently, and a refused row leaves nothing in the log.
//! - Ids follow from the source (see `ids.rs`), and a stream is written whole or not at all: an import that is
//!   repeated, or stopped halfway and begun again, adds nothing twice and ends with the same counts.
//! - A clinic and a patient are in the log before their appointments.
//! - Events say that they were imported and by which run. Partners hear of them only when that is asked for.
//! - An erased patient stays erased: rows about them that are not in the log yet are refused.
//!
//! # Limits
//! An appointment is known by its number and its booking: a later export that moves the booking is another
//! appointment. The numbers of all rows are kept in memory, about 40 bytes each, to find doubles.
//!
//! Start reading at [`run`], then `row.rs` and `load.rs`.

mod columns;
pub mod command;
mod ids;
mod load;
mod rejects;
mod row;
mod source;
mod summary;
#[cfg(test)]
mod tests;
mod values;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Instant;

use carelog_domain::organization::OrganizationRejection;
use carelog_domain::patient::PatientRejection;
use carelog_domain::{Actor, ActorKind, Circumstances, CorrelationId, Origin, PurposeOfUse, Role};
use carelog_event_log::{HistoryError, new_id};
use carelog_vault::VaultError;
use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;

pub use self::columns::{ColumnMap, ColumnsError, Field, Mapping};
pub use self::rejects::RejectReason;
pub use self::source::Source;
pub use self::summary::ImportSummary;

use self::load::{Loaded, Loader};
use self::rejects::RejectsFile;
use self::source::OpenSource;
use crate::system::System;

/// What to import, and how.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The file.
    pub source: Source,
    /// Which column means what.
    pub columns: ColumnMap,
    /// IANA name of the clinics' time zone, `America/Sao_Paulo`.
    pub time_zone: String,
    /// Whether partners hear of it.
    pub notify: bool,
    /// Where rows that cannot be imported are listed, when there are any.
    pub rejects: PathBuf,
    /// Streams that are appended at a time.
    pub concurrency: NonZeroUsize,
    /// Ends the import early, between two streams.
    pub stop: CancellationToken,
}

/// How far an import has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportProgress {
    /// Rows brought in or rejected.
    pub rows: u64,
    /// Bytes of the file that were read.
    pub bytes_read: u64,
    /// Bytes of the whole file; not known of a pipe.
    pub total_bytes: Option<u64>,
}

/// Why an import cannot begin or go on. What was brought in stays; it can be begun again.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The columns do not fit the file.
    #[error(transparent)]
    Columns(#[from] ColumnsError),
    /// There is no such time zone.
    #[error("there is no time zone {0:?}; a name is Area/City, such as Europe/Berlin")]
    UnknownTimeZone(String),
    /// The file cannot be opened.
    #[error("the file cannot be opened")]
    Open(#[source] std::io::Error),
    /// The file cannot be read on, because it is damaged or cut off.
    #[error("the file cannot be read")]
    Read(#[source] csv::Error),
    /// No thread for the reader.
    #[error("the reader cannot be started")]
    Thread(#[source] std::io::Error),
    /// The rejected rows cannot be listed.
    #[error("the file for rejected rows cannot be written")]
    Rejects(#[source] csv::Error),
    /// The keys cannot be reached.
    #[error("the keys cannot be used")]
    Vault(#[from] VaultError),
    /// The database did not answer, or refused.
    #[error("the database cannot be used")]
    Database(#[from] sqlx::Error),
    /// The log cannot be written.
    #[error("the log cannot be written")]
    History(#[from] HistoryError),
    /// A clinic cannot be registered.
    #[error("a clinic cannot be registered")]
    Organization(#[from] OrganizationRejection),
    /// A patient cannot be registered.
    #[error("a patient cannot be registered")]
    Patient(#[from] PatientRejection),
}

impl ImportError {
    /// Whether it is what was asked for that cannot be: nothing was brought in.
    pub const fn is_bad_request(&self) -> bool {
        matches!(self, Self::Columns(_) | Self::UnknownTimeZone(_) | Self::Open(_))
    }
}

/// Imports a file. `progress` is called after every chunk.
///
/// # Errors
/// See [`ImportError`]. Rejected rows are no error, and neither is being stopped: the summary tells of both.
pub async fn run(
    system: &System,
    options: ImportOptions,
    mut progress: impl FnMut(ImportProgress),
) -> Result<ImportSummary, ImportError> {
    let begun = Instant::now();
    let zone = TimeZone::get(&options.time_zone)
        .map_err(|_| ImportError::UnknownTimeZone(options.time_zone.clone()))?;
    let source = OpenSource::open(&options.source, &options.columns)?;
    let (bytes_read, total_bytes) = (std::sync::Arc::clone(&source.bytes_read), source.total_bytes);
    let mut rejects_file = RejectsFile::new(options.rejects, source.header.clone());
    let mut chunks = source.chunks(zone).map_err(ImportError::Thread)?;
    let run_id = new_id();
    let mut loader = Loader::new(
        system.log.clone(),
        circumstances(run_id, options.notify),
        options.time_zone,
        options.concurrency.get(),
        options.stop.clone(),
    );
    let (mut rows, mut rejected) = (0, 0);
    let mut state = Loaded::Whole;
    while state == Loaded::Whole {
        let chunk = tokio::select! {
            biased;
            () = options.stop.cancelled() => {
                state = Loaded::Interrupted;
                break;
            }
            chunk = chunks.recv() => chunk,
        };
        let Some(chunk) = chunk.transpose()? else { break };
        rows += (chunk.rows.len() + chunk.rejects.len()) as u64;
        let mut rejects = chunk.rejects;
        state = loader.load(chunk.rows, &mut rejects).await?;
        rejects.sort_by_key(|reject| reject.line);
        rejected += rejects.len() as u64;
        rejects_file.write(&rejects).map_err(ImportError::Rejects)?;
        progress(ImportProgress { rows, bytes_read: bytes_read.load(Ordering::Relaxed), total_bytes });
    }
    let is_complete = state == Loaded::Whole;
    let rejects_path =
        rejects_file.finish(is_complete).map_err(|error| ImportError::Rejects(error.into()))?;
    Ok(ImportSummary::new(
        run_id,
        rows,
        rejected,
        loader.progress,
        rejects_path,
        is_complete,
        begun.elapsed(),
    ))
}

/// The run is the actor, and its id ties everything together that it brought in.
fn circumstances(run_id: uuid::Uuid, notify: bool) -> Circumstances {
    Circumstances {
        actor: Actor { kind: ActorKind::Import, id: Some(run_id), role: Role::System, on_behalf_of: None },
        purpose: Some(PurposeOfUse::Operations),
        correlation_id: CorrelationId::new(run_id),
        causation_id: None,
        request_id: None,
        origin: if notify { Origin::ImportedNotify } else { Origin::Imported },
    }
}
