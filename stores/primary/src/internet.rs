//! Where mail for a domain goes: its mail exchangers, or a smart host.

use crate::smtp::{Hop, Limits, Place};
use crate::tls::{Tls, TlsMode};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::time::timeout;
use words_mail::Reply;
use words_smtp::client::Protocol;
use words_world::{Boxed, Mx, NameError, Proved, World};

/// The most exchangers of one domain that are tried for one message.
const EXCHANGERS_MAX: usize = 5;

/// How mail leaves for other organisations.
#[derive(Clone, Debug)]
pub struct Internet {
    /// A server that takes all of it; when set, nothing is looked up.
    pub smart_host: Option<Hop>,
    /// Our name in `EHLO`.
    pub helo: String,
    /// Every name and address that an exchanger of ours may have: to hand mail to them would be a loop.
    pub own_names: Vec<String>,
    /// See [`Internet::own_names`].
    pub own_addresses: Vec<IpAddr>,
    /// The port of exchangers: 25.
    pub port: u16,
    /// When to encrypt; normally opportunistic.
    pub tls: TlsMode,
    /// Whom to believe; normally anybody, as names of exchangers come from an unsigned DNS.
    pub trust: Tls,
    /// How long to wait for what.
    pub limits: Limits,
    /// Whether an exchanger may stand at a loopback address. Only for tests: in the DNS of a stranger it points at
    /// services of this machine.
    pub allow_loopback: bool,
    /// Who says what each exchanger has to prove; without one, nothing.
    pub guard: Option<Arc<dyn Guard>>,
}

/// A server of a domain, as the DNS gave it.
#[derive(Clone, Debug)]
pub struct Exchanger {
    /// The way to it.
    pub hop: Hop,
    /// Its name.
    pub host: String,
    /// Whether both that it is the domain's, and its addresses, were proved (RFC 7672 §2.2).
    pub secure: bool,
    /// The name at the end of its aliases; empty when there are none.
    pub alias: String,
}

/// Says what the servers of a domain have to prove before mail is given to them (RFC 8461, RFC 7672).
pub trait Guard: Send + Sync + fmt::Debug {
    /// Whether it matters if the DNS's answers are proved.
    fn wants_proof(&self) -> bool;

    /// The ways to the servers that may be gone to, each with what it has to prove; the order stays.
    fn secure<'a>(
        &'a self,
        domain: &'a str,
        exchangers: Vec<Exchanger>,
    ) -> Boxed<'a, Result<Vec<Hop>, NoWay>>;
}

/// Why there is no way to a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoWay {
    /// Not now; ask again later.
    Later(String),
    /// Never; in the words of a reply, for the sender.
    Never(Reply),
}

/// The servers to try for `domain`, in order (RFC 5321 §5.1).
///
/// # Errors
/// When there is none: for now, or for good.
pub async fn route(world: &World, internet: &Internet, domain: &str) -> Result<Vec<Hop>, NoWay> {
    if let Some(hop) = &internet.smart_host {
        return Ok(vec![hop.clone()]);
    }
    if let Some(literal) = domain.strip_prefix('[') {
        let text = literal.trim_end_matches(']');
        let address = text.strip_prefix("ipv6:").unwrap_or(text).parse();
        let address = address.map_err(|_| never((5, 1, 2), format!("{domain} is not an address")))?;
        let found = (domain.to_owned(), Proved::insecure(vec![address]));
        return Ok(hops(internet, vec![found], None)?.into_iter().map(|exchanger| exchanger.hop).collect());
    }
    let Proved { found, secure, .. } = exchangers(world, internet, domain).await?;
    let (exchangers, looped) = without_ourselves(internet, found);
    if exchangers.is_empty() {
        let words = format!("mail for {domain} would come back to this server");
        return Err(if looped { never((5, 4, 6), words) } else { never((5, 4, 4), words) });
    }
    let mut found = Vec::new();
    let mut unsure = None;
    for mx in exchangers.into_iter().take(EXCHANGERS_MAX) {
        match addresses(world, internet, &mx.host).await {
            Ok(addresses) => {
                found.push((mx.host, Proved { secure: secure && addresses.secure, ..addresses }))
            }
            Err(NameError::NotFound) => {}
            Err(NameError::Temporary(why)) => unsure = Some(format!("{}: {why}", mx.host)),
        }
    }
    let exchangers = hops(internet, found, unsure)?;
    match &internet.guard {
        Some(guard) => guard.secure(domain, exchangers).await,
        None => Ok(exchangers.into_iter().map(|exchanger| exchanger.hop).collect()),
    }
}

fn never(enhanced: (u8, u16, u16), words: String) -> NoWay {
    NoWay::Never(Reply::new(550, enhanced, words))
}

/// The MX records, in random order among equals; the domain itself when it has none (RFC 5321 §5.1).
async fn exchangers(world: &World, internet: &Internet, domain: &str) -> Result<Proved<Vec<Mx>>, NoWay> {
    let look_up = async {
        match internet.wants_proof() {
            true => world.names.mx_proved(domain).await,
            false => world.names.mx(domain).await.map(Proved::insecure),
        }
    };
    let found = timeout(internet.limits.names, look_up).await;
    let Proved { found: mut exchangers, secure, alias } =
        match found.unwrap_or_else(|_| Err(NameError::Temporary("too slow".to_owned()))) {
            Ok(found) => found,
            Err(NameError::Temporary(why)) => return Err(NoWay::Later(format!("{domain}: {why}"))),
            // Then the domain's own addresses count, and whether they are proved (RFC 7672 §2.2.2).
            Err(NameError::NotFound) => Proved { secure: true, ..Proved::default() },
        };
    // RFC 7505 §3: one record with an empty host says that the domain takes no mail.
    if exchangers.iter().any(|mx| mx.host.is_empty() || mx.host == ".") {
        exchangers.retain(|mx| !mx.host.is_empty() && mx.host != ".");
        if exchangers.is_empty() {
            let words = format!("{domain} takes no mail (null MX)");
            return Err(NoWay::Never(Reply::new(556, (5, 1, 10), words)));
        }
    }
    if exchangers.is_empty() {
        return match addresses(world, internet, domain).await {
            Ok(_) => Ok(Proved { found: vec![Mx { preference: 0, host: domain.to_owned() }], secure, alias }),
            Err(NameError::NotFound) => Err(never((5, 1, 2), format!("no such domain: {domain}"))),
            Err(NameError::Temporary(why)) => Err(NoWay::Later(format!("{domain}: {why}"))),
        };
    }
    let mut order: Vec<(u16, u64, Mx)> =
        exchangers.into_iter().map(|mx| (mx.preference, world.random.below(u64::MAX), mx)).collect();
    order.sort();
    Ok(Proved { found: order.into_iter().map(|(_, _, mx)| mx).collect(), secure, alias })
}

/// RFC 5321 §5.1: when we are in the list ourselves, only those more preferred than us may be tried.
fn without_ourselves(internet: &Internet, exchangers: Vec<Mx>) -> (Vec<Mx>, bool) {
    let ours = |mx: &Mx| {
        let host = mx.host.trim_end_matches('.');
        host.eq_ignore_ascii_case(&internet.helo)
            || internet.own_names.iter().any(|name| name.eq_ignore_ascii_case(host))
    };
    match exchangers.iter().filter(|mx| ours(mx)).map(|mx| mx.preference).min() {
        None => (exchangers, false),
        Some(own) => (exchangers.into_iter().filter(|mx| mx.preference < own).collect(), true),
    }
}

async fn addresses(world: &World, internet: &Internet, host: &str) -> Result<Proved<Vec<IpAddr>>, NameError> {
    let look_up = async {
        match internet.wants_proof() {
            true => world.names.addresses_proved(host).await,
            false => world.names.addresses(host).await.map(Proved::insecure),
        }
    };
    let found = timeout(internet.limits.names, look_up).await;
    let mut found = found.unwrap_or_else(|_| Err(NameError::Temporary("too slow".to_owned())))?;
    found.found.retain(|address| may_be_tried(internet, address));
    if found.found.is_empty() { Err(NameError::NotFound) } else { Ok(found) }
}

impl Internet {
    fn wants_proof(&self) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.wants_proof())
    }
}

fn may_be_tried(internet: &Internet, address: &IpAddr) -> bool {
    if internet.own_addresses.contains(address) || address.is_unspecified() || address.is_multicast() {
        return false;
    }
    !address.is_loopback() || internet.allow_loopback
}

fn hops(
    internet: &Internet,
    found: Vec<(String, Proved<Vec<IpAddr>>)>,
    unsure: Option<String>,
) -> Result<Vec<Exchanger>, NoWay> {
    let hops: Vec<Exchanger> = found
        .into_iter()
        .filter_map(|(host, Proved { found: mut addresses, secure, alias })| {
            addresses.retain(|address| may_be_tried(internet, address));
            let host = host.trim_matches(['[', ']']).trim_start_matches("ipv6:").to_owned();
            let hop = Hop {
                protocol: Protocol::Smtp,
                place: Place::Host(host.clone(), internet.port),
                addresses,
                tls: internet.tls,
                trust: internet.trust.clone(),
                sign_in: None,
                helo: internet.helo.clone(),
                limits: internet.limits,
                safety: None,
                pass_client: false,
            };
            (!hop.addresses.is_empty()).then_some(Exchanger { hop, host, secure, alias })
        })
        .collect();
    match (hops.is_empty(), unsure) {
        (false, _) => Ok(hops),
        (true, Some(why)) => Err(NoWay::Later(why)),
        (true, None) => Err(never((5, 4, 4), "no mail exchanger of the domain has an address".to_owned())),
    }
}

#[cfg(test)]
mod tests;
