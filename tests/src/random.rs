//! Random choices that can be made again.

/// `SplitMix64`: the same seed gives the same choices.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Choices that follow from a seed.
    pub const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed of `CARELOG_TEST_SEED`, or `usual`; printed, so that a failure shows it.
    pub fn seed(usual: u64) -> u64 {
        let asked = std::env::var("CARELOG_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = asked.unwrap_or(usual);
        println!("CARELOG_TEST_SEED={seed}");
        seed
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of several values.
    pub fn pick<'a, T>(&mut self, values: &'a [T]) -> &'a T {
        let index = usize::try_from(self.below(values.len() as u64)).unwrap_or_default();
        values.get(index).expect("there is something to pick from")
    }
}
