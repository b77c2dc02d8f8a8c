//! What is counted of deliveries. Outcomes are counted once they are in the log, so that a recount from there gives the
//! same; one that was refused there, because its lease was over, is counted as fenced.
//!
//! Every attempt is counted. Ends are those of *rounds*: the first one follows from the event, each further one from a
//! request to send it again, and the label `round` tells them apart. So a delivery counts once among the ends of first
//! rounds, whatever comes later. Both histograms are of first rounds alone: how long somebody took to ask for another
//! one is no latency of Carelog's.

use std::time::Duration;

use carelog_domain::Timestamp;
use carelog_domain::webhook_delivery::{AfterAttempt, Attempt, FinalReason, WebhookDeliveryCommand};

/// Which round of a delivery, and how far it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// Whether nobody has asked to send the event again.
    pub(crate) is_first: bool,
    /// Attempts before the one that is recorded.
    pub(crate) attempts_before: u16,
}

impl Round {
    const fn label(self) -> &'static str {
        if self.is_first { "first" } else { "later" }
    }
}

/// An outcome was recorded. `recorded_at` is the moment of the event that is delivered.
pub(crate) fn recorded(command: &WebhookDeliveryCommand, recorded_at: Timestamp, round: Round) {
    match command {
        WebhookDeliveryCommand::RecordAttempt { attempt, then, .. } => {
            attempted(attempt, *then, recorded_at, round);
        }
        WebhookDeliveryCommand::GiveUp { reason, .. } => failed(*reason, round, 1),
        WebhookDeliveryCommand::RequestRedelivery { .. } | WebhookDeliveryCommand::ExpungeAnswers { .. } => {}
    }
}

/// Events came whose subscription was not active. That is how their first rounds ended.
pub(crate) fn skipped(count: u64) {
    failed(FinalReason::SkippedInactive, Round { is_first: true, attempts_before: 0 }, count);
}

/// An outcome was refused: somebody else has taken the delivery over.
pub(crate) fn fenced(count: u64) {
    metrics::counter!("carelog_webhook_fenced_total").increment(count);
}

fn attempted(attempt: &Attempt, then: AfterAttempt, recorded_at: Timestamp, round: Round) {
    metrics::counter!("carelog_webhook_attempts_total", "outcome" => attempt.outcome.as_str()).increment(1);
    let is_first_attempt = round.attempts_before == 0;
    if round.is_first && is_first_attempt {
        metrics::histogram!("carelog_webhook_first_attempt_seconds")
            .record(between(recorded_at, attempt.started_at));
    }
    match then {
        AfterAttempt::Delivered => {
            let which = if is_first_attempt { "first" } else { "later" };
            metrics::counter!("carelog_webhook_delivered_total", "attempt" => which, "round" => round.label())
                .increment(1);
            if round.is_first {
                let took = Duration::from_millis(u64::from(attempt.duration_ms));
                metrics::histogram!("carelog_webhook_delivered_seconds")
                    .record(between(recorded_at, attempt.started_at) + took);
            }
        }
        AfterAttempt::GiveUp(reason) => failed(reason, round, 1),
        AfterAttempt::RetryAt(_) => {}
    }
}

fn failed(reason: FinalReason, round: Round, count: u64) {
    metrics::counter!("carelog_webhook_failed_total", "reason" => reason.as_str(), "round" => round.label())
        .increment(count);
}

/// Nothing where clocks of different machines disagree.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(to.unix_micros() - from.unix_micros()).unwrap_or_default())
}
