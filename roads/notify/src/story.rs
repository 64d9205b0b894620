//! What the ledger says has happened, was asked and was told; and from that, what is to be told.

use crate::words::{Cause, Proof, Standing, Turning};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use stores_ledger::{Entry, NoticeResult};
use tokio::time::Instant;
use words_mail::{
    AccountId, EventId, Order, OrderNumber, Plane, PrimaryId, Request, RequestKind, Scope, State, Time,
};

/// Changes that belong together come in a moment: one notice names all planes.
const GATHER: Duration = Duration::from_secs(2);
/// What could not be told for so long is not told any more.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(24 * 3_600);
/// Notices that may wait; the oldest give way.
const WAITING_MAX: usize = 1_000;
/// The pause before a second try, doubled at each further one, …
const AGAIN: Duration = Duration::from_secs(10);
/// … up to this.
const AGAIN_MAX: Duration = Duration::from_secs(300);

/// Reconciliations remembered.
const PROOFS_MAX: usize = 1_000;

/// What one notice is about: a primary, and a person if only they are concerned.
type About = (PrimaryId, Option<AccountId>);

#[derive(Debug, Default)]
struct Tale {
    /// Each plane's state, and whether a person was asked to decide.
    planes: BTreeMap<Plane, (State, bool)>,
    /// The last change.
    turning: Option<Turning>,
    /// How often it was repeated.
    repeats: u32,
    /// When it was last told.
    told: Option<Instant>,
}

/// What a notice says.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// A change, or that it is still so.
    Turning(Turning),
    /// A test that somebody asked for.
    Test {
        /// About which primary's notices.
        primary: PrimaryId,
        /// Who.
        by: String,
    },
}

/// How far sending to one receiver has come.
#[derive(Clone, Copy, Debug)]
struct Try {
    tries: u32,
    next: Instant,
    busy: bool,
}

/// A notice that somebody still has to get.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) content: Content,
    pub(crate) cause: Cause,
    /// The order behind it.
    pub(crate) order: Option<OrderNumber>,
    /// When what it tells happened.
    at: Time,
    /// By receiver.
    left: BTreeMap<usize, Try>,
}

impl Waiting {
    pub(crate) fn primary(&self) -> &PrimaryId {
        match &self.content {
            Content::Turning(turning) => &turning.primary,
            Content::Test { primary, .. } => primary,
        }
    }

    pub(crate) fn event(&self) -> Option<EventId> {
        match &self.content {
            Content::Turning(turning) => turning.event,
            Content::Test { .. } => None,
        }
    }

    pub(crate) fn key(&self) -> Key {
        (self.order, self.cause)
    }
}

/// What tells notices apart.
pub(crate) type Key = (Option<OrderNumber>, Cause);

/// The story so far.
pub(crate) struct Story {
    tales: BTreeMap<About, Tale>,
    waiting: VecDeque<Waiting>,
    muted: BTreeMap<PrimaryId, Time>,
    acknowledged: BTreeSet<EventId>,
    /// How the last reconciliations of events came out.
    proofs: BTreeMap<EventId, Proof>,
    repeat: Option<Duration>,
    /// Receivers of each primary's notices, and how they are called in the ledger.
    receivers: BTreeMap<PrimaryId, Vec<usize>>,
    others: Vec<usize>,
    names: Vec<(&'static str, String)>,
}

impl Story {
    pub(crate) fn new(
        repeat: Option<Duration>,
        receivers: BTreeMap<PrimaryId, Vec<usize>>,
        others: Vec<usize>,
        names: Vec<(&'static str, String)>,
    ) -> Story {
        Story {
            tales: BTreeMap::new(),
            waiting: VecDeque::new(),
            muted: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            proofs: BTreeMap::new(),
            repeat,
            receivers,
            others,
            names,
        }
    }

    /// Takes an entry in. `now` and `wall` are the present; an entry may be older.
    pub(crate) fn absorb(&mut self, seq: u64, entry: &Entry, now: Instant, wall: Time) {
        match entry {
            Entry::Order(order) => self.order(order, now, wall),
            Entry::Request(request) => self.request(seq, request, now, wall),
            Entry::Notice(notice) => {
                let Ok(cause) = notice.cause.parse() else { return };
                let receiver = self.names.iter().position(|(c, to)| *c == notice.channel && *to == notice.to);
                if let Some(receiver) = receiver {
                    let ago = now.checked_sub(wall.since(notice.at)).unwrap_or(now);
                    match notice.result {
                        NoticeResult::Sent | NoticeResult::Held { .. } => {
                            self.done((notice.order, cause), receiver, ago);
                        }
                        NoticeResult::Begun | NoticeResult::Failed { .. } => {}
                    }
                }
            }
            Entry::Reconciliation(found) => {
                self.proofs.insert(found.event, Proof::of(found));
                while self.proofs.len() > PROOFS_MAX {
                    self.proofs.pop_first();
                }
            }
            _ => {}
        }
    }

    fn order(&mut self, order: &Order, now: Instant, wall: Time) {
        let whom: Vec<Option<AccountId>> = match &order.scope {
            Scope::All => vec![None],
            Scope::Accounts(accounts) => accounts.iter().cloned().map(Some).collect(),
        };
        for account in whom {
            let about = (order.primary.clone(), account);
            let tale = self.tales.entry(about.clone()).or_default();
            let asks = order.from == State::Suspect && order.to == State::Suspect;
            let asks = asks && order.until.is_none() && order.answers.is_none();
            let asked_before =
                order.from == order.to && tale.planes.get(&order.plane).is_some_and(|(_, asked)| *asked);
            tale.planes.insert(order.plane, (order.to, asks || asked_before));
            let standing = overall(&tale.planes);
            let before = tale.turning.as_ref().map_or(Standing::Well, |turning| turning.standing);
            if standing == before {
                self.join(&about, order);
                continue;
            }
            let earlier = tale.turning.as_ref().and_then(|turning| turning.began);
            let turning = Turning {
                primary: order.primary.clone(),
                account: about.1.as_ref().map(ToString::to_string),
                standing,
                before,
                event: order.event,
                order: order.number,
                at: order.at,
                began: if before == Standing::Well { order.began } else { earlier.or(order.began) },
                until: order.until,
                planes: unwell(&tale.planes),
                by: order.by.clone(),
                why: order.why.clone(),
                proof: order.event.and_then(|event| self.proofs.get(&event)).cloned(),
            };
            tale.turning = Some(turning.clone());
            tale.repeats = 0;
            tale.told = None;
            self.wait(
                Content::Turning(turning),
                Cause::Change,
                Some(order.number),
                order.at,
                now + GATHER,
                wall,
            );
            if standing == Standing::Well && about.1.is_some() {
                self.tales.remove(&about);
            }
        }
    }

    /// A further plane joins a change that may not have been told yet.
    fn join(&mut self, about: &About, order: &Order) {
        let Some(tale) = self.tales.get_mut(about) else { return };
        let planes = unwell(&tale.planes);
        let Some(turning) = &mut tale.turning else { return };
        let join = |turning: &mut Turning| {
            turning.planes.clone_from(&planes);
            turning.event = turning.event.or(order.event);
            if let (Some(began), Some(earlier)) = (order.began, turning.began) {
                turning.began = Some(began.min(earlier));
            }
        };
        join(turning);
        let number = turning.order;
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.order == Some(number)) {
            if let Content::Turning(told) = &mut waiting.content
                && told.account == about.1.as_ref().map(ToString::to_string)
            {
                join(told);
            }
        }
    }

    fn request(&mut self, seq: u64, request: &Request, now: Instant, wall: Time) {
        match &request.kind {
            RequestKind::NoticeTest => {
                let content = Content::Test { primary: request.primary.clone(), by: request.by.clone() };
                self.wait(content, Cause::Test(seq), None, request.at, now, wall);
            }
            RequestKind::Acknowledge { event } => {
                self.acknowledged.insert(*event);
                let repeats = |waiting: &Waiting| {
                    matches!(waiting.cause, Cause::Repeat(_)) && waiting.event() == Some(*event)
                };
                self.waiting.retain(|waiting| !repeats(waiting));
            }
            RequestKind::Mute { until } => {
                self.muted.insert(request.primary.clone(), *until);
            }
            _ => {}
        }
    }

    fn wait(
        &mut self,
        content: Content,
        cause: Cause,
        order: Option<OrderNumber>,
        at: Time,
        due: Instant,
        wall: Time,
    ) {
        if wall.since(at) > GIVE_UP {
            return;
        }
        let mut waiting = Waiting { content, cause, order, at, left: BTreeMap::new() };
        let receivers = self.receivers.get(waiting.primary()).unwrap_or(&self.others);
        waiting.left.extend(receivers.iter().map(|to| (*to, Try { tries: 0, next: due, busy: false })));
        if waiting.left.is_empty() {
            return;
        }
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
            tracing::error!("too many notices wait; the oldest is forgotten");
        }
        self.waiting.push_back(waiting);
    }

    /// A receiver has it, or shall not have it.
    pub(crate) fn done(&mut self, key: Key, receiver: usize, when: Instant) {
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.key() == key) {
            waiting.left.remove(&receiver);
        }
        self.waiting.retain(|waiting| !waiting.left.is_empty());
        self.told(key, when);
    }

    fn told(&mut self, key: Key, when: Instant) {
        let of_order = |turning: &Turning| Some(turning.order) == key.0;
        for tale in self.tales.values_mut().filter(|tale| tale.turning.as_ref().is_some_and(of_order)) {
            tale.told = tale.told.max(Some(when));
            if let Cause::Repeat(n) = key.1 {
                tale.repeats = tale.repeats.max(n);
            }
        }
    }

    /// A receiver did not take it.
    pub(crate) fn failed(&mut self, key: Key, receiver: usize, for_good: bool, now: Instant) {
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.key() == key) {
            if for_good {
                waiting.left.remove(&receiver);
            } else if let Some(tried) = waiting.left.get_mut(&receiver) {
                tried.next = now + AGAIN.saturating_mul(1 << tried.tries.min(10)).min(AGAIN_MAX);
                tried.tries = tried.tries.saturating_add(1);
                tried.busy = false;
            }
        }
        self.waiting.retain(|waiting| !waiting.left.is_empty());
        if for_good {
            // The next reminder tries again: what was refused may have been put right by then.
            self.told(key, now);
        }
    }

    /// Until when notices about a primary are muted, if they are.
    pub(crate) fn muted(&self, primary: &PrimaryId, wall: Time) -> Option<Time> {
        self.muted.get(primary).copied().filter(|until| wall < *until)
    }

    /// What is to be sent now, and to whom. Each receiver gets notices one after the other, in their order.
    pub(crate) fn due(&mut self, now: Instant, wall: Time) -> Vec<(Waiting, usize)> {
        self.repeat(now, wall);
        self.waiting.retain(|waiting| {
            let keep = wall.since(waiting.at) <= GIVE_UP;
            if !keep {
                tracing::error!(primary = %waiting.primary(), cause = %waiting.cause, "a notice is given up");
            }
            keep
        });
        let mut seen = BTreeSet::new();
        let mut due = Vec::new();
        for waiting in &mut self.waiting {
            let first: Vec<usize> = waiting.left.keys().copied().filter(|to| seen.insert(*to)).collect();
            for to in first {
                if let Some(tried) = waiting.left.get_mut(&to).filter(|t| !t.busy && t.next <= now) {
                    tried.busy = true;
                    let copy =
                        Waiting { content: waiting.content.clone(), left: BTreeMap::new(), ..*waiting };
                    due.push((copy, to));
                }
            }
        }
        due
    }

    /// What is still so and nobody has acknowledged is told again.
    fn repeat(&mut self, now: Instant, wall: Time) {
        let Some(every) = self.repeat else { return };
        let mut again = Vec::new();
        for tale in self.tales.values_mut() {
            let Some(told) = tale.urgent(&self.acknowledged) else { continue };
            let Some(turning) = &tale.turning else { continue };
            let waits = self.waiting.iter().any(|waiting| waiting.order == Some(turning.order));
            if now >= told + every && !waits {
                tale.repeats += 1;
                again.push((turning.clone(), tale.repeats));
            }
        }
        for (turning, n) in again {
            let order = Some(turning.order);
            self.wait(Content::Turning(turning), Cause::Repeat(n), order, wall, now, wall);
        }
    }

    /// When [`Story::due`] is to be asked next, if nothing happens before.
    pub(crate) fn next(&self) -> Option<Instant> {
        let tries = self.waiting.iter().flat_map(|waiting| waiting.left.values());
        let tries = tries.filter(|tried| !tried.busy).map(|tried| tried.next);
        let every = self.repeat.unwrap_or(GIVE_UP);
        let urgent = self.tales.values().filter_map(|tale| tale.urgent(&self.acknowledged));
        tries.chain(urgent.map(|told| told + every)).min()
    }
}

impl Tale {
    /// When it was last told, if it is urgent and nobody has acknowledged it.
    fn urgent(&self, acknowledged: &BTreeSet<EventId>) -> Option<Instant> {
        let turning = self.turning.as_ref()?;
        let urgent = matches!(turning.standing, Standing::Down | Standing::PersonNeeded);
        let known = turning.event.is_some_and(|event| acknowledged.contains(&event));
        self.told.filter(|_| urgent && !known)
    }
}

fn unwell(planes: &BTreeMap<Plane, (State, bool)>) -> Vec<Plane> {
    planes.iter().filter(|(_, (state, _))| *state != State::Ready).map(|(plane, _)| *plane).collect()
}

fn overall(planes: &BTreeMap<Plane, (State, bool)>) -> Standing {
    let one = |(state, asked): &(State, bool)| match state {
        State::Active => Standing::Down,
        State::Pinned => Standing::Pinned,
        State::Returning => Standing::Returning,
        State::Suspect if *asked => Standing::PersonNeeded,
        State::Suspect | State::Ready => Standing::Well,
    };
    planes.values().map(one).max().unwrap_or_default()
}
