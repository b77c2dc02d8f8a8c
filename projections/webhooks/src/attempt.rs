//! One delivery in the hands of a worker: what to send, and what to write down afterwards.

use std::sync::Arc;
use std::time::Duration;

use carelog_domain::webhook_delivery::{
    AfterAttempt, Attempt, AttemptOutcome, Emission, FinalReason, MAX_ATTEMPTS, WebhookDelivery,
    WebhookDeliveryCommand, WebhookDeliveryEvent, WebhookDeliveryRejection,
};
use carelog_domain::webhook_subscription::{DisableReason, WebhookSubscription, WebhookSubscriptionCommand};
use carelog_domain::{
    Actor, Circumstances, CorrelationId, DeliveryId, EventId, OrganizationId, Origin, StreamKind,
    SubscriptionId, Timestamp,
};
use carelog_event_log::effects::{Report, Sign};
use carelog_event_log::{
    EventLog, ExecuteError, Expected, ReadError, RecordedEvent, Scope, StreamKey, new_id,
};
use cqrs_es::Aggregate;
use http::StatusCode;
use time::OffsetDateTime;
use tracing::{error, warn};

use crate::body::body;
use crate::directory::{Directory, DirectoryError, OpenSubscription};
use crate::numbers;
use crate::sending::{self, BodyFormat, Jitter, OutcomeKind, PreparedRequest, Sender, Verdict};
use crate::task::Task;

/// Pause before a delivery that could not even be sent is taken up again.
const PAUSE_MICROS: i64 = 5_000_000;

/// Longest time for which a receiver's `Retry-After` holds the other deliveries of its subscription.
const LONGEST_HOLD: Duration = Duration::from_hours(1);

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

/// Carries out deliveries.
#[derive(Debug)]
pub(crate) struct Attempter {
    log: EventLog,
    directory: Directory,
    sender: Sender,
}

impl Attempter {
    pub(crate) fn new(log: EventLog, directory: Directory, sender: Sender) -> Self {
        Self { log, directory, sender }
    }

    /// Sends and records one delivery; what the ledger is to be told comes back.
    #[tracing::instrument(level = "debug", skip_all, fields(delivery.id = %task.delivery_id))]
    pub(crate) async fn carry_out(&self, task: Task) -> Option<Report> {
        match self.try_carry_out(&task).await {
            Ok(report) => report,
            Err(failure) => {
                let cause = std::error::Error::source(&failure).map(ToString::to_string);
                warn!(delivery.id = %task.delivery_id, error = %failure, cause, "a delivery was not carried out");
                match failure {
                    // It may have been sent: only the end of the lease may tell the next worker so.
                    AttemptError::Record(_) => None,
                    AttemptError::Directory(_)
                    | AttemptError::Read(_)
                    | AttemptError::Codec(_)
                    | AttemptError::SourceMissing => {
                        task.untouched(self.log.clock().now().saturating_add_micros(PAUSE_MICROS))
                    }
                }
            }
        }
    }

    async fn try_carry_out(&self, task: &Task) -> Result<Option<Report>, AttemptError> {
        let begun = self.begin(task).await?;
        if !begun.is_asked_for {
            // The report of an earlier round was lost, and somebody has asked to send it again since.
            return Ok(Some(task.done()));
        }
        if begun
            .delivery
            .status()
            .is_some_and(|status| status != carelog_domain::webhook_delivery::DeliveryStatus::Pending)
        {
            return Ok(Some(task.done()));
        }
        if let Some(since) = task.effect.abandoned_since {
            return match begun.retry {
                // The outcome was recorded, and only the report to the ledger was lost.
                Some((recorded_at, at)) if recorded_at >= since => Ok(Some(task.again_at(at))),
                _ => self.record_unknown(task, &begun).await,
            };
        }
        let subscription = if task.effect.is_closed {
            None
        } else {
            self.directory.get((task.effect.organization_id, task.subscription_id())).await?
        };
        let Some(subscription) = subscription.filter(|subscription| subscription.is_active) else {
            return self
                .record(task, &begun, give_up(&begun, task, FinalReason::Disabled), task.done())
                .await;
        };
        let started_at = self.log.clock().now();
        let outcome = match &subscription.url {
            Ok(_) => self.send(task, &begun, &subscription, started_at).await,
            Err(_) => sending::AttemptOutcome::without_head(
                OutcomeKind::BlockedUrl,
                Some("blocked_url"),
                Duration::ZERO,
            ),
        };
        self.record_outcome(task, &begun, &outcome, started_at).await
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
        let stream = StreamKey {
            organization_id: task.effect.organization_id,
            kind: StreamKind::WebhookDelivery,
            id: task.delivery_id.uuid(),
        };
        let mut delivery = WebhookDelivery::default();
        let mut version = 0;
        let mut source = None;
        let mut retry = None;
        let mut newest_request = None;
        for recorded in self.log.stream(&stream, 0).await? {
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

    async fn send(
        &self,
        task: &Task,
        begun: &Begun,
        subscription: &OpenSubscription,
        started_at: Timestamp,
    ) -> sending::AttemptOutcome {
        let Ok(url) = &subscription.url else { return sending::AttemptOutcome::unknown() };
        let bytes = body(subscription.format, task.delivery_id, &begun.event);
        let id = task.delivery_id.uuid();
        let request =
            PreparedRequest::signed(url.clone(), id, started_at.unix_seconds(), bytes, &subscription.secrets)
                .with_format(BodyFormat::from(subscription.format))
                .with_headers(&subscription.headers);
        self.sender.post(&request).await
    }

    async fn record_outcome(
        &self,
        task: &Task,
        begun: &Begun,
        outcome: &sending::AttemptOutcome,
        started_at: Timestamp,
    ) -> Result<Option<Report>, AttemptError> {
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
            status: outcome.status.map(|status| status.as_u16()),
            started_at,
            duration_ms: u32::try_from(outcome.duration.as_millis()).unwrap_or(u32::MAX),
        };
        let command =
            WebhookDeliveryCommand::RecordAttempt { emission: emission(begun, task), attempt, then };
        let report = self.record(task, begun, command, Report { sign: sign(outcome), ..report }).await?;
        if let Verdict::DisableSubscription { reason, .. } = verdict {
            self.disable(Self::scope(task, Expected::Any), task.subscription_id(), reason).await;
        }
        Ok(report)
    }

    /// Whoever held the delivery before may have sent it: that attempt counts, and the next one comes at once.
    async fn record_unknown(&self, task: &Task, begun: &Begun) -> Result<Option<Report>, AttemptError> {
        let now = self.log.clock().now();
        let is_last = begun.delivery.round_count() + 1 >= MAX_ATTEMPTS;
        let attempt = Attempt {
            number: begun.delivery.attempt_count() + 1,
            outcome: AttemptOutcome::Unknown,
            status: None,
            started_at: now,
            duration_ms: 0,
        };
        let (then, report) = if is_last {
            (AfterAttempt::GiveUp(FinalReason::Exhausted), task.done())
        } else {
            (AfterAttempt::RetryAt(now), task.again_at(now))
        };
        let command =
            WebhookDeliveryCommand::RecordAttempt { emission: emission(begun, task), attempt, then };
        self.record(task, begun, command, report).await
    }

    /// Appends what happened, under the version that the delivery had when it was taken.
    async fn record(
        &self,
        task: &Task,
        begun: &Begun,
        command: WebhookDeliveryCommand,
        report: Report,
    ) -> Result<Option<Report>, AttemptError> {
        let expected = if begun.version == 0 { Expected::New } else { Expected::Version(begun.version) };
        let scope = Self::scope(task, expected);
        match self.log.execute::<WebhookDelivery>(&scope, task.delivery_id.uuid(), command).await {
            Ok(_) => {
                let is_first_round = task.cause.event_id == begun.event.event_id;
                numbers::recorded(&command, begun.event.recorded_at, is_first_round);
                Ok(Some(report))
            }
            Err(ExecuteError::StaleVersion { .. } | ExecuteError::Rejected(_)) => {
                numbers::fenced(1);
                warn!(delivery.id = %task.delivery_id, "an outcome came too late and was refused");
                Ok(None)
            }
            Err(failure) => Err(AttemptError::Record(Box::new(failure))),
        }
    }

    fn scope(task: &Task, expected: Expected) -> Scope {
        let cause = &task.cause;
        let correlation_id = cause.circumstances.correlation_id;
        scope(task.effect.organization_id, correlation_id, Some(cause.event_id), expected)
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

fn scope(
    organization_id: OrganizationId,
    correlation_id: CorrelationId,
    causation_id: Option<EventId>,
    expected: Expected,
) -> Scope {
    Scope {
        organization_id,
        circumstances: Circumstances {
            actor: Actor::SYSTEM,
            purpose: None,
            correlation_id,
            causation_id,
            request_id: None,
            origin: Origin::Live,
        },
        occurred_at: None,
        idempotency: None,
        network: None,
        expected,
        can_wait: true,
    }
}

/// What an outcome says of the subscription's other deliveries.
fn sign(outcome: &sending::AttemptOutcome) -> Sign {
    if outcome.kind == OutcomeKind::Success {
        return Sign::Success;
    }
    // It works, and does not want this one.
    if outcome.control.is_some() || outcome.status == Some(StatusCode::UNSUPPORTED_MEDIA_TYPE) {
        return Sign::None;
    }
    Sign::Failure {
        slow_down: outcome.status.is_some_and(|status| matches!(status.as_u16(), 429 | 502 | 503 | 504)),
        hold: outcome.retry_after.map(|asked| asked.min(LONGEST_HOLD)),
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
