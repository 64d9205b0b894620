//! How many come to a primary at once and how fast they ask, by the rule.

use rules_merge::{Answer, Pace, PaceOptions};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often it is looked whether there is room.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) struct Gate {
    since: Instant,
    inside: Mutex<(Pace, u32)>,
}

/// Room for one connection that works; given back when it is dropped.
pub(crate) struct Place<'a>(&'a Gate);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.lock().1 -= 1;
    }
}

impl Gate {
    pub(crate) fn new(options: PaceOptions) -> Gate {
        Gate { since: Instant::now(), inside: Mutex::new((Pace::new(options), 0)) }
    }

    fn lock(&self) -> MutexGuard<'_, (Pace, u32)> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is room for one more.
    pub(crate) async fn enter(&self) -> Place<'_> {
        loop {
            {
                let mut inside = self.lock();
                if inside.1 < inside.0.connections() {
                    inside.1 += 1;
                    return Place(self);
                }
            }
            sleep(LOOK).await;
        }
    }

    /// Waits until the next command may go.
    pub(crate) async fn pace(&self) {
        let wait = self.lock().0.wait(self.since.elapsed());
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    pub(crate) fn hear(&self, answer: Answer) {
        let now = self.since.elapsed();
        self.lock().0.hear(answer, now);
    }
}
