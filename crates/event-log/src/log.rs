//! The handle on the log that everybody shares.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use carelog_domain::OrganizationId;
use carelog_vault::Vault;
use futures::future::BoxFuture;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::append::{AppendError, AppendRequest, Batcher, BatcherHandle, Verdict};
use crate::clock::Clock;
use crate::read::{self, ReadError};
use crate::recorded::{Lane, LogPosition, Position, RecordedEvent, StreamKey};
use crate::tail::LaneTail;
use crate::warm::WarmConnections;

/// The event log: appends, reads, and wakes whoever follows it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct EventLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: PgPool,
    vault: Vault,
    clock: Arc<dyn Clock>,
    log_name: Arc<str>,
    epoch: Uuid,
    lanes: Vec<LaneHandle>,
    placements: RwLock<HashMap<OrganizationId, Lane>>,
}

#[derive(Debug)]
struct LaneHandle {
    batcher: BatcherHandle,
    tail: Arc<LaneTail>,
}

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database did not answer, or refused.
    #[error("the event log cannot be opened")]
    Database(#[from] sqlx::Error),
    /// The migrations have not created the log yet.
    #[error("the database holds no event log: run `carelog migrate`")]
    NotCreated,
}

impl EventLog {
    /// Opens the log: reads its settings and starts one batcher per lane on `tasks`.
    ///
    /// The batchers end by themselves when the last handle is dropped.
    ///
    /// # Errors
    /// When the database fails or holds no log.
    pub fn open(
        pool: PgPool,
        vault: Vault,
        clock: Arc<dyn Clock>,
        tasks: &TaskTracker,
    ) -> BoxFuture<'_, Result<Self, OpenError>> {
        Box::pin(async move {
            let settings = sqlx::query!("select log_name, epoch from log.settings")
                .fetch_optional(&pool)
                .await?
                .ok_or(OpenError::NotCreated)?;
            let heads = sqlx::query!("select lane, position from log.lane_heads order by lane")
                .fetch_all(&pool)
                .await?;
            let log_name: Arc<str> = settings.log_name.into();
            let mut lanes = Vec::with_capacity(heads.len());
            let turns = Arc::new(Semaphore::new(appends_at_a_time()));
            let connections = WarmConnections::new(pool.clone(), "log");
            for head in heads {
                let tail = Arc::new(LaneTail::new(head.position));
                let (batcher, work) = Batcher::new(
                    head.lane,
                    Arc::clone(&log_name),
                    connections.clone(),
                    Arc::clone(&clock),
                    Arc::clone(&tail),
                    Arc::clone(&turns),
                )
                .start();
                tasks.spawn(work);
                lanes.push(LaneHandle { batcher, tail });
            }
            let inner = Inner {
                pool,
                vault,
                clock,
                log_name,
                epoch: settings.epoch,
                lanes,
                placements: RwLock::default(),
            };
            Ok(Self { inner: Arc::new(inner) })
        })
    }

    /// Creates the log where the migrations have made room for it; does nothing when there is one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn create<'a>(
        connection: &'a mut PgConnection,
        log_name: &'a str,
        lane_count: i16,
        epoch: Uuid,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        Box::pin(async move {
            sqlx::query!("select log.create_log($1, $2, $3)", log_name, lane_count, epoch)
                .execute(connection)
                .await?;
            Ok(())
        })
    }

    /// The log's name: the first part of the origin that stands in every leaf.
    pub fn name(&self) -> &str {
        &self.inner.log_name
    }

    /// This life of the log; public cursors carry it.
    pub fn epoch(&self) -> Uuid {
        self.inner.epoch
    }

    /// The lanes, from 1.
    pub fn lanes(&self) -> impl Iterator<Item = Lane> + use<> {
        (1..).take(self.inner.lanes.len())
    }

    /// The keys that seal and open personal parts.
    pub fn vault(&self) -> &Vault {
        &self.inner.vault
    }

    /// Where moments come from.
    pub fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }

    /// The connections of the runtime role.
    pub fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    /// The lane of an organization; a new organization is given one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn lane_of(&self, organization_id: OrganizationId) -> BoxFuture<'_, Result<Lane, sqlx::Error>> {
        Box::pin(async move {
            let known = self
                .inner
                .placements
                .read()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&organization_id)
                .copied();
            if let Some(lane) = known {
                return Ok(lane);
            }
            let lane = sqlx::query_scalar!(
                r#"select log.place_organization($1) as "lane!""#,
                organization_id.uuid()
            )
            .fetch_one(&self.inner.pool)
            .await?;
            self.inner
                .placements
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(organization_id, lane);
            Ok(lane)
        })
    }

    /// Appends the events of one command, as soon as the lane's last commit is through; a moment later where nobody
    /// waits for it.
    ///
    /// # Errors
    /// When the database stays unavailable, or Carelog is stopping. A refusal is a [`Verdict`], not an error.
    pub fn append(&self, request: AppendRequest) -> BoxFuture<'_, Result<Verdict, AppendError>> {
        Box::pin(async move {
            let lane = self
                .lane_of(request.stream.organization_id)
                .await
                .map_err(|error| AppendError::Unavailable(Arc::new(error)))?;
            let handle =
                self.lane(lane).ok_or(AppendError::Stored { table: "organizations", column: "lane" })?;
            handle.batcher.append(request).await
        })
    }

    /// The events of a stream after a version.
    ///
    /// # Errors
    /// When the database fails or a stored value does not parse.
    pub fn stream<'a>(
        &'a self,
        stream: &'a StreamKey,
        after_version: i64,
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, ReadError>> {
        Box::pin(async move {
            let lane = self.lane_of(stream.organization_id).await?;
            let mut connection = self.inner.pool.acquire().await?;
            let events = read::stream(&mut connection, lane, stream, after_version).await?;
            metrics::counter!("carelog_stream_events_read_total", "kind" => stream.kind.as_str())
                .increment(events.len() as u64);
            Ok(events)
        })
    }

    /// The events of an organization after a sequence number, at most `limit`.
    ///
    /// # Errors
    /// When the database fails or a stored value does not parse.
    pub fn organization(
        &self,
        organization_id: OrganizationId,
        after_sequence: i64,
        limit: i64,
    ) -> BoxFuture<'_, Result<Vec<RecordedEvent>, ReadError>> {
        Box::pin(async move {
            let lane = self.lane_of(organization_id).await?;
            let mut connection = self.inner.pool.acquire().await?;
            read::organization(&mut connection, lane, organization_id, after_sequence, limit).await
        })
    }

    /// The events of an organization that have these sequence numbers, in order.
    ///
    /// # Errors
    /// When the database fails or a stored value does not parse.
    pub fn organization_at<'a>(
        &'a self,
        organization_id: OrganizationId,
        sequences: &'a [i64],
    ) -> BoxFuture<'a, Result<Vec<RecordedEvent>, ReadError>> {
        Box::pin(async move {
            let lane = self.lane_of(organization_id).await?;
            let mut connection = self.inner.pool.acquire().await?;
            read::organization_at(&mut connection, lane, organization_id, sequences).await
        })
    }

    /// The events of a lane after a position: from memory when the lane's tail reaches back that far, else from
    /// the database. At most `max_events`, and fewer where they come to 8 MiB before.
    ///
    /// # Errors
    /// When the database fails or a stored value does not parse.
    pub fn page(
        &self,
        lane: Lane,
        after: Position,
        max_events: usize,
    ) -> BoxFuture<'_, Result<Vec<Arc<RecordedEvent>>, ReadError>> {
        Box::pin(async move {
            if let Some(page) = self.page_in_memory(lane, after, max_events) {
                return Ok(page);
            }
            let mut connection = self.inner.pool.acquire().await?;
            let limit = i64::try_from(max_events).unwrap_or(i64::MAX);
            let events = read::lane(&mut connection, lane, after, limit).await?;
            Ok(events.into_iter().map(Arc::new).collect())
        })
    }

    /// The part of [`Self::page`] that needs no database.
    pub(crate) fn page_in_memory(
        &self,
        lane: Lane,
        after: Position,
        max_events: usize,
    ) -> Option<Vec<Arc<RecordedEvent>>> {
        self.lane(lane).and_then(|handle| handle.tail.after(after, max_events))
    }

    /// The newest position of a lane that this process has heard of; a change can be awaited.
    ///
    /// # Panics
    /// When the log has no such lane.
    pub fn head(&self, lane: Lane) -> watch::Receiver<Position> {
        self.lane(lane).expect("lanes are handed out by `lanes` and `lane_of`").tail.head()
    }

    /// Says that a reader waits for what follows from this place: projectors of this process let no further events
    /// gather before they apply it.
    pub fn press(&self, place: LogPosition) {
        if let Some(handle) = self.lane(place.lane) {
            handle.tail.wait_for(place.position);
        }
    }

    /// The newest position that a reader waits for; a change can be awaited.
    pub(crate) fn awaited(&self, lane: Lane) -> watch::Receiver<Position> {
        self.lane(lane).expect("lanes are handed out by `lanes` and `lane_of`").tail.awaited()
    }

    /// The newest position of each lane that this process appended itself.
    pub(crate) fn own_heads(&self) -> Vec<Position> {
        self.inner.lanes.iter().map(|lane| lane.tail.own_head()).collect()
    }

    /// Asks the database for the newest positions and wakes whoever follows a lane that moved.
    ///
    /// # Errors
    /// When the database fails.
    pub fn refresh_heads(&self) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        Box::pin(async move {
            let heads =
                sqlx::query!("select lane, position from log.lane_heads").fetch_all(&self.inner.pool).await?;
            for head in heads {
                self.heard_of(LogPosition { lane: head.lane, position: head.position });
            }
            Ok(())
        })
    }

    pub(crate) fn heard_of(&self, place: LogPosition) {
        if let Some(handle) = self.lane(place.lane) {
            handle.tail.heard_of(place.position);
        }
    }

    fn lane(&self, lane: Lane) -> Option<&LaneHandle> {
        usize::try_from(lane - 1).ok().and_then(|index| self.inner.lanes.get(index))
    }
}

/// Batches that this process writes side by side: one for each processor, and one more that waits for the disk. Others
/// would only make each batch smaller.
fn appends_at_a_time() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from) + 1
}
