//! How often anybody may call: a budget per API key, one per network address without a valid key, one for the
//! refusals that are written to the log, one request at a time per idempotency key, and a few per API key that wait.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
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
/// Requests of one key that wait for events, or replay the trail, at the same time. Each of the former reads the database
/// whenever anything happens in its lane, of whatever clinic, and each of the latter holds a connection for minutes; a
/// program needs one for each subscription that it follows.
const WAITING_PER_KEY: u8 = 8;
/// When to come again if too many wait: who waits for events has an answer half a minute later at most.
const WAITING_RETRY_SECONDS: u64 = 5;

/// All budgets of this process.
#[derive(Debug)]
pub(super) struct Limits {
    keys: DefaultKeyedRateLimiter<Uuid>,
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    denials: DefaultKeyedRateLimiter<Uuid>,
    clock: DefaultClock,
    in_flight: Mutex<HashSet<(Uuid, String)>>,
    /// How many requests of a key wait; keys without any are left out.
    waiting: Arc<Mutex<HashMap<Uuid, u8>>>,
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
            waiting: Arc::default(),
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

    /// Takes one of the key's places for requests that wait.
    pub(super) fn begin_waiting(&self, id: ApiKeyId) -> Result<Waiting, Problem> {
        let key = id.uuid();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.entry(key).or_default();
        if *count < WAITING_PER_KEY {
            *count += 1;
            return Ok(Waiting { places: Arc::clone(&self.waiting), key });
        }
        metrics::counter!("carelog_http_rate_limited_total").increment(1);
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_waiting")
            .detail(format!("{WAITING_PER_KEY} requests of this key are waiting already"))
            .retry_after(WAITING_RETRY_SECONDS))
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

/// A place among the requests of a key that wait. It is free again when this is dropped, which happens with the
/// request's future or the body of its answer too when the client hangs up.
#[derive(Debug)]
pub(super) struct Waiting {
    places: Arc<Mutex<HashMap<Uuid, u8>>>,
    key: Uuid,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = waiting.entry(self.key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ApiKeyId = ApiKeyId::new(Uuid::from_u128(1));
    const ANOTHER: ApiKeyId = ApiKeyId::new(Uuid::from_u128(2));

    #[test]
    fn a_key_has_some_places_to_wait_in_and_gets_them_back() {
        let limits = Limits::new(&HttpConfig::default());
        let mut places: Vec<_> = (0..WAITING_PER_KEY).map(|_| limits.begin_waiting(KEY).unwrap()).collect();

        let refused = limits.begin_waiting(KEY).unwrap_err();
        assert_eq!((refused.status().as_u16(), refused.code()), (429, "too_many_waiting"));
        assert!(limits.begin_waiting(ANOTHER).is_ok(), "each key has its own");
        places.pop();
        let last = limits.begin_waiting(KEY).unwrap();
        assert!(limits.begin_waiting(KEY).is_err());

        drop((places, last));
        assert!(limits.waiting.lock().unwrap().is_empty(), "nothing is kept of keys that do not wait");
    }
}
