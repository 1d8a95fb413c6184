//! Randomness of a run: everything that could go one way or another asks here, and a seed decides it all.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Dice with a seed.
#[derive(Debug)]
pub(super) struct Dice(StdRng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// One of `0..below`; 0 of nothing.
    pub(super) fn below(&mut self, below: u64) -> u64 {
        if below == 0 { 0 } else { self.0.random_range(0..below) }
    }

    /// Both ends included.
    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// True so often in a thousand times.
    pub(super) fn chance(&mut self, in_1000: u64) -> bool {
        self.below(1000) < in_1000
    }

    /// One of a list, if there is any.
    pub(super) fn pick<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        let at = self.below(list.len() as u64);
        list.get(usize::try_from(at).unwrap_or(0))
    }

    /// A place in a list of this length.
    pub(super) fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }
}
