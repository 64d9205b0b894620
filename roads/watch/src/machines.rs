//! The machines of one primary: one for each plane, and one more for each account that has an event of its own.
//!
//! Nothing here waits or writes. It drafts orders; the road makes them durable, and only then are they obeyed.

use rules_failover::{
    Answer, Condition, Decision, Now, Owing, Reading, Settings, Track, Window, kinds, orders, switches,
};
use std::collections::BTreeMap;
use stores_ledger::InForce;
use words_mail::{
    AccountId, EventId, Evidence, Finding, Observation, Order, OrderKind, OrderNumber, Plane, PrimaryId,
    Request, RequestKind, Scope, State,
};

/// Who an order is by when nobody asked for it.
pub const WATCH: &str = "watch";
/// Accounts that one request may name, and that may have events of their own at a time.
pub const ACCOUNTS_MAX: usize = 1_000;
/// A request that nobody answered for so long is not acted upon any more: who made it has long done something else.
const REQUEST_STALE_SECONDS: u64 = 3_600;

/// For whom a machine is: everybody (`None`) or one account.
type Whom = Option<AccountId>;

/// What is owed to primaries: told by those who keep it.
pub trait Owed: Send + Sync {
    /// Whether everything that was kept for a plane (and an account, if one is named) during the event is given back,
    /// and reconciled where that can be done. Asked often; must not wait.
    fn given_back(
        &self,
        primary: &PrimaryId,
        plane: Plane,
        account: Option<&AccountId>,
        event: EventId,
    ) -> bool;

    /// What the reconciliation of an event lists for a person, counted in words; `None` when it came out clean.
    fn listed(&self, _primary: &PrimaryId, _event: EventId) -> Option<String> {
        None
    }
}

/// The numbers that the next order and the next event get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub(crate) order: OrderNumber,
    pub(crate) event: EventId,
}

impl Numbers {
    pub(crate) fn of(in_force: &InForce) -> Numbers {
        Numbers { order: in_force.next_order(), event: in_force.next_event() }
    }
}

/// All that is judged about one primary.
#[derive(Debug)]
pub(crate) struct Machines {
    primary: PrimaryId,
    settings: Settings,
    windows: BTreeMap<Plane, Window>,
    tracks: BTreeMap<(Plane, Whom), Track>,
    event: Option<EventId>,
    /// What a probe or canary last said when it failed.
    failed: BTreeMap<Plane, String>,
}

impl Machines {
    /// The machines as the ledger knows them.
    pub(crate) fn new(primary: PrimaryId, settings: Settings, in_force: &InForce, now: Now) -> Machines {
        let mut tracks: BTreeMap<(Plane, Whom), Track> =
            Plane::ALL.into_iter().map(|plane| ((plane, None), Track::new(now.steady))).collect();
        for (of, plane, scope, state) in in_force.unready() {
            if of != primary {
                continue;
            }
            for whom in each_of(&scope) {
                let on = |kind: &OrderKind| in_force.on(*kind, &primary, whom.as_ref());
                let on = match (&whom, switches(plane, state)) {
                    // What holds for everybody is not this account's own switch.
                    (Some(_), Some(own)) => own.to_vec(),
                    _ => kinds(plane).into_iter().filter(on).collect(),
                };
                let track = tracks.entry((plane, whom.clone())).or_insert_with(|| Track::new(now.steady));
                track.begin(state, on);
            }
        }
        let event = in_force.open_event(&primary).map(|event| event.id);
        Machines { primary, settings, windows: BTreeMap::new(), tracks, event, failed: BTreeMap::new() }
    }

    /// Takes up an order of an earlier run: what the ledger's summary does not tell (who opened it, when a pin ends).
    pub(crate) fn resume(&mut self, order: &Order, now: Now) {
        for whom in each_of(&order.scope) {
            if let Some(track) = self.tracks.get_mut(&(order.plane, whom))
                && (order.to == track.state() || order.from == order.to)
            {
                let on = track.in_force().to_vec();
                let state = track.state();
                track.resume(order, order.by == WATCH, now, &self.settings);
                track.begin(state, on);
            }
        }
    }

    /// Whether anything is not plainly well.
    pub(crate) fn is_doubtful(&self, now: Now) -> bool {
        let unwell = |plane: &Plane| matches!(self.read(*plane, now), Reading::Down(_) | Reading::Doubt);
        self.tracks.values().any(|track| track.state() != State::Ready) || Plane::ALL.iter().any(unwell)
    }

    /// Takes an observation in.
    pub(crate) fn hear(&mut self, observation: &Observation, now: Now) {
        self.windows.entry(observation.plane).or_default().hear(observation, now.steady, &self.settings);
        if observation.finding == Finding::Down
            && observation.evidence != Evidence::Live
            && observation.account.is_none()
        {
            self.failed.insert(observation.plane, observation.detail.clone());
        }
    }

    fn read(&self, plane: Plane, now: Now) -> Reading {
        self.windows.get(&plane).map_or(Reading::Unmeasured, |window| window.read(now.steady, &self.settings))
    }

    /// What the evidence says to a person's request.
    fn read_for(&self, kind: &RequestKind, plane: Plane, now: Now) -> Reading {
        match (kind, self.windows.get(&plane)) {
            (RequestKind::Failback, Some(window)) => window.read_without_live(now.steady, &self.settings),
            _ => self.read(plane, now),
        }
    }

    /// The next order that time and evidence ask for; `None` when there is none.
    pub(crate) fn next(&mut self, numbers: Numbers, now: Now, owed: &dyn Owed) -> Option<Order> {
        let event = self.event.unwrap_or_default();
        let readings: BTreeMap<Plane, Reading> =
            Plane::ALL.into_iter().map(|plane| (plane, self.read(plane, now))).collect();
        let listed = owed.listed(&self.primary, event);
        let (plane, whom, decision) = self.tracks.iter_mut().find_map(|((plane, whom), track)| {
            let reading = readings.get(plane).copied().unwrap_or(Reading::Unmeasured);
            let given_back = track.state() == State::Returning
                && owed.given_back(&self.primary, *plane, whom.as_ref(), event);
            let owing = match (given_back, &listed) {
                (false, _) => Owing::Open,
                (true, None) => Owing::Nothing,
                (true, Some(_)) => Owing::Listed,
            };
            let decision = track.watch(now, reading, owing, &self.settings)?;
            Some((*plane, whom.clone(), decision))
        })?;
        let track = self.tracks.get(&(plane, whom.clone()))?;
        let mut order = self.order(track, plane, &whom, decision, now);
        if let (Condition::GivenBackListed, Some(listed)) = (decision.condition, listed) {
            order.why = format!("{}: {listed}", order.why);
        }
        self.number(&mut order, numbers, self.event);
        Some(order)
    }

    /// The orders that answer a request. There is always at least one, if only to say that nothing changed; the last
    /// one says which request they answer.
    pub(crate) fn answer(&self, request: &Request, seq: u64, numbers: Numbers, now: Now) -> Vec<Order> {
        let planes = if request.planes.is_empty() { Plane::ALL.to_vec() } else { request.planes.clone() };
        let whom: Vec<Whom> = each_of(&request.scope).take(ACCOUNTS_MAX).collect();
        let mut answers = Vec::new();
        let mut unchanged = None;
        for plane in planes {
            for whom in &whom {
                let (order, acts) = self.answer_one(request, plane, whom, now);
                if acts {
                    answers.push(order);
                } else {
                    unchanged.get_or_insert(order);
                }
            }
        }
        if answers.is_empty() {
            answers.extend(unchanged);
        }
        let mut event = self.event;
        for (order, number) in answers.iter_mut().zip(numbers.order.0..) {
            self.number(order, Numbers { order: OrderNumber(number), ..numbers }, event);
            event = event.or(order.event);
            order.by = said(&request.by);
            order.why = format!("{} ({}: {})", order.why, said(&request.by), said(&request.reason));
        }
        if let Some(last) = answers.last_mut() {
            last.answers = Some(seq);
        }
        answers
    }

    /// One machine's answer, and whether it does anything.
    fn answer_one(&self, request: &Request, plane: Plane, whom: &Whom, now: Now) -> (Order, bool) {
        let fresh = Track::new(now.steady);
        let track = self.tracks.get(&(plane, whom.clone())).unwrap_or(&fresh);
        let stays = |why: String| {
            let mut order = self.blank(plane, track.state(), whom, now);
            order.until = track.pinned_until();
            order.why = why;
            order
        };
        if now.wall.since(request.at).as_secs() > REQUEST_STALE_SECONDS {
            return (stays("the request was made more than an hour ago; nothing changed".to_owned()), false);
        }
        if whom.is_some() && matches!(request.kind, RequestKind::Maintenance { .. }) {
            let why = "maintenance is announced for a primary, not for people; nothing changed";
            return (stays(why.to_owned()), false);
        }
        match track.ask(&request.kind, now, self.read_for(&request.kind, plane, now)) {
            Answer::Decided(decision) => {
                let vouches =
                    decision.condition == Condition::FailbackAsked && track.state() == State::Returning;
                let moves = decision.row.from != decision.row.to;
                let mut order = self.order(track, plane, whom, decision, now);
                let refused = decision.condition == Condition::FailbackAskedDown;
                if let Some(words) = self.failed.get(&plane).filter(|_| refused) {
                    order.why = format!("{}; last seen there: {words}", order.why);
                }
                // Who asked for all planes is told of each that cannot follow.
                let told = refused && matches!(track.state(), State::Suspect | State::Active);
                let acts = moves || decision.condition == Condition::PinAsked || vouches || told;
                (order, acts)
            }
            Answer::Quiet(until) => {
                let why = format!("maintenance is announced until {until}: it opens no event before then");
                let mut order = stays(why);
                order.until = Some(until);
                (order, true)
            }
            Answer::NotMine => (stays("nothing changed".to_owned()), false),
        }
    }

    fn blank(&self, plane: Plane, state: State, whom: &Whom, now: Now) -> Order {
        Order {
            number: OrderNumber(0),
            at: now.wall,
            primary: self.primary.clone(),
            plane,
            from: state,
            to: state,
            on: Vec::new(),
            off: Vec::new(),
            // One order for each account: an event of several people ends for each of them by itself.
            scope: whom.clone().map_or(Scope::All, |account| Scope::Accounts(vec![account])),
            event: None,
            by: WATCH.to_owned(),
            why: String::new(),
            began: None,
            until: None,
            answers: None,
        }
    }

    fn order(&self, track: &Track, plane: Plane, whom: &Whom, decision: Decision, now: Now) -> Order {
        let mut order = self.blank(plane, decision.row.from, whom, now);
        order.to = decision.row.to;
        (order.on, order.off) = orders(plane, order.to, track.in_force());
        order.why = decision.row.comment.to_owned();
        order.until = decision.until;
        if let Reading::Down(since) = self.read(plane, now) {
            order.began = Some(now.wall.before(now.steady.saturating_sub(since)));
        }
        order
    }

    /// Numbers an order, and puts it into the event: the open one, or the one it opens. A doubt belongs to none.
    fn number(&self, order: &mut Order, numbers: Numbers, open: Option<EventId>) {
        order.number = numbers.order;
        order.event = match (in_event(order.from), in_event(order.to)) {
            (false, false) => None,
            (false, true) => Some(open.unwrap_or(numbers.event)),
            (true, _) => open,
        };
    }

    /// Obeys an order that is durable.
    pub(crate) fn obey(&mut self, order: &Order, now: Now) {
        for whom in each_of(&order.scope) {
            let key = (order.plane, whom);
            if !self.tracks.contains_key(&key) && self.tracks.len() >= ACCOUNTS_MAX * Plane::ALL.len() {
                tracing::warn!(primary = %self.primary, "too many people have events of their own");
                continue;
            }
            let track = self.tracks.entry(key.clone()).or_insert_with(|| Track::new(now.steady));
            track.obey(order, order.by == WATCH, now.steady);
            let left = matches!(order.from, State::Suspect | State::Active)
                && matches!(order.to, State::Ready | State::Returning);
            if left
                && order.by != WATCH
                && let Some(window) = self.windows.get_mut(&order.plane)
            {
                window.forget_live();
            }
            if key.1.is_some() && track.state() == State::Ready {
                self.tracks.remove(&key);
            }
        }
        let open = self.tracks.values().any(|track| in_event(track.state()));
        self.event = if open { order.event.or(self.event) } else { None };
    }
}

fn each_of(scope: &Scope) -> impl Iterator<Item = Whom> + use<> {
    let whom: Vec<Whom> = match scope {
        Scope::All => vec![None],
        Scope::Accounts(accounts) => accounts.iter().cloned().map(Some).collect(),
    };
    whom.into_iter()
}

/// Whether a state is part of an event. A doubt alone is not.
fn in_event(state: State) -> bool {
    matches!(state, State::Active | State::Returning | State::Pinned)
}

/// What a person wrote, fit for a line.
fn said(text: &str) -> String {
    crate::probe::escaped(text)
}
