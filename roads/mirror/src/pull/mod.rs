//! Pulling: every account's mailboxes at the primary, copied once and followed from then on.
//!
//! One visit for each account: sign in, look how all folders stand, go through those that changed, and wait for the
//! primary to tell of the next change. What is remembered stands in the mailbox log, so a visit that was cut off at any
//! point goes on where it stopped.

mod bodies;
pub(crate) mod gate;
mod look;
mod removed;
mod tree;

use crate::doors::{Doors, Right};
use crate::replay::Trouble;
use gate::Gate;
pub(crate) use look::{Visit, differences, flags_of};
use rules_merge::{Answer, Brake, BrakeOptions, PaceOptions};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stores_directory::Snapshot;
use stores_ledger::Ledger;
use stores_mailbox::Mailboxes;
use stores_primary::store::{MailStore, StoreError};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use words_mail::{AccountId, OrderKind, Plane, PrimaryId, State, TraceKey};
use words_world::World;

/// How one primary is pulled.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// Only what came in so many last days; `None`: everything.
    pub days: Option<u32>,
    /// How long to wait for news in INBOX before all folders are looked at again. Default 30 s.
    pub look_every: Duration,
    /// How hard it may be asked.
    pub pace: PaceOptions,
    /// When what vanishes there is not followed.
    pub brake: BrakeOptions,
}

impl Default for PullOptions {
    fn default() -> PullOptions {
        PullOptions {
            days: None,
            look_every: Duration::from_secs(30),
            pace: PaceOptions::default(),
            brake: BrakeOptions::default(),
        }
    }
}

/// One pair of hands for each account: who pulls it and who gives back to it take turns.
#[derive(Clone, Debug, Default)]
pub struct Hands(Arc<Mutex<HashMap<AccountId, Arc<tokio::sync::Mutex<()>>>>>);

impl Hands {
    pub(crate) fn of(&self, account: &AccountId) -> Arc<tokio::sync::Mutex<()>> {
        let mut hands = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        hands.entry(account.clone()).or_default().clone()
    }
}

/// What the road needs.
pub struct PullParts {
    /// The outside.
    pub world: World,
    /// Where it is pulled to.
    pub mailboxes: Mailboxes,
    /// Orders in.
    pub ledger: Ledger,
    /// Whose mail is where.
    pub directory: watch::Receiver<Arc<Snapshot>>,
    /// Recognises our trace ids.
    pub trace_key: TraceKey,
    /// The way into the primaries' mailboxes.
    pub doors: Arc<dyn Doors>,
    /// The primaries that are pulled.
    pub primaries: Vec<(PrimaryId, PullOptions)>,
    /// Shared with the road that gives back.
    pub hands: Hands,
}

/// The road.
pub struct Puller {
    parts: Arc<PullParts>,
}

/// How often it is looked for accounts that are new.
const ACCOUNTS_EVERY: Duration = Duration::from_secs(5);
/// How long an account rests whose visit failed, first and at most.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// How long it is waited while an order or the brake holds an account.
const HELD: Duration = Duration::from_millis(500);

/// What the visits to one primary share.
struct Shared {
    primary: PrimaryId,
    options: PullOptions,
    gate: Gate,
    brake: Mutex<Brake>,
}

impl Puller {
    /// A road that is ready to run.
    pub fn new(parts: PullParts) -> Puller {
        Puller { parts: Arc::new(parts) }
    }

    /// Runs until `shutdown` says so.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let shared: Vec<Arc<Shared>> = self
            .parts
            .primaries
            .iter()
            .map(|(primary, options)| {
                Arc::new(Shared {
                    primary: primary.clone(),
                    options: options.clone(),
                    gate: Gate::new(options.pace),
                    brake: Mutex::new(Brake::new(options.brake)),
                })
            })
            .collect();
        let mut visits = JoinSet::new();
        let mut visited: BTreeMap<AccountId, tokio::task::AbortHandle> = BTreeMap::new();
        loop {
            let directory = self.parts.directory.borrow().clone();
            let mine =
                |account: &AccountId, primary: &PrimaryId| directory.primary_of(account) == Some(primary);
            for shared in &shared {
                for account in directory.accounts() {
                    let account = account.id();
                    if mine(&account, &shared.primary) && !visited.contains_key(&account) {
                        let visit = follow(self.parts.clone(), shared.clone(), account.clone());
                        visited.insert(account, visits.spawn(visit));
                    }
                }
            }
            // One that left the directory, or went to another primary, is not visited any more.
            visited.retain(|account, visit| {
                let stays = shared.iter().any(|shared| mine(account, &shared.primary));
                if !stays {
                    visit.abort();
                }
                stays
            });
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => return,
                () = sleep(ACCOUNTS_EVERY) => {}
            }
        }
    }
}

/// Follows one account for ever.
async fn follow(parts: Arc<PullParts>, shared: Arc<Shared>, account: AccountId) {
    let mut rest = REST.0;
    let mut braked = false;
    loop {
        match may(&parts, &shared.primary, &account) {
            May::Go => {}
            May::Wait => {
                sleep(HELD).await;
                continue;
            }
            May::Decide => {
                braked = true;
                sleep(HELD).await;
                continue;
            }
        }
        match visit(&parts, &shared, &account, std::mem::take(&mut braked), &mut rest).await {
            Ok(()) => {}
            Err(why) => {
                shared.gate.hear(answer(&why));
                tracing::warn!(%account, primary = %shared.primary, %why, "pulling stopped; it goes on later");
                sleep(rest).await;
                rest = (rest * 2).min(REST.1);
            }
        }
    }
}

enum May {
    Go,
    Wait,
    Decide,
}

fn may(parts: &PullParts, primary: &PrimaryId, account: &AccountId) -> May {
    let orders = parts.ledger.in_force();
    let down = matches!(orders.state(primary, Plane::Access), State::Suspect | State::Active);
    if down || orders.on(OrderKind::PauseReplay, primary, Some(account)) {
        return May::Wait;
    }
    match parts.mailboxes.braked(account) {
        Ok(None) => May::Go,
        Ok(Some(_)) => May::Decide,
        Err(_) => May::Wait,
    }
}

fn answer(why: &Trouble) -> Answer {
    match why {
        Trouble::Primary(StoreError::Throttled { after, .. }) => Answer::Throttled(*after),
        _ => Answer::Badly,
    }
}

/// One connection, for as long as it lasts.
async fn visit(
    parts: &PullParts,
    shared: &Shared,
    account: &AccountId,
    mut accepted: bool,
    rest: &mut Duration,
) -> Result<(), Trouble> {
    let mut place = Some(shared.gate.enter().await);
    let Some(mut store) = parts.doors.enter(&shared.primary, account, Right::Look).await? else {
        tracing::debug!(%account, "no credential to look into this mailbox is configured");
        drop(place);
        sleep(REST.1).await;
        return Ok(());
    };
    loop {
        if !matches!(may(parts, &shared.primary, account), May::Go) {
            store.leave().await;
            return Ok(());
        }
        if place.is_none() {
            place = Some(shared.gate.enter().await);
        }
        let again = {
            let hands = parts.hands.of(account);
            let _hand = hands.lock().await;
            let mut visit = Visit {
                mailboxes: &parts.mailboxes,
                trace_key: &parts.trace_key,
                account,
                store: store.as_mut(),
                options: &shared.options,
                brake: &shared.brake,
                gate: &shared.gate,
                clock: parts.world.clock.as_ref(),
                accepted: std::mem::take(&mut accepted),
            };
            visit.look().await?
        };
        shared.gate.hear(Answer::Well);
        *rest = REST.0;
        drop(place.take());
        if !again {
            wait_for_news(store.as_mut(), shared.options.look_every).await?;
        }
    }
}

/// Waits until INBOX changes, or the time for the next look has come.
async fn wait_for_news(store: &mut dyn MailStore, most: Duration) -> Result<(), Trouble> {
    store.select("INBOX", true).await?;
    match store.wait(most).await {
        Ok(_) => Ok(()),
        Err(StoreError::Unsupported(_)) => {
            sleep(most).await;
            Ok(())
        }
        Err(why) => Err(why.into()),
    }
}
