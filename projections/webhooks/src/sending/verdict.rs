//! What follows from an outcome.

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
    GiveUp(GiveUpReason),
    /// The receiver wants nothing more. `delivered` tells whether this delivery still arrived.
    DisableSubscription {
        reason: DisableReason,
        delivered: bool,
    },
}

/// Why a delivery ends undelivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GiveUpReason {
    /// The last attempt failed.
    Exhausted,
    /// The last attempt found the address refused.
    BlockedUrl,
    /// The receiver answered `webhook-delivery: abort-message`.
    Aborted,
    /// 415: the receiver does not understand the format, and will not the next time either.
    FormatRefused,
}

/// Why a subscription is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DisableReason {
    /// 410: there is no receiver any more.
    Gone,
    /// The receiver answered `webhook-delivery: disable`.
    Requested,
}

impl AttemptOutcome {
    /// Decides what follows attempt number `attempt` (counted from 1), which ended at `now`.
    ///
    /// The status stands above `abort-message`: what arrived is delivered. `disable` counts with any status.
    /// A blocked URL is tried again like a failed lookup, because the owner of a name can repair it.
    pub fn verdict(&self, attempt: u32, jitter: Jitter, now: OffsetDateTime) -> Verdict {
        let delivered = self.kind == OutcomeKind::Success;
        if self.control == Some(DeliveryControl::Disable) {
            return Verdict::DisableSubscription { reason: DisableReason::Requested, delivered };
        }
        if delivered {
            return Verdict::Delivered;
        }
        match (self.status.map(|status| status.as_u16()), self.control) {
            (Some(410), _) => Verdict::DisableSubscription { reason: DisableReason::Gone, delivered },
            (_, Some(DeliveryControl::AbortMessage)) => Verdict::GiveUp(GiveUpReason::Aborted),
            (Some(415), _) => Verdict::GiveUp(GiveUpReason::FormatRefused),
            _ => self.retry_or_give_up(attempt, jitter, now),
        }
    }

    fn retry_or_give_up(&self, attempt: u32, jitter: Jitter, now: OffsetDateTime) -> Verdict {
        match retry_delay(attempt, jitter, self.retry_after) {
            Some(delay) => Verdict::RetryLater { not_before: now + delay },
            None if self.kind == OutcomeKind::BlockedUrl => Verdict::GiveUp(GiveUpReason::BlockedUrl),
            None => Verdict::GiveUp(GiveUpReason::Exhausted),
        }
    }
}

impl GiveUpReason {
    /// The name in events, tables and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::BlockedUrl => "blocked_url",
            Self::Aborted => "aborted",
            Self::FormatRefused => "format_refused",
        }
    }
}

impl DisableReason {
    /// The name in events, tables and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Requested => "requested",
        }
    }
}

#[cfg(test)]
mod tests;
