//! How far this process's clock is from the database's.
//!
//! Due times and leases follow the database's clock; moments in the log and in signatures follow the process's own, and
//! receivers refuse signatures that are more than five minutes off.

use std::time::Duration;

use carelog_domain::Timestamp;
use tracing::error;

use crate::system::System;

/// How often it is measured.
const EVERY: Duration = Duration::from_mins(1);
/// From here on it is an alarm.
const ALARMING_SECONDS: f64 = 30.0;

/// Seconds by which the process is ahead of the database; negative where it is behind. True to the time that the
/// question takes.
///
/// # Errors
/// When the database does not answer.
pub async fn seconds(system: &System) -> Result<f64, sqlx::Error> {
    let theirs =
        sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(system.log.pool()).await?;
    let ours = system.log.clock().now();
    let theirs = Timestamp::try_from(theirs).map_err(|failure| sqlx::Error::Decode(Box::new(failure)))?;
    let micros = i32::try_from((ours.unix_micros() - theirs.unix_micros()) / 1_000).unwrap_or(i32::MAX);
    Ok(f64::from(micros) / 1_000.0)
}

/// Whether somebody has to set a clock.
pub fn is_alarming(seconds: f64) -> bool {
    seconds.abs() > ALARMING_SECONDS
}

/// Measures until the process stops.
pub(crate) async fn watch(system: System) {
    let stop = system.runtime.stop.clone();
    loop {
        if let Ok(seconds) = seconds(&system).await {
            metrics::gauge!("carelog_clock_skew_seconds").set(seconds);
            if is_alarming(seconds) {
                error!(
                    seconds,
                    "this machine's clock and the database's are apart: set them by one time server"
                );
            }
        }
        if tokio::time::timeout(EVERY, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}
