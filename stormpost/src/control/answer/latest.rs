//! What was seen, decided, proved and settled last, followed in the ledger.
//!
//! Nobody waits for it: whoever asks brings it up to what is durable first. The program asks now and then by itself, so
//! that a question after a quiet week is answered as fast as any.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stores_ledger::{Entry, Ledger, LedgerReader, Position};
use tokio::sync::watch;
use tokio::time::sleep;
use words_mail::{
    Destination, Event, EventId, Observation, Order, OrderNumber, Outcome, Plane, PrimaryId, Request,
    RequestKind, Scope, State, Time, TraceId,
};
use words_world::{Clock, World};

/// Observations older than this say nothing about now.
pub(crate) const STALE: Duration = Duration::from_secs(60);
/// Orders are read back so far at a start, and further where an event is open.
const ORDERS_READ_BACK: Duration = Duration::from_secs(31 * 86_400);
/// How often the program itself brings it up to date.
const EVERY: Duration = Duration::from_secs(1);
/// Reconciliations remembered.
const PROOFS_MAX: usize = 1_000;
/// The proof of an event stands before its closing order, or a moment after it.
const PROOF_AFTER: Duration = Duration::from_secs(3_600);
/// Messages of one return that are counted; beyond it the figure stands still.
const GIVEN_MAX: usize = 1_000_000;
/// Requests remembered until an order answers them.
const REQUESTS_MAX: usize = 1_000;

/// How a plane came to stand where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Standing {
    /// The order that put it there.
    pub(crate) order: Order,
    /// What a person asked for, if it was a person.
    pub(crate) request: Option<Request>,
}

/// What was settled since the start of the program, by where to and how.
pub(crate) type Settled = BTreeMap<(String, &'static str), u64>;

/// Everything that is followed.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The last observation of each plane that concerns everybody.
    pub(crate) observations: BTreeMap<(PrimaryId, Plane), Observation>,
    /// How each plane came to stand where it stands, for everybody.
    pub(crate) planes: BTreeMap<(PrimaryId, Plane), Standing>,
    /// When a reconciliation last came out clean.
    pub(crate) proved: BTreeMap<PrimaryId, Time>,
    /// How the last reconciliation of each event came out.
    pub(crate) proofs: BTreeMap<EventId, bool>,
    /// Messages handed over to each primary since its return began.
    pub(crate) given_back: BTreeMap<PrimaryId, BTreeSet<TraceId>>,
    /// Settlements since the start.
    pub(crate) settled: Settled,
    returning: BTreeMap<PrimaryId, Time>,
    requests: BTreeMap<u64, Request>,
}

/// Where in the ledger each kind was read to.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    observations: Position,
    orders: Position,
    reports: Position,
    settlements: Position,
    /// When observations were last read.
    looked: Time,
    /// Whether proofs from before what is followed were looked for.
    seeded: bool,
}

/// Follows the ledger.
pub struct Latest {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    started: Time,
    inner: Mutex<(Marks, Seen)>,
}

impl Latest {
    /// Ready to follow; it reads nothing yet.
    pub fn new(ledger: &Ledger, world: &World) -> Latest {
        let now = world.clock.now();
        let opened = ledger.in_force().open_events().map(|event| event.opened.min(event.began)).min();
        let reader = ledger.reader();
        // A place that cannot be found is the beginning: slower, never wrong.
        let at = |time: Time| reader.position_at(time).unwrap_or_default();
        let marks = Marks {
            observations: at(now.before(STALE)),
            orders: at(opened.unwrap_or(now).min(now.before(ORDERS_READ_BACK))),
            reports: at(now.before(ORDERS_READ_BACK)),
            settlements: at(opened.unwrap_or(now)),
            looked: now,
            seeded: false,
        };
        Latest {
            ledger: ledger.clone(),
            clock: world.clock.clone(),
            started: now,
            inner: Mutex::new((marks, Seen::default())),
        }
    }

    /// Brings it up to date now and then until `stop` says so.
    pub async fn follow(self: Arc<Latest>, mut stop: watch::Receiver<bool>) {
        let mut durable = self.ledger.durable();
        loop {
            let this = self.clone();
            // A panic in there would repeat; the next question shows it.
            let _ = tokio::task::spawn_blocking(move || drop(this.read())).await;
            let wake = async {
                let _ = durable.changed().await;
                sleep(EVERY).await;
            };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = wake => {}
            }
        }
    }

    /// Everything up to what is durable now. Blocks on the disk.
    pub fn seen(&self) -> Seen {
        self.read().1.clone()
    }

    fn read(&self) -> MutexGuard<'_, (Marks, Seen)> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (marks, seen) = &mut *inner;
        let reader = self.ledger.reader();
        let now = self.clock.now();
        if now.since(marks.looked) > STALE * 2 {
            // What lies between says nothing about now.
            let near = reader.position_at(now.before(STALE)).unwrap_or_default();
            marks.observations = marks.observations.max(near);
        }
        marks.looked = now;
        if !marks.seeded {
            marks.seeded = true;
            seen.seed(&reader, &self.ledger.in_force().events(), now.before(ORDERS_READ_BACK));
        }
        read(&reader, marks, seen, self.started);
        inner
    }
}

fn read(reader: &LedgerReader, marks: &mut Marks, seen: &mut Seen, started: Time) {
    let mut each = |mut scan: stores_ledger::LedgerScan, mark: &mut Position| {
        for entered in &mut scan {
            match entered {
                Ok(entered) => seen.absorb(entered.seq, entered.entry, started),
                Err(error) => {
                    tracing::warn!(%error, "an entry of the ledger cannot be read");
                    break;
                }
            }
        }
        *mark = scan.position();
    };
    // Orders before settlements: what was given back counts from the order that began it.
    each(reader.scan_orders(Some(marks.orders)), &mut marks.orders);
    each(reader.scan_observations(Some(marks.observations)), &mut marks.observations);
    each(reader.scan_reports(Some(marks.reports)), &mut marks.reports);
    each(reader.scan_settlements(Some(marks.settlements)), &mut marks.settlements);
}

impl Seen {
    /// Looks for the last clean proof of each primary among older events. Not by reading a year of ledger: an event
    /// says when its proof was made.
    fn seed(&mut self, reader: &LedgerReader, events: &[Event], before: Time) {
        for event in events.iter().rev() {
            let Some(closed) = event.closed.filter(|closed| *closed <= before) else { continue };
            if self.proved.contains_key(&event.primary) {
                continue;
            }
            let Ok(from) = reader.position_at(event.opened) else { continue };
            let last = closed.after(PROOF_AFTER);
            for entered in reader.scan_reports(Some(from)).map_while(Result::ok) {
                if entered.at > last {
                    break;
                }
                match entered.entry {
                    Entry::Reconciliation(found) if found.event == event.id && found.clean => {
                        self.proved.insert(found.primary, found.at);
                    }
                    _ => {}
                }
            }
        }
    }

    fn absorb(&mut self, seq: u64, entry: Entry, started: Time) {
        match entry {
            Entry::Observation(observation) if observation.account.is_none() => {
                self.observations.insert((observation.primary.clone(), observation.plane), observation);
            }
            Entry::Request(request) => {
                let changes = !matches!(
                    request.kind,
                    RequestKind::Acknowledge { .. } | RequestKind::Mute { .. } | RequestKind::NoticeTest
                );
                if changes {
                    self.requests.insert(seq, request);
                }
                while self.requests.len() > REQUESTS_MAX {
                    self.requests.pop_first();
                }
            }
            Entry::Order(order) => self.order(order),
            Entry::Reconciliation(found) => {
                if found.clean {
                    self.proved.insert(found.primary.clone(), found.at);
                }
                self.proofs.insert(found.event, found.clean);
                while self.proofs.len() > PROOFS_MAX {
                    self.proofs.pop_first();
                }
            }
            Entry::Settlement(settlement) => {
                let Destination::Primary(primary) = &settlement.destination else {
                    return self.count(&settlement.destination, &settlement.outcome, settlement.at, started);
                };
                let is_over = matches!(settlement.outcome, Outcome::HandedOver { .. });
                if is_over && self.returning.get(primary).is_some_and(|since| settlement.at >= *since) {
                    let given = self.given_back.entry(primary.clone()).or_default();
                    if given.len() < GIVEN_MAX {
                        given.insert(settlement.trace);
                    }
                }
                self.count(&settlement.destination, &settlement.outcome, settlement.at, started);
            }
            _ => {}
        }
    }

    fn order(&mut self, order: Order) {
        if order.scope != Scope::All {
            return;
        }
        if order.plane == Plane::Inbound && order.to == State::Returning && order.from != State::Returning {
            self.returning.insert(order.primary.clone(), order.at);
            self.given_back.insert(order.primary.clone(), BTreeSet::new());
        }
        let asked = match order.answers {
            Some(seq) => self.requests.get(&seq).cloned(),
            // Only the last order of an answer names the request: the others are by the same person.
            None => self
                .requests
                .values()
                .rev()
                .find(|request| request.primary == order.primary && visibly(&request.by) == order.by)
                .cloned(),
        };
        let key = (order.primary.clone(), order.plane);
        let moved = order.from != order.to || order.to == State::Pinned || !self.planes.contains_key(&key);
        if moved {
            self.planes.insert(key, Standing { order, request: asked });
        }
    }

    fn count(&mut self, destination: &Destination, outcome: &Outcome, at: Time, started: Time) {
        if at < started {
            return;
        }
        // Domains of the internet are without number; they count together.
        let to = match destination {
            Destination::Primary(primary) => primary.0.clone(),
            Destination::Internet(_) => "internet".to_owned(),
            Destination::Mailbox => "mailbox".to_owned(),
        };
        *self.settled.entry((to, outcome_name(outcome))).or_default() += 1;
    }

    /// Messages handed over to a primary since its return began.
    pub(crate) fn given(&self, primary: &PrimaryId) -> u64 {
        self.given_back.get(primary).map_or(0, |given| given.len() as u64)
    }

    /// The order that put a plane where it stands.
    pub(crate) fn order_of(&self, primary: &PrimaryId, plane: Plane) -> Option<(OrderNumber, Time)> {
        let standing = self.planes.get(&(primary.clone(), plane))?;
        Some((standing.order.number, standing.order.at))
    }
}

fn visibly(text: &str) -> String {
    crate::configuration::visible(text)
}

/// The name of an outcome, for scripts.
pub(crate) fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::HandedOver { .. } => "handed_over",
        Outcome::Seen { .. } => "seen",
        Outcome::Refused { .. } => "refused",
        Outcome::Expired { .. } => "expired",
        Outcome::Parked { .. } => "parked",
        Outcome::Quarantined { .. } => "quarantined",
        Outcome::Deleted { .. } => "deleted",
        Outcome::Deferred { .. } => "deferred",
        Outcome::Unknown => "unknown",
    }
}
