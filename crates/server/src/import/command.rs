//! `carelog import appointments`.

use std::io::{IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::{
    ColumnMap, ColumnsError, ImportError, ImportOptions, ImportProgress, ImportSummary, Mapping, Source,
};
use crate::system::System;

/// Exit code for options that cannot be.
const BAD_OPTIONS: u8 = 2;
/// Enough to fill the batches of four lanes.
const CONCURRENCY: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");

/// What can be imported.
#[derive(Clone, Debug, Subcommand)]
pub enum ImportCommand {
    /// Import a practice's appointment history from a CSV file
    Appointments(AppointmentsArgs),
}

/// Options of `carelog import appointments`.
#[derive(Clone, Debug, Args)]
pub struct AppointmentsArgs {
    /// CSV file, packed with gzip or not; - reads standard input
    file: PathBuf,
    /// Which column means what: patient, appointment, clinic, booked_at, starts_at, no_show, and optionally
    /// reminder and birth_year
    #[arg(long, value_name = "FIELD=COLUMN", value_delimiter = ',', required = true)]
    map: Vec<Mapping>,
    /// Time zone of the clinics and of the file's local times, such as Europe/Berlin
    #[arg(long, value_name = "ZONE")]
    timezone: String,
    /// Send webhooks for what is imported
    #[arg(long)]
    notify: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Where rows that cannot be imported are listed [default: FILE.rejects.csv in the current directory]
    #[arg(long, value_name = "PATH")]
    rejects: Option<PathBuf>,
    /// Appointments that are appended at a time
    #[arg(long, value_name = "N", default_value_t = CONCURRENCY)]
    concurrency: NonZeroUsize,
}

impl AppointmentsArgs {
    /// The options that they stand for.
    ///
    /// # Errors
    /// When the columns do not make sense in themselves.
    pub fn options(self, stop: CancellationToken) -> Result<ImportOptions, ColumnsError> {
        let source =
            if self.file == Path::new("-") { Source::Stdin } else { Source::File(self.file.clone()) };
        Ok(ImportOptions {
            columns: ColumnMap::new(self.map)?,
            rejects: self.rejects.unwrap_or_else(|| default_rejects(&source)),
            source,
            time_zone: self.timezone,
            notify: self.notify,
            concurrency: self.concurrency,
            stop,
        })
    }
}

fn default_rejects(source: &Source) -> PathBuf {
    let name = match source {
        Source::Stdin => "stdin".into(),
        Source::File(path) => path.file_name().unwrap_or_default().to_owned(),
    };
    let mut path = PathBuf::from(name).into_os_string();
    path.push(".rejects.csv");
    path.into()
}

/// Runs the command on an open system: 0 when the end of the file was reached, 2 when the options cannot be, else 1.
///
/// # Errors
/// When standard output cannot be written.
pub async fn run(system: &System, command: ImportCommand) -> std::io::Result<ExitCode> {
    let ImportCommand::Appointments(args) = command;
    let as_json = args.json;
    let stop = CancellationToken::new();
    let options = match args.options(stop.clone()) {
        Ok(options) => options,
        Err(error) => return Ok(refuse(&error.into())),
    };
    // A server that runs beside this process hears of the events at once.
    system.follow_other_processes();
    let bar = Bar::new();
    let importing = super::run(system, options, |progress| bar.show(progress));
    tokio::pin!(importing);
    let outcome = tokio::select! {
        outcome = &mut importing => outcome,
        _ = tokio::signal::ctrl_c() => {
            stop.cancel();
            importing.await
        }
    };
    bar.finish();
    match outcome {
        Ok(summary) => tell(&summary, as_json),
        Err(error) => Ok(refuse(&error)),
    }
}

fn tell(summary: &ImportSummary, as_json: bool) -> std::io::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{}", serde_json::to_string(summary)?)?;
        if !summary.complete {
            writeln!(std::io::stderr(), "stopped before the end; the same command goes on where it stopped")?;
        }
    } else {
        write!(out, "{summary}")?;
    }
    Ok(if summary.complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn refuse(error: &ImportError) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "carelog: {text}");
    if error.is_bad_request() {
        return ExitCode::from(BAD_OPTIONS);
    }
    let _ = writeln!(std::io::stderr(), "what was imported stays; the same command goes on where it stopped");
    ExitCode::FAILURE
}

/// A bar on standard error, where that is a terminal.
struct Bar(Option<ProgressBar>);

impl Bar {
    fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg} rows  {elapsed}");
        let bar = ProgressBar::no_length();
        Self(Some(match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }))
    }

    fn show(&self, progress: ImportProgress) {
        let Some(bar) = &self.0 else { return };
        if let Some(total) = progress.total_bytes {
            bar.set_length(total);
        }
        bar.set_position(progress.bytes_read);
        bar.set_message(progress.rows.to_string());
    }

    fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
