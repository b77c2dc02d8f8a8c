//! The columns of an export of the trail as Parquet.

use std::collections::HashMap;

use carelog_analytics::columnar::{CellKind, Cells, ColumnarError, ParquetStream, StreamColumn};
use carelog_domain::Timestamp;

use super::EntryView;

const fn text(name: &'static str, description: &'static str) -> StreamColumn {
    StreamColumn { name, description, kind: CellKind::Text }
}

const fn moment(name: &'static str, description: &'static str) -> StreamColumn {
    StreamColumn { name, description, kind: CellKind::Moment }
}

/// The same as in CSV, in the same order.
const COLUMNS: [StreamColumn; 22] = [
    StreamColumn {
        name: "sequence",
        description: "Gapless place among the organization's events",
        kind: CellKind::Number,
    },
    text("event_id", "The event that the entry is about"),
    text("event", "The event's type"),
    text("action", "What was done"),
    text("outcome", "Whether it was done"),
    text("target_kind", "To what kind of record"),
    text("target_id", "To which record; null where it was a list"),
    text("patient_id", "About whom"),
    text("actor_kind", "What kind of actor did it"),
    text("actor_id", "Which one: a key, a run or a component"),
    text("actor_role", "In which role"),
    text("on_behalf_of", "For whom"),
    text("purpose", "Why, where it was said"),
    text("legal_basis", "Which point of GDPR Article 6(1) it rests on by default"),
    text("consents", "What the patient had agreed to, as kind/version, with spaces between"),
    moment("occurred_at", "When it happened"),
    moment("recorded_at", "When it was written to the log"),
    text("correlation_id", "Ties together what one wish led to"),
    text("causation_id", "The event that caused it"),
    text("request_id", "The HTTP request, where there was one"),
    text("session_id", "The session of the console in which it was asked for"),
    text("origin", "Live or imported"),
];

/// Begins a file of the entries of a log.
///
/// # Errors
/// When it cannot be begun.
pub(super) fn begin(origin: &str) -> Result<ParquetStream, ColumnarError> {
    ParquetStream::begin(&COLUMNS, HashMap::from([("log".to_owned(), origin.to_owned())]))
}

/// The cells of some entries, column by column.
pub(super) fn of(entries: &[EntryView]) -> Vec<Cells> {
    let texts = |cell: &dyn Fn(&EntryView) -> String| {
        Cells::Text(entries.iter().map(|entry| Some(cell(entry))).collect())
    };
    let optional =
        |cell: &dyn Fn(&EntryView) -> Option<String>| Cells::Text(entries.iter().map(cell).collect());
    let moments = |cell: &dyn Fn(&EntryView) -> Timestamp| {
        Cells::Moment(entries.iter().map(|entry| Some(cell(entry).unix_micros())).collect())
    };
    vec![
        Cells::Number(entries.iter().map(|entry| Some(entry.sequence)).collect()),
        texts(&|entry| entry.event_id.to_string()),
        texts(&|entry| entry.event.to_string()),
        texts(&|entry| entry.action.to_string()),
        texts(&|entry| entry.outcome.to_string()),
        texts(&|entry| entry.target_kind.to_string()),
        optional(&|entry| entry.target_id.map(|id| id.to_string())),
        optional(&|entry| entry.patient_id.map(|id| id.to_string())),
        texts(&|entry| entry.actor.kind.to_string()),
        optional(&|entry| entry.actor.id.map(|id| id.to_string())),
        texts(&|entry| entry.actor.role.to_string()),
        optional(&|entry| entry.actor.on_behalf_of.map(|id| id.to_string())),
        optional(&|entry| entry.purpose.map(|purpose| purpose.to_string())),
        texts(&|entry| entry.legal_basis.to_string()),
        texts(&EntryView::consents_told),
        moments(&|entry| entry.occurred_at),
        moments(&|entry| entry.recorded_at),
        texts(&|entry| entry.correlation_id.to_string()),
        optional(&|entry| entry.causation_id.map(|id| id.to_string())),
        optional(&|entry| entry.request_id.map(|id| id.to_string())),
        optional(&|entry| entry.session_id.map(|id| id.to_string())),
        texts(&|entry| entry.origin.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_those_of_csv() {
        let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();

        assert_eq!(names, super::super::export::COLUMNS);
        assert_eq!(of(&[]).len(), names.len());
        assert!(begin("audit.example/clinic").unwrap().rows(of(&[])).is_ok());
    }
}
