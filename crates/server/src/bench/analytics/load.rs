//! The projector of analytics, beside a bare load of its rows.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use carelog_analytics::Analytics;
use carelog_event_log::runtime::Projector;
use carelog_event_log::{EventLog, RecordedEvent, read};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};

use crate::bench::rebuild::bare::{self, COPY, FinishedRows, PAGE};
use crate::bench::rebuild::{follow, row_counts, story};
use crate::bench::report::Report;
use crate::system::System;

const PRODUCT: &str = "facts by the projector";
const LIMIT: &str = "bare: unnest of the same facts";

/// The events of a lane, cut as a rebuild cuts them.
type Pages = Arc<Vec<Vec<Arc<RecordedEvent>>>>;

pub(super) async fn measure(
    system: &System,
    wanted: u64,
    rounds: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    eprintln!("filling the log with {wanted} events");
    let events = story::fill(&system.log, wanted).await?;
    let analytics = Arc::new(Analytics::new(Arc::clone(&system.pseudonyms)));
    let pool = &system.databases.analytics_owner;
    follow(system, &analytics, pool).await?;
    let live = row_counts::<Analytics>(pool, Analytics::SCHEMA.name).await?;
    let facts = live.iter().sum::<i64>() as f64;
    report.remark(format!("The projector makes {facts} facts of {events} events."));
    let lanes = read_all(&system.log).await?;
    for round in 1..=rounds {
        eprintln!("load: round {round} of {rounds}");
        pool.execute("checkpoint").await?;
        let seconds = apply(system, &analytics, &lanes).await?;
        report.figure(PRODUCT, "facts/s", facts / seconds);
        let made = row_counts::<Analytics>(pool, COPY).await?;
        report.check(format!("the projector makes the facts that are live: {live:?}"), live == made);
        bare::drop_copy(pool).await?;

        let rows = FinishedRows::of::<Analytics>(pool, &system.log).await?;
        pool.execute("checkpoint").await?;
        let seconds = rows.insert_alone::<Analytics>(pool).await?;
        report.figure(LIMIT, "facts/s", facts / seconds);
        let copied = row_counts::<Analytics>(pool, COPY).await?;
        report.check("the limit wrote as many facts", live == copied);
        bare::drop_copy(pool).await?;
    }
    report.ratio("projector ÷ bare", PRODUCT, LIMIT);
    Ok(())
}

async fn read_all(log: &EventLog) -> anyhow::Result<Vec<Pages>> {
    let mut connection = log.pool().acquire().await?;
    let mut lanes = Vec::new();
    for lane in log.lanes() {
        let (mut pages, mut after) = (Vec::new(), 0);
        loop {
            let page = read::lane(&mut connection, lane, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.position;
            pages.push(page.into_iter().map(Arc::new).collect());
        }
        lanes.push(Arc::new(pages));
    }
    Ok(lanes)
}

/// Applies every page to empty copies of the tables; gives the seconds that it took.
async fn apply(system: &System, analytics: &Arc<Analytics>, lanes: &[Pages]) -> anyhow::Result<f64> {
    let pool = &system.databases.analytics_owner;
    bare::make_copy::<Analytics>(pool).await?;
    let began = Instant::now();
    let tasks: Vec<_> = lanes
        .iter()
        .map(|pages| {
            let applying = apply_lane(Arc::clone(analytics), pool.clone(), Arc::clone(pages));
            system.runtime.tasks.spawn(applying)
        })
        .collect();
    for task in tasks {
        task.await.context("a lane panicked")??;
    }
    Ok(began.elapsed().as_secs_f64())
}

async fn apply_lane(analytics: Arc<Analytics>, pool: PgPool, pages: Pages) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
    let begin =
        format!("begin; set local search_path to {COPY}, public; set local synchronous_commit to off");
    for page in &*pages {
        let mut tx = connection.begin_with(AssertSqlSafe(begin.clone())).await?;
        analytics.apply(&mut tx, &mut (), page).await?;
        tx.commit().await?;
    }
    connection.close().await?;
    Ok(())
}
