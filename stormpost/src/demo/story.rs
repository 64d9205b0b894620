//! The story as it happens: printed with times, kept for the page.

use super::report::Moment;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The teller. Clones tell the same story.
#[derive(Clone)]
pub struct Story {
    began: Instant,
    moments: Arc<Mutex<Vec<Moment>>>,
}

impl Default for Story {
    fn default() -> Story {
        Story { began: Instant::now(), moments: Arc::default() }
    }
}

impl Story {
    /// Tells something that belongs on the time line. `mood`: -1 bad, 1 good, 0 neither.
    pub fn tell(&self, mood: i8, what: impl Into<String>) {
        let what = what.into();
        let at = self.began.elapsed().as_secs_f64();
        let sign = match mood {
            -1 => '✗',
            1 => '✓',
            _ => '·',
        };
        println!("{at:7.1} s  {sign} {what}");
        self.moments.lock().unwrap_or_else(PoisonError::into_inner).push(Moment { at, what, mood });
    }

    /// Tells how far it is; not for the time line.
    pub fn progress(&self, what: &str) {
        println!("{:7.1} s    {what}", self.began.elapsed().as_secs_f64());
    }

    /// The time line.
    pub fn moments(&self) -> Vec<Moment> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
