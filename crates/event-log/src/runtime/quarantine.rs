//! Events set aside, in order, behind one that could not be applied.

use std::collections::HashSet;
use std::sync::Arc;

use carelog_domain::OrganizationId;
use futures::future::BoxFuture;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::projector::{ApplyError, Projector, Reactor};
use super::transaction::{Durable, begin};
use crate::effects::{self, Taker};
use crate::log::EventLog;
use crate::read::ReadError;
use crate::recorded::{Lane, Position, RecordedEvent};

/// The key that later events wait behind: the stream.
pub(super) type Key = (OrganizationId, Uuid);

/// One event that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The lane.
    pub lane: Lane,
    /// The position.
    pub position: Position,
    /// The organization.
    pub organization_id: Uuid,
    /// The stream that it belongs to.
    pub stream_id: Uuid,
    /// The event's type.
    pub event_type: String,
    /// Why the first of the stream failed; nothing for those behind it.
    pub failure: Option<String>,
}

pub(super) fn key_of(event: &RecordedEvent) -> Key {
    (event.stream.organization_id, event.stream.id)
}

/// The streams that have waiting events.
pub(super) fn keys<'a>(
    connection: &'a mut PgConnection,
    projector: &'a str,
    version: i32,
    lane: Lane,
) -> BoxFuture<'a, Result<HashSet<Key>, sqlx::Error>> {
    Box::pin(async move {
        let rows = sqlx::query!(
            "
            select distinct organization_id, stream_id
            from runtime.quarantine
            where projector = $1 and version = $2 and lane = $3 and discarded_at is null
            ",
            projector,
            version,
            lane
        )
        .fetch_all(connection)
        .await?;
        Ok(rows.into_iter().map(|row| (OrganizationId::new(row.organization_id), row.stream_id)).collect())
    })
}

/// The events that somebody has discarded.
pub(super) fn discarded<'a>(
    connection: &'a mut PgConnection,
    projector: &'a str,
    version: i32,
) -> BoxFuture<'a, Result<HashSet<(Lane, Position)>, sqlx::Error>> {
    Box::pin(async move {
        let rows = sqlx::query!(
            "
            select lane, position
            from runtime.quarantine
            where projector = $1 and version = $2 and discarded_at is not null
            ",
            projector,
            version
        )
        .fetch_all(connection)
        .await?;
        Ok(rows.into_iter().map(|row| (row.lane, row.position)).collect())
    })
}

/// Sets an event aside.
pub(super) fn set_aside<'a>(
    connection: &'a mut PgConnection,
    projector: &'a str,
    version: i32,
    event: &'a RecordedEvent,
    failure: Option<&'a str>,
) -> BoxFuture<'a, Result<(), sqlx::Error>> {
    Box::pin(async move {
        sqlx::query!(
            "
            insert into runtime.quarantine
                (projector, version, lane, position, organization_id, stream_id, event_type, failure)
            values ($1, $2, $3, $4, $5, $6, $7, $8)
            on conflict do nothing
            ",
            projector,
            version,
            event.lane,
            event.position,
            event.stream.organization_id.uuid(),
            event.stream.id,
            event.event_type.as_str(),
            failure
        )
        .execute(connection)
        .await?;
        Ok(())
    })
}

/// Applies events one at a time, each under a savepoint; those that cannot be applied, and those behind them, are
/// set aside. Gives back the intents and the events that were set aside first in their stream.
pub(super) fn apply_singly<'a, P: Projector>(
    projector: &'a P,
    version: i32,
    tables: &'a mut PgConnection,
    page: &'a [Arc<RecordedEvent>],
    waiting: &'a mut HashSet<Key>,
) -> BoxFuture<'a, Result<Vec<P::Intent>, ApplyError>> {
    Box::pin(async move {
        let mut intents = Vec::new();
        for event in page {
            if waiting.contains(&key_of(event)) {
                set_aside(tables, P::NAME, version, event, None).await?;
                continue;
            }
            let mut savepoint = tables.begin().await?;
            match projector
                .apply(&mut savepoint, &mut P::Memory::default(), std::slice::from_ref(event))
                .await
            {
                Ok(wanted) => {
                    savepoint.commit().await?;
                    intents.extend(wanted);
                }
                Err(ApplyError::Poison(source)) => {
                    savepoint.rollback().await?;
                    tracing::error!(
                        projector.name = P::NAME,
                        event.lane = event.lane,
                        event.position = event.position,
                        error = %source,
                        "an event cannot be applied; its stream waits in quarantine"
                    );
                    set_aside(tables, P::NAME, version, event, Some(&source.to_string())).await?;
                    waiting.insert(key_of(event));
                }
                Err(transient @ ApplyError::Transient(_)) => return Err(transient),
            }
        }
        Ok(intents)
    })
}

/// What waits for a projector's live version, oldest first.
///
/// # Errors
/// When the database fails.
pub fn quarantined<'a>(
    connection: &'a mut PgConnection,
    projector: &'a str,
) -> BoxFuture<'a, Result<Vec<Quarantined>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_as!(
            Quarantined,
            "
            select q.lane, q.position, q.organization_id, q.stream_id, q.event_type, q.failure
            from runtime.quarantine q
            join runtime.projections p on p.projector = q.projector and p.live_version = q.version
            where q.projector = $1 and q.discarded_at is null
            order by q.lane, q.position
            ",
            projector
        )
        .fetch_all(connection)
        .await
    })
}

/// Tries the waiting events of a stream again, in order. Gives back how many are left; stops at the first that
/// still fails. What they want done becomes due now; the ledger knows what was wanted and done before.
///
/// # Errors
/// When the database fails.
pub fn retry<'a, P: Projector>(
    projector: &'a P,
    reactor: Option<&'a dyn Reactor<P::Intent>>,
    log: &'a EventLog,
    connection: &'a mut PgConnection,
    organization_id: OrganizationId,
    stream_id: Uuid,
) -> BoxFuture<'a, Result<usize, ApplyError>> {
    Box::pin(async move {
        let lane = log.lane_of(organization_id).await?;
        let stream = Stream { lane, organization_id, id: stream_id };
        loop {
            let mut tx = begin(connection, P::SCHEMA.name, Durable::Yes).await?;
            hold_live(&mut tx, P::NAME, lane).await?;
            let waiting = positions(&mut tx, P::NAME, stream).await?;
            let Some(position) = waiting.first().copied() else {
                // A dropped transaction would hold the checkpoint for as long as the caller keeps its connection.
                tx.rollback().await?;
                return Ok(0);
            };
            let event = log.page(lane, position - 1, 1).await.map_err(cannot_be_read)?;
            let intents = match projector.apply(&mut tx, &mut P::Memory::default(), &event).await {
                Ok(intents) => intents,
                Err(ApplyError::Poison(_)) => {
                    tx.rollback().await?;
                    return Ok(waiting.len());
                }
                Err(transient @ ApplyError::Transient(_)) => return Err(transient),
            };
            if let Some(reactor) = reactor {
                let taker = Taker {
                    reactor: reactor.name(),
                    owner: Uuid::nil(),
                    now: log.clock().now(),
                    room: 0,
                    limits: reactor.limits(),
                };
                effects::write(&mut tx, taker, intents.into_iter().map(|intent| reactor.wish(intent)))
                    .await?;
            }
            forget(&mut tx, P::NAME, lane, position).await?;
            tx.commit().await?;
        }
    })
}

fn cannot_be_read(error: ReadError) -> ApplyError {
    match error {
        ReadError::Database(error) => ApplyError::Transient(error),
        stored @ ReadError::Stored { .. } => ApplyError::poison(stored),
    }
}

#[derive(Clone, Copy)]
struct Stream {
    lane: Lane,
    organization_id: OrganizationId,
    id: Uuid,
}

/// Holds the live version's checkpoint until the transaction ends. The unit that owns it sets nothing aside
/// meanwhile, and afterwards sees what was done.
async fn hold_live(tx: &mut PgConnection, projector: &str, lane: Lane) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        select c.position
        from runtime.checkpoints c
        join runtime.projections p on p.projector = c.projector and p.live_version = c.version
        where c.projector = $1 and c.lane = $2
        for update of c
        ",
        projector,
        lane
    )
    .fetch_optional(tx)
    .await?;
    Ok(())
}

/// Where the waiting events of a stream stand, in order.
async fn positions(
    tx: &mut PgConnection,
    projector: &str,
    stream: Stream,
) -> Result<Vec<Position>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        select q.position
        from runtime.quarantine q
        join runtime.projections p on p.projector = q.projector and p.live_version = q.version
        where q.projector = $1 and q.lane = $2 and q.organization_id = $3 and q.stream_id = $4
          and q.discarded_at is null
        order by q.position
        ",
        projector,
        stream.lane,
        stream.organization_id.uuid(),
        stream.id
    )
    .fetch_all(tx)
    .await
}

async fn forget(
    tx: &mut PgConnection,
    projector: &str,
    lane: Lane,
    position: Position,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        delete from runtime.quarantine q
        using runtime.projections p
        where q.projector = $1 and q.projector = p.projector and q.version = p.live_version
          and q.lane = $2 and q.position = $3
        ",
        projector,
        lane,
        position
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Gives up on a waiting event, for a recorded reason. False when it does not wait.
///
/// # Errors
/// When the database fails.
pub fn discard<'a>(
    connection: &'a mut PgConnection,
    projector: &'a str,
    lane: Lane,
    position: Position,
    reason: &'a str,
) -> BoxFuture<'a, Result<bool, sqlx::Error>> {
    Box::pin(async move {
        let done = sqlx::query!(
            "
            update runtime.quarantine q
            set discarded_at = now(), discard_reason = $4
            from runtime.projections p
            where q.projector = $1 and q.projector = p.projector and q.version = p.live_version
              and q.lane = $2 and q.position = $3 and q.discarded_at is null
            ",
            projector,
            lane,
            position,
            reason
        )
        .execute(connection)
        .await?;
        Ok(done.rows_affected() == 1)
    })
}
