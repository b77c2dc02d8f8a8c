//! Takes due deliveries from the ledger for the worker of this process.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use carelog_domain::{StreamKind, Timestamp};
use carelog_event_log::effects::{self, Effect, Limits, Report, Sign, Taker};
use carelog_event_log::runtime::Runtime;
use carelog_event_log::{RecordedEvent, read};
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Notify, mpsc};
use tracing::{error, warn};
use uuid::Uuid;

use crate::reactor::REACTOR;
use crate::task::Task;
use crate::worker::{FAILING_FOR, MAX_HELD, MAX_IN_FLIGHT};

/// Deliveries of one claim.
const CLAIM: usize = MAX_IN_FLIGHT;
/// Less room than this is not worth a claim.
const LEAST_ROOM: usize = 32;
/// Shortest pause between two looks, while another process is at a queue that is due.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
/// Longest pause between two looks for due deliveries.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// Before claimed deliveries are taken again with which nothing was done.
const PAUSE_AFTER_FAILURE_MICROS: i64 = 1_000_000;

/// Claims what is due whenever there is room.
pub(crate) async fn claim_all(
    runtime: Runtime,
    pool: PgPool,
    limits: Limits,
    held: Arc<AtomicUsize>,
    has_room: Arc<Notify>,
    claimed: mpsc::Sender<Task>,
) {
    while !runtime.stop.is_cancelled() {
        let pause = match claim_once(&runtime, &pool, limits, &held, &claimed).await {
            Ok(Claimed::Full) => Duration::ZERO,
            Ok(Claimed::Waiting(pause)) => pause,
            Err(error) => {
                warn!(error = %error, "due deliveries cannot be claimed");
                LONGEST_PAUSE
            }
        };
        let full = MAX_HELD.saturating_sub(held.load(Ordering::Relaxed)) < LEAST_ROOM;
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
    limits: Limits,
    held: &AtomicUsize,
    claimed: &mpsc::Sender<Task>,
) -> Result<Claimed, ClaimError> {
    let room = MAX_HELD.saturating_sub(held.load(Ordering::Relaxed)).min(CLAIM);
    if room < LEAST_ROOM {
        return Ok(Claimed::Full);
    }
    let mut connection = pool.acquire().await?;
    let (now, taken_at) = (runtime.log.clock().now(), Instant::now());
    let taker = Taker { reactor: REACTOR, owner: runtime.owner, now, room, limits };
    let effects = effects::claim(&mut connection, taker).await?;
    if effects.is_empty() {
        let due = effects::next_due(&mut connection, REACTOR).await?;
        return Ok(Claimed::Waiting(
            due.map_or(LONGEST_PAUSE, |due| due.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)),
        ));
    }
    held.fetch_add(effects.len(), Ordering::Relaxed);
    let is_full = effects.len() == room;
    let tasks = match tasks(&mut connection, &effects, taken_at).await {
        Ok(tasks) => tasks,
        Err(error) => {
            give_back(&mut connection, held, &effects, now).await;
            return Err(error);
        }
    };
    // Those whose event is not to be found wait for the end of their lease.
    held.fetch_sub(effects.len() - tasks.len(), Ordering::Relaxed);
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
    connection: &mut PgConnection,
    taken: &[Effect],
    taken_at: Instant,
) -> Result<Vec<Task>, ClaimError> {
    let places: Vec<_> = taken.iter().map(|effect| (effect.lane, effect.position)).collect();
    let events: HashMap<_, _> = read::at(connection, &places)
        .await?
        .into_iter()
        .map(|event| ((event.lane, event.position), Arc::new(event)))
        .collect();
    let begun = begun_streams(connection, taken, &events).await?;
    let mut tasks = Vec::with_capacity(taken.len());
    for effect in taken {
        let event = events.get(&(effect.lane, effect.position));
        // Whatever the ledger says, nobody is told what happened in another organization.
        if let Some(event) = event.filter(|event| event.stream.organization_id == effect.organization_id) {
            tasks.push(Task::claimed(*effect, Arc::clone(event), &begun, taken_at));
        } else {
            error!(effect.lane, effect.position, "an effect names an event that is not its organization's");
        }
    }
    Ok(tasks)
}

/// Gives claimed effects back with which nothing was done. One that was abandoned keeps its lease, which alone tells
/// the next holder of it.
async fn give_back(connection: &mut PgConnection, held: &AtomicUsize, taken: &[Effect], now: Timestamp) {
    if taken.is_empty() {
        return;
    }
    held.fetch_sub(taken.len(), Ordering::Relaxed);
    let next_at = Some(now.saturating_add_micros(PAUSE_AFTER_FAILURE_MICROS));
    let untouched: Vec<_> = taken
        .iter()
        .filter(|effect| effect.abandoned_since.is_none())
        .map(|effect| Report { effect: *effect, next_at, sign: Sign::None })
        .collect();
    if let Err(error) = effects::report(connection, REACTOR, now, FAILING_FOR, &untouched).await {
        warn!(error = %error, "claimed deliveries cannot be given back; their leases will run out");
    }
}

/// Which of the claimed deliveries have outcomes already; the others need no look at their stream.
async fn begun_streams(
    connection: &mut PgConnection,
    taken: &[Effect],
    events: &HashMap<(i16, i64), Arc<RecordedEvent>>,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let (organizations, deliveries): (Vec<_>, Vec<_>) = taken
        .iter()
        .filter_map(|effect| {
            let event = events.get(&(effect.lane, effect.position))?;
            Some((effect.organization_id.uuid(), Task::delivery_id(effect, event).uuid()))
        })
        .unzip();
    read::existing_streams(connection, StreamKind::WebhookDelivery, &organizations, &deliveries).await
}
