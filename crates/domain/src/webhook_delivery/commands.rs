//! What can be recorded about a delivery or asked of it, and how it refuses.

use serde::{Deserialize, Serialize};

use super::DeliveryStatus;
use super::events::{AttemptDetail, AttemptOutcome, FinalReason};
use crate::aggregate::rejections;
use crate::ids::{EventId, ReplayId, SubscriptionId};
use crate::{EventType, Timestamp};

/// A wish about a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookDeliveryCommand {
    /// Tell how an attempt ended.
    RecordAttempt {
        /// What is delivered; makes the delivery when this is the first that is heard of it.
        emission: Emission,
        /// How it ended.
        attempt: Attempt,
        /// What follows.
        then: AfterAttempt,
    },
    /// Give up without a further attempt.
    GiveUp {
        /// What is delivered; makes the delivery when this is the first that is heard of it.
        emission: Emission,
        /// Why.
        reason: FinalReason,
    },
    /// Send it again, though it was delivered or given up; or send it after all, though it was skipped. Whoever asks
    /// has seen that it waits for nothing: that of a delivery without a history is not decided here.
    RequestRedelivery {
        /// What is delivered.
        emission: Emission,
        /// The replay that asks, where it is one. Each replay gets a delivery sent once.
        replay_id: Option<ReplayId>,
    },
    /// Keep nothing of the receiver's answers, neither of those that came nor of those that will. Whoever says so has
    /// them removed.
    ExpungeAnswers {
        /// What is delivered.
        emission: Emission,
    },
}

/// What is delivered, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emission {
    /// To which subscription.
    pub subscription_id: SubscriptionId,
    /// Which event.
    pub source_event_id: EventId,
    /// Its type.
    pub source_type: EventType,
    /// Its organization sequence.
    pub source_sequence: i64,
}

/// One HTTP try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// One more than the attempts so far.
    pub number: u16,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// What exactly was wrong, where the outcome does not tell.
    pub detail: Option<AttemptDetail>,
    /// The HTTP status, when there was one.
    pub status: Option<u16>,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration_ms: u32,
    /// The parts of that.
    pub phases: Phases,
    /// The version of the subscription's stream that told what to send; nothing where nothing was.
    pub subscription_version: Option<i64>,
}

/// How long the parts of an attempt took, in milliseconds. The last one is that in which the attempt ended; nothing
/// stands where a part did not take place, as with a connection that was kept from an earlier attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// Looking the name up.
    pub lookup_ms: Option<u32>,
    /// Connecting, TLS included.
    pub connect_ms: Option<u32>,
    /// Sending, and waiting for the head of the answer.
    pub wait_ms: Option<u32>,
    /// Reading its body.
    pub body_ms: Option<u32>,
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterAttempt {
    /// Nothing; the receiver has it.
    Delivered,
    /// Another attempt at this moment.
    RetryAt(Timestamp),
    /// Nothing, for this reason.
    GiveUp(FinalReason),
}

rejections! {
    /// Why a delivery refuses a command.
    pub enum WebhookDeliveryRejection {
        EmissionMismatch { expected: EventId, given: EventId } = Invalid "emission_mismatch",
            "this is the delivery of event {expected}, not the one that was named with event {given}";
        AlreadyFinished { status: DeliveryStatus } = Conflict "already_finished",
            "the delivery is already {status}";
        WrongAttemptNumber { expected: u16, given: u16 } = Conflict "wrong_attempt_number",
            "the next attempt is number {expected}, not {given}";
        DeliveredWithoutSuccess { outcome: AttemptOutcome } = Invalid "delivered_without_success",
            "an attempt that ended as {outcome} delivered nothing";
        NoAttemptsLeft { number: u16 } = Conflict "no_attempts_left",
            "attempt {number} was the last of its round";
        RetryBeforeAttempt { retry_at: Timestamp, started_at: Timestamp } = Invalid "retry_before_attempt",
            "the retry at {retry_at} would come before the attempt of {started_at}";
        StillPending { attempt_count: u16 } = Conflict "still_pending",
            "the delivery is still pending after {attempt_count} attempts";
        AlreadyReplayed { replay_id: ReplayId } = Conflict "already_replayed",
            "replay {replay_id} has asked for this delivery already";
    }
}
