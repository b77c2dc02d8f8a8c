//! Durations of many operations.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::report::Report;

/// A histogram in microseconds, up to a minute, three digits.
#[derive(Clone, Debug)]
pub(super) struct Timings(Histogram<u64>);

impl Default for Timings {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are constants"))
    }
}

impl Timings {
    pub(super) fn record(&mut self, duration: Duration) {
        self.0.saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.0 += &other.0;
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// Milliseconds below which this share lies.
    pub(super) fn milliseconds(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1000.0
    }

    /// Enters median and 99th percentile.
    pub(super) fn enter(&self, report: &mut Report, what: &str) {
        report.figure(&format!("{what}, p50"), "ms", self.milliseconds(0.5));
        report.figure(&format!("{what}, p99"), "ms", self.milliseconds(0.99));
    }
}
