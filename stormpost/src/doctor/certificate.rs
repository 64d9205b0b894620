//! What a certificate says: for whom, from when, until when, and the hashes by which the DNS may name it.

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use rustls_pki_types::CertificateDer;
use words_mail::Time;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What is asked of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The host names it is for, in lower case; an address as text.
    pub names: Vec<String>,
    /// Valid from.
    pub from: Time,
    /// Valid until.
    pub until: Time,
    /// Whether it names itself as its issuer.
    pub self_signed: bool,
    /// The certificate itself, and its public key as it stands in it (RFC 6698 §2.1.2).
    der: Vec<u8>,
    key: Vec<u8>,
}

impl Shown {
    /// Reads a certificate.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(der: &CertificateDer<'_>) -> Result<Shown, String> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|why| format!("the certificate makes no sense: {why}"))?;
        let mut names = Vec::new();
        if let Ok(Some(extension)) = certificate.subject_alternative_name() {
            for name in &extension.value.general_names {
                match name {
                    GeneralName::DNSName(name) => names.push(name.to_lowercase()),
                    GeneralName::IPAddress(bytes) => names.extend(address(bytes)),
                    _ => {}
                }
            }
        }
        if names.is_empty() {
            // No client believes it any more (RFC 9525 §6.3); it says what was meant.
            let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
            names.extend(common.map(str::to_lowercase));
        }
        let validity = certificate.validity();
        Ok(Shown {
            names,
            from: Time::from_seconds(validity.not_before.timestamp()),
            until: Time::from_seconds(validity.not_after.timestamp()),
            self_signed: certificate.subject().as_raw() == certificate.issuer().as_raw(),
            der: der.to_vec(),
            key: certificate.public_key().raw.to_vec(),
        })
    }

    /// Whether it is for this host; a wildcard stands for one label (RFC 9525 §6.3).
    pub fn is_for(&self, host: &str) -> bool {
        let host = host.to_lowercase();
        self.names.iter().any(|name| {
            let wild = name.strip_prefix("*.").zip(host.split_once('.'));
            *name == host || wild.is_some_and(|(rest, (_, parent))| rest == parent)
        })
    }

    /// Whether a TLSA record names it (RFC 6698 §2.1); the caller looks at the usage.
    pub fn is_named_by(&self, selector: u8, matching: u8, bytes: &[u8]) -> bool {
        let selected = if selector == 1 { &self.key } else { &self.der };
        match matching {
            0 => selected == bytes,
            1 => digest(&SHA256, selected).as_ref() == bytes,
            2 => digest(&SHA512, selected).as_ref() == bytes,
            _ => false,
        }
    }

    /// The record that names its key: usage 3, selector 1, matching type 1, as RFC 7672 §3.1.1 wants it.
    pub fn tlsa(&self) -> String {
        let mut out = String::from("3 1 1 ");
        for byte in digest(&SHA256, &self.key).as_ref() {
            out.push_str(&format!("{byte:02x}"));
        }
        out
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
    let sixteen = <[u8; 16]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
    four.or(sixteen).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_dates_and_hashes_are_read() {
        let mut wanted =
            rcgen::CertificateParams::new(vec!["MX.example.org".into(), "*.example.com".into()]).unwrap();
        wanted.not_before = rcgen::date_time_ymd(2026, 1, 2);
        wanted.not_after = rcgen::date_time_ymd(2026, 3, 4);
        let made = wanted.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let shown = Shown::read(made.der()).unwrap();
        assert_eq!(shown.until, Time::from_civil(2026, 3, 4, 0, 0, 0));
        assert_eq!(shown.from, Time::from_civil(2026, 1, 2, 0, 0, 0));
        assert!(shown.self_signed);
        for (host, is_for) in [
            ("mx.example.org", true),
            ("MX.EXAMPLE.ORG", true),
            ("a.example.com", true),
            ("a.b.example.com", false),
            ("example.com", false),
            ("example.org", false),
        ] {
            assert_eq!(shown.is_for(host), is_for, "{host}");
        }
        let record = shown.tlsa();
        let hash: Vec<u8> = (6..record.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&record[at..at + 2], 16).unwrap())
            .collect();
        assert!(shown.is_named_by(1, 1, &hash));
        assert!(!shown.is_named_by(0, 1, &hash), "that would be the whole certificate");
        assert!(shown.is_named_by(0, 0, made.der()));
        assert!(!shown.is_named_by(1, 9, &hash));
        assert!(Shown::read(&CertificateDer::from(vec![1, 2, 3])).is_err());
    }
}
