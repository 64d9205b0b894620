//! Encryption towards other servers: when, and whose certificate is believed.

mod dane;
mod proof;

pub use dane::usable;
pub use proof::{Proof, TlsFault, TlsTrouble};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WantsClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::fmt;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use words_world::Stream;

/// When a connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsMode {
    /// Never. For a local socket or a wire that is safe by itself.
    None,
    /// When the server offers STARTTLS; in plain text when it does not, or when the handshake fails (RFC 7435).
    #[default]
    Opportunistic,
    /// STARTTLS or nothing is sent.
    Required,
    /// TLS from the first byte.
    Implicit,
}

/// Whose certificate is believed.
#[derive(Clone)]
pub enum Trust {
    /// Those the public authorities signed, for the host's name.
    Public,
    /// One of these certificates themselves (whatever name and dates they carry), or one that one of them signed for
    /// the host's name.
    Given(Vec<CertificateDer<'static>>),
    /// Any. Encrypted, but anybody may be at the other end.
    Anybody,
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trust::Public => f.write_str("Public"),
            Trust::Given(certificates) => write!(f, "Given({})", certificates.len()),
            Trust::Anybody => f.write_str("Anybody"),
        }
    }
}

impl Trust {
    /// The certificates of a PEM file.
    ///
    /// # Errors
    /// When the text holds no certificate or a broken one, in words.
    pub fn from_pem(pem: &[u8]) -> Result<Trust, String> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match certificates {
            Ok(certificates) if certificates.is_empty() => Err("the file holds no certificate".to_owned()),
            Ok(certificates) => Ok(Trust::Given(certificates)),
            Err(e) => Err(format!("the certificate file cannot be read: {e}")),
        }
    }
}

/// The client's side of TLS, made once and shared by all connections to one place.
#[derive(Clone)]
pub struct Tls {
    verifier: Arc<dyn ServerCertVerifier>,
    connector: TlsConnector,
    /// Believes anybody, whatever the trust: for encryption that nobody insists on.
    unverified: TlsConnector,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

impl Tls {
    /// Prepares TLS that believes `trust`.
    ///
    /// # Errors
    /// When a given certificate cannot be used, in words.
    pub fn new(trust: &Trust) -> Result<Tls, String> {
        let verifier = verifier(trust)?;
        let connector = connector(verifier.clone())?;
        let unverified = match trust {
            Trust::Anybody => connector.clone(),
            _ => self::connector(self::verifier(&Trust::Anybody)?)?,
        };
        Ok(Tls { verifier, connector, unverified })
    }

    /// The same, showing a certificate of our own to a server that asks for one.
    ///
    /// # Errors
    /// When the parts do not fit together, in words.
    pub fn showing(&self, own: &Arc<dyn ResolvesClientCert>) -> Result<Tls, String> {
        let asks = |verifier: Arc<dyn ServerCertVerifier>| {
            let config = trusting(verifier)?.with_client_cert_resolver(own.clone());
            Ok::<TlsConnector, String>(TlsConnector::from(Arc::new(config)))
        };
        Ok(Tls {
            verifier: self.verifier.clone(),
            connector: asks(self.verifier.clone())?,
            unverified: asks(self::verifier(&Trust::Anybody)?)?,
        })
    }

    /// Encrypts `stream` towards `host` (a name, or an IP address as text). The caller bounds the time.
    ///
    /// # Errors
    /// When the handshake fails or the certificate is not believed, in words.
    pub async fn connect(&self, host: &str, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, String> {
        handshake(&self.connector, host, stream).await
    }

    /// As [`Tls::connect`], believing any certificate: better than plain text, and not safe enough for a password.
    ///
    /// # Errors
    /// When the handshake fails, in words.
    pub async fn connect_unverified(
        &self,
        host: &str,
        stream: Box<dyn Stream>,
    ) -> Result<Box<dyn Stream>, String> {
        handshake(&self.unverified, host, stream).await
    }
}

async fn handshake(
    connector: &TlsConnector,
    host: &str,
    stream: Box<dyn Stream>,
) -> Result<Box<dyn Stream>, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("\"{host}\" is not a host name"))?;
    let stream = connector.connect(name, stream).await.map_err(|e| format!("TLS: {e}"))?;
    Ok(Box::new(stream))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn verifier(trust: &Trust) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let provider = provider();
    Ok(match trust {
        Trust::Public => {
            let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
            built.map_err(|e| e.to_string())?
        }
        Trust::Given(certificates) => Arc::new(Given::new(certificates, provider)?),
        Trust::Anybody => Arc::new(Anybody { provider }),
    })
}

fn connector(verifier: Arc<dyn ServerCertVerifier>) -> Result<TlsConnector, String> {
    Ok(TlsConnector::from(Arc::new(trusting(verifier)?.with_no_client_auth())))
}

fn trusting(
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

/// Believes listed certificates, and what they signed.
#[derive(Debug)]
struct Given {
    pinned: Vec<CertificateDer<'static>>,
    signed: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Given {
    fn new(certificates: &[CertificateDer<'static>], provider: Arc<CryptoProvider>) -> Result<Given, String> {
        if certificates.is_empty() {
            return Err("no certificate is given to believe".to_owned());
        }
        let mut roots = RootCertStore::empty();
        // A self-signed end certificate may not parse as an authority; it is still believed as itself.
        roots.add_parsable_certificates(certificates.iter().cloned());
        let signed = if roots.is_empty() {
            None
        } else {
            let built =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
            Some(built.map_err(|e| e.to_string())?)
        };
        Ok(Given { pinned: certificates.to_vec(), signed, provider })
    }
}

impl ServerCertVerifier for Given {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.pinned.iter().any(|pinned| pinned.as_ref() == end_entity.as_ref()) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.signed {
            Some(signed) => {
                signed.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Err(Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)),
        }
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

/// Believes everybody, as opportunistic TLS between mail servers does (RFC 7435 §3).
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
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
