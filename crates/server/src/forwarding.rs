//! Forwards the trail to a second PostgreSQL, as it grows.
//!
//! There it is written by a projector like any other: entries and checkpoint in one transaction, so that each entry is
//! there exactly once, however often either side fails. A server that is away holds nothing up here; what it missed
//! follows from the log once it is back.

use std::time::Duration;

use anyhow::{bail, ensure};
use carelog_audit::Forwarded;
use carelog_event_log::runtime::lag;
use carelog_event_log::{Lane, Position};
use futures::future::BoxFuture;
use sqlx::PgPool;
use tracing::{info, warn};

use crate::config::{DatabaseUrl, ForwardingConfig};
use crate::databases;
use crate::system::System;

/// Longest time until a server has answered what is asked at the beginning.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a server that cannot be used is tried again, and how far it is behind is measured.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Works until the system stops.
pub async fn run(system: System, config: ForwardingConfig) {
    let Some(url) = &config.database_url else { return };
    let stop = system.runtime.stop.clone();
    let pool = loop {
        match stop.run_until_cancelled(tokio::time::timeout(PATIENCE, open(&system, url))).await {
            None => return,
            Some(Ok(Ok(pool))) => break pool,
            Some(Ok(Err(error))) => {
                let error = format!("{error:#}");
                warn!(error, "the trail cannot be forwarded; it is tried again");
            }
            Some(Err(_)) => {
                warn!("the server that the trail is forwarded to does not answer; it is asked again");
            }
        }
        how_far_behind(&system, &[]);
        if tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_ok() {
            return;
        }
    };
    let forwarded = Forwarded { organizations: config.organizations.iter().copied().collect() };
    system.runtime.start(&forwarded.into(), None, &pool);
    info!("the trail is forwarded");
    let mut lags = Vec::new();
    loop {
        match stop.run_until_cancelled(positions(&system, &pool)).await {
            None => return,
            Some(Ok(read)) => lags = read,
            Some(Err(error)) => warn!(%error, "the server that the trail is forwarded to does not answer"),
        }
        how_far_behind(&system, &lags);
        if tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}

/// Makes the tables of a second trail where they are missing, and connects to them.
///
/// # Errors
/// When the server does not do its part, or the database is the first trail's or holds the trail of another log.
pub fn open(system: &System, url: &DatabaseUrl) -> BoxFuture<'static, anyhow::Result<PgPool>> {
    let (log_name, options) = (system.log.name().to_owned(), url.options().clone());
    let own_trail = system.databases.audit_owner.clone();
    Box::pin(async move {
        let owner = databases::prepare_trail(&options).await?;
        // Two logs in one trail would each move the other's checkpoints.
        let follow = "create table if not exists runtime.forwarded_log (
                          is_one boolean primary key default true check (is_one), name text not null);
                      comment on table runtime.forwarded_log is 'Which log this trail is forwarded from'";
        sqlx::raw_sql(follow).execute(&owner).await?;
        // Whatever it is called there: where the table shows in the trail's own database, the two are one.
        let shows = "select to_regclass('runtime.forwarded_log') is not null";
        if sqlx::query_scalar(shows).fetch_one(&own_trail).await? {
            sqlx::raw_sql("drop table runtime.forwarded_log").execute(&owner).await?;
            bail!("this is the database of the trail itself; name another one");
        }
        sqlx::query("insert into runtime.forwarded_log (name) values ($1) on conflict do nothing")
            .bind(&log_name)
            .execute(&owner)
            .await?;
        let name: String =
            sqlx::query_scalar("select name from runtime.forwarded_log").fetch_one(&owner).await?;
        ensure!(name == log_name, "the database holds the trail of another log, {name}");
        owner.close().await;
        Ok(databases::connect_trail(&options))
    })
}

/// Where the second trail stands in each lane.
async fn positions(system: &System, pool: &PgPool) -> Result<Vec<(Lane, Position)>, sqlx::Error> {
    let lags = lag(&system.log, &mut *pool.acquire().await?).await?;
    Ok(lags.into_iter().map(|lag| (lag.lane, lag.position)).collect())
}

/// Tells how many events of the log are ahead of where the second trail was last known to stand: also while its server is
/// away, which is when somebody wants to know.
fn how_far_behind(system: &System, positions: &[(Lane, Position)]) {
    let position =
        |lane| positions.iter().find(|(known, _)| *known == lane).map_or(0, |(_, position)| *position);
    let behind = system.log.lanes().map(|lane| (*system.log.head(lane).borrow() - position(lane)).max(0));
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, and a gauge needs no more")]
    metrics::gauge!("carelog_forwarding_lag_events").set(behind.sum::<Position>() as f64);
}
