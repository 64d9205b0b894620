//! As much of SPF (RFC 7208) as it takes to say whether an address may send for a domain, and how many look-ups that takes a
//! receiver. Macros are not expanded: they need a message.

use super::records::{Kind, Records};
use std::net::IpAddr;
use words_world::{Boxed, NameError};

/// A receiver gives up after so many terms that need the DNS (RFC 7208 §4.6.4).
pub(super) const LOOKUPS_MAX: u32 = 10;
/// Deeper than the bound above nothing can be nested.
const DEPTH_MAX: u32 = LOOKUPS_MAX + 2;

/// What an SPF record says about an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// `+`, `-`, `~` or `?`.
    Qualified(char),
    /// There is no record.
    Nothing,
    /// It needs a message to be known.
    Depends,
    /// Receivers take it for broken.
    Broken(String),
    /// The DNS gave no answer.
    Unknown(String),
}

/// One look at a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// The record, when there is one.
    pub(super) record: Option<String>,
    /// What it says.
    pub(super) says: Says,
    /// Terms that needed the DNS, up to the one that decided.
    pub(super) lookups: u32,
    /// Terms that need the DNS in all of it.
    pub(super) all: u32,
}

/// The SPF records among the texts of a name.
fn records(texts: &[&str]) -> Vec<String> {
    let is = |text: &&&str| {
        let text = text.to_ascii_lowercase();
        text == "v=spf1" || text.starts_with("v=spf1 ")
    };
    texts.iter().filter(is).map(|text| (*text).to_owned()).collect()
}

/// What the record of `domain` says about `ip`.
pub(super) async fn look(dns: &dyn Records, domain: &str, ip: IpAddr) -> Look {
    let mut walk = Walk { dns, ip, lookups: 0, decided_at: None };
    let record = walk.record(domain).await.ok();
    let says = walk.check(domain.to_owned(), 0).await;
    Look { record, says, lookups: walk.decided_at.unwrap_or(walk.lookups), all: walk.lookups }
}

struct Walk<'a> {
    dns: &'a dyn Records,
    ip: IpAddr,
    lookups: u32,
    decided_at: Option<u32>,
}

impl Walk<'_> {
    async fn record(&self, domain: &str) -> Result<String, Says> {
        match self.dns.ask(domain, Kind::Text).await {
            Err(NameError::NotFound) => Err(Says::Nothing),
            Err(NameError::Temporary(why)) => Err(Says::Unknown(why)),
            Ok(rows) => {
                let mut found = records(&rows.texts());
                match (found.pop(), found.len()) {
                    (None, _) => Err(Says::Nothing),
                    (Some(one), 0) => Ok(one),
                    _ => Err(Says::Broken(format!("{domain} has more than one SPF record"))),
                }
            }
        }
    }

    /// Goes through all terms, so that all look-ups are counted; the first that matches decides.
    fn check(&mut self, domain: String, depth: u32) -> Boxed<'_, Says> {
        Box::pin(async move {
            if depth > DEPTH_MAX {
                return Says::Broken(format!("{domain} includes itself"));
            }
            let record = match self.record(&domain).await {
                Ok(record) => record,
                Err(says) => return says,
            };
            let mut says = None;
            let mut redirect = None;
            for term in record.split_ascii_whitespace().skip(1) {
                if let Some(to) = strip(term, "redirect=") {
                    redirect = Some(to.to_owned());
                    continue;
                }
                if term.contains('=') && !term.contains(':') {
                    continue;
                }
                let (sign, mechanism) = match term.chars().next() {
                    Some(sign @ ('+' | '-' | '~' | '?')) => (sign, &term[1..]),
                    _ => ('+', term),
                };
                let matched = self.matches(mechanism, &domain, depth).await;
                let now = match matched {
                    Ok(false) => None,
                    Ok(true) => Some(Says::Qualified(sign)),
                    Err(why) => Some(why),
                };
                if says.is_none() && now.is_some() {
                    self.decided_at.get_or_insert(self.lookups);
                    says = now;
                }
            }
            match (says, redirect) {
                (Some(says), _) => says,
                (None, Some(to)) => {
                    self.lookups += 1;
                    match self.check(to, depth + 1).await {
                        Says::Nothing => Says::Broken("its redirect leads to no record".to_owned()),
                        says => says,
                    }
                }
                (None, None) => Says::Qualified('?'),
            }
        })
    }

    async fn matches(&mut self, mechanism: &str, domain: &str, depth: u32) -> Result<bool, Says> {
        let (name, rest) = mechanism.split_at(mechanism.find([':', '/']).unwrap_or(mechanism.len()));
        let rest = rest.strip_prefix(':').unwrap_or(rest);
        let counts = matches!(name.to_ascii_lowercase().as_str(), "include" | "a" | "mx" | "ptr" | "exists");
        self.lookups += u32::from(counts);
        if rest.contains('%') {
            return Err(Says::Depends);
        }
        match name.to_ascii_lowercase().as_str() {
            "all" => Ok(true),
            "ip4" | "ip6" => {
                network(rest, self.ip).ok_or_else(|| Says::Broken(format!("{mechanism} is no network")))
            }
            "include" => match self.check(rest.to_owned(), depth + 1).await {
                Says::Qualified('+') => Ok(true),
                Says::Qualified(_) => Ok(false),
                Says::Nothing => Err(Says::Broken(format!("include:{rest} leads to no record"))),
                says => Err(says),
            },
            "a" | "mx" => {
                let (host, bits) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let host = if host.is_empty() { domain } else { host };
                self.hosts(name.eq_ignore_ascii_case("mx"), host, bits).await
            }
            // Nobody should use it (RFC 7208 §5.5).
            "ptr" => Ok(false),
            "exists" => Ok(self.dns.ask(rest, Kind::Address).await.is_ok()),
            _ => Err(Says::Broken(format!("{mechanism} is no mechanism"))),
        }
    }

    async fn hosts(&self, mx: bool, host: &str, bits: &str) -> Result<bool, Says> {
        let hosts: Vec<String> = match mx {
            false => vec![host.to_owned()],
            true => match self.dns.ask(host, Kind::Mx).await {
                Ok(rows) => rows.exchangers().iter().map(|(_, host)| (*host).to_owned()).collect(),
                Err(NameError::NotFound) => Vec::new(),
                Err(NameError::Temporary(why)) => return Err(Says::Unknown(why)),
            },
        };
        for host in hosts {
            match self.dns.ask(&host, Kind::Address).await {
                Ok(rows) => {
                    let near = |ip: &IpAddr| within(*ip, bits_of(bits, *ip), self.ip);
                    if rows.addresses().iter().any(near) {
                        return Ok(true);
                    }
                }
                Err(NameError::NotFound) => {}
                Err(NameError::Temporary(why)) => return Err(Says::Unknown(why)),
            }
        }
        Ok(false)
    }
}

fn strip<'a>(term: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = (term.get(..prefix.len())?, term.get(prefix.len()..)?);
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// `/24`, `/24//64` or `//64`.
fn bits_of(text: &str, ip: IpAddr) -> u32 {
    let (four, six) = match text.split_once("//") {
        Some((four, six)) => (four, six),
        None => (text, ""),
    };
    let read = |text: &str, most: u32| text.trim_start_matches('/').parse().unwrap_or(most).min(most);
    if ip.is_ipv4() { read(four, 32) } else { read(six, 128) }
}

fn network(text: &str, ip: IpAddr) -> Option<bool> {
    let (network, bits) = text.split_once('/').unwrap_or((text, ""));
    let network: IpAddr = network.parse().ok()?;
    let most = if network.is_ipv4() { 32 } else { 128 };
    let bits = if bits.is_empty() { most } else { bits.parse().ok().filter(|bits| *bits <= most)? };
    Some(within(network, bits, ip))
}

fn within(network: IpAddr, bits: u32, ip: IpAddr) -> bool {
    match (network, ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(network) & mask == u32::from(ip) & mask
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(network) & mask == u128::from(ip) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::records::fake::Facts;
    use proptest::prelude::*;

    fn world(record: &str) -> Facts {
        Facts::default()
            .text("example.org", record)
            .mx("example.org", 10, "mx.example.org")
            .address("mx.example.org", "192.0.2.7")
            .address("example.org", "198.51.100.1")
            .text("_spf.provider.example", "v=spf1 ip4:203.0.113.0/24 -all")
            .text("deep.example", "v=spf1 include:_spf.provider.example a:mx.example.org ~all")
            .text("loop.example", "v=spf1 include:loop.example -all")
    }

    async fn says(record: &str, ip: &str) -> (Says, u32) {
        let found = look(&world(record), "example.org", ip.parse().unwrap()).await;
        (found.says, found.all)
    }

    #[tokio::test]
    async fn each_mechanism_says_what_the_rfc_says() {
        let yes = || Says::Qualified('+');
        let no = || Says::Qualified('-');
        for (record, ip, expected, lookups) in [
            ("v=spf1 mx -all", "192.0.2.7", yes(), 1),
            ("v=spf1 mx -all", "192.0.2.8", no(), 1),
            ("v=spf1 a:mx.example.org -all", "192.0.2.7", yes(), 1),
            ("v=spf1 a:mx.example.org/24 -all", "192.0.2.200", yes(), 1),
            ("v=spf1 a -all", "198.51.100.1", yes(), 1),
            ("v=spf1 ip4:192.0.2.0/29 -all", "192.0.2.7", yes(), 0),
            ("v=spf1 ip6:2001:db8::/32 -all", "2001:db8::7", yes(), 0),
            ("v=spf1 ip4:192.0.2.0/29 ~all", "192.0.2.9", Says::Qualified('~'), 0),
            ("v=spf1 include:_spf.provider.example -all", "203.0.113.9", yes(), 1),
            ("v=spf1 include:deep.example -all", "192.0.2.7", yes(), 3),
            ("v=spf1 redirect=deep.example", "203.0.113.1", yes(), 3),
            ("v=spf1 -ip4:192.0.2.7 +all", "192.0.2.7", no(), 0),
            ("v=spf1", "192.0.2.7", Says::Qualified('?'), 0),
            ("v=spf1 exists:%{i}.example.org -all", "192.0.2.7", Says::Depends, 1),
            ("hello", "192.0.2.7", Says::Nothing, 0),
        ] {
            assert_eq!(says(record, ip).await, (expected, lookups), "{record} {ip}");
        }
        for record in
            ["v=spf1 include:nowhere.example -all", "v=spf1 wrong -all", "v=spf1 ip4:300.1.1.1 -all"]
        {
            assert!(matches!(says(record, "192.0.2.7").await.0, Says::Broken(_)), "{record}");
        }
        assert!(matches!(says("v=spf1 include:loop.example -all", "192.0.2.7").await.0, Says::Broken(_)));
    }

    proptest! {
        #[test]
        fn no_record_is_too_strange(text in "[ -~]{0,80}") {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let facts = world(&format!("v=spf1 {text}"));
                look(&facts, "example.org", "192.0.2.7".parse().unwrap()).await;
            });
        }
    }
}
