//! Chance for the stream: a small generator, good enough to look alive, that tests can seed.

use std::time::Duration;

/// A generator of the xorshift family (Marsaglia, "Xorshift RNGs", 2003).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// Seeded by the system; without its randomness always the same.
    pub(super) fn new() -> Self {
        let mut seed = [0; 8];
        let drawn = getrandom::fill(&mut seed);
        Self::seeded(if drawn.is_ok() { u64::from_le_bytes(seed) } else { 1 })
    }

    /// The same seed throws the same.
    pub(super) const fn seeded(seed: u64) -> Self {
        // Zero would stay zero for ever.
        Self(seed | 1)
    }

    /// A number below `limit`; 0 when that is 0.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let high = self.0 >> 33;
        usize::try_from(high).unwrap_or_default().checked_rem(limit).unwrap_or_default()
    }

    /// One of these.
    pub(super) fn pick<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(self.below(all.len())).copied()
    }

    /// A duration between half and one and a half times this one.
    pub(super) fn around(&mut self, mean: Duration) -> Duration {
        let thousandths = u32::try_from(500 + self.below(1_001)).unwrap_or(1_000);
        mean * thousandths / 1_000
    }
}
