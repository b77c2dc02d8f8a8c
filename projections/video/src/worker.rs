//! Carries out looks at rooms: takes them from the ledger or straight from the projector's transaction, calls the
//! provider outside any transaction, and lets the outcome be appended to the log.
//!
//! Fencing. A room's stream is where rivals meet: an outcome is appended under the version at which the room was looked
//! at. Whoever comes second looks again, and makes sure that the provider has what the log says. A look that was
//! abandoned may have called the provider: its taker asks before it makes anything.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carelog_domain::{EventType, PatientId, StreamKind};
use carelog_event_log::effects::{self, Effect, Limits, Report, Taker};
use carelog_event_log::runtime::{Reaction, Runtime};
use carelog_event_log::{ReadError, RecordedEvent, read};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{error, warn};

use crate::daily::DailyApi;
use crate::fetch::{Fetches, RecordingStore};
use crate::model::appointment_of;
use crate::notice::take;
use crate::provider_recordings::ProviderRecordings;
use crate::reactor::{REACTOR, VideoReactor};
use crate::reconcile::keep;
use crate::recordings::Recorder;
use crate::settle::{SettleError, Settled, Settler};

/// Looks that one process has under way at a time.
pub(crate) const MAX_IN_FLIGHT: usize = 64;
/// Daily takes a hundred requests of a domain in five seconds. Most looks make one; five are left for those that make
/// more. This holds over all processes, because the ledger keeps it.
pub(crate) const LIMITS: Limits = Limits { per_tick: 95, held_per_step: 10, held_per_organization: 10 };
/// How long a look may take, so that its report is written before the lease ends.
const LOOK: Duration = Duration::from_secs(24);
/// Shortest and longest pause between two looks at the ledger.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A provider that fails is asked again and again; nothing is given up for it.
const NEVER_LOST: Duration = Duration::from_hours(24 * 365);

/// The worker of one process.
#[derive(Debug)]
pub struct VideoWorker {
    runtime: Runtime,
    pool: PgPool,
    recorder: Arc<Recorder>,
    fresh: mpsc::UnboundedReceiver<Vec<Reaction>>,
    held: Arc<AtomicUsize>,
}

/// What the operator says of rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoSettings {
    /// How long a room stays after its appointment.
    pub grace_minutes: u16,
    /// Where Daily reaches the API, without a slash at its end; without it, only the lists tell what happens in rooms.
    pub hooks_url: Option<String>,
}

/// A reactor, the worker that it hands fresh looks to, and what removes recordings at the provider.
pub fn reactor_and_worker(
    runtime: &Runtime,
    pool: PgPool,
    daily: DailyApi,
    settings: VideoSettings,
    store: Arc<dyn RecordingStore>,
) -> (VideoReactor, VideoWorker, ProviderRecordings) {
    let (fresh_in, fresh) = mpsc::unbounded_channel();
    let held = Arc::new(AtomicUsize::new(0));
    let settler = Arc::new(Settler::new(runtime.log.clone(), pool.clone(), daily, settings));
    let fetches = Fetches::new(Arc::clone(&settler), store, runtime.tasks.clone());
    let at_provider = ProviderRecordings::new(Arc::clone(&settler));
    let recorder = Arc::new(Recorder { settler, fetches });
    let reactor = VideoReactor { fresh: fresh_in, held: Arc::clone(&held) };
    (reactor, VideoWorker { runtime: runtime.clone(), pool, recorder, fresh, held }, at_provider)
}

#[derive(Debug, thiserror::Error)]
enum ClaimError {
    #[error("the ledger of effects cannot be used")]
    Database(#[from] sqlx::Error),
    #[error("the events to look at cannot be read")]
    Read(#[from] ReadError),
}

impl VideoWorker {
    /// Works until the runtime stops, then waits for what is under way.
    pub fn run(self) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Self { runtime, pool, recorder, mut fresh, held } = self;
            let mut under_way = FuturesUnordered::new();
            let mut next_claim = Instant::now();
            loop {
                let has_room = held.load(Ordering::Relaxed) < MAX_IN_FLIGHT;
                let taken = tokio::select! {
                    biased;
                    () = runtime.stop.cancelled() => break,
                    Some(done) = under_way.next(), if !under_way.is_empty() => {
                        finish(done, &held);
                        // Something else may begin in its place.
                        next_claim = next_claim.min(Instant::now() + SHORTEST_PAUSE);
                        continue;
                    }
                    Some(taken) = fresh.recv() => taken,
                    () = tokio::time::sleep_until(next_claim), if has_room => {
                        let (taken, pause) = claim(&runtime, &pool, &held).await;
                        next_claim = Instant::now() + pause;
                        taken
                    }
                };
                for reaction in taken {
                    let look = look(Arc::clone(&recorder), pool.clone(), runtime.clone(), reaction);
                    under_way.push(runtime.tasks.spawn(look));
                }
            }
            while let Some(done) = under_way.next().await {
                finish(done, &held);
            }
        })
    }
}

fn finish(done: Result<(), tokio::task::JoinError>, held: &AtomicUsize) {
    if let Err(error) = done {
        error!(error = %error, "a look at a room ended in a panic; its lease will run out");
    }
    held.fetch_sub(1, Ordering::Relaxed);
}

/// Takes what is due, and says when to ask again.
async fn claim(runtime: &Runtime, pool: &PgPool, held: &AtomicUsize) -> (Vec<Reaction>, Duration) {
    match try_claim(runtime, pool, held).await {
        Ok(claimed) => claimed,
        Err(failure) => {
            warn!(error = %failure, "due looks at rooms cannot be claimed");
            (Vec::new(), LONGEST_PAUSE)
        }
    }
}

async fn try_claim(
    runtime: &Runtime,
    pool: &PgPool,
    held: &AtomicUsize,
) -> Result<(Vec<Reaction>, Duration), ClaimError> {
    let room = MAX_IN_FLIGHT.saturating_sub(held.load(Ordering::Relaxed));
    let mut connection = pool.acquire().await?;
    let now = runtime.log.clock().now();
    let taker = Taker { reactor: REACTOR, owner: runtime.owner, now, room, limits: LIMITS };
    let claimed = effects::claim(&mut connection, taker).await?;
    if claimed.is_empty() {
        let due = effects::next_due(&mut connection, REACTOR).await?;
        let pause = due.map_or(LONGEST_PAUSE, |due| due.clamp(SHORTEST_PAUSE, LONGEST_PAUSE));
        return Ok((Vec::new(), pause));
    }
    let places: Vec<_> = claimed.iter().map(|effect| (effect.lane, effect.position)).collect();
    // Where the events cannot be read, the leases run out.
    let mut events: HashMap<_, _> = read::at(&mut connection, &places)
        .await?
        .into_iter()
        .map(|event| ((event.lane, event.position), Arc::new(event)))
        .collect();
    let reactions: Vec<Reaction> =
        claimed.into_iter().filter_map(|effect| reaction(effect, &mut events)).collect();
    held.fetch_add(reactions.len(), Ordering::Relaxed);
    Ok((reactions, Duration::ZERO))
}

fn reaction(effect: Effect, events: &mut HashMap<(i16, i64), Arc<RecordedEvent>>) -> Option<Reaction> {
    let event = events.get(&(effect.lane, effect.position)).map(Arc::clone);
    if event.is_none() {
        error!(effect.lane, effect.position, "an effect names an event that cannot be read");
    }
    event.map(|event| Reaction { effect, event })
}

/// What an event asks to be looked at.
fn dispatch<'a>(
    recorder: &'a Recorder,
    event: &'a RecordedEvent,
    is_unsure: bool,
) -> BoxFuture<'a, Result<Settled, SettleError>> {
    Box::pin(async move {
        let (settler, stream) = (&recorder.settler, &event.stream);
        match stream.kind {
            StreamKind::Organization if event.event_type == EventType::OrganizationSettingsChanged => {
                recorder.look_at_all(stream.organization_id, None, event).await
            }
            StreamKind::Organization => keep(recorder, event, is_unsure).await,
            StreamKind::VideoNotice => take(recorder, event).await,
            StreamKind::Patient => {
                let patient_id = Some(PatientId::new(stream.id));
                recorder.look_at_all(stream.organization_id, patient_id, event).await
            }
            StreamKind::VideoRoom => {
                let key = (stream.organization_id, appointment_of(&event.decode_as()?).appointment_id);
                recorder.look(key, event).await
            }
            _ => settler.settle_cause(event, is_unsure).await,
        }
    })
}

/// Looks at what an event is about, and reports.
async fn look(recorder: Arc<Recorder>, pool: PgPool, runtime: Runtime, reaction: Reaction) {
    let Reaction { effect, event } = reaction;
    let is_unsure = effect.abandoned_since.is_some();
    let looked = dispatch(&recorder, &event, is_unsure);
    let settled = match tokio::time::timeout(LOOK, looked).await {
        Ok(Ok(settled)) => settled,
        Ok(Err(failure)) => {
            let cause = std::error::Error::source(&failure).map(ToString::to_string);
            warn!(stream.id = %event.stream.id, error = %failure, cause, "a look at a room failed; its lease will run out");
            return;
        }
        Err(_) => {
            warn!(stream.id = %event.stream.id, "a look at a room took too long; its lease will run out");
            return;
        }
    };
    let Settled { next_at, sign } = settled;
    let report = Report { effect, next_at, sign };
    let reported = async {
        let mut connection = pool.acquire().await?;
        let now = runtime.log.clock().now();
        effects::report(&mut connection, REACTOR, now, NEVER_LOST, &[report]).await
    };
    match reported.await {
        Ok(reported) if reported.refused > 0 => {
            warn!(stream.id = %event.stream.id, "the report of a look that another has taken over was refused");
        }
        Ok(_) => {}
        Err(failure) => {
            warn!(error = %failure, "a look at a room cannot be reported; its lease will run out");
        }
    }
}
