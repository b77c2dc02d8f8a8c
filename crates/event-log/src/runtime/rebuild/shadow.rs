//! The tables beside the live ones: made, dropped, and what is noted of them.

use sqlx::{AssertSqlSafe, Executor, PgConnection};

use super::super::projector::Projector;
use super::super::transaction::{Durable, begin};
use super::{Rebuild, RebuildError, RebuildScope};

impl<P: Projector> Rebuild<'_, P> {
    /// Marks the rebuild as over, with `version` serving; what the new version set aside becomes the live list.
    pub(super) async fn end(&self, tx: &mut PgConnection, version: i32) -> Result<(), sqlx::Error> {
        if version == self.version {
            sqlx::query!(
                "
                update runtime.quarantine old
                set version = $3
                where projector = $1 and version = $2 and discarded_at is not null
                  and not exists (
                      select from runtime.quarantine new
                      where new.projector = $1 and new.version = $3 and new.lane = old.lane
                        and new.position = old.position)
                ",
                P::NAME,
                self.live_version,
                self.version
            )
            .execute(&mut *tx)
            .await?;
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

    pub(super) async fn create_shadow(&self, connection: &mut PgConnection) -> Result<(), RebuildError> {
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

    pub(super) async fn run_in_shadow(
        &self,
        connection: &mut PgConnection,
        parts: impl Iterator<Item = &'static str>,
    ) -> Result<(), RebuildError> {
        let mut tx = begin(connection, &self.shadow, Durable::Yes).await?;
        for sql in parts {
            tx.execute(sqlx::raw_sql(sql)).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    pub(super) async fn drop_shadow(&self, connection: &mut PgConnection) -> Result<(), RebuildError> {
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

    /// Drops the tables that this version has replaced.
    pub(super) async fn drop_replaced(
        &self,
        connection: &mut PgConnection,
        version: i32,
    ) -> Result<(), sqlx::Error> {
        let statement = format!("drop schema if exists {}_before_v{version} cascade", Self::SCHEMA.name);
        connection.execute(AssertSqlSafe(statement)).await?;
        Ok(())
    }
}
