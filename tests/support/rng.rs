//! Randomness from a seed that is printed, so that a failure can be had again.

/// `SplitMix64`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    pub(crate) fn chance(&mut self, p: f64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a probability needs no more")]
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        unit < p
    }

    pub(crate) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// The seed of this run: the one that was asked for, else a fixed one, so that CI is the same each time. Printed by the caller.
pub(crate) fn seed() -> u64 {
    wanted_seed().unwrap_or(20_261_124)
}

/// The seed in `RINGHOOKD_SEED`, with which a failure is had again.
pub(crate) fn wanted_seed() -> Option<u64> {
    let text = std::env::var("RINGHOOKD_SEED").ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("RINGHOOKD_SEED={text:?}: not a number")))
}
