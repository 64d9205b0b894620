//! A wall clock that follows the simulated monotonic one, and jumps when told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::time::Instant;
use words_mail::Time;
use words_world::Clock;

/// The simulated wall clock of one node. Create it inside the simulation's runtime.
#[derive(Clone)]
pub struct SimClock {
    began: Instant,
    offset: Arc<AtomicI64>,
}

impl SimClock {
    /// A clock that shows `start` now.
    pub fn new(start: Time) -> SimClock {
        SimClock { began: Instant::now(), offset: Arc::new(AtomicI64::new(start.0)) }
    }

    /// Jumps by so many microseconds, in either direction.
    pub fn jump(&self, micros: i64) {
        self.offset.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Time {
        let elapsed = i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX);
        Time(self.offset.load(Ordering::Relaxed).saturating_add(elapsed))
    }
}
