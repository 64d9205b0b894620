//! Looks at primaries, judges what was seen, and writes the orders that the other roads obey.
//!
//! It alone writes orders. An order is durable in the ledger first; then it is in force (roads follow
//! [`stores_ledger::Ledger::orders`]), and only then do its own machines take it for done. So a crash never leaves a
//! switch that no record explains, and a restart begins where the ledger says.

mod canary;
mod machines;
mod probe;
#[cfg(test)]
mod tests;

pub use canary::MailCanary;
pub use machines::{ACCOUNTS_MAX, Owed, WATCH};
pub use probe::{Canary, FrontDoor, ImapProbe, NamesProbe, Probe, Seen, SmtpProbe};
pub use rules_failover::Settings;

use machines::{Machines, Numbers};
use probe::{Eye, Pace};
use rules_failover::Now;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use stores_ledger::{AppendError, Entry, Heartbeat, InForce, Ledger};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use words_mail::{Evidence, Finding, Observation, Order, Plane, PrimaryId, Request, Scope, State, Time};
use words_world::{World, crash_point};

/// How often time alone is asked for a decision.
const TICK: Duration = Duration::from_millis(500);
/// How often the ledger hears that we are alive.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Observations of our own that may wait; those who look wait when it is full.
const SEEN_MAX: usize = 256;
/// Observations of others taken in before the next decision.
const LIVE_AT_ONCE: usize = 256;
/// Orders for one primary before it is another one's turn.
const ORDERS_AT_ONCE: usize = 64;
/// In unbroken peace one observation of each kind is written down so often; every change and every failure is.
const UP_NOTED_EVERY: Duration = Duration::from_secs(10);
/// Failures of live traffic come in storms; so many of them are written down.
const DOWN_NOTED_EVERY: Duration = Duration::from_millis(400);
/// Orders are read back so far at a start, and further where an event is open: an announced maintenance is in them.
const ORDERS_READ_BACK: Duration = Duration::from_secs(31 * 86_400);

/// A primary that is watched.
pub struct Watched {
    /// Its name.
    pub id: PrimaryId,
    /// How patient the judgement is; how often probes look.
    pub settings: Settings,
    /// The ways to look at it.
    pub probes: Vec<Arc<dyn Probe>>,
    /// How long one look may take.
    pub probe_limit: Duration,
    /// Canaries.
    pub canaries: Vec<Flight>,
}

/// How a canary is sent.
pub struct Flight {
    /// Its way.
    pub canary: Arc<dyn Canary>,
    /// How often.
    pub every: Duration,
    /// When it has not arrived.
    pub patience: Duration,
}

/// The road.
pub struct Watch {
    /// The outside.
    pub world: World,
    /// Where all of it is written.
    pub ledger: Ledger,
    /// This node's name: the vantage of what it sees.
    pub node: String,
    /// The primaries.
    pub watched: Vec<Watched>,
    /// What other roads observed while they worked, as they wrote it into the ledger: `Down` when a dialogue failed in a way that concerns everybody (no
    /// connection, time-out, 4xx to all), `Up` when it was answered, also by a refusal of that one message.
    pub live: mpsc::Receiver<Observation>,
    /// What is still owed to whom.
    pub owed: Arc<dyn Owed>,
}

impl Watch {
    /// Watches until shutdown.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let started = Instant::now();
        let Watch { world, ledger, node, watched, mut live, owed } = self;
        let clock = Clock { world: world.clone(), started };
        let (out, mut seen) = mpsc::channel(SEEN_MAX);
        let mut eyes = JoinSet::new();
        let mut court = Court::new(&ledger, &watched, owed, clock.clone());
        for one in watched {
            let pace = court.paces.entry(one.id.clone()).or_default().subscribe();
            let eye = Eye { world: world.clone(), primary: one.id, vantage: node.clone(), out: out.clone() };
            for probe in one.probes {
                eyes.spawn(eye.clone().probe(probe, one.settings.probe_every, one.probe_limit, pace.clone()));
            }
            for flight in one.canaries {
                eyes.spawn(eye.clone().canary(flight.canary, flight.every, flight.patience));
            }
        }
        let mut asked = ledger.orders();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beat = interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let since = world.clock.now();
        loop {
            tokio::select! {
                biased;
                changed = shutdown.changed() => {
                    if changed.is_err() || *shutdown.borrow() {
                        return;
                    }
                }
                Some(observation) = seen.recv() => court.hear(observation),
                Some(observation) = live.recv() => {
                    court.hear(observation);
                    for _ in 1..LIVE_AT_ONCE {
                        let Ok(observation) = live.try_recv() else { break };
                        court.hear(observation);
                    }
                }
                Ok(()) = asked.changed() => {}
                _ = tick.tick() => {}
                _ = beat.tick() => {
                    let at = world.clock.now();
                    ledger.note(Entry::Heartbeat(Heartbeat { at, node: node.clone(), since }));
                    // Who wrote a request may have been gone before it was announced.
                    ledger.in_force();
                    continue;
                }
            }
            court.decide().await;
        }
    }
}

#[derive(Clone)]
struct Clock {
    world: World,
    started: Instant,
}

impl Clock {
    fn now(&self) -> Now {
        Now { steady: self.started.elapsed(), wall: self.world.clock.now() }
    }
}

/// What was written down last of one kind of evidence.
struct Noted {
    finding: Finding,
    at: Instant,
    /// The newest that said the same since, and was not written down: it is when the finding changes, so that the record
    /// says to the observation when a plane was last seen well and first seen to fail.
    since: Option<Observation>,
}

/// Where observations are judged and orders are written.
struct Court {
    ledger: Ledger,
    /// Follows every order and request; cheaper than asking the ledger each time.
    in_force: watch::Receiver<Arc<InForce>>,
    machines: BTreeMap<PrimaryId, Machines>,
    paces: HashMap<PrimaryId, watch::Sender<Pace>>,
    owed: Arc<dyn Owed>,
    clock: Clock,
    noted: HashMap<(PrimaryId, Plane, Evidence), Noted>,
    /// Why the last order could not be written, so that it is said once.
    stuck: Option<AppendError>,
}

impl Court {
    fn new(ledger: &Ledger, watched: &[Watched], owed: Arc<dyn Owed>, clock: Clock) -> Court {
        let in_force = ledger.in_force();
        let now = clock.now();
        let machines = watched
            .iter()
            .map(|one| (one.id.clone(), Machines::new(one.id.clone(), one.settings.clone(), &in_force, now)));
        let mut court = Court {
            ledger: ledger.clone(),
            in_force: ledger.orders(),
            machines: machines.collect(),
            paces: HashMap::new(),
            owed,
            clock,
            noted: HashMap::new(),
            stuck: None,
        };
        let oldest = in_force.open_events().map(|event| event.opened).min().unwrap_or(now.wall);
        court.resume(oldest.min(now.wall.before(ORDERS_READ_BACK)), now);
        court
    }

    fn resume(&mut self, from: Time, now: Now) {
        let reader = self.ledger.reader();
        let position = match reader.position_at(from) {
            Ok(position) => position,
            Err(error) => {
                tracing::error!(%error, "orders of earlier runs cannot be read; states are known, ends of pins are not");
                return;
            }
        };
        // A scan that fails stays where it is and fails again.
        for entered in reader.scan_orders(Some(position)).map_while(Result::ok) {
            if let Entry::Order(order) = entered.entry
                && let Some(machines) = self.machines.get_mut(&order.primary)
            {
                machines.resume(&order, now);
            }
        }
    }

    /// Takes an observation in: written down, unless it only repeats what was written down a moment ago, and judged.
    /// What other roads saw live they have written down themselves.
    fn hear(&mut self, observation: Observation) {
        let Some(machines) = self.machines.get_mut(&observation.primary) else { return };
        machines.hear(&observation, self.clock.now());
        let is_live_failure = observation.evidence == Evidence::Live && observation.finding == Finding::Down;
        if is_live_failure && let Some(pace) = self.paces.get(&observation.primary) {
            pace.send_modify(|pace| pace.wake += 1);
        }
        let key = (observation.primary.clone(), observation.plane, observation.evidence);
        let gap = if observation.finding == Finding::Up { UP_NOTED_EVERY } else { DOWN_NOTED_EVERY };
        if observation.evidence == Evidence::Live {
            return;
        }
        let noted = self.noted.get_mut(&key);
        if let Some(noted) = noted.filter(|n| n.finding == observation.finding && n.at.elapsed() < gap) {
            noted.since = Some(observation);
            return;
        }
        let now = Noted { finding: observation.finding, at: Instant::now(), since: None };
        if let Some(Noted { finding, since: Some(last), .. }) = self.noted.insert(key, now)
            && finding != observation.finding
        {
            self.ledger.note(Entry::Observation(last));
        }
        self.ledger.note(Entry::Observation(observation));
    }

    /// Answers what people asked and writes what time and evidence ask for.
    async fn decide(&mut self) {
        let in_force = self.in_force.borrow_and_update().clone();
        for (seq, request) in in_force.waiting_requests() {
            self.answer(*seq, request).await;
        }
        let primaries: Vec<PrimaryId> = self.machines.keys().cloned().collect();
        for primary in primaries {
            for _ in 0..ORDERS_AT_ONCE {
                let now = self.clock.now();
                let numbers = Numbers::of(&self.in_force.borrow());
                let Some(machines) = self.machines.get_mut(&primary) else { break };
                let Some(order) = machines.next(numbers, now, &*self.owed) else { break };
                if !self.write(order).await {
                    return;
                }
            }
            self.pace(&primary);
        }
    }

    fn pace(&self, primary: &PrimaryId) {
        let (Some(machines), Some(pace)) = (self.machines.get(primary), self.paces.get(primary)) else {
            return;
        };
        let doubtful = machines.is_doubtful(self.clock.now());
        pace.send_if_modified(|pace| std::mem::replace(&mut pace.doubtful, doubtful) != doubtful);
    }

    async fn answer(&mut self, seq: u64, request: &Request) {
        let numbers = Numbers::of(&self.in_force.borrow());
        let orders = match self.machines.get(&request.primary) {
            Some(machines) => machines.answer(request, seq, numbers, self.clock.now()),
            None => vec![unknown(request, seq, numbers, self.clock.now())],
        };
        for order in orders {
            if !self.write(order).await {
                return;
            }
        }
    }

    /// Makes an order durable, then obeys it. When it cannot be made durable nothing has changed, and it is decided
    /// anew a moment later.
    async fn write(&mut self, order: Order) -> bool {
        crash_point("watch.order.decided");
        if let Err(error) = self.ledger.append(Entry::Order(order.clone())).await {
            if self.stuck.replace(error) != Some(error) {
                tracing::error!(primary = %order.primary, plane = %order.plane, to = %order.to, %error,
                    "an order cannot be written, so nothing is switched");
            }
            return false;
        }
        crash_point("watch.order.durable");
        self.stuck = None;
        let scope = match &order.scope {
            Scope::All => "all".to_owned(),
            Scope::Accounts(accounts) => accounts.first().map(ToString::to_string).unwrap_or_default(),
        };
        tracing::info!(order = order.number.0, primary = %order.primary, plane = %order.plane, from = %order.from,
            to = %order.to, on = ?order.on, off = ?order.off, %scope, by = %order.by, why = %order.why, "order");
        let now = self.clock.now();
        if let Some(machines) = self.machines.get_mut(&order.primary) {
            machines.obey(&order, now);
        }
        crash_point("watch.order.obeyed");
        true
    }
}

/// The answer to a request about a primary that is not in the configuration.
fn unknown(request: &Request, seq: u64, numbers: Numbers, now: Now) -> Order {
    Order {
        number: numbers.order,
        at: now.wall,
        primary: request.primary.clone(),
        plane: Plane::Inbound,
        from: State::Ready,
        to: State::Ready,
        on: Vec::new(),
        off: Vec::new(),
        scope: request.scope.clone(),
        event: None,
        by: WATCH.to_owned(),
        why: "no primary of that name is configured; nothing changed".to_owned(),
        began: None,
        until: None,
        answers: Some(seq),
    }
}
