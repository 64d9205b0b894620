//! `[tls.acme]`: the certificate that is fetched and renewed by itself.

use super::build::{server_name, trust};
use super::reader::{At, Section};
use super::source::Fault;
use super::{SecretSource, TrustWanted};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use words_mail::Address;
use words_world::Url;

/// Names in one certificate at most; authorities take a hundred.
const NAMES_MAX: usize = 100;

/// How the authority is shown that a name is ours (RFC 8555 §8, RFC 8737).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcmeChallenge {
    /// It asks on port 80; answered here.
    Http(Vec<SocketAddr>),
    /// It asks on port 443; answered here.
    TlsAlpn(Vec<SocketAddr>),
    /// It asks the DNS; this program puts the record there, in so long.
    Dns(PathBuf, Duration),
}

/// How a certificate is fetched and renewed.
#[derive(Clone, Debug)]
pub struct AcmeSettings {
    /// The authority's directory.
    pub directory: String,
    /// Where it may write to.
    pub contact: Option<Address>,
    /// Every name, that of the node first.
    pub names: Vec<String>,
    /// How it is shown that they are ours.
    pub challenge: AcmeChallenge,
    /// Who we are to the authority beforehand: identifier and key.
    pub customer: Option<(String, SecretSource)>,
    /// Whose certificate the authority may show.
    pub trust: TrustWanted,
    /// Whether the private key stays the same.
    pub keep_key: bool,
    /// The wait after the first failure.
    pub retry_first: Duration,
    /// The longest wait.
    pub retry_max: Duration,
}

/// Reads the table; `None` only with an error reported.
pub(super) fn acme(section: &Section<'_>, node: &str) -> Option<AcmeSettings> {
    let agreed = section.switch("agree");
    if !agreed.as_ref().is_some_and(|at| at.value) {
        let words = "the authority gives no certificate to who does not agree to its terms of service";
        let span = section.span_of("agree").or_else(|| section.span.clone());
        section.fault(Fault::error(span, words).hint("read them, then write agree = true"));
    }
    let directory = section.parsed("directory", |text| match Url::parse(text) {
        Ok(url) if url.tls => Ok(text.to_owned()),
        Ok(_) => Err("the address of an ACME directory begins with https://".to_owned()),
        Err(why) => Err(format!("{text:?}: {why}")),
    });
    let mut names = vec![node.to_owned()];
    for At { value, .. } in section.list("names", certificate_name) {
        if !names.contains(&value) {
            names.push(value);
        }
    }
    if names.len() > NAMES_MAX {
        let words = format!("{} names are too many for one certificate; at most {NAMES_MAX}", names.len());
        section.fault(Fault::error(section.span_of("names"), words));
    }
    let (http, alpn) = (sockets(section, "http_listen"), sockets(section, "tls_listen"));
    let (hook, hook_time) = (section.path("dns_hook"), section.duration("dns_timeout"));
    let challenge = match section.choice("challenge")?.value.as_str() {
        "tls-alpn-01" => AcmeChallenge::TlsAlpn(alpn),
        "dns-01" => {
            let Some(hook) = hook else {
                let fault = Fault::error(section.span_of("challenge"), "dns-01 needs a program");
                section.fault(fault.hint("add dns_hook = \"/path/of/the/program\""));
                return None;
            };
            AcmeChallenge::Dns(hook.value, hook_time)
        }
        _ => AcmeChallenge::Http(http),
    };
    if !matches!(challenge, AcmeChallenge::Dns(..)) && names.iter().any(|name| name.starts_with("*.")) {
        let words = "a name with * can be had by dns-01 only";
        section.fault(Fault::error(section.span_of("names"), words).hint("write challenge = \"dns-01\""));
    }
    let customer = match (section.text("eab_id"), section.path("eab_key_file")) {
        (Some(id), Some(key)) => Some((id.value, SecretSource::File(key.value))),
        (None, None) => None,
        _ => {
            let words = "eab_id and eab_key_file belong together; one of them is missing";
            section.fault(Fault::error(section.span.clone(), words));
            None
        }
    };
    Some(AcmeSettings {
        directory: directory?.value,
        contact: section.address("contact").map(|at| at.value),
        names,
        challenge,
        customer,
        trust: trust(section).unwrap_or(TrustWanted::Public),
        keep_key: section.switch("keep_key").is_some_and(|at| at.value),
        retry_first: section.duration("retry_first"),
        retry_max: section.duration("retry_max"),
    })
}

fn sockets(section: &Section<'_>, name: &'static str) -> Vec<SocketAddr> {
    if section.has(name) {
        return section.sockets(name).into_iter().map(|at| at.value).collect();
    }
    let default = section.parsed(name, |text| text.parse().map_err(|_| text.to_owned()));
    default.into_iter().map(|at| at.value).collect()
}

fn certificate_name(text: &str) -> Result<String, String> {
    match text.strip_prefix("*.") {
        Some(rest) => server_name(rest).map(|name| format!("*.{name}")),
        None => server_name(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::Configuration;
    use std::path::Path;

    fn parse(tls: &str) -> Result<Configuration, String> {
        let text = format!(
            "[node]\nname = \"mx.example.org\"\ndata = \"data\"\n[listen]\nsmtp = \"127.0.0.1:0\"\n[[domain]]\n\
             name = \"example.org\"\naccounts = [\"anna@example.org\"]\n{tls}"
        );
        let parsed = Configuration::parse(Path::new("/etc/s/stormpost.toml"), text);
        parsed.map(|(configuration, _)| configuration).map_err(|faults| faults.to_string())
    }

    #[test]
    fn two_lines_are_enough_and_everything_can_be_chosen() {
        let settings = parse("[tls.acme]\nagree = true\n").unwrap().acme.unwrap();
        assert_eq!(settings.names, ["mx.example.org"]);
        assert_eq!(settings.challenge, AcmeChallenge::Http(vec!["0.0.0.0:80".parse().unwrap()]));
        assert!(settings.directory.contains("letsencrypt") && settings.customer.is_none());
        let settings = parse(
            "[tls.acme]\nagree = true\ndirectory = \"https://ca.test:14000/dir\"\nnames = [\"IMAP.example.org\", \
             \"mx.example.org\", \"*.example.org\"]\nchallenge = \"dns-01\"\ndns_hook = \"hook\"\ndns_timeout = \"1m\"\n\
             eab_id = \"k\"\neab_key_file = \"eab.key\"\ntrust = \"ca.pem\"\nkeep_key = true\n",
        );
        let settings = settings.unwrap().acme.unwrap();
        assert_eq!(settings.names, ["mx.example.org", "imap.example.org", "*.example.org"]);
        let hook = AcmeChallenge::Dns("/etc/s/hook".into(), Duration::from_secs(60));
        assert_eq!(settings.challenge, hook);
        assert!(settings.keep_key && settings.trust == TrustWanted::File("/etc/s/ca.pem".into()));
    }

    #[test]
    fn what_cannot_work_is_told_before_anybody_is_asked() {
        for (wrong, words) in [
            ("[tls.acme]\n", "agree"),
            ("[tls.acme]\nagree = true\ndirectory = \"http://ca.test/dir\"\n", "https://"),
            ("[tls.acme]\nagree = true\nnames = [\"a b\"]\n", "not a host name"),
            ("[tls.acme]\nagree = true\nnames = [\"*.example.org\"]\n", "dns-01 only"),
            ("[tls.acme]\nagree = true\nchallenge = \"dns-01\"\n", "needs a program"),
            ("[tls.acme]\nagree = true\neab_id = \"k\"\n", "belong together"),
            ("[tls]\ncertificate = \"a\"\nkey = \"b\"\n[tls.acme]\nagree = true\n", "either"),
        ] {
            let said = parse(wrong).unwrap_err();
            assert!(said.contains(words), "{wrong}: {said}");
        }
    }
}
