//! `[outbound]`: how mail leaves for other organisations.

use super::build::{mail_server, server_name, trust};
use super::reader::{At, Section};
use super::source::Fault;
use super::{DomainSettings, MailServer, TrustWanted};
use std::path::PathBuf;
use std::time::Duration;
use words_mail::Address;

/// The least that one TLS report may be about.
const PERIOD_LEAST: Duration = Duration::from_secs(1);

/// How mail leaves.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Our name towards other servers.
    pub helo: String,
    /// A server that takes all of it.
    pub smart_host: Option<MailServer>,
    /// Whether MTA-STS policies are obeyed.
    pub mta_sts: bool,
    /// Whether TLSA records are obeyed where the DNS can be proved.
    pub dane: bool,
    /// The keys that DNSSEC begins with; none for the root's.
    pub trust_anchor: Option<PathBuf>,
    /// Who sends TLS reports; none are sent without.
    pub tls_reports: Option<Address>,
    /// What is otherwise only in trials.
    pub trial: Trial,
}

/// What is otherwise only in trials on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// The port of mail servers.
    pub port: u16,
    /// The port of web servers, when it is not theirs.
    pub https_port: Option<u16>,
    /// Whether servers may stand at private addresses.
    pub private_addresses: bool,
    /// Whose certificates are valid.
    pub trust: TrustWanted,
    /// What one TLS report is about.
    pub report_period: Duration,
}

impl Default for Trial {
    fn default() -> Trial {
        Trial {
            port: 25,
            https_port: None,
            private_addresses: false,
            trust: TrustWanted::Public,
            report_period: Duration::from_secs(86_400),
        }
    }
}

pub(super) fn outbound(section: &Section<'_>, node: &str, domains: &[DomainSettings]) -> Outbound {
    let helo = section.parsed("helo", server_name).map_or_else(|| node.to_owned(), |at| at.value);
    let smart_host = section.table("smart_host", "outbound.smart_host");
    let tls_reports = section.has("tls_reports").then(|| section.address("tls_reports")).flatten();
    let tls_reports = tls_reports.map(|At { value, span }| {
        let signed = domains.iter().any(|d| d.dkim.is_some() && d.domain.name == value.domain());
        if !signed {
            let words = format!("nobody believes reports from {value}: its domain does not sign here");
            let hint = "name an address of a [[domain]] with dkim, for example postmaster@";
            section.fault(Fault::error(span, words).hint(hint));
        }
        value
    });
    Outbound {
        helo,
        smart_host: smart_host.and_then(|section| mail_server(&section, false)),
        mta_sts: section.switch("mta_sts").is_none_or(|at| at.value),
        dane: section.choice("dane").is_some_and(|at| at.value == "auto"),
        trust_anchor: section
            .has("trust_anchor")
            .then(|| section.path("trust_anchor"))
            .flatten()
            .map(|at| at.value),
        tls_reports,
        trial: section
            .table("trial", "outbound.trial")
            .map_or_else(Trial::default, |section| trial(&section)),
    }
}

fn trial(section: &Section<'_>) -> Trial {
    let words =
        "[outbound.trial] is for trials on one machine: mail to other organisations does not go as it should";
    section
        .fault(Fault::warning(section.span.clone(), words).hint("remove the table before real mail is sent"));
    let report_period = section.duration("report_period");
    if report_period < PERIOD_LEAST {
        section.fault(Fault::error(section.span_of("report_period"), "report_period must be at least 1s"));
    }
    Trial {
        port: section.port("port").unwrap_or(25),
        https_port: section.port("https_port"),
        private_addresses: section.switch("private_addresses").is_some_and(|at| at.value),
        trust: trust(section).unwrap_or(TrustWanted::Public),
        report_period,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Configuration;
    use std::path::Path;

    fn parse(outbound: &str) -> Result<(Outbound, String), String> {
        let text = format!(
            "[node]\nname = \"mx.example.org\"\ndata = \"data\"\n[listen]\nsmtp = \"127.0.0.1:0\"\n[[domain]]\n\
             name = \"example.org\"\naccounts = [\"anna@example.org\"]\ndkim = {{ key_file = \"k\" }}\n{outbound}"
        );
        let parsed = Configuration::parse(Path::new("/etc/s/stormpost.toml"), text);
        parsed
            .map(|(configuration, faults)| (configuration.outbound, faults.to_string()))
            .map_err(|faults| faults.to_string())
    }

    #[test]
    fn policies_are_obeyed_and_nothing_is_reported_unless_somebody_says_otherwise() {
        let (outbound, _) = parse("").unwrap();
        assert!(outbound.mta_sts && !outbound.dane && outbound.tls_reports.is_none());
        assert_eq!((outbound.trial, outbound.helo), (Trial::default(), "mx.example.org".to_owned()));
        let (outbound, said) = parse(
            "[outbound]\nmta_sts = false\ndane = \"auto\"\ntrust_anchor = \"root.key\"\n\
             tls_reports = \"postmaster@example.org\"\n",
        )
        .unwrap();
        assert!(!outbound.mta_sts && outbound.dane && !said.contains("trial"));
        assert_eq!(outbound.trust_anchor, Some("/etc/s/root.key".into()));
        assert_eq!(outbound.tls_reports.unwrap().to_string(), "postmaster@example.org");
    }

    #[test]
    fn a_trial_is_told_of_and_a_report_comes_from_who_signs() {
        let (outbound, said) = parse(
            "[outbound.trial]\nport = 2525\nhttps_port = 4443\nprivate_addresses = true\ntrust = \"ca.pem\"\n\
             report_period = \"5s\"\n",
        )
        .unwrap();
        let trial = outbound.trial;
        assert_eq!((trial.port, trial.https_port, trial.private_addresses), (2525, Some(4443), true));
        assert_eq!(trial.trust, TrustWanted::File("/etc/s/ca.pem".into()));
        assert_eq!(trial.report_period, Duration::from_secs(5));
        assert!(said.contains("remove the table before real mail is sent"), "{said}");
        for (wrong, words) in [
            ("[outbound]\ntls_reports = \"me@elsewhere.example\"\n", "does not sign here"),
            ("[outbound]\ntls_reports = \"nobody\"\n", "nobody"),
            ("[outbound]\ndane = \"on\"\n", "dane"),
            ("[outbound.trial]\nreport_period = \"0s\"\n", "at least 1s"),
        ] {
            let said = parse(wrong).unwrap_err();
            assert!(said.contains(words), "{wrong}: {said}");
        }
    }
}
