//! Publishing: from time to time the facts of a clinic become the figures that analysts see.
//!
//! # When
//! A clinic is published when its last publication is as old as the operator's setting says *and* something has been
//! written in its facts about as many patients as its threshold demands, so that two publications never differ by one
//! person alone as a whole. A single view or cell may, where the others are in other views: the rounding of one record
//! hides that in most cases, of many not. And it is published at once
//! after an erasure or another threshold. A first publication waits for that many patients, and for no time. An erasure is
//! certified after the publication without the patient.
//!
//! # How
//! One transaction reads the facts, sorts them into cells (`appointments.rs`, `exercises.rs`, `forms.rs`, `video.rs`), finds
//! out which figures lead to few patients (`suppression.rs`), rounds the others (`disclosure.rs`), and replaces the clinic's
//! rows in the schema `published`. Of two processes that do the same at once, the second begins anew. Nothing is kept from one publication to the next:
//! the same facts give the same rows, so that a rebuild changes nothing.

mod appointments;
pub mod cells;
pub mod disclosure;
mod exercises;
mod forms;
#[cfg(test)]
mod intruder;
mod rows;
mod suppression;
#[cfg(test)]
mod tests;
mod video;

use std::time::Duration;

use carelog_domain::{OrganizationId, Timestamp};
use carelog_event_log::Position;
use futures::future::BoxFuture;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use time::OffsetDateTime;
use tracing::instrument;

use disclosure::LEAST_THRESHOLD;

const MICROS_PER_MINUTE: i64 = 60_000_000;
/// Longest that one statement may take, or the work between two: a clinic's facts are read by one.
const PUBLISHING_TIMEOUT: &str = "10min";
/// What PostgreSQL calls it when somebody else was faster.
const SERIALIZATION_FAILURE: &str = "40001";

/// Why a clinic was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The database failed; another try may succeed.
    #[error("the database of analytics failed")]
    Database(#[from] sqlx::Error),
    /// A stored value does not parse.
    #[error("analytics.{table}.{column} of the row at position {position} holds a value that does not parse")]
    Stored {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row.
        position: Position,
    },
}

/// The clinics whose publication is due.
///
/// # Errors
/// When the database fails.
pub fn due(
    connection: &mut PgConnection,
    now: Timestamp,
    every: Duration,
) -> BoxFuture<'_, Result<Vec<OrganizationId>, sqlx::Error>> {
    Box::pin(async move {
        let every = i64::try_from(every.as_micros()).unwrap_or(i64::MAX);
        let before = OffsetDateTime::from(now.saturating_add_micros(every.saturating_neg()));
        let ids = sqlx::query_scalar!(
            r#"
            select o.organization_id
            from analytics.analytics_organizations o
            left join published.progress p using (organization_id)
            cross join lateral (select greatest(o.small_cell_threshold, $2::integer) as least) threshold
            where p.small_cell_threshold <> o.small_cell_threshold
                or exists (
                    select from analytics.erased_patients e
                    where e.organization_id = o.organization_id and e.position > p.position)
                or (coalesce(p.published_at <= $1 and p.position < o.last_position, true)
                    and threshold.least <= (
                        select count(*) from (
                            select patient from analytics.appointment_facts f
                            where f.organization_id = o.organization_id and f.last_position > coalesce(p.position, 0)
                            union
                            select patient from analytics.exercise_assignment_facts f
                            where f.organization_id = o.organization_id and f.last_position > coalesce(p.position, 0)
                            union
                            select patient from analytics.form_facts f
                            where f.organization_id = o.organization_id and f.last_position > coalesce(p.position, 0)
                            union
                            select patient from analytics.video_session_facts f
                            where f.organization_id = o.organization_id and f.last_position > coalesce(p.position, 0)
                            union
                            select patient from analytics.video_quality_facts f
                            where f.organization_id = o.organization_id and f.position > coalesce(p.position, 0)
                        ) as touched))
            order by o.organization_id
            "#,
            before,
            i32::try_from(LEAST_THRESHOLD).unwrap_or(i32::MAX)
        )
        .fetch_all(connection)
        .await?;
        Ok(ids.into_iter().map(OrganizationId::new).collect())
    })
}

/// Replaces the figures of a clinic by those of its facts as they are now. False where the clinic has no facts yet.
///
/// # Errors
/// See [`PublishError`]; what is published stays as it was.
#[instrument(name = "analytics.publication.make", skip_all, fields(organization.id = %organization_id))]
pub fn publish(
    pool: &PgPool,
    organization_id: OrganizationId,
    now: Timestamp,
) -> BoxFuture<'_, Result<bool, PublishError>> {
    Box::pin(async move {
        loop {
            match publish_at_once(pool, organization_id, now).await {
                // Another process has published the clinic meanwhile, and this one has seen the facts of before.
                Err(PublishError::Database(sqlx::Error::Database(error)))
                    if error.code().as_deref() == Some(SERIALIZATION_FAILURE) => {}
                done => return done,
            }
        }
    })
}

/// In one transaction, which sees the facts as they are at one moment.
async fn publish_at_once(
    pool: &PgPool,
    organization_id: OrganizationId,
    now: Timestamp,
) -> Result<bool, PublishError> {
    let begin = format!(
        "begin isolation level repeatable read; set local statement_timeout = '{PUBLISHING_TIMEOUT}'; \
         set local idle_in_transaction_session_timeout = '{PUBLISHING_TIMEOUT}'"
    );
    let mut tx = pool.begin_with(AssertSqlSafe(begin)).await?;
    let organization = sqlx::query!(
        "
        select last_position, small_cell_threshold, newest_event_at
        from analytics.analytics_organizations
        where organization_id = $1
        ",
        organization_id.uuid()
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(organization) = organization else { return Ok(false) };
    let threshold = usize::try_from(organization.small_cell_threshold).unwrap_or(0).max(LEAST_THRESHOLD);
    let progress = Progress {
        organization_id,
        position: organization.last_position,
        small_cell_threshold: organization.small_cell_threshold,
        newest_event_at: organization.newest_event_at,
        now,
    };
    // First of all: whoever publishes the clinic at the same time waits here, and begins anew.
    progress.write(&mut tx, threshold).await?;
    appointments::publish(&mut tx, organization_id, threshold).await?;
    exercises::publish(&mut tx, organization_id, threshold).await?;
    forms::publish(&mut tx, organization_id, threshold).await?;
    video::publish(&mut tx, organization_id, threshold).await?;
    tx.commit().await?;
    Ok(true)
}

/// Up to where the figures of a clinic reach; nothing before the first publication.
///
/// # Errors
/// When the database fails.
pub fn reached(
    connection: &mut PgConnection,
    organization_id: OrganizationId,
) -> BoxFuture<'_, Result<Option<Position>, sqlx::Error>> {
    Box::pin(async move {
        sqlx::query_scalar!(
            "select position from published.progress where organization_id = $1",
            organization_id.uuid()
        )
        .fetch_optional(connection)
        .await
    })
}

struct Progress {
    organization_id: OrganizationId,
    position: Position,
    small_cell_threshold: i32,
    newest_event_at: OffsetDateTime,
    now: Timestamp,
}

impl Progress {
    async fn write(&self, tx: &mut PgConnection, threshold: usize) -> Result<(), sqlx::Error> {
        let cut = self.now.saturating_add_micros(-self.now.unix_micros().rem_euclid(MICROS_PER_MINUTE));
        sqlx::query!(
            "
            insert into published.progress (organization_id, position, published_at, small_cell_threshold)
            values ($1, $2, $3, $4)
            on conflict (organization_id) do update
            set position = excluded.position, published_at = excluded.published_at,
                small_cell_threshold = excluded.small_cell_threshold
            ",
            self.organization_id.uuid(),
            self.position,
            OffsetDateTime::from(self.now),
            self.small_cell_threshold
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "
            insert into published.freshness (organization_id, published_at, small_cell_threshold, newest_event_at)
            values ($1, $2, $3, date_trunc('hour', $4::timestamptz))
            on conflict (organization_id) do update
            set published_at = excluded.published_at, small_cell_threshold = excluded.small_cell_threshold,
                newest_event_at = excluded.newest_event_at
            ",
            self.organization_id.uuid(),
            OffsetDateTime::from(cut),
            i32::try_from(threshold).unwrap_or(i32::MAX),
            self.newest_event_at
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}
