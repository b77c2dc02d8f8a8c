//! One organization: its rows built aside, then put in the place of the live ones.

use std::collections::HashSet;
use std::sync::Arc;

use carelog_domain::OrganizationId;
use sqlx::{AssertSqlSafe, Executor, PgConnection};

use super::super::projector::Projector;
use super::super::quarantine::Key;
use super::super::transaction::{Durable, begin};
use super::{PAGE_EVENTS, Rebuild, RebuildError};
use crate::recorded::{Lane, Position, RecordedEvent};

impl<P: Projector> Rebuild<'_, P> {
    pub(super) async fn run_organization(
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
        self.tidy(connection).await?;
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
        let mut tx = begin(connection, &self.shadow, Durable::Yes).await?;
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
        self.projector.replaced(&mut tx, organization_id).await?;
        sqlx::query!(
            "delete from runtime.quarantine where projector = $1 and version = $2 and organization_id = $3
                and discarded_at is null",
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
}
