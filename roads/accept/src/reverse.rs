//! What the DNS calls the address of a peer. The filters here and behind us judge by it.

use crate::door::{Accept, Door};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::timeout;
use words_mail::PeerName;
use words_world::{NameError, Names};

/// For the name and its way back together: a peer whose name servers are silent waits no longer.
const TIME_MAX: Duration = Duration::from_secs(3);
/// Names of one address that are tried.
const NAMES_MAX: usize = 4;
/// RFC 1035 §2.3.4.
const NAME_MAX: usize = 253;

/// The peer's name; `None` at doors where nobody judges by it.
pub(crate) async fn name(accept: &Accept, door: Door, ip: IpAddr) -> Option<PeerName> {
    if door != Door::Edge || accept.parts.authentication.is_none() {
        return None;
    }
    // Resolvers answer for these by themselves, and a name from this machine says nothing.
    if ip.to_canonical().is_loopback() {
        return Some(PeerName::Nameless);
    }
    let Some(wait) = accept.reverse_patience.wait() else { return Some(PeerName::Untold) };
    match timeout(TIME_MAX, look(&*accept.parts.world.names, ip.to_canonical())).await {
        Ok(name) => {
            wait.answered();
            Some(name)
        }
        Err(_) => Some(PeerName::Untold),
    }
}

async fn look(names: &dyn Names, ip: IpAddr) -> PeerName {
    let found = match names.reverse(ip).await {
        Ok(found) => found,
        Err(NameError::NotFound) => return PeerName::Nameless,
        Err(NameError::Temporary(_)) => return PeerName::Untold,
    };
    let mut untold = false;
    let mut first = None;
    for name in found.into_iter().filter(|name| is_host_name(name)).take(NAMES_MAX) {
        match names.addresses(&name).await {
            Ok(addresses) if addresses.contains(&ip) => return PeerName::Verified(name),
            Ok(_) | Err(NameError::NotFound) => {}
            Err(NameError::Temporary(_)) => untold = true,
        }
        first.get_or_insert(name);
    }
    match first {
        _ if untold => PeerName::Untold,
        Some(name) => PeerName::Unverified(name),
        None => PeerName::Nameless,
    }
}

/// Whoever owns an address may put any bytes into its name; only letters, digits, dots, hyphens and underscores go on.
fn is_host_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        && name.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use words_world::{Boxed, Mx};

    #[derive(Default)]
    struct Town {
        names: HashMap<IpAddr, Vec<&'static str>>,
        houses: HashMap<&'static str, IpAddr>,
    }

    impl Names for Town {
        fn mx<'a>(&'a self, _: &'a str) -> Boxed<'a, Result<Vec<Mx>, NameError>> {
            Box::pin(async { Err(NameError::NotFound) })
        }

        fn addresses<'a>(&'a self, host: &'a str) -> Boxed<'a, Result<Vec<IpAddr>, NameError>> {
            let found = match host {
                "slow.example" => Err(NameError::Temporary("slow".into())),
                host => self.houses.get(host).map(|ip| vec![*ip]).ok_or(NameError::NotFound),
            };
            Box::pin(async move { found })
        }

        fn reverse<'a>(&'a self, ip: IpAddr) -> Boxed<'a, Result<Vec<String>, NameError>> {
            let found = self.names.get(&ip).map(|names| names.iter().map(|n| (*n).to_owned()).collect());
            Box::pin(async move { found.ok_or(NameError::NotFound) })
        }
    }

    #[tokio::test]
    async fn only_a_name_that_leads_back_is_believed() {
        let ip = |n: u8| IpAddr::from([192, 0, 2, n]);
        let town = Town {
            names: HashMap::from([
                (ip(1), vec!["forged.example", "mail.example"]),
                (ip(2), vec!["forged.example"]),
                (ip(3), vec!["slow.example"]),
                (ip(4), vec!["a b\r\nX: y", "192.0.2.9", ""]),
            ]),
            houses: HashMap::from([("mail.example", ip(1)), ("forged.example", ip(9))]),
        };
        for (n, expected) in [
            (1, PeerName::Verified("mail.example".into())),
            (2, PeerName::Unverified("forged.example".into())),
            (3, PeerName::Untold),
            (4, PeerName::Nameless),
            (5, PeerName::Nameless),
        ] {
            assert_eq!(look(&town, ip(n)).await, expected, "{n}");
        }
    }
}
