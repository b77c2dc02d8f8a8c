//! A clock that a test moves by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use carelog_domain::Timestamp;
use carelog_event_log::{Clock, SystemClock};

/// Stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(now.unix_micros())))
    }

    /// Moves the clock; backwards, where that is what is tested.
    pub fn advance_seconds(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.0.load(Ordering::SeqCst)).expect("tests stay within the calendar")
    }
}

/// The system's clock, shifted.
#[derive(Debug)]
pub struct ShiftedClock(AtomicI64);

impl ShiftedClock {
    /// Ahead by so many seconds, or behind.
    pub fn by_seconds(seconds: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(seconds)))
    }

    /// Steps by so many seconds more.
    pub fn step_seconds(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().saturating_add_micros(self.0.load(Ordering::SeqCst) * 1_000_000)
    }
}
