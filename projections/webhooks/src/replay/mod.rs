//! Sending deliveries of a subscription again in bulk, as a job that lasts.
//!
//! A replay is a stream of its own; its request becomes an effect of the same ledger as deliveries, in a queue of its
//! own. The worker takes that effect, asks for the next deliveries in the order of their events, appends where it
//! stands, and asks to be called again. Whoever takes the effect next goes on from there, in whatever process.
//!
//! Nothing is sent twice by one replay: a request names the replay, a delivery refuses the second request of the same
//! one, and it is made under the version at which the delivery was looked at. A delivery that waits for an attempt
//! anyway is skipped and counted.
//!
//! Fresh events are not stuck behind a replay: it asks for more only while fewer than [`MAX_WAITING`] deliveries, and
//! no more than may begin in a tick, wait in the subscription's queue; and it waits while that queue fails. While the
//! subscription is disabled a replay waits, and when it is deleted the replay ends. After a replay was cancelled, what
//! it had asked for is still sent: that is at most what waited.

mod candidates;
mod fold;
mod queries;
mod worker;
mod write;

use carelog_domain::{ReplayId, SubscriptionId};
use carelog_event_log::derived_id;

pub(crate) use fold::ReplayPage;
pub use queries::{Matching, ReplayFilter, ReplayRow, last_replay, matching, replay, replays, running};
pub(crate) use worker::Replayer;
pub(crate) use write::write_replays;

/// Deliveries of one subscription that may wait before a replay asks for more.
pub const MAX_WAITING: u16 = 100;
/// Looks of a replay at its queue in a second.
const LOOKS_A_SECOND: u32 = 5;
/// Seconds of a tick, as the pace of a queue is counted.
const TICK_SECONDS: u32 = 5;

/// The n-th replay of a subscription has the same id wherever it is computed, so that two that are asked for at once
/// meet in one stream.
pub fn replay_id(subscription_id: SubscriptionId, number: u32) -> ReplayId {
    ReplayId::new(derived_id(subscription_id.uuid(), format!("replay {number}").as_bytes()))
}

/// How many seconds it takes to ask for so many deliveries when a tick may begin `per_tick` of them, while nothing else
/// is sent and the receiver works.
pub fn estimated_seconds(count: u32, per_tick: u16) -> u32 {
    let a_tick = u32::from(per_tick.clamp(1, MAX_WAITING)) * LOOKS_A_SECOND * TICK_SECONDS;
    let a_tick = a_tick.min(u32::from(per_tick.max(1)));
    u32::try_from((u64::from(count) * u64::from(TICK_SECONDS)).div_ceil(u64::from(a_tick)))
        .unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_follows_the_pace_and_never_passes_what_a_replay_can_ask_for() {
        assert_eq!(estimated_seconds(1_000_000, 50), 100_000);
        assert_eq!(estimated_seconds(1, 50), 1);
        assert_eq!(estimated_seconds(50_000, 10_000), 100);
        assert_eq!(estimated_seconds(0, 50), 0);
        assert_eq!(estimated_seconds(u32::MAX, 0), u32::MAX);
    }

    #[test]
    fn replays_of_a_subscription_have_ids_of_their_own() {
        let [one, other] = [1, 2].map(|id| SubscriptionId::new(uuid::Uuid::from_u128(id)));

        assert_eq!(replay_id(one, 1), replay_id(one, 1));
        assert_ne!(replay_id(one, 1), replay_id(one, 2));
        assert_ne!(replay_id(one, 1), replay_id(other, 1));
    }
}
