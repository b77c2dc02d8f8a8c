//! How long deliveries are kept: delivered ones 30 days after they arrived, failed ones 90 after their event, pending ones until they are
//! done; a subscription until it is deleted, and its sealed parts for 30 days more and as long as a delivery refers to it.
//!
//! What is about a patient under a legal hold stays, with its attempts and answers, and goes with the first day's work after
//! the last hold is released (`keeping/holds.rs`).
//!
//! Everything about a delivery lies in partitions of four weeks by the time that its id begins with, which is that of
//! the event. Once a day one process moves the marks in `webhook_retention`, removes the rows that lie behind them, in
//! small batches, and drops partitions in which nothing is left. What is removed follows from these marks, the time of
//! the event, the state of the row and the holds. A rebuild takes the marks over, and keeps of what lies behind them the rows
//! that were there ([`tidy`]); nothing older than the oldest partition is made at all.
//!
//! Nobody waits for any of that: rows are locked for one short statement, partitions are attached and detached under a
//! lock that neither readers nor writers notice, and only an empty one is dropped. Partitions for the next eight weeks
//! are made at the migration, at each start, and daily. Were there none, the projector would stop, loudly, and go on once
//! they are there.

mod deliveries;
mod holds;

use std::time::Duration;

use carelog_domain::{DeliveryId, Timestamp};
use carelog_event_log::Clock;
use carelog_event_log::runtime::Runtime;
use futures::future::BoxFuture;
use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool};
use time::OffsetDateTime;
use tracing::{error, info, warn};

/// Delivered rows are kept so long after their event, and after they arrived, where that was later.
const DELIVERED_DAYS: i64 = 30;
/// Failed rows are kept so long.
const FAILED_DAYS: i64 = 90;
/// How far this clock and the database's may be apart.
const CLOCKS_APART: time::Duration = time::Duration::HOUR;
/// How often it is looked whether a day has passed.
const LOOK_EVERY: Duration = Duration::from_hours(1);
/// Longest wait for those who use a partition that is to be detached; it is tried again with the next look.
const LOCK_TIMEOUT: &str = "10s";
/// The tables whose partitions come and go together, and their schemas.
const PARTITIONED: [(&str, &str); 3] =
    [("webhooks", "webhook_events"), ("webhooks", "webhook_attempts"), ("kept", "webhook_answers")];

/// What one run has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Deliveries, with their attempts and answers.
    pub deliveries: i64,
    /// Sealed parts of deleted subscriptions.
    pub parts: u64,
    /// Partitions.
    pub partitions: u32,
}

/// Until when rows are removed.
struct Marks {
    oldest: OffsetDateTime,
    delivered_until: OffsetDateTime,
    failed_until: OffsetDateTime,
    swept_until: OffsetDateTime,
}

/// Removes what is due, now and then daily, until the runtime stops. `owner` may change tables, `system` sees the rows of
/// every organization.
pub async fn run(runtime: Runtime, owner: PgPool, system: PgPool) {
    let (clock, stop) = (runtime.log.clock(), &runtime.stop);
    while let Some(done) = stop.run_until_cancelled(run_by_a_true_clock(&owner, &system, clock)).await {
        match done {
            Ok(Some(swept)) if swept != Swept::default() => info!(?swept, "old deliveries were removed"),
            Ok(_) => {}
            Err(error) => {
                let cause: &dyn std::error::Error = &error;
                warn!(error = cause, "old deliveries cannot be removed; it is tried again");
            }
        }
        if tokio::time::timeout(LOOK_EVERY, runtime.stop.cancelled()).await.is_ok() {
            return;
        }
    }
}

/// Marks never move back: a clock that runs ahead by months would take what is fresh.
async fn run_by_a_true_clock(
    owner: &PgPool,
    system: &PgPool,
    clock: &dyn Clock,
) -> Result<Option<Swept>, sqlx::Error> {
    let theirs = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(owner).await?;
    let now = clock.now();
    let apart = OffsetDateTime::from(now) - theirs;
    if apart.abs() > CLOCKS_APART {
        error!(
            seconds = apart.whole_seconds(),
            "nothing is removed: this clock and the database's are apart"
        );
        return Ok(None);
    }
    run_once(owner, system, now).await
}

/// Whether a delivery is removed soon, so that a request to send it again might find it gone. `state` and `finished_at`
/// are those of its row.
pub fn is_about_to_go(
    delivery_id: DeliveryId,
    state: &str,
    finished_at: Option<OffsetDateTime>,
    now: Timestamp,
) -> bool {
    let midnight = OffsetDateTime::from(now).replace_time(time::Time::MIDNIGHT);
    // The time that an id begins with, in milliseconds.
    let millis = i128::try_from(delivery_id.uuid().as_u128() >> 80).unwrap_or(i128::MAX);
    let event_at = OffsetDateTime::from_unix_timestamp_nanos(millis.saturating_mul(1_000_000))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let days = if state == "delivered" { DELIVERED_DAYS } else { FAILED_DAYS };
    let tomorrow = midnight - time::Duration::days(days - 1);
    let was_delivered_before = state != "delivered" || finished_at.is_none_or(|at| at < tomorrow);
    state != "pending" && event_at < tomorrow && was_delivered_before
}

/// Makes the partitions of the next eight weeks, as the owner of the tables.
///
/// # Errors
/// When the database fails.
pub fn make_partitions(owner: &mut PgConnection, now: Timestamp) -> BoxFuture<'_, Result<(), sqlx::Error>> {
    Box::pin(async move {
        sqlx::query!(
            "
            select public.carelog_make_partitions('webhooks.webhook_events', oldest, $1, 'with (fillfactor = 70)'),
                   public.carelog_make_partitions('webhooks.webhook_attempts', oldest, $1, ''),
                   public.carelog_make_partitions('kept.webhook_answers', oldest, $1, '')
            from webhooks.webhook_retention
            ",
            OffsetDateTime::from(now) + time::Duration::weeks(8)
        )
        .execute(owner)
        .await?;
        Ok(())
    })
}

/// Does the day's work, unless it is done or another process is at it; then nothing comes back.
///
/// # Errors
/// When a database fails. What was removed stays removed, and the next run goes on.
pub fn run_once<'a>(
    owner: &'a PgPool,
    system: &'a PgPool,
    now: Timestamp,
) -> BoxFuture<'a, Result<Option<Swept>, sqlx::Error>> {
    Box::pin(async move {
        let mut guard = owner.acquire().await?;
        // The lock belongs to the session, which ends with this run.
        guard.close_on_drop();
        let is_alone = sqlx::query_scalar!(
            r#"select pg_try_advisory_lock(hashtext('carelog.keeping'), hashtext('webhooks')) as "locked!""#
        )
        .fetch_one(&mut *guard)
        .await?;
        if !is_alone {
            return Ok(None);
        }
        make_partitions(&mut guard, now).await?;
        let marks = move_marks(&mut guard, now).await?;
        if marks.swept_until >= marks.delivered_until {
            return Ok(None);
        }
        let mut connection = system.acquire().await?;
        let mut swept =
            Swept { deliveries: deliveries::remove(&mut connection, &marks).await?, ..Swept::default() };
        swept.parts = remove_parts(&mut connection, &marks).await?;
        swept.partitions = drop_partitions(&mut guard, &mut connection, &marks).await?;
        sqlx::query!("update webhooks.webhook_retention set swept_until = $1", marks.delivered_until)
            .execute(&mut *guard)
            .await?;
        Ok(Some(swept))
    })
}

/// The marks move at midnight (UTC) and never back, so that all of a day's readers mean the same.
async fn move_marks(owner: &mut PgConnection, now: Timestamp) -> Result<Marks, sqlx::Error> {
    let midnight = OffsetDateTime::from(now).replace_time(time::Time::MIDNIGHT);
    sqlx::query_as!(
        Marks,
        "
        update webhooks.webhook_retention
        set delivered_until = greatest(delivered_until, $1), failed_until = greatest(failed_until, $2)
        returning oldest, delivered_until, failed_until, swept_until
        ",
        midnight - time::Duration::days(DELIVERED_DAYS),
        midnight - time::Duration::days(FAILED_DAYS)
    )
    .fetch_one(owner)
    .await
}

/// What was sent to a deleted subscription can be told as long as a delivery shows it.
async fn remove_parts(system: &mut PgConnection, marks: &Marks) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "
        delete from webhooks.webhook_subscription_parts p
        using webhooks.webhook_subscriptions s
        where s.organization_id = p.organization_id and s.subscription_id = p.subscription_id
          and s.status = 'deleted' and s.changed_at < $1
          and not exists (
              select from webhooks.webhook_events e
              where e.organization_id = p.organization_id and e.subscription_id = p.subscription_id
          )
        ",
        marks.delivered_until
    )
    .execute(system)
    .await?;
    Ok(done.rows_affected())
}

/// Drops partitions from the oldest on, as far as they lie behind both marks and nothing is left in them.
async fn drop_partitions(
    owner: &mut PgConnection,
    system: &mut PgConnection,
    marks: &Marks,
) -> Result<u32, sqlx::Error> {
    let mut oldest = marks.oldest;
    loop {
        let next = oldest + time::Duration::weeks(4);
        if next > marks.failed_until || has_rows(system, oldest, next).await? {
            break;
        }
        oldest = next;
    }
    // From here on, nobody makes a row before it any more.
    sqlx::query!("update webhooks.webhook_retention set oldest = $1", oldest).execute(&mut *owner).await?;
    let mut dropped = 0;
    for (schema, parent) in PARTITIONED {
        for partition in before(owner, schema, parent, oldest).await? {
            drop_partition(owner, schema, parent, &partition).await?;
            dropped += 1;
        }
    }
    Ok(dropped)
}

async fn has_rows(
    system: &mut PgConnection,
    from: OffsetDateTime,
    until: OffsetDateTime,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select from webhooks.webhook_events
            where delivery_id >= public.carelog_id_at($1) and delivery_id < public.carelog_id_at($2)
        ) as "found!"
        "#,
        from,
        until
    )
    .fetch_one(system)
    .await
}

/// The partitions of a table before the oldest that is in use, attached or not: a run that was cut off leaves one half
/// detached, or apart.
async fn before(
    owner: &mut PgConnection,
    schema: &str,
    parent: &str,
    oldest: OffsetDateTime,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select c.relname::text as "name!"
        from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = $1 and c.relkind = 'r' and c.relname ~ ('^' || $2 || '_[0-9]{8}$')
          and right(c.relname, 8) < to_char($3::timestamptz at time zone 'UTC', 'YYYYMMDD')
        order by 1
        "#,
        schema,
        parent,
        oldest
    )
    .fetch_all(owner)
    .await
}

/// Detaching concurrently waits for those who use the table, and keeps nobody else from it.
async fn drop_partition(
    owner: &mut PgConnection,
    schema: &str,
    parent: &str,
    name: &str,
) -> Result<(), sqlx::Error> {
    let is_pending = sqlx::query_scalar!(
        "select inhdetachpending from pg_inherits where inhrelid = to_regclass($1)",
        format!("{schema}.{name}")
    )
    .fetch_optional(&mut *owner)
    .await?;
    // Names are constants, the second with a date.
    let mut run = async |statement: String| owner.execute(AssertSqlSafe(statement)).await.map(drop);
    run(format!("set lock_timeout to '{LOCK_TIMEOUT}'")).await?;
    if let Some(is_pending) = is_pending {
        let how = if is_pending { "finalize" } else { "concurrently" };
        run(format!("alter table {schema}.{parent} detach partition {schema}.{name} {how}")).await?;
    }
    run(format!("drop table if exists {schema}.{name}")).await
}

/// Removes from tables that were built anew what the marks say, which they have taken over, unless the live tables have it:
/// it was under a legal hold when its time was over. Unqualified names mean the new tables.
pub(crate) async fn tidy(tables: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        with gone as (
            delete from webhook_events e
            using webhook_retention r
            where (e.state = 'delivered' and e.delivery_id < public.carelog_id_at(r.delivered_until)
                      and e.finished_at < r.delivered_until
                   or e.state = 'failed' and e.delivery_id < public.carelog_id_at(r.failed_until))
              and not exists (
                  select from webhooks.webhook_events live
                  where live.organization_id = e.organization_id and live.delivery_id = e.delivery_id
              )
            returning e.organization_id, e.delivery_id
        )
        delete from webhook_attempts a
        using gone g
        where a.organization_id = g.organization_id and a.delivery_id = g.delivery_id
        "
    )
    .execute(&mut *tables)
    .await?;
    sqlx::query!(
        "
        delete from webhook_subscription_parts p
        using webhook_subscriptions s
        where s.organization_id = p.organization_id and s.subscription_id = p.subscription_id
          and s.status = 'deleted'
          and s.changed_at < (select delivered_until from webhook_retention)
          and not exists (
              select from webhook_events e
              where e.organization_id = p.organization_id and e.subscription_id = p.subscription_id
          )
        "
    )
    .execute(tables)
    .await?;
    Ok(())
}
