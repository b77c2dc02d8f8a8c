//! Decisions that rest on a stream other than the one that they are appended to.
//!
//! All streams of an organization are in one lane, and every append takes the lane's lock. Whoever holds it while looking at
//! a premise, and until the append is committed, knows that the premise has not moved in between.

use sqlx::PgConnection;

use super::request::Premise;
use crate::recorded::Lane;

/// Lets nobody else append to a lane before the transaction ends.
pub(super) async fn lock_lane(tx: &mut PgConnection, lane: Lane) -> Result<(), sqlx::Error> {
    sqlx::query!("select pg_advisory_xact_lock(hashtext('carelog.lane'), $1::smallint)", lane)
        .execute(tx)
        .await?;
    Ok(())
}

/// Whether a stream is at another version than when it was read.
pub(super) async fn has_moved(tx: &mut PgConnection, premise: &Premise) -> Result<bool, sqlx::Error> {
    let version = sqlx::query_scalar!(
        "
        select version
        from log.stream_heads
        where organization_id = $1 and stream_id = $2 and stream_kind = $3
        ",
        premise.stream.organization_id.uuid(),
        premise.stream.id,
        premise.stream.kind.as_str()
    )
    .fetch_optional(tx)
    .await?;
    Ok(version.unwrap_or(0) != premise.version)
}
