//! Rebuilding a projection from position 0 while the live version serves.
//!
//! The new version is written to tables in a schema of its own, without secondary indexes until the end. The swap
//! is one transaction that holds the checkpoints of both versions, so that no live page can slip in between. A
//! rebuild hands its intents to nobody, so it sends nothing; cancelling drops the new tables and leaves the live
//! ones untouched. For one organization, only its rows are replaced.

mod everything;
mod organization;
mod shadow;

use std::collections::HashSet;
use std::sync::Arc;

use carelog_domain::OrganizationId;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use tokio::sync::watch;
use tracing::{info, warn};

use super::projector::{ApplyError, OnPoison, ProjectionSchema, Projector};
use super::quarantine::{self, Key};
use super::transaction::{Durable, begin};
use crate::log::EventLog;
use crate::read::ReadError;
use crate::recorded::{Lane, Position, RecordedEvent};

/// Events of one page of a rebuild.
const PAGE_EVENTS: i64 = 5_000;

/// What is rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebuildScope {
    /// Every organization.
    Everything,
    /// The rows of one organization.
    Organization(OrganizationId),
}

/// How far a rebuild came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Events applied.
    pub done: i64,
    /// Events to apply, as far as known.
    pub total: i64,
}

/// Why a rebuild ended without a new version.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// A rebuild of this projection is running.
    #[error("a rebuild of this projection is running")]
    Running,
    /// Somebody cancelled it; the live version is untouched.
    #[error("the rebuild was cancelled")]
    Cancelled,
    /// The projection was never started.
    #[error("the projection has no live version yet")]
    NotStarted,
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Read(#[from] ReadError),
    /// An event cannot be applied, and this projection may skip none; or its database failed.
    #[error("an event was not applied")]
    Apply(#[from] ApplyError),
    /// The projection's database failed.
    #[error("the projection's database failed")]
    Database(#[from] sqlx::Error),
}

/// How far the new version came in a lane, and which streams wait there.
struct Reached {
    position: Position,
    waiting: HashSet<Key>,
}

/// One rebuild under way.
struct Rebuild<'a, P: Projector> {
    projector: &'a P,
    log: &'a EventLog,
    pool: &'a PgPool,
    scope: RebuildScope,
    live_version: i32,
    version: i32,
    shadow: String,
    /// Events that somebody discarded, with a reason: they stay out of the new version too.
    discarded: HashSet<(Lane, Position)>,
    progress: &'a watch::Sender<Progress>,
}

/// Builds a projection anew and swaps it in. `pool` leads, as the owner of the tables, to the database that the
/// projection's tables stand in.
///
/// # Errors
/// See [`RebuildError`]; the live version is then untouched.
pub async fn rebuild<P: Projector>(
    projector: &P,
    log: &EventLog,
    pool: &PgPool,
    scope: RebuildScope,
    progress: &watch::Sender<Progress>,
) -> Result<(), RebuildError> {
    let mut guard = pool.acquire().await?;
    // The lock belongs to the session: a rebuild that is cut off must not leave it to the pool.
    guard.close_on_drop();
    let is_alone = sqlx::query_scalar!(
        r#"select pg_try_advisory_lock(hashtext('carelog.rebuild'), hashtext($1)) as "locked!""#,
        P::NAME
    )
    .fetch_one(&mut *guard)
    .await?;
    if !is_alone {
        return Err(RebuildError::Running);
    }
    let result = rebuild_alone(projector, log, pool, scope, progress).await;
    sqlx::query_scalar!("select pg_advisory_unlock(hashtext('carelog.rebuild'), hashtext($1))", P::NAME)
        .fetch_one(&mut *guard)
        .await?;
    result
}

async fn rebuild_alone<P: Projector>(
    projector: &P,
    log: &EventLog,
    pool: &PgPool,
    scope: RebuildScope,
    progress: &watch::Sender<Progress>,
) -> Result<(), RebuildError> {
    let mut connection = pool.acquire().await?;
    let live_version = live_version(&mut connection, P::NAME).await?.ok_or(RebuildError::NotStarted)?;
    let version = live_version + 1;
    let shadow = format!("{}_v{version}", P::SCHEMA.name);
    let discarded = quarantine::discarded(&mut connection, P::NAME, live_version).await?;
    let rebuild = Rebuild { projector, log, pool, scope, live_version, version, shadow, discarded, progress };
    // What rebuilds that were cut off have left behind.
    rebuild.drop_shadow(&mut connection).await?;
    rebuild.drop_replaced(&mut connection, live_version).await?;
    let result = rebuild.run(&mut connection).await;
    if result.is_err() {
        rebuild.drop_shadow(&mut connection).await?;
    }
    result
}

/// Drops the tables that rebuilds have left behind which were cut off, so that nothing is kept in them that the live ones
/// forget. False where a rebuild is under way: what it replaces is not gone yet.
///
/// # Errors
/// When the database fails.
pub async fn drop_leftovers<P: Projector>(pool: &PgPool) -> Result<bool, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let is_alone = sqlx::query_scalar!(
        r#"select pg_try_advisory_xact_lock(hashtext('carelog.rebuild'), hashtext($1)) as "locked!""#,
        P::NAME
    )
    .fetch_one(&mut *tx)
    .await?;
    if !is_alone {
        return Ok(false);
    }
    let leftovers = sqlx::query_scalar!(
        r#"
        select format('drop schema %I cascade', nspname) as "statement!"
        from pg_catalog.pg_namespace
        where nspname ~ ('^' || $1::text || '_(before_)?v[0-9]+$')
        "#,
        P::SCHEMA.name
    )
    .fetch_all(&mut *tx)
    .await?;
    for statement in leftovers {
        tx.execute(AssertSqlSafe(statement)).await?;
    }
    tx.commit().await?;
    Ok(true)
}

/// Asks the running rebuild of a projection to stop. False when none is running.
///
/// # Errors
/// When the database fails.
pub async fn cancel_rebuild(connection: &mut PgConnection, projector: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update runtime.projections set rebuild_cancelled = true where projector = $1 and rebuild_version is not null",
        projector
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

async fn live_version(connection: &mut PgConnection, projector: &str) -> Result<Option<i32>, sqlx::Error> {
    sqlx::query_scalar!("select live_version from runtime.projections where projector = $1", projector)
        .fetch_optional(connection)
        .await
}

impl<P: Projector> Rebuild<'_, P> {
    const SCHEMA: ProjectionSchema = P::SCHEMA;

    async fn run(&self, connection: &mut PgConnection) -> Result<(), RebuildError> {
        self.create_shadow(connection).await?;
        match self.scope {
            RebuildScope::Everything => self.run_everything(connection).await?,
            RebuildScope::Organization(organization_id) => {
                self.run_organization(connection, organization_id).await?;
                self.drop_shadow(connection).await?;
            }
        }
        info!(projector.name = P::NAME, version = self.version, "rebuild swapped in");
        Ok(())
    }

    /// Where the live version stands in a lane. The new version never runs ahead of it: what the live one has
    /// not seen, no reactor has seen either.
    async fn live_position(&self, lane: Lane) -> Result<Position, RebuildError> {
        let mut connection = self.pool.acquire().await?;
        sqlx::query_scalar!(
            "select position from runtime.checkpoints where projector = $1 and version = $2 and lane = $3",
            P::NAME,
            self.live_version,
            lane
        )
        .fetch_optional(&mut *connection)
        .await?
        .ok_or(RebuildError::NotStarted)
    }

    /// The live version's position in a lane, held until the transaction ends.
    async fn hold_live(&self, tx: &mut PgConnection, lane: Lane) -> Result<Position, RebuildError> {
        sqlx::query_scalar!(
            "
            select position
            from runtime.checkpoints
            where projector = $1 and version = $2 and lane = $3
            for update
            ",
            P::NAME,
            self.live_version,
            lane
        )
        .fetch_optional(tx)
        .await?
        .ok_or(RebuildError::NotStarted)
    }

    /// Inside a transaction the answer holds until its end: a cancellation waits, and then finds nothing running.
    async fn check_cancelled(&self, connection: &mut PgConnection) -> Result<(), RebuildError> {
        let cancelled = sqlx::query_scalar!(
            "select rebuild_cancelled from runtime.projections where projector = $1 for update",
            P::NAME
        )
        .fetch_one(connection)
        .await?;
        if cancelled { Err(RebuildError::Cancelled) } else { Ok(()) }
    }

    pub(super) async fn write(
        &self,
        connection: &mut PgConnection,
        page: &[Arc<RecordedEvent>],
        waiting: &mut HashSet<Key>,
    ) -> Result<(), RebuildError> {
        self.check_cancelled(connection).await?;
        // A crash before the swap loses the whole rebuild anyway.
        let mut tx = begin(connection, &self.shadow, Durable::Later).await?;
        self.apply(&mut tx, page, waiting).await?;
        tx.commit().await?;
        let count = i64::try_from(page.len()).unwrap_or(i64::MAX);
        self.progress.send_modify(|progress| progress.done += count);
        Ok(())
    }

    /// Removes from the new tables what has been removed from the live ones.
    pub(super) async fn tidy(&self, connection: &mut PgConnection) -> Result<(), RebuildError> {
        let mut tx = begin(connection, &self.shadow, Durable::Later).await?;
        self.projector.tidy(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Applies a page; the intents are dropped here.
    pub(super) async fn apply(
        &self,
        tx: &mut PgConnection,
        page: &[Arc<RecordedEvent>],
        waiting: &mut HashSet<Key>,
    ) -> Result<(), RebuildError> {
        if page.iter().any(|event| self.is_discarded(event)) {
            let kept: Vec<_> = page.iter().filter(|event| !self.is_discarded(event)).cloned().collect();
            return Box::pin(self.apply(tx, &kept, waiting)).await;
        }
        if waiting.is_empty() {
            let mut savepoint = tx.begin().await?;
            match self.projector.apply(&mut savepoint, &mut P::Memory::default(), page).await {
                Ok(_) => {
                    savepoint.commit().await?;
                    return Ok(());
                }
                Err(ApplyError::Poison(source)) if P::ON_POISON == OnPoison::Quarantine => {
                    warn!(projector.name = P::NAME, error = %source, "page applied event by event");
                    savepoint.rollback().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        quarantine::apply_singly(self.projector, self.version, tx, page, waiting).await?;
        Ok(())
    }

    fn is_discarded(&self, event: &RecordedEvent) -> bool {
        self.discarded.contains(&(event.lane, event.position))
    }
}
