//! Publishing: from time to time the facts of a clinic become the figures that analysts see.
//!
//! # When
//! Part by part, see `schedule.rs`. An erasure is certified after the publication without the patient.
//!
//! # How
//! One transaction reads the facts, sorts them into cells (`appointments.rs`, `exercises.rs`, `forms.rs`, `video.rs`), finds
//! out which figures lead to few patients (`suppression.rs`), rounds the others (`disclosure.rs`), and replaces the clinic's
//! rows in the schema `published`. Of two processes that do the same at once, the second begins anew. Nothing is kept from
//! one publication to the next: the same facts give the same rows, so that a rebuild changes nothing.

mod appointments;
pub mod cells;
pub mod disclosure;
mod exercises;
mod forms;
#[cfg(test)]
mod intruder;
mod rows;
mod schedule;
mod suppression;
#[cfg(test)]
mod tests;
mod video;

use carelog_domain::{OrganizationId, Timestamp};
use carelog_event_log::Position;
use futures::future::BoxFuture;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use time::OffsetDateTime;
use tracing::instrument;

use disclosure::LEAST_THRESHOLD;
pub use schedule::{Due, Part, due, reached};

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

/// How many patients a clinic's figures are about at least.
fn least(small_cell_threshold: i32) -> usize {
    usize::try_from(small_cell_threshold).unwrap_or(0).max(LEAST_THRESHOLD)
}

/// Replaces the figures of some parts of a clinic by those of its facts as they are now. False where the clinic has no
/// facts yet.
///
/// # Errors
/// See [`PublishError`]; what is published stays as it was.
#[instrument(name = "analytics.publication.make", skip_all, fields(organization.id = %organization_id))]
pub fn publish<'a>(
    pool: &'a PgPool,
    organization_id: OrganizationId,
    parts: &'a [Part],
    now: Timestamp,
) -> BoxFuture<'a, Result<bool, PublishError>> {
    Box::pin(async move {
        loop {
            match publish_at_once(pool, organization_id, parts, now).await {
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
    parts: &[Part],
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
    let threshold = least(organization.small_cell_threshold);
    let progress = Progress {
        organization_id,
        position: organization.last_position,
        small_cell_threshold: organization.small_cell_threshold,
        newest_event_at: organization.newest_event_at,
        now,
    };
    // First of all: whoever publishes the clinic at the same time waits here, and begins anew.
    progress.write(&mut tx, parts, threshold).await?;
    for part in parts {
        match part {
            Part::Appointments => appointments::publish(&mut tx, organization_id, threshold).await?,
            Part::ProgrammeWeeks => exercises::publish_weeks(&mut tx, organization_id, threshold).await?,
            Part::Streaks => exercises::publish_streaks(&mut tx, organization_id, threshold).await?,
            Part::Forms => forms::publish(&mut tx, organization_id, threshold).await?,
            Part::VideoQuality => video::publish_quality(&mut tx, organization_id, threshold).await?,
            Part::VideoSessions => video::publish_sessions(&mut tx, organization_id, threshold).await?,
        }
    }
    tx.commit().await?;
    Ok(true)
}

struct Progress {
    organization_id: OrganizationId,
    position: Position,
    small_cell_threshold: i32,
    newest_event_at: OffsetDateTime,
    now: Timestamp,
}

impl Progress {
    async fn write(
        &self,
        tx: &mut PgConnection,
        parts: &[Part],
        threshold: usize,
    ) -> Result<(), sqlx::Error> {
        let views = parts.iter().flat_map(|part| part.views());
        let mut views: Vec<String> = views.map(|view| view.as_str().to_owned()).collect();
        // In one order, so that two processes wait for each other in turn.
        views.sort_unstable();
        let cut = self.now.saturating_add_micros(-self.now.unix_micros().rem_euclid(MICROS_PER_MINUTE));
        sqlx::query!(
            "
            insert into published.progress (organization_id, view, position, published_at, small_cell_threshold)
            select $1, view, $3, $4, $5 from unnest($2::text[]) as views (view)
            on conflict (organization_id, view) do update
            set position = excluded.position, published_at = excluded.published_at,
                small_cell_threshold = excluded.small_cell_threshold
            ",
            self.organization_id.uuid(),
            &views,
            self.position,
            OffsetDateTime::from(self.now),
            self.small_cell_threshold
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "
            insert into published.freshness (
                organization_id, view, published_at, small_cell_threshold, newest_event_at)
            select $1, view, $3, $4, date_trunc('hour', $5::timestamptz) from unnest($2::text[]) as views (view)
            on conflict (organization_id, view) do update
            set published_at = excluded.published_at, small_cell_threshold = excluded.small_cell_threshold,
                newest_event_at = excluded.newest_event_at
            ",
            self.organization_id.uuid(),
            &views,
            OffsetDateTime::from(cut),
            i32::try_from(threshold).unwrap_or(i32::MAX),
            self.newest_event_at
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}
