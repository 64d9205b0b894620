//! What waits, in memory: rebuilt from the logs at each start, so nothing here need survive.
//!
//! Pure: time and chance arrive as arguments, what is to be done leaves as values. Every item stands in exactly one
//! place at any time (see `check` in the tests).

mod acts;
mod turns;

use crate::lane::{Lane, LaneName, Pace, back_off};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;
use stores_log::Position;
use tokio::time::Instant;
use words_mail::{AccountId, Address, Destination, Outcome, PrimaryId, Reply, Sender, Time, TraceId};
use words_smtp::client::RECIPIENTS_MAX;

/// Where one recipient's copy goes: every recipient has a way into the mailboxes here, or onward, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Way {
    /// Into the mailbox here.
    Here,
    /// To the primary or the internet.
    Onward,
}

/// One recipient of one message on one way. In the order of acceptance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) position: Position,
    pub(crate) way: Way,
    pub(crate) index: u32,
}

/// A message some of whose recipients are not settled.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) trace: TraceId,
    pub(crate) at: Time,
    pub(crate) size: u64,
    pub(crate) sender: Sender,
    open: u32,
}

/// Where an item stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum State {
    /// May go at once: in the lane's `fresh` or `backlog`.
    Ready { fresh: bool },
    /// Waits for its time.
    Later(Instant),
    /// Waits with the other mail of a recipient who was told `4xx`.
    Held,
    /// Waits under an order.
    Paused,
    /// Waits because a person said so.
    Stopped,
    /// Is being handed over.
    InFlight,
    /// May or may not have been handed over: asked about before anything else.
    Doubtful { since: Instant, next: Instant, asked: u32 },
    /// Is being settled.
    Settling,
}

/// One item.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) recipient: Address,
    pub(crate) account: Option<AccountId>,
    pub(crate) destination: Destination,
    pub(crate) lane: LaneName,
    pub(crate) state: State,
    /// The highest number of an attempt that reached, or may have reached, the final dot.
    pub(crate) number: u32,
    /// Attempts whose outcome nobody knows.
    pub(crate) unknowns: u32,
    /// Refusals for now in a row.
    pub(crate) tries: u32,
    /// Times it broke the dialogue while other mail went through.
    wedges: u32,
    wedge_mark: Option<u64>,
    /// The last words about it.
    pub(crate) said: String,
    /// Whether the sender was told of the delay.
    pub(crate) delay_told: bool,
}

/// A new item, as routing makes it.
#[derive(Clone, Debug)]
pub(crate) struct NewItem {
    pub(crate) key: Key,
    pub(crate) recipient: Address,
    pub(crate) account: Option<AccountId>,
    pub(crate) destination: Destination,
    pub(crate) lane: LaneName,
    pub(crate) number: u32,
    pub(crate) unknowns: u32,
    /// Accepted just now, not found at a start.
    pub(crate) fresh: bool,
    pub(crate) delay_told: bool,
}

/// What came of handing over one item.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Turn {
    /// Decided for ever.
    Final(Outcome),
    /// The recipient is told later; `quota` when there is no room in the mailbox.
    Person { words: String, quota: bool },
    /// The message is told later. `wedge`: the dialogue broke while it was being sent.
    Message { words: String, wedge: bool },
    /// Refused for ever, and not believed yet: the message is asked about again.
    Doubted(String),
    /// Trouble with the place itself. `wedge` as above.
    Place { words: String, wedge: bool },
    /// Trouble with our own disk: nobody else's fault.
    Ours(String),
    /// Handling this very message failed on our side: it cannot be read, or our code gave up.
    Broken(String),
    /// The final dot was sent and no answer came.
    Unknown(String),
}

/// What is to be done about an item after its turn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Next {
    /// It stays in the queue.
    Stays,
    /// It is to be settled so; then [`Queue::settled`].
    Settle(Outcome),
}

/// Orders in force, as the queue needs them.
pub(crate) trait Orders {
    /// Whether mail for the primary (of that account) waits.
    fn is_paused(&self, primary: &PrimaryId, account: Option<&AccountId>) -> bool;
}

/// Things to hand over together: one message, one lane, one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) lane: LaneName,
    pub(crate) position: Position,
    pub(crate) trace: TraceId,
    pub(crate) way: Way,
    pub(crate) items: Vec<JobItem>,
}

/// One recipient of a [`Job`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobItem {
    pub(crate) key: Key,
    pub(crate) recipient: Address,
    pub(crate) account: Option<AccountId>,
    pub(crate) destination: Destination,
    /// The number its next attempt will have.
    pub(crate) number: u32,
}

/// The bounds and paces of the queue.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) in_flight_most: u32,
    /// Each primary's own pace; `relay` is that of servers for outgoing mail.
    pub(crate) primaries: BTreeMap<PrimaryId, Pace>,
    pub(crate) relay: Pace,
    pub(crate) internet: Pace,
    pub(crate) mailbox: Pace,
    /// Times a message may break the dialogue before it is parked.
    pub(crate) wedges_most: u32,
    /// How long an unknown outcome rests before it is asked about first.
    pub(crate) ask_after: Duration,
}

impl Rules {
    fn pace(&self, name: &LaneName) -> Pace {
        match name {
            LaneName::Mailbox => self.mailbox,
            LaneName::Primary(id) => self.primaries.get(id).copied().unwrap_or_else(Pace::primary),
            LaneName::Relay(_) | LaneName::SmartHost => self.relay,
            LaneName::Domain(_) => self.internet,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Later(Key),
    Doubt(Key),
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    rules: Rules,
    mails: BTreeMap<Position, Mail>,
    items: BTreeMap<Key, Item>,
    traces: HashMap<TraceId, Position>,
    lanes: BTreeMap<LaneName, Lane>,
    ready: VecDeque<LaneName>,
    /// What stands in `ready`, so that a lane stands there once.
    called: HashSet<LaneName>,
    alarms: BTreeSet<(Instant, Alarm)>,
    /// When a lane's rest or a person's wait ends.
    lane_alarms: BTreeMap<Instant, Vec<LaneName>>,
    in_flight: u32,
    bytes: u64,
}

impl Queue {
    pub(crate) fn new(rules: Rules) -> Queue {
        Queue {
            rules,
            mails: BTreeMap::new(),
            items: BTreeMap::new(),
            traces: HashMap::new(),
            lanes: BTreeMap::new(),
            ready: VecDeque::new(),
            called: HashSet::new(),
            alarms: BTreeSet::new(),
            lane_alarms: BTreeMap::new(),
            in_flight: 0,
            bytes: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Every item, oldest first, with its message.
    pub(crate) fn items(&self) -> impl Iterator<Item = (&Key, &Item, &Mail)> {
        self.items.iter().filter_map(|(key, item)| Some((key, item, self.mails.get(&key.position)?)))
    }

    pub(crate) fn item(&self, key: &Key) -> Option<&Item> {
        self.items.get(key)
    }

    pub(crate) fn mail(&self, position: &Position) -> Option<&Mail> {
        self.mails.get(position)
    }

    /// Where a message stands, if anything of it is open.
    pub(crate) fn find(&self, trace: TraceId) -> Option<Position> {
        self.traces.get(&trace).copied()
    }

    pub(crate) fn lane(&self, name: &LaneName) -> Option<&Lane> {
        self.lanes.get(name)
    }

    pub(crate) fn lanes(&self) -> impl Iterator<Item = (&LaneName, &Lane)> {
        self.lanes.iter()
    }

    /// The items of one message.
    pub(crate) fn of_mail(&self, position: Position) -> Vec<Key> {
        let first = Key { position, way: Way::Here, index: 0 };
        self.items.range(first..).take_while(|(k, _)| k.position == position).map(|(k, _)| *k).collect()
    }

    /// Takes in the recipients of a message. What is already there stays as it is.
    pub(crate) fn add(&mut self, mail: (TraceId, Time, u64, Sender), items: Vec<NewItem>, now: Instant) {
        let (trace, at, size, sender) = mail;
        for new in items {
            if self.items.contains_key(&new.key) {
                continue;
            }
            let bytes = &mut self.bytes;
            let entry = self.mails.entry(new.key.position).or_insert_with(|| {
                *bytes += size;
                self.traces.insert(trace, new.key.position);
                Mail { trace, at, size, sender: sender.clone(), open: 0 }
            });
            entry.open += 1;
            let key = new.key;
            self.items.insert(
                key,
                Item {
                    recipient: new.recipient,
                    account: new.account,
                    destination: new.destination,
                    lane: new.lane,
                    state: State::Settling,
                    number: new.number,
                    unknowns: new.unknowns,
                    tries: 0,
                    wedges: 0,
                    wedge_mark: None,
                    said: String::new(),
                    delay_told: new.delay_told,
                },
            );
            if new.unknowns > 0 {
                let next = now + self.rules.ask_after;
                self.place(key, State::Doubtful { since: now, next, asked: 0 });
            } else {
                self.place(key, State::Ready { fresh: new.fresh });
            }
        }
    }

    /// Puts an item, which stands nowhere, where `state` says.
    fn place(&mut self, key: Key, state: State) {
        let Some(item) = self.items.get_mut(&key) else { return };
        item.state = state.clone();
        let name = item.lane.clone();
        let person = item.recipient.key();
        let pace = self.rules.pace(&name);
        let lane = self.lanes.entry(name.clone()).or_insert_with(|| Lane::new(pace));
        match state {
            State::Ready { fresh } => {
                if fresh {
                    lane.fresh.insert(key)
                } else {
                    lane.backlog.insert(key)
                };
                self.ready(name);
            }
            State::Later(at) => {
                lane.later.insert((at, key));
                self.alarms.insert((at, Alarm::Later(key)));
            }
            State::Held => {
                let held = lane.persons.get_mut(&person).map(|person| person.held.insert(key));
                if held.is_none() {
                    self.place(key, State::Ready { fresh: false });
                }
            }
            State::Paused => {
                lane.paused.insert(key);
            }
            State::Stopped => {
                lane.stopped.insert(key);
            }
            State::Doubtful { next, .. } => {
                self.alarms.insert((next, Alarm::Doubt(key)));
            }
            State::InFlight | State::Settling => {}
        }
    }

    /// Takes an item out of the place where it stands.
    fn lift(&mut self, key: Key) {
        let Some(item) = self.items.get_mut(&key) else { return };
        let state = std::mem::replace(&mut item.state, State::Settling);
        if let State::Doubtful { next, .. } = state {
            self.alarms.remove(&(next, Alarm::Doubt(key)));
        }
        let Some(lane) = self.lanes.get_mut(&item.lane) else { return };
        match state {
            State::Ready { fresh: true } => {
                lane.fresh.remove(&key);
            }
            State::Ready { fresh: false } => {
                lane.backlog.remove(&key);
            }
            State::Later(at) => {
                lane.later.remove(&(at, key));
                self.alarms.remove(&(at, Alarm::Later(key)));
            }
            State::Held => {
                if let Some(person) = lane.persons.get_mut(&item.recipient.key()) {
                    person.held.remove(&key);
                }
            }
            State::Paused => {
                lane.paused.remove(&key);
            }
            State::Stopped => {
                lane.stopped.remove(&key);
            }
            State::Doubtful { .. } | State::InFlight | State::Settling => {}
        }
    }

    fn move_to(&mut self, key: Key, state: State) {
        self.lift(key);
        self.place(key, state);
    }

    fn ready(&mut self, name: LaneName) {
        if self.called.insert(name.clone()) {
            self.ready.push_back(name);
        }
    }

    fn lane_alarm(&mut self, at: Instant, name: LaneName) {
        let names = self.lane_alarms.entry(at).or_default();
        if !names.contains(&name) {
            names.push(name);
        }
    }

    /// Moves what is due and says when to come again.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<Instant> {
        while let Some((at, Alarm::Later(key))) = self.first_alarm(now) {
            debug_assert!(at <= now);
            self.move_to(key, State::Ready { fresh: false });
        }
        while let Some(entry) = self.lane_alarms.first_entry() {
            if *entry.key() > now {
                break;
            }
            for name in entry.remove() {
                self.wake_persons(&name, now);
                self.ready(name);
            }
        }
        // Doubtful items that are due are taken by `questions`; until then they do not wake anybody again.
        let alarms = self.alarms.iter().map(|(at, _)| *at).find(|at| *at > now);
        let lanes = self.lane_alarms.first_key_value().map(|(at, _)| *at);
        [alarms, lanes].into_iter().flatten().min()
    }

    fn first_alarm(&self, now: Instant) -> Option<(Instant, Alarm)> {
        self.alarms
            .iter()
            .take_while(|(at, _)| *at <= now)
            .find(|(_, alarm)| matches!(alarm, Alarm::Later(_)))
            .copied()
    }

    /// Lets one message of each person whose wait is over try again.
    fn wake_persons(&mut self, name: &LaneName, now: Instant) {
        let Some(lane) = self.lanes.get_mut(name) else { return };
        let mut due = Vec::new();
        for person in lane.persons.values_mut() {
            if person.until <= now
                && person.trying.is_none()
                && let Some(oldest) = person.held.first().copied()
            {
                person.trying = Some(oldest);
                due.push(oldest);
            }
        }
        lane.persons.retain(|_, person| !person.held.is_empty() || person.trying.is_some());
        due.into_iter().for_each(|key| self.move_to(key, State::Ready { fresh: false }));
    }

    /// The next thing to hand over, if anything may be now.
    pub(crate) fn pick(&mut self, now: Instant, orders: &dyn Orders) -> Option<Job> {
        for _ in 0..self.ready.len() {
            if self.in_flight >= self.rules.in_flight_most {
                return None;
            }
            let name = self.ready.pop_front()?;
            self.called.remove(&name);
            let Some(lane) = self.lanes.get(&name) else { continue };
            if lane.in_flight >= lane.allowed(now) {
                if let Some(until) = lane.rests_until().filter(|until| *until > now) {
                    self.lane_alarm(until, name);
                }
                continue;
            }
            if let Some(job) = self.pick_from(&name, orders) {
                self.ready(name);
                return Some(job);
            }
            if self.lanes.get(&name).is_some_and(Lane::is_idle) {
                self.lanes.remove(&name);
            }
        }
        None
    }

    fn pick_from(&mut self, name: &LaneName, orders: &dyn Orders) -> Option<Job> {
        let (first, fresh) = loop {
            let (key, fresh) = self.lanes.get_mut(name)?.next()?;
            if self.may_go(key, orders) {
                break (key, fresh);
            }
        };
        self.lanes.get_mut(name)?.took_turn();
        let mut job = Job {
            lane: name.clone(),
            position: first.position,
            trace: self.mails.get(&first.position)?.trace,
            way: first.way,
            items: Vec::new(),
        };
        let same = |key: &Key| key.position == first.position && key.way == first.way;
        let mut next = Some(first);
        while let Some(key) = next.filter(|_| job.items.len() < RECIPIENTS_MAX) {
            if key == first || self.may_go(key, orders) {
                self.move_to(key, State::InFlight);
                let item = self.items.get(&key)?;
                job.items.push(JobItem {
                    key,
                    recipient: item.recipient.clone(),
                    account: item.account.clone(),
                    destination: item.destination.clone(),
                    number: item.number + 1,
                });
            }
            let lane = self.lanes.get(name)?;
            let set = if fresh { &lane.fresh } else { &lane.backlog };
            next = set.range(key..).next().copied().filter(same);
        }
        self.lanes.get_mut(name)?.in_flight += 1;
        self.in_flight += 1;
        Some(job)
    }

    /// Whether an item that is ready may really go; if not, it is put where it waits.
    fn may_go(&mut self, key: Key, orders: &dyn Orders) -> bool {
        let Some(item) = self.items.get(&key) else { return false };
        if let LaneName::Primary(primary) = &item.lane
            && orders.is_paused(primary, item.account.as_ref())
        {
            self.move_to(key, State::Paused);
            return false;
        }
        let person = self.lanes.get(&item.lane).and_then(|lane| lane.persons.get(&item.recipient.key()));
        if person.is_some_and(|person| person.trying != Some(key)) {
            self.move_to(key, State::Held);
            return false;
        }
        true
    }

    /// The transaction of a job is over: its place in the lane is free. Items get their turns after it.
    pub(crate) fn landed(&mut self, job: &Job) {
        self.in_flight -= 1;
        if let Some(lane) = self.lanes.get_mut(&job.lane) {
            lane.in_flight -= 1;
        }
        for item in &job.items {
            self.lift(item.key);
        }
        self.ready(job.lane.clone());
    }

    /// An item is settled: it is gone. Also for items that others settled.
    pub(crate) fn settled(&mut self, key: Key, now: Instant) {
        self.lift(key);
        self.free_trial(key, now);
        let Some(item) = self.items.remove(&key) else { return };
        if let Some(mail) = self.mails.get_mut(&key.position) {
            mail.open -= 1;
            if mail.open == 0 {
                self.bytes -= mail.size;
                self.traces.remove(&mail.trace);
                self.mails.remove(&key.position);
            }
        }
        self.ready(item.lane);
    }

    /// Orders changed: everything that waited under one is looked at again. A lane that was paused for everybody and
    /// is not any more is taken for well: all of it goes at once.
    pub(crate) fn orders_changed(&mut self, orders: &dyn Orders, now: Instant) {
        let names: Vec<LaneName> = self.lanes.keys().cloned().collect();
        for name in names {
            let LaneName::Primary(primary) = &name else { continue };
            let paused = orders.is_paused(primary, None);
            let Some(lane) = self.lanes.get_mut(&name) else { continue };
            let was = std::mem::replace(&mut lane.was_paused, paused);
            let waiting: Vec<Key> = lane.paused.iter().copied().collect();
            waiting.into_iter().for_each(|key| self.move_to(key, State::Ready { fresh: false }));
            if was && !paused {
                self.wake(&name, now);
            } else if paused
                && !was
                && let Some(lane) = self.lanes.get_mut(&name)
            {
                let fresh = std::mem::take(&mut lane.fresh);
                for key in fresh {
                    if let Some(item) = self.items.get_mut(&key) {
                        item.state = State::Settling;
                    }
                    self.place(key, State::Ready { fresh: false });
                }
            }
            self.ready(name);
        }
    }

    /// All of a lane goes at once, whatever it waited for, but for what a person stopped.
    pub(crate) fn wake(&mut self, name: &LaneName, now: Instant) {
        let Some(lane) = self.lanes.get_mut(name) else { return };
        lane.seen_well();
        lane.persons.values_mut().for_each(|person| person.until = now);
        let later: Vec<Key> = lane.later.iter().map(|(_, key)| *key).collect();
        later.into_iter().for_each(|key| self.move_to(key, State::Ready { fresh: false }));
        self.wake_persons(name, now);
        self.ready(name.clone());
    }

    /// Somebody saw the place well: its rest is over. Single messages keep the time they were told.
    pub(crate) fn seen_well(&mut self, name: &LaneName) {
        if let Some(lane) = self.lanes.get_mut(name)
            && lane.failures() > 0
        {
            lane.seen_well();
            self.ready(name.clone());
        }
    }

    /// Items whose outcome is unknown and that are due to be asked about, at most `most`.
    pub(crate) fn questions(&mut self, now: Instant, most: usize) -> Vec<Key> {
        let due: Vec<Key> = self
            .alarms
            .iter()
            .take_while(|(at, _)| *at <= now)
            .filter_map(|(_, alarm)| match alarm {
                Alarm::Doubt(key) => Some(*key),
                Alarm::Later(_) => None,
            })
            .take(most)
            .collect();
        for key in &due {
            if let Some(Item { state: State::Doubtful { since, asked, .. }, .. }) = self.items.get(key) {
                // Again in a while, longer each time, unless an answer comes before.
                let wait = back_off(
                    self.rules.ask_after.max(Duration::from_secs(1)),
                    Duration::from_secs(60),
                    asked + 1,
                    &mut |below| below / 2,
                );
                let state = State::Doubtful { since: *since, next: now + wait, asked: asked + 1 };
                self.move_to(*key, state);
            }
        }
        due
    }

    /// A doubtful item's place is paused: it is asked about soon after that is over, as if its outcome had become unknown
    /// then.
    pub(crate) fn ask_later(&mut self, key: Key, now: Instant) {
        if self.items.get(&key).is_some_and(|item| matches!(item.state, State::Doubtful { .. })) {
            let next = now + self.rules.ask_after;
            self.move_to(key, State::Doubtful { since: now, next, asked: 0 });
        }
    }

    /// A doubtful item's place does not tell what it has: the time it is given for filing what it took begins anew.
    pub(crate) fn nobody_told(&mut self, key: Key, now: Instant) {
        if let Some(Item { state: State::Doubtful { since, .. }, .. }) = self.items.get_mut(&key) {
            *since = now;
        }
    }

    /// A doubtful item is to be sent once more.
    pub(crate) fn send_again(&mut self, key: Key) {
        if self.items.get(&key).is_some_and(|item| matches!(item.state, State::Doubtful { .. })) {
            self.move_to(key, State::Ready { fresh: false });
        }
    }

    /// Remembers that the sender was told of the delay.
    pub(crate) fn told_delay(&mut self, key: Key) {
        if let Some(item) = self.items.get_mut(&key) {
            item.delay_told = true;
        }
    }

    /// The words of a reply that expiry quotes.
    pub(crate) fn last_words(&self, key: &Key) -> Reply {
        let said = self.items.get(key).map(|item| item.said.clone()).filter(|said| !said.is_empty());
        Reply::new(451, (4, 4, 7), said.unwrap_or_else(|| "it was never tried".to_owned()))
    }
}

#[cfg(test)]
mod tests;
