//! What an import came to.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use uuid::Uuid;

use super::load::{Counts, Progress};

/// What an import came to. But for `already_imported`, `new_events`, `run_id` and `seconds` it says the same of a
/// file however often its import was stopped and begun again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImportSummary {
    /// Rows of the file, the first line not counted.
    pub rows: u64,
    /// Rows that cannot be imported.
    pub rejected: u64,
    /// Rows whose appointment an earlier run brought in.
    pub already_imported: u64,
    /// Clinics that the file amounts to.
    pub organizations: u64,
    /// Patients that the file amounts to.
    pub patients: u64,
    /// Appointments that the file amounts to.
    pub appointments: u64,
    /// Events that the file amounts to, by type.
    pub events: BTreeMap<&'static str, u64>,
    /// Events that this run appended, by type.
    pub new_events: BTreeMap<&'static str, u64>,
    /// Local times that named two moments or none, because the clocks were turned; the earlier offset was taken.
    pub ambiguous_times: u64,
    /// The list of rejected rows, when there are any.
    pub rejects: Option<PathBuf>,
    /// Whether the end of the file was reached.
    pub complete: bool,
    /// The actor and the correlation of everything that this run appended.
    pub run_id: Uuid,
    /// How long it took.
    pub seconds: f64,
}

impl ImportSummary {
    pub(super) fn new(
        run_id: Uuid,
        rows: u64,
        rejected: u64,
        progress: Progress,
        rejects: Option<PathBuf>,
        complete: bool,
        took: std::time::Duration,
    ) -> Self {
        Self {
            rows,
            rejected,
            already_imported: progress.already_imported,
            organizations: progress.organizations,
            patients: progress.patients,
            appointments: progress.appointments,
            events: by_name(progress.events),
            new_events: by_name(progress.new_events),
            ambiguous_times: progress.ambiguous_times,
            rejects,
            complete,
            run_id,
            seconds: (took.as_secs_f64() * 1_000.0).round() / 1_000.0,
        }
    }
}

fn by_name(counts: Counts) -> BTreeMap<&'static str, u64> {
    let some = counts.into_iter().filter(|(_, count)| *count > 0);
    some.map(|(event_type, count)| (event_type.as_str(), count)).collect()
}

impl fmt::Display for ImportSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} rows in {:.1} s", self.rows, self.seconds)?;
        writeln!(f, "  {:>9} clinics", self.organizations)?;
        writeln!(f, "  {:>9} patients", self.patients)?;
        writeln!(f, "  {:>9} appointments", self.appointments)?;
        if self.already_imported > 0 {
            writeln!(f, "  {:>9} of them were imported before", self.already_imported)?;
        }
        writeln!(f, "events (appended now):")?;
        for (event_type, count) in &self.events {
            let new = self.new_events.get(event_type).copied().unwrap_or_default();
            writeln!(f, "  {count:>9} {event_type} ({new})")?;
        }
        if self.ambiguous_times > 0 {
            let count = self.ambiguous_times;
            writeln!(
                f,
                "{count} local times were ambiguous, because the clocks were turned: the earlier offset was taken"
            )?;
        }
        if let Some(path) = &self.rejects {
            writeln!(f, "{} rows were rejected, listed in {}", self.rejected, path.display())?;
        }
        if !self.complete {
            writeln!(f, "stopped before the end; the same command goes on where it stopped")?;
        }
        Ok(())
    }
}
