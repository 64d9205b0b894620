//! For tests: a server in memory that does as its script says.

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use words_mail::Time;
use words_smtp::client::Protocol;
use words_world::{
    Boxed, Clock, Disk, DiskFile, Entry, Listener, Mx, NameError, Names, Net, Random, Stream, World,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Connect,
    Handshake,
    Banner,
    Hello,
    SignIn,
    Client,
    Mail,
    Rcpt,
    Data,
    Dot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Says nothing, reads nothing, stays open.
    Hang,
    Close,
    /// A byte a second of a reply that does not end.
    Drip,
    Garbage,
    Later,
    Never,
}

#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) protocol: Protocol,
    /// Lines of the EHLO answer.
    pub(crate) offers: String,
    pub(crate) fault: Option<(At, Act)>,
    /// Recipients and what is said to them; `*` is everybody not named.
    pub(crate) refuse: Vec<(String, String)>,
    /// Exceptions from `*`.
    pub(crate) known: Vec<String>,
    pub(crate) data_for_nobody: bool,
    /// Answers to the final dot before the connection closes.
    pub(crate) dot_answers: Option<usize>,
    /// Messages before the connection closes.
    pub(crate) closes_after: Option<usize>,
    pub(crate) implicit_tls: bool,
    pub(crate) injects: String,
    pub(crate) knows_ehlo: bool,
    /// As Postfix: the client that we speak for may not speak for others.
    pub(crate) client_once: bool,
}

impl Script {
    pub(crate) fn new(protocol: Protocol) -> Script {
        Script {
            protocol,
            offers: String::new(),
            fault: None,
            refuse: Vec::new(),
            known: Vec::new(),
            data_for_nobody: false,
            dot_answers: None,
            closes_after: None,
            implicit_tls: false,
            injects: String::new(),
            knows_ehlo: true,
            client_once: false,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) to: Vec<String>,
    pub(crate) content: Vec<u8>,
}

#[derive(Default)]
struct Seen {
    stored: Vec<Stored>,
    connections: usize,
    signed_in: bool,
    clients: Vec<String>,
    greetings: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct Server {
    script: Arc<Script>,
    seen: Arc<Mutex<Seen>>,
    acceptor: TlsAcceptor,
    certificate: CertificateDer<'static>,
}

impl Server {
    pub(crate) fn new(script: Script) -> Server {
        let made = rcgen::generate_simple_self_signed(vec!["192.0.2.1".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Server { script: Arc::new(script), seen: Arc::default(), acceptor, certificate }
    }

    pub(crate) fn stored(&self) -> Vec<Stored> {
        self.seen.lock().unwrap().stored.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    pub(crate) fn signed_in(&self) -> bool {
        self.seen.lock().unwrap().signed_in
    }

    pub(crate) fn clients(&self) -> Vec<String> {
        self.seen.lock().unwrap().clients.clone()
    }

    pub(crate) fn greetings(&self) -> Vec<String> {
        self.seen.lock().unwrap().greetings.clone()
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    async fn serve(self, stream: Box<dyn Stream>) -> io::Result<()> {
        let mut talk =
            Talk { server: self, stream, buffer: Vec::new(), messages: 0, to: Vec::new(), client: false };
        if talk.server.script.implicit_tls {
            talk.encrypt().await?;
        }
        if talk.faulted(At::Banner).await? {
            return Ok(());
        }
        talk.say("220 scripted").await?;
        while let Some(line) = talk.line().await? {
            if !talk.command(&line).await? {
                break;
            }
        }
        Ok(())
    }
}

struct Talk {
    server: Server,
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    messages: usize,
    to: Vec<String>,
    /// It speaks for a client.
    client: bool,
}

impl Talk {
    async fn say(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(format!("{text}\r\n").as_bytes()).await?;
        self.stream.flush().await
    }

    async fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes).await? {
                0 => return Ok(None),
                n => self.buffer.extend_from_slice(&bytes[..n]),
            }
        }
    }

    /// Plays the fault of this stage; whether the dialogue is over.
    async fn faulted(&mut self, at: At) -> io::Result<bool> {
        let Some((_, act)) = self.server.script.fault.filter(|(stage, _)| *stage == at) else {
            return Ok(false);
        };
        match act {
            Act::Hang => {
                tokio::time::sleep(Duration::from_secs(100_000)).await;
                Ok(true)
            }
            Act::Close => Ok(true),
            Act::Drip => {
                self.stream.write_all(b"250-").await?;
                loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    self.stream.write_all(b"x").await?;
                }
            }
            Act::Garbage => {
                self.say("\u{1b}[2J<html>").await?;
                tokio::time::sleep(Duration::from_secs(100_000)).await;
                Ok(true)
            }
            Act::Later => self.say("451 4.3.0 not now").await.map(|()| false),
            Act::Never => self.say("550 5.7.1 never").await.map(|()| false),
        }
    }

    fn replied(&self, at: At) -> bool {
        let fault = self.server.script.fault;
        fault.is_some_and(|(stage, act)| stage == at && matches!(act, Act::Later | Act::Never))
    }

    /// Answers one command; whether the dialogue goes on.
    async fn command(&mut self, line: &str) -> io::Result<bool> {
        let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        let at = match verb.as_str() {
            "EHLO" | "LHLO" => At::Hello,
            "AUTH" => At::SignIn,
            "MAIL" => At::Mail,
            "RCPT" => At::Rcpt,
            "DATA" if !self.to.is_empty() || self.server.script.fault.is_some() => At::Data,
            _ => At::Connect,
        };
        if at != At::Connect {
            if self.faulted(at).await? {
                return Ok(false);
            }
            if self.replied(at) {
                return Ok(true);
            }
        }
        match verb.as_str() {
            "EHLO" | "LHLO" => {
                self.server.seen.lock().unwrap().greetings.push(line[5..].to_owned());
                self.hello(&verb).await?;
            }
            "HELO" => self.say("250 hello").await?,
            "STARTTLS" => {
                let injected = self.server.script.injects.clone();
                self.stream.write_all(format!("220 go\r\n{injected}").as_bytes()).await?;
                self.encrypt().await?;
            }
            "AUTH" => self.sign_in(line).await?,
            "XCLIENT" => {
                self.server.seen.lock().unwrap().clients.push(line[8..].to_owned());
                let refuses = self.server.script.fault.is_some_and(|(at, _)| at == At::Client);
                self.client = !refuses;
                self.say(if refuses { "550 5.7.1 insufficient authorization" } else { "220 again" }).await?;
            }
            "MAIL" | "RSET" => {
                self.to.clear();
                self.say("250 2.1.0 ok").await?;
            }
            "RCPT" => self.recipient(line).await?,
            "DATA" => return self.message().await,
            "QUIT" => {
                self.say("221 bye").await?;
                return Ok(false);
            }
            _ => self.say("500 what").await?,
        }
        Ok(true)
    }

    async fn hello(&mut self, verb: &str) -> io::Result<()> {
        let right = if self.server.script.protocol == Protocol::Lmtp { "LHLO" } else { "EHLO" };
        if verb != right || !self.server.script.knows_ehlo {
            return self.say("502 no such greeting").await;
        }
        let mut text = "250-scripted\r\n".to_owned();
        let spoken = self.server.script.client_once && self.client;
        for offer in self.server.script.offers.lines().filter(|o| !(spoken && o.starts_with("XCLIENT"))) {
            text.push_str(&format!("250-{offer}\r\n"));
        }
        text.push_str("250 HELP");
        self.say(&text).await
    }

    async fn sign_in(&mut self, line: &str) -> io::Result<()> {
        let good = if line == "AUTH LOGIN" {
            self.say("334 VXNlcm5hbWU6").await?;
            let user = self.line().await?;
            self.say("334 UGFzc3dvcmQ6").await?;
            user.as_deref() == Some("dXM=") && self.line().await?.as_deref() == Some("c2VjcmV0")
        } else {
            line == "AUTH PLAIN AHVzAHNlY3JldA=="
        };
        self.server.seen.lock().unwrap().signed_in = good;
        self.say(if good { "235 2.7.0 welcome" } else { "535 5.7.8 wrong" }).await
    }

    async fn recipient(&mut self, line: &str) -> io::Result<()> {
        let to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let script = self.server.script.clone();
        let named = script.refuse.iter().find(|(address, _)| *address == to);
        let star = script.refuse.iter().find(|(address, _)| address == "*" && !script.known.contains(&to));
        match named.or(star) {
            Some((_, words)) => self.say(words).await,
            None => {
                self.to.push(to);
                self.say("250 2.1.5 ok").await
            }
        }
    }

    async fn message(&mut self) -> io::Result<bool> {
        if self.to.is_empty() && !self.server.script.data_for_nobody {
            return self.say("554 5.5.1 no valid recipients").await.map(|()| true);
        }
        self.say("354 go").await?;
        let mut content = Vec::new();
        loop {
            let Some(line) = self.line().await? else { return Ok(false) };
            if line == "." {
                break;
            }
            content.extend_from_slice(line.strip_prefix('.').unwrap_or(&line).as_bytes());
            content.extend_from_slice(b"\r\n");
        }
        let to = std::mem::take(&mut self.to);
        let answers = if self.server.script.protocol == Protocol::Lmtp { to.len() } else { 1 };
        if self.faulted(At::Dot).await? {
            return Ok(false);
        }
        if self.replied(At::Dot) {
            return Ok(true);
        }
        self.server.seen.lock().unwrap().stored.push(Stored { to, content });
        for _ in 0..answers.min(self.server.script.dot_answers.unwrap_or(answers)) {
            self.say("250 2.0.0 stored").await?;
        }
        self.messages += 1;
        let dies = self.server.script.dot_answers.is_some();
        Ok(!dies && self.server.script.closes_after.is_none_or(|most| self.messages < most))
    }

    async fn encrypt(&mut self) -> io::Result<()> {
        if self.server.script.fault == Some((At::Handshake, Act::Hang)) {
            tokio::time::sleep(Duration::from_secs(100_000)).await;
        }
        let (other, _) = tokio::io::duplex(1);
        let plain = std::mem::replace(&mut self.stream, Box::new(other));
        self.buffer.clear();
        self.stream = Box::new(self.server.acceptor.accept(plain).await?);
        Ok(())
    }
}

impl Net for Server {
    fn connect(&self, _: SocketAddr) -> Boxed<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async {
            if let Some((At::Connect, act)) = self.script.fault {
                if act == Act::Hang {
                    tokio::time::sleep(Duration::from_secs(100_000)).await;
                }
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            self.seen.lock().unwrap().connections += 1;
            let (ours, theirs) = tokio::io::duplex(16 * 1024);
            tokio::spawn(self.clone().serve(Box::new(theirs)));
            let stream: Box<dyn Stream> = Box::new(ours);
            Ok(stream)
        })
    }

    fn listen(&self, _: SocketAddr) -> Boxed<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn connect_local<'a>(&'a self, _: &'a Path) -> Boxed<'a, io::Result<Box<dyn Stream>>> {
        self.connect(SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    fn listen_local<'a>(&'a self, _: &'a Path) -> Boxed<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

/// A DNS that knows what it was told.
#[derive(Clone, Default)]
pub(crate) struct Zone {
    pub(crate) mx: HashMap<String, Result<Vec<Mx>, NameError>>,
    pub(crate) addresses: HashMap<String, Result<Vec<IpAddr>, NameError>>,
}

impl Names for Zone {
    fn mx<'a>(&'a self, domain: &'a str) -> Boxed<'a, Result<Vec<Mx>, NameError>> {
        let found = self.mx.get(domain).cloned().unwrap_or(Err(NameError::NotFound));
        Box::pin(async { found })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Boxed<'a, Result<Vec<IpAddr>, NameError>> {
        let found = self.addresses.get(host).cloned().unwrap_or(Err(NameError::NotFound));
        Box::pin(async { found })
    }
}

struct Still;

impl Clock for Still {
    fn now(&self) -> Time {
        Time::from_seconds(1_800_000_000)
    }
}

struct Counting(AtomicU64);

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let n = self.0.fetch_add(1, Ordering::Relaxed);
            *byte = (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8;
        }
    }
}

struct NoDisk;

impl Disk for NoDisk {
    fn create(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn open(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn list(&self, _: &Path) -> io::Result<Vec<Entry>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn make_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn free(&self, _: &Path) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A world in which `server` stands at every address.
pub(crate) fn world(server: &Server) -> World {
    world_with(server, Zone::default())
}

pub(crate) fn world_with(server: &Server, zone: Zone) -> World {
    World {
        clock: Arc::new(Still),
        random: Arc::new(Counting(AtomicU64::new(0))),
        disk: Arc::new(NoDisk),
        net: Arc::new(server.clone()),
        names: Arc::new(zone),
    }
}
