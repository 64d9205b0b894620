//! The road's own loop: follow the journal, hand over, settle.

mod doubt;
mod follow;
mod guard;

use crate::door::Answer;
use crate::history::{Errand, History, is_listed};
use crate::lane::LaneName;
use crate::live::{Live, Went};
use crate::pool::Pool;
use crate::queue::{Job, Key, Next, Queue, Rules, State, Turn, Way};
use crate::send::{Handed, carry_out};
use crate::settings::{Parts, Settings};
use crate::settle::{Settled, ToSettle, settle};
use crate::stops::Stops;
use crate::view::{Counts, QueueView, Standing, Toward, standing};
use guard::Guard;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stores_journal::{JournalEntry, JournalScan};
use stores_ledger::{Entry, InForce, LedgerScan, QueueAct, Settlement};
use stores_log::Position;
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use words_mail::{Outcome, PrimaryId, Reply, Sender, Time};

/// Journal entries taken in before something else gets a turn.
const FOLLOW_BATCH: usize = 256;
/// How long the ledger may be behind: it is mostly our own writing.
const LEDGER_EVERY: Duration = Duration::from_millis(100);
/// How often live traffic is summed up, idle connections are closed, and ages are looked at.
const LIVE_EVERY: Duration = Duration::from_millis(250);
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const AGES_EVERY: Duration = Duration::from_secs(30);
/// Items asked about, or expired, at once.
const BATCH: usize = 500;
/// How long a shutdown waits for what is on the wire.
const GRACE: Duration = Duration::from_secs(20);

/// A settled errand that a person may take up again.
pub(crate) struct Listed {
    pub(crate) settlement: Settlement,
    pub(crate) place: Option<(Position, u32, Way)>,
    pub(crate) from: Option<Sender>,
    pub(crate) accepted: Option<Time>,
    pub(crate) size: u64,
}

/// What all parts of this road share.
pub(crate) struct Road {
    pub(crate) parts: Parts,
    pub(crate) settings: Settings,
    pub(crate) pool: Pool,
    pub(crate) wake: Notify,
    queue: Mutex<Queue>,
    listed: Mutex<BTreeMap<Errand, Listed>>,
    stops: Mutex<Stops>,
    totals: Mutex<Totals>,
}

#[derive(Default)]
struct Totals {
    handed_over: u64,
    arrived: u64,
    refused: u64,
    caught_up: bool,
    /// Up to where the journal is in the queue.
    through: Position,
    /// Up to where the ledger was obeyed.
    obeyed: Position,
    alarm: Option<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Road {
    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    pub(crate) fn stops(&self) -> MutexGuard<'_, Stops> {
        lock(&self.stops)
    }

    pub(crate) fn listed(&self) -> MutexGuard<'_, BTreeMap<Errand, Listed>> {
        lock(&self.listed)
    }

    pub(crate) fn count(&self) -> Counts {
        let mut counts = Counts::default();
        {
            let queue = self.queue();
            let mut last = None;
            // There may be a million items, and the road waits for this lock: nothing is copied for each of them.
            let mut by_place: BTreeMap<(Toward<'_>, Standing), u64> = BTreeMap::new();
            let mut for_primary: BTreeMap<&PrimaryId, (u64, Time, Position)> = BTreeMap::new();
            for (key, item, mail) in queue.items() {
                *by_place.entry((Toward::of(&item.destination), standing(&queue, item))).or_default() += 1;
                if key.way != Way::Onward {
                    continue;
                }
                counts.recipients += 1;
                counts.messages += u64::from(last.replace(key.position) != Some(key.position));
                counts.oldest = Some(counts.oldest.map_or(mail.at, |oldest: Time| oldest.min(mail.at)));
                counts.unknown += u64::from(matches!(item.state, State::Doubtful { .. }));
                if let LaneName::Primary(primary) = &item.lane {
                    // Recipients of one message stand one after the other.
                    let known = for_primary.entry(primary);
                    let (count, oldest, of) = known.or_insert((1, mail.at, key.position));
                    *count += u64::from(std::mem::replace(of, key.position) != key.position);
                    *oldest = mail.at.min(*oldest);
                }
            }
            for (primary, (count, oldest, _)) in for_primary {
                counts.by_primary.insert(primary.clone(), count);
                counts.oldest_for.insert(primary.clone(), oldest);
            }
            let named =
                by_place.into_iter().map(|((to, standing), count)| ((to.to_string(), standing), count));
            counts.by_place = named.collect();
            counts.bytes = queue.bytes();
            counts.in_flight = u64::from(queue.in_flight());
        }
        for listed in self.listed().values() {
            match listed.settlement.outcome {
                Outcome::Refused { .. } => counts.refused += 1,
                Outcome::Quarantined { .. } => counts.quarantined += 1,
                _ => counts.parked += 1,
            }
        }
        let totals = lock(&self.totals);
        counts.handed_over = totals.handed_over;
        counts.arrived = totals.arrived;
        counts.refused_ever = totals.refused;
        counts.caught_up = totals.caught_up;
        counts.alarm.clone_from(&totals.alarm);
        counts
    }

    /// Up to where the journal is in the queue, once it was read to its end.
    pub(crate) fn through(&self) -> Option<Position> {
        let totals = lock(&self.totals);
        (totals.caught_up && self.parts.arrivals.is_some()).then_some(totals.through)
    }

    pub(crate) fn set_alarm(&self, alarm: Option<String>) {
        let mut totals = lock(&self.totals);
        if totals.alarm != alarm {
            match &alarm {
                Some(words) => tracing::error!(alarm = %words, "the spool needs attention"),
                None => tracing::info!("the spool is within its budget again"),
            }
            totals.alarm = alarm;
        }
    }
}

impl crate::queue::Orders for InForce {
    fn is_paused(&self, primary: &PrimaryId, account: Option<&words_mail::AccountId>) -> bool {
        self.paused(primary, account)
    }
}

/// The road of delivery.
pub struct Deliver {
    road: Arc<Road>,
}

impl Deliver {
    /// A road that has not begun.
    pub fn new(parts: Parts, settings: Settings) -> Deliver {
        let rules = Rules {
            in_flight_most: settings.in_flight_most,
            primaries: settings.primaries.iter().map(|(id, primary)| (id.clone(), primary.pace)).collect(),
            relay: crate::Pace::primary(),
            internet: settings.internet_pace,
            mailbox: settings.mailbox_pace,
            wedges_most: settings.wedges_most,
            ask_after: settings.ask_after,
        };
        let road = Road {
            parts,
            settings,
            pool: Pool::default(),
            wake: Notify::new(),
            queue: Mutex::new(Queue::new(rules)),
            listed: Mutex::default(),
            stops: Mutex::default(),
            totals: Mutex::default(),
        };
        Deliver { road: Arc::new(road) }
    }

    /// Looks at the queue while the road runs.
    pub fn view(&self) -> QueueView {
        QueueView { road: self.road.clone() }
    }

    /// Delivers until told to stop; then finishes what is on the wire.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let Some(history) = read_history(&self.road, &mut shutdown).await else { return };
        let mut journey = Journey::new(self.road, history);
        journey.run(&mut shutdown).await;
        journey.finish().await;
    }
}

/// Delivery must not begin without knowing what was done: it waits until the logs can be read.
async fn read_history(road: &Road, shutdown: &mut watch::Receiver<bool>) -> Option<History> {
    loop {
        let read = History::read(&road.parts.ledger, &road.parts.mailboxes, road.settings.listed_most);
        match read {
            Ok(history) => return Some(history),
            Err(error) => tracing::error!(%error, "delivery cannot begin; trying again"),
        }
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|stop| *stop) => return None,
            () = sleep(Duration::from_secs(1)) => {}
        }
    }
}

/// What a task of the road ended with.
enum Ended {
    Handed(Box<Handed>),
    Settled(Vec<Settled>),
    Asked(Vec<(Key, Answer)>),
    Other,
}

/// What a task was about, in case it panics.
enum About {
    Job(Job),
    Settling(Vec<Key>),
    Other,
}

pub(crate) struct Journey {
    pub(crate) road: Arc<Road>,
    history: History,
    /// Acts that were durable before the start and must be obeyed by what they find.
    pub(crate) earlier: VecDeque<QueueAct>,
    scan: JournalScan,
    ledger: LedgerScan,
    pub(crate) orders: Arc<InForce>,
    orders_changed: watch::Receiver<Arc<InForce>>,
    tasks: JoinSet<Ended>,
    about: HashMap<Id, About>,
    settling: usize,
    live: Live,
    guard: Guard,
    caught_up: bool,
    more: bool,
    /// Whether new mail wakes us.
    woken: bool,
    next_live: Instant,
    next_sweep: Instant,
    next_ages: Instant,
    next_ledger: Instant,
}

impl Journey {
    fn new(road: Arc<Road>, mut history: History) -> Journey {
        let scan = road.parts.journal.scan(None);
        let ledger = road.parts.ledger.scan(history.ledger);
        let mut orders_changed = road.parts.ledger.orders();
        let orders = orders_changed.borrow_and_update().clone();
        let earlier = std::mem::take(&mut history.acts);
        *road.stops() = std::mem::take(&mut history.stops);
        {
            let mut listed = road.listed();
            for (errand, settlement) in std::mem::take(&mut history.listed) {
                listed
                    .insert(errand, Listed { settlement, place: None, from: None, accepted: None, size: 0 });
            }
            road.queue().orders_changed(orders.as_ref(), Instant::now());
        }
        let now = Instant::now();
        let woken = road.parts.arrivals.is_some();
        Journey {
            road,
            history,
            earlier,
            scan,
            ledger,
            orders,
            orders_changed,
            tasks: JoinSet::new(),
            about: HashMap::new(),
            settling: 0,
            live: Live::default(),
            guard: Guard::default(),
            caught_up: false,
            more: true,
            woken,
            next_live: now,
            next_sweep: now,
            next_ages: now,
            next_ledger: now,
        }
    }

    async fn run(&mut self, shutdown: &mut watch::Receiver<bool>) {
        let mut arrivals = self.road.parts.arrivals.clone();
        let mut durable = self.road.parts.ledger.durable();
        let stops = self.road.stops().clone();
        stops.halt(&mut self.road.queue(), None);
        loop {
            self.more = self.follow();
            self.timers();
            let next = self.work();
            if self.more {
                // Let what is under way get on, then go on reading.
                tokio::task::yield_now().await;
                self.reap();
                if *shutdown.borrow() {
                    return;
                }
                continue;
            }
            let road = self.road.clone();
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => return,
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended),
                Ok(()) = self.orders_changed.changed() => self.orders_are(),
                Ok(()) = changed(&mut arrivals) => {}
                () = road.wake.notified() => {}
                Ok(()) = durable.changed() => self.next_ledger = self.next_ledger.min(Instant::now() + LEDGER_EVERY),
                () = sleep_until(next) => {}
            }
            self.reap();
        }
    }

    /// Handles every task that has ended already.
    fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.ended(ended);
        }
    }

    /// What must happen by itself from time to time.
    fn timers(&mut self) {
        let now = Instant::now();
        if now >= self.next_ledger {
            self.follow_ledger();
            self.next_ledger = now + self.idle_poll();
        }
        if now >= self.next_live {
            let at = (now, self.road.parts.world.clock.now());
            for observation in self.live.observations(&self.road.settings.node, at) {
                self.road.parts.ledger.note(Entry::Observation(observation));
            }
            self.next_live = now + LIVE_EVERY;
        }
        if now >= self.next_sweep {
            for session in self.road.pool.stale(self.road.settings.idle) {
                self.spawn(About::Other, async move {
                    session.quit().await;
                    Ended::Other
                });
            }
            self.next_sweep = now + SWEEP_EVERY;
        }
        if now >= self.next_ages && self.caught_up {
            self.ages();
            self.next_ages = now + AGES_EVERY;
        }
    }

    /// Starts everything that may start; returns when to come back at the latest.
    fn work(&mut self) -> Instant {
        let now = Instant::now();
        let due = self.road.queue().tick(now);
        self.doubts(now);
        while self.settling < self.road.settings.settling_most {
            let Some(job) = self.road.queue().pick(now, self.orders.as_ref()) else { break };
            let road = self.road.clone();
            self.spawn(About::Job(job.clone()), async move {
                Ended::Handed(Box::new(carry_out(road, job).await))
            });
        }
        let next = [
            Some(now + self.idle_poll()),
            Some(self.next_ages.max(now)),
            due,
            Some(self.next_ledger),
            self.live.is_pending().then_some(self.next_live),
            (!self.road.pool.is_empty()).then_some(self.next_sweep),
        ];
        next.into_iter().flatten().min().unwrap_or(now).max(now + Duration::from_millis(1))
    }

    /// How often the logs are looked at although nothing says so: where wake-ups come, a lost one means slower, never
    /// wrong.
    fn idle_poll(&self) -> Duration {
        if self.woken { self.road.settings.poll * 10 } else { self.road.settings.poll }
    }

    fn spawn(&mut self, about: About, task: impl Future<Output = Ended> + Send + 'static) {
        let handle = self.tasks.spawn(task);
        self.about.insert(handle.id(), about);
    }

    fn ended(&mut self, ended: Result<(Id, Ended), JoinError>) {
        match ended {
            Ok((id, ended)) => {
                let about = self.about.remove(&id);
                match ended {
                    Ended::Handed(handed) => self.handed(*handed),
                    Ended::Settled(settled) => self.has_settled(settled),
                    Ended::Asked(answers) => self.answered(answers),
                    Ended::Other => drop(about),
                }
            }
            Err(error) => match self.about.remove(&error.id()) {
                Some(About::Job(job)) => {
                    tracing::error!(trace = %job.trace, %error, "handling a message failed in our own code");
                    self.handed(Handed::panicked(job, "our own code gave up on it"));
                }
                Some(About::Settling(keys)) => {
                    tracing::error!(%error, "settling failed in our own code");
                    self.settling -= 1;
                    keys.into_iter().for_each(|key| self.road.queue().put_aside(key));
                }
                Some(About::Other) | None => tracing::error!(%error, "a task failed in our own code"),
            },
        }
    }

    /// A job is over: every recipient gets its turn.
    fn handed(&mut self, handed: Handed) {
        let now = Instant::now();
        let Handed { job, mut turns, attempted, micros, reports, entry } = handed;
        self.doubt_refusals(&job, &mut turns, &attempted, now);
        let random = self.road.parts.world.random.clone();
        let mut jitter = |below: u64| random.below(below);
        let mut to_settle = Vec::new();
        {
            let mut queue = self.road.queue();
            queue.landed(&job);
            for ((item, turn), attempted) in job.items.iter().zip(&turns).zip(&attempted) {
                if *attempted {
                    queue.attempted(item.key, item.number);
                }
                if let Next::Settle(outcome) = queue.turn(item.key, turn.clone(), now, &mut jitter) {
                    to_settle.push(ToSettle {
                        key: item.key,
                        trace: job.trace,
                        recipient: item.recipient.clone(),
                        destination: item.destination.clone(),
                        account: item.account.clone(),
                        number: if *attempted { item.number } else { item.number - 1 },
                        outcome,
                        reports,
                        tell: false,
                        redirect: None,
                        entry: entry.clone(),
                    });
                }
            }
        }
        for ((item, turn), attempted) in job.items.iter().zip(&turns).zip(&attempted) {
            log(&job, item, turn, micros);
            self.observe(&job.lane, item, turn, micros, now);
            if *attempted {
                self.note_unsettled(&job, item, turn);
            }
        }
        self.settle_all(to_settle);
    }

    /// An attempt that is on record and settled nothing: what is known of it is written down, so that a restart does not
    /// take it for one whose outcome is unknown.
    fn note_unsettled(&self, job: &Job, item: &crate::queue::JobItem, turn: &Turn) {
        let outcome = match turn {
            Turn::Final(_) => return,
            Turn::Unknown(_) => Outcome::Unknown,
            Turn::Person { words, .. }
            | Turn::Message { words, .. }
            | Turn::Place { words, .. }
            | Turn::Doubted(words)
            | Turn::Ours(words)
            | Turn::Broken(words) => Outcome::Deferred { reply: Reply::new(451, (4, 4, 2), words.clone()) },
        };
        self.road.parts.ledger.note(Entry::Settlement(Settlement {
            trace: job.trace,
            recipient: item.recipient.clone(),
            destination: item.destination.clone(),
            outcome,
            at: self.road.parts.world.clock.now(),
            attempt: item.number,
        }));
    }

    fn observe(
        &mut self,
        lane: &LaneName,
        item: &crate::queue::JobItem,
        turn: &Turn,
        micros: u64,
        now: Instant,
    ) {
        let (went, words) = match turn {
            Turn::Final(Outcome::Refused { .. }) => (Went::Refused, ""),
            Turn::Final(Outcome::HandedOver { .. }) => (Went::Well, ""),
            Turn::Person { quota: true, words } | Turn::Doubted(words) => (Went::Well, words.as_str()),
            Turn::Person { words, .. } | Turn::Message { words, wedge: false } => {
                (Went::Later, words.as_str())
            }
            Turn::Place { words, .. } | Turn::Message { words, .. } | Turn::Unknown(words) => {
                (Went::Silent, words.as_str())
            }
            Turn::Final(_) | Turn::Ours(_) | Turn::Broken(_) => return,
        };
        self.live.count(lane, went, micros, words);
        if matches!(turn, Turn::Person { .. }) {
            let at = (now, self.road.parts.world.clock.now());
            let seen = self.live.account(lane, item.account.as_ref(), words, &self.road.settings.node, at);
            if let Some(observation) = seen {
                self.road.parts.ledger.note(Entry::Observation(observation));
            }
        }
    }

    /// Begins the settlement of items that were just handed over.
    pub(crate) fn settle_all(&mut self, to_settle: Vec<ToSettle>) {
        if to_settle.is_empty() {
            return;
        }
        self.settling += 1;
        let keys = to_settle.iter().map(|what| what.key).collect();
        let road = self.road.clone();
        self.spawn(About::Settling(keys), async move {
            let mut under_way = JoinSet::new();
            let mut settled = Vec::with_capacity(to_settle.len());
            let mut to_settle = to_settle.into_iter();
            // One is the usual number, and needs no task of its own.
            let last = to_settle.next_back();
            for what in to_settle {
                under_way.spawn(settle(road.clone(), what));
            }
            if let Some(last) = last {
                settled.push(settle(road, last).await);
            }
            while let Some(Ok(one)) = under_way.join_next().await {
                settled.push(one);
            }
            Ended::Settled(settled)
        });
    }

    /// Begins the settlement of an item that is not being handed over. `false` when it is.
    pub(crate) fn settle_item(
        &mut self,
        key: Key,
        outcome: Outcome,
        tell: bool,
        entry: Option<Arc<JournalEntry>>,
    ) -> bool {
        let Some(what) = self.taken(key, outcome) else { return false };
        self.settle_all(vec![ToSettle { tell, entry, ..what }]);
        true
    }

    /// As [`Journey::settle_item`]; another recipient gets the message first.
    pub(crate) fn settle_redirected(&mut self, key: Key, outcome: Outcome, to: words_mail::Address) {
        if let Some(what) = self.taken(key, outcome) {
            self.settle_all(vec![ToSettle { redirect: Some(to), ..what }]);
        }
    }

    /// Takes an item that is not being handed over out of the queue, to be settled.
    fn taken(&self, key: Key, outcome: Outcome) -> Option<ToSettle> {
        let mut queue = self.road.queue();
        if !queue.take(key) {
            return None;
        }
        let (item, mail) = queue.item(&key).zip(queue.mail(&key.position))?;
        Some(ToSettle {
            key,
            trace: mail.trace,
            recipient: item.recipient.clone(),
            destination: item.destination.clone(),
            account: item.account.clone(),
            number: item.number,
            outcome,
            reports: true,
            tell: false,
            redirect: None,
            entry: None,
        })
    }

    fn has_settled(&mut self, settled: Vec<Settled>) {
        self.settling -= 1;
        let now = Instant::now();
        for one in settled {
            let Some(settlement) = one.settlement else {
                self.road.queue().put_aside(one.key);
                continue;
            };
            {
                let mut totals = lock(&self.road.totals);
                match &settlement.outcome {
                    Outcome::HandedOver { .. } if one.key.way == Way::Here => totals.arrived += 1,
                    Outcome::HandedOver { .. } | Outcome::Seen { .. } => totals.handed_over += 1,
                    Outcome::Refused { .. } => totals.refused += 1,
                    _ => {}
                }
            }
            self.road.queue().settled(one.key, now);
            let errand = Errand::of(&settlement);
            let mut listed = self.road.listed();
            if is_listed(&settlement.outcome) {
                tracing::warn!(
                    trace = %settlement.trace, to = %settlement.recipient, destination = %settlement.destination,
                    outcome = ?settlement.outcome, "set aside for a person"
                );
                let accepted = one.entry.as_ref().map(|entry| &entry.accepted);
                listed.insert(
                    errand,
                    Listed {
                        place: Some((one.key.position, one.key.index, one.key.way)),
                        from: accepted.map(|a| a.envelope.sender.clone()),
                        accepted: accepted.map(|a| a.at),
                        size: accepted.map_or(0, |a| a.size),
                        settlement,
                    },
                );
                while listed.len() > self.road.settings.listed_most {
                    if let Some((_, Listed { settlement, .. })) = listed.pop_first() {
                        tracing::error!(
                            trace = %settlement.trace, to = %settlement.recipient,
                            "more is set aside than is listed: this one leaves the list, and stands in the journal only"
                        );
                    }
                }
            } else {
                listed.remove(&errand);
            }
        }
    }

    /// Ends what is on the wire; nothing new is begun.
    async fn finish(&mut self) {
        let ending = async {
            while let Some(ended) = self.tasks.join_next_with_id().await {
                self.ended(ended);
            }
        };
        if timeout(GRACE, ending).await.is_err() {
            tracing::warn!("deliveries under way did not end in time and are given up");
        }
    }

    pub(crate) fn spawn_other(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(About::Other, async move {
            task.await;
            Ended::Other
        });
    }
}

/// One line for each recipient and attempt.
fn log(job: &Job, item: &crate::queue::JobItem, turn: &Turn, micros: u64) {
    let (outcome, reply) = match turn {
        Turn::Final(Outcome::HandedOver { reply }) => ("handed-over", reply.to_string()),
        Turn::Final(Outcome::Refused { reply, .. }) => ("refused", reply.to_string()),
        Turn::Final(Outcome::Parked { reason }) => ("parked", reason.clone()),
        Turn::Final(other) => ("final", format!("{other:?}")),
        Turn::Person { words, .. } => ("person-later", words.clone()),
        Turn::Message { words, .. } => ("later", words.clone()),
        Turn::Doubted(words) => ("doubted", words.clone()),
        Turn::Place { words, .. } => ("no-service", words.clone()),
        Turn::Ours(words) => ("not-now", words.clone()),
        Turn::Broken(words) => ("broken", words.clone()),
        Turn::Unknown(words) => ("unknown", words.clone()),
    };
    let ms = micros / 1000;
    let destination = job.items.first().map(|item| item.destination.to_string()).unwrap_or_default();
    let (trace, to, attempt) = (job.trace, &item.recipient, item.number);
    match turn {
        Turn::Final(Outcome::HandedOver { .. }) => {
            tracing::info!(%trace, %to, destination, attempt, outcome, reply, ms, "deliver");
        }
        _ => tracing::warn!(%trace, %to, destination, attempt, outcome, reply, ms, "deliver"),
    }
}

async fn changed(arrivals: &mut Option<watch::Receiver<Position>>) -> Result<(), watch::error::RecvError> {
    match arrivals {
        Some(arrivals) => arrivals.changed().await,
        None => std::future::pending().await,
    }
}
