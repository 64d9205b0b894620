//! Our own certificate, shown to a primary that asks for it: Microsoft 365 knows its connector by it.

use crate::configuration::Configuration;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A certificate that was renewed is shown after so long.
const FRESH: Duration = Duration::from_secs(60);

/// Reads the files when somebody asks, and seldom twice in a minute.
#[derive(Debug)]
pub struct OwnCertificate {
    /// Chain and key; the first pair that is there counts.
    files: Vec<(PathBuf, PathBuf)>,
    read: Mutex<Option<(Instant, Option<Arc<CertifiedKey>>)>>,
}

impl OwnCertificate {
    /// That of this configuration.
    pub fn of(configuration: &Configuration) -> Arc<dyn ResolvesClientCert> {
        let data = &configuration.node.data;
        let fetched = data.join("acme").join("certificate.pem");
        let files = match &configuration.tls {
            Some(files) => vec![(files.certificate.clone(), files.key.clone())],
            None => {
                vec![(fetched.clone(), fetched), (data.join("self-signed.crt"), data.join("self-signed.key"))]
            }
        };
        Arc::new(OwnCertificate { files, read: Mutex::default() })
    }

    fn read(&self) -> Option<Arc<CertifiedKey>> {
        let (certificate, key) = self.files.iter().find(|(certificate, _)| certificate.exists())?;
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect).ok()?;
        let key = PrivateKeyDer::from_pem_file(key).ok()?;
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).ok().map(Arc::new)
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.as_ref().is_none_or(|(at, _)| at.elapsed() > FRESH) {
            *read = Some((Instant::now(), self.read()));
        }
        let key = read.as_ref().and_then(|(_, key)| key.clone())?;
        // A server that cannot read our kind of key is shown nothing, and the mail goes on.
        key.key.choose_scheme(schemes).is_some().then_some(key)
    }

    fn has_certs(&self) -> bool {
        true
    }
}
