//! A domain's signing key and its DNS record (RFC 6376 §3.6.1).

use super::{Desk, Ended, Failure, code};
use crate::configuration::Configuration;
use crate::records::{Published, beside, page};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// `stormpost dkim`.
#[derive(Debug, Args)]
pub struct DkimArguments {
    /// The domain, as in the configuration.
    domain: String,
}

/// What stands in the DNS.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DkimRecord {
    /// The name of the record.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Whether the key was made just now.
    pub made: bool,
}

/// What `stormpost dkim` tells.
#[derive(serde::Serialize)]
struct Told {
    #[serde(flatten)]
    key: DkimRecord,
    /// What else should stand in the DNS about the domain's mail.
    beside: Vec<Published>,
}

impl DkimRecord {
    /// The record as a line of a zone file: texts in a TXT record have at most 255 bytes each (RFC 1035 §3.3).
    pub fn zone_line(&self) -> String {
        let parts: Vec<String> = self
            .text
            .as_bytes()
            .chunks(255)
            .map(|part| format!("\"{}\"", String::from_utf8_lossy(part)))
            .collect();
        format!("{}. IN TXT ( {} )", self.name, parts.join(" "))
    }
}

pub(super) fn run(desk: &Desk, arguments: &DkimArguments) -> Ended {
    let configuration = desk.configuration()?;
    let record = record_of(&configuration, &arguments.domain)?;
    let beside = beside(&configuration, &arguments.domain.to_lowercase());
    let out = desk.output;
    if record.made {
        out.say("the key is made; keep a copy of it, or make a new one and a new record if it is lost");
    }
    out.say(&format!("publish this TXT record in the DNS under {}:", record.name));
    out.text(&format!("{}\n\nAs a line of a zone file:\n{}\n", record.text, record.zone_line()));
    out.text(&format!("\nWhat else others look for (stormpost doctor compares it):\n{}", page(&beside)));
    out.value(&Told { key: record, beside });
    Ok(code::WELL)
}

/// The record of a configured domain; the key is made if it is not there.
fn record_of(configuration: &Configuration, domain: &str) -> Result<DkimRecord, Failure> {
    let domain = domain.to_lowercase();
    let found = configuration.domains.iter().find(|d| d.domain.name == domain);
    let Some(found) = found else {
        let names: Vec<&str> = configuration.domains.iter().map(|d| d.domain.name.as_str()).collect();
        let words = format!("there is no [[domain]] {domain:?}; there are: {}", names.join(", "));
        return Err(Failure { code: code::USAGE, words });
    };
    let Some(dkim) = &found.dkim else {
        let hint = format!("dkim = {{ selector = \"stormpost\", key_file = \"dkim-{domain}.pem\" }}");
        return Err(format!("the [[domain]] {domain:?} has no dkim; add to it: {hint}").into());
    };
    Ok(ensure_key(&dkim.key_file, &dkim.selector, &domain)?)
}

/// Reads a signing key, or makes one of 2,048 bits (RFC 8301 §3.2) when there is none, and gives its record.
///
/// # Errors
/// When the file cannot be read or made, or holds something else; in words.
pub fn ensure_key(path: &Path, selector: &str, domain: &str) -> Result<DkimRecord, String> {
    let shown = path.display();
    let made = !path.exists();
    if made {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| "the key could not be made".to_owned())?;
        let der: Pkcs8V1Der<'_> =
            pair.as_der().map_err(|_| "the key could not be written down".to_owned())?;
        let written = write_new(path, pem(der.as_ref()).as_bytes());
        written.map_err(|e| format!("{shown} cannot be written: {}", crate::configuration::reason(&e)))?;
    }
    let text = crate::configuration::read_private(path)?;
    let wrong = || format!("{shown} is not an RSA private key in PKCS #8 PEM (BEGIN PRIVATE KEY)");
    let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| wrong())?;
    let pair = KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| wrong())?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| wrong())?;
    Ok(DkimRecord {
        name: format!("{selector}._domainkey.{domain}"),
        text: format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(public.as_ref())),
        made,
    })
}

/// Writes a file that must not be there yet, for its owner alone.
fn write_new(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// RFC 7468 §10.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_gives_the_same_record_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dkim.pem");
        let first = ensure_key(&path, "stormpost", "example.org").unwrap();
        assert!(first.made && first.name == "stormpost._domainkey.example.org");
        assert!(first.text.starts_with("v=DKIM1; k=rsa; p=MIIBIjAN"), "{}", first.text);
        let again = ensure_key(&path, "stormpost", "example.org").unwrap();
        assert_eq!(again, DkimRecord { made: false, ..first.clone() });
        let line = first.zone_line();
        assert!(line.contains("\" \""), "longer than one text of a TXT record");
        assert_eq!(line.split('"').filter(|part| part.len() > 3).map(str::len).max(), Some(255));
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_is_no_key_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dkim.pem");
        write_new(&path, b"hello").unwrap();
        assert!(ensure_key(&path, "s", "example.org").unwrap_err().contains("is not an RSA private key"));
        assert_eq!(fs::read(&path).unwrap(), b"hello");
        let nowhere = folder.path().join("no/such/folder.pem");
        assert!(ensure_key(&nowhere, "s", "example.org").unwrap_err().contains("cannot be written"));
    }
}
