//! How often anybody may call: a budget per API key, one per network address without a valid key, one for the
//! refusals that are written to the log, and one request at a time per idempotency key.

use std::collections::HashSet;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use carelog_domain::{ApiKeyId, OrganizationId};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::StatusCode;
use uuid::Uuid;

use super::problem::Problem;
use crate::config::HttpConfig;

/// Refusals of one key that are written down in a minute; the rest is only counted.
const DENIALS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(10).expect("not zero");

/// All budgets of this process.
#[derive(Debug)]
pub(super) struct Limits {
    keys: DefaultKeyedRateLimiter<Uuid>,
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    denials: DefaultKeyedRateLimiter<Uuid>,
    clock: DefaultClock,
    in_flight: Mutex<HashSet<(Uuid, String)>>,
}

impl Limits {
    pub(super) fn new(config: &HttpConfig) -> Self {
        let twice = |rate: NonZeroU32| rate.saturating_mul(NonZeroU32::MIN.saturating_add(1));
        let quota = |rate: NonZeroU32| Quota::per_second(rate).allow_burst(twice(rate));
        Self {
            keys: RateLimiter::dashmap(quota(config.requests_per_second)),
            addresses: RateLimiter::dashmap(quota(config.anonymous_requests_per_second)),
            denials: RateLimiter::dashmap(Quota::per_minute(DENIALS_PER_MINUTE)),
            clock: DefaultClock::default(),
            in_flight: Mutex::default(),
        }
    }

    pub(super) fn check_key(&self, id: ApiKeyId) -> Result<(), Problem> {
        self.keys
            .check_key(&id.uuid())
            .map_err(|not_until| self.limited(not_until.wait_time_from(self.clock.now())))
    }

    pub(super) fn check_address(&self, address: IpAddr) -> Result<(), Problem> {
        self.addresses
            .check_key(&address)
            .map_err(|not_until| self.limited(not_until.wait_time_from(self.clock.now())))
    }

    /// Whether a refusal of this key is written down.
    pub(super) fn records_denial(&self, id: ApiKeyId) -> bool {
        self.denials.check_key(&id.uuid()).is_ok()
    }

    /// Claims an idempotency key for one request of this process.
    pub(super) fn begin(&self, organization_id: OrganizationId, key: &str) -> Result<InFlight<'_>, Problem> {
        let entry = (organization_id.uuid(), key.to_owned());
        if self.in_flight.lock().unwrap_or_else(PoisonError::into_inner).insert(entry.clone()) {
            return Ok(InFlight { limits: self, entry });
        }
        Err(Problem::new(StatusCode::CONFLICT, "idempotency_key_in_flight")
            .detail("a request with this idempotency key is being served")
            .retry_after(1))
    }

    /// Forgets callers who have their whole budget back.
    pub(super) fn tidy(&self) {
        self.keys.retain_recent();
        self.addresses.retain_recent();
        self.denials.retain_recent();
    }

    #[expect(clippy::unused_self, reason = "reads as a verb of the limits")]
    fn limited(&self, wait: Duration) -> Problem {
        metrics::counter!("carelog_http_rate_limited_total").increment(1);
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited").retry_after(wait.as_secs() + 1)
    }
}

/// An idempotency key that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct InFlight<'a> {
    limits: &'a Limits,
    entry: (Uuid, String),
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.limits.in_flight.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.entry);
    }
}
