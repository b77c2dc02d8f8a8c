//! Publishes the figures of clinics when that is due; see `carelog_analytics::publication` for when and how.

use std::time::{Duration, Instant};

use carelog_analytics::publication::{Due, due, publish};
use tracing::{info, warn};

use crate::system::System;

/// How often is looked for what is due.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How many times as long as the last look took is waited for the next.
const REST_FACTOR: u32 = 10;

/// Works until the system stops.
pub async fn run(system: System, every: Duration) {
    let stop = system.runtime.stop.clone();
    let mut pause = LOOK_EVERY;
    while tokio::time::timeout(pause, stop.cancelled()).await.is_err() {
        let began = Instant::now();
        if let Err(error) = run_once(&system, every).await {
            warn!(error = format!("{error:#}"), "figures could not be published; they are tried again");
        }
        // What is not due yet may still take time to look at.
        pause = LOOK_EVERY.max(began.elapsed().saturating_mul(REST_FACTOR));
    }
}

/// Publishes every clinic whose figures are due, and tells how many those are.
///
/// # Errors
/// When the database does not answer.
pub async fn run_once(system: &System, every: Duration) -> anyhow::Result<usize> {
    let pool = &system.databases.analytics_system;
    let due = due(pool, system.log.clock().now(), every).await?;
    let mut published = 0;
    for Due { organization_id, parts } in due {
        if system.runtime.stop.is_cancelled() {
            break;
        }
        // One that fails is tried again, and keeps no other from being published.
        match publish(pool, organization_id, &parts, system.log.clock().now()).await {
            Ok(_) => {
                info!(organization.id = %organization_id, "figures were published");
                published += 1;
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                warn!(organization.id = %organization_id, error, "a clinic's figures were not published");
            }
        }
    }
    Ok(published)
}
