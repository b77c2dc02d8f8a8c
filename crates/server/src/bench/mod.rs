//! `carelog bench`: how fast this machine runs Carelog, beside how fast it could.
//!
//! Each benchmark measures the product and, in the same run, the bare limit: what PostgreSQL or HTTP do on this
//! machine when nothing of Carelog is in the way. The two take turns for several rounds, and what is reported are
//! medians with their ranges and the ratio of the two within each round, because figures of different machines, or
//! of different hours of one, say little. Nothing is asserted about time; what must be *true* afterwards (gapless
//! positions, every delivery verified, the same rows after a rebuild) is checked, and decides the exit code.
//!
//! Everything happens in databases that are made for the run: on a private PostgreSQL with the settings of the
//! product, in a directory that is removed afterwards, or on the server of `DATABASE_URL`. Client, server and
//! receiver share the machine. Start reading at `append.rs`.

#![expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]

mod analytics;
mod append;
mod audit;
mod clinic;
mod deliver;
mod files;
mod rebuild;
mod report;
mod stage;
mod timings;
mod usage;

use std::process::ExitCode;

use self::report::Report;
use self::stage::{Stage, StageOptions};

/// Rates that stand in nobody's way: what is measured is the machine.
const UNLIMITED: std::num::NonZeroU32 = std::num::NonZeroU32::new(1_000_000).expect("not zero");

/// What to measure.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Bench {
    /// Appending events, beside plain inserts of the same rows.
    Append(append::AppendOptions),
    /// Rebuilding projections, beside scanning the log and inserting finished rows.
    Rebuild(rebuild::RebuildOptions),
    /// Delivering webhooks, beside posting the same bodies in a loop.
    Deliver(deliver::DeliverOptions),
    /// Uploading and downloading files, beside a bare server with the same cipher.
    Files(files::FilesOptions),
    /// Making facts and figures of analytics, beside inserting the finished facts.
    Analytics(analytics::AnalyticsOptions),
    /// Sealing the log, asking the trail and verifying a bundle, beside appending, plain statements and a bare hash.
    Audit(audit::AuditOptions),
    /// The partner's side, in a process of its own.
    #[command(hide = true)]
    Receiver(deliver::ReceiverOptions),
}

/// What every benchmark takes.
#[derive(Clone, Debug, clap::Args)]
struct Common {
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
    /// A few seconds in all: shows that it works, not how fast.
    #[arg(long)]
    quick: bool,
    /// How often product and limit take turns [default: 3, quick: 2].
    #[arg(long)]
    rounds: Option<usize>,
    #[command(flatten)]
    stage: StageOptions,
}

impl Common {
    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 2 } else { 3 }).max(1)
    }
}

/// Measures, prints, and fails when something that must hold did not.
///
/// # Errors
/// When the stage cannot be set or a database fails.
pub async fn run(bench: Bench) -> anyhow::Result<ExitCode> {
    let common = match &bench {
        Bench::Append(options) => options.common.clone(),
        Bench::Rebuild(options) => options.common.clone(),
        Bench::Deliver(options) => options.common.clone(),
        Bench::Files(options) => options.common.clone(),
        Bench::Analytics(options) => options.common.clone(),
        Bench::Audit(options) => options.common.clone(),
        Bench::Receiver(options) => {
            deliver::receive(options).await?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let stage = Stage::set(&common.stage).await?;
    let mut report = Report::new(stage.description());
    let result = match &bench {
        Bench::Append(options) => Box::pin(append::run(options, &stage, &mut report)).await,
        Bench::Rebuild(options) => rebuild::run(options, &stage, &mut report).await,
        Bench::Deliver(options) => Box::pin(deliver::run(options, &stage, &mut report)).await,
        Bench::Files(options) => Box::pin(files::run(options, &stage, &mut report)).await,
        Bench::Analytics(options) => Box::pin(analytics::run(options, &stage, &mut report)).await,
        Bench::Audit(options) => Box::pin(audit::run(options, &stage, &mut report)).await,
        Bench::Receiver(_) => Ok(()),
    };
    stage.clear().await;
    result?;
    report.print(common.json)?;
    Ok(if report.all_hold() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
