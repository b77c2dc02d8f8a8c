//! What an outcome says of the subscription's other deliveries.

use std::time::Duration;

use carelog_event_log::effects::Sign;
use http::StatusCode;

use crate::sending::{AttemptOutcome, OutcomeKind};

/// Longest time for which a receiver's `Retry-After` holds the other deliveries of its subscription.
const LONGEST_HOLD: Duration = Duration::from_hours(1);

/// What an outcome says of the subscription's other deliveries.
pub(crate) fn sign(outcome: &AttemptOutcome) -> Sign {
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
