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
use std::time::Duration;

use carelog_domain::{StreamKind, SubscriptionId, Timestamp};
use carelog_event_log::effects::{self, Limits, Report, Reported};
use carelog_event_log::runtime::{Reaction, Runtime};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use sqlx::PgPool;
use tokio::sync::{Notify, mpsc};
use tracing::{error, warn};

use crate::answers::KeptAnswer;
use crate::attempt::Attempter;
use crate::claim::claim_all;
use crate::directory::Directory;
use crate::numbers;
use crate::reactor::{REACTOR, WebhooksReactor};
use crate::replay::Replayer;
use crate::sending::Sender;
use crate::task::{Finished, Task};

/// Deliveries that one process holds at a time, waiting or under way. Even when every receiver takes the whole
/// deadline of ten seconds, the last of them is through before its lease of thirty seconds ends.
pub(crate) const MAX_HELD: usize = 2 * MAX_IN_FLIGHT;
/// Requests under way at a time.
pub(crate) const MAX_IN_FLIGHT: usize = 256;
/// Reports written in one statement.
const REPORTS: usize = 500;
/// How long a subscription may fail, without a success, before it is disabled.
pub(crate) const FAILING_FOR: Duration = Duration::from_hours(72);
/// How long reports wait for the answers that came with them to be kept.
const KEEPING: Duration = Duration::from_secs(2);
/// How long a report waits for others; only the end of the lease presses it.
const REPORTS_GATHER: Duration = Duration::from_millis(50);

/// The worker of one process.
#[derive(Debug)]
pub struct WebhooksWorker {
    runtime: Runtime,
    pool: PgPool,
    attempter: Arc<Attempter>,
    replayer: Arc<Replayer>,
    limits: Limits,
    fresh: mpsc::UnboundedReceiver<Vec<Reaction>>,
    held: Arc<AtomicUsize>,
}

/// A reactor and the worker that it hands fresh deliveries to.
pub fn reactor_and_worker(
    runtime: &Runtime,
    pool: PgPool,
    directory: Directory,
    sender: Sender,
    limits: Limits,
) -> (WebhooksReactor, WebhooksWorker) {
    let (fresh_in, fresh) = mpsc::unbounded_channel();
    let held = Arc::new(AtomicUsize::new(0));
    let attempter = Arc::new(Attempter::new(runtime.log.clone(), directory.clone(), sender));
    let replayer = Arc::new(Replayer::new(runtime.log.clone(), pool.clone(), limits));
    let reactor = WebhooksReactor { fresh: fresh_in, held: Arc::clone(&held), limits, directory };
    (reactor, WebhooksWorker { runtime: runtime.clone(), pool, attempter, replayer, limits, fresh, held })
}

impl WebhooksWorker {
    /// Works until the runtime stops, then waits for what is under way.
    pub fn run(self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Self { runtime, pool, attempter, replayer, limits, mut fresh, held } = self;
            let (reports_in, reports) = mpsc::channel(MAX_HELD);
            let has_room = Arc::new(Notify::new());
            let reporting = runtime.tasks.spawn(report_all(
                pool.clone(),
                Arc::clone(&attempter),
                reports,
                Arc::clone(&held),
                Arc::clone(&has_room),
            ));
            let (claimed_in, mut claimed) = mpsc::channel(MAX_HELD);
            runtime.tasks.spawn(claim_all(
                runtime.clone(),
                pool,
                limits,
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
                        finish(Ok(untouched.map(Finished::from)), &reports_in, &held, &has_room).await;
                        continue;
                    }
                    if task.cause.stream.kind == StreamKind::WebhookReplay {
                        let replayer = Arc::clone(&replayer);
                        under_way.push(
                            runtime
                                .tasks
                                .spawn(async move { replayer.carry_out(task).await.map(Finished::from) }),
                        );
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
                finish(Ok(task.untouched(now).map(Finished::from)), &reports_in, &held, &has_room).await;
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
    done: Result<Option<Finished>, tokio::task::JoinError>,
    reports: &mpsc::Sender<Finished>,
    held: &AtomicUsize,
    has_room: &Notify,
) {
    match done {
        Ok(Some(finished)) => {
            if reports.send(finished).await.is_err() {
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
    attempter: Arc<Attempter>,
    mut reports: mpsc::Receiver<Finished>,
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
        let (reports, answers) = split(&mut batch);
        if !answers.is_empty() && tokio::time::timeout(KEEPING, attempter.keep(&pool, answers)).await.is_err()
        {
            warn!("answers of receivers are not kept: that would hold up the reports of deliveries");
        }
        match write_reports(&pool, attempter.now(), &reports).await {
            Ok(Reported { refused, lost }) => {
                if refused > 0 {
                    numbers::fenced(refused);
                    warn!(refused, "reports of deliveries that others have taken over were refused");
                }
                for (organization_id, subscription_id) in lost {
                    attempter.disable_failing(organization_id, SubscriptionId::new(subscription_id)).await;
                }
            }
            Err(error) => warn!(error = %error, "deliveries cannot be reported; their leases will run out"),
        }
        held.fetch_sub(reports.len(), Ordering::Relaxed);
        has_room.notify_one();
    }
}

/// Most answers have nothing worth keeping, and then nothing is written.
fn split(batch: &mut Vec<Finished>) -> (Vec<Report>, Vec<KeptAnswer>) {
    let mut answers = Vec::new();
    let reports = batch
        .drain(..)
        .map(|finished| {
            answers.extend(finished.answer);
            finished.report
        })
        .collect();
    (reports, answers)
}

/// Once more where it failed: a report says the same the second time.
async fn write_reports(pool: &PgPool, now: Timestamp, batch: &[Report]) -> Result<Reported, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    match effects::report(&mut connection, REACTOR, now, FAILING_FOR, batch).await {
        Err(sqlx::Error::Database(_)) => {
            effects::report(&mut connection, REACTOR, now, FAILING_FOR, batch).await
        }
        other => other,
    }
}
