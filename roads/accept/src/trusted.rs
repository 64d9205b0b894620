//! Who may send to other organisations through us without being a person: a mail system of record with its own proof, and
//! devices at a door of their own.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use words_mail::{Address, PrimaryId, Time};

/// A mail system of record that may send to other organisations through us, and how it proves that it is the one. One
/// proof is enough.
#[derive(Clone)]
pub struct RelayParts {
    /// Which; it may send as the domains behind which it stands.
    pub primary: PrimaryId,
    /// It connects from one of these.
    pub addresses: Vec<IpAddr>,
    /// It shows a certificate with one of these SHA-256 digests.
    pub fingerprints: Vec<[u8; 32]>,
    /// It shows a certificate that this authority signed for one of these names.
    pub authority: Option<(Arc<dyn ClientCertVerifier>, Vec<ServerName<'static>>)>,
    /// It signs in at the submission doors by this name and password.
    pub login: Option<(String, String)>,
}

impl fmt::Debug for RelayParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayParts").field("primary", &self.primary).finish_non_exhaustive()
    }
}

/// What checks certificates of this authority.
///
/// # Errors
/// When there is none in it, in words.
pub fn authority(roots: &[CertificateDer<'static>]) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(|e| e.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider).build().map_err(|e| e.to_string())
}

/// Every mail system of record that may relay.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    list: Vec<RelayParts>,
    /// The certificate in use, and the same with the wish to see the client's.
    asking: Mutex<Option<(Arc<ServerConfig>, Arc<ServerConfig>)>>,
}

impl Relays {
    pub(crate) fn new(list: Vec<RelayParts>) -> Relays {
        Relays { list, asking: Mutex::default() }
    }

    fn find(&self, proof: impl Fn(&RelayParts) -> bool) -> Option<PrimaryId> {
        self.list.iter().find(|relay| proof(relay)).map(|relay| relay.primary.clone())
    }

    /// Who connects from this address.
    pub(crate) fn by_address(&self, ip: IpAddr) -> Option<PrimaryId> {
        let ip = ip.to_canonical();
        self.find(|relay| relay.addresses.iter().any(|known| known.to_canonical() == ip))
    }

    /// Who signs in by this name and password.
    pub(crate) fn by_password(&self, user: &str, password: &str) -> Option<PrimaryId> {
        self.find(|relay| {
            relay.login.as_ref().is_some_and(|(known, secret)| {
                known == user && verify_slices_are_equal(secret.as_bytes(), password.as_bytes()).is_ok()
            })
        })
    }

    /// Who shows this certificate. Only for one whose key the handshake has proved.
    pub(crate) fn by_certificate(&self, chain: &[CertificateDer<'_>], now: Time) -> Option<PrimaryId> {
        let (end, between) = chain.split_first()?;
        let print = digest(&SHA256, end);
        let now = UnixTime::since_unix_epoch(Duration::from_micros(u64::try_from(now.0).unwrap_or_default()));
        self.find(|relay| {
            relay.fingerprints.iter().any(|known| known == print.as_ref())
                || relay.authority.as_ref().is_some_and(|(authority, names)| {
                    authority.verify_client_cert(end, between, now).is_ok()
                        && ParsedCertificate::try_from(end).is_ok_and(|parsed| {
                            names.iter().any(|name| verify_server_name(&parsed, name).is_ok())
                        })
                })
        })
    }

    /// The same doors with the wish to see the client's certificate, where one could be of use.
    pub(crate) fn asking(&self, config: Arc<ServerConfig>) -> Result<Arc<ServerConfig>, Error> {
        if !self.list.iter().any(|relay| !relay.fingerprints.is_empty() || relay.authority.is_some()) {
            return Ok(config);
        }
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, asks)) = &*asking
            && Arc::ptr_eq(of, &config)
        {
            return Ok(asks.clone());
        }
        let provider = config.crypto_provider().clone();
        let mut asks = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(AnyCertificate(provider)))
            .with_cert_resolver(config.cert_resolver.clone());
        asks.alpn_protocols.clone_from(&config.alpn_protocols);
        let asks = Arc::new(asks);
        *asking = Some((config, asks.clone()));
        Ok(asks)
    }
}

/// Asks for a certificate and takes any whose key the client has: who it is, is looked at afterwards. A client without
/// one, or with one of its own making, sends mail like everybody else.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Addresses with the same beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// One of them.
    pub address: IpAddr,
    /// So many bits are the same.
    pub bits: u8,
}

impl Network {
    /// Whether an address is one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let same = |a: u128, b: u128, width: u32| {
            let other = width.saturating_sub(u32::from(self.bits));
            other >= width || a >> other == b >> other
        };
        match (self.address.to_canonical(), ip.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

/// As whom devices send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceSender {
    /// As this address.
    Address(Address),
    /// As any address of this domain.
    Domain(String),
}

/// Devices that cannot sign in: printers, scanners, alarm systems.
#[derive(Clone, Debug)]
pub struct DeviceParts {
    /// Where they are.
    pub clients: Vec<Network>,
    /// As whom they send.
    pub senders: Vec<DeviceSender>,
    /// Whether they may write to other organisations.
    pub anywhere: bool,
    /// Messages of one of them in a minute.
    pub messages_per_minute: u32,
}

impl DeviceParts {
    pub(crate) fn knows(&self, ip: IpAddr) -> bool {
        self.clients.iter().any(|network| network.contains(ip))
    }

    pub(crate) fn may_send_as(&self, address: &Address) -> bool {
        self.senders.iter().any(|sender| match sender {
            DeviceSender::Address(known) => known.key() == address.key(),
            DeviceSender::Domain(domain) => domain.eq_ignore_ascii_case(address.domain()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_addresses_and_no_others() {
        for (network, bits, ip, expected) in [
            ("192.168.7.0", 24, "192.168.7.255", true),
            ("192.168.7.0", 24, "192.168.8.0", false),
            ("192.168.7.9", 32, "192.168.7.9", true),
            ("192.168.7.9", 32, "192.168.7.8", false),
            ("192.168.7.9", 32, "::ffff:192.168.7.9", true),
            ("10.0.0.0", 0, "203.0.113.1", true),
            ("fd00::", 64, "fd00::1:2", true),
            ("fd00::", 64, "fd00:0:0:1::", false),
            ("fd00::1", 128, "fd00::1", true),
            ("fd00::", 64, "192.168.7.9", false),
        ] {
            let network = Network { address: network.parse().unwrap(), bits };
            assert_eq!(network.contains(ip.parse().unwrap()), expected, "{network:?} {ip}");
        }
    }
}
