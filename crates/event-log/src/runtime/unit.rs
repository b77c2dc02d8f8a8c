//! A unit of work: one projector in one lane.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use super::checkpoint::{self, LEASE, Lease};
use super::projector::{ApplyError, OnPoison, Projector, Reaction, Reactor, end_of};
use super::quarantine::{self, Key};
use crate::effects::{self, NewEffect};
use crate::log::EventLog;
use crate::read::ReadError;
use crate::recorded::{Lane, Position, RecordedEvent};

/// Events of one page, and so of one transaction.
const PAGE_EVENTS: usize = 2_000;
/// The same as a number of positions: a page this long is waited for no longer.
const PAGE_EVENTS_WAITED_FOR: Position = 2_000;
/// Bytes of one page.
const PAGE_BYTES: usize = 8 << 20;
/// Pause after a failure; doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often a unit without a lease asks for it.
const LEASE_POLL: Duration = Duration::from_millis(500);

/// What the units of one process share.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// The log that is followed.
    pub log: EventLog,
    /// Names this process in leases; made anew at each start.
    pub owner: Uuid,
    /// Ends every loop.
    pub stop: CancellationToken,
    /// Where loops run.
    pub tasks: TaskTracker,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Read(#[from] ReadError),
    /// The page was not applied.
    #[error("the page was not applied")]
    Apply(#[from] ApplyError),
    /// Another process owns the lane now.
    #[error("the lease was lost")]
    LeaseLost,
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Applied this many events.
    Applied(usize),
    /// There was nothing to apply.
    AtHead,
}

/// One projector in one lane.
pub struct Unit<P: Projector> {
    runtime: Runtime,
    projector: Arc<P>,
    reactor: Option<Arc<dyn Reactor<P::Intent>>>,
    pool: PgPool,
    lane: Lane,
}

/// A unit that holds its lease.
struct Held {
    connection: sqlx::pool::PoolConnection<Postgres>,
    lease: Lease,
    waiting: HashSet<Key>,
    reactor_position: Position,
}

impl Runtime {
    /// Starts a projector in every lane. `pool` leads to the database of its tables; a reactor needs those to be
    /// in the log's own database, where the ledger of effects is.
    pub fn start<P: Projector>(
        &self,
        projector: &Arc<P>,
        reactor: Option<&Arc<dyn Reactor<P::Intent>>>,
        pool: &PgPool,
    ) {
        for lane in self.log.lanes() {
            let unit = self.unit(Arc::clone(projector), reactor.map(Arc::clone), pool.clone(), lane);
            self.tasks.spawn(unit.run());
        }
    }

    /// One unit, to be run step by step.
    pub fn unit<P: Projector>(
        &self,
        projector: Arc<P>,
        reactor: Option<Arc<dyn Reactor<P::Intent>>>,
        pool: PgPool,
        lane: Lane,
    ) -> Unit<P> {
        Unit { runtime: self.clone(), projector, reactor, pool, lane }
    }
}

/// Begins a transaction in which unqualified names mean the tables of `schema`.
pub(super) async fn begin<'c>(
    connection: &'c mut PgConnection,
    schema: &str,
) -> Result<Transaction<'c, Postgres>, sqlx::Error> {
    // The name is a constant of a projection or made from one and a number.
    let statement = format!("begin; set local search_path to {schema}, public");
    connection.begin_with(sqlx::AssertSqlSafe(statement)).await
}

/// The same, with a commit that does not wait for the disk: a crash may take the newest pages away, with their
/// checkpoints, and then they are applied again.
pub(super) async fn begin_repeatable<'c>(
    connection: &'c mut PgConnection,
    schema: &str,
) -> Result<Transaction<'c, Postgres>, sqlx::Error> {
    let statement =
        format!("begin; set local search_path to {schema}, public; set local synchronous_commit to off");
    connection.begin_with(sqlx::AssertSqlSafe(statement)).await
}

impl<P: Projector> Unit<P> {
    /// Works until the runtime stops.
    pub async fn run(self) {
        let stop = self.runtime.stop.clone();
        let mut pause = FIRST_PAUSE;
        while !stop.is_cancelled() {
            let mut held = match self.acquire().await {
                Ok(Some(held)) => held,
                Ok(None) => {
                    wait(&stop, LEASE_POLL).await;
                    continue;
                }
                Err(error) => {
                    warn!(projector.name = P::NAME, lane = self.lane, error = %error, "lease cannot be taken");
                    wait(&stop, pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            };
            info!(projector.name = P::NAME, lane = self.lane, epoch = held.lease.epoch, "lease taken");
            let began_at = held.lease.position;
            let result = self.run_with(&mut held).await;
            if held.lease.position > began_at {
                pause = FIRST_PAUSE;
            }
            self.give_back(held).await;
            if let Err(error) = result {
                report::<P>(self.lane, &error);
                wait(&stop, pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Gives the lease back, after a failure too: otherwise this very process would have to wait for its end.
    async fn give_back(&self, mut held: Held) {
        if let Err(error) = checkpoint::release(&mut held.connection, P::NAME, &held.lease).await {
            warn!(projector.name = P::NAME, lane = self.lane, error = %error, "lease is left to run out");
        }
    }

    /// Applies what is there, page by page, and says how many events that were; for tests and tools.
    ///
    /// # Errors
    /// When a page fails, or another process holds the lease.
    pub async fn run_to_head(&self) -> Result<usize, UnitError> {
        self.runtime.log.refresh_heads().await.map_err(ReadError::from)?;
        let mut held = self.acquire().await.map_err(ApplyError::from)?.ok_or(UnitError::LeaseLost)?;
        let mut applied = 0;
        let result = loop {
            match self.step(&mut held).await {
                Ok(Step::Applied(count)) => applied += count,
                Ok(Step::AtHead) => break Ok(applied),
                Err(error) => break Err(error),
            }
        };
        checkpoint::release(&mut held.connection, P::NAME, &held.lease).await.map_err(ApplyError::from)?;
        result
    }

    async fn acquire(&self) -> Result<Option<Held>, sqlx::Error> {
        let mut connection = self.pool.acquire().await?;
        let lanes: Vec<Lane> = self.runtime.log.lanes().collect();
        checkpoint::register(&mut connection, P::NAME, &lanes).await?;
        let lease = checkpoint::acquire(&mut connection, P::NAME, self.lane, self.runtime.owner).await?;
        let Some(lease) = lease else { return Ok(None) };
        let waiting = quarantine::keys(&mut connection, P::NAME, lease.version, self.lane).await?;
        let reactor_position = match &self.reactor {
            Some(reactor) => {
                checkpoint::reactor_position(&mut connection, reactor.name(), self.lane, lease.position)
                    .await?
            }
            None => 0,
        };
        Ok(Some(Held { connection, lease, waiting, reactor_position }))
    }

    async fn run_with(&self, held: &mut Held) -> Result<(), UnitError> {
        let mut newest = self.runtime.log.head(self.lane);
        while !self.runtime.stop.is_cancelled() {
            match self.step(held).await? {
                Step::Applied(count) => {
                    self.gather(held.lease.position, Instant::now() + P::PATIENCE, &mut newest).await;
                    debug!(projector.name = P::NAME, lane = self.lane, count, "page applied");
                    metrics::counter!("carelog_projected_events_total", "projector" => P::NAME)
                        .increment(count as u64);
                }
                Step::AtHead => {
                    let reached = held.lease.position;
                    tokio::select! {
                        biased;
                        () = self.runtime.stop.cancelled() => break,
                        moved = async { newest.wait_for(|head| *head > reached).await.is_ok() } => if !moved { break },
                        () = tokio::time::sleep(LEASE / 3) => self.keep(held).await?,
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits until the next page is worth its transaction: until an event is pressing, the page is full, or the
    /// patience is over, or a reader waits. What another process appended is not looked at and taken for pressing.
    async fn gather(&self, after: Position, until: Instant, newest: &mut watch::Receiver<Position>) {
        let mut seen = after;
        let mut awaited = self.runtime.log.awaited(self.lane);
        while P::PATIENCE > Duration::ZERO && *awaited.borrow_and_update() <= after {
            if *newest.borrow_and_update() > seen {
                let log = &self.runtime.log;
                let Some(fresh) = log.page_in_memory(self.lane, seen, PAGE_EVENTS, PAGE_BYTES) else {
                    return;
                };
                seen += i64::try_from(fresh.len()).unwrap_or(i64::MAX);
                let is_full = seen - after >= PAGE_EVENTS_WAITED_FOR;
                if is_full || fresh.iter().any(|event| self.projector.is_pressing(event)) {
                    return;
                }
            }
            tokio::select! {
                () = self.runtime.stop.cancelled() => return,
                () = tokio::time::sleep_until(until) => return,
                moved = newest.changed() => if moved.is_err() { return },
                moved = awaited.changed() => if moved.is_err() { return },
            }
        }
    }

    /// A sign of life of an idle unit.
    async fn keep(&self, held: &Held) -> Result<(), UnitError> {
        let mut connection = self.pool.acquire().await.map_err(ApplyError::from)?;
        let position = held.lease.position;
        let kept = checkpoint::advance(&mut connection, P::NAME, &held.lease, position, None, None)
            .await
            .map_err(ApplyError::from)?;
        if kept { Ok(()) } else { Err(UnitError::LeaseLost) }
    }

    async fn step(&self, held: &mut Held) -> Result<Step, UnitError> {
        if *self.runtime.log.head(self.lane).borrow() <= held.lease.position {
            return Ok(Step::AtHead);
        }
        let page = self.runtime.log.page(self.lane, held.lease.position, PAGE_EVENTS, PAGE_BYTES).await?;
        let Some(newest) = page.last() else { return Ok(Step::AtHead) };
        let applied = match self.apply(held, &page, Singly::No).await {
            Err(UnitError::Apply(ApplyError::Poison(source))) => match P::ON_POISON {
                OnPoison::Stop => return Err(ApplyError::Poison(source).into()),
                OnPoison::Quarantine => self.apply(held, &page, Singly::Yes).await,
            },
            other => other,
        };
        let committed = match applied {
            Ok(committed) => committed,
            Err(error) => {
                // What was set aside in a transaction that did not commit still waits for its turn.
                held.waiting = quarantine::keys(&mut held.connection, P::NAME, held.lease.version, self.lane)
                    .await
                    .map_err(ApplyError::from)?;
                return Err(error);
            }
        };
        held.lease.position = newest.position;
        held.reactor_position = held.reactor_position.max(newest.position);
        if let (Some(reactor), false) = (&self.reactor, committed.is_empty()) {
            reactor.committed(committed);
        }
        Ok(Step::Applied(page.len()))
    }

    async fn apply(
        &self,
        held: &mut Held,
        page: &[Arc<RecordedEvent>],
        singly: Singly,
    ) -> Result<Vec<Reaction>, UnitError> {
        // Effects leave the process once the page is committed; a page without a reactor can be repeated unseen.
        let begun = match self.reactor {
            Some(_) => begin(&mut held.connection, P::SCHEMA.name).await,
            None => begin_repeatable(&mut held.connection, P::SCHEMA.name).await,
        };
        let mut tx = begun.map_err(ApplyError::from)?;
        let end = end_of(page).unwrap_or(held.lease.position);
        let recorded_at = page.last().map(|event| event.recorded_at);
        let reactor = self.reactor.as_deref().map(Reactor::name);
        // First of all, so that a lost lease costs no work, and that rebuilds and retries, which hold this row too,
        // never wait for rows of a unit that waits for them.
        if !checkpoint::advance(&mut tx, P::NAME, &held.lease, end, recorded_at, reactor)
            .await
            .map_err(ApplyError::from)?
        {
            return Err(UnitError::LeaseLost);
        }
        if !held.waiting.is_empty() {
            // Somebody may have retried or discarded since.
            held.waiting = quarantine::keys(&mut tx, P::NAME, held.lease.version, self.lane)
                .await
                .map_err(ApplyError::from)?;
        }
        let intents =
            if singly == Singly::Yes || page.iter().any(|e| held.waiting.contains(&quarantine::key_of(e))) {
                let version = held.lease.version;
                quarantine::apply_singly(&*self.projector, version, &mut tx, page, &mut held.waiting).await?
            } else {
                self.projector.apply(&mut tx, page).await?
            };
        let reactions =
            self.react(&mut tx, held.reactor_position, end, intents, page).await.map_err(ApplyError::from)?;
        tx.commit().await.map_err(ApplyError::from)?;
        Ok(reactions)
    }

    async fn react(
        &self,
        tx: &mut PgConnection,
        after: Position,
        end: Position,
        intents: Vec<P::Intent>,
        page: &[Arc<RecordedEvent>],
    ) -> Result<Vec<Reaction>, sqlx::Error> {
        let Some(reactor) = &self.reactor else { return Ok(Vec::new()) };
        if end <= after {
            return Ok(Vec::new());
        }
        let wanted: Vec<NewEffect> = intents
            .into_iter()
            .map(|intent| reactor.effect(intent))
            .filter(|effect| effect.position > after)
            .collect();
        let fresh = effects::insert(
            tx,
            reactor.name(),
            self.runtime.owner,
            self.runtime.log.clock().now(),
            &wanted,
            reactor.room(),
        )
        .await?;
        let first = page.first().map_or(0, |event| event.position);
        Ok(fresh
            .into_iter()
            .filter_map(|effect| {
                let index = usize::try_from(effect.position - first).ok()?;
                page.get(index).map(|event| Reaction { effect, event: Arc::clone(event) })
            })
            .collect())
    }
}

/// Whether a page is applied event by event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Singly {
    Yes,
    No,
}

async fn wait(stop: &CancellationToken, pause: Duration) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(pause) => {}
    }
}

fn report<P: Projector>(lane: Lane, failure: &UnitError) {
    metrics::counter!("carelog_projector_failures_total", "projector" => P::NAME).increment(1);
    let cause = std::error::Error::source(failure).map(ToString::to_string);
    if let (UnitError::Apply(ApplyError::Poison(source)), OnPoison::Stop) = (failure, P::ON_POISON) {
        error!(projector.name = P::NAME, lane, error = %source, "lane stopped: an event cannot be applied");
    } else {
        warn!(projector.name = P::NAME, lane, error = %failure, cause, "page failed, trying again");
    }
}
