//! A short talk with a door, as a stranger holds it: greeting, capabilities, encryption, certificate. Nothing is handed over and
//! nobody signs in. Every step is bounded in time, and so is everything that is read.

use super::certificate::Shown;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use words_world::{Stream, World};

/// How long each step may take.
const STEP: Duration = Duration::from_secs(5);
/// Octets that are read of one answer.
const ANSWER_MAX: usize = 16 << 10;

/// What is spoken at a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tongue {
    /// SMTP.
    Smtp,
    /// LMTP.
    Lmtp,
    /// IMAP.
    Imap,
}

/// What a door showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Talked {
    /// Its first line.
    pub greeting: String,
    /// What it offers, once encrypted if it can be; in capitals.
    pub offers: Vec<String>,
    /// Whether it offers to encrypt, or is encrypted from the first byte.
    pub encrypts: bool,
    /// The certificate it showed, or why there was none.
    pub certificate: Option<Result<Shown, String>>,
}

impl Talked {
    /// Whether it offers something.
    pub fn offers(&self, word: &str) -> bool {
        self.offers.iter().any(|offer| offer.split(' ').next() == Some(word))
    }

    /// The value that stands behind a word it offers.
    pub fn value(&self, word: &str) -> Option<&str> {
        self.offers.iter().find_map(|offer| offer.strip_prefix(word)?.strip_prefix(' '))
    }
}

struct Talk {
    stream: Box<dyn Stream>,
    seen: Vec<u8>,
}

async fn bounded<T>(what: &str, step: impl Future<Output = std::io::Result<T>>) -> Result<T, String> {
    match timeout(STEP, step).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(format!("{what}: {error}")),
        Err(_) => Err(format!("{what}: no answer within {} s", STEP.as_secs())),
    }
}

impl Talk {
    async fn line(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.seen.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.seen.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.seen.len() > ANSWER_MAX {
                return Err("its answer has no end".to_owned());
            }
            let mut piece = [0; 1024];
            match bounded("while listening", self.stream.read(&mut piece)).await? {
                0 => return Err("it closed the connection".to_owned()),
                read => self.seen.extend_from_slice(&piece[..read]),
            }
        }
    }

    /// The lines of one SMTP reply, without their code when it is the one expected.
    async fn reply(&mut self, code: &str) -> Result<Vec<String>, String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            let Some(rest) = line.strip_prefix(code) else { return Err(line) };
            lines.push(rest.get(1..).unwrap_or_default().to_owned());
            if !rest.starts_with('-') {
                return Ok(lines);
            }
            if lines.len() > 200 {
                return Err("its answer has no end".to_owned());
            }
        }
    }

    /// The lines before the tagged `OK` of an IMAP command.
    async fn tagged(&mut self, tag: &str) -> Result<Vec<String>, String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            match line.strip_prefix(tag) {
                Some(rest) if rest.trim_start().to_ascii_uppercase().starts_with("OK") => return Ok(lines),
                Some(rest) => return Err(rest.trim().to_owned()),
                None => lines.push(line),
            }
            if lines.len() > 200 {
                return Err("its answer has no end".to_owned());
            }
        }
    }

    async fn say(&mut self, command: &str) -> Result<(), String> {
        bounded("while speaking", self.stream.write_all(command.as_bytes())).await?;
        bounded("while speaking", self.stream.flush()).await
    }

    async fn offers(&mut self, tongue: Tongue, name: &str) -> Result<Vec<String>, String> {
        let upper = |lines: Vec<String>| lines.iter().map(|line| line.to_ascii_uppercase()).collect();
        match tongue {
            Tongue::Smtp | Tongue::Lmtp => {
                let verb = if tongue == Tongue::Smtp { "EHLO" } else { "LHLO" };
                self.say(&format!("{verb} {name}\r\n")).await?;
                let lines = self.reply("250").await?;
                Ok(upper(lines.into_iter().skip(1).collect()))
            }
            Tongue::Imap => {
                self.say("a CAPABILITY\r\n").await?;
                let lines = self.tagged("a ").await?;
                let words = lines.iter().filter_map(|line| line.strip_prefix("* CAPABILITY "));
                Ok(upper(words.flat_map(|line| line.split(' ').map(str::to_owned)).collect()))
            }
        }
    }

    /// Encrypts; gives the certificate that was shown.
    async fn encrypt(self, host: &str) -> Result<(Talk, Shown), String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("{host} is no host name"))?;
        let connector = TlsConnector::from(Arc::new(config()?));
        let stream = bounded("TLS", connector.connect(name, self.stream)).await?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let first = chain.first().ok_or("it showed no certificate")?;
        let shown = Shown::read(first)?;
        Ok((Talk { stream: Box::new(stream), seen: Vec::new() }, shown))
    }
}

/// Talks with a door. `host` is the name it is known by, `name` what we call ourselves.
///
/// # Errors
/// How far it came, in words.
pub async fn talk(
    world: &World,
    at: SocketAddr,
    tongue: Tongue,
    implicit: bool,
    host: &str,
    name: &str,
) -> Result<Talked, String> {
    let stream = bounded(&format!("connecting to {at}"), world.net.connect(at)).await?;
    let mut talk = Talk { stream, seen: Vec::new() };
    let mut talked = Talked::default();
    if implicit {
        let (encrypted, shown) = talk.encrypt(host).await?;
        talk = encrypted;
        talked.certificate = Some(Ok(shown));
        talked.encrypts = true;
    }
    talked.greeting = match tongue {
        Tongue::Imap => {
            let line = talk.line().await?;
            line.strip_prefix("* OK").map(|rest| rest.trim().to_owned()).ok_or(line)?
        }
        _ => talk.reply("220").await?.join(" "),
    };
    talked.offers = talk.offers(tongue, name).await?;
    if implicit || !talked.offers("STARTTLS") {
        return Ok(talked);
    }
    talked.encrypts = true;
    match tongue {
        Tongue::Imap => {
            talk.say("b STARTTLS\r\n").await?;
            talk.tagged("b ").await?;
        }
        _ => {
            talk.say("STARTTLS\r\n").await?;
            talk.reply("220").await?;
        }
    }
    match talk.encrypt(host).await {
        Ok((mut talk, shown)) => {
            talked.offers = talk.offers(tongue, name).await?;
            talked.certificate = Some(Ok(shown));
        }
        Err(why) => talked.certificate = Some(Err(why)),
    }
    Ok(talked)
}

fn config() -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|why| why.to_string())?;
    let looking = Arc::new(Looking { provider });
    Ok(builder.dangerous().with_custom_certificate_verifier(looking).with_no_client_auth())
}

/// Believes every certificate, because it is here to be looked at; nothing is said over the connection.
#[derive(Debug)]
struct Looking {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Looking {
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
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
