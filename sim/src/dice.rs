//! Repeatable randomness.

use std::sync::{Arc, Mutex, PoisonError};
use words_world::Random;

/// A seeded source of randomness (SplitMix64): the same seed throws the same dice for ever.
#[derive(Clone)]
pub struct Dice {
    state: Arc<Mutex<u64>>,
}

impl Dice {
    /// The dice of a seed.
    pub fn new(seed: u64) -> Dice {
        Dice { state: Arc::new(Mutex::new(seed)) }
    }

    /// Dice of their own for one purpose, so that throws for one thing do not shift those for another.
    pub fn fork(&self) -> Dice {
        Dice::new(self.next())
    }

    /// The next 64 bits.
    pub fn next(&self) -> u64 {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `from..to`.
    pub fn range(&self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from).max(1)
    }

    /// True once in `n` throws on average.
    pub fn one_in(&self, n: u64) -> bool {
        self.next().is_multiple_of(n.max(1))
    }

    /// One of the choices.
    pub fn pick<'a, T>(&self, choices: &'a [T]) -> &'a T {
        &choices[(self.next() % choices.len() as u64) as usize]
    }
}

impl Random for Dice {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}
