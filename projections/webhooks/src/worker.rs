//! Carries out deliveries: takes them from the ledger or straight from the projector's transaction, sends them
//! outside any transaction, and appends the outcome to the log.
//!
//! Fencing. A delivery's stream is where rivals meet: an outcome is appended under the version that the delivery
//! had when it was taken. Whoever comes second, because its lease ran out while it was sending, finds the stream
//! moved on, and its outcome is refused. An abandoned delivery may have reached its receiver: it gets an attempt
//! with outcome `unknown` before it is tried again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use carelog_domain::StreamKind;
use carelog_event_log::effects::{self, Effect, NewEffect, Report};
use carelog_event_log::runtime::{Reaction, Reactor, Runtime};
use carelog_event_log::{RecordedEvent, read};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use sqlx::PgPool;
use tokio::sync::{Notify, mpsc};
use tracing::{error, warn};

use crate::attempt::Attempter;
use crate::directory::Directory;
use crate::model::IntendedDelivery;
use crate::sending::Sender;
use crate::task::Task;

/// The reactor's name in the ledger.
pub const REACTOR: &str = "webhooks";
/// Deliveries that one process holds at a time, waiting or under way. Even when every receiver takes the whole
/// deadline of ten seconds, the last of them is through before its lease of thirty seconds ends.
const MAX_HELD: usize = 2 * MAX_IN_FLIGHT;
/// Requests under way at a time.
const MAX_IN_FLIGHT: usize = 256;
/// Deliveries of one claim.
const CLAIM: usize = MAX_IN_FLIGHT;
/// Longest pause between two looks for due deliveries.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Before claimed deliveries are taken again with which nothing was done.
const PAUSE_AFTER_FAILURE_MICROS: i64 = 1_000_000;
/// Reports written in one statement.
const REPORTS: usize = 500;
/// How long a report waits for others; only the end of the lease presses it.
const REPORTS_GATHER: Duration = Duration::from_millis(50);

/// Hands intended deliveries of the projector to the worker of this process.
#[derive(Debug)]
pub struct WebhooksReactor {
    fresh: mpsc::UnboundedSender<Vec<Reaction>>,
    held: Arc<AtomicUsize>,
}

/// The worker of one process.
#[derive(Debug)]
pub struct WebhooksWorker {
    runtime: Runtime,
    pool: PgPool,
    attempter: Arc<Attempter>,
    fresh: mpsc::UnboundedReceiver<Vec<Reaction>>,
    held: Arc<AtomicUsize>,
}

/// A reactor and the worker that it hands fresh deliveries to.
pub fn reactor_and_worker(
    runtime: &Runtime,
    pool: PgPool,
    directory: Directory,
    sender: Sender,
) -> (WebhooksReactor, WebhooksWorker) {
    let (fresh_in, fresh) = mpsc::unbounded_channel();
    let held = Arc::new(AtomicUsize::new(0));
    let attempter = Arc::new(Attempter::new(runtime.log.clone(), directory, sender));
    let reactor = WebhooksReactor { fresh: fresh_in, held: Arc::clone(&held) };
    (reactor, WebhooksWorker { runtime: runtime.clone(), pool, attempter, fresh, held })
}

impl Reactor<IntendedDelivery> for WebhooksReactor {
    fn name(&self) -> &'static str {
        REACTOR
    }

    fn room(&self) -> usize {
        if self.fresh.is_closed() {
            return 0;
        }
        MAX_HELD.saturating_sub(self.held.load(Ordering::Relaxed))
    }

    fn effect(&self, intent: IntendedDelivery) -> NewEffect {
        intent.into()
    }

    fn committed(&self, effects: Vec<Reaction>) {
        self.held.fetch_add(effects.len(), Ordering::Relaxed);
        // A worker that has stopped leaves them to their lease.
        let _ = self.fresh.send(effects);
    }
}

/// The reactor of a process without a worker: everything waits in the ledger for another process.
#[derive(Clone, Copy, Debug, Default)]
pub struct LedgerOnly;

impl Reactor<IntendedDelivery> for LedgerOnly {
    fn name(&self) -> &'static str {
        REACTOR
    }

    fn room(&self) -> usize {
        0
    }

    fn effect(&self, intent: IntendedDelivery) -> NewEffect {
        intent.into()
    }

    fn committed(&self, effects: Vec<Reaction>) {
        // With no room, nothing is handed over.
        drop(effects);
    }
}

impl From<IntendedDelivery> for NewEffect {
    fn from(intent: IntendedDelivery) -> Self {
        Self {
            organization_id: intent.organization_id,
            source_event_id: intent.event_id,
            step: intent.subscription_id.uuid(),
            lane: intent.lane,
            position: intent.position,
        }
    }
}

impl WebhooksWorker {
    /// Works until the runtime stops, then waits for what is under way.
    pub fn run(self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Self { runtime, pool, attempter, mut fresh, held } = self;
            let (reports_in, reports) = mpsc::channel(MAX_HELD);
            let has_room = Arc::new(Notify::new());
            let reporting = runtime.tasks.spawn(report_all(
                pool.clone(),
                reports,
                Arc::clone(&held),
                Arc::clone(&has_room),
            ));
            let (claimed_in, mut claimed) = mpsc::channel(MAX_HELD);
            runtime.tasks.spawn(claim_all(
                runtime.clone(),
                pool,
                Arc::clone(&held),
                Arc::clone(&has_room),
                claimed_in,
            ));
            let mut under_way = FuturesUnordered::new();
            let mut waiting = VecDeque::<Task>::new();
            loop {
                while under_way.len() < MAX_IN_FLIGHT
                    && let Some(task) = waiting.pop_front()
                {
                    if task.is_stale() {
                        // Whoever takes it next has the whole time for it.
                        let untouched = task.untouched(runtime.log.clock().now());
                        finish(Ok(untouched), &reports_in, &held, &has_room).await;
                        continue;
                    }
                    let attempter = Arc::clone(&attempter);
                    // A task of its own, so that attempts use every core.
                    under_way.push(runtime.tasks.spawn(async move { attempter.carry_out(task).await }));
                }
                tokio::select! {
                    biased;
                    () = runtime.stop.cancelled() => break,
                    Some(done) = under_way.next(), if !under_way.is_empty() => {
                        finish(done, &reports_in, &held, &has_room).await;
                    }
                    Some(effects) = fresh.recv() => {
                        waiting.extend(effects.into_iter().map(Task::fresh));
                    }
                    Some(task) = claimed.recv() => waiting.push_back(task),
                }
            }
            let now = runtime.log.clock().now();
            claimed.close();
            fresh.close();
            while let Ok(effects) = fresh.try_recv() {
                waiting.extend(effects.into_iter().map(Task::fresh));
            }
            while let Ok(task) = claimed.try_recv() {
                waiting.push_back(task);
            }
            for task in waiting {
                // Nobody began it: it goes back without waiting for the end of its lease.
                finish(Ok(task.untouched(now)), &reports_in, &held, &has_room).await;
            }
            while let Some(done) = under_way.next().await {
                finish(done, &reports_in, &held, &has_room).await;
            }
            drop(reports_in);
            if let Err(error) = reporting.await {
                error!(error = %error, "the reporter of deliveries failed");
            }
        })
    }
}

async fn finish(
    done: Result<Option<Report>, tokio::task::JoinError>,
    reports: &mpsc::Sender<Report>,
    held: &AtomicUsize,
    has_room: &Notify,
) {
    match done {
        Ok(Some(report)) => {
            if reports.send(report).await.is_err() {
                warn!("a delivery cannot be reported; its lease will run out");
            }
            return;
        }
        // Its lease runs out, and somebody takes it up again.
        Ok(None) => {}
        Err(error) => error!(error = %error, "an attempt ended in a panic; its lease will run out"),
    }
    held.fetch_sub(1, Ordering::Relaxed);
    has_room.notify_one();
}

/// Writes reports, as many in a statement as have come together.
async fn report_all(
    pool: PgPool,
    mut reports: mpsc::Receiver<Report>,
    held: Arc<AtomicUsize>,
    has_room: Arc<Notify>,
) {
    let mut batch = Vec::with_capacity(REPORTS);
    while reports.recv_many(&mut batch, REPORTS).await > 0 {
        let gathered = tokio::time::Instant::now() + REPORTS_GATHER;
        // Those that come meanwhile; none when the worker stops, and then it is not waited for.
        while batch.len() < REPORTS / 2
            && let Ok(Some(report)) = tokio::time::timeout_at(gathered, reports.recv()).await
        {
            batch.push(report);
        }
        match write_reports(&pool, &batch).await {
            Ok(0) => {}
            Ok(refused) => {
                metrics::counter!("carelog_webhook_fenced_total").increment(refused);
                warn!(refused, "reports of deliveries that others have taken over were refused");
            }
            Err(error) => warn!(error = %error, "deliveries cannot be reported; their leases will run out"),
        }
        held.fetch_sub(batch.len(), Ordering::Relaxed);
        has_room.notify_one();
        batch.clear();
    }
}

async fn write_reports(pool: &PgPool, batch: &[Report]) -> Result<u64, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    effects::report(&mut connection, REACTOR, batch).await
}

/// Claims what is due whenever there is room.
async fn claim_all(
    runtime: Runtime,
    pool: PgPool,
    held: Arc<AtomicUsize>,
    has_room: Arc<Notify>,
    claimed: mpsc::Sender<Task>,
) {
    while !runtime.stop.is_cancelled() {
        let pause = match claim_once(&runtime, &pool, &held, &claimed).await {
            Ok(Claimed::Full) => Duration::ZERO,
            Ok(Claimed::Waiting(pause)) => pause,
            Err(error) => {
                warn!(error = %error, "due deliveries cannot be claimed");
                LONGEST_PAUSE
            }
        };
        let full = MAX_HELD.saturating_sub(held.load(Ordering::Relaxed)) < CLAIM;
        tokio::select! {
            () = runtime.stop.cancelled() => break,
            () = has_room.notified(), if full => {}
            () = tokio::time::sleep(pause), if !full => {}
        }
    }
}

enum Claimed {
    /// As many as were asked for: there may be more.
    Full,
    /// Fewer; the next one is due after this long.
    Waiting(Duration),
}

#[derive(Debug, thiserror::Error)]
enum ClaimError {
    #[error("the ledger of effects cannot be used")]
    Database(#[from] sqlx::Error),
    #[error("the events to deliver cannot be read")]
    Read(#[from] read::ReadError),
}

async fn claim_once(
    runtime: &Runtime,
    pool: &PgPool,
    held: &AtomicUsize,
    claimed: &mpsc::Sender<Task>,
) -> Result<Claimed, ClaimError> {
    let room = MAX_HELD.saturating_sub(held.load(Ordering::Relaxed)).min(CLAIM);
    if room < CLAIM {
        return Ok(Claimed::Full);
    }
    let mut connection = pool.acquire().await?;
    let limit = i64::try_from(room).unwrap_or(i64::MAX);
    let (now, taken_at) = (runtime.log.clock().now(), Instant::now());
    let taken = effects::claim(&mut connection, REACTOR, runtime.owner, now, limit).await?;
    if taken.is_empty() {
        let due = effects::next_due(&mut connection, REACTOR).await?;
        return Ok(Claimed::Waiting(due.map_or(LONGEST_PAUSE, |due| due.min(LONGEST_PAUSE))));
    }
    held.fetch_add(taken.len(), Ordering::Relaxed);
    let is_full = taken.len() == room;
    let tasks = match tasks(&mut connection, &taken, taken_at).await {
        Ok(tasks) => tasks,
        Err(error) => {
            give_back(&mut connection, held, &taken, now).await;
            return Err(error);
        }
    };
    // Those whose event is not to be found wait for the end of their lease.
    held.fetch_sub(taken.len() - tasks.len(), Ordering::Relaxed);
    let mut left = Vec::new();
    for task in tasks {
        if let Err(mpsc::error::SendError(task)) = claimed.send(task).await {
            left.push(task.effect);
        }
    }
    give_back(&mut connection, held, &left, now).await;
    Ok(if is_full { Claimed::Full } else { Claimed::Waiting(Duration::ZERO) })
}

/// Claimed effects with the events that they follow from.
async fn tasks(
    connection: &mut sqlx::PgConnection,
    taken: &[Effect],
    taken_at: Instant,
) -> Result<Vec<Task>, ClaimError> {
    let places: Vec<_> = taken.iter().map(|effect| (effect.lane, effect.position)).collect();
    let events: std::collections::HashMap<_, _> = read::at(connection, &places)
        .await?
        .into_iter()
        .map(|event| ((event.lane, event.position), Arc::new(event)))
        .collect();
    let begun = begun_streams(connection, taken, &events).await?;
    let mut tasks = Vec::with_capacity(taken.len());
    for effect in taken {
        if let Some(event) = events.get(&(effect.lane, effect.position)) {
            tasks.push(Task::claimed(*effect, Arc::clone(event), &begun, taken_at));
        } else {
            error!(effect.lane, effect.position, "an effect names an event that cannot be read");
        }
    }
    Ok(tasks)
}

/// Gives claimed effects back with which nothing was done. One that was abandoned keeps its lease, which alone tells
/// the next holder of it.
async fn give_back(
    connection: &mut sqlx::PgConnection,
    held: &AtomicUsize,
    taken: &[Effect],
    now: carelog_domain::Timestamp,
) {
    if taken.is_empty() {
        return;
    }
    held.fetch_sub(taken.len(), Ordering::Relaxed);
    let next_at = Some(now.saturating_add_micros(PAUSE_AFTER_FAILURE_MICROS));
    let untouched: Vec<_> = taken
        .iter()
        .filter(|effect| effect.abandoned_since.is_none())
        .map(|effect| Report { effect: *effect, next_at })
        .collect();
    if let Err(error) = effects::report(connection, REACTOR, &untouched).await {
        warn!(error = %error, "claimed deliveries cannot be given back; their leases will run out");
    }
}

/// Which of the claimed deliveries have outcomes already; the others need no look at their stream.
async fn begun_streams(
    connection: &mut sqlx::PgConnection,
    taken: &[Effect],
    events: &std::collections::HashMap<(i16, i64), Arc<RecordedEvent>>,
) -> Result<std::collections::HashSet<uuid::Uuid>, sqlx::Error> {
    let (organizations, deliveries): (Vec<_>, Vec<_>) = taken
        .iter()
        .filter_map(|effect| {
            let event = events.get(&(effect.lane, effect.position))?;
            Some((effect.organization_id.uuid(), Task::delivery_id(effect, event).uuid()))
        })
        .unzip();
    read::existing_streams(connection, StreamKind::WebhookDelivery, &organizations, &deliveries).await
}
