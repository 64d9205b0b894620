//! One state machine: a plane of a primary, for everybody or for named accounts.

use crate::{Condition, Reading, Row, row};
use std::collections::VecDeque;
use std::time::Duration;
use words_mail::{Mode, Order, OrderKind, RequestKind, State, Time};

/// The two clocks. Dwells are measured with the steady one, which never jumps; only what people set by the clock on
/// the wall (the end of a pin, of a maintenance) is compared with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Time since some fixed moment of this run of the program.
    pub steady: Duration,
    /// The clock on the wall.
    pub wall: Time,
}

/// How patient the judgement is. All durations are of steady time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Who may open an event.
    pub mode: Mode,
    /// How long a plane is down, confirmed, before an event opens.
    pub dwell: Duration,
    /// How long it is well before giving back begins; doubled at each relapse, …
    pub return_dwell: Duration,
    /// … up to this.
    pub return_dwell_max: Duration,
    /// How long it is well before a doubt ends; doubled at each new doubt, …
    pub clear: Duration,
    /// … up to this.
    pub clear_max: Duration,
    /// For how long a doubt may last that neither ends nor stays down, before it opens an event.
    pub unsteady: Duration,
    /// How often a probe looks; what it says is stale after three times that, and never before 30 s.
    pub probe_every: Duration,
    /// When what a canary said is stale.
    pub canary_stale: Duration,
    /// How far back live traffic is looked at.
    pub live_window: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            mode: Mode::Automatic,
            dwell: Duration::from_secs(120),
            return_dwell: Duration::from_secs(30),
            return_dwell_max: Duration::from_secs(600),
            clear: Duration::from_secs(4),
            clear_max: Duration::from_secs(30),
            unsteady: Duration::from_secs(15 * 60),
            probe_every: Duration::from_secs(2),
            canary_stale: Duration::from_secs(30 * 60),
            live_window: Duration::from_secs(60),
        }
    }
}

impl Settings {
    /// When what a probe said is stale.
    pub fn probe_stale(&self) -> Duration {
        (self.probe_every * 3).max(Duration::from_secs(30))
    }
}

/// New doubts within this time of each other make the next one last longer.
const RELAPSE_MEMORY: Duration = Duration::from_secs(10 * 60);
/// A plane that was READY for so long has its earlier relapses forgotten.
const RETURN_MEMORY: Duration = Duration::from_secs(3_600);
/// Doublings beyond this reach every maximum.
const DOUBLINGS_MAX: usize = 16;

/// What is to be ordered: the row that fired, and under which condition.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// The condition that holds.
    pub condition: Condition,
    /// The row that fires for it.
    pub row: &'static Row,
    /// When the pin ends by itself that the order leaves in force.
    pub until: Option<Time>,
}

/// Whether anything is still owed of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owing {
    /// It is still being given back, or not compared yet.
    #[default]
    Open,
    /// All is given back, and the reconciliation is clean.
    Nothing,
    /// All is given back or listed: the reconciliation names what a person must look at.
    Listed,
}

impl Owing {
    fn is_over(self) -> bool {
        self != Owing::Open
    }

    fn condition(self) -> Condition {
        if self == Owing::Listed { Condition::GivenBackListed } else { Condition::GivenBack }
    }
}

/// What becomes of a person's request.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// An order with this decision; where its row stays in the same state, the order only says so.
    Decided(Decision),
    /// Maintenance until then is recorded; the state stays.
    Quiet(Time),
    /// Not for this machine (acknowledgements, mutes, test notices).
    NotMine,
}

/// An end that a person set by the clock on the wall. It also ends when as much steady time has passed as lay before
/// it then, so that a clock that is set back does not make a pin or a maintenance last for years.
#[derive(Clone, Copy, Debug)]
struct End {
    wall: Time,
    steady: Duration,
}

impl End {
    fn new(until: Time, from: Time, now: Duration) -> End {
        End { wall: until, steady: now.saturating_add(until.since(from)) }
    }

    fn is_over(self, now: Now) -> bool {
        now.wall >= self.wall || now.steady >= self.steady
    }
}

/// The state of one machine and what it remembers. It changes only by [`Track::obey`], with an order that is
/// already durable: deciding and doing are apart.
#[derive(Clone, Debug)]
pub struct Track {
    state: State,
    /// Steady time of entering the state.
    since: Duration,
    /// What is switched on.
    in_force: Vec<OrderKind>,
    /// A person opened the event while the primary was well: only a person ends it.
    held: bool,
    /// A person said that the primary is well: it need not be measured to be closed.
    vouched: bool,
    /// A person has been asked to decide.
    told: bool,
    /// When a pin ends by itself.
    pinned_until: Option<End>,
    /// Until when maintenance was announced, …
    quiet_until: Option<End>,
    /// … and when it was last seen to be going on.
    quiet_seen: Option<Duration>,
    /// How long a doubt had lasted before a restart.
    credit: Duration,
    /// When doubts began lately.
    doubts: VecDeque<Duration>,
    /// Relapses: returns that failed, and events that followed soon on the last.
    relapses: usize,
    /// When it last became READY after an event.
    closed: Option<Duration>,
}

impl Default for Track {
    fn default() -> Track {
        Track::new(Duration::ZERO)
    }
}

impl Track {
    /// A machine in READY, at steady time `now`.
    pub fn new(now: Duration) -> Track {
        Track {
            state: State::Ready,
            since: now,
            in_force: Vec::new(),
            held: false,
            vouched: false,
            told: false,
            pinned_until: None,
            quiet_until: None,
            quiet_seen: None,
            credit: Duration::ZERO,
            doubts: VecDeque::new(),
            relapses: 0,
            closed: None,
        }
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.state
    }

    /// What it has switched on.
    pub fn in_force(&self) -> &[OrderKind] {
        &self.in_force
    }

    /// When a pin ends by itself.
    pub fn pinned_until(&self) -> Option<Time> {
        self.pinned_until.map(|end| end.wall)
    }

    /// Whether announced maintenance is going on.
    pub fn is_quiet(&self, now: Now) -> bool {
        self.quiet_until.is_some_and(|end| !end.is_over(now))
    }

    /// What the passing of time and the evidence ask for, if anything. Call it often; it is cheap.
    pub fn watch(
        &mut self,
        now: Now,
        reading: Reading,
        owing: Owing,
        settings: &Settings,
    ) -> Option<Decision> {
        if self.is_quiet(now) {
            self.quiet_seen = Some(now.steady);
        }
        let condition = self.condition(now, reading, owing, settings);
        let row = row(self.state, condition)?;
        let speaks =
            row.to != self.state || (row.tell && !(condition == Condition::PersonNeeded && self.told));
        speaks.then_some(Decision { condition, row, until: None })
    }

    /// What a person's request asks for. For a failback the reading is [`crate::Window::read_without_live`].
    pub fn ask(&self, kind: &RequestKind, now: Now, reading: Reading) -> Answer {
        let mut until = self.pinned_until();
        let condition = match kind {
            RequestKind::Failover => Condition::FailoverAsked,
            RequestKind::Failback if matches!(reading, Reading::Down(_)) => Condition::FailbackAskedDown,
            RequestKind::Failback => Condition::FailbackAsked,
            RequestKind::Pin { until: end } => {
                until = *end;
                Condition::PinAsked
            }
            RequestKind::Unpin => unpinned(reading),
            // A pinned plane opens no event anyway; the row says that it has to be unpinned first.
            RequestKind::Maintenance { .. } if self.state == State::Pinned => Condition::FailbackAsked,
            RequestKind::Maintenance { until } => return Answer::Quiet((*until).max(now.wall)),
            RequestKind::Acknowledge { .. } | RequestKind::Mute { .. } | RequestKind::NoticeTest => {
                return Answer::NotMine;
            }
        };
        match row(self.state, condition) {
            Some(row) => {
                let until = if row.to == State::Pinned { until } else { None };
                Answer::Decided(Decision { condition, row, until })
            }
            None => Answer::NotMine,
        }
    }

    /// Takes up a durable order of an earlier run of the program. A doubt goes on as old as it was, or a program that
    /// is restarted often would never open an event.
    pub fn resume(&mut self, order: &Order, by_watch: bool, now: Now, settings: &Settings) {
        let passed = now.wall.since(order.at);
        self.obey(order, by_watch, now.steady);
        for end in [&mut self.pinned_until, &mut self.quiet_until].into_iter().flatten() {
            end.steady = end.steady.saturating_sub(passed).max(now.steady);
        }
        self.credit = passed.min(settings.dwell);
    }

    /// At a restart: the state and the switches, as the ledger derived them from all orders. What else an order said
    /// comes by [`Track::resume`], as far back as orders are read.
    pub fn begin(&mut self, state: State, in_force: Vec<OrderKind>) {
        self.state = state;
        self.in_force = in_force;
    }

    /// Does what a durable order says, at steady time `now`. `by_watch`: nobody asked for it.
    pub fn obey(&mut self, order: &Order, by_watch: bool, now: Duration) {
        for kind in &order.on {
            if !self.in_force.contains(kind) {
                self.in_force.push(*kind);
            }
        }
        self.in_force.retain(|kind| !order.off.contains(kind));
        if order.from == order.to && order.to != State::Pinned {
            match (order.until, by_watch) {
                (Some(until), _) => self.quiet_until = Some(End::new(until, order.at, now)),
                (None, true) => self.told = true,
                (None, false) => self.vouched |= order.to == State::Returning,
            }
            return;
        }
        self.remember(order.from, order.to, now);
        self.held =
            !by_watch && order.to == State::Active && matches!(order.from, State::Ready | State::Returning);
        // A pin is a person's doing also when it ends by its own end.
        self.vouched = order.to == State::Returning && (!by_watch || order.from == State::Pinned);
        self.told = false;
        let end = order.until.filter(|_| order.to == State::Pinned);
        self.pinned_until = end.map(|until| End::new(until, order.at, now));
        self.state = order.to;
        self.since = now;
        self.credit = Duration::ZERO;
    }

    fn remember(&mut self, from: State, to: State, now: Duration) {
        match (from, to) {
            (_, State::Suspect) => {
                self.doubts.push_back(now);
                while self.doubts.len() > DOUBLINGS_MAX {
                    self.doubts.pop_front();
                }
            }
            (State::Returning, State::Active) => self.relapses += 1,
            (State::Ready | State::Suspect, State::Active) => {
                let soon = |closed| now.saturating_sub(closed) < RETURN_MEMORY;
                self.relapses = if self.closed.is_some_and(soon) { self.relapses + 1 } else { 0 };
            }
            (State::Returning, State::Ready) => self.closed = Some(now),
            _ => {}
        }
        self.relapses = self.relapses.min(DOUBLINGS_MAX);
    }

    fn condition(&self, now: Now, reading: Reading, owing: Owing, settings: &Settings) -> Condition {
        if self.state == State::Pinned && self.pinned_until.is_some_and(|end| end.is_over(now)) {
            return unpinned(reading);
        }
        match reading {
            Reading::Down(began) => self.down(began, now, settings),
            Reading::Up(_) if owing.is_over() && self.state == State::Returning => owing.condition(),
            Reading::Up(since) => self.up(since, now, settings),
            // A person's word stands in for a measurement, but not for what is still owed.
            Reading::Doubt | Reading::Unmeasured
                if owing.is_over() && self.vouched && self.state == State::Returning =>
            {
                owing.condition()
            }
            Reading::Doubt => self.unsteady_or(Condition::Doubt, now, settings),
            Reading::Unmeasured => Condition::Unmeasured,
        }
    }

    fn down(&self, began: Duration, now: Now, settings: &Settings) -> Condition {
        if self.state != State::Suspect || self.is_quiet(now) {
            return Condition::Down;
        }
        let began = self.quiet_seen.map_or(began, |quiet| began.max(quiet));
        let credit = if self.quiet_seen.is_some() { Duration::ZERO } else { self.credit };
        if now.steady.saturating_sub(began) + credit >= settings.dwell {
            return match settings.mode {
                Mode::Automatic => Condition::DownLong,
                Mode::Confirm | Mode::Manual => Condition::PersonNeeded,
            };
        }
        self.unsteady_or(Condition::Down, now, settings)
    }

    fn up(&self, since: Duration, now: Now, settings: &Settings) -> Condition {
        // Before the state began nothing counts: the state was entered because it was not well.
        let well = now.steady.saturating_sub(since.max(self.since));
        let enough = match self.state {
            State::Suspect => {
                let lately = |at: &&Duration| now.steady.saturating_sub(**at) < RELAPSE_MEMORY;
                let doubts = self.doubts.iter().filter(lately).count();
                doubled(settings.clear, doubts.saturating_sub(1), settings.clear_max)
            }
            State::Active if self.held || settings.mode == Mode::Manual => return Condition::Up,
            State::Active => doubled(settings.return_dwell, self.relapses, settings.return_dwell_max),
            State::Ready | State::Returning | State::Pinned => return Condition::Up,
        };
        if well >= enough { Condition::UpLong } else { self.unsteady_or(Condition::Up, now, settings) }
    }

    /// A doubt that has lasted too long is an outage of its own kind. Announced maintenance may be unsteady.
    fn unsteady_or(&self, otherwise: Condition, now: Now, settings: &Settings) -> Condition {
        if self.state != State::Suspect || self.is_quiet(now) {
            return otherwise;
        }
        let since = self.quiet_seen.map_or(self.since, |quiet| self.since.max(quiet));
        if now.steady.saturating_sub(since) < settings.unsteady.max(settings.dwell) {
            return otherwise;
        }
        match settings.mode {
            Mode::Automatic => Condition::Unsteady,
            Mode::Confirm | Mode::Manual => Condition::PersonNeeded,
        }
    }
}

fn unpinned(reading: Reading) -> Condition {
    match reading {
        Reading::Down(_) => Condition::UnpinnedDown,
        _ => Condition::Unpinned,
    }
}

/// `base` doubled `times`, up to `max`; never below `base`, even where the maximum was set lower.
fn doubled(base: Duration, times: usize, max: Duration) -> Duration {
    base.saturating_mul(1 << times.min(DOUBLINGS_MAX)).min(max.max(base))
}
