//! Rebuilding: the runtime's rebuild of each projection, beside a scan of the log that inserts finished rows.
//!
//! A log is filled with stories: a patient registers and consents, has appointments, fills in a form; a partner gets
//! the signed form. Personal parts are random bytes of the size of sealed ones, since no projector opens them. The
//! projectors follow to the head; those rows are the truth that every rebuild must reproduce in number.
//!
//! Product: `runtime::rebuild` from the first event to the swapped-in version, indexes included.
//!
//! Limit: every lane is read by pages of the same size with the same statement, decoded as far as a
//! [`carelog_event_log::RecordedEvent`], the next page fetched meanwhile; for each page one transaction
//! (`synchronous_commit` off, as in a rebuild) inserts its share of the rows that the live tables hold. Those were
//! read before the clock started, as the server's own binary arrays of rows, and go in by `insert … select from
//! unnest` into copies of the tables; secondary indexes follow at the end. So nothing is folded, looked up, encoded
//! or updated twice, and no checkpoint moves.

pub(super) mod bare;
pub(super) mod story;

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use carelog_event_log::runtime::{Projector, RebuildScope, rebuild};
use carelog_records::Records;
use carelog_webhooks::WebhooksProjector;
use sqlx::{AssertSqlSafe, Executor, PgPool};
use tokio::sync::watch;

use super::Common;
use super::report::Report;
use super::stage::Stage;
use crate::system::System;

const ALL: &str = "all projections";

/// Options of `bench rebuild`.
#[derive(Clone, Debug, clap::Args)]
pub struct RebuildOptions {
    #[command(flatten)]
    pub(super) common: Common,
    /// Events in the log [default: 200000, quick: 6000].
    #[arg(long)]
    events: Option<u64>,
}

/// Seconds that one round took.
struct Seconds {
    product: f64,
    bare: f64,
}

pub(super) async fn run(options: &RebuildOptions, stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    let wanted = options.events.unwrap_or(if options.common.quick { 6_000 } else { 200_000 });
    let system = stage.open().await?;
    eprintln!("filling the log with {wanted} events");
    let events = story::fill(&system.log, wanted).await?;
    report.remark(format!("A log of {events} events: patients, consents, appointments, forms, deliveries."));
    let projections = Projections::of(&system);
    let Projections { records, audit, webhooks } = &projections;
    let (core, trail) = (&system.databases.core_owner, &system.databases.audit_owner);
    follow(&system, records, core).await?;
    follow(&system, audit, trail).await?;
    follow(&system, webhooks, core).await?;

    for round in 1..=options.common.rounds() {
        eprintln!("rebuild: round {round} of {}", options.common.rounds());
        let taken = [
            turn(&system, &**records, core, events, report).await?,
            turn(&system, &**audit, trail, events, report).await?,
            turn(&system, &**webhooks, core, events, report).await?,
        ];
        let each = events as f64;
        report.figure(&product(ALL), "events/s", each / taken.iter().map(|one| one.product).sum::<f64>());
        report.figure(&limit(ALL), "events/s", each / taken.iter().map(|one| one.bare).sum::<f64>());
    }
    for name in [Records::NAME, audit_name(), WebhooksProjector::NAME, ALL] {
        report.ratio(&format!("rebuild of {name} ÷ bare"), &product(name), &limit(name));
    }
    if let Some(resident) = super::usage::resident_mebibytes() {
        report.figure("memory of carelog, with the finished rows of the limit", "MiB", resident);
    }
    drop(projections);
    system.stop().await;
    Ok(())
}

struct Projections {
    records: Arc<Records>,
    audit: Arc<carelog_audit::Audit>,
    webhooks: Arc<WebhooksProjector>,
}

impl Projections {
    fn of(system: &System) -> Self {
        Self {
            records: Arc::default(),
            audit: Arc::new(carelog_audit::Audit::new(&system.log)),
            webhooks: Arc::default(),
        }
    }
}

const fn audit_name() -> &'static str {
    <carelog_audit::Audit as Projector>::NAME
}

fn product(name: &str) -> String {
    format!("rebuild of {name}")
}

fn limit(name: &str) -> String {
    format!("bare: scan and insert the rows of {name}")
}

/// Brings the live version to the head.
pub(super) async fn follow<P: Projector>(
    system: &System,
    projector: &Arc<P>,
    pool: &PgPool,
) -> anyhow::Result<()> {
    for lane in system.log.lanes() {
        let unit = system.runtime.unit(Arc::clone(projector), None, pool.clone(), lane);
        unit.run_to_head().await.with_context(|| format!("{} does not reach the head", P::NAME))?;
    }
    Ok(())
}

/// One round of one projection: the product, then the limit.
async fn turn<P: Projector>(
    system: &System,
    projector: &P,
    pool: &PgPool,
    events: u64,
    report: &mut Report,
) -> anyhow::Result<Seconds> {
    let before = row_counts::<P>(pool, P::SCHEMA.name).await?;
    pool.execute("checkpoint").await?;
    let began = Instant::now();
    let (progress, _) = watch::channel(carelog_event_log::runtime::Progress::default());
    rebuild(projector, &system.log, pool, RebuildScope::Everything, &progress).await?;
    let seconds = began.elapsed().as_secs_f64();
    report.figure(&product(P::NAME), "events/s", events as f64 / seconds);
    let after = row_counts::<P>(pool, P::SCHEMA.name).await?;
    report
        .check(format!("a rebuild of {} makes the same number of rows: {after:?}", P::NAME), before == after);

    // Only now: the row types of the live tables are new ones after each rebuild.
    let rows = bare::FinishedRows::of::<P>(pool, &system.log).await?;
    pool.execute("checkpoint").await?;
    let bare_seconds = rows.insert_while_scanning::<P>(pool, &system.log).await?;
    report.figure(&limit(P::NAME), "events/s", events as f64 / bare_seconds);
    let copied = row_counts::<P>(pool, bare::COPY).await?;
    report.check(format!("the limit of {} wrote the same number of rows", P::NAME), before == copied);
    bare::drop_copy(pool).await?;
    Ok(Seconds { product: seconds, bare: bare_seconds })
}

/// Rows of each table of a projection in the order of its list.
pub(super) async fn row_counts<P: Projector>(pool: &PgPool, schema: &str) -> anyhow::Result<Vec<i64>> {
    let mut counts = Vec::new();
    for table in P::SCHEMA.tables {
        // Names are constants of the projection.
        let statement = AssertSqlSafe(format!("select count(*) from {schema}.{table}"));
        counts.push(sqlx::query_scalar(statement).fetch_one(pool).await?);
    }
    Ok(counts)
}
