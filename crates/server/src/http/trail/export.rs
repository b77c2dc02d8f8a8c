//! The trail as a file. It is read page by page while it is sent, so that it takes the same memory however long it is.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use carelog_analytics::columnar::{ColumnarError, PARQUET, ParquetStream};
use carelog_audit::signer::origin;
use carelog_audit::{Order, TrailFilter, TrailPage, queries};
use carelog_domain::OrganizationId;
use carelog_files::{Mark, Piece};
use carelog_webhooks::{CHECKPOINT_HEADER, checkpoint_header};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt, stream};
use http::{HeaderValue, header};
use serde::Serialize;
use sqlx::PgPool;

use super::{EntryView, ExportForm, columns, fhir};
use crate::exports::store::Job;
use crate::exports::{ExportForm as JobForm, Spool, SpooledPage};
use crate::http::access;
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use crate::http::proofs::covering;
use crate::http::reading;

/// Entries that are read at a time.
const AT_A_TIME: u16 = 1_000;
pub(super) const COLUMNS: [&str; 22] = [
    "sequence",
    "event_id",
    "event",
    "action",
    "outcome",
    "target_kind",
    "target_id",
    "patient_id",
    "actor_kind",
    "actor_id",
    "actor_role",
    "on_behalf_of",
    "purpose",
    "legal_basis",
    "consents",
    "occurred_at",
    "recorded_at",
    "correlation_id",
    "causation_id",
    "request_id",
    "session_id",
    "origin",
];

/// Whose trail is read.
struct Source {
    pool: PgPool,
    organization_id: OrganizationId,
    filter: TrailFilter,
    until: i64,
}

/// How far an export has come.
struct Progress {
    source: Source,
    form: ExportForm,
    /// The name of the log.
    origin: String,
    /// The sequence of the last entry that was written, and how many were.
    mark: Mark,
    is_begun: bool,
    /// The file that is written, where it has to be ended.
    parquet: Option<ParquetStream>,
    /// Pages that a process before has read, and where others are kept.
    spool: Option<Spool>,
    /// Tells others how many entries were written.
    done: Arc<AtomicI64>,
}

/// Writes the export down, and then begins it. What enters the trail meanwhile, the export's own entry first, is not part
/// of it.
///
/// # Errors
/// When the trail cannot be read, or the export cannot be written down.
pub(super) async fn respond(
    caller: Caller,
    filter: TrailFilter,
    form: ExportForm,
) -> Result<Response, Problem> {
    let organization_id = caller.organization_id;
    let mut tx = caller.read_trail().await?;
    let until = queries::newest_sequence(&mut tx, organization_id).await?;
    let count = queries::count_entries(&mut tx, organization_id, &filter, until, i64::MAX).await?;
    tx.commit().await?;
    access::record_trail_export(&caller, filter.subject_id, count).await?;
    let pool = caller.api.system.databases.audit_app.clone();
    let source = Source { pool, organization_id, filter, until };
    let progress = Progress::begin(source, form, &caller.api.origin, Arc::default());
    let pieces = pieces(progress.map_err(|error| Problem::internal(&error))?).map_ok(|piece| piece.bytes);
    let (content_type, name) = match form {
        ExportForm::Csv => ("text/csv; charset=utf-8; header=present", "trail.csv"),
        ExportForm::Ndjson => ("application/x-ndjson", "trail.ndjson"),
        ExportForm::Parquet => (PARQUET, "trail.parquet"),
        ExportForm::Fhir(version) => (version.lines_type(), "audit-events.ndjson"),
    };
    // Without it where nothing is signed yet; it need not cover the newest entries.
    let checkpoint = covering(&caller, 0).await?.map(|checkpoint| checkpoint_header(&checkpoint.to_string()));
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert("carelog-entries", HeaderValue::from(count));
    headers.extend(checkpoint.map(|note| (CHECKPOINT_HEADER, note)));
    if let Ok(disposition) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

/// A long export of lines, piece by piece, from a mark on; `done` counts its entries.
///
/// # Errors
/// When its form is none of lines.
pub(crate) fn trail_lines(
    pool: PgPool,
    prefix: &str,
    job: &Job,
    mark: Mark,
    done: Arc<AtomicI64>,
) -> anyhow::Result<BoxStream<'static, io::Result<Piece>>> {
    let form = match job.wanted.form {
        JobForm::Csv => ExportForm::Csv,
        JobForm::Ndjson => ExportForm::Ndjson,
        JobForm::FhirR4Ndjson => ExportForm::Fhir(fhir::Version::R4),
        JobForm::FhirR5Ndjson => ExportForm::Fhir(fhir::Version::R5),
        JobForm::Parquet | JobForm::Bundle => anyhow::bail!("{} is no form of lines", job.wanted.form),
    };
    let progress = Progress::begin(Source::of(pool, job), form, prefix, done)?;
    progress.done.store(mark.count, Ordering::Relaxed);
    let progress = Progress { mark, is_begun: mark.after > 0, ..progress };
    Ok(pieces(progress).map_err(io::Error::other).boxed())
}

/// A long export as Parquet, piece by piece: what is in the spool first.
///
/// # Errors
/// When it cannot be begun.
pub(crate) fn trail_table(
    pool: PgPool,
    prefix: &str,
    job: &Job,
    spool: Spool,
    done: Arc<AtomicI64>,
) -> anyhow::Result<BoxStream<'static, io::Result<Bytes>>> {
    let progress = Progress::begin(Source::of(pool, job), ExportForm::Parquet, prefix, done)?;
    let progress = Progress { spool: Some(spool), ..progress };
    Ok(pieces(progress).map_ok(|piece| piece.bytes).map_err(io::Error::other).boxed())
}

fn pieces(progress: Progress) -> impl Stream<Item = Result<Piece, BrokeOff>> + Send + 'static {
    stream::try_unfold(progress, |progress| {
        let mark = progress.mark;
        let next = progress.next();
        async move { Ok(next.await?.map(|(bytes, progress)| (Piece { bytes, mark }, progress))) }.boxed()
    })
}

/// A failure in the middle breaks the transfer off, which the client sees.
#[derive(Debug, thiserror::Error)]
#[error("the export broke off")]
struct BrokeOff;

impl Progress {
    fn begin(
        source: Source,
        form: ExportForm,
        prefix: &str,
        done: Arc<AtomicI64>,
    ) -> Result<Self, ColumnarError> {
        let origin = origin(prefix, source.organization_id);
        let parquet = match form {
            ExportForm::Parquet => Some(columns::begin(&origin)?),
            ExportForm::Csv | ExportForm::Ndjson | ExportForm::Fhir(_) => None,
        };
        let mark = Mark::default();
        Ok(Self { source, form, origin, mark, is_begun: false, parquet, spool: None, done })
    }

    fn next(mut self) -> BoxFuture<'static, Result<Option<(Bytes, Self)>, BrokeOff>> {
        Box::pin(async move {
            if let Some(written) = self.spooled_rows()? {
                return Ok(Some((written, self)));
            }
            let entries = self.source.read(self.mark.after).await.map_err(|problem| {
                tracing::error!(error = problem.cause(), "an export of the trail broke off");
                BrokeOff
            })?;
            let mut piece = Vec::new();
            if !self.is_begun && self.form == ExportForm::Csv {
                write_line(&mut piece, COLUMNS.iter().map(|name| (*name).to_owned()))?;
            }
            let is_last = entries.is_empty();
            if is_last && piece.is_empty() {
                let Some(parquet) = self.parquet.take() else { return Ok(None) };
                return Ok(Some((Bytes::from(parquet.finish().map_err(|_| BrokeOff)?), self)));
            }
            let last = entries.last().map_or(self.mark.after, |last| last.sequence);
            let count = i64::try_from(entries.len()).unwrap_or(i64::MAX);
            if self.form == ExportForm::Parquet {
                let page = SpooledPage { last, count, cells: columns::of(&entries) };
                if let Some(spool) = &mut self.spool {
                    spool.push(&page).map_err(|error| broke_off(&error))?;
                }
                return Ok(Some((self.rows(page)?, self)));
            }
            self.advance(last, count);
            for entry in entries {
                match self.form {
                    ExportForm::Csv => write_line(&mut piece, cells(&entry))?,
                    ExportForm::Ndjson => write_json(&mut piece, &entry)?,
                    // Written above, many rows at a time.
                    ExportForm::Parquet => {}
                    ExportForm::Fhir(version) => {
                        write_json(&mut piece, &fhir::audit_event(&entry, version, &self.origin))?;
                    }
                }
            }
            self.is_begun = true;
            Ok(Some((Bytes::from(piece), self)))
        })
    }

    /// The next page that a process before has read.
    fn spooled_rows(&mut self) -> Result<Option<Bytes>, BrokeOff> {
        let Some(spool) = &mut self.spool else { return Ok(None) };
        match spool.next_page(COLUMNS.len()).map_err(|error| broke_off(&error))? {
            Some(page) => self.rows(page).map(Some),
            None => Ok(None),
        }
    }

    /// Writes a page of a table.
    fn rows(&mut self, page: SpooledPage) -> Result<Bytes, BrokeOff> {
        self.advance(page.last, page.count);
        let parquet = self.parquet.as_mut().ok_or(BrokeOff)?;
        Ok(Bytes::from(parquet.rows(page.cells).map_err(|_| BrokeOff)?))
    }

    fn advance(&mut self, last: i64, count: i64) {
        self.mark = Mark { after: last, count: self.mark.count.saturating_add(count) };
        self.done.store(self.mark.count, Ordering::Relaxed);
    }
}

fn broke_off(error: &io::Error) -> BrokeOff {
    tracing::error!(%error, "pages of an export of the trail cannot be kept");
    BrokeOff
}

impl Source {
    fn of(pool: PgPool, job: &Job) -> Self {
        let (organization_id, filter) = (job.organization_id, job.wanted.filter());
        Self { pool, organization_id, filter, until: job.until_sequence }
    }

    async fn read(&self, after: i64) -> Result<Vec<EntryView>, Problem> {
        let page = TrailPage { order: Order::OldestFirst, after: Some(after), limit: AT_A_TIME };
        let mut tx = reading::read_trail(&self.pool, self.organization_id).await?;
        let entries = queries::list_entries(&mut tx, self.organization_id, &self.filter, page).await?;
        tx.commit().await?;
        let entries = entries.into_iter().take_while(|entry| entry.sequence <= self.until);
        Ok(entries.map(EntryView::from).collect())
    }
}

fn write_json(piece: &mut Vec<u8>, value: &impl Serialize) -> Result<(), BrokeOff> {
    serde_json::to_writer(&mut *piece, value).map_err(|_| BrokeOff)?;
    piece.push(b'\n');
    Ok(())
}

fn cells(entry: &EntryView) -> impl Iterator<Item = String> {
    let optional = |value: Option<String>| value.unwrap_or_default();
    let actor = &entry.actor;
    [
        entry.sequence.to_string(),
        entry.event_id.to_string(),
        entry.event.to_string(),
        entry.action.to_string(),
        entry.outcome.to_string(),
        entry.target_kind.to_string(),
        optional(entry.target_id.map(|id| id.to_string())),
        optional(entry.patient_id.map(|id| id.to_string())),
        actor.kind.to_string(),
        optional(actor.id.map(|id| id.to_string())),
        actor.role.to_string(),
        optional(actor.on_behalf_of.map(|id| id.to_string())),
        optional(entry.purpose.map(|purpose| purpose.to_string())),
        entry.legal_basis.to_string(),
        entry.consents_told(),
        entry.occurred_at.to_string(),
        entry.recorded_at.to_string(),
        entry.correlation_id.to_string(),
        optional(entry.causation_id.map(|id| id.to_string())),
        optional(entry.request_id.map(|id| id.to_string())),
        optional(entry.session_id.map(|id| id.to_string())),
        entry.origin.to_string(),
    ]
    .into_iter()
}

fn write_line(piece: &mut Vec<u8>, cells: impl Iterator<Item = String>) -> Result<(), BrokeOff> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(piece);
    writer.write_record(cells.map(neutral)).map_err(|_| BrokeOff)?;
    writer.flush().map_err(|_| BrokeOff)
}

/// A spreadsheet takes what begins so for a formula, and would carry it out.
fn neutral(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_that_is_a_formula_is_none_any_more() {
        let cells = ["=1+1", "+1", "-1", "@x", "\tx", "plain", "a=b", ""].map(str::to_owned);
        let mut piece = Vec::new();

        write_line(&mut piece, cells.into_iter()).unwrap();

        assert_eq!(piece, b"'=1+1,'+1,'-1,'@x,'\tx,plain,a=b,\r\n");
    }
}
