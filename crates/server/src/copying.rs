//! Copies the facts of analytics to ClickHouse, where one is configured; see `carelog_analytics::worker` for how.

use std::sync::Arc;
use std::time::Duration;

use carelog_analytics::clickhouse::ClickHouse;
use carelog_analytics::worker::{self, Copier};
use sqlx::{Connection, PgConnection};
use tracing::{info, warn};

use crate::system::System;

/// How often is looked for facts that came, and whether another process has stopped copying.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a failure is waited out.
const PAUSE: Duration = Duration::from_secs(5);

/// Works until the system stops. One process copies at a time; the others stand by.
pub async fn run(system: System, clickhouse: ClickHouse) {
    let stop = system.runtime.stop.clone();
    while !stop.is_cancelled() {
        match stop.run_until_cancelled(copy(&system, &clickhouse)).await {
            None => return,
            Some(Ok(())) => {}
            Some(Err(error)) => {
                let error = format!("{error:#}");
                warn!(error, "facts could not be copied to ClickHouse; they are tried again");
            }
        }
        let _ = tokio::time::timeout(PAUSE, stop.cancelled()).await;
    }
}

/// Copies until something fails, or stands by while another process does.
async fn copy(system: &System, clickhouse: &ClickHouse) -> anyhow::Result<()> {
    let pool = &system.databases.analytics_system;
    // The lock is this connection's own, so that it ends with the process, however that ends.
    let mut lock = PgConnection::connect_with(&pool.connect_options()).await?;
    if !worker::take(&mut lock).await? {
        return Ok(());
    }
    let pseudonyms = Arc::clone(&system.pseudonyms);
    let now = system.log.clock().now();
    let mut copier =
        Copier::begin(system.log.clone(), pseudonyms, pool.clone(), clickhouse.clone(), now).await?;
    info!("facts are copied to ClickHouse");
    loop {
        if !copier.run_once(&mut lock, system.log.clock().now()).await? {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
