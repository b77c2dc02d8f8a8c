//! Ends what analysts' logins do for longer than they may; see `carelog_analytics::logins` for why the server alone does not.

use std::time::Duration;

use carelog_analytics::logins;
use tracing::{info, warn};

use crate::system::System;

/// How often is looked: a statement takes so much longer than it may, at most.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Works until the system stops.
pub async fn run(system: System) {
    let stop = system.runtime.stop.clone();
    while tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
        match logins::end_overlong(&system.databases.analytics_system).await {
            Ok(0) => {}
            Ok(count) => info!(count, "sessions of analysts took longer than they may and were ended"),
            Err(error) => warn!(%error, "it is not known whether analysts take longer than they may"),
        }
    }
}
