//! Carries a replay on by one batch.

use std::sync::Arc;
use std::time::Duration;

use carelog_domain::webhook_delivery::{
    Emission, WebhookDelivery, WebhookDeliveryCommand, WebhookDeliveryRejection,
};
use carelog_domain::webhook_replay::{
    ReplayEnd, ReplaySelection, WebhookReplay, WebhookReplayCommand, WebhookReplayRejection,
    WebhookReplayRequested,
};
use carelog_domain::{DeliveryId, EventId, ReplayId, SubscriptionId};
use carelog_event_log::effects::{self, Limits, Report};
use carelog_event_log::runtime::{Projector, lag};
use carelog_event_log::{EventLog, ExecuteError, Expected, LogPosition, RecordedEvent};
use futures::stream::{self, StreamExt, TryStreamExt};
use sqlx::{PgConnection, PgPool};
use tracing::warn;
use uuid::Uuid;

use super::candidates::{Candidate, next_candidates, subscription_status};
use super::queries::{self, ReplayRow};
use super::{LOOKS_A_SECOND, MAX_WAITING};
use crate::attempt::scope;
use crate::keeping;
use crate::projector::WebhooksProjector;
use crate::reactor::REACTOR;
use crate::task::Task;

/// Between two looks at the queue.
const LOOK_EVERY: Duration = Duration::from_millis(1_000 / LOOKS_A_SECOND as u64);
/// Before another look at a subscription that is disabled or fails, and after a failure of ours.
const PAUSE: Duration = Duration::from_secs(5);
/// Requests under way at a time; the log takes them in few commits.
const AT_A_TIME: usize = 16;

/// Carries replays on.
#[derive(Debug)]
pub(crate) struct Replayer {
    log: EventLog,
    pool: PgPool,
    limits: Limits,
}

/// When a replay is to be looked at again.
enum Next {
    Never,
    After(Duration),
}

/// Why a replay did not go on. It is tried again.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error("the rows of deliveries cannot be read")]
    Database(#[from] sqlx::Error),
    #[error("a stored event does not decode")]
    Codec(#[from] carelog_domain::CodecError),
    #[error("a delivery cannot be asked for")]
    Request(#[source] Box<ExecuteError<WebhookDeliveryRejection>>),
    #[error("the replay's progress cannot be recorded")]
    Record(#[source] Box<ExecuteError<WebhookReplayRejection>>),
    #[error("webhooks.webhook_events.source_type of delivery {0} is no event type")]
    Stored(Uuid),
}

/// How new the rows of deliveries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    /// Older than the log was when it was looked at.
    Old,
    /// As new.
    New,
    /// As new, but for events that are in quarantine.
    SomeSetAside,
}

/// Where a running replay stands.
#[derive(Clone, Copy)]
struct Standing {
    subscription_id: SubscriptionId,
    place: i64,
    version: i64,
}

impl Standing {
    fn of(row: &ReplayRow) -> Self {
        let subscription_id = SubscriptionId::new(row.subscription_id);
        Self { subscription_id, place: row.place, version: row.version }
    }
}

/// What came of a batch.
struct Progress {
    sequences: Vec<i64>,
    asked: Vec<Asked>,
    /// Whether nothing comes after it.
    is_last: bool,
}

/// What came of asking for a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// It is sent again.
    Requested,
    /// This replay asked before, and was stopped before it could say so.
    Already,
    /// It waits for an attempt anyway, or is removed soon.
    Skipped,
    /// It has moved on since its row was written.
    Moved,
}

impl Replayer {
    pub(crate) const fn new(log: EventLog, pool: PgPool, limits: Limits) -> Self {
        Self { log, pool, limits }
    }

    /// Asks for the next batch; what the ledger is to be told comes back.
    #[tracing::instrument(level = "debug", skip_all, fields(replay.id = %task.cause.stream.id))]
    pub(crate) async fn carry_out(&self, task: Task) -> Option<Report> {
        let next = match self.look(&task.cause).await {
            Ok(next) => next,
            Err(failure) => {
                let cause = std::error::Error::source(&failure).map(ToString::to_string);
                warn!(replay.id = %task.cause.stream.id, error = %failure, cause, "a replay did not go on");
                Next::After(PAUSE)
            }
        };
        Some(match next {
            Next::Never => task.done(),
            Next::After(pause) => {
                let micros = i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
                task.again_at(self.log.clock().now().saturating_add_micros(micros))
            }
        })
    }

    async fn look(&self, cause: &Arc<RecordedEvent>) -> Result<Next, ReplayError> {
        let (organization_id, replay_id) = (cause.stream.organization_id, ReplayId::new(cause.stream.id));
        let requested: WebhookReplayRequested = match cause.decode_as()? {
            carelog_domain::webhook_replay::WebhookReplayEvent::Requested(requested) => requested,
            _ => return Ok(Next::Never),
        };
        let mut connection = self.pool.acquire().await?;
        let rows = self.rows(&mut connection, cause).await?;
        if rows == Rows::Old {
            return Ok(Next::After(LOOK_EVERY));
        }
        let Some(row) = queries::replay(&mut connection, organization_id, replay_id).await? else {
            // It is set aside, and goes on once it can be applied.
            return Ok(Next::After(PAUSE));
        };
        if row.status != "running" {
            return Ok(Next::Never);
        }
        match subscription_status(&mut connection, organization_id, requested.subscription_id).await? {
            Some(status) if status == "active" => {}
            Some(status) if status == "disabled" => return Ok(Next::After(PAUSE)),
            Some(_) | None => {
                let command = WebhookReplayCommand::Cancel { reason: ReplayEnd::SubscriptionDeleted };
                let is_ended = self.record(cause, Standing::of(&row), command).await?;
                return Ok(if is_ended { Next::Never } else { Next::After(LOOK_EVERY) });
            }
        }
        let step = requested.subscription_id.uuid();
        let load = effects::load(&mut connection, REACTOR, organization_id, step, MAX_WAITING).await?;
        if load.is_failing {
            return Ok(Next::After(PAUSE));
        }
        let pace = load.per_tick.unwrap_or(u16::MAX).min(self.limits.per_tick).max(1);
        let room = pace.min(MAX_WAITING).saturating_sub(load.waiting);
        // Not one by one: each batch is an event.
        if room < pace.min(MAX_WAITING).div_ceil(2) {
            return Ok(Next::After(LOOK_EVERY));
        }
        let selection = selection(&requested);
        let batch = next_candidates(&mut connection, organization_id, &selection, &row, room).await?;
        drop(connection);
        let is_last = batch.len() < usize::from(room);
        let sequences: Vec<i64> = batch.iter().map(|candidate| candidate.source_sequence).collect();
        let mut asked = self.ask_for(cause, batch).await?;
        if rows == Rows::SomeSetAside {
            // It may be one of those, and its row may stay as old as it is.
            asked
                .iter_mut()
                .filter(|asked| **asked == Asked::Moved)
                .for_each(|asked| *asked = Asked::Skipped);
        }
        let progress = Progress { sequences, asked, is_last };
        self.advance(cause, &row, &progress).await
    }

    /// Asks for a batch. What a process asked for that died before it could say so is asked for again, and refused by
    /// the deliveries themselves.
    async fn ask_for(
        &self,
        cause: &Arc<RecordedEvent>,
        batch: Vec<Candidate>,
    ) -> Result<Vec<Asked>, ReplayError> {
        stream::iter(batch)
            .map(|candidate| self.request(cause, candidate))
            .buffered(AT_A_TIME)
            .try_collect()
            .await
    }

    /// Says where the replay stands: before the first delivery that has to be looked at again.
    async fn advance(
        &self,
        cause: &Arc<RecordedEvent>,
        row: &ReplayRow,
        progress: &Progress,
    ) -> Result<Next, ReplayError> {
        let Progress { sequences, asked, is_last } = progress;
        let settled: Vec<_> = asked.iter().take_while(|asked| **asked != Asked::Moved).collect();
        let now_requested = asked.iter().filter(|asked| **asked == Asked::Requested).count();
        let now_skipped = settled.iter().filter(|asked| ***asked == Asked::Skipped).count();
        let requested = sum(row.requested_count, now_requested);
        let skipped = sum(row.skipped_count, now_skipped);
        let mut standing = Standing::of(row);
        if let Some(place) = settled.len().checked_sub(1).and_then(|last| sequences.get(last)) {
            let command = WebhookReplayCommand::Advance { place: *place, requested, skipped };
            if !self.record(cause, standing, command).await? {
                return Ok(Next::After(LOOK_EVERY));
            }
            standing = Standing { version: standing.version + 1, place: *place, ..standing };
        }
        let complete = WebhookReplayCommand::Complete { requested, skipped };
        if *is_last && settled.len() == asked.len() && self.record(cause, standing, complete).await? {
            return Ok(Next::Never);
        }
        Ok(Next::After(LOOK_EVERY))
    }

    async fn request(&self, cause: &RecordedEvent, candidate: Candidate) -> Result<Asked, ReplayError> {
        // Without a history, only the row tells that somebody is about to send it; nothing but a history changes that.
        if candidate.state == "pending" && candidate.version == 0 {
            return Ok(Asked::Skipped);
        }
        let (delivery_id, now) = (DeliveryId::new(candidate.delivery_id), self.log.clock().now());
        if keeping::is_about_to_go(delivery_id, &candidate.state, candidate.finished_at, now) {
            return Ok(Asked::Skipped);
        }
        let emission = Emission {
            subscription_id: SubscriptionId::new(candidate.subscription_id),
            source_event_id: EventId::new(candidate.source_event_id),
            source_type: candidate
                .source_type
                .parse()
                .map_err(|_| ReplayError::Stored(candidate.delivery_id))?,
            source_sequence: candidate.source_sequence,
        };
        let replay_id = Some(ReplayId::new(cause.stream.id));
        let command = WebhookDeliveryCommand::RequestRedelivery { emission, replay_id };
        let scope = scope(
            cause.stream.organization_id,
            cause.circumstances.correlation_id,
            Some(cause.event_id),
            Expected::Version(candidate.version),
        );
        match self.log.execute::<WebhookDelivery>(&scope, candidate.delivery_id, command).await {
            Ok(_) => Ok(Asked::Requested),
            Err(ExecuteError::Rejected(WebhookDeliveryRejection::AlreadyReplayed { .. })) => {
                Ok(Asked::Already)
            }
            Err(ExecuteError::Rejected(WebhookDeliveryRejection::StillPending { .. })) => Ok(Asked::Skipped),
            Err(ExecuteError::StaleVersion { .. }) => Ok(Asked::Moved),
            Err(failure) => Err(ReplayError::Request(Box::new(failure))),
        }
    }

    /// Appends what happened to the replay, under the version at which it was looked at. False where somebody cancelled
    /// it or took it over meanwhile: the next look sees what to do.
    ///
    /// Its row tells all that it decides by. To load its events would read those of every batch before this one.
    async fn record(
        &self,
        cause: &RecordedEvent,
        standing: Standing,
        command: WebhookReplayCommand,
    ) -> Result<bool, ReplayError> {
        let Standing { subscription_id, place, version } = standing;
        let Ok(decided) = WebhookReplay::running(subscription_id, place).decide(command) else {
            return Ok(false);
        };
        let scope = scope(
            cause.stream.organization_id,
            cause.circumstances.correlation_id,
            Some(cause.event_id),
            Expected::Version(version),
        );
        match self.log.append_decided::<WebhookReplay>(&scope, cause.stream.id, version, decided).await {
            Ok(_) => Ok(true),
            Err(ExecuteError::StaleVersion { .. } | ExecuteError::Rejected(_)) => Ok(false),
            Err(failure) => Err(ReplayError::Record(Box::new(failure))),
        }
    }

    /// Whether the rows show what the log holds now, so that what this replay asked for last is in its queue.
    async fn rows(&self, connection: &mut PgConnection, cause: &RecordedEvent) -> Result<Rows, ReplayError> {
        let head = LogPosition { lane: cause.lane, position: *self.log.head(cause.lane).borrow() };
        self.log.press(head);
        let lags = lag(&self.log, connection).await?;
        let passed = lags.iter().find(|lag| {
            lag.projector == WebhooksProjector::NAME && lag.lane == head.lane && lag.position >= head.position
        });
        Ok(match passed {
            Some(lag) if lag.quarantined > 0 => Rows::SomeSetAside,
            Some(_) => Rows::New,
            None => Rows::Old,
        })
    }
}

fn sum(before: i32, now: usize) -> u32 {
    u32::try_from(before).unwrap_or_default().saturating_add(u32::try_from(now).unwrap_or(u32::MAX))
}

fn selection(requested: &WebhookReplayRequested) -> ReplaySelection {
    ReplaySelection {
        subscription_id: requested.subscription_id,
        filter: requested.filter.clone(),
        states: requested.states.iter().copied().collect(),
        reasons: requested.reasons.iter().copied().collect(),
        from: requested.from,
        until: requested.until,
    }
}
