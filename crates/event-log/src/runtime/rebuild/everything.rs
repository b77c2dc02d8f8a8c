//! The whole projection: every lane filled side by side, then the schemas swapped.

use std::collections::HashSet;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, Executor, PgConnection};
use tracing::warn;

use super::super::projector::Projector;
use super::super::transaction::{Durable, begin};
use super::{PAGE_EVENTS, Reached, Rebuild, RebuildError};
use crate::read;
use crate::recorded::{Lane, Position, RecordedEvent};

impl<P: Projector> Rebuild<'_, P> {
    pub(super) async fn run_everything(&self, connection: &mut PgConnection) -> Result<(), RebuildError> {
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
        self.tidy(connection).await?;
        self.swap(connection, reached).await
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

    /// Swaps the schemas in one transaction that holds the live checkpoints, after catching up with them.
    async fn swap(
        &self,
        connection: &mut PgConnection,
        reached: Vec<(Lane, Reached)>,
    ) -> Result<(), RebuildError> {
        let mut tx = begin(connection, &self.shadow, Durable::Yes).await?;
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
        self.projector.check_rebuilt(&mut tx).await?;
        let (live, shadow) = (Self::SCHEMA.name, &self.shadow);
        let statement = format!(
            "alter schema {live} rename to {live}_before_v{version};
             alter schema {shadow} rename to {live}",
            version = self.version
        );
        tx.execute(AssertSqlSafe(statement)).await?;
        self.end(&mut tx, self.version).await?;
        tx.commit().await?;
        if let Err(error) = self.drop_replaced(connection, self.version).await {
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
}
