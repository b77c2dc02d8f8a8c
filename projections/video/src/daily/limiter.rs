//! The pace of requests, for each organization, because limits hold for each domain of Daily.

use std::num::NonZeroU32;
use std::time::Duration;

use carelog_domain::OrganizationId;
use governor::clock::DefaultClock;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

type Keyed = RateLimiter<OrganizationId, DashMapStateStore<OrganizationId>, DefaultClock>;

/// How often Daily may be asked for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    /// 100 requests in 5 s.
    Ordinary,
    /// 50 requests in 30 s; whether deleting rooms is among these is not certain, so it is treated so.
    Slow,
    /// 5 requests in 5 s: beginning a recording.
    Recording,
}

/// Holds requests back, by organization.
#[derive(Debug)]
pub(super) struct Limiter {
    ordinary: Keyed,
    slow: Keyed,
    recording: Keyed,
}

impl Limiter {
    /// Burst and rate together stay below the limit in any window: 10 + 5 × 18 ≤ 100, and 5 + 30 × 1.5 ≤ 50.
    pub(super) fn new() -> Self {
        const RATE: NonZeroU32 = NonZeroU32::new(18).expect("not zero");
        const BURST: NonZeroU32 = NonZeroU32::new(10).expect("not zero");
        const SLOW_EVERY: Duration = Duration::from_millis(667);
        const SLOW_BURST: NonZeroU32 = NonZeroU32::new(5).expect("not zero");
        let slow = Quota::with_period(SLOW_EVERY).expect("not zero").allow_burst(SLOW_BURST);
        // 1 + 5 × 0.5 ≤ 5.
        let recording = Quota::with_period(Duration::from_secs(2)).expect("not zero");
        Self {
            recording: RateLimiter::keyed(recording),
            ordinary: RateLimiter::keyed(Quota::per_second(RATE).allow_burst(BURST)),
            slow: RateLimiter::keyed(slow),
        }
    }

    /// Waits for the organization's turn.
    pub(super) async fn turn(&self, tier: Tier, organization_id: OrganizationId) {
        match tier {
            Tier::Ordinary => self.ordinary.until_key_ready(&organization_id).await,
            Tier::Recording => self.recording.until_key_ready(&organization_id).await,
            Tier::Slow => self.slow.until_key_ready(&organization_id).await,
        }
    }
}
