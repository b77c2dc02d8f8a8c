//! What is counted of deliveries. Outcomes are counted once they are in the log, so that the counts are those of the
//! rows; one that was refused there, because its lease was over, is counted as fenced.

use std::time::Duration;

use carelog_domain::Timestamp;
use carelog_domain::webhook_delivery::{AfterAttempt, Attempt, WebhookDeliveryCommand};

/// An outcome was recorded. `recorded_at` is the moment of the event that is delivered.
pub(crate) fn recorded(command: &WebhookDeliveryCommand, recorded_at: Timestamp, is_first_round: bool) {
    match command {
        WebhookDeliveryCommand::RecordAttempt { attempt, then, .. } => {
            attempted(attempt, *then, recorded_at, is_first_round);
        }
        WebhookDeliveryCommand::GiveUp { reason, .. } => failed(reason.as_str()),
        WebhookDeliveryCommand::RequestRedelivery { .. } | WebhookDeliveryCommand::ExpungeAnswers { .. } => {}
    }
}

/// An outcome was refused: somebody else has taken the delivery over.
pub(crate) fn fenced(count: u64) {
    metrics::counter!("carelog_webhook_fenced_total").increment(count);
}

fn attempted(attempt: &Attempt, then: AfterAttempt, recorded_at: Timestamp, is_first_round: bool) {
    metrics::counter!("carelog_webhook_attempts_total", "outcome" => attempt.outcome.as_str()).increment(1);
    if attempt.number == 1 {
        metrics::histogram!("carelog_webhook_first_attempt_seconds")
            .record(between(recorded_at, attempt.started_at));
    }
    match then {
        AfterAttempt::Delivered => {
            let which = if attempt.number == 1 { "first" } else { "later" };
            metrics::counter!("carelog_webhook_delivered_total", "attempt" => which).increment(1);
            if is_first_round {
                let took = Duration::from_millis(u64::from(attempt.duration_ms));
                metrics::histogram!("carelog_webhook_delivered_seconds")
                    .record(between(recorded_at, attempt.started_at) + took);
            }
        }
        AfterAttempt::GiveUp(reason) => failed(reason.as_str()),
        AfterAttempt::RetryAt(_) => {}
    }
}

fn failed(reason: &'static str) {
    metrics::counter!("carelog_webhook_failed_total", "reason" => reason).increment(1);
}

/// Nothing where clocks of different machines disagree.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(to.unix_micros() - from.unix_micros()).unwrap_or_default())
}
