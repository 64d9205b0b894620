//! `[filter]`: who looks at mail before it is taken, and what their words mean.

use super::reader::{At, Section};
use super::source::Fault;
use roads_accept::{DnsblOptions, ScannerOptions, ScannerParts, ScannerPlace};
use rules_policy::{AttachmentRule, Deed, Policy, SpamRule, VirusRule, Without};
use std::time::Duration;

/// Lists of addresses at most: each is a question for every message.
const ZONES_MAX: usize = 8;

/// Where the organisation's filter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterStands {
    /// Nobody said.
    Unsaid,
    /// Here: the scanners below.
    Here,
    /// At the primary, or behind it.
    Primary,
}

/// Who looks at mail before it is taken.
#[derive(Clone, Debug)]
pub struct Filter {
    /// Where today's filter stands.
    pub stands: FilterStands,
    /// Who is asked.
    pub scanners: ScannerParts,
    /// What their words mean, but for the number of hops.
    pub policy: Policy,
    /// How long what is in quarantine is kept.
    pub quarantine_age: Duration,
}

impl Filter {
    /// Whether anything here looks at what is in a message.
    pub fn looks(&self) -> bool {
        self.scanners.rspamd.is_some() || self.scanners.clamd.is_some()
    }
}

pub(super) fn filter(section: &Section<'_>) -> Filter {
    let stands = match section.choice("stands").map(|at| at.value).as_deref() {
        Some("here") => FilterStands::Here,
        Some(_) => FilterStands::Primary,
        None => FilterStands::Unsaid,
    };
    let mut filter = Filter {
        stands,
        scanners: ScannerParts::default(),
        policy: Policy {
            refuse_dmarc: section.switch("refuse_dmarc").is_some_and(|at| at.value),
            trusted_sealers: values(section.list("trusted_sealers", zone)),
            ..Policy::default()
        },
        quarantine_age: section.duration("quarantine_age"),
    };
    if let Some(rspamd) = section.table("rspamd", "filter.rspamd") {
        filter.scanners.rspamd = scanner(&rspamd, 11_333);
        filter.policy.rspamd = SpamRule {
            without: without(&rspamd),
            probably_spam: deed(&rspamd, "probably_spam"),
            spam: deed(&rspamd, "spam"),
        };
    }
    if let Some(clamav) = section.table("clamav", "filter.clamav") {
        filter.scanners.clamd = scanner(&clamav, 3_310);
        filter.policy.clamav = VirusRule { without: without(&clamav), found: deed(&clamav, "found") };
    }
    if let Some(dnsbl) = section.table("dnsbl", "filter.dnsbl") {
        filter.policy.dnsbl = deed(&dnsbl, "listed");
        let zones: Vec<String> = values(dnsbl.list("zones", zone));
        if zones.len() > ZONES_MAX {
            let words = format!("{} lists are named; at most {ZONES_MAX}", zones.len());
            dnsbl.fault(Fault::error(dnsbl.span_of("zones"), words));
        }
        let time = dnsbl.duration("timeout");
        if !zones.is_empty() {
            filter.scanners.dnsbl = Some(DnsblOptions { zones, time });
        }
    }
    if let Some(attachments) = section.table("attachments", "filter.attachments") {
        let unwanted = values(attachments.list("unwanted", ending));
        filter.policy.attachments = AttachmentRule { unwanted, deed: deed(&attachments, "found") };
    }
    if stands == FilterStands::Here && !filter.looks() {
        let words = "the filter is said to stand here, and there is none";
        section.fault(
            Fault::error(section.span_of("stands"), words).hint(
                "add [filter.rspamd] with address = \"127.0.0.1:11333\", or write stands = \"primary\"",
            ),
        );
    }
    filter
}

fn values<T>(list: Vec<At<T>>) -> Vec<T> {
    list.into_iter().map(|at| at.value).collect()
}

fn zone(text: &str) -> Result<String, String> {
    let name = text.trim_matches('.').to_lowercase();
    let fits = name.contains('.')
        && name.len() < 180
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
    fits.then_some(name)
        .ok_or_else(|| format!("{text:?} is not a name in the DNS, as in \"list.example.org\""))
}

fn ending(text: &str) -> Result<String, String> {
    let ending = text.trim_start_matches(['*', '.']).to_lowercase();
    let fits = !ending.is_empty() && ending.chars().all(|c| c.is_alphanumeric() || c == '_');
    fits.then_some(ending).ok_or_else(|| format!("{text:?} is not the end of a file's name, as in \"exe\""))
}

/// Where a scanner listens, with its bounds.
fn scanner(section: &Section<'_>, port: u16) -> Option<ScannerOptions> {
    let address = section.needed("address").and_then(|_| {
        section.parsed("address", |text| {
            place(text, port).ok_or_else(|| {
                format!(
                    "{text:?} is not a place: write \"HOST:{port}\", or the path of a socket as \"/run/…\""
                )
            })
        })
    });
    let time = section.duration("timeout");
    let largest = section.size("largest");
    let at_once = usize::try_from(section.count("at_once", 1..=1_000)).unwrap_or(1);
    let mut place = address?.value;
    if let ScannerPlace::Local(path) = &mut place {
        *path = section.reader.path(&path.to_string_lossy());
    }
    Some(ScannerOptions { place, time, largest, at_once })
}

fn place(text: &str, port: u16) -> Option<ScannerPlace> {
    if text.contains('/') {
        return Some(ScannerPlace::Local(text.into()));
    }
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Some(ScannerPlace::Host(address.ip().to_string(), address.port()));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (text, port),
    };
    let fits = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    fits.then(|| ScannerPlace::Host(host.to_owned(), port))
}

fn without(section: &Section<'_>) -> Without {
    match section.choice("without").map(|at| at.value).as_deref() {
        Some("deliver") => Without::Deliver,
        _ => Without::Defer,
    }
}

fn deed(section: &Section<'_>, name: &'static str) -> Deed {
    match section.choice(name).map(|at| at.value).as_deref() {
        Some("note") => Deed::Note,
        Some("tag") => Deed::Tag,
        Some("quarantine") => Deed::Quarantine,
        Some("defer") => Deed::Defer,
        _ => Deed::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Configuration;
    use std::path::Path;

    fn parse(filter: &str) -> Result<Filter, String> {
        let text = format!(
            "[node]\nname = \"mx.example.org\"\ndata = \"data\"\n[listen]\nsmtp = \"127.0.0.1:0\"\n[[domain]]\n\
             name = \"example.org\"\naccounts = [\"anna@example.org\"]\n{filter}"
        );
        let parsed = Configuration::parse(Path::new("/etc/s/stormpost.toml"), text);
        parsed.map(|(configuration, _)| configuration.filter).map_err(|faults| faults.to_string())
    }

    #[test]
    fn every_scanner_is_read_with_what_its_words_mean() {
        let filter = parse(
            "[filter]\nstands = \"here\"\nrefuse_dmarc = true\ntrusted_sealers = [\"Lists.example.org\"]\nquarantine_age = \"7d\"\n\
             [filter.rspamd]\naddress = \"[::1]:11333\"\nwithout = \"defer\"\nspam = \"quarantine\"\n\
             [filter.clamav]\naddress = \"/run/clamav/clamd.ctl\"\nlargest = \"5MiB\"\nfound = \"note\"\n\
             [filter.dnsbl]\nzones = [\"BL.example.org.\"]\nlisted = \"tag\"\n\
             [filter.attachments]\nunwanted = [\".EXE\", \"*.js\", \"scr\"]\nfound = \"defer\"\n",
        )
        .unwrap();
        let rspamd = filter.scanners.rspamd.unwrap();
        assert_eq!(rspamd.place, ScannerPlace::Host("::1".into(), 11_333));
        assert_eq!((rspamd.time, rspamd.at_once), (Duration::from_secs(10), 32));
        let clamd = filter.scanners.clamd.unwrap();
        assert_eq!(clamd.place, ScannerPlace::Local("/run/clamav/clamd.ctl".into()));
        assert_eq!(clamd.largest, 5 << 20);
        assert_eq!(filter.scanners.dnsbl.unwrap().zones, ["bl.example.org"]);
        let policy = filter.policy;
        assert_eq!(policy.attachments.unwanted, ["exe", "js", "scr"]);
        assert_eq!((policy.attachments.deed, policy.dnsbl), (Deed::Defer, Deed::Tag));
        assert_eq!((policy.rspamd.spam, policy.rspamd.probably_spam), (Deed::Quarantine, Deed::Tag));
        assert_eq!((policy.rspamd.without, policy.clamav.without), (Without::Defer, Without::Defer));
        assert_eq!(policy.clamav.found, Deed::Note);
        assert!(policy.refuse_dmarc);
        assert_eq!(policy.trusted_sealers, ["lists.example.org"]);
        assert_eq!(filter.quarantine_age, Duration::from_secs(7 * 86_400));
    }

    #[test]
    fn without_the_table_nobody_is_asked_and_what_makes_no_sense_is_told() {
        let filter = parse("").unwrap();
        assert!(!filter.looks() && filter.stands == FilterStands::Unsaid);
        assert_eq!(filter.policy, Policy::default());
        for (wrong, words) in [
            ("[filter]\nstands = \"here\"\n", "there is none"),
            ("[filter.rspamd]\n", "address"),
            ("[filter.rspamd]\naddress = \"a b\"\n", "is not a place"),
            ("[filter.rspamd]\naddress = \"h\"\nspam = \"explode\"\n", "spam is"),
            ("[filter.dnsbl]\nzones = [\"one\"]\n", "is not a name in the DNS"),
            ("[filter.attachments]\nunwanted = [\"a b\"]\n", "is not the end"),
        ] {
            let said = parse(wrong).unwrap_err();
            assert!(said.contains(words), "{wrong}: {said}");
        }
    }
}
