//! Forwards the trail to a second PostgreSQL, as it grows.
//!
//! There it is written by a projector like any other: entries and checkpoint in one transaction, so that each entry is
//! there exactly once, however often either side fails. A server that is away holds nothing up here; what it missed
//! follows from the log once it is back.

use std::time::Duration;

use anyhow::ensure;
use carelog_audit::Forwarded;
use carelog_event_log::runtime::lag;
use futures::future::BoxFuture;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tracing::{info, warn};

use crate::config::ForwardingConfig;
use crate::databases;
use crate::system::System;

/// How often a server that cannot be used is tried again, and how far it is behind is measured.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Works until the system stops.
pub async fn run(system: System, config: ForwardingConfig) {
    let Some(url) = &config.database_url else { return };
    let stop = system.runtime.stop.clone();
    let pool = loop {
        match prepare(system.log.name().to_owned(), url.options().clone()).await {
            Ok(pool) => break pool,
            Err(error) => {
                let error = format!("{error:#}");
                warn!(error, "the trail cannot be forwarded; it is tried again");
            }
        }
        if tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_ok() {
            return;
        }
    };
    let forwarded = Forwarded { organizations: config.organizations.iter().copied().collect() };
    system.runtime.start(&forwarded.into(), None, &pool);
    info!("the trail is forwarded");
    loop {
        match how_far_behind(&system, &pool).await {
            Ok(events) => metrics::gauge!("carelog_forwarding_lag_events").set(events),
            Err(error) => warn!(%error, "the server that the trail is forwarded to does not answer"),
        }
        if tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}

/// Makes the tables where they are missing, and makes sure that they are this log's.
fn prepare(log_name: String, options: PgConnectOptions) -> BoxFuture<'static, anyhow::Result<PgPool>> {
    Box::pin(async move {
        let owner = databases::prepare_trail(&options).await?;
        // Two logs in one trail would each move the other's checkpoints.
        let follow = "create table if not exists runtime.forwarded_log (name text primary key);
                  comment on table runtime.forwarded_log is 'Which log this trail is forwarded from'";
        sqlx::raw_sql(follow).execute(&owner).await?;
        let names = "with first as (
                     insert into runtime.forwarded_log select $1 where not exists (select from runtime.forwarded_log)
                     returning name
                 )
                 select name from first union select name from runtime.forwarded_log";
        let name: String = sqlx::query_scalar(names).bind(&log_name).fetch_one(&owner).await?;
        ensure!(name == log_name, "the database holds the trail of another log, {name}");
        owner.close().await;
        Ok(databases::connect_trail(&options))
    })
}

/// Events of the lane that is furthest behind.
async fn how_far_behind(system: &System, pool: &PgPool) -> Result<f64, sqlx::Error> {
    let lags = lag(&system.log, &mut *pool.acquire().await?).await?;
    let events = lags.iter().map(|lag| lag.events_behind).max().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, and a gauge needs no more")]
    Ok(events as f64)
}
