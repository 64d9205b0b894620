//! Lists of addresses in the DNS (RFC 5782).

use rules_policy::Listing;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use tokio::task::JoinSet;
use words_world::{NameError, World};

/// An address as it is asked for, without the list's name; `None` for one that no list can know.
pub(super) fn reversed(ip: IpAddr) -> Option<String> {
    let mut name = String::new();
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            if ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() {
                return None;
            }
            for octet in ip.octets().iter().rev() {
                let _ = write!(name, "{octet}.");
            }
        }
        IpAddr::V6(ip) => {
            if ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local() {
                return None;
            }
            // RFC 5782 §2.4: each half of an octet by itself, the last first.
            for octet in ip.octets().iter().rev() {
                let _ = write!(name, "{:x}.{:x}.", octet & 15, octet >> 4);
            }
        }
    }
    Some(name)
}

/// Asks every list at once. One that says yes is enough; when none does and one did not answer, it is not known.
pub(super) async fn ask(world: &World, reversed: &str, zones: &[String]) -> Result<Option<Listing>, String> {
    let mut asking = JoinSet::new();
    for zone in zones {
        let (names, zone, name) = (world.names.clone(), zone.clone(), format!("{reversed}{zone}"));
        asking.spawn(async move { (names.addresses(&name).await, zone) });
    }
    let mut unknown = None;
    while let Some(asked) = asking.join_next().await {
        let Ok((answer, zone)) = asked else { continue };
        match answer.map(|addresses| meaning(&addresses)) {
            Ok(Meaning::Listed(code)) => return Ok(Some(Listing { zone, code })),
            Ok(Meaning::NotForUs) => {
                unknown = Some(format!("{zone} does not answer this name server's questions"))
            }
            Ok(Meaning::Nothing) | Err(NameError::NotFound) => {}
            Err(NameError::Temporary(why)) => unknown = Some(format!("{zone}: {why}")),
        }
    }
    unknown.map_or(Ok(None), Err)
}

#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Listed(Ipv4Addr),
    /// The list refuses to answer: for who asks too much, or through a public name server.
    NotForUs,
    Nothing,
}

/// RFC 5782 §2.1: a listing is an address within 127.0.0.0/8. Anything else is a domain that somebody else has now, and
/// 127.255.255.0/24 are the errors of the lists in use.
fn meaning(addresses: &[IpAddr]) -> Meaning {
    let codes = || {
        addresses.iter().filter_map(|ip| match ip {
            IpAddr::V4(ip) if ip.octets()[0] == 127 => Some(*ip),
            _ => None,
        })
    };
    if codes().any(|code| code.octets()[1..3] == [255, 255]) {
        return Meaning::NotForUs;
    }
    codes().next().map_or(Meaning::Nothing, Meaning::Listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_asked_for_from_their_end() {
        assert_eq!(reversed("192.0.2.99".parse().unwrap()).unwrap(), "99.2.0.192.");
        let v6 = "2001:db8:1:2:3:4:567:89ab".parse().unwrap();
        // RFC 5782 §2.4.
        assert_eq!(reversed(v6).unwrap(), "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.");
        for own in ["127.0.0.1", "10.1.2.3", "::1", "fd00::1", "::ffff:192.168.1.1"] {
            assert_eq!(reversed(own.parse().unwrap()), None, "{own}");
        }
    }

    #[test]
    fn only_a_code_is_a_listing() {
        let meaning = |text: &str| meaning(&[text.parse().unwrap()]);
        assert_eq!(meaning("127.0.0.4"), Meaning::Listed(Ipv4Addr::new(127, 0, 0, 4)));
        assert_eq!(meaning("127.255.255.254"), Meaning::NotForUs);
        assert_eq!(meaning("198.51.100.7"), Meaning::Nothing, "a domain for sale");
    }
}
