//! `carelog doctor`.

use std::io::Write;
use std::process::ExitCode;

use carelog_event_log::ReadError;
use clap::Args;
use serde::Serialize;
use sqlx::error::DatabaseError;

use super::{DoctorError, Finding, Leaves};
use crate::databases::Databases;

/// Exit code when it cannot be told whether something is damaged.
pub const CANNOT_CHECK: u8 = 2;

/// Options of `carelog doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// How many leaf hashes to compute anew, of the newest events and as many of any: a number, or all
    #[arg(long, value_name = "N|all", default_value_t = Leaves::Sample(10_000))]
    leaves: Leaves,
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    findings: &'a [Finding],
}

/// Runs the command: 0 when everything is whole, 1 when something is damaged, 2 when it cannot be told.
///
/// # Errors
/// When standard output cannot be written.
pub async fn run(databases: &Databases, args: DoctorArgs) -> std::io::Result<ExitCode> {
    match super::examine(databases, args.leaves).await {
        Ok(findings) => tell(&findings, args.json),
        Err(error) => Ok(refuse(&error)),
    }
}

fn tell(findings: &[Finding], as_json: bool) -> std::io::Result<ExitCode> {
    let ok = findings.iter().all(Finding::is_ok);
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{}", serde_json::to_string(&Report { ok, findings })?)?;
    } else {
        for finding in findings {
            let verdict = if finding.is_ok() { "ok" } else { "DAMAGED" };
            writeln!(out, "{verdict:<8} {} ({} checked)", finding.name, finding.checked)?;
            for damage in &finding.damage {
                writeln!(out, "         - {damage}")?;
            }
            for note in &finding.notes {
                writeln!(out, "         note: {note}")?;
            }
        }
        writeln!(out, "{}", if ok { "everything is whole" } else { "something is damaged" })?;
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn refuse(error: &DoctorError) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    if is_empty(error) {
        text.push_str("; `carelog migrate` makes a new Carelog, unless CARELOG_HOME or DATABASE_URL name the wrong place");
    }
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "carelog: {text}");
    ExitCode::from(CANNOT_CHECK)
}

/// Whether there is no Carelog at all: no database of that name, or no tables.
fn is_empty(error: &DoctorError) -> bool {
    let (DoctorError::Database(source) | DoctorError::Read(ReadError::Database(source))) = error else {
        return false;
    };
    let code = source.as_database_error().and_then(DatabaseError::code);
    matches!(code.as_deref(), Some("3D000" | "3F000" | "42P01"))
}
