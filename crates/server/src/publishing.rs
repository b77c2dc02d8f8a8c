//! Publishes the figures of clinics when that is due; see `carelog_analytics::publication` for when and how.

use std::time::Duration;

use carelog_analytics::publication::{due, publish};
use tracing::{info, warn};

use crate::system::System;

/// How often is looked for what is due.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Works until the system stops.
pub async fn run(system: System, every: Duration) {
    let stop = system.runtime.stop.clone();
    while tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
        if let Err(error) = run_once(&system, every).await {
            warn!(error = format!("{error:#}"), "figures could not be published; they are tried again");
        }
    }
}

/// Publishes every clinic whose figures are due, and tells how many those are.
///
/// # Errors
/// When the database does not answer.
pub async fn run_once(system: &System, every: Duration) -> anyhow::Result<usize> {
    let pool = &system.databases.analytics_system;
    let due = due(&mut *pool.acquire().await?, system.log.clock().now(), every).await?;
    let mut published = 0;
    for organization_id in due {
        if system.runtime.stop.is_cancelled() {
            break;
        }
        // One that fails is tried again, and keeps no other from being published.
        match publish(pool, organization_id, system.log.clock().now()).await {
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
