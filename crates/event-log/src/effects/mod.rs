//! The ledger of effects: what reactors want done, and what became of it.
//!
//! An effect is named by organization, reactor, source event and step, so that it can be asked for any number of
//! times and exists once. Whoever holds one has its token; a report with another token is refused, because
//! somebody else has taken over in the meantime. An effect whose lease ran out may or may not have been carried
//! out: the claim says so, and the worker records the outcome as unknown before it tries again.

use std::time::Duration;

use carelog_domain::{EventId, OrganizationId, Timestamp};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use sqlx::postgres::types::PgInterval;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::recorded::{Lane, Position};

/// How long a worker may hold an effect without a report, by the database's clock.
pub const LEASE: Duration = Duration::from_secs(30);

/// An effect that a reactor asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewEffect {
    /// The organization.
    pub organization_id: OrganizationId,
    /// The event that it follows from.
    pub source_event_id: EventId,
    /// What to do for that event.
    pub step: Uuid,
    /// The lane of the event.
    pub lane: Lane,
    /// The place of the event in the lane.
    pub position: Position,
}

/// An effect in the hands of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The organization.
    pub organization_id: OrganizationId,
    /// The event that it follows from.
    pub source_event_id: EventId,
    /// What to do for that event.
    pub step: Uuid,
    /// The lane of the event.
    pub lane: Lane,
    /// The place of the event in the lane.
    pub position: Position,
    /// The fencing token.
    pub token: i64,
    /// When somebody took it before who never reported: it may have been carried out.
    pub abandoned_since: Option<Timestamp>,
}

/// What a worker says of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The effect, as it was taken.
    pub effect: Effect,
    /// When it is due again; nothing when it is done.
    pub next_at: Option<Timestamp>,
}

fn lease() -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: i64::try_from(LEASE.as_micros()).unwrap_or(i64::MAX) }
}

/// Writes effects that are not in the ledger yet. The first `room` of them are leased to `owner` and given back;
/// the others are due at once, for whoever claims them.
pub(crate) fn insert<'a>(
    connection: &'a mut PgConnection,
    reactor: &'a str,
    owner: Uuid,
    now: Timestamp,
    wanted: &'a [NewEffect],
    room: usize,
) -> BoxFuture<'a, Result<Vec<Effect>, sqlx::Error>> {
    Box::pin(async move {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let held: Vec<bool> = (0..wanted.len()).map(|index| index < room).collect();
        let rows = sqlx::query!(
            r#"
        insert into runtime.effects (organization_id, source_event_id, step, reactor, lane, position, owner,
                                     claimed_at, next_at)
        select organization_id, source_event_id, step, $1, lane, position, case when held then $2::uuid end,
               case when held then $10::timestamptz end,
               now() + case when held then $3::interval else interval '0' end
        from unnest($4::uuid[], $5::uuid[], $6::uuid[], $7::smallint[], $8::bigint[], $9::boolean[])
             as wanted (organization_id, source_event_id, step, lane, position, held)
        on conflict do nothing
        returning organization_id, source_event_id, step, lane, position, token, owner is not null as "held!"
        "#,
            reactor,
            owner,
            lease(),
            &wanted.iter().map(|effect| effect.organization_id.uuid()).collect::<Vec<_>>(),
            &wanted.iter().map(|effect| effect.source_event_id.uuid()).collect::<Vec<_>>(),
            &wanted.iter().map(|effect| effect.step).collect::<Vec<_>>(),
            &wanted.iter().map(|effect| effect.lane).collect::<Vec<_>>(),
            &wanted.iter().map(|effect| effect.position).collect::<Vec<_>>(),
            &held,
            OffsetDateTime::from(now)
        )
        .fetch_all(connection)
        .await?;
        Ok(rows
            .into_iter()
            .filter(|row| row.held)
            .map(|row| Effect {
                organization_id: OrganizationId::new(row.organization_id),
                source_event_id: EventId::new(row.source_event_id),
                step: row.step,
                lane: row.lane,
                position: row.position,
                token: row.token,
                abandoned_since: None,
            })
            .collect())
    })
}

/// Takes effects that are due, and those whose lease ran out, oldest first. `now` is the moment by the clock that also
/// dates outcomes in the log.
///
/// # Errors
/// When the database fails.
pub fn claim<'a>(
    connection: &'a mut PgConnection,
    reactor: &'a str,
    owner: Uuid,
    now: Timestamp,
    limit: i64,
) -> BoxFuture<'a, Result<Vec<Effect>, sqlx::Error>> {
    Box::pin(async move {
        let rows = sqlx::query!(
            r#"
            with due as materialized (
                select organization_id, source_event_id, step, reactor, owner, claimed_at
                from runtime.effects
                where reactor = $1 and next_at <= now()
                order by next_at
                limit $2
                for update skip locked
            )
            update runtime.effects e
            set token = e.token + 1, owner = $3, claimed_at = $5, next_at = now() + $4
            from due
            where e.organization_id = due.organization_id and e.source_event_id = due.source_event_id
              and e.step = due.step and e.reactor = due.reactor
            returning e.organization_id, e.source_event_id, e.step, e.lane, e.position, e.token,
                      case when due.owner is not null then due.claimed_at end as "abandoned_since: OffsetDateTime"
            "#,
            reactor,
            limit,
            owner,
            lease(),
            OffsetDateTime::from(now)
        )
        .fetch_all(connection)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Effect {
                organization_id: OrganizationId::new(row.organization_id),
                source_event_id: EventId::new(row.source_event_id),
                step: row.step,
                lane: row.lane,
                position: row.position,
                token: row.token,
                abandoned_since: row.abandoned_since.and_then(|since| Timestamp::try_from(since).ok()),
            })
            .collect())
    })
}

/// Writes down what became of effects. Gives back how many reports were refused because their token is old.
///
/// # Errors
/// When the database fails.
pub fn report<'a>(
    connection: &'a mut PgConnection,
    reactor: &'a str,
    reports: &'a [Report],
) -> BoxFuture<'a, Result<u64, sqlx::Error>> {
    Box::pin(async move {
        let next_at: Vec<Option<OffsetDateTime>> =
            reports.iter().map(|report| report.next_at.map(OffsetDateTime::from)).collect();
        let done = sqlx::query!(
            "
            update runtime.effects e
            set owner = null, next_at = said.next_at
            from unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::bigint[], $6::timestamptz[])
                 as said (organization_id, source_event_id, step, token, next_at)
            where e.organization_id = said.organization_id and e.source_event_id = said.source_event_id
              and e.step = said.step and e.reactor = $1 and e.token = said.token and e.owner is not null
            ",
            reactor,
            &reports.iter().map(|report| report.effect.organization_id.uuid()).collect::<Vec<_>>(),
            &reports.iter().map(|report| report.effect.source_event_id.uuid()).collect::<Vec<_>>(),
            &reports.iter().map(|report| report.effect.step).collect::<Vec<_>>(),
            &reports.iter().map(|report| report.effect.token).collect::<Vec<_>>(),
            &next_at as _
        )
        .execute(connection)
        .await?;
        Ok((reports.len() as u64).saturating_sub(done.rows_affected()))
    })
}

/// When the next effect of a reactor is due or its lease ends.
///
/// # Errors
/// When the database fails.
pub fn next_due<'a>(
    connection: &'a mut PgConnection,
    reactor: &'a str,
) -> BoxFuture<'a, Result<Option<Duration>, sqlx::Error>> {
    Box::pin(async move {
        let seconds = sqlx::query_scalar!(
            r#"
            select extract(epoch from min(next_at) - now())::double precision as seconds
            from runtime.effects
            where reactor = $1 and next_at is not null
            "#,
            reactor
        )
        .fetch_one(connection)
        .await?;
        Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(LEASE)))
    })
}
