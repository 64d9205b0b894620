//! DKIM signatures of what people send (RFC 6376), and the keys for them.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mail_auth::common::crypto::{Ed25519Key, RsaKey, Sha256};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::{Canonicalization, DkimSigner, Done, Signature};
use std::fmt;
use std::io::{self, Read};

/// The header fields that are signed (RFC 6376 §5.4.1). Those that are missing are signed as missing, so fields that a
/// mailing list adds (`Sender`, `List-Id`, `Reply-To`) are not named here. `From` stands once more than in any message, so
/// that a second one cannot be added unnoticed.
const FIELDS: [&str; 12] = [
    "From",
    "From",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];

/// The longest header that is looked at for its `From:`.
const HEADER_MAX: usize = 64 * 1024;

enum Key {
    Rsa(Box<DkimSigner<RsaKey<Sha256>, Done>>),
    Ed25519(Box<DkimSigner<Ed25519Key, Done>>),
}

/// The keys by which mail is signed, one or more for each domain.
#[derive(Default)]
pub struct Signer {
    keys: Vec<(String, Key)>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(domain, _)| domain)).finish()
    }
}

impl Signer {
    /// A signer without keys: nothing is signed.
    pub fn new() -> Signer {
        Signer::default()
    }

    /// Adds the key of a domain: PKCS#8 in PEM, RSA or Ed25519, as [`make_key`] writes it.
    ///
    /// # Errors
    /// When the text is not such a key, in words.
    pub fn add(&mut self, domain: &str, selector: &str, pem: &str) -> Result<(), String> {
        let der = read_pem(pem)?;
        let domain = domain.to_lowercase();
        let key = match Ed25519Key::from_pkcs8_maybe_unchecked_der(&der) {
            Ok(key) => Key::Ed25519(Box::new(template(DkimSigner::from_key(key), &domain, selector))),
            Err(_) => {
                let der = rustls_key(der);
                let key = RsaKey::<Sha256>::from_key_der(der)
                    .map_err(|_| "the DKIM key is neither an RSA nor an Ed25519 key in PKCS#8".to_owned())?;
                Key::Rsa(Box::new(template(DkimSigner::from_key(key), &domain, selector)))
            }
        };
        self.keys.push((domain, key));
        Ok(())
    }

    /// Whether anything is ever signed.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The signature header of a message, ended by CRLF; empty when there is no key for `domain`. Memory is bounded by the
    /// header's length.
    ///
    /// # Errors
    /// When the message cannot be read.
    pub fn sign(&self, domain: &str, mut message: impl Read) -> io::Result<String> {
        let keys: Vec<&Key> = self.keys.iter().filter(|(d, _)| d == domain).map(|(_, key)| key).collect();
        if keys.is_empty() {
            return Ok(String::new());
        }
        let mut streams = Vec::new();
        for key in keys {
            streams.push(match key {
                Key::Rsa(signer) => Stream::Rsa(Box::new(signer.sign_streaming())),
                Key::Ed25519(signer) => Stream::Ed25519(Box::new(signer.sign_streaming())),
            });
        }
        let mut part = [0; 32 * 1024];
        loop {
            match message.read(&mut part)? {
                0 => break,
                n => streams.iter_mut().for_each(|stream| stream.write(&part[..n])),
            }
        }
        let mut header = String::new();
        for stream in streams {
            match stream.finish() {
                Ok(signature) => header.push_str(&signature.to_header()),
                // A message that cannot be signed (no header at all) goes out unsigned.
                Err(error) => tracing::warn!(%error, domain, "a message could not be signed"),
            }
        }
        Ok(header)
    }
}

enum Stream<'a> {
    Rsa(Box<mail_auth::dkim::DkimSigningStream<'a, RsaKey<Sha256>>>),
    Ed25519(Box<mail_auth::dkim::DkimSigningStream<'a, Ed25519Key>>),
}

impl Stream<'_> {
    fn write(&mut self, part: &[u8]) {
        match self {
            Stream::Rsa(stream) => stream.write(part),
            Stream::Ed25519(stream) => stream.write(part),
        }
    }

    fn finish(self) -> Result<Signature, mail_auth::Error> {
        match self {
            Stream::Rsa(stream) => stream.finish(),
            Stream::Ed25519(stream) => stream.finish(),
        }
    }
}

/// Relaxed header, simple body: the relaxed body of the library at hand differs from RFC 6376 §3.4.4 for bodies that end in
/// lines of spaces, so other verifiers would not agree with it.
fn template<T: mail_auth::common::crypto::SigningKey>(
    signer: DkimSigner<T, mail_auth::dkim::NeedDomain>,
    domain: &str,
    selector: &str,
) -> DkimSigner<T, Done> {
    signer
        .domain(domain)
        .selector(selector)
        .headers(FIELDS)
        .header_canonicalization(Canonicalization::Relaxed)
        .body_canonicalization(Canonicalization::Simple)
}

fn rustls_key(der: Vec<u8>) -> rustls::pki_types::PrivateKeyDer<'static> {
    rustls::pki_types::PrivateKeyDer::Pkcs8(der.into())
}

/// The domain of the `From:` field, as far as it can be told without a full parse: for our own reports, which have no
/// envelope sender.
pub(crate) fn author_domain(mut message: impl Read) -> Option<String> {
    let mut header = vec![0; HEADER_MAX];
    let mut len = 0;
    while len < header.len() {
        match message.read(&mut header[len..]).ok()? {
            0 => break,
            n => len += n,
        }
    }
    let header = String::from_utf8_lossy(&header[..len]);
    let line = header
        .lines()
        .take_while(|line| !line.is_empty())
        .find(|line| line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case("from:")))?;
    let (_, domain) = line.rsplit_once('@')?;
    let end = domain.find(|c: char| !(c.is_alphanumeric() || c == '.' || c == '-')).unwrap_or(domain.len());
    Some(domain[..end].to_lowercase())
}

/// Which kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA with 2048 bits: every verifier knows it.
    Rsa,
    /// Ed25519 (RFC 8463): short; some verifiers do not know it yet.
    Ed25519,
}

/// A new key, and what the DNS must say about it.
#[derive(Clone)]
pub struct MadeKey {
    /// The private key, PKCS#8 in PEM: for a file that only this program may read.
    pub private_pem: String,
    /// The name of the TXT record.
    pub record_name: String,
    /// Its value.
    pub record_value: String,
}

impl MadeKey {
    /// The record as it stands in a zone file, in strings of at most 255 bytes (RFC 1035 §3.3).
    pub fn zone_line(&self) -> String {
        let bytes = self.record_value.as_bytes();
        let strings: Vec<String> =
            bytes.chunks(250).map(|part| format!("\"{}\"", String::from_utf8_lossy(part))).collect();
        format!("{}. IN TXT ( {} )", self.record_name, strings.join(" "))
    }
}

/// Makes a key for a domain.
///
/// # Errors
/// When the cryptographic library fails, in words.
pub fn make_key(domain: &str, selector: &str, kind: KeyKind) -> Result<MadeKey, String> {
    let failed = |_| "the key could not be made".to_owned();
    let (private, value) = match kind {
        KeyKind::Rsa => {
            let pair = KeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
            let private = AsDer::<Pkcs8V1Der>::as_der(&pair).map_err(failed)?;
            let public = AsDer::<PublicKeyX509Der>::as_der(pair.public_key()).map_err(failed)?;
            let value = format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(public.as_ref()));
            (private.as_ref().to_vec(), value)
        }
        KeyKind::Ed25519 => {
            let pair = Ed25519KeyPair::generate().map_err(failed)?;
            let private = pair.to_pkcs8v1().map_err(failed)?;
            let value = format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(pair.public_key().as_ref()));
            (private.as_ref().to_vec(), value)
        }
    };
    Ok(MadeKey {
        private_pem: write_pem(&private),
        record_name: format!("{selector}._domainkey.{}", domain.to_lowercase()),
        record_value: value,
    })
}

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

fn write_pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", lines.join("\n"))
}

fn read_pem(pem: &str) -> Result<Vec<u8>, String> {
    let (_, rest) = pem.split_once(PEM_BEGIN).ok_or("the DKIM key file holds no PRIVATE KEY block")?;
    let (text, _) =
        rest.split_once(PEM_END).ok_or("the PRIVATE KEY block of the DKIM key file has no end")?;
    let text: String = text.split_ascii_whitespace().collect();
    STANDARD.decode(text).map_err(|_| "the DKIM key file is damaged: not base64".to_owned())
}
