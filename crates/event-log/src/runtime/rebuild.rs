//! Rebuilding a projection from position 0 while the live version serves.
//!
//! The new version is written to tables in a schema of its own, without secondary indexes until the end. The swap
//! is one transaction that holds the checkpoints of both versions, so that no live page can slip in between. A
//! rebuild hands its intents to nobody, so it sends nothing; cancelling drops the new tables and leaves the live
//! ones untouched. For one organization, only its rows are replaced.

use std::collections::HashSet;
use std::sync::Arc;

use carelog_domain::OrganizationId;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use tokio::sync::watch;
use tracing::{info, warn};

use super::projector::{ApplyError, OnPoison, ProjectionSchema, Projector};
use super::quarantine::{self, Key};
use super::unit::begin;
use crate::log::EventLog;
use crate::read::{self, ReadError};
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
    let rebuild = Rebuild { projector, log, pool, scope, live_version, version, shadow, progress };
    rebuild.drop_shadow(&mut connection).await?;
    let result = rebuild.run(&mut connection).await;
    if result.is_err() {
        rebuild.drop_shadow(&mut connection).await?;
    }
    result
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

    async fn run_everything(&self, connection: &mut PgConnection) -> Result<(), RebuildError> {
        let lanes: Vec<Lane> = self.log.lanes().collect();
        let mut total = 0;
        for lane in &lanes {
            total += self.live_position(*lane).await?;
        }
        self.progress.send_modify(|progress| progress.total = total);
        let filled = futures::future::try_join_all(
            lanes.iter().map(|lane| self.fill_lane(*lane, Reached { position: 0, waiting: HashSet::new() })),
        )
        .await?;
        self.run_in_shadow(connection, Self::SCHEMA.indexes_sql()).await?;
        let mut reached = Vec::with_capacity(lanes.len());
        for (lane, filled) in lanes.into_iter().zip(filled) {
            reached.push((lane, self.fill_lane(lane, filled).await?));
        }
        self.swap(connection, reached).await
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

    /// Fills one lane up to where the live version stands now.
    async fn fill_lane(&self, lane: Lane, from: Reached) -> Result<Reached, RebuildError> {
        let Reached { position: mut after, mut waiting } = from;
        let end = self.live_position(lane).await?;
        let mut reader = self.log.pool().acquire().await?;
        let mut writer = self.pool.acquire().await?;
        let limit = |after: Position| PAGE_EVENTS.min(end - after);
        let mut page = read::lane(&mut reader, lane, after, limit(after)).await?;
        while let Some(reached) = page.last().map(|event| event.position) {
            let events: Vec<_> = page.into_iter().map(Arc::new).collect();
            // The next page is fetched while this one is written.
            let (written, fetched) = tokio::join!(
                self.write(&mut writer, &events, &mut waiting),
                read::lane(&mut reader, lane, reached, limit(reached))
            );
            written?;
            page = fetched?;
            after = reached;
        }
        Ok(Reached { position: after, waiting })
    }

    async fn write(
        &self,
        connection: &mut PgConnection,
        page: &[Arc<RecordedEvent>],
        waiting: &mut HashSet<Key>,
    ) -> Result<(), RebuildError> {
        self.check_cancelled(connection).await?;
        let mut tx = begin(connection, &self.shadow).await?;
        // A crash before the swap loses the whole rebuild anyway.
        tx.execute("set local synchronous_commit to off").await?;
        self.apply(&mut tx, page, waiting).await?;
        tx.commit().await?;
        let count = i64::try_from(page.len()).unwrap_or(i64::MAX);
        self.progress.send_modify(|progress| progress.done += count);
        Ok(())
    }

    /// Applies a page; the intents are dropped here.
    async fn apply(
        &self,
        tx: &mut PgConnection,
        page: &[Arc<RecordedEvent>],
        waiting: &mut HashSet<Key>,
    ) -> Result<(), RebuildError> {
        if waiting.is_empty() {
            let mut savepoint = tx.begin().await?;
            match self.projector.apply(&mut savepoint, page).await {
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

    /// Swaps the schemas in one transaction that holds the live checkpoints, after catching up with them.
    async fn swap(
        &self,
        connection: &mut PgConnection,
        reached: Vec<(Lane, Reached)>,
    ) -> Result<(), RebuildError> {
        let mut tx = begin(connection, &self.shadow).await?;
        for (lane, Reached { position: mut after, mut waiting }) in reached {
            let live = self.hold_live(&mut tx, lane).await?;
            while after < live {
                let page = self.page_up_to(lane, after, live).await?;
                let Some(end) = page.last().map(|event| event.position) else { break };
                self.apply(&mut tx, &page, &mut waiting).await?;
                after = end;
            }
            self.move_checkpoint(&mut tx, lane, after).await?;
        }
        self.check_cancelled(&mut tx).await?;
        let (live, shadow) = (Self::SCHEMA.name, &self.shadow);
        let statement = format!(
            "alter schema {live} rename to {live}_before_v{version};
             alter schema {shadow} rename to {live}",
            version = self.version
        );
        tx.execute(AssertSqlSafe(statement)).await?;
        self.end(&mut tx, self.version).await?;
        tx.commit().await?;
        let statement = format!("drop schema {live}_before_v{} cascade", self.version);
        if let Err(error) = connection.execute(AssertSqlSafe(statement)).await {
            warn!(projector.name = P::NAME, error = %error, "the replaced tables could not be dropped");
        }
        Ok(())
    }

    async fn page_up_to(
        &self,
        lane: Lane,
        after: Position,
        end: Position,
    ) -> Result<Vec<Arc<RecordedEvent>>, RebuildError> {
        let mut reader = self.log.pool().acquire().await?;
        let events = read::lane(&mut reader, lane, after, PAGE_EVENTS.min(end - after)).await?;
        Ok(events.into_iter().map(Arc::new).collect())
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

    /// The new version's checkpoint takes the place of the live one; whoever held that finds it gone.
    async fn move_checkpoint(
        &self,
        tx: &mut PgConnection,
        lane: Lane,
        to: Position,
    ) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "
            update runtime.checkpoints
            set version = $4, position = $5, owner = null, epoch = epoch + 1, leased_until = '-infinity'
            where projector = $1 and version = $2 and lane = $3
            ",
            P::NAME,
            self.live_version,
            lane,
            self.version,
            to
        )
        .execute(tx)
        .await?;
        Ok(())
    }

    async fn run_organization(
        &self,
        connection: &mut PgConnection,
        organization_id: OrganizationId,
    ) -> Result<(), RebuildError> {
        let lane = self.log.lane_of(organization_id).await?;
        let live = self.live_position(lane).await?;
        let mut waiting = HashSet::new();
        let mut after = 0;
        loop {
            let page = self.organization_page(organization_id, after, live).await?;
            let Some(end) = page.last().map(|event| event.organization_sequence) else { break };
            self.write(connection, &page, &mut waiting).await?;
            after = end;
        }
        self.replace_rows(connection, lane, organization_id, after, waiting).await
    }

    /// The organization's next events, as far as the live version has seen them.
    async fn organization_page(
        &self,
        organization_id: OrganizationId,
        after: i64,
        live: Position,
    ) -> Result<Vec<Arc<RecordedEvent>>, RebuildError> {
        let events = self.log.organization(organization_id, after, PAGE_EVENTS).await?;
        Ok(events.into_iter().take_while(|event| event.position <= live).map(Arc::new).collect())
    }

    /// Replaces the organization's rows in one transaction that holds its lane's live checkpoint.
    async fn replace_rows(
        &self,
        connection: &mut PgConnection,
        lane: Lane,
        organization_id: OrganizationId,
        after: i64,
        mut waiting: HashSet<Key>,
    ) -> Result<(), RebuildError> {
        let mut tx = begin(connection, &self.shadow).await?;
        let live = self.hold_live(&mut tx, lane).await?;
        let mut after = after;
        loop {
            let page = self.organization_page(organization_id, after, live).await?;
            let Some(end) = page.last().map(|event| event.organization_sequence) else { break };
            self.apply(&mut tx, &page, &mut waiting).await?;
            after = end;
        }
        self.check_cancelled(&mut tx).await?;
        for table in Self::SCHEMA.tables {
            let (name, shadow) = (Self::SCHEMA.name, &self.shadow);
            let id = organization_id.uuid();
            let statement = format!(
                "delete from {name}.{table} where organization_id = '{id}';
                 insert into {name}.{table} select * from {shadow}.{table} where organization_id = '{id}'"
            );
            tx.execute(AssertSqlSafe(statement)).await?;
        }
        sqlx::query!(
            "delete from runtime.quarantine where projector = $1 and version = $2 and organization_id = $3",
            P::NAME,
            self.live_version,
            organization_id.uuid()
        )
        .execute(&mut *tx)
        .await?;
        self.fence_live(&mut tx, lane).await?;
        self.end(&mut tx, self.live_version).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Ends the lease of whoever holds the live version: which streams wait is not what it remembers any more.
    async fn fence_live(&self, tx: &mut PgConnection, lane: Lane) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "
            update runtime.checkpoints
            set owner = null, epoch = epoch + 1, leased_until = '-infinity'
            where projector = $1 and version = $2 and lane = $3
            ",
            P::NAME,
            self.live_version,
            lane
        )
        .execute(tx)
        .await?;
        Ok(())
    }

    /// Marks the rebuild as over, with `version` serving; what the new version set aside becomes the live list.
    async fn end(&self, tx: &mut PgConnection, version: i32) -> Result<(), sqlx::Error> {
        if version == self.version {
            sqlx::query!(
                "delete from runtime.quarantine where projector = $1 and version < $2",
                P::NAME,
                self.version
            )
            .execute(&mut *tx)
            .await?;
        } else {
            sqlx::query!(
                "update runtime.quarantine set version = $2 where projector = $1 and version = $3",
                P::NAME,
                version,
                self.version
            )
            .execute(&mut *tx)
            .await?;
        }
        sqlx::query!(
            "
            update runtime.projections
            set live_version = $2, rebuild_version = null, rebuild_organization_id = null, rebuild_started_at = null
            where projector = $1
            ",
            P::NAME,
            version
        )
        .execute(tx)
        .await?;
        Ok(())
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

    async fn create_shadow(&self, connection: &mut PgConnection) -> Result<(), RebuildError> {
        let organization_id = match self.scope {
            RebuildScope::Everything => None,
            RebuildScope::Organization(organization_id) => Some(organization_id.uuid()),
        };
        sqlx::query!(
            "
            update runtime.projections
            set rebuild_version = $2, rebuild_organization_id = $3, rebuild_cancelled = false,
                rebuild_started_at = now()
            where projector = $1
            ",
            P::NAME,
            self.version,
            organization_id
        )
        .execute(&mut *connection)
        .await?;
        let statement = format!("create schema {}", self.shadow);
        connection.execute(AssertSqlSafe(statement)).await?;
        self.run_in_shadow(connection, Self::SCHEMA.tables_sql()).await?;
        if organization_id.is_some() {
            self.run_in_shadow(connection, Self::SCHEMA.indexes_sql()).await?;
        }
        Ok(())
    }

    async fn run_in_shadow(
        &self,
        connection: &mut PgConnection,
        sql: &'static str,
    ) -> Result<(), RebuildError> {
        let mut tx = begin(connection, &self.shadow).await?;
        tx.execute(sqlx::raw_sql(sql)).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn drop_shadow(&self, connection: &mut PgConnection) -> Result<(), RebuildError> {
        let statement = format!("drop schema if exists {} cascade", self.shadow);
        connection.execute(AssertSqlSafe(statement)).await?;
        sqlx::query!(
            "
            update runtime.projections
            set rebuild_version = null, rebuild_organization_id = null, rebuild_cancelled = false,
                rebuild_started_at = null
            where projector = $1
            ",
            P::NAME
        )
        .execute(&mut *connection)
        .await?;
        sqlx::query!(
            "delete from runtime.quarantine where projector = $1 and version = $2",
            P::NAME,
            self.version
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
