//! What a server has to prove on one connection, and what was wrong with it when it did not.

use super::dane::Dane;
use super::{Tls, connector};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use std::sync::{Arc, Mutex, PoisonError};
use words_world::{Stream, Tlsa};

/// What a certificate has to prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing: whoever is at the other end.
    Nothing,
    /// That somebody who is believed signed it for the host's name (RFC 8461 §4.2).
    Valid,
    /// That it is one the DNS names, or was issued under one (RFC 7672 §3.1).
    Dane {
        /// The records; only those that [`usable`](super::usable) leaves.
        records: Vec<Tlsa>,
        /// The names it may be for, where a record names an authority (RFC 7672 §3.2.2).
        names: Vec<String>,
    },
}

/// What is wrong with the encryption of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsFault {
    /// The server offers no STARTTLS.
    NotOffered,
    /// The certificate is for other names.
    OtherName,
    /// The certificate's time is over, or has not come.
    Expired,
    /// Nobody who is believed signed the certificate.
    Untrusted,
    /// The certificate is none of those that the DNS names.
    NotNamed,
    /// Anything else.
    Other,
}

/// The same in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct TlsTrouble {
    /// Which.
    pub fault: TlsFault,
    /// In words.
    pub why: String,
}

impl TlsTrouble {
    /// Trouble of a kind.
    pub fn new(fault: TlsFault, why: impl Into<String>) -> TlsTrouble {
        TlsTrouble { fault, why: why.into() }
    }
}

impl Tls {
    /// Encrypts `stream` towards `host` and looks at what the certificate proves. When that is `demanded`, a certificate
    /// that does not prove it ends the connection; else it is only told, beside the encrypted connection. The caller bounds
    /// the time.
    ///
    /// # Errors
    /// When the handshake fails or what is demanded is not proved.
    pub async fn connect_proved(
        &self,
        host: &str,
        stream: Box<dyn Stream>,
        proof: &Proof,
        demanded: bool,
    ) -> Result<(Box<dyn Stream>, Option<TlsTrouble>), TlsTrouble> {
        let other = |why: String| TlsTrouble::new(TlsFault::Other, why);
        let inner: Arc<dyn ServerCertVerifier> = match proof {
            Proof::Nothing => {
                let stream = self.connect_unverified(host, stream).await.map_err(other)?;
                return Ok((stream, None));
            }
            Proof::Valid => self.verifier.clone(),
            Proof::Dane { records, names } => Arc::new(Dane::new(records, names)),
        };
        let looked = Arc::new(Looked { inner, demanded, seen: Mutex::default() });
        let connector = connector(looked.clone()).map_err(other)?;
        let shaken = super::handshake(&connector, host, stream).await;
        let seen = looked.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (shaken, seen) {
            (Ok(stream), seen) => Ok((stream, seen)),
            (Err(_), Some(seen)) => Err(seen),
            (Err(why), None) => Err(other(why)),
        }
    }
}

/// Asks another verifier, and keeps what it found wrong.
#[derive(Debug)]
struct Looked {
    inner: Arc<dyn ServerCertVerifier>,
    demanded: bool,
    seen: Mutex<Option<TlsTrouble>>,
}

fn fault_of(error: &Error) -> TlsFault {
    let Error::InvalidCertificate(error) = error else { return TlsFault::Other };
    match error {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsFault::OtherName
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => TlsFault::Expired,
        // What our own look at the DNS's records says.
        CertificateError::ApplicationVerificationFailure => TlsFault::NotNamed,
        _ => TlsFault::Untrusted,
    }
}

fn words_of(fault: TlsFault, error: &Error) -> String {
    match fault {
        TlsFault::NotNamed => "its certificate is none of those that its TLSA records name".to_owned(),
        _ => error.to_string(),
    }
}

impl ServerCertVerifier for Looked {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let looked =
            self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let Err(error) = looked else { return looked };
        let fault = fault_of(&error);
        let trouble = TlsTrouble::new(fault, words_of(fault, &error));
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
        if self.demanded { Err(error) } else { Ok(ServerCertVerified::assertion()) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
