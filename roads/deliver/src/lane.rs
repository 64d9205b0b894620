//! One place mail is handed to, how much it bears, and what waits for it.

use crate::queue::Key;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;
use words_mail::PrimaryId;

/// What messages queue for: everything in one lane shares connections, pace and trouble.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LaneName {
    /// The mailboxes here.
    Mailbox,
    /// A mail system of record.
    Primary(PrimaryId),
    /// The outgoing server of a primary, for what its people send.
    Relay(PrimaryId),
    /// The smart host.
    SmartHost,
    /// The exchangers of a domain.
    Domain(String),
}

impl fmt::Display for LaneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LaneName::Mailbox => f.write_str("mailbox"),
            LaneName::Primary(id) => write!(f, "primary {id}"),
            LaneName::Relay(id) => write!(f, "relay {id}"),
            LaneName::SmartHost => f.write_str("smart host"),
            LaneName::Domain(domain) => write!(f, "domain {domain}"),
        }
    }
}

/// How hard a lane may be pushed, and how long it rests after trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Deliveries at once to begin with.
    pub start: u32,
    /// Deliveries at once at most.
    pub most: u32,
    /// The first rest after trouble with the place itself; doubles with each further trouble.
    pub rest: Duration,
    /// The longest rest.
    pub rest_most: Duration,
    /// The first wait of one message or person that was told `4xx`; doubles.
    pub wait: Duration,
    /// The longest such wait.
    pub wait_most: Duration,
}

impl Pace {
    /// One's own mail system: near, and it should have its mail the moment it is back.
    pub fn primary() -> Pace {
        Pace {
            start: 8,
            most: 32,
            rest: Duration::from_secs(1),
            rest_most: Duration::from_secs(30),
            wait: Duration::from_secs(10),
            wait_most: Duration::from_secs(600),
        }
    }

    /// Other organisations.
    pub fn internet() -> Pace {
        Pace {
            start: 2,
            most: 8,
            rest: Duration::from_secs(30),
            rest_most: Duration::from_secs(1800),
            wait: Duration::from_secs(120),
            wait_most: Duration::from_secs(3600),
        }
    }

    /// Mailboxes here: only the disk can be slow.
    pub fn mailbox() -> Pace {
        Pace {
            start: 64,
            most: 256,
            rest: Duration::from_secs(1),
            wait: Duration::from_secs(1),
            ..Pace::primary()
        }
    }
}

/// Doubling waits with a quarter of jitter either way, so that what failed together does not come back together.
/// `random` gives a number below its argument.
pub(crate) fn back_off(
    first: Duration,
    most: Duration,
    failures: u32,
    random: &mut dyn FnMut(u64) -> u64,
) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(most);
    let micros = u64::try_from(doubled.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(micros - micros / 4 + random(micros / 2 + 1))
}

/// One recipient of a lane who was told `4xx`: only this person's mail waits.
#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) held: BTreeSet<Key>,
    pub(crate) failures: u32,
    pub(crate) until: Instant,
    /// The one message that is tried meanwhile.
    pub(crate) trying: Option<Key>,
}

/// A lane's state.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) pace: Pace,
    /// Arrived while all was well and never tried.
    pub(crate) fresh: BTreeSet<Key>,
    /// Everything else that may go at once, oldest first.
    pub(crate) backlog: BTreeSet<Key>,
    /// Waits under an order.
    pub(crate) paused: BTreeSet<Key>,
    /// Waits because a person said so.
    pub(crate) stopped: BTreeSet<Key>,
    /// Waits for its time.
    pub(crate) later: BTreeSet<(Instant, Key)>,
    pub(crate) persons: BTreeMap<String, Person>,
    pub(crate) in_flight: u32,
    /// Whether a person stopped the lane.
    pub(crate) halted: bool,
    /// Whether an order for everybody paused it when it was last looked at.
    pub(crate) was_paused: bool,
    limit: f64,
    threshold: f64,
    /// Troubles with the place itself in a row.
    failures: u32,
    resting_until: Option<Instant>,
    eased_at: Option<Instant>,
    /// Times the place answered; a message that wedges while others go through is at fault itself.
    pub(crate) answers: u64,
    /// Refusals for now since the last mail that was taken.
    not_now: u32,
    turns: u32,
    /// Its last words, good or bad.
    pub(crate) said: String,
}

/// How often one of the backlog goes although new mail waits: every eighth time.
const BACKLOG_TURN: u32 = 8;
/// The limit is halved at most once in this time: what failed together is one trouble.
const EASE_EVERY: Duration = Duration::from_secs(1);
/// So many refusals for now in a row, with nothing taken between, are trouble with the place itself.
const NOT_NOW_MOST: u32 = 10;

impl Lane {
    pub(crate) fn new(pace: Pace) -> Lane {
        Lane {
            pace,
            fresh: BTreeSet::new(),
            backlog: BTreeSet::new(),
            paused: BTreeSet::new(),
            stopped: BTreeSet::new(),
            later: BTreeSet::new(),
            persons: BTreeMap::new(),
            in_flight: 0,
            halted: false,
            was_paused: false,
            limit: f64::from(pace.start),
            threshold: f64::from(pace.most),
            failures: 0,
            resting_until: None,
            eased_at: None,
            answers: 0,
            not_now: 0,
            turns: 0,
            said: String::new(),
        }
    }

    /// Deliveries that may run at once now. After trouble a single one tries whether it is over.
    pub(crate) fn allowed(&self, now: Instant) -> u32 {
        match (self.halted, self.resting_until) {
            (true, _) => 0,
            (false, Some(until)) if until > now => 0,
            _ if self.failures > 0 => 1,
            _ => self.limit as u32,
        }
    }

    /// When it may be tried again, if it rests.
    pub(crate) fn rests_until(&self) -> Option<Instant> {
        self.resting_until
    }

    /// Troubles in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// The place answered: faster, doubling up to where trouble began, then by one a round.
    pub(crate) fn up(&mut self) {
        self.answers += 1;
        self.not_now = 0;
        if self.failures > 0 {
            self.failures = 0;
            self.resting_until = None;
            self.limit = self.limit.max(f64::from(self.pace.start).min(self.threshold));
        }
        self.limit += if self.limit < self.threshold { 1.0 } else { 1.0 / self.limit };
        self.limit = self.limit.min(f64::from(self.pace.most));
    }

    /// The place asks for less, or is slow: half as much.
    pub(crate) fn ease(&mut self, now: Instant) {
        if self.eased_at.is_some_and(|at| now.saturating_duration_since(at) < EASE_EVERY) {
            return;
        }
        self.eased_at = Some(now);
        self.limit = (self.limit / 2.0).max(1.0);
        self.threshold = self.limit.max(2.0);
    }

    /// The place answered "later" to a message or a person. Now and then that is theirs; without end it is the place's.
    pub(crate) fn not_now(&mut self, now: Instant, random: &mut dyn FnMut(u64) -> u64) {
        self.answers += 1;
        self.not_now += 1;
        if self.not_now >= NOT_NOW_MOST {
            self.down(now, random);
        }
    }

    /// Trouble with the place itself: rest, longer each time. Deliveries that were on their way when the rest began
    /// fail with it and count as the same trouble.
    pub(crate) fn down(&mut self, now: Instant, random: &mut dyn FnMut(u64) -> u64) {
        if self.resting_until.is_some_and(|until| until > now) {
            return;
        }
        self.ease(now);
        self.failures += 1;
        self.resting_until = Some(now + back_off(self.pace.rest, self.pace.rest_most, self.failures, random));
    }

    /// Somebody saw the place well: try now.
    pub(crate) fn seen_well(&mut self) {
        self.resting_until = None;
    }

    /// The next to try, without checks. New mail first; the backlog gets its turn.
    pub(crate) fn next(&mut self) -> Option<(Key, bool)> {
        let backlog_turn = self.turns % BACKLOG_TURN == BACKLOG_TURN - 1;
        let fresh = self.fresh.first().copied();
        let backlog = self.backlog.first().copied();
        match (fresh, backlog) {
            (Some(key), None) => Some((key, true)),
            (Some(key), Some(_)) if !backlog_turn => Some((key, true)),
            (_, Some(key)) => Some((key, false)),
            (None, None) => None,
        }
    }

    pub(crate) fn took_turn(&mut self) {
        self.turns = self.turns.wrapping_add(1);
    }

    /// Whether nothing of it needs to be remembered.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight == 0
            && self.fresh.is_empty()
            && self.backlog.is_empty()
            && self.paused.is_empty()
            && self.stopped.is_empty()
            && self.later.is_empty()
            && self.persons.is_empty()
            && self.failures == 0
            && !self.halted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_jitter(below: u64) -> u64 {
        below / 2
    }

    #[tokio::test(start_paused = true)]
    async fn pace_doubles_to_where_trouble_began_and_then_creeps() {
        let mut lane = Lane::new(Pace::primary());
        let now = Instant::now();
        assert_eq!(lane.allowed(now), 8);
        (0..40).for_each(|_| lane.up());
        assert_eq!(lane.allowed(now), 32, "bounded");
        lane.ease(now);
        lane.ease(now);
        assert_eq!(lane.allowed(now), 16, "what failed together is one trouble");
        (0..16).for_each(|_| lane.up());
        assert!((16..=17).contains(&lane.allowed(now)), "creeps: {}", lane.allowed(now));
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_rests_the_lane_and_one_delivery_finds_out_whether_it_is_over() {
        let mut lane = Lane::new(Pace::primary());
        let mut now = Instant::now();
        (0..30).for_each(|_| lane.down(now, &mut no_jitter));
        assert_eq!((lane.failures(), lane.allowed(now)), (1, 0), "one trouble however many felt it");
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let until = lane.rests_until().unwrap();
            let rest = until - now;
            assert_eq!(rest, Duration::from_secs(seconds));
            now = until;
            assert_eq!(lane.allowed(now), 1);
            lane.down(now, &mut no_jitter);
        }
        lane.seen_well();
        assert_eq!(lane.allowed(now), 1);
        lane.up();
        assert!(lane.allowed(now) >= 2);
    }

    #[test]
    fn jitter_stays_within_a_quarter() {
        for (answer, expected) in [(0u64, 750), (u64::MAX, 1250)] {
            let wait = back_off(Duration::from_secs(1), Duration::from_secs(60), 1, &mut |below| {
                answer.min(below - 1)
            });
            assert_eq!(wait, Duration::from_millis(expected));
        }
        let long = back_off(Duration::from_secs(1), Duration::from_secs(60), 99, &mut no_jitter);
        assert_eq!(long, Duration::from_secs(60));
    }
}
