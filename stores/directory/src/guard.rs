//! Limits on guessing: failed sign-ins counted by account and by address, before any password is looked at.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::time::Instant;
use words_mail::AccountId;

/// How many failures are borne. They stay below what makes a primary lock an account, so that guessing here locks
/// nobody out there.
#[derive(Clone, Copy, Debug)]
pub struct Guards {
    /// Failed sign-ins of one account within the window. An address from which the account signed in well is
    /// counted by itself, so that a stranger's guessing does not shut the owner out.
    pub account_failures: u32,
    /// Failed sign-ins from one address (IPv6: one /64) within the window.
    pub address_failures: u32,
    /// The window.
    pub window: Duration,
    /// Counters kept; the memory bound.
    pub counters_max: usize,
}

impl Default for Guards {
    fn default() -> Guards {
        Guards {
            account_failures: 5,
            address_failures: 30,
            window: Duration::from_secs(15 * 60),
            counters_max: 100_000,
        }
    }
}

/// For so long an address from which an account signed in well is its own.
const FAMILIAR_FOR: Duration = Duration::from_secs(24 * 3_600);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    Address(IpAddr),
    Stranger(AccountId),
    Familiar(AccountId, IpAddr),
}

#[derive(Debug)]
struct Counter {
    failures: u32,
    since: Instant,
}

#[derive(Debug, Default)]
struct Counters {
    failures: HashMap<Who, Counter>,
    familiar: HashMap<(AccountId, IpAddr), Instant>,
}

#[derive(Debug)]
pub(crate) struct Guard {
    guards: Guards,
    counters: Mutex<Counters>,
    turns: Mutex<HashMap<Who, Weak<tokio::sync::Mutex<()>>>>,
    waiting: AtomicUsize,
}

/// Sign-ins that may wait for their turn, over all accounts.
const WAITING_MAX: usize = 4_096;

/// The right to try a password of an account now. One at a time, so that guesses made at once cannot slip under the
/// limit together, and a client that opens eight connections costs one hash and not eight.
#[derive(Debug)]
pub(crate) struct Turn {
    _held: tokio::sync::OwnedMutexGuard<()>,
}

/// Why there is no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoTurn {
    TooMany(Duration),
    Busy,
}

/// One customer of the internet: an IPv4 address or an IPv6 /64.
fn site(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => {
            let s = v6.segments();
            IpAddr::from([s[0], s[1], s[2], s[3], 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

impl Guard {
    pub(crate) fn new(guards: Guards) -> Guard {
        Guard { guards, counters: Mutex::default(), turns: Mutex::default(), waiting: AtomicUsize::new(0) }
    }

    /// Waits for the turn of this account and address, if the limits let it try at all.
    pub(crate) async fn turn(&self, account: &AccountId, from: IpAddr) -> Result<Turn, NoTurn> {
        /// Leaves the queue also when the caller gives up waiting.
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.admit(account, from).map_err(NoTurn::TooMany)?;
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= WAITING_MAX {
            return Err(NoTurn::Busy);
        }
        let [_, (who, _)] = self.whose(&self.lock(), account, from);
        let held = self.gate(who).lock_owned().await;
        // Those who had the turn before may have used the last try.
        self.admit(account, from).map_err(NoTurn::TooMany)?;
        Ok(Turn { _held: held })
    }

    fn gate(&self, who: Who) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(gate) = turns.get(&who).and_then(Weak::upgrade) {
            return gate;
        }
        // Dropped gates are swept now and then; at most as many live as sign-ins wait or are under way.
        if turns.len() >= 2 * WAITING_MAX {
            turns.retain(|_, gate| gate.strong_count() > 0);
        }
        let gate = Arc::default();
        turns.insert(who, Arc::downgrade(&gate));
        gate
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether this one may try now, else how long to wait.
    pub(crate) fn admit(&self, account: &AccountId, from: IpAddr) -> Result<(), Duration> {
        let counters = self.lock();
        let waits = self.whose(&counters, account, from).into_iter().filter_map(|(who, limit)| {
            let counter = counters.failures.get(&who)?;
            let passed = counter.since.elapsed();
            (counter.failures >= limit && passed < self.guards.window).then(|| self.guards.window - passed)
        });
        waits.max().map_or(Ok(()), Err)
    }

    fn whose(&self, counters: &Counters, account: &AccountId, from: IpAddr) -> [(Who, u32); 2] {
        let from = site(from);
        let known = counters.familiar.get(&(account.clone(), from));
        let by_account = if known.is_some_and(|at| at.elapsed() < FAMILIAR_FOR) {
            Who::Familiar(account.clone(), from)
        } else {
            Who::Stranger(account.clone())
        };
        [(Who::Address(from), self.guards.address_failures), (by_account, self.guards.account_failures)]
    }

    pub(crate) fn failed(&self, account: &AccountId, from: IpAddr) {
        let mut counters = self.lock();
        let window = self.guards.window;
        for (who, _) in self.whose(&counters, account, from) {
            let full = counters.failures.len() >= self.guards.counters_max;
            if full && !counters.failures.contains_key(&who) {
                counters.failures.retain(|_, c| c.since.elapsed() < window);
                if counters.failures.len() >= self.guards.counters_max {
                    // Somebody guesses at a hundred thousand names: counting per account has no more to give, and
                    // counting anew is better than growing.
                    counters.failures.clear();
                }
            }
            let counter =
                counters.failures.entry(who).or_insert(Counter { failures: 0, since: Instant::now() });
            if counter.since.elapsed() >= window {
                *counter = Counter { failures: 0, since: Instant::now() };
            }
            counter.failures = counter.failures.saturating_add(1);
        }
    }

    pub(crate) fn succeeded(&self, account: &AccountId, from: IpAddr) {
        let mut counters = self.lock();
        let from = site(from);
        if counters.familiar.len() >= self.guards.counters_max {
            counters.familiar.retain(|_, at| at.elapsed() < FAMILIAR_FOR);
            if counters.familiar.len() >= self.guards.counters_max {
                counters.familiar.clear();
            }
        }
        counters.familiar.insert((account.clone(), from), Instant::now());
        // The address's own count stays: one right password among many wrong ones excuses nothing.
        counters.failures.remove(&Who::Familiar(account.clone(), from));
    }
}
