//! Chance from a seed: one stream for each cause, so that more chance taken by one does not shift the others.

use backend::clock::Random;
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use std::{
    ops::RangeInclusive,
    sync::{Mutex, PoisonError},
};

/// A stream of chance.
pub struct Chance(StdRng);

impl Chance {
    /// The stream of that name (at most 24 bytes) of a seed.
    pub fn new(seed: u64, stream: &str) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..8 + stream.len()].copy_from_slice(stream.as_bytes());
        Self(StdRng::from_seed(bytes))
    }

    /// True in `percent` of a hundred cases.
    pub fn percent(&mut self, percent: u32) -> bool {
        self.0.random_range(0..100) < percent
    }

    /// A number within bounds, each as likely.
    pub fn between(&mut self, bounds: RangeInclusive<u64>) -> u64 {
        self.0.random_range(bounds)
    }

    /// One of several, each as likely.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.0.random_range(0..from.len())]
    }
}

/// The backend's randomness.
pub struct SeededRandom(Mutex<StdRng>);

impl SeededRandom {
    /// The backend's stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(Chance::new(seed, "backend").0))
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
    }
}
