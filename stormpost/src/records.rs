//! What should stand in the DNS about a domain's mail beside its DKIM key, as lines of a zone file.

use crate::certificates::CertificateFiles;
use crate::configuration::{Configuration, ServerPlace};
use aws_lc_rs::digest::{SHA256, digest};
use rustls::server::ParsedCertificate;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;
use std::net::IpAddr;

/// A record, or a text to publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Published {
    /// What it is for.
    pub purpose: &'static str,
    /// The line of a zone file; or where the text stands on the web.
    pub place: String,
    /// The text, where it is not in the line.
    pub text: Option<String>,
}

fn line(purpose: &'static str, place: String) -> Published {
    Published { purpose, place, text: None }
}

/// The servers that mail for the domain may come to: this one, and the primary that it is gone round to.
fn servers(configuration: &Configuration, domain: &str) -> Vec<String> {
    let mut servers = vec![configuration.node.name.clone()];
    let found = configuration.domains.iter().find(|d| d.domain.name == domain);
    let primary = found.and_then(|d| d.domain.primary.as_ref());
    let settings = configuration.primaries.iter().find(|p| Some(&p.id) == primary);
    if let Some(ServerPlace::Host(host, _)) = settings.map(|p| &p.deliver.place)
        && host.parse::<IpAddr>().is_err()
        && host.contains('.')
    {
        servers.push(host.to_lowercase());
    }
    servers
}

/// The MTA-STS policy of the domain (RFC 8461 §3.2). It begins with `testing`: a mistake then costs a report and no mail.
pub fn policy(configuration: &Configuration, domain: &str) -> String {
    let mut text = "version: STSv1\r\nmode: testing\r\n".to_owned();
    for server in servers(configuration, domain) {
        text.push_str(&format!("mx: {server}\r\n"));
    }
    text + "max_age: 86400\r\n"
}

/// SHA-256 of the public key of the certificate that is shown, as a TLSA record `3 1 1` has it (RFC 6698 §2.1).
///
/// # Errors
/// When there is no certificate yet, in words.
fn key_digest(configuration: &Configuration) -> Result<String, String> {
    let data = &configuration.node.data;
    let files = match &configuration.tls {
        Some(tls) => vec![tls.certificate.clone()],
        None => {
            vec![CertificateFiles::fetched(data).certificate, CertificateFiles::self_signed(data).certificate]
        }
    };
    let file = files.into_iter().find(|file| file.exists()).ok_or("there is no certificate yet")?;
    let certificate = CertificateDer::from_pem_file(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let parsed = ParsedCertificate::try_from(&certificate).map_err(|e| format!("{}: {e}", file.display()))?;
    let digest = digest(&SHA256, parsed.subject_public_key_info().as_ref());
    Ok(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Everything beside the DKIM key.
pub fn beside(configuration: &Configuration, domain: &str) -> Vec<Published> {
    let node = &configuration.node.name;
    let helo = &configuration.outbound.helo;
    let policy = policy(configuration, domain);
    // Another policy has another id (RFC 8461 §3.1).
    let id = blake3::hash(policy.as_bytes()).to_hex();
    let mut all = vec![
        line(
            "SPF: who may send (add a: to the record you have)",
            format!("{domain}. IN TXT \"v=spf1 mx a:{helo} -all\""),
        ),
        line(
            "DMARC: what receivers do with what neither SPF nor DKIM vouches for; later p=quarantine or reject",
            format!("_dmarc.{domain}. IN TXT \"v=DMARC1; p=none; rua=mailto:postmaster@{domain}\""),
        ),
        line(
            "MTA-STS: that there is a policy",
            format!("_mta-sts.{domain}. IN TXT \"v=STSv1; id={}\"", &id[..16]),
        ),
        Published {
            purpose: "the policy: text/plain, certificate valid for that name; mode: enforce when the reports are clean",
            place: format!("https://mta-sts.{domain}/.well-known/mta-sts.txt"),
            text: Some(policy),
        },
        line(
            "TLS reports: who hears how encryption towards you went",
            format!("_smtp._tls.{domain}. IN TXT \"v=TLSRPTv1; rua=mailto:postmaster@{domain}\""),
        ),
    ];
    if let Ok(digest) = key_digest(configuration) {
        all.push(line(
            "DANE, only where the zone of this machine is signed: the key of our certificate. It changes with the key",
            format!("_25._tcp.{node}. IN TLSA 3 1 1 {digest}"),
        ));
    }
    all
}

/// The same for people.
pub fn page(all: &[Published]) -> String {
    let mut out = String::new();
    for Published { purpose, place, text } in all {
        out.push_str(&format!("; {purpose}\n{place}\n"));
        for line in text.iter().flat_map(|text| text.lines()) {
            out.push_str(&format!("    {line}\n"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rules_transport::{Mode, Policy, Receiver, announced, receivers};

    fn configuration(dir: &std::path::Path) -> Configuration {
        let text = "[node]\nname = \"mx.example.org\"\ndata = \"data\"\n[listen]\nsmtp = \"127.0.0.1:0\"\n[[domain]]\n\
                    name = \"example.org\"\nprimary = \"office\"\n[[primary]]\nid = \"office\"\n\
                    deliver = { host = \"Mail.Example.org\" }\n[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n";
        Configuration::parse(&dir.join("stormpost.toml"), text.to_owned()).unwrap().0
    }

    #[test]
    fn what_is_printed_is_what_others_read() {
        let dir = tempfile::tempdir().unwrap();
        let configuration = configuration(dir.path());
        let all = beside(&configuration, "example.org");
        let text_of = |begin: &str| {
            let found = all.iter().find(|one| one.place.starts_with(begin)).unwrap();
            found.place.split('"').nth(1).unwrap_or_default().to_owned()
        };
        assert_eq!(text_of("example.org."), "v=spf1 mx a:mx.example.org -all");
        assert!(announced(&[text_of("_mta-sts.")]).is_some());
        let read = Policy::parse(&policy(&configuration, "example.org")).unwrap();
        assert_eq!(
            (read.mode, read.covers("mx.example.org"), read.covers("mail.example.org")),
            (Mode::Testing, true, true)
        );
        assert!(
            matches!(&receivers(&[text_of("_smtp._tls.")])[..], [Receiver::Mail(to)] if to.domain() == "example.org")
        );
        assert!(!page(&all).contains("TLSA"), "no certificate, no record of it");
        let made = rcgen::generate_simple_self_signed(vec!["mx.example.org".to_owned()]).unwrap();
        std::fs::write(dir.path().join("c.pem"), made.cert.pem()).unwrap();
        let page = page(&beside(&configuration, "example.org"));
        let digest = page.split("IN TLSA 3 1 1 ").nth(1).unwrap().trim();
        assert_eq!(digest.len(), 64);
        assert!(page.contains("    mode: testing\n"), "{page}");
    }
}
