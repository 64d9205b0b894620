//! How hard a primary may be asked: a little more with every good answer, half with every bad one.

use std::time::Duration;

/// The bounds of the pace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaceOptions {
    /// Connections at once, at most. Default 4.
    pub connections: u32,
    /// Commands a second, at most. Default 500.
    pub rate: f64,
    /// The first and the longest pause after a bad answer. Default 1 s and 5 min.
    pub pause: (Duration, Duration),
}

impl Default for PaceOptions {
    fn default() -> PaceOptions {
        PaceOptions { connections: 4, rate: 500.0, pause: (Duration::from_secs(1), Duration::from_secs(300)) }
    }
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It did what it was asked.
    Well,
    /// `[THROTTLED]`, `[LIMIT]`: with how long it wants to be left alone, if it said.
    Throttled(Option<Duration>),
    /// `[INUSE]`, `[UNAVAILABLE]`, another no, or the connection broke.
    Badly,
}

/// The pace for one primary: additive up, multiplicative down.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    options: PaceOptions,
    rate: f64,
    connections: f64,
    bad: u32,
    /// No command before this moment of the caller's own clock.
    until: Duration,
    /// When the next command may go.
    next: Duration,
}

/// Commands a second that are always allowed.
const RATE_LEAST: f64 = 1.0;
/// What each good answer adds to the rate.
const RATE_STEP: f64 = 1.0;
/// What each good answer adds to the connections.
const CONNECTION_STEP: f64 = 0.01;

impl Pace {
    /// Begins with one connection and a tenth of the rate.
    pub fn new(options: PaceOptions) -> Pace {
        let rate = (options.rate / 10.0).max(RATE_LEAST);
        Pace { options, rate, connections: 1.0, bad: 0, until: Duration::ZERO, next: Duration::ZERO }
    }

    /// How many connections may be open.
    pub fn connections(&self) -> u32 {
        // Within 1 and the bound, so the cut is exact.
        (self.connections as u32).clamp(1, self.options.connections.max(1))
    }

    /// Commands a second at present.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// How long the next command has to wait, by the caller's clock; the command counts as sent then.
    pub fn wait(&mut self, now: Duration) -> Duration {
        let at = self.next.max(self.until).max(now);
        self.next = at + Duration::from_secs_f64(1.0 / self.rate.max(RATE_LEAST));
        at - now
    }

    /// Hears what came of a command.
    pub fn hear(&mut self, answer: Answer, now: Duration) {
        let after = match answer {
            Answer::Well => {
                self.bad = 0;
                self.rate = (self.rate + RATE_STEP).min(self.options.rate.max(RATE_LEAST));
                let most = f64::from(self.options.connections.max(1));
                self.connections = (self.connections + CONNECTION_STEP).min(most);
                return;
            }
            Answer::Throttled(after) => after,
            Answer::Badly => None,
        };
        self.rate = (self.rate / 2.0).max(RATE_LEAST);
        self.connections = (self.connections / 2.0).max(1.0);
        let (first, longest) = self.options.pause;
        let pause = first.saturating_mul(1 << self.bad.min(16)).min(longest);
        self.bad = self.bad.saturating_add(1);
        self.until = self.until.max(now + after.unwrap_or(pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_halves_at_a_bad_answer_and_creeps_up_again() {
        let mut pace = Pace::new(PaceOptions::default());
        assert_eq!((pace.connections(), pace.rate()), (1, 50.0));
        for _ in 0..1_000 {
            pace.hear(Answer::Well, Duration::ZERO);
        }
        assert_eq!((pace.connections(), pace.rate()), (4, 500.0));
        let now = Duration::from_secs(10);
        pace.hear(Answer::Badly, now);
        assert_eq!((pace.connections(), pace.rate()), (2, 250.0));
        assert_eq!(pace.wait(now), Duration::from_secs(1));
        pace.hear(Answer::Throttled(Some(Duration::from_secs(60))), now);
        assert!(pace.wait(now) >= Duration::from_secs(59), "what the primary asks for is obeyed");
        pace.hear(Answer::Well, now);
        assert_eq!(pace.rate(), 126.0);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(answers in prop::collection::vec(0u8..3, 0..200)) {
            let options = PaceOptions::default();
            let mut pace = Pace::new(options);
            let mut now = Duration::ZERO;
            for answer in answers {
                let wait = pace.wait(now);
                prop_assert!(wait <= Duration::from_secs(302), "{wait:?}");
                now += wait;
                pace.hear(match answer { 0 => Answer::Well, 1 => Answer::Badly, _ => Answer::Throttled(None) }, now);
                prop_assert!((1..=options.connections).contains(&pace.connections()));
                prop_assert!(pace.rate() >= RATE_LEAST && pace.rate() <= options.rate);
            }
        }
    }
}
