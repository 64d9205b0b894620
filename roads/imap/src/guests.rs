//! Who is connected, from where and as whom, and who has guessed wrong lately.

use crate::ImapLimits;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use words_mail::AccountId;

/// Addresses remembered at once; those that matter least are forgotten first.
const ADDRESSES_MAX: usize = 20_000;

/// For how long a failed sign-in counts against its address.
const FAILURE_WINDOW: Duration = Duration::from_secs(600);

#[derive(Debug)]
struct Visitor {
    connections: u32,
    failures: u32,
    since: Instant,
}

#[derive(Debug, Default)]
struct State {
    connections: usize,
    visitors: HashMap<IpAddr, Visitor>,
    accounts: HashMap<AccountId, u32>,
}

/// Everybody who is connected.
#[derive(Debug, Default)]
pub(crate) struct Guests {
    state: Mutex<State>,
}

/// One connection that is counted, until it is dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    guests: Arc<Guests>,
    address: IpAddr,
    account: Option<AccountId>,
}

impl Guests {
    /// Counts a connection in; in words, why not.
    pub(crate) fn enter(self: &Arc<Guests>, ip: IpAddr, limits: &ImapLimits) -> Result<Guest, &'static str> {
        let address = network(ip);
        let mut state = self.lock();
        if state.connections >= limits.connections {
            return Err("too many connections; try again later");
        }
        let visitor = state.visitor(address);
        if visitor.connections >= limits.connections_per_address {
            return Err("too many connections from your address; close some");
        }
        visitor.connections += 1;
        state.connections += 1;
        Ok(Guest { guests: self.clone(), address, account: None })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Whether somebody from this address may try to sign in now.
    pub(crate) fn may_try(&self, limits: &ImapLimits) -> bool {
        let mut state = self.guests.lock();
        let visitor = state.visitor(self.address);
        if visitor.since.elapsed() >= FAILURE_WINDOW {
            visitor.failures = 0;
        }
        visitor.failures < limits.failures_per_address
    }

    /// Counts a failed sign-in.
    pub(crate) fn failed(&self) {
        let mut state = self.guests.lock();
        let visitor = state.visitor(self.address);
        if visitor.failures == 0 {
            visitor.since = Instant::now();
        }
        visitor.failures = visitor.failures.saturating_add(1);
    }

    /// Counts the connection for an account; `false` when that has too many.
    pub(crate) fn sign_in(&mut self, account: &AccountId, limits: &ImapLimits) -> bool {
        let mut state = self.guests.lock();
        let count = state.accounts.entry(account.clone()).or_insert(0);
        if *count >= limits.connections_per_account {
            return false;
        }
        *count += 1;
        drop(state);
        self.account = Some(account.clone());
        true
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut state = self.guests.lock();
        state.connections = state.connections.saturating_sub(1);
        if let Some(visitor) = state.visitors.get_mut(&self.address) {
            visitor.connections = visitor.connections.saturating_sub(1);
            if visitor.connections == 0 && visitor.failures == 0 {
                state.visitors.remove(&self.address);
            }
        }
        let Some(account) = self.account.take() else { return };
        if let Some(count) = state.accounts.get_mut(&account) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                state.accounts.remove(&account);
            }
        }
    }
}

impl State {
    fn visitor(&mut self, address: IpAddr) -> &mut Visitor {
        if self.visitors.len() >= ADDRESSES_MAX && !self.visitors.contains_key(&address) {
            self.visitors.retain(|_, v| v.connections > 0 || v.since.elapsed() < FAILURE_WINDOW);
            if self.visitors.len() >= ADDRESSES_MAX {
                self.visitors.retain(|_, v| v.connections > 0);
            }
        }
        self.visitors.entry(address).or_insert_with(|| Visitor {
            connections: 0,
            failures: 0,
            since: Instant::now(),
        })
    }
}

/// The address as far as it tells one client from another: of IPv6, one site has a whole /64.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6([a, b, c, d, 0, 0, 0, 0].into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_counted_and_given_back() {
        let guests = Arc::new(Guests::default());
        let limits = ImapLimits {
            connections: 3,
            connections_per_address: 2,
            connections_per_account: 1,
            ..ImapLimits::default()
        };
        let anna = AccountId::new("anna@example.org");
        let mut first = guests.enter(ip("192.0.2.1"), &limits).unwrap();
        let mut second = guests.enter(ip("192.0.2.1"), &limits).unwrap();
        assert!(guests.enter(ip("::ffff:192.0.2.1"), &limits).is_err());
        let third = guests.enter(ip("2001:db8::1"), &limits).unwrap();
        assert!(guests.enter(ip("192.0.2.9"), &limits).is_err());
        assert!(first.sign_in(&anna, &limits) && !second.sign_in(&anna, &limits));
        drop(first);
        assert!(second.sign_in(&anna, &limits));
        drop((second, third));
        let state = guests.lock();
        assert!(state.visitors.is_empty() && state.accounts.is_empty() && state.connections == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_guesses_too_often_waits() {
        let guests = Arc::new(Guests::default());
        let limits = ImapLimits { failures_per_address: 2, ..ImapLimits::default() };
        let guest = guests.enter(ip("192.0.2.1"), &limits).unwrap();
        guest.failed();
        assert!(guest.may_try(&limits));
        guest.failed();
        drop(guest);
        // Coming again does not help; time does.
        let guest = guests.enter(ip("192.0.2.1"), &limits).unwrap();
        assert!(!guest.may_try(&limits));
        tokio::time::advance(FAILURE_WINDOW).await;
        assert!(guest.may_try(&limits));
    }
}
