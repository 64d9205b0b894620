//! What the authority finds when it looks whether a name is ours: on port 80, on port 443, or in the DNS. All of it is
//! there only while it looks.

use crate::configuration::AcmeChallenge;
use crate::http::request;
use instant_acme::KeyAuthorization;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use words_world::Stream;

/// Callers at a time; the authority looks from some places at once.
const CALLERS_MAX: usize = 32;
/// How long one may take.
const CALL_TIME: Duration = Duration::from_secs(10);
/// The protocol by which the authority asks (RFC 8737 §6.2).
const ALPN: &[u8] = b"acme-tls/1";
/// What of a program's words is logged, characters.
const SAID_MAX: usize = 1_000;

/// What is to be found; ends with [`Answering::end`], and the doors also when it is dropped.
#[derive(Default)]
pub(super) struct Answering {
    /// What is at `/.well-known/acme-challenge/`, by token.
    pages: Arc<RwLock<HashMap<String, String>>>,
    certificates: Arc<Certificates>,
    records: Vec<(PathBuf, Duration, String, String)>,
    doors: JoinSet<()>,
    open: bool,
}

impl Answering {
    /// Puts there what the authority is to find about `name`.
    pub(super) async fn begin(
        &mut self,
        challenge: &AcmeChallenge,
        name: &str,
        token: &str,
        key: &KeyAuthorization,
    ) -> Result<(), String> {
        match challenge {
            AcmeChallenge::Http(at) => {
                let answer = (token.to_owned(), key.as_str().to_owned());
                self.pages.write().unwrap_or_else(PoisonError::into_inner).extend([answer]);
                let pages = self.pages.clone();
                self.open(at, move |stream| page(stream, pages.clone())).await
            }
            AcmeChallenge::TlsAlpn(at) => {
                self.certificates.add(name, key.digest().as_ref())?;
                let mut config = ServerConfig::builder()
                    .with_no_client_auth()
                    .with_cert_resolver(self.certificates.clone());
                config.alpn_protocols = vec![ALPN.to_vec()];
                let acceptor = TlsAcceptor::from(Arc::new(config));
                self.open(at, move |stream| handshake(stream, acceptor.clone())).await
            }
            AcmeChallenge::Dns(program, limit) => {
                let record = format!("_acme-challenge.{}", name.trim_start_matches("*."));
                let value = key.dns_value();
                // Noted first: one that was half added is removed too.
                self.records.push((program.clone(), *limit, record.clone(), value.clone()));
                run(program, *limit, "add", &record, &value).await
            }
        }
    }

    /// Takes it away again.
    pub(super) async fn end(mut self) {
        self.doors.shutdown().await;
        for (program, limit, record, value) in &self.records {
            if let Err(why) = run(program, *limit, "remove", record, value).await {
                tracing::warn!(%why, "a record that the authority has looked at may still be in the DNS");
            }
        }
    }

    async fn open<F>(
        &mut self,
        at: &[SocketAddr],
        converse: impl Fn(TcpStream) -> F + Clone + Send + 'static,
    ) -> Result<(), String>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if self.open {
            return Ok(());
        }
        for at in at {
            // Not by the world's doors: these are kept over restarts, and this one closes in a moment.
            let listener = TcpListener::bind(at).await.map_err(|why| {
                format!("the authority cannot be answered on {at}: {why} (see http_listen and tls_listen)")
            })?;
            self.doors.spawn(attend(listener, converse.clone()));
        }
        self.open = true;
        Ok(())
    }
}

async fn attend<F>(listener: TcpListener, converse: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CALLERS_MAX));
    let mut callers = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let call = timeout(CALL_TIME, converse(stream));
                callers.spawn(async move {
                    let _ = call.await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
        while callers.try_join_next().is_some() {}
    }
}

/// The page of a token (RFC 8555 §8.3); anything else is not here.
async fn page(stream: TcpStream, pages: Arc<RwLock<HashMap<String, String>>>) {
    let mut stream: Box<dyn Stream> = Box::new(stream);
    let asked = request(&mut stream).await;
    let found = asked.and_then(|(method, path)| {
        let token = path.strip_prefix("/.well-known/acme-challenge/")?;
        let pages = pages.read().unwrap_or_else(PoisonError::into_inner);
        (method == "GET").then(|| pages.get(token).cloned())?
    });
    let (status, body) = match found {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", "not here\n".to_owned()),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// All the authority wants is the handshake (RFC 8737 §3).
async fn handshake(stream: TcpStream, acceptor: TlsAcceptor) {
    if let Ok(mut stream) = acceptor.accept(stream).await {
        let _ = stream.shutdown().await;
    }
}

/// Certificates that prove a name, by name.
#[derive(Debug, Default)]
struct Certificates {
    keys: RwLock<HashMap<String, Arc<CertifiedKey>>>,
}

impl Certificates {
    fn add(&self, name: &str, digest: &[u8]) -> Result<(), String> {
        let wrong = |why: rcgen::Error| format!("the certificate for tls-alpn-01 could not be made: {why}");
        let key = KeyPair::generate().map_err(wrong)?;
        let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(wrong)?;
        // Critical, and the hash as an octet string (RFC 8737 §3).
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let made = params.self_signed(&key).map_err(wrong)?;
        let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(str::to_owned)?;
        let signer = any_supported_type(&der).map_err(|why| why.to_string())?;
        let certified = Arc::new(CertifiedKey::new(vec![made.der().clone()], signer));
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(name.to_lowercase(), certified);
        Ok(())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Whoever does not speak this protocol is not the authority.
        let asks = hello.alpn().is_some_and(|mut protocols| protocols.any(|protocol| protocol == ALPN));
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        asks.then(|| keys.get(&hello.server_name()?.to_lowercase()).cloned()).flatten()
    }
}

/// Runs the program for the DNS; what it says is logged.
async fn run(program: &Path, limit: Duration, deed: &str, name: &str, value: &str) -> Result<(), String> {
    let shown = format!("{} {deed} {name}", program.display());
    let mut command = Command::new(program);
    command.args([deed, name, value]).stdin(Stdio::null()).kill_on_drop(true);
    let out = timeout(limit, command.output()).await;
    let out = out.map_err(|_| format!("{shown}: not done within {} s", limit.as_secs()))?;
    let out = out.map_err(|why| format!("{shown}: {}", crate::configuration::reason(&why)))?;
    let said = [out.stdout, out.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let said: String =
        said.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(SAID_MAX).collect();
    tracing::info!(program = %shown, code = out.status.code(), %said, "the program for the DNS ran");
    match out.status.success() {
        true => Ok(()),
        false => Err(format!("{shown}: {}: {said}", out.status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn the_program_for_the_dns_gets_its_arguments_as_they_are_and_no_shell() {
        let folder = tempfile::tempdir().unwrap();
        let (program, log) = (folder.path().join("hook"), folder.path().join("log"));
        let script = format!(
            "#!/bin/sh\nprintf '%s|' \"$@\" >>{}\n[ \"$3\" != no ] && [ \"$3\" != slow ] || sleep 5\n",
            log.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let second = Duration::from_secs(1);
        run(&program, second, "add", "_acme-challenge.x.test", "a b; $(c)").await.unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "add|_acme-challenge.x.test|a b; $(c)|");
        let late = run(&program, Duration::from_millis(200), "add", "n", "slow").await.unwrap_err();
        assert!(late.contains("not done within"), "{late}");
        let gone = run(&folder.path().join("none"), second, "add", "n", "v").await.unwrap_err();
        assert!(gone.contains("there is no such file"), "{gone}");
    }

    #[test]
    fn a_name_is_proved_by_a_certificate_that_says_so() {
        let certificates = Certificates::default();
        certificates.add("MX.example.org", &[7; 32]).unwrap();
        let keys = certificates.keys.read().unwrap();
        let der = keys["mx.example.org"].end_entity_cert().unwrap();
        // id-pe-acmeIdentifier, critical, and the hash in an octet string in the extension's octet string.
        let wanted = [&[6, 8, 43, 6, 1, 5, 5, 7, 1, 31, 1, 1, 255, 4, 34, 4, 32][..], &[7; 32]].concat();
        assert!(der.windows(wanted.len()).any(|bytes| bytes == wanted));
    }
}
