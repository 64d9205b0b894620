//! The story as it happens: printed with times, kept for the page.

use super::report::Moment;
use std::io::Write;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Nobody looks at a still screen for longer than this.
const STILL_MAX: Duration = Duration::from_millis(2_500);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The teller. Clones tell the same story.
#[derive(Clone)]
pub(super) struct Story {
    began: Instant,
    told: Arc<Mutex<Told>>,
}

struct Told {
    moments: Vec<Moment>,
    last: Instant,
}

impl Default for Story {
    fn default() -> Story {
        let began = Instant::now();
        Story { began, told: Arc::new(Mutex::new(Told { moments: Vec::new(), last: began })) }
    }
}

impl Story {
    /// Tells something that belongs on the time line. `mood`: -1 bad, 1 good, 0 neither.
    pub(super) fn tell(&self, mood: i8, what: impl Into<String>) {
        self.tell_of(mood, Instant::now(), what);
    }

    /// The same of a moment that lies a little back.
    pub(super) fn tell_of(&self, mood: i8, when: Instant, what: impl Into<String>) {
        let what = what.into();
        let at = when.saturating_duration_since(self.began).as_secs_f64();
        let sign = match mood {
            -1 => '✗',
            1 => '✓',
            _ => '·',
        };
        say(&format!("{at:7.1} s  {sign} {what}"));
        let mut told = self.inner();
        told.moments.push(Moment { at, what, mood });
        told.last = Instant::now();
    }

    /// Tells how far it is; not for the time line.
    pub(super) fn progress(&self, what: &str) {
        say(&format!("{:7.1} s    {what}", self.began.elapsed().as_secs_f64()));
        self.inner().last = Instant::now();
    }

    /// Waits for the end of some work, and tells how far it is whenever nothing else was told for 2.5 s.
    pub(super) async fn meanwhile<T>(
        &self,
        how_far: impl Fn() -> String,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let still = self.inner().last.elapsed();
            if still >= STILL_MAX {
                self.progress(&how_far());
            }
        }
    }

    /// The time line, in the order of time.
    pub(super) fn moments(&self) -> Vec<Moment> {
        let mut moments = self.inner().moments.clone();
        moments.sort_by(|a, b| a.at.total_cmp(&b.at));
        moments
    }

    fn inner(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prints a line. A reader that closed the pipe (`| head`) is no reason to leave servers behind.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_long_wait_is_told_again_and_again() {
        let story = Story::default();
        let told = std::cell::Cell::new(0);
        let how_far = || {
            told.set(told.get() + 1);
            "waiting".to_owned()
        };
        let answer = story.meanwhile(how_far, async { 7 }).await;
        assert_eq!((answer, told.get()), (7, 0));
        story.inner().last = Instant::now() - STILL_MAX;
        story.meanwhile(how_far, tokio::time::sleep(LOOK_EVERY * 3)).await;
        assert_eq!(told.get(), 1);
    }

    #[test]
    fn what_is_told_late_stands_where_it_happened() {
        let story = Story::default();
        std::thread::sleep(Duration::from_millis(2));
        story.tell(0, "second");
        story.tell_of(1, story.began, "first");
        let order: Vec<String> = story.moments().into_iter().map(|moment| moment.what).collect();
        assert_eq!(order, ["first", "second"]);
    }
}
