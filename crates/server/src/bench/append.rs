//! Appending: `EventLog::append` with one event per command, beside plain inserts of the same rows.
//!
//! Product. Clients append in a closed loop, to random organizations of 128 on all lanes; the version of the stream
//! is known, so nothing conflicts. Facts are made beforehand; ids, requests, leaf hashes and everything behind
//! `EventLog::append` are inside the clock.
//!
//! Limit. One connection as the owner of the tables writes the same rows into the same tables, without a question
//! asked: one autocommitted statement per 500 rows that inserts events and stream heads with `unnest` and moves the
//! heads of lane and organizations to numbers that the client counts. Batches are made by another task meanwhile.
//! For one client the limit is the latency of committing a single row: as two inserts in a transaction, which is how
//! a program would write it, and as one statement, which nothing can beat.
//!
//! The limit writes to a lane of its own, so that both stay gapless, which is checked at the end.

mod bare;
mod check;
mod prefill;
pub(super) mod product;
pub(super) mod requests;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use carelog_domain::OrganizationId;
use carelog_event_log::{Lane, new_id};
use sqlx::{Executor, PgPool};

use self::requests::Requests;
use super::Common;
use super::report::{Report, Spread};
use super::stage::Stage;
use super::usage::resident_mebibytes;

/// Organizations that the product appends to, and as many for the limit.
const ORGANIZATIONS: usize = 128;
/// Sizes that `--scale` compares.
const SCALE_SMALL: u64 = 100_000;
const SCALE_LARGE: u64 = 10_000_000;

const BARE_RATE: &str = "bare: 500 rows a statement, 1 connection";
const BARE_TRANSACTION: &str = "bare: one row, two inserts in a transaction";
const BARE_STATEMENT: &str = "bare: one row, one statement";

/// Options of `bench append`.
#[derive(Clone, Debug, clap::Args)]
pub struct AppendOptions {
    #[command(flatten)]
    pub(super) common: Common,
    /// Seconds of each measurement [default: 5, quick: 0.5].
    #[arg(long)]
    seconds: Option<f64>,
    /// Numbers of clients.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 256])]
    clients: Vec<usize>,
    /// Of a hundred commands, how many go to a stream that exists already.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    existing_percent: u32,
    /// Fill the log to this many events first.
    #[arg(long, default_value_t = 0)]
    prefill: u64,
    /// Measure at 100,000 events and again at 10,000,000 (or at `--prefill`), and compare.
    #[arg(long)]
    scale: bool,
}

impl AppendOptions {
    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(if self.common.quick { 0.5 } else { 5.0 }))
    }
}

/// Who appends where.
#[derive(Clone, Debug)]
struct Places {
    organizations: Arc<[OrganizationId]>,
    bare_lane: Lane,
    bare_organizations: Arc<[OrganizationId]>,
}

pub(super) async fn run(options: &AppendOptions, stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    let system = stage.open().await?;
    let owner = system.databases.core_owner.clone();
    let places = Places::make(&owner).await?;
    system.stop().await;
    report.remark(format!(
        "Events of {} bytes of facts, one a command; {} % of the commands go to streams that exist.",
        requests::FACTS_BYTES,
        options.existing_percent
    ));

    let sizes = match (options.scale, options.prefill) {
        (true, 0) => vec![SCALE_SMALL, SCALE_LARGE],
        (true, large) => vec![SCALE_SMALL, large],
        (false, size) => vec![size],
    };
    for size in &sizes {
        prefill::fill_to(&owner, &places, *size).await?;
        let label = if options.scale { format!(" at {size} events") } else { String::new() };
        measure(options, stage, &places, report, &label).await?;
    }
    if let [small, large] = sizes.as_slice() {
        for what in options.clients.iter().map(|clients| product_rate(*clients)).chain([BARE_RATE.to_owned()])
        {
            let named = |size: &u64| format!("{what} at {size} events");
            report.ratio(&format!("{what}: at {large} ÷ at {small} events"), &named(large), &named(small));
        }
    }
    check::gapless(&owner, report).await?;
    owner.close().await;
    Ok(())
}

fn product_rate(clients: usize) -> String {
    format!("append, {clients} clients")
}

/// All rounds at one size of the log.
async fn measure(
    options: &AppendOptions,
    stage: &Stage,
    places: &Places,
    report: &mut Report,
    label: &str,
) -> anyhow::Result<()> {
    let requests = Arc::new(Requests::new(options.existing_percent)?);
    let bare_rate = format!("{BARE_RATE}{label}");
    let (transaction, statement) = (format!("{BARE_TRANSACTION}{label}"), format!("{BARE_STATEMENT}{label}"));
    for round in 1..=options.common.rounds() {
        eprintln!("append{label}: round {round} of {}", options.common.rounds());
        let system = stage.open().await?;
        let owner = system.databases.core_owner.clone();
        let bare = bare::Bare::prepare(&owner, places, Arc::clone(&requests)).await?;
        for clients in options.clients.iter().rev() {
            owner.execute("checkpoint").await?;
            let before = stage.meter().read();
            let measured =
                product::measure(&system.log, &requests, &places.organizations, *clients, options.duration())
                    .await?;
            let used = stage.meter().read().micros_each(before, measured.total_count);
            let what = format!("{}{label}", product_rate(*clients));
            report.figure(&what, "events/s", measured.per_second());
            measured.timings.enter(report, &what);
            for (who, micros) in used {
                if let Some(micros) = micros {
                    report.figure(&format!("{what}, processor time of {who}"), "µs/event", micros);
                }
            }
        }
        if let Some(resident) = resident_mebibytes() {
            report.figure(&format!("memory of carelog with clients{label}"), "MiB", resident);
        }
        system.stop().await;

        owner.execute("checkpoint").await?;
        let before = stage.meter().read();
        let (mut bare, count, rate) = bare.batches(options.duration()).await?;
        report.figure(&bare_rate, "events/s", rate);
        for (who, micros) in stage.meter().read().micros_each(before, count) {
            if let Some(micros) = micros {
                report.figure(&format!("{bare_rate}, processor time of {who}"), "µs/event", micros);
            }
        }
        owner.execute("checkpoint").await?;
        bare.single_in_transaction(options.duration()).await?.enter(report, &transaction);
        bare.single_in_statement(options.duration()).await?.enter(report, &statement);
        owner.close().await;
    }
    for clients in &options.clients {
        let what = format!("{}{label}", product_rate(*clients));
        if *clients == 1 {
            let p50 = |what: &str| format!("{what}, p50");
            report.ratio(&format!("{what}: p50 ÷ bare transaction{label}"), &p50(&what), &p50(&transaction));
            report.ratio(&format!("{what}: p50 ÷ bare statement{label}"), &p50(&what), &p50(&statement));
        } else {
            report.ratio(&format!("{what}: rate ÷ bare{label}"), &what, &bare_rate);
        }
    }
    if let Some(spread) = Spread::of(report.values(&bare_rate)) {
        report.check(format!("the limit was measured{label}"), spread.lowest > 0.0);
    }
    Ok(())
}

impl Places {
    /// Spreads organizations over the lanes of the log, and adds a lane for the limit. Writes what the log would
    /// write itself: only so does the limit get a lane that the product does not use.
    async fn make(owner: &PgPool) -> anyhow::Result<Self> {
        let lanes = lanes(owner).await?;
        let bare_lane = lanes.last().context("the log has no lane")? + 1;
        sqlx::query!("insert into log.lane_heads (lane) values ($1)", bare_lane).execute(owner).await?;
        sqlx::query!("select log.ensure_leaf($1, 1)", bare_lane).execute(owner).await?;
        let organizations = place(owner, lanes.iter().copied().cycle().take(ORGANIZATIONS)).await?;
        let bare_organizations = place(owner, std::iter::repeat_n(bare_lane, ORGANIZATIONS)).await?;
        Ok(Self { organizations, bare_lane, bare_organizations })
    }
}

/// Makes organizations, spread evenly over the lanes of the log.
pub(super) async fn place_evenly(owner: &PgPool, count: usize) -> anyhow::Result<Arc<[OrganizationId]>> {
    let lanes = lanes(owner).await?;
    place(owner, lanes.into_iter().cycle().take(count)).await
}

async fn lanes(owner: &PgPool) -> Result<Vec<Lane>, sqlx::Error> {
    sqlx::query_scalar!("select lane from log.lane_heads order by lane").fetch_all(owner).await
}

async fn place(owner: &PgPool, lanes: impl Iterator<Item = Lane>) -> anyhow::Result<Arc<[OrganizationId]>> {
    let (ids, lanes): (Vec<_>, Vec<_>) = lanes.map(|lane| (new_id(), lane)).unzip();
    sqlx::query!(
        "
        insert into log.organizations (organization_id, lane)
        select * from unnest($1::uuid[], $2::smallint[])
        ",
        &ids,
        &lanes
    )
    .execute(owner)
    .await?;
    Ok(ids.into_iter().map(OrganizationId::new).collect())
}
