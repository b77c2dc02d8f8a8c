//! Checkpoints and the leases on them.

use std::time::Duration;

use carelog_domain::Timestamp;
use futures::future::BoxFuture;
use sqlx::PgConnection;
use sqlx::postgres::types::PgInterval;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::recorded::{Lane, Position};

/// How long a lease lasts without a sign of life, by the database's clock.
pub(super) const LEASE: Duration = Duration::from_secs(6);

/// A held lease on a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) version: i32,
    pub(super) lane: Lane,
    pub(super) epoch: i64,
    pub(super) position: Position,
}

pub(super) fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}

/// Makes sure that a projector is known, with a checkpoint in each lane of its live version.
pub(super) fn register<'a>(
    connection: &'a mut PgConnection,
    projector: &'a str,
    lanes: &'a [Lane],
) -> BoxFuture<'a, Result<(), sqlx::Error>> {
    Box::pin(async move {
        sqlx::query!(
            "insert into runtime.projections (projector) values ($1) on conflict do nothing",
            projector
        )
        .execute(&mut *connection)
        .await?;
        sqlx::query!(
            "
            insert into runtime.checkpoints (projector, version, lane)
            select p.projector, p.live_version, lane
            from runtime.projections p
            cross join unnest($2::smallint[]) as lane
            where p.projector = $1
            on conflict do nothing
            ",
            projector,
            lanes
        )
        .execute(connection)
        .await?;
        Ok(())
    })
}

/// Takes the lease on the live version's checkpoint when it is free, has run out, or is this process's own from
/// before a failure.
pub(super) fn acquire<'a>(
    connection: &'a mut PgConnection,
    projector: &'a str,
    lane: Lane,
    owner: Uuid,
) -> BoxFuture<'a, Result<Option<Lease>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_as!(
            Lease,
            "
            update runtime.checkpoints c
            set owner = $3, epoch = c.epoch + 1, leased_until = now() + $4
            from runtime.projections p
            where p.projector = $1 and c.projector = p.projector and c.version = p.live_version and c.lane = $2
              and (c.owner is null or c.owner = $3 or c.leased_until < now())
            returning c.version, c.lane, c.epoch, c.position
            ",
            projector,
            lane,
            owner,
            interval(LEASE)
        )
        .fetch_optional(connection)
        .await
    })
}

/// Moves a checkpoint, and its reactor with it, which never moves back; shows a sign of life. False when the lease was
/// lost: the transaction must not commit.
pub(super) fn advance<'a>(
    connection: &'a mut PgConnection,
    projector: &'a str,
    lease: &'a Lease,
    to: Position,
    recorded_at: Option<Timestamp>,
    reactor: Option<&'a str>,
) -> BoxFuture<'a, Result<bool, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_scalar!(
            r#"
            with moved as (
                update runtime.checkpoints
                set position = $6, recorded_at = coalesce($7, recorded_at), leased_until = now() + $8
                where projector = $1 and version = $2 and lane = $3 and epoch = $4 and position = $5
                returning lane
            ),
            reacted as (
                update runtime.reactors r
                set position = $6
                from moved
                where r.reactor = $9 and r.lane = moved.lane and r.position < $6
            )
            select exists (select from moved) as "moved!"
            "#,
            projector,
            lease.version,
            lease.lane,
            lease.epoch,
            lease.position,
            to,
            recorded_at.map(OffsetDateTime::from),
            interval(LEASE),
            reactor
        )
        .fetch_one(connection)
        .await
    })
}

/// Gives a lease back, so that another process need not wait for its end.
pub(super) fn release<'a>(
    connection: &'a mut PgConnection,
    projector: &'a str,
    lease: &'a Lease,
) -> BoxFuture<'a, Result<(), sqlx::Error>> {
    Box::pin(async move {
        sqlx::query!(
            "
            update runtime.checkpoints
            set owner = null, leased_until = '-infinity'
            where projector = $1 and version = $2 and lane = $3 and epoch = $4
            ",
            projector,
            lease.version,
            lease.lane,
            lease.epoch
        )
        .execute(connection)
        .await?;
        Ok(())
    })
}

/// Where a reactor came to in a lane; a new one starts where its projector stands now.
pub(super) fn reactor_position<'a>(
    connection: &'a mut PgConnection,
    reactor: &'a str,
    lane: Lane,
    now: Position,
) -> BoxFuture<'a, Result<Position, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query!(
        "insert into runtime.reactors (reactor, lane, position) values ($1, $2, $3) on conflict do nothing",
        reactor,
        lane,
        now
    )
    .execute(&mut *connection)
    .await?;
        sqlx::query_scalar!(
            "select position from runtime.reactors where reactor = $1 and lane = $2",
            reactor,
            lane
        )
        .fetch_one(connection)
        .await
    })
}
