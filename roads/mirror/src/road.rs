//! The loop: give back what is due, and prove an event's end.

use crate::deliveries::{Missed, Written};
use crate::doors::Doors;
use crate::prove::{Prover, Unproved, Waits};
use crate::pull::Hands;
use crate::replay::{Carried, Replay, Trouble};
use crate::unsettled::Unsettled;
use crate::witness::Report;
use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use stores_directory::Snapshot;
use stores_journal::JournalReader;
use stores_ledger::Ledger;
use stores_mailbox::Mailboxes;
use stores_primary::store::StoreError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use words_mail::{AccountId, Event, EventId, OrderKind, Plane, PrimaryId, State, Time, TraceKey};
use words_world::World;

/// How the road behaves.
#[derive(Clone, Debug)]
pub struct MirrorOptions {
    /// How often it looks for changes to carry over when nothing wakes it. Default 1 s.
    pub look_every: Duration,
    /// How long a message that the primary said yes to may take into its mailbox before the reconciliation lists it as
    /// not seen, and how long deliveries may come to nothing before it lists what still waits. Default 10 min, the time
    /// a primary's own queue may need.
    pub patience: Duration,
    /// How much earlier than the first failed observation messages count as of the event. Default 60 s.
    pub margin: Duration,
    /// How long one account's replay may take before another gets its turn. Default 10 min.
    pub turn: Duration,
}

impl Default for MirrorOptions {
    fn default() -> MirrorOptions {
        MirrorOptions {
            look_every: Duration::from_secs(1),
            patience: Duration::from_secs(600),
            margin: Duration::from_secs(60),
            turn: Duration::from_secs(600),
        }
    }
}

/// What the road needs.
pub struct MirrorParts {
    /// The outside.
    pub world: World,
    /// Every accepted message.
    pub journal: JournalReader,
    /// Orders in, reconciliations out.
    pub ledger: Ledger,
    /// What people did.
    pub mailboxes: Mailboxes,
    /// Whose mail is where.
    pub directory: watch::Receiver<Arc<Snapshot>>,
    /// Recognises our trace ids.
    pub trace_key: TraceKey,
    /// The way into the primaries' mailboxes.
    pub doors: Arc<dyn Doors>,
    /// The primaries, by name.
    pub primaries: Vec<PrimaryId>,
    /// How it behaves.
    pub options: MirrorOptions,
}

/// The road.
pub struct Mirror {
    parts: MirrorParts,
    prover: Prover,
    /// Events whose planes all came back, with the moment when that was first seen: what is accepted later is no part
    /// of the proof, for mail never stops and there would always be something under way.
    returned: HashMap<EventId, Time>,
    /// Events whose end is looked for.
    looking: HashMap<EventId, Looking>,
    /// What of these events is not settled.
    unsettled: HashMap<EventId, Unsettled>,
    /// Events that were reconciled.
    closed: BTreeSet<EventId>,
    /// Accounts that failed lately are left alone for a while.
    rest: HashMap<AccountId, (Instant, Duration)>,
    /// What is missed at the primary, by account.
    missed: HashMap<AccountId, Missed>,
    /// Shared with the road that pulls.
    hands: Hands,
}

/// How far the way to an event's end has come.
#[derive(Clone, Copy, Debug)]
struct Looking {
    /// The least that was not settled, …
    least: usize,
    /// … and since when nothing more has come of it: patience begins anew with every step.
    since: Instant,
}

/// After a change it is waited so long for others that belong to it.
const TOGETHER: Duration = Duration::from_millis(50);
/// The first and the longest rest of an account whose replay failed.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

impl Mirror {
    /// A road that is ready to run.
    pub fn new(parts: MirrorParts) -> Mirror {
        let prover = Prover::new(&parts);
        Mirror {
            parts,
            prover,
            returned: HashMap::new(),
            looking: HashMap::new(),
            unsettled: HashMap::new(),
            closed: BTreeSet::new(),
            rest: HashMap::new(),
            missed: HashMap::new(),
            hands: Hands::default(),
        }
    }

    /// The same, taking turns with the road that pulls.
    pub fn beside(self, hands: Hands) -> Mirror {
        Mirror { hands, ..self }
    }

    /// The same, knowing what waits for delivery.
    pub fn asking(self, waits: Waits) -> Mirror {
        Mirror { prover: self.prover.asking(waits), ..self }
    }

    /// Makes the same comparison whenever somebody asks for it.
    pub fn prover(&self) -> Prover {
        self.prover.clone()
    }

    /// Runs until `shutdown` says so.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let mut durable = self.parts.mailboxes.durable();
        loop {
            let turn = async {
                let primaries = self.parts.primaries.clone();
                for primary in &primaries {
                    self.turn(primary).await;
                }
            };
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => return,
                () = turn => {}
            }
            let woken = async {
                // A person's program does several things at once; they are carried over together.
                let _ = durable.changed().await;
                sleep(TOGETHER).await;
            };
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => return,
                () = woken => {}
                () = sleep(self.parts.options.look_every) => {}
            }
        }
    }

    async fn turn(&mut self, primary: &PrimaryId) {
        let orders = self.parts.ledger.in_force();
        let reachable = !matches!(orders.state(primary, Plane::Access), State::Suspect | State::Active);
        let paused = orders.on(OrderKind::PauseReplay, primary, None);
        let mut carried = true;
        if reachable && !paused {
            carried = self.give_back(primary).await;
        }
        let Some(event) = orders.open_event(primary) else { return };
        let well =
            Plane::ALL.iter().all(|p| !matches!(orders.state(primary, *p), State::Suspect | State::Active));
        if !well {
            // A relapse: what was proved before says nothing about what is kept from now on.
            self.closed.remove(&event.id);
            self.looking.remove(&event.id);
            self.unsettled.remove(&event.id);
            self.returned.remove(&event.id);
        }
        if !well || event.returned_by.is_none() || self.closed.contains(&event.id) {
            return;
        }
        match self.prove(event, carried).await {
            Ok(report) => {
                tracing::info!(
                    event = %event.id, %primary, accepted = report.accepted, seen = report.seen, lost = report.lost,
                    doubled = report.doubled, clean = report.is_clean(), "reconciled"
                );
                self.closed.insert(event.id);
                self.looking.remove(&event.id);
                self.unsettled.remove(&event.id);
                self.returned.remove(&event.id);
            }
            Err(why) => tracing::debug!(event = %event.id, %primary, %why, "not reconciled yet"),
        }
    }

    /// Carries over what people did; whether nothing is left.
    async fn give_back(&mut self, primary: &PrimaryId) -> bool {
        let accounts = match self.parts.mailboxes.accounts() {
            Ok(accounts) => accounts,
            Err(why) => {
                tracing::error!(%why, "the mailboxes cannot be read");
                return false;
            }
        };
        let directory = self.parts.directory.borrow().clone();
        let mut all = true;
        for account in accounts.iter().filter(|account| directory.primary_of(account) == Some(primary)) {
            if self.rest.get(account).is_some_and(|(until, _)| *until > Instant::now()) {
                all = false;
                continue;
            }
            match self.give_back_one(primary, account).await {
                Ok(carried) => all &= carried.done || carried.shut,
                Err(why) => {
                    tracing::warn!(%account, %primary, %why, "giving back stopped; it goes on later");
                    let rest = self.rest.get(account).map_or(REST.0, |(_, rest)| (*rest * 2).min(REST.1));
                    self.rest.insert(account.clone(), (Instant::now() + rest, rest));
                    all = false;
                }
            }
        }
        all
    }

    async fn give_back_one(&mut self, primary: &PrimaryId, account: &AccountId) -> Result<Carried, Trouble> {
        let directory = self.parts.directory.borrow().clone();
        let deliveries = Written {
            journal: &self.parts.journal,
            ledger: &self.parts.ledger,
            directory: &directory,
            primary,
            account,
            now: self.parts.world.clock.now(),
            patience: self.parts.options.patience,
            missed: self.missed.entry(account.clone()).or_default(),
        };
        let replay = Replay {
            mailboxes: &self.parts.mailboxes,
            trace_key: &self.parts.trace_key,
            doors: self.parts.doors.as_ref(),
            primary,
            account,
            deliveries: &deliveries,
        };
        if !replay.is_due()? {
            return Ok(Carried { done: true, ..Carried::default() });
        }
        if self.parts.mailboxes.braked(account)?.is_some() {
            return Ok(Carried::default());
        }
        let hands = self.hands.of(account);
        let _hand = hands.lock().await;
        let carried = timeout(self.parts.options.turn, replay.run())
            .await
            .unwrap_or_else(|_| Err(StoreError::NoAnswer("the replay took too long".to_owned()).into()))?;
        self.rest.remove(account);
        if carried.messages > 0 && carried.waiting.is_empty() {
            tracing::info!(
                %account, %primary, messages = carried.messages, changed = carried.changed, listed = ?carried.listed,
                "given back"
            );
        }
        if !carried.waiting.is_empty() || (!carried.done && !carried.shut) {
            // What is not delivered yet is asked about again, but not in every turn.
            self.rest.insert(account.clone(), (Instant::now() + REST.0, REST.0));
        }
        Ok(carried)
    }

    /// Compares what was promised in an event with what stands in the primary, and writes it down: when all of it is
    /// there, or when waiting longer would not help.
    async fn prove(&mut self, event: &Event, carried: bool) -> Result<Report, Unproved> {
        let clock = &self.parts.world.clock;
        let returned = *self.returned.entry(event.id).or_insert_with(|| clock.now());
        let directory = self.parts.directory.borrow().clone();
        let unsettled = match self.unsettled.entry(event.id) {
            Slot::Occupied(slot) => slot.into_mut(),
            Slot::Vacant(slot) => slot.insert(self.prover.unsettled(event, returned)?),
        };
        let unsettled = unsettled.count(&directory).await?;
        let now = Instant::now();
        let looking = self.looking.entry(event.id).or_insert(Looking { least: unsettled, since: now });
        if unsettled < looking.least {
            *looking = Looking { least: unsettled, since: now };
        }
        let patient = looking.since.elapsed() < self.parts.options.patience;
        if patient && unsettled > 0 {
            return Err(Unproved::Unsettled(unsettled));
        }
        if patient && !carried {
            return Err(Unproved::NotCarried);
        }
        // All of it is read once more, for now each message is compared. A person may have taken one up again.
        let promised = self.prover.promised(event, Some(returned), false, carried).await?;
        let again = promised.unsettled();
        if patient && again > 0 {
            return Err(Unproved::Unsettled(again));
        }
        let mut report = self.prover.compare(event, promised, &mut |_| {}).await?;
        report.changes_wait = !carried;
        let open = usize::try_from(report.unseen + report.lost).unwrap_or(usize::MAX);
        if patient && open > 0 {
            return Err(Unproved::Unseen(open));
        }
        self.prover.write_down(event, &report).await?;
        Ok(report)
    }
}
