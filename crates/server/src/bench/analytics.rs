//! Analytics: the projector beside a bare load of the rows that it makes, and the figures of a clinic with many facts.
//!
//! Product: the pages of a log, read before the clock starts, are applied to empty tables by the projector, every lane
//! by a task and every page by a transaction (`synchronous_commit` off), as when a rebuild folds them.
//!
//! Limit: the rows that came of it, as the server's own binary arrays, go into empty copies of the same tables by
//! `insert … select from unnest`, in as many transactions and by as many connections. All indexes are there in both.
//!
//! Figures: one clinic has so many facts about appointments, and a quarter as many each about forms, exercises and their
//! sessions, and stays in video rooms with four samples each, made up by the server. It is published, and then each
//! published view is read as the API reads it, with what its columns mean.

mod facts;
mod figures;
mod load;

use super::Common;
use super::report::Report;
use super::stage::Stage;

/// Options of `bench analytics`.
#[derive(Clone, Debug, clap::Args)]
pub struct AnalyticsOptions {
    #[command(flatten)]
    pub(super) common: Common,
    /// Events of the log that the projector applies [default: 200000, quick: 3000].
    #[arg(long)]
    events: Option<u64>,
    /// Facts about appointments of the clinic whose figures are made [default: 1000000, quick: 20000].
    #[arg(long)]
    facts: Option<u32>,
}

pub(super) async fn run(
    options: &AnalyticsOptions,
    stage: &Stage,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (is_quick, rounds) = (options.common.quick, options.common.rounds());
    let events = options.events.unwrap_or(if is_quick { 3_000 } else { 200_000 });
    let facts = options.facts.unwrap_or(if is_quick { 20_000 } else { 1_000_000 });
    let system = stage.open().await?;
    load::measure(&system, events, rounds, report).await?;
    figures::measure(&system, facts, rounds, report).await?;
    system.stop().await;
    Ok(())
}
