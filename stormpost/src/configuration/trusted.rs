//! `[primary.relay]` and `[internal]`: who may send to other organisations through us without being a person.

use super::build::login;
use super::reader::{At, Section};
use super::source::Fault;
use super::{DomainSettings, Listen, Login};
use roads_accept::{DeviceParts, DeviceSender, Network};
use std::net::IpAddr;
use std::path::PathBuf;
use words_mail::Address;

/// How a primary proves that it is the one that sends through us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelaySettings {
    /// It connects from one of these.
    pub addresses: Vec<IpAddr>,
    /// SHA-256 of a certificate it shows.
    pub fingerprints: Vec<[u8; 32]>,
    /// Names in a certificate that this authority signed.
    pub authority: Option<(PathBuf, Vec<String>)>,
    /// It signs in at the submission doors.
    pub login: Option<Login>,
}

/// Devices share at most so many addresses: the others bits of a network.
const DEVICE_BITS_MAX: (u8, u8) = (12, 64);

pub(super) fn relay(section: &Section<'_>) -> RelaySettings {
    let addresses = values(section.list("addresses", single));
    let fingerprints = values(section.list("fingerprints", fingerprint));
    let names = values(section.list("certificate_names", |text| {
        super::build::server_name(text).map_err(|_| format!("{text:?} is not a name in a certificate"))
    }));
    let authority = match (section.path("certificate_authority"), names.is_empty()) {
        (Some(file), false) => Some((file.value, names)),
        (None, true) => None,
        _ => {
            let words = "certificate_authority and certificate_names belong together: the authority's file, and whose \
                         certificates of it are meant";
            section.fault(Fault::error(section.span.clone(), words));
            None
        }
    };
    let relay = RelaySettings { addresses, fingerprints, authority, login: login(section) };
    if relay == RelaySettings::default() && !section.has("user") {
        let words = "the primary has no way to prove who it is, so it may not relay";
        let hint = "add addresses, fingerprints, or user with password_file";
        section.fault(Fault::warning(section.span.clone(), words).hint(hint));
    }
    relay
}

fn values<T>(list: Vec<At<T>>) -> Vec<T> {
    list.into_iter().map(|at| at.value).collect()
}

/// One address, and no range: what is shared is nobody's proof.
fn single(text: &str) -> Result<IpAddr, String> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let parsed: IpAddr = address.trim_matches(['[', ']']).parse().map_err(|_| {
        format!(
            "{text:?} is not an address, as in \"192.0.2.10\"; names are not taken, as whoever owns the DNS could relay"
        )
    })?;
    let whole = if parsed.is_ipv4() { "32" } else { "128" };
    match bits {
        None => {}
        Some(bits) if bits == whole => {}
        Some(_) => {
            return Err(format!(
                "{text:?} is a range: everybody in it could send to the whole world through this machine in your name, at \
                 a provider every other customer; name single addresses, or use fingerprints or user with password_file"
            ));
        }
    }
    if parsed.is_unspecified() || parsed.is_multicast() {
        return Err(format!("{text:?} is nobody's address"));
    }
    Ok(parsed)
}

/// `AB:CD:…`, as OpenSSL prints it, or without colons.
fn fingerprint(text: &str) -> Result<[u8; 32], String> {
    let wrong = || {
        format!(
            "{text:?} is not a SHA-256 fingerprint of 64 hex digits; openssl x509 -noout -fingerprint -sha256 prints it"
        )
    };
    let digits: Vec<u8> = text.bytes().filter(|b| !matches!(b, b':' | b' ')).collect();
    let mut print = [0; 32];
    if digits.len() != 64 {
        return Err(wrong());
    }
    for (at, pair) in digits.chunks(2).enumerate() {
        let hex = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or_else(wrong);
        print[at] = hex(pair[0])? << 4 | hex(pair[1])?;
    }
    Ok(print)
}

/// `[internal]`, checked against the door and the domains.
pub(super) fn devices(top: &Section<'_>, listen: &Listen, domains: &[DomainSettings]) -> Option<DeviceParts> {
    let Some(section) = top.table("internal", "internal") else {
        if !listen.internal.is_empty() {
            let fault = Fault::error(top.part("listen").span_of("internal"), "nobody may use this door");
            top.fault(fault.hint("add [internal] with clients and senders, or leave the door out"));
        }
        return None;
    };
    if listen.internal.is_empty() {
        let words = "devices have no door: [listen] has no internal";
        section
            .fault(Fault::warning(section.span.clone(), words).hint("write internal = \"192.0.2.1:2525\""));
    }
    for (key, empty) in [("clients", "no device is listed"), ("senders", "no sender is listed")] {
        if section.items(key).is_empty() {
            let words = format!("{empty}, so the door for devices takes nothing");
            section.fault(Fault::error(section.span.clone(), words).hint(match key {
                "clients" => "add clients = [\"192.168.7.20\"]",
                _ => "add senders = [\"scanner@example.org\"]",
            }));
        }
    }
    let clients = values(section.list("clients", network));
    let senders = values(section.list("senders", |text| sender(text, domains)));
    let anywhere = section.choice("recipients").is_some_and(|at| at.value == "anywhere");
    let most = section.count("messages_per_minute", 1..=100_000);
    let messages_per_minute = u32::try_from(most).unwrap_or(u32::MAX);
    Some(DeviceParts { clients, senders, anywhere, messages_per_minute })
}

fn network(text: &str) -> Result<Network, String> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let wrong = || format!("{text:?} is not an address or a network, as in \"192.168.7.0/24\"");
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits: u8 = bits.map_or(Ok(width), |bits| bits.parse().map_err(|_| wrong()))?;
    if bits > width {
        return Err(wrong());
    }
    let is_private = match address.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local(),
    };
    let free = width - bits;
    let most = if address.is_ipv4() { DEVICE_BITS_MAX.0 } else { DEVICE_BITS_MAX.1 };
    if free > 0 && !is_private {
        return Err(format!(
            "{text:?} is a range of public addresses: name each device by its own address, or let it sign in at port 587"
        ));
    }
    if free > most {
        return Err(format!(
            "{text:?} is larger than a /{}; name the network of the devices only",
            width - most
        ));
    }
    Ok(Network { address, bits })
}

fn sender(text: &str, domains: &[DomainSettings]) -> Result<DeviceSender, String> {
    let name = text.strip_prefix('@').unwrap_or(text);
    let (sender, domain) = match name.contains('@') {
        true => {
            let address =
                Address::parse(name).map_err(|why| format!("{text:?} is not a mail address: {why}"))?;
            let domain = address.domain().to_owned();
            (DeviceSender::Address(address), domain)
        }
        false => (DeviceSender::Domain(name.to_lowercase()), name.to_lowercase()),
    };
    match domains.iter().any(|known| known.domain.name.eq_ignore_ascii_case(&domain)) {
        true => Ok(sender),
        false => Err(format!("{domain} is no [[domain]] here, and devices send as domains of ours only")),
    }
}

#[cfg(test)]
mod tests {
    use crate::configuration::Configuration;
    use std::path::Path;

    fn parse(listen: &str, more: &str) -> Result<(Configuration, String), String> {
        let text = format!(
            "[node]\nname = \"mx.example.org\"\ndata = \"data\"\n[notify]\nmail = [\"me@provider.example\"]\n[listen]\nsmtp = \"127.0.0.1:0\"\n{listen}\n[[domain]]\n\
             name = \"example.org\"\naccounts = [\"anna@example.org\"]\nprimary = \"hq\"\n[[primary]]\nid = \"hq\"\n\
             [primary.deliver]\nhost = \"mail.example.org\"\n{more}"
        );
        let parsed = Configuration::parse(Path::new("/etc/s/stormpost.toml"), text);
        parsed.map(|(read, told)| (read, told.to_string())).map_err(|faults| faults.to_string())
    }

    #[test]
    fn a_primary_relays_by_proof_and_never_by_a_shared_range() {
        let print = "0F:".repeat(31) + "f0";
        let relay = |more: &str| {
            parse("", &format!("[primary.relay]\n{more}")).map(|(c, w)| (c.primaries[0].relay.clone(), w))
        };
        let (read, told) = relay(&format!(
            "addresses = [\"192.0.2.10\", \"192.0.2.11/32\", \"2001:db8::1/128\"]\nfingerprints = [\"{print}\"]\n\
             certificate_authority = \"ca.pem\"\ncertificate_names = [\"mail.example.org\"]\nuser = \"relay\"\n\
             password_file = \"relay.password\"\n"
        ))
        .unwrap();
        let read = read.unwrap();
        assert_eq!(told, "");
        assert_eq!(read.addresses.len(), 3);
        assert_eq!((read.fingerprints[0][0], read.fingerprints[0][31]), (0x0f, 0xf0));
        assert_eq!(read.authority.unwrap().1, ["mail.example.org"]);
        assert_eq!(read.login.unwrap().user, "relay");
        for (wrong, words) in [
            ("addresses = [\"192.0.2.0/24\"]", "is a range: everybody in it could send"),
            ("addresses = [\"40.92.0.0/15\"]", "every other customer"),
            ("addresses = [\"0.0.0.0/0\"]", "is a range"),
            ("addresses = [\"2a01:111:f400::/48\"]", "is a range"),
            ("addresses = [\"192.0.2.1/31\"]", "is a range"),
            ("addresses = [\"0.0.0.0\"]", "is nobody's address"),
            ("addresses = [\"spf.protection.outlook.com\"]", "names are not taken"),
            ("fingerprints = [\"AB\"]", "openssl x509"),
            ("certificate_names = [\"mail.example.org\"]", "belong together"),
            ("user = \"relay\"", "the user has no password"),
        ] {
            let said = relay(wrong).unwrap_err();
            assert!(said.contains(words), "{wrong}: {said}");
        }
        assert!(relay("").unwrap().1.contains("no way to prove"));
        assert_eq!(parse("", "").unwrap().0.primaries[0].relay, None);
    }

    #[test]
    fn devices_are_listed_one_by_one_or_by_a_small_private_network() {
        let door = "internal = \"127.0.0.1:2525\"";
        let internal = |more: &str| parse(door, &format!("[internal]\n{more}"));
        let (read, told) = internal(
            "clients = [\"192.168.7.0/24\", \"203.0.113.9\", \"fd00::/64\"]\nrecipients = \"anywhere\"\n\
             senders = [\"scanner@example.org\", \"example.org\"]\nmessages_per_minute = 5\n",
        )
        .unwrap();
        let devices = read.devices.unwrap();
        assert_eq!((told.as_str(), devices.clients.len(), devices.senders.len()), ("", 3, 2));
        assert_eq!((devices.anywhere, devices.messages_per_minute), (true, 5));
        assert_eq!(read.listen.internal.len(), 1);
        for (clients, senders, words) in [
            ("\"203.0.113.0/24\"", "\"example.org\"", "range of public addresses"),
            ("\"10.0.0.0/8\"", "\"example.org\"", "is larger than a /20"),
            ("\"printer\"", "\"example.org\"", "is not an address or a network"),
            ("\"10.0.0.1/33\"", "\"example.org\"", "is not an address or a network"),
            ("\"10.0.0.1\"", "\"elsewhere.example\"", "is no [[domain]] here"),
            ("", "\"example.org\"", "no device is listed"),
            ("\"10.0.0.1\"", "", "no sender is listed"),
        ] {
            let said = internal(&format!("clients = [{clients}]\nsenders = [{senders}]\n")).unwrap_err();
            assert!(said.contains(words), "{clients} {senders}: {said}");
        }
        assert!(parse(door, "").unwrap_err().contains("nobody may use this door"));
        let told =
            parse("", "[internal]\nclients = [\"10.0.0.1\"]\nsenders = [\"example.org\"]\n").unwrap().1;
        assert!(told.contains("have no door"), "{told}");
    }
}
