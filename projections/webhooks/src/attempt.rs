//! One delivery in the hands of a worker: what to send, and what to write down afterwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use carelog_domain::webhook_delivery::{
    AfterAttempt, Attempt, AttemptOutcome, Emission, FinalReason, MAX_ATTEMPTS, Phases, WebhookDelivery,
    WebhookDeliveryCommand, WebhookDeliveryEvent, WebhookDeliveryRejection,
};
use carelog_domain::webhook_subscription::{DisableReason, WebhookSubscription, WebhookSubscriptionCommand};
use carelog_domain::{
    Actor, Circumstances, CorrelationId, DeliveryId, EventId, EventType, OrganizationId, StreamKind,
    SubscriptionId, Timestamp,
};
use carelog_event_log::effects::Report;
use carelog_event_log::{EventLog, ExecuteError, Expected, ReadError, RecordedEvent, Scope, new_id};
use cqrs_es::Aggregate;
use sqlx::PgPool;
use time::OffsetDateTime;
use tracing::{error, warn};

use crate::answers::{self, KeptAnswer};
use crate::directory::{Directory, DirectoryError};
use crate::numbers::{self, Round};
use crate::recording::Recording;
use crate::sending::{self, Jitter, OutcomeKind, Sender, Verdict, milliseconds};
use crate::signs::sign;
use crate::task::{Finished, Task};

/// Pause before a delivery that could not even be sent is taken up again.
const PAUSE_MICROS: i64 = 5_000_000;

/// Where a delivery stands when it is taken.
struct Begun {
    delivery: WebhookDelivery,
    version: i64,
    event: Arc<RecordedEvent>,
    /// When the last outcome was recorded, and when that said to try again.
    retry: Option<(Timestamp, Timestamp)>,
    /// Whether the effect belongs to the newest round: it follows from the newest request to send the event, or from
    /// the event itself.
    is_asked_for: bool,
}

/// Why a delivery was not carried out. Somebody takes it up again.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("the log cannot be read")]
    Read(#[from] ReadError),
    #[error("a stored event does not decode")]
    Codec(#[from] carelog_domain::CodecError),
    #[error("the outcome cannot be recorded")]
    Record(#[source] Box<ExecuteError<WebhookDeliveryRejection>>),
    #[error("the event to deliver is not in the log")]
    SourceMissing,
}

/// What came of sending.
struct Sent {
    outcome: sending::AttemptOutcome,
    /// The version of the subscription that told what to send.
    version: Option<i64>,
}

impl Sent {
    /// Nothing was: the URL of the subscription is not allowed any more.
    const fn refused() -> Self {
        let outcome = sending::AttemptOutcome::without_head(OutcomeKind::BlockedUrl, None, Duration::ZERO);
        Self { outcome, version: None }
    }
}

/// Carries out deliveries.
#[derive(Debug)]
pub(crate) struct Attempter {
    log: EventLog,
    directory: Directory,
    sender: Sender,
    recording: Recording,
}

impl Attempter {
    pub(crate) fn new(log: EventLog, directory: Directory, sender: Sender) -> Self {
        Self { log, directory, sender, recording: Recording::default() }
    }

    /// Sends and records one delivery; what the ledger is to be told comes back, and what is to be kept.
    #[tracing::instrument(level = "debug", skip_all, fields(delivery.id = %task.delivery_id))]
    pub(crate) async fn carry_out(&self, task: Task) -> Option<Finished> {
        match self.try_carry_out(&task).await {
            Ok(finished) => finished,
            Err(failure) => {
                let cause = std::error::Error::source(&failure).map(ToString::to_string);
                warn!(delivery.id = %task.delivery_id, error = %failure, cause, "a delivery was not carried out");
                match failure {
                    // It may have been sent: only the end of the lease may tell the next worker so.
                    AttemptError::Record(_) => None,
                    AttemptError::Directory(_)
                    | AttemptError::Read(_)
                    | AttemptError::Codec(_)
                    | AttemptError::SourceMissing => task
                        .untouched(self.log.clock().now().saturating_add_micros(PAUSE_MICROS))
                        .map(Finished::from),
                }
            }
        }
    }

    async fn try_carry_out(&self, task: &Task) -> Result<Option<Finished>, AttemptError> {
        let begun = self.begin(task).await?;
        if !begun.is_asked_for {
            // The report of an earlier round was lost, and somebody has asked to send it again since.
            return Ok(Some(task.done().into()));
        }
        if begun
            .delivery
            .status()
            .is_some_and(|status| status != carelog_domain::webhook_delivery::DeliveryStatus::Pending)
        {
            return Ok(Some(task.done().into()));
        }
        if let Some(since) = task.effect.abandoned_since {
            return match begun.retry {
                // The outcome was recorded, and only the report to the ledger was lost.
                Some((recorded_at, at)) if recorded_at >= since => Ok(Some(task.again_at(at).into())),
                _ => self.record_unknown(task, &begun).await,
            };
        }
        let subscription = if task.effect.is_closed {
            None
        } else {
            let key = (task.effect.organization_id, task.subscription_id());
            self.directory.get(key, task.effect.revision).await?
        };
        let Some(subscription) = subscription.filter(|subscription| subscription.is_active) else {
            let command = give_up(&begun, task, FinalReason::Disabled);
            return Ok(self.record(task, &begun, command, task.done()).await?.map(Finished::from));
        };
        let started_at = self.log.clock().now();
        let checkpoint = self.directory.checkpoints().newest(task.effect.organization_id);
        let request = subscription.request(task.delivery_id, &begun.event, started_at);
        let request = request.map(|request| request.with_checkpoint(checkpoint));
        if task.is_stale() {
            // What had to be read took its time, and what is left of the lease may be too short for an attempt.
            return Ok(task.untouched(started_at).map(Finished::from));
        }
        if !self.recording.may_begin(Instant::now()) {
            return Ok(task.untouched(started_at.saturating_add_micros(PAUSE_MICROS)).map(Finished::from));
        }
        let sent = match &request {
            Some(request) => {
                Sent { outcome: self.sender.post(request).await, version: Some(subscription.version) }
            }
            None => Sent::refused(),
        };
        self.record_outcome(task, &begun, sent, started_at).await
    }

    /// Folds the delivery's stream, where it may have one.
    async fn begin(&self, task: &Task) -> Result<Begun, AttemptError> {
        if !task.may_have_begun {
            let event = Arc::clone(&task.cause);
            return Ok(Begun {
                delivery: WebhookDelivery::default(),
                version: 0,
                event,
                retry: None,
                is_asked_for: true,
            });
        }
        let mut delivery = WebhookDelivery::default();
        let mut version = 0;
        let mut source = None;
        let mut retry = None;
        let mut newest_request = None;
        for recorded in self.log.stream(&task.stream(), 0).await? {
            let event = recorded.decode_as::<WebhookDeliveryEvent>()?;
            if let WebhookDeliveryEvent::Emitted(emitted) = &event {
                source = Some(emitted.source_sequence);
            }
            if let WebhookDeliveryEvent::Attempted(attempted) = &event {
                retry = attempted.next_attempt_at.map(|at| (recorded.recorded_at, at));
            }
            if let WebhookDeliveryEvent::RedeliveryRequested(_) = &event {
                (newest_request, retry) = (Some(recorded.event_id), None);
            }
            version = recorded.version;
            delivery.apply(event);
        }
        let event = match source {
            Some(sequence) if task.cause.stream.kind == StreamKind::WebhookDelivery => {
                let found = self.log.organization(task.effect.organization_id, sequence - 1, 1).await?;
                Arc::new(found.into_iter().next().ok_or(AttemptError::SourceMissing)?)
            }
            _ => Arc::clone(&task.cause),
        };
        let is_asked_for = match newest_request {
            Some(request) => task.cause.event_id == request,
            None => task.cause.stream.kind != StreamKind::WebhookDelivery,
        };
        Ok(Begun { delivery, version, event, retry, is_asked_for })
    }

    async fn record_outcome(
        &self,
        task: &Task,
        begun: &Begun,
        sent: Sent,
        started_at: Timestamp,
    ) -> Result<Option<Finished>, AttemptError> {
        let outcome = &sent.outcome;
        let number = begun.delivery.attempt_count() + 1;
        let now = self.log.clock().now();
        let round = begun.delivery.round_count() + 1;
        let verdict =
            outcome.verdict(u32::from(round), jitter(task.delivery_id, number), OffsetDateTime::from(now));
        let (then, report) = match verdict {
            Verdict::Delivered | Verdict::DisableSubscription { delivered: true, .. } => {
                (AfterAttempt::Delivered, task.done())
            }
            Verdict::RetryLater { not_before } => {
                let at = Timestamp::try_from(not_before).unwrap_or(now);
                (AfterAttempt::RetryAt(at), task.again_at(at))
            }
            Verdict::GiveUp(reason) => (AfterAttempt::GiveUp(reason), task.done()),
            Verdict::DisableSubscription { delivered: false, .. } => {
                (AfterAttempt::GiveUp(FinalReason::Disabled), task.done())
            }
        };
        let attempt = Attempt {
            number,
            outcome: outcome.kind,
            detail: outcome.detail,
            status: outcome.status.map(|status| status.as_u16()),
            started_at,
            duration_ms: milliseconds(outcome.duration),
            phases: outcome.phases,
            subscription_version: sent.version,
        };
        let command =
            WebhookDeliveryCommand::RecordAttempt { emission: emission(begun, task), attempt, then };
        let report = self.record(task, begun, command, Report { sign: sign(outcome), ..report }).await?;
        // What was refused is not the attempt of this number.
        let answer = report.and_then(|_| KeptAnswer::of(task, &begun.event, number, sent.outcome));
        if let Verdict::DisableSubscription { reason, .. } = verdict {
            self.disable(Self::scope(task, Expected::Any), task.subscription_id(), reason).await;
        }
        Ok(report.map(|report| Finished { report, answer }))
    }

    /// Whoever held the delivery before may have sent it: that attempt counts, and the next one comes at once.
    async fn record_unknown(&self, task: &Task, begun: &Begun) -> Result<Option<Finished>, AttemptError> {
        let now = self.log.clock().now();
        let is_last = begun.delivery.round_count() + 1 >= MAX_ATTEMPTS;
        let attempt = Attempt {
            number: begun.delivery.attempt_count() + 1,
            outcome: AttemptOutcome::Unknown,
            detail: None,
            status: None,
            started_at: now,
            duration_ms: 0,
            phases: Phases::default(),
            subscription_version: None,
        };
        let (then, report) = if is_last {
            (AfterAttempt::GiveUp(FinalReason::Exhausted), task.done())
        } else {
            (AfterAttempt::RetryAt(now), task.again_at(now))
        };
        let command =
            WebhookDeliveryCommand::RecordAttempt { emission: emission(begun, task), attempt, then };
        Ok(self.record(task, begun, command, report).await?.map(Finished::from))
    }

    /// Appends what happened, under the version that the delivery had when it was taken.
    async fn record(
        &self,
        task: &Task,
        begun: &Begun,
        command: WebhookDeliveryCommand,
        report: Report,
    ) -> Result<Option<Report>, AttemptError> {
        let mut version = begun.version;
        loop {
            let expected = if version == 0 { Expected::New } else { Expected::Version(version) };
            let scope = Self::scope(task, expected);
            match self.log.execute::<WebhookDelivery>(&scope, task.delivery_id.uuid(), command).await {
                Ok(_) => {
                    self.recording.succeeded();
                    let round = Round {
                        is_first: task.cause.event_id == begun.event.event_id,
                        attempts_before: begun.delivery.round_count(),
                    };
                    numbers::recorded(&command, begun.event.recorded_at, round);
                    return Ok(Some(report));
                }
                Err(ExecuteError::StaleVersion { .. }) if self.is_only_expunged(task, version).await? => {
                    version += 1;
                }
                Err(ExecuteError::StaleVersion { .. } | ExecuteError::Rejected(_)) => {
                    numbers::fenced(1);
                    warn!(delivery.id = %task.delivery_id, "an outcome came too late and was refused");
                    return Ok(None);
                }
                Err(failure) => {
                    self.recording.failed(Instant::now());
                    return Err(AttemptError::Record(Box::new(failure)));
                }
            }
        }
    }

    /// Whether all that came into the stream after a version is that answers were expunged, which it says at most
    /// once. Nobody else has taken the delivery over then.
    async fn is_only_expunged(&self, task: &Task, version: i64) -> Result<bool, ReadError> {
        let later = self.log.stream(&task.stream(), version).await?;
        Ok(later.len() == 1
            && later.iter().all(|event| event.event_type == EventType::WebhookDeliveryAnswersExpunged))
    }

    fn scope(task: &Task, expected: Expected) -> Scope {
        let cause = &task.cause;
        let correlation_id = cause.circumstances.correlation_id;
        scope(task.effect.organization_id, correlation_id, Some(cause.event_id), expected)
    }

    /// Keeps answers. Losing them is no reason to hold anything up: the outcomes are in the log.
    pub(crate) async fn keep(&self, pool: &PgPool, answers: Vec<KeptAnswer>) {
        let count = answers.len();
        if let Err(error) = answers::keep(pool, self.log.vault(), answers).await {
            let error: &dyn std::error::Error = &error;
            warn!(error, count, "answers of receivers cannot be kept");
        }
    }

    /// Now, by the clock that dates outcomes.
    pub(crate) fn now(&self) -> Timestamp {
        self.log.clock().now()
    }

    /// Disables a subscription that has failed for too long.
    pub(crate) async fn disable_failing(
        &self,
        organization_id: OrganizationId,
        subscription_id: SubscriptionId,
    ) {
        let scope = scope(organization_id, CorrelationId::new(new_id()), None, Expected::Any);
        self.disable(scope, subscription_id, DisableReason::Failing).await;
    }

    async fn disable(&self, scope: Scope, subscription_id: SubscriptionId, reason: DisableReason) {
        let command = WebhookSubscriptionCommand::Disable { reason };
        match self.log.execute::<WebhookSubscription>(&scope, subscription_id.uuid(), command).await {
            // Refused: somebody disabled or deleted it already.
            Ok(_) | Err(ExecuteError::Rejected(_)) => {}
            Err(failure) => error!(error = %failure, "a subscription cannot be disabled"),
        }
    }
}

pub(crate) fn scope(
    organization_id: OrganizationId,
    correlation_id: CorrelationId,
    causation_id: Option<EventId>,
    expected: Expected,
) -> Scope {
    Scope {
        expected,
        can_wait: true,
        ..Scope::new(
            organization_id,
            Circumstances { causation_id, ..Circumstances::of(Actor::SYSTEM, correlation_id) },
        )
    }
}

fn emission(begun: &Begun, task: &Task) -> Emission {
    Emission {
        subscription_id: task.subscription_id(),
        source_event_id: begun.event.event_id,
        source_type: begun.event.event_type,
        source_sequence: begun.event.organization_sequence,
    }
}

fn give_up(begun: &Begun, task: &Task, reason: FinalReason) -> WebhookDeliveryCommand {
    WebhookDeliveryCommand::GiveUp { emission: emission(begun, task), reason }
}

/// The jitter follows from the delivery and the attempt, so that a retry decided twice falls on the same moment.
fn jitter(delivery_id: DeliveryId, number: u16) -> Jitter {
    let (_, low) = delivery_id.uuid().as_u64_pair();
    Jitter::from_seed(low ^ u64::from(number))
}
