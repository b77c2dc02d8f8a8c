//! What follows from an outcome.

use carelog_domain::webhook_delivery::FinalReason;
use carelog_domain::webhook_subscription::DisableReason;
use time::OffsetDateTime;

use super::outcome::{AttemptOutcome, DeliveryControl, OutcomeKind};
use super::schedule::{Jitter, retry_delay};

/// What happens to the delivery, and to its subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Delivered,
    /// Another attempt, no earlier than this.
    RetryLater {
        not_before: OffsetDateTime,
    },
    /// No further attempt of this delivery; the subscription goes on.
    GiveUp(FinalReason),
    /// The receiver wants nothing more. `delivered` tells whether this delivery still arrived.
    DisableSubscription {
        reason: DisableReason,
        delivered: bool,
    },
}

impl AttemptOutcome {
    /// Decides what follows attempt number `attempt` (counted from 1), which ended at `now`.
    ///
    /// The status stands above `abort-message`: what arrived is delivered. `disable` counts with any status.
    /// A blocked URL is tried again like a failed lookup, because the owner of a name can repair it.
    pub fn verdict(&self, attempt: u32, jitter: Jitter, now: OffsetDateTime) -> Verdict {
        let delivered = self.kind == OutcomeKind::Success;
        if self.control == Some(DeliveryControl::Disable) {
            return Verdict::DisableSubscription { reason: DisableReason::ReceiverRequest, delivered };
        }
        if delivered {
            return Verdict::Delivered;
        }
        match (self.status.map(|status| status.as_u16()), self.control) {
            (Some(410), _) => Verdict::DisableSubscription { reason: DisableReason::Gone, delivered },
            (_, Some(DeliveryControl::AbortMessage)) => Verdict::GiveUp(FinalReason::Aborted),
            (Some(415), _) => Verdict::GiveUp(FinalReason::Unsupported),
            _ => self.retry_or_give_up(attempt, jitter, now),
        }
    }

    fn retry_or_give_up(&self, attempt: u32, jitter: Jitter, now: OffsetDateTime) -> Verdict {
        match retry_delay(attempt, jitter, self.retry_after) {
            Some(delay) => Verdict::RetryLater { not_before: now + delay },
            None if self.kind == OutcomeKind::BlockedUrl => Verdict::GiveUp(FinalReason::BlockedUrl),
            None => Verdict::GiveUp(FinalReason::Exhausted),
        }
    }
}

#[cfg(test)]
mod tests;
