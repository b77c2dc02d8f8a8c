//! One event on its way to one subscription.
//!
//! The queue that workers lease from is a read model of the webhooks projection; here stands what became of
//! each delivery. The `emitted` event is written together with the first outcome, so that an event which
//! nobody has tried to send yet costs no further event. A round is at most [`MAX_ATTEMPTS`] attempts; asking
//! for redelivery opens another round, and the attempts are numbered on.

mod commands;
mod events;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};

pub use commands::*;
pub use events::*;

use crate::aggregate::write_all;
use crate::{ReplayId, StreamKind, closed_enum};

/// Attempts in one round: at once, then four retries over about a day.
pub const MAX_ATTEMPTS: u16 = 5;

closed_enum! {
    /// Where a delivery stands.
    pub enum DeliveryStatus {
        /// Waiting for an attempt.
        Pending = "pending",
        /// Accepted by the receiver.
        Delivered = "delivered",
        /// Given up.
        Exhausted = "exhausted",
    }
}

/// What a delivery needs to know in order to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookDelivery {
    progress: Option<Progress>,
    /// Every replay that asked for it: one that is resumed asks again.
    replays: BTreeSet<ReplayId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    emission: Emission,
    status: DeliveryStatus,
    /// Since the first round.
    attempt_count: u16,
    /// In this round.
    round_count: u16,
    /// Whether nothing is kept of the receiver's answers.
    is_expunged: bool,
    /// Who asked for this round, where it was a replay.
    replay_id: Option<ReplayId>,
}

type Events = Result<Vec<WebhookDeliveryEvent>, WebhookDeliveryRejection>;

impl WebhookDelivery {
    /// Where it stands; nothing before it is emitted.
    pub fn status(&self) -> Option<DeliveryStatus> {
        self.progress.map(|progress| progress.status)
    }

    /// How many attempts were made, in all rounds.
    pub fn attempt_count(&self) -> u16 {
        self.progress.map_or(0, |progress| progress.attempt_count)
    }

    /// How many of them were made in the round that is open, or was the last.
    pub fn round_count(&self) -> u16 {
        self.progress.map_or(0, |progress| progress.round_count)
    }

    /// Whether nothing is to be kept of the receiver's answers.
    pub fn is_expunged(&self) -> bool {
        self.progress.is_some_and(|progress| progress.is_expunged)
    }

    /// Decides a command without changing anything.
    ///
    /// # Errors
    /// The rejection.
    pub fn decide(&self, command: WebhookDeliveryCommand) -> Events {
        match command {
            WebhookDeliveryCommand::RecordAttempt { emission, attempt, then } => {
                let (mut events, progress) = self.emitted(emission)?;
                events.extend(progress.record_attempt(&attempt, then)?);
                Ok(events)
            }
            WebhookDeliveryCommand::GiveUp { emission, reason } => {
                let (mut events, progress) = self.emitted(emission)?;
                progress.unless_finished()?;
                events.push(progress.exhausted(reason));
                Ok(events)
            }
            WebhookDeliveryCommand::RequestRedelivery { emission, replay_id } => {
                if let Some(replay_id) = replay_id.filter(|replay_id| self.replays.contains(replay_id)) {
                    return Err(WebhookDeliveryRejection::AlreadyReplayed { replay_id });
                }
                let (mut events, progress) = self.emitted(emission)?;
                if events.is_empty() {
                    progress.unless_pending()?;
                }
                events.push(progress.redelivery_requested(replay_id));
                Ok(events)
            }
            WebhookDeliveryCommand::ExpungeAnswers { emission } => {
                let (mut events, progress) = self.emitted(emission)?;
                if !progress.is_expunged {
                    events.push(progress.answers_expunged());
                }
                Ok(events)
            }
        }
    }

    /// The delivery as it is, or a fresh one and the event that makes it.
    fn emitted(
        &self,
        emission: Emission,
    ) -> Result<(Vec<WebhookDeliveryEvent>, Progress), WebhookDeliveryRejection> {
        match self.progress {
            Some(progress) if progress.emission == emission => Ok((Vec::new(), progress)),
            Some(progress) => Err(WebhookDeliveryRejection::EmissionMismatch {
                expected: progress.emission.source_event_id,
                given: emission.source_event_id,
            }),
            None => {
                let event = WebhookDeliveryEvent::Emitted(WebhookDeliveryEmitted {
                    subscription_id: emission.subscription_id,
                    source_event_id: emission.source_event_id,
                    source_type: emission.source_type,
                    source_sequence: emission.source_sequence,
                });
                Ok((vec![event], Progress::new(emission)))
            }
        }
    }
}

impl Progress {
    const fn new(emission: Emission) -> Self {
        Self {
            emission,
            status: DeliveryStatus::Pending,
            attempt_count: 0,
            round_count: 0,
            is_expunged: false,
            replay_id: None,
        }
    }

    fn unless_finished(&self) -> Result<(), WebhookDeliveryRejection> {
        match self.status {
            DeliveryStatus::Pending => Ok(()),
            status @ (DeliveryStatus::Delivered | DeliveryStatus::Exhausted) => {
                Err(WebhookDeliveryRejection::AlreadyFinished { status })
            }
        }
    }

    fn record_attempt(&self, attempt: &Attempt, then: AfterAttempt) -> Events {
        self.unless_finished()?;
        self.check(attempt, then)?;
        let subscription_id = self.emission.subscription_id;
        let (next_attempt_at, end) = match then {
            AfterAttempt::RetryAt(moment) => (Some(moment), None),
            AfterAttempt::GiveUp(reason) => (None, Some(self.exhausted(reason))),
            AfterAttempt::Delivered => {
                let number = attempt.number;
                let delivered =
                    WebhookDeliveryDelivered { subscription_id, number, replay_id: self.replay_id };
                (None, Some(WebhookDeliveryEvent::Delivered(delivered)))
            }
        };
        let attempted = WebhookDeliveryEvent::Attempted(WebhookDeliveryAttempted {
            subscription_id,
            number: attempt.number,
            outcome: attempt.outcome,
            detail: attempt.detail,
            status: attempt.status,
            started_at: attempt.started_at,
            duration_ms: attempt.duration_ms,
            lookup_ms: attempt.phases.lookup_ms,
            connect_ms: attempt.phases.connect_ms,
            wait_ms: attempt.phases.wait_ms,
            body_ms: attempt.phases.body_ms,
            subscription_version: attempt.subscription_version,
            next_attempt_at,
        });
        Ok(std::iter::once(attempted).chain(end).collect())
    }

    fn check(&self, attempt: &Attempt, then: AfterAttempt) -> Result<(), WebhookDeliveryRejection> {
        let expected = self.attempt_count.saturating_add(1);
        if attempt.number != expected {
            return Err(WebhookDeliveryRejection::WrongAttemptNumber { expected, given: attempt.number });
        }
        match then {
            AfterAttempt::Delivered if attempt.outcome != AttemptOutcome::Success => {
                Err(WebhookDeliveryRejection::DeliveredWithoutSuccess { outcome: attempt.outcome })
            }
            AfterAttempt::RetryAt(_) if self.round_count.saturating_add(1) >= MAX_ATTEMPTS => {
                Err(WebhookDeliveryRejection::NoAttemptsLeft { number: attempt.number })
            }
            AfterAttempt::RetryAt(retry_at) if retry_at < attempt.started_at => {
                Err(WebhookDeliveryRejection::RetryBeforeAttempt { retry_at, started_at: attempt.started_at })
            }
            AfterAttempt::Delivered | AfterAttempt::RetryAt(_) | AfterAttempt::GiveUp(_) => Ok(()),
        }
    }

    const fn exhausted(&self, reason: FinalReason) -> WebhookDeliveryEvent {
        let (subscription_id, replay_id) = (self.emission.subscription_id, self.replay_id);
        WebhookDeliveryEvent::Exhausted(WebhookDeliveryExhausted { subscription_id, reason, replay_id })
    }

    const fn unless_pending(&self) -> Result<(), WebhookDeliveryRejection> {
        match self.status {
            DeliveryStatus::Pending => {
                Err(WebhookDeliveryRejection::StillPending { attempt_count: self.attempt_count })
            }
            DeliveryStatus::Delivered | DeliveryStatus::Exhausted => Ok(()),
        }
    }

    const fn answers_expunged(&self) -> WebhookDeliveryEvent {
        let subscription_id = self.emission.subscription_id;
        WebhookDeliveryEvent::AnswersExpunged(WebhookDeliveryAnswersExpunged { subscription_id })
    }

    const fn redelivery_requested(&self, replay_id: Option<ReplayId>) -> WebhookDeliveryEvent {
        let subscription_id = self.emission.subscription_id;
        WebhookDeliveryEvent::RedeliveryRequested(WebhookDeliveryRedeliveryRequested {
            subscription_id,
            replay_id,
        })
    }
}

impl Aggregate for WebhookDelivery {
    const TYPE: &'static str = StreamKind::WebhookDelivery.as_str();
    type Command = WebhookDeliveryCommand;
    type Event = WebhookDeliveryEvent;
    type Error = WebhookDeliveryRejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: WebhookDeliveryCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), WebhookDeliveryRejection> {
        write_all(self.decide(command)?, self, sink).await;
        Ok(())
    }

    fn apply(&mut self, event: WebhookDeliveryEvent) {
        if let WebhookDeliveryEvent::Emitted(emitted) = &event {
            self.progress = Some(Progress::new(Emission {
                subscription_id: emitted.subscription_id,
                source_event_id: emitted.source_event_id,
                source_type: emitted.source_type,
                source_sequence: emitted.source_sequence,
            }));
        }
        if let WebhookDeliveryEvent::RedeliveryRequested(requested) = &event {
            self.replays.extend(requested.replay_id);
        }
        if let Some(progress) = &mut self.progress {
            progress.apply(&event);
        }
    }
}

impl Progress {
    fn apply(&mut self, event: &WebhookDeliveryEvent) {
        match event {
            WebhookDeliveryEvent::Emitted(_) => {}
            WebhookDeliveryEvent::Attempted(attempted) => {
                self.attempt_count = attempted.number;
                self.round_count = self.round_count.saturating_add(1);
            }
            WebhookDeliveryEvent::Delivered(_) => self.status = DeliveryStatus::Delivered,
            WebhookDeliveryEvent::Exhausted(_) => self.status = DeliveryStatus::Exhausted,
            WebhookDeliveryEvent::RedeliveryRequested(requested) => {
                self.status = DeliveryStatus::Pending;
                self.replay_id = requested.replay_id;
                self.round_count = 0;
            }
            WebhookDeliveryEvent::AnswersExpunged(_) => self.is_expunged = true,
        }
    }
}
