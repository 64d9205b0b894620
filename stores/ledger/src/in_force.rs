//! What the orders so far amount to: states, switches, events.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use words_mail::{
    AccountId, Event, EventId, Order, OrderKind, OrderNumber, Plane, PrimaryId, Request, RequestKind, Scope,
    State,
};

/// The most closed events kept at hand; older ones are still in the ledger.
const CLOSED_MAX: usize = 1_000;
/// The most requests that wait for an answer; a newer one pushes out the oldest.
const WAITING_MAX: usize = 1_000;

/// What is in force after a number of orders. Derived from the ledger alone; the same orders give the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    last_order: OrderNumber,
    last_event: EventId,
    states: Vec<(StateKey, State)>,
    switches: Vec<(SwitchKey, Switch)>,
    open: BTreeMap<EventId, Open>,
    closed: BTreeMap<EventId, Event>,
    waiting: BTreeMap<u64, Request>,
}

/// One machine: a plane of a primary, for everybody or for the accounts of one order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct StateKey {
    primary: PrimaryId,
    plane: Plane,
    /// Empty: everybody.
    accounts: BTreeSet<AccountId>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct SwitchKey {
    primary: PrimaryId,
    kind: OrderKind,
}

/// One switch of a primary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Switch {
    /// The order that switched it on for everybody.
    all: Option<OrderNumber>,
    /// What was said about single accounts, and by which order.
    accounts: BTreeMap<AccountId, (bool, OrderNumber)>,
}

/// An event that is not closed, with the machines that are not READY.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    event: Event,
    unready: BTreeSet<StateKey>,
}

impl InForce {
    /// Whether deliveries to a primary wait: for everybody, or for one account.
    pub fn paused(&self, primary: &PrimaryId, account: Option<&AccountId>) -> bool {
        self.on(OrderKind::PauseDeliveries, primary, account)
    }

    /// Whether something is switched on at a primary. What was said about the account wins over what was said about
    /// everybody; among orders of the same width the one with the higher number wins.
    pub fn on(&self, kind: OrderKind, primary: &PrimaryId, account: Option<&AccountId>) -> bool {
        let Some(switch) = self.switch(kind, primary) else { return false };
        match account.and_then(|account| switch.accounts.get(account)) {
            Some((on, _)) => *on,
            None => switch.all.is_some(),
        }
    }

    /// The order that decides [`InForce::on`]; `None` when no order says anything.
    pub fn decided_by(
        &self,
        kind: OrderKind,
        primary: &PrimaryId,
        account: Option<&AccountId>,
    ) -> Option<OrderNumber> {
        let switch = self.switch(kind, primary)?;
        let narrow = account.and_then(|account| switch.accounts.get(account)).map(|(_, number)| *number);
        narrow.or(switch.all)
    }

    /// Where a plane stands for everybody; READY when no order says otherwise.
    pub fn state(&self, primary: &PrimaryId, plane: Plane) -> State {
        let found = self
            .states
            .iter()
            .find(|(key, _)| &key.primary == primary && key.plane == plane && key.accounts.is_empty());
        found.map_or(State::Ready, |(_, state)| *state)
    }

    /// Where a plane stands for one account: what was decided for it, else what holds for everybody.
    pub fn state_for(&self, primary: &PrimaryId, plane: Plane, account: &AccountId) -> State {
        let narrow = self.states.iter().rev().find(|(key, state)| {
            &key.primary == primary
                && key.plane == plane
                && key.accounts.contains(account)
                && *state != State::Ready
        });
        narrow.map_or_else(|| self.state(primary, plane), |(_, state)| *state)
    }

    /// Every machine that is not READY: primary, plane, scope, state.
    pub fn unready(&self) -> Vec<(PrimaryId, Plane, Scope, State)> {
        let unready = self.states.iter().filter(|(_, state)| *state != State::Ready);
        unready.map(|(key, state)| (key.primary.clone(), key.plane, key.scope(), *state)).collect()
    }

    /// The open event of a primary: the one for everybody before one for single accounts, the newest before older.
    pub fn open_event(&self, primary: &PrimaryId) -> Option<&Event> {
        let mine = || self.open.values().rev().filter(|open| &open.event.primary == primary);
        let for_all = mine().find(|open| open.unready.iter().any(|key| key.accounts.is_empty()));
        for_all.or_else(|| mine().next()).map(|open| &open.event)
    }

    /// Every open event.
    pub fn open_events(&self) -> impl Iterator<Item = &Event> {
        self.open.values().map(|open| &open.event)
    }

    /// Events, open and closed, in order of their numbers; the last thousand of the closed ones.
    pub fn events(&self) -> Vec<Event> {
        let mut events: Vec<Event> = self.closed.values().chain(self.open_events()).cloned().collect();
        events.sort_by_key(|event| event.id);
        events
    }

    /// One event.
    pub fn event(&self, id: EventId) -> Option<&Event> {
        self.open.get(&id).map(|open| &open.event).or_else(|| self.closed.get(&id))
    }

    /// The number that the next order gets.
    pub fn next_order(&self) -> OrderNumber {
        OrderNumber(self.last_order.0 + 1)
    }

    /// The number that the next event gets.
    pub fn next_event(&self) -> EventId {
        EventId(self.last_event.0 + 1)
    }

    /// The last order that counts here.
    pub fn last_order(&self) -> OrderNumber {
        self.last_order
    }

    /// Requests that no order has answered yet, with their sequence numbers in the ledger.
    pub fn waiting_requests(&self) -> &BTreeMap<u64, Request> {
        &self.waiting
    }

    pub(crate) fn request(&mut self, seq: u64, request: &Request) {
        let wants_order = match request.kind {
            RequestKind::Failover
            | RequestKind::Failback
            | RequestKind::Pin { .. }
            | RequestKind::Unpin
            | RequestKind::Maintenance { .. } => true,
            RequestKind::Acknowledge { .. } | RequestKind::Mute { .. } | RequestKind::NoticeTest => false,
        };
        if wants_order {
            self.waiting.insert(seq, request.clone());
            while self.waiting.len() > WAITING_MAX {
                self.waiting.pop_first();
            }
        }
    }

    pub(crate) fn obey(&mut self, order: &Order) {
        self.last_order = self.last_order.max(order.number);
        if let Some(answered) = order.answers {
            self.waiting.remove(&answered);
        }
        for kind in &order.on {
            self.switch_on(*kind, order);
        }
        for kind in &order.off {
            self.switch_off(*kind, order);
        }
        let key = StateKey::of(order);
        self.states.retain(|(known, _)| *known != key);
        // The newest stands last: for one account the newest order that covers it decides.
        self.states.push((key.clone(), order.to));
        if !key.accounts.is_empty() && order.to == State::Ready {
            self.states.pop();
        }
        self.follow_events(order, key);
    }

    fn follow_events(&mut self, order: &Order, key: StateKey) {
        if let Some(id) = order.event {
            self.last_event = self.last_event.max(id);
            if !self.closed.contains_key(&id) {
                self.open.entry(id).or_insert_with(|| Open {
                    event: Event {
                        id,
                        primary: order.primary.clone(),
                        opened_by: order.number,
                        opened: order.at,
                        began: order.began.unwrap_or(order.at),
                        returned_by: None,
                        closed_by: None,
                        closed: None,
                        planes: Vec::new(),
                    },
                    unready: BTreeSet::new(),
                });
            }
        }
        let mut over = Vec::new();
        for (id, open) in &mut self.open {
            let named = order.event == Some(*id);
            if !named && !open.unready.contains(&key) {
                continue;
            }
            if order.to == State::Ready {
                open.unready.remove(&key);
            } else {
                open.unready.insert(key.clone());
                if !open.event.planes.contains(&order.plane) {
                    open.event.planes.push(order.plane);
                }
            }
            if order.to == State::Returning {
                open.event.returned_by.get_or_insert(order.number);
            }
            if open.unready.is_empty() {
                open.event.closed_by = Some(order.number);
                open.event.closed = Some(order.at);
                over.push(*id);
            }
        }
        for id in over {
            if let Some(open) = self.open.remove(&id) {
                self.closed.insert(id, open.event);
            }
        }
        while self.closed.len() > CLOSED_MAX {
            self.closed.pop_first();
        }
    }

    fn switch(&self, kind: OrderKind, primary: &PrimaryId) -> Option<&Switch> {
        let found = self.switches.iter().find(|(key, _)| key.kind == kind && &key.primary == primary);
        found.map(|(_, switch)| switch)
    }

    fn switch_mut(&mut self, kind: OrderKind, primary: &PrimaryId) -> &mut Switch {
        let key = SwitchKey { primary: primary.clone(), kind };
        let at = match self.switches.binary_search_by(|(known, _)| known.cmp(&key)) {
            Ok(at) => at,
            Err(at) => {
                self.switches.insert(at, (key, Switch::default()));
                at
            }
        };
        &mut self.switches[at].1
    }

    fn switch_on(&mut self, kind: OrderKind, order: &Order) {
        let switch = self.switch_mut(kind, &order.primary);
        match &order.scope {
            Scope::All => switch.all = Some(order.number),
            Scope::Accounts(accounts) => {
                for account in accounts {
                    switch.accounts.insert(account.clone(), (true, order.number));
                }
            }
        }
    }

    /// Switching off for an account ends what was switched on for it; where nothing was, it makes the account an
    /// exception from what holds for everybody, until that ends.
    fn switch_off(&mut self, kind: OrderKind, order: &Order) {
        let switch = self.switch_mut(kind, &order.primary);
        match &order.scope {
            Scope::All => {
                switch.all = None;
                switch.accounts.retain(|_, (on, _)| *on);
            }
            Scope::Accounts(accounts) => {
                for account in accounts {
                    let was_on = switch.accounts.get(account).is_some_and(|(on, _)| *on);
                    if was_on || switch.all.is_none() {
                        switch.accounts.remove(account);
                    } else {
                        switch.accounts.insert(account.clone(), (false, order.number));
                    }
                }
            }
        }
    }
}

impl StateKey {
    fn of(order: &Order) -> StateKey {
        let accounts = match &order.scope {
            Scope::All => BTreeSet::new(),
            Scope::Accounts(accounts) => accounts.iter().cloned().collect(),
        };
        StateKey { primary: order.primary.clone(), plane: order.plane, accounts }
    }

    fn scope(&self) -> Scope {
        match self.accounts.is_empty() {
            true => Scope::All,
            false => Scope::Accounts(self.accounts.iter().cloned().collect()),
        }
    }
}
