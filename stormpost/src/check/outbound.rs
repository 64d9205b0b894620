//! Whether mail can leave.

use super::warning;
use crate::configuration::{Configuration, Fault, MailServer, ServerPlace};
use crate::init::outbound::{Outward, SMART_HOST, look as look_outward};
use std::collections::BTreeSet;
use std::net::{IpAddr, ToSocketAddrs};

/// Every host of a primary, with what it is.
fn primaries(configuration: &Configuration) -> impl Iterator<Item = (String, &str)> {
    configuration.primaries.iter().flat_map(|primary| {
        let deliver = match &primary.deliver.place {
            ServerPlace::Host(host, _) => Some(host.as_str()),
            ServerPlace::Local(_) => None,
        };
        let mailbox = primary.mailbox.as_ref().map(|mailbox| mailbox.host.as_str());
        let hosts: BTreeSet<&str> = [deliver, mailbox].into_iter().flatten().collect();
        hosts.into_iter().map(move |host| (primary.id.0.clone(), host))
    })
}

fn dead_with_it(primary: &str, host: &str) -> Fault {
    let words = format!(
        "the smart host {host} is the primary {primary:?} itself: while that is dead nothing leaves, and no notice by mail either"
    );
    warning(
        words,
        "name a server elsewhere, or remove [outbound.smart_host]: mail then goes to each domain's MX",
    )
}

fn smart_host(configuration: &Configuration) -> Option<(&MailServer, &str)> {
    let server = configuration.outbound.smart_host.as_ref()?;
    match &server.place {
        ServerPlace::Host(host, _) => Some((server, host)),
        ServerPlace::Local(_) => None,
    }
}

/// What can be seen without the network.
pub(super) fn look(configuration: &Configuration, found: &mut Vec<Fault>) {
    let outbound = &configuration.outbound;
    if let Some((_, host)) = smart_host(configuration) {
        let same = primaries(configuration).find(|(_, of)| of.eq_ignore_ascii_case(host));
        found.extend(same.map(|(primary, _)| dead_with_it(&primary, host)));
    }
    if let Some(path) = &outbound.trust_anchor
        && let Err(why) = crate::world::Resolver::new(None).proving(None, Some(path))
    {
        found.push(Fault::error(None, why).hint("it holds DNSKEY records as a zone file has them"));
    }
}

/// What must be asked: whether a smart host of another name is the primary all the same, and whether mail gets out.
pub(super) fn online(configuration: &Configuration, servers: &[String], found: &mut Vec<Fault>) {
    if let Some((_, host)) = smart_host(configuration) {
        let its = addresses(host);
        let mut others = primaries(configuration).filter(|(_, of)| !of.eq_ignore_ascii_case(host));
        let same = others.find(|(_, of)| !addresses(of).is_disjoint(&its));
        found.extend(same.map(|(primary, _)| dead_with_it(&primary, host)));
        return;
    }
    if let Outward::Blocked(failed) = look_outward(servers) {
        let words = format!("port 25 to the internet is blocked from this machine ({})", failed.join("; "));
        found
            .push(warning(words, format!("ask the provider to open it, or use a smart host:\n{SMART_HOST}")));
    }
}

fn addresses(host: &str) -> BTreeSet<IpAddr> {
    let found = (host, 25).to_socket_addrs().map(|all| all.map(|at| at.ip()).collect());
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn found(text: &str, ask: bool) -> String {
        let text = format!(
            "[node]\nname = \"mx.example.org\"\ndata = \"data\"\n[listen]\nsmtp = \"127.0.0.1:0\"\n[[domain]]\n\
             name = \"example.org\"\nprimary = \"office\"\n[[primary]]\nid = \"office\"\n\
             deliver = {{ host = \"127.0.0.1\" }}\n{text}"
        );
        let (configuration, _) = Configuration::parse(Path::new("/etc/s/stormpost.toml"), text).unwrap();
        let mut found = Vec::new();
        look(&configuration, &mut found);
        if ask {
            online(&configuration, &["127.0.0.1:1".to_owned()], &mut found);
        }
        found.iter().map(|fault| format!("{}: {}\n", fault.severity, fault.words)).collect()
    }

    #[test]
    fn a_smart_host_that_is_the_primary_is_told_of() {
        let dead = "warning: the smart host";
        assert!(found("[outbound.smart_host]\nhost = \"127.0.0.1\"\n", false).starts_with(dead));
        assert_eq!(found("[outbound.smart_host]\nhost = \"localhost\"\n", false), "");
        assert!(
            found("[outbound.smart_host]\nhost = \"localhost\"\n", true).starts_with(dead),
            "the same by another name"
        );
        assert_eq!(found("[outbound.smart_host]\nhost = \"127.0.0.9\"\n", true), "");
    }

    #[test]
    fn a_blocked_port_and_keys_that_are_none_are_told_of() {
        let said = found("", true);
        assert!(
            said.starts_with("warning: port 25 to the internet is blocked from this machine (127.0.0.1:1: "),
            "{said}"
        );
        assert_eq!(found("", false), "");
        assert!(
            found("[outbound]\ntrust_anchor = \"nowhere\"\n", false)
                .starts_with("error: the keys in /etc/s/nowhere")
        );
    }
}
