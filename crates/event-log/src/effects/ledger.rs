//! The statements on the ledger and its queues.

use std::collections::HashMap;
use std::time::Duration;

use carelog_domain::{EventId, OrganizationId, Timestamp};
use futures::future::BoxFuture;
use sqlx::PgConnection;
use sqlx::postgres::types::PgInterval;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Depth, Effect, LEASE, NewEffect, QueueChange, QueueHealth, QueueLoad, QueueSetting, Report, Reported,
    Taker, Wish,
};
use crate::recorded::{Lane, Position};
use crate::runtime::EffectColumns;

pub(crate) fn interval(duration: Duration) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX) }
}

impl From<EffectRow> for Effect {
    fn from(row: EffectRow) -> Self {
        Self {
            organization_id: OrganizationId::new(row.organization_id),
            source_event_id: EventId::new(row.source_event_id),
            step: row.step,
            lane: row.lane,
            position: row.position,
            token: row.token,
            abandoned_since: row.abandoned_since.and_then(|since| Timestamp::try_from(since).ok()),
            is_closed: row.is_closed,
            revision: row.revision,
        }
    }
}

/// An effect as the functions of the ledger give it back: the fields of [`Effect`].
#[derive(Debug)]
#[expect(missing_docs, reason = "see Effect")]
pub struct EffectRow {
    pub organization_id: Uuid,
    pub source_event_id: Uuid,
    pub step: Uuid,
    pub lane: Lane,
    pub position: Position,
    pub token: i64,
    pub abandoned_since: Option<OffsetDateTime>,
    pub is_closed: bool,
    pub revision: i64,
}

impl Taker<'_> {
    fn room(&self) -> i32 {
        i32::try_from(self.room).unwrap_or(i32::MAX)
    }
}

/// Writes what a reactor wishes, and gives back the effects that are leased to the taker.
pub(crate) async fn write(
    connection: &mut PgConnection,
    taker: Taker<'_>,
    wishes: impl Iterator<Item = Wish>,
) -> Result<Vec<Effect>, sqlx::Error> {
    let (mut wanted, mut changes) = (Vec::<NewEffect>::new(), Vec::new());
    for wish in wishes {
        match wish {
            Wish::Effect(effect) => wanted.push(effect),
            Wish::Queue(change) => changes.push(change),
        }
    }
    let wanted = EffectColumns::of(wanted);
    if !changes.is_empty() {
        lock_queues(connection, taker.reactor, &wanted, &changes).await?;
        change_queues(connection, taker.reactor, &changes).await?;
    }
    insert(connection, taker, &wanted).await
}

/// Writes effects that are not in the ledger yet. As many as the taker and their queues have room for are leased to it
/// and given back; the others are due for whoever claims them.
fn insert<'a>(
    connection: &'a mut PgConnection,
    taker: Taker<'a>,
    wanted: &'a EffectColumns,
) -> BoxFuture<'a, Result<Vec<Effect>, sqlx::Error>> {
    Box::pin(async move {
        if wanted.steps.is_empty() {
            return Ok(Vec::new());
        }
        let rows = sqlx::query_as!(
            EffectRow,
            r#"
            select organization_id as "organization_id!", source_event_id as "source_event_id!", step as "step!",
                   lane as "lane!", position as "position!", token as "token!",
                   abandoned_since as "abandoned_since: OffsetDateTime", is_closed as "is_closed!",
                   revision as "revision!"
            from runtime.insert_effects($1, $2, $3, $4, $5, row($6::integer, $7::integer, $8::integer), $9, $10, $11,
                                        $12, $13)
            "#,
            taker.reactor,
            taker.owner,
            OffsetDateTime::from(taker.now),
            interval(LEASE),
            taker.room(),
            i32::from(taker.limits.per_tick),
            i32::from(taker.limits.held_per_step),
            i32::from(taker.limits.held_per_organization),
            &wanted.organizations,
            &wanted.steps,
            &wanted.events,
            &wanted.lanes,
            &wanted.positions
        )
        .fetch_all(connection)
        .await?;
        Ok(rows.into_iter().map(Effect::from).collect())
    })
}

/// Locks the queues of a page in the order that reports keep too, so that neither waits for the other for ever.
async fn lock_queues(
    connection: &mut PgConnection,
    reactor: &str,
    wanted: &EffectColumns,
    changes: &[QueueChange],
) -> Result<(), sqlx::Error> {
    let of_effects = wanted.organizations.iter().copied().zip(wanted.steps.iter().copied());
    let of_changes = changes.iter().map(|change| (change.organization_id.uuid(), change.step));
    let (organizations, steps): (Vec<_>, Vec<_>) = of_effects.chain(of_changes).unzip();
    sqlx::query!(
        "
        select from runtime.effect_queues
        where reactor = $1 and (organization_id, step) in (select * from unnest($2::uuid[], $3::uuid[]))
        order by organization_id, step
        for update
        ",
        reactor,
        &organizations,
        &steps
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Changes queues as their events came.
fn change_queues<'a>(
    connection: &'a mut PgConnection,
    reactor: &'a str,
    changes: &'a [QueueChange],
) -> BoxFuture<'a, Result<(), sqlx::Error>> {
    Box::pin(async move {
        for change in changes {
            let (per_tick, is_closed) = match change.setting {
                QueueSetting::Revised => (None, None),
                QueueSetting::PerTick(per_tick) => (Some(per_tick), None),
                QueueSetting::Closed => (None, Some(true)),
                QueueSetting::Open => (None, Some(false)),
            };
            sqlx::query!(
                "select runtime.set_effect_queue($1, $2, $3, $4, $5, $6)",
                reactor,
                change.organization_id.uuid(),
                change.step,
                per_tick.map(i32::from),
                is_closed,
                change.revision
            )
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    })
}

/// Takes effects that are due, and those whose lease ran out: as many as their queues have room for, of the queue that
/// waits longest first.
///
/// # Errors
/// When the database fails.
pub fn claim<'a>(
    connection: &'a mut PgConnection,
    taker: Taker<'a>,
) -> BoxFuture<'a, Result<Vec<Effect>, sqlx::Error>> {
    Box::pin(async move {
        let rows = sqlx::query_as!(
            EffectRow,
            r#"
            select organization_id as "organization_id!", source_event_id as "source_event_id!", step as "step!",
                   lane as "lane!", position as "position!", token as "token!",
                   abandoned_since as "abandoned_since: OffsetDateTime", is_closed as "is_closed!",
                   revision as "revision!"
            from runtime.claim_effects($1, $2, $3, $4, $5, row($6::integer, $7::integer, $8::integer))
            "#,
            taker.reactor,
            taker.owner,
            OffsetDateTime::from(taker.now),
            interval(LEASE),
            taker.room(),
            i32::from(taker.limits.per_tick),
            i32::from(taker.limits.held_per_step),
            i32::from(taker.limits.held_per_organization)
        )
        .fetch_all(connection)
        .await?;
        Ok(rows.into_iter().map(Effect::from).collect())
    })
}

/// Writes down what became of effects. `failing_for` is how long a queue may fail before it is named as lost.
///
/// # Errors
/// When the database fails.
pub fn report<'a>(
    connection: &'a mut PgConnection,
    reactor: &'a str,
    now: Timestamp,
    failing_for: Duration,
    reports: &'a [Report],
) -> BoxFuture<'a, Result<Reported, sqlx::Error>> {
    Box::pin(async move {
        if reports.is_empty() {
            return Ok(Reported::default());
        }
        let next_at: Vec<Option<OffsetDateTime>> =
            reports.iter().map(|report| report.next_at.map(OffsetDateTime::from)).collect();
        let done = sqlx::query!(
            r#"
            select refused as "refused!", lost_organizations as "lost_organizations!", lost_steps as "lost_steps!"
            from runtime.report_effects($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            "#,
            reactor,
            OffsetDateTime::from(now),
            interval(failing_for),
            &reports.iter().map(|report| report.effect.organization_id.uuid()).collect::<Vec<_>>(),
            &reports.iter().map(|report| report.effect.step).collect::<Vec<_>>(),
            &reports.iter().map(|report| report.effect.source_event_id.uuid()).collect::<Vec<_>>(),
            &reports.iter().map(|report| report.effect.token).collect::<Vec<_>>(),
            &next_at as _,
            &reports.iter().map(|report| report.sign.succeeded()).collect::<Vec<_>>() as _,
            &reports.iter().map(|report| report.sign.slows_down()).collect::<Vec<_>>(),
            &reports.iter().map(|report| report.sign.hold().map(interval)).collect::<Vec<_>>() as _
        )
        .fetch_one(connection)
        .await?;
        let organizations = done.lost_organizations.into_iter().map(OrganizationId::new);
        Ok(Reported {
            refused: u64::try_from(done.refused).unwrap_or_default(),
            lost: organizations.zip(done.lost_steps).collect(),
        })
    })
}

/// When a queue of a reactor is to be looked at again.
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
            from runtime.effect_queues
            where reactor = $1 and next_at is not null
            "#,
            reactor
        )
        .fetch_one(connection)
        .await?;
        Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(LEASE)))
    })
}

/// How queues of an organization do; those that never had an effect are left out.
///
/// # Errors
/// When the database fails.
pub fn health<'a>(
    connection: &'a mut PgConnection,
    reactor: &'a str,
    organization_id: OrganizationId,
) -> BoxFuture<'a, Result<HashMap<Uuid, QueueHealth>, sqlx::Error>> {
    Box::pin(async move {
        let rows = sqlx::query!(
            "
            select step, failing_since, failures, case when held_until > now() then held_until end as held_until
            from runtime.effect_queues
            where reactor = $1 and organization_id = $2
            ",
            reactor,
            organization_id.uuid()
        )
        .fetch_all(connection)
        .await?;
        let moment = |at: Option<OffsetDateTime>| at.and_then(|at| Timestamp::try_from(at).ok());
        Ok(rows
            .into_iter()
            .map(|row| {
                let health = QueueHealth {
                    failing_since: moment(row.failing_since),
                    failures: u32::try_from(row.failures).unwrap_or_default(),
                    held_until: moment(row.held_until),
                };
                (row.step, health)
            })
            .collect())
    })
}

/// How much the queue of a step has to do; at most `bound` effects are counted.
///
/// # Errors
/// When the database fails.
pub fn load<'a>(
    connection: &'a mut PgConnection,
    reactor: &'a str,
    organization_id: OrganizationId,
    step: Uuid,
    bound: u16,
) -> BoxFuture<'a, Result<QueueLoad, sqlx::Error>> {
    Box::pin(async move {
        let row = sqlx::query!(
            r#"
            select k.per_tick, (k.failures >= 3 or coalesce(k.held_until > now(), false)) as "is_failing!",
                   (
                       select count(*)
                       from (
                           select
                           from runtime.effects x
                           where x.reactor = k.reactor and x.organization_id = k.organization_id and x.step = k.step
                             and x.next_at <= now() + $4
                           limit $5
                       ) w
                   ) as "waiting!"
            from runtime.effect_queues k
            where k.reactor = $1 and k.organization_id = $2 and k.step = $3
            "#,
            reactor,
            organization_id.uuid(),
            step,
            interval(LEASE),
            i64::from(bound)
        )
        .fetch_optional(connection)
        .await?;
        Ok(row.map_or_else(QueueLoad::default, |row| QueueLoad {
            waiting: u16::try_from(row.waiting).unwrap_or(bound),
            per_tick: row.per_tick.and_then(|per_tick| u16::try_from(per_tick).ok()),
            is_failing: row.is_failing,
        }))
    })
}

/// What waits in the ledger for a reactor's workers, effects of some steps left out.
///
/// # Errors
/// When the database fails.
pub fn depth<'a>(
    connection: &'a mut PgConnection,
    reactor: &'a str,
    except_steps: &'a [Uuid],
) -> BoxFuture<'a, Result<Depth, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_as!(
            Depth,
            r#"
            select count(*) filter (where owner is null and next_at <= now()) as "due!",
                   count(*) filter (where owner is null and next_at > now()) as "later!",
                   count(*) filter (where owner is not null) as "held!",
                   coalesce(extract(epoch from now() - min(next_at) filter (where owner is null and next_at <= now())),
                            0)::double precision as "oldest_due_seconds!",
                   (select count(*) from runtime.effect_queues where reactor = $1 and failures > 0) as "failing_queues!"
            from runtime.effects
            where reactor = $1 and next_at is not null and step <> all($2)
            "#,
            reactor,
            except_steps
        )
        .fetch_one(connection)
        .await
    })
}
