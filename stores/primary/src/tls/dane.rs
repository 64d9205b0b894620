//! Certificates that the DNS names: DANE for SMTP (RFC 7672, RFC 7671).

use super::provider;
use aws_lc_rs::digest::{SHA256, SHA512, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;
use words_world::Tlsa;

/// The usages of RFC 7671 §5 that mail servers are held to; 0 and 1 are not for them (RFC 7672 §3.1.3).
const AUTHORITY: u8 = 2;
const ITSELF: u8 = 3;
/// Records of one server that are looked at.
const RECORDS_MAX: usize = 32;
/// The longest record: a whole certificate.
const ASSOCIATION_MAX: usize = 16 * 1024;

/// The records that can be used here. Of two digests of the same thing the stronger counts (RFC 7671 §9).
pub fn usable(records: &[Tlsa]) -> Vec<Tlsa> {
    let fits = |record: &&Tlsa| {
        let length = match record.matching {
            0 => (1..=ASSOCIATION_MAX).contains(&record.association.len()),
            1 => record.association.len() == 32,
            2 => record.association.len() == 64,
            _ => false,
        };
        length && matches!(record.usage, AUTHORITY | ITSELF) && record.selector <= 1
    };
    let fit: Vec<&Tlsa> = records.iter().filter(fits).take(RECORDS_MAX).collect();
    let stronger =
        |weak: &Tlsa| fit.iter().any(|r| (r.usage, r.selector, r.matching) == (weak.usage, weak.selector, 2));
    fit.iter().filter(|r| r.matching != 1 || !stronger(r)).map(|r| (*r).clone()).collect()
}

/// Whether a record names this certificate.
fn names(record: &Tlsa, certificate: &CertificateDer<'_>) -> bool {
    let key;
    let what: &[u8] = match record.selector {
        0 => certificate.as_ref(),
        _ => match ParsedCertificate::try_from(certificate) {
            Ok(parsed) => {
                key = parsed.subject_public_key_info();
                key.as_ref()
            }
            Err(_) => return false,
        },
    };
    match record.matching {
        0 => what == record.association,
        1 => digest(&SHA256, what).as_ref() == record.association,
        _ => digest(&SHA512, what).as_ref() == record.association,
    }
}

/// Believes what the records name.
#[derive(Debug)]
pub(super) struct Dane {
    records: Vec<Tlsa>,
    names: Vec<ServerName<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Dane {
    pub(super) fn new(records: &[Tlsa], names: &[String]) -> Dane {
        let names = names.iter().filter_map(|name| ServerName::try_from(name.clone()).ok());
        Dane { records: records.to_vec(), names: names.collect(), provider: provider() }
    }

    /// A chain up to an authority that a record names, for one of the names (RFC 7672 §3.1.1). The authority stands in the
    /// chain, or whole in the record.
    fn under(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut roots = RootCertStore::empty();
        for record in self.records.iter().filter(|record| record.usage == AUTHORITY) {
            let named = intermediates.iter().filter(|certificate| names(record, certificate)).cloned();
            roots.add_parsable_certificates(named.map(CertificateDer::into_owned));
            if (record.selector, record.matching) == (0, 0) {
                roots.add_parsable_certificates([CertificateDer::from(record.association.clone())]);
            }
        }
        let none = Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        if roots.is_empty() {
            return Err(none);
        }
        let built =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone()).build();
        let verifier = built.map_err(|e| Error::General(e.to_string()))?;
        let mut last = none;
        for name in &self.names {
            match verifier.verify_server_cert(end_entity, intermediates, name, &[], now) {
                Ok(verified) => return Ok(verified),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl ServerCertVerifier for Dane {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The server's own: names and dates in it mean nothing, the record alone counts (RFC 7672 §3.1.1).
        if self.records.iter().any(|record| record.usage == ITSELF && names(record, end_entity)) {
            return Ok(ServerCertVerified::assertion());
        }
        self.under(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
