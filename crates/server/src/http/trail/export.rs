//! The trail as a file. It is read page by page while it is sent, so that it takes the same memory however long it is.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use carelog_analytics::columnar::{PARQUET, ParquetStream};
use carelog_audit::signer::origin;
use carelog_audit::{Order, TrailFilter, TrailPage, queries};
use futures::future::BoxFuture;
use futures::{FutureExt, stream};
use http::{HeaderValue, header};
use serde::Serialize;

use super::{EntryView, ExportForm, columns, fhir};
use crate::http::access;
use crate::http::caller::Caller;
use crate::http::problem::Problem;

/// Entries that are read at a time.
const AT_A_TIME: u16 = 1_000;
pub(super) const COLUMNS: [&str; 19] = [
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
    "occurred_at",
    "recorded_at",
    "correlation_id",
    "causation_id",
    "request_id",
    "origin",
];

/// How far an export has come.
struct Progress {
    caller: Caller,
    filter: TrailFilter,
    form: ExportForm,
    /// The name of the log.
    origin: String,
    after: i64,
    until: i64,
    is_begun: bool,
    /// The file that is written, where it has to be ended.
    parquet: Option<ParquetStream>,
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
    let origin = origin(&caller.api.origin, organization_id);
    let parquet = match form {
        ExportForm::Parquet => Some(columns::begin(&origin).map_err(|error| Problem::internal(&error))?),
        ExportForm::Csv | ExportForm::Ndjson | ExportForm::Fhir(_) => None,
    };
    let progress = Progress { caller, filter, form, origin, after: 0, until, is_begun: false, parquet };
    let pieces = stream::try_unfold(progress, |progress| progress.next().boxed());
    let (content_type, name) = match form {
        ExportForm::Csv => ("text/csv; charset=utf-8; header=present", "trail.csv"),
        ExportForm::Ndjson => ("application/x-ndjson", "trail.ndjson"),
        ExportForm::Parquet => (PARQUET, "trail.parquet"),
        ExportForm::Fhir(version) => (version.lines_type(), "audit-events.ndjson"),
    };
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert("carelog-entries", HeaderValue::from(count));
    if let Ok(disposition) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(response)
}

/// A failure in the middle breaks the transfer off, which the client sees.
#[derive(Debug, thiserror::Error)]
#[error("the export broke off")]
struct BrokeOff;

impl Progress {
    fn next(mut self) -> BoxFuture<'static, Result<Option<(Bytes, Self)>, BrokeOff>> {
        Box::pin(async move {
            let entries = self.read().await.map_err(|problem| {
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
            if let Some(last) = entries.last() {
                self.after = last.sequence;
            }
            if let Some(parquet) = &mut self.parquet {
                let written = parquet.rows(columns::of(&entries)).map_err(|_| BrokeOff)?;
                return Ok(Some((Bytes::from(written), self)));
            }
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

    /// What is written meanwhile can be sent to another thread, and not be looked at from there: so this takes it whole.
    async fn read(&mut self) -> Result<Vec<EntryView>, Problem> {
        let page = TrailPage { order: Order::OldestFirst, after: Some(self.after), limit: AT_A_TIME };
        let mut tx = self.caller.read_trail().await?;
        let entries = queries::list_entries(&mut tx, self.caller.organization_id, &self.filter, page).await?;
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
        entry.occurred_at.to_string(),
        entry.recorded_at.to_string(),
        entry.correlation_id.to_string(),
        optional(entry.causation_id.map(|id| id.to_string())),
        optional(entry.request_id.map(|id| id.to_string())),
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
