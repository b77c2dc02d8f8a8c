//! A unit of work: one projector in one lane.

mod apply;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Executor, PgPool};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use super::checkpoint::{self, Advance, LEASE, Lease};
use super::projector::{ApplyError, OnPoison, Projector, Reactor, end_of};
use super::quarantine::{self, Key};
use crate::log::EventLog;
use crate::read::ReadError;
use crate::recorded::{Lane, Position};
use crate::warm::WarmConnections;

/// Events of one page, and so of one transaction.
const PAGE_EVENTS: usize = 2_000;
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
    Apply(#[source] ApplyError),
    /// Another process owns the lane now.
    #[error("the lease was lost")]
    LeaseLost,
}

impl From<sqlx::Error> for UnitError {
    fn from(error: sqlx::Error) -> Self {
        ApplyError::from(error).into()
    }
}

impl From<ApplyError> for UnitError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Transient(error) if checkpoint::is_lease_lost(&error) => Self::LeaseLost,
            other => Self::Apply(other),
        }
    }
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
    connections: WarmConnections,
    lane: Lane,
}

/// What a unit knows while it holds its lease.
struct Held<M> {
    lease: Lease,
    waiting: HashSet<Key>,
    reactor_position: Position,
    memory: M,
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
        let connections = WarmConnections::new(pool.clone(), P::SCHEMA.name);
        for lane in self.log.lanes() {
            let unit = Unit {
                runtime: self.clone(),
                projector: Arc::clone(projector),
                reactor: reactor.map(Arc::clone),
                connections: connections.clone(),
                lane,
            };
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
        let connections = WarmConnections::new(pool, P::SCHEMA.name);
        Unit { runtime: self.clone(), projector, reactor, connections, lane }
    }
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
                    self.connections.close_resting();
                    wait(&stop, pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            };
            info!(projector.name = P::NAME, lane = self.lane, epoch = held.lease.epoch, "lease taken");
            let began_at = held.lease.position;
            let result = self.run_with(&mut held).await;
            if let Err(UnitError::Apply(ApplyError::Transient(_))) = result {
                self.connections.close_resting();
            }
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
    async fn give_back(&self, held: Held<P::Memory>) {
        let released = async {
            let mut connection = self.connections.acquire().await?;
            checkpoint::release(&mut connection, P::NAME, &held.lease).await?;
            self.connections.put_back(connection);
            Ok::<_, sqlx::Error>(())
        };
        if let Err(error) = released.await {
            warn!(projector.name = P::NAME, lane = self.lane, error = %error, "lease is left to run out");
        }
    }

    /// Applies what is there, page by page, and says how many events that were; for tests and tools.
    ///
    /// # Errors
    /// When a page fails, or another process holds the lease.
    pub async fn run_to_head(&self) -> Result<usize, UnitError> {
        self.runtime.log.refresh_heads().await.map_err(ReadError::from)?;
        let mut held = self.acquire().await?.ok_or(UnitError::LeaseLost)?;
        let mut applied = 0;
        let result = loop {
            match self.step(&mut held).await {
                Ok(Step::Applied(count)) => applied += count,
                Ok(Step::AtHead) => break Ok(applied),
                Err(error) => break Err(error),
            }
        };
        self.give_back(held).await;
        result
    }

    async fn acquire(&self) -> Result<Option<Held<P::Memory>>, sqlx::Error> {
        let mut connection = self.connections.acquire().await?;
        let lanes: Vec<Lane> = self.runtime.log.lanes().collect();
        checkpoint::register(&mut connection, P::NAME, &lanes).await?;
        let lease = checkpoint::acquire(&mut connection, P::NAME, self.lane, self.runtime.owner).await?;
        let Some(lease) = lease else {
            self.connections.put_back(connection);
            return Ok(None);
        };
        let waiting = quarantine::keys(&mut connection, P::NAME, lease.version, self.lane).await?;
        let reactor_position = match &self.reactor {
            Some(reactor) => {
                checkpoint::reactor_position(&mut connection, reactor.name(), self.lane, lease.position)
                    .await?
            }
            None => 0,
        };
        self.connections.put_back(connection);
        Ok(Some(Held { lease, waiting, reactor_position, memory: P::Memory::default() }))
    }

    async fn run_with(&self, held: &mut Held<P::Memory>) -> Result<(), UnitError> {
        let mut newest = self.runtime.log.head(self.lane);
        while !self.runtime.stop.is_cancelled() {
            match self.step(held).await? {
                Step::Applied(count) => {
                    debug!(projector.name = P::NAME, lane = self.lane, count, "page applied");
                    metrics::counter!("carelog_projected_events_total", "projector" => P::NAME)
                        .increment(count as u64);
                    self.gather(held.lease.position, &mut newest).await;
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
    async fn gather(&self, after: Position, newest: &mut watch::Receiver<Position>) {
        let until = Instant::now() + P::PATIENCE;
        let (mut seen, mut count) = (after, 0);
        let mut awaited = self.runtime.log.awaited(self.lane);
        while *awaited.borrow_and_update() <= after {
            if *newest.borrow_and_update() > seen {
                let log = &self.runtime.log;
                let Some(fresh) = log.page_in_memory(self.lane, seen, PAGE_EVENTS) else {
                    return;
                };
                seen = end_of(&fresh).unwrap_or(seen);
                count += fresh.len();
                if count >= PAGE_EVENTS || fresh.iter().any(|event| self.projector.is_pressing(event)) {
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
    async fn keep(&self, held: &Held<P::Memory>) -> Result<(), UnitError> {
        let mut connection = self.connections.acquire().await?;
        let step = Advance {
            projector: P::NAME,
            lease: &held.lease,
            to: held.lease.position,
            recorded_at: None,
            reactor: None,
        };
        connection.execute(AssertSqlSafe(step.statement())).await?;
        self.connections.put_back(connection);
        Ok(())
    }

    async fn step(&self, held: &mut Held<P::Memory>) -> Result<Step, UnitError> {
        if *self.runtime.log.head(self.lane).borrow() <= held.lease.position {
            return Ok(Step::AtHead);
        }
        let page = self.runtime.log.page(self.lane, held.lease.position, PAGE_EVENTS).await?;
        let Some(newest) = page.last() else { return Ok(Step::AtHead) };
        let mut connection = self.connections.acquire().await?;
        let applied = match self.apply(&mut connection, held, &page).await {
            Err(UnitError::Apply(ApplyError::Poison(_))) if P::ON_POISON == OnPoison::Quarantine => {
                self.apply_singly(&mut connection, held, &page).await
            }
            other => other,
        };
        let committed = applied?;
        self.connections.put_back(connection);
        self.projector.committed(&mut held.memory);
        held.lease.position = newest.position;
        held.reactor_position = held.reactor_position.max(newest.position);
        if let (Some(reactor), false) = (&self.reactor, committed.is_empty()) {
            reactor.committed(committed);
        }
        Ok(Step::Applied(page.len()))
    }
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
