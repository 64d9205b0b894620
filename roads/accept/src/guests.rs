//! Who is connected, from where, and how much each address has sent lately.

use crate::AcceptLimits;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Addresses remembered at once; those without a connection are forgotten first.
const ADDRESSES_MAX: usize = 50_000;

const MINUTE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Visitor {
    connections: u32,
    minute: Instant,
    messages: u32,
}

#[derive(Debug, Default)]
struct State {
    connections: usize,
    visitors: HashMap<IpAddr, Visitor>,
}

/// Everybody who is connected.
#[derive(Debug, Default)]
pub(crate) struct Guests {
    state: Mutex<State>,
}

/// Why a connection is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// There are too many connections.
    All,
    /// There are too many from that address.
    Address,
}

/// One connection that is counted, until it is dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    guests: Arc<Guests>,
    /// `None` for doors on this machine, where everybody has the same address.
    address: Option<IpAddr>,
}

impl Guests {
    /// Counts a connection in.
    pub(crate) fn enter(
        self: &Arc<Guests>,
        ip: Option<IpAddr>,
        max: usize,
        limits: &AcceptLimits,
    ) -> Result<Guest, Full> {
        let mut state = self.lock();
        if state.connections >= max {
            return Err(Full::All);
        }
        let address = ip.map(network);
        if let Some(address) = address {
            let visitor = state.visitor(address);
            if visitor.connections >= limits.connections_per_address {
                return Err(Full::Address);
            }
            visitor.connections += 1;
        }
        state.connections += 1;
        drop(state);
        Ok(Guest { guests: self.clone(), address })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Counts a message; `false` when the address has sent too many in this minute.
    pub(crate) fn may_send(&self, most: u32) -> bool {
        let Some(address) = self.address else { return true };
        let mut state = self.guests.lock();
        let visitor = state.visitor(address);
        if visitor.minute.elapsed() >= MINUTE {
            visitor.minute = Instant::now();
            visitor.messages = 0;
        }
        visitor.messages = visitor.messages.saturating_add(1);
        visitor.messages <= most
    }

    /// Messages from this address in this minute, this one included; `None` at a door where nobody counts.
    pub(crate) fn sent(&self) -> Option<u32> {
        let state = self.guests.lock();
        state.visitors.get(&self.address?).map(|visitor| visitor.messages)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut state = self.guests.lock();
        state.connections = state.connections.saturating_sub(1);
        if let Some(visitor) = self.address.and_then(|a| state.visitors.get_mut(&a)) {
            visitor.connections = visitor.connections.saturating_sub(1);
        }
    }
}

impl State {
    fn visitor(&mut self, address: IpAddr) -> &mut Visitor {
        if self.visitors.len() >= ADDRESSES_MAX && !self.visitors.contains_key(&address) {
            self.visitors.retain(|_, v| v.connections > 0);
        }
        self.visitors.entry(address).or_insert_with(|| Visitor {
            connections: 0,
            minute: Instant::now(),
            messages: 0,
        })
    }
}

/// The address as far as it tells one sender from another: of IPv6, one site has a whole /64.
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

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_cannot_take_every_place() {
        let guests = Arc::new(Guests::default());
        let limits = AcceptLimits { connections_per_address: 2, ..AcceptLimits::default() };
        let first = guests.enter(ip("192.0.2.1"), 3, &limits).unwrap();
        let _second = guests.enter(ip("::ffff:192.0.2.1"), 3, &limits).unwrap();
        assert_eq!(guests.enter(ip("192.0.2.1"), 3, &limits).unwrap_err(), Full::Address);
        let _other = guests.enter(ip("192.0.2.2"), 3, &limits).unwrap();
        assert_eq!(guests.enter(ip("192.0.2.3"), 3, &limits).unwrap_err(), Full::All);
        drop(first);
        let _again = guests.enter(ip("192.0.2.1"), 3, &limits).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_site_of_ipv6_is_one_address() {
        let guests = Arc::new(Guests::default());
        let limits = AcceptLimits { connections_per_address: 1, ..AcceptLimits::default() };
        let _one = guests.enter(ip("2001:db8:1:2::1"), 3, &limits).unwrap();
        assert_eq!(guests.enter(ip("2001:db8:1:2:ffff::9"), 3, &limits).unwrap_err(), Full::Address);
        guests.enter(ip("2001:db8:1:3::1"), 3, &limits).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn messages_are_counted_by_the_minute_over_all_connections() {
        let guests = Arc::new(Guests::default());
        let limits = AcceptLimits { messages_per_minute: 2, ..AcceptLimits::default() };
        let one = guests.enter(ip("192.0.2.1"), 3, &limits).unwrap();
        let two = guests.enter(ip("192.0.2.1"), 3, &limits).unwrap();
        assert!(
            one.may_send(limits.messages_per_minute)
                && two.may_send(limits.messages_per_minute)
                && !one.may_send(limits.messages_per_minute)
        );
        tokio::time::advance(MINUTE).await;
        assert!(two.may_send(limits.messages_per_minute));
    }
}
