//! Checkpoints and the leases on them.

use std::time::Duration;

use carelog_domain::Timestamp;
use futures::future::BoxFuture;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::effects::interval;
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

/// A step of a checkpoint, and of its reactor, which never moves back; also a sign of life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Advance<'a> {
    pub(super) projector: &'static str,
    pub(super) lease: &'a Lease,
    pub(super) to: Position,
    pub(super) recorded_at: Option<Timestamp>,
    pub(super) reactor: Option<&'static str>,
}

impl Advance<'_> {
    /// The statement, to be sent with others in one message. It holds numbers, a moment, and names that are constants.
    pub(super) fn statement(&self) -> String {
        let Self { projector, lease: Lease { version, lane, epoch, position }, to, .. } = self;
        let recorded_at = self.recorded_at.map_or("null".to_owned(), |at| format!("'{at}'"));
        let reactor = self.reactor.map_or("null".to_owned(), |name| format!("'{name}'"));
        let lease = LEASE.as_secs();
        format!(
            "select runtime.advance('{projector}', {version}, {lane}::smallint, {epoch}, {position}, {to}, \
             {recorded_at}, '{lease} s', {reactor})"
        )
    }
}

/// Whether a statement failed because the lease was lost: its transaction must not commit.
pub(super) fn is_lease_lost(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == "CL001")
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
