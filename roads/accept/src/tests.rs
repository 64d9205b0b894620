//! Stories of the road, told over streams in memory, with a real journal on a disk that can lose its power.

use crate::*;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use stores_directory::{Account, Class, Domain, Learned, Origin, Snapshot};
use stores_journal::{Accepted, Journal, JournalReader, KeyRing, LogOptions};
use stores_log::{FaultDisk, LogKind, TestClock, fault_world};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use words_mail::{AccountId, Address, PrimaryId, Tenant, Time, TraceId, TraceKey, TraceTag};
use words_world::{Boxed, Connected, Listener, Stream, World};

mod edge;
mod limits;
mod people;
mod scanners;
mod trusted;

pub(crate) const HOST: &str = "mx.example.org";
pub(crate) const KEY: TraceKey = TraceKey([5; 32]);

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(crate) fn account(main: &str, aliases: &[&str]) -> Account {
    Account {
        address: address(main),
        name: String::new(),
        aliases: aliases.iter().map(|a| address(a)).collect(),
        class: Class::Person,
        suspended: false,
        origin: Origin::Added,
    }
}

/// `example.org` has a list, `learn.example` has none, `rival.example` is another organisation's.
pub(crate) fn snapshot() -> Snapshot {
    let domain = |name: &str, tenant: &str, authoritative| Domain {
        name: name.into(),
        tenant: Tenant(tenant.into()),
        primary: Some(PrimaryId(format!("{tenant}-hq"))),
        authoritative,
        catch_all: None,
        postmaster: Some(address("anna@example.org")),
    };
    let domains = [
        domain("example.org", "acme", true),
        domain("learn.example", "acme", false),
        domain("rival.example", "rival", true),
    ];
    let accounts = vec![
        account("anna@example.org", &["a@example.org"]),
        account("berta@example.org", &[]),
        account("rita@rival.example", &[]),
    ];
    Snapshot::build(1, &domains, accounts, Learned::default()).0
}

/// A client's certificate and its key.
pub(crate) type Shown =
    (Vec<rustls::pki_types::CertificateDer<'static>>, rustls::pki_types::PrivateKeyDer<'static>);

struct TestDoor(tokio::sync::Mutex<mpsc::Receiver<Connected>>);

impl Listener for TestDoor {
    fn accept(&self) -> Boxed<'_, std::io::Result<Connected>> {
        Box::pin(async {
            match self.0.lock().await.recv().await {
                Some(connected) => Ok(connected),
                None => std::future::pending().await,
            }
        })
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 25], 25))
    }
}

/// Lets everybody in whose password is `right`.
struct Doorman;

impl SignIn for Doorman {
    fn check<'a>(
        &'a self,
        user: &'a str,
        password: &'a str,
        _: IpAddr,
    ) -> Boxed<'a, Result<AccountId, SignInRefusal>> {
        Box::pin(async move {
            match password {
                "right" => Ok(AccountId::new(user)),
                "later" => Err(SignInRefusal::Later("the primary does not answer".into())),
                "never" => std::future::pending().await,
                _ => Err(SignInRefusal::Wrong),
            }
        })
    }
}

pub(crate) struct House {
    pub(crate) accept: Arc<Accept>,
    pub(crate) disk: FaultDisk,
    pub(crate) world: World,
    pub(crate) stop: watch::Sender<bool>,
    doors: Vec<(Door, mpsc::Sender<Connected>)>,
    pub(crate) tasks: JoinSet<()>,
    trusted: rustls::RootCertStore,
}

fn options() -> LogOptions {
    let mut options = LogOptions::new("/journal", LogKind::Journal, "node");
    options.reserve_bytes = 0;
    options
}

impl House {
    pub(crate) fn new() -> House {
        House::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut AcceptParts)) -> House {
        House::on(FaultDisk::new(1), change)
    }

    pub(crate) fn on(disk: FaultDisk, change: impl FnOnce(&mut AcceptParts)) -> House {
        let clock = Arc::new(TestClock::new(Time::from_seconds(1_795_343_827)));
        let world = fault_world(&disk, &clock, 1);
        let (journal, writer, _) = Journal::open(&world, KeyRing::new([9; 32], &[]), options()).unwrap();
        let (stop, shutdown) = watch::channel(false);
        let (tls, trusted) = certificate();
        let mut parts = AcceptParts {
            world: world.clone(),
            journal,
            directory: watch::channel(Arc::new(snapshot())).1,
            trace_key: KEY,
            host: HOST.into(),
            tls: watch::channel(Some(tls)).1,
            sign_in: Arc::new(Doorman),
            call_out: None,
            authentication: None,
            scanners: Default::default(),
            policy: Default::default(),
            limits: AcceptLimits::default(),
            relays: Vec::new(),
            devices: None,
        };
        change(&mut parts);
        let accept = Accept::new(parts);
        let mut tasks = JoinSet::new();
        let (keep_open, journal_stop) = watch::channel(false);
        tasks.spawn(async move {
            // Runs for as long as the house stands: its shutdown comes after that of the doors.
            writer.run(journal_stop).await;
            drop(keep_open);
        });
        let doors =
            [Door::Edge, Door::Submission, Door::Submissions, Door::Internal, Door::Local].map(|door| {
                let (knock, rings) = mpsc::channel(64);
                let listener = Box::new(TestDoor(tokio::sync::Mutex::new(rings)));
                tasks.spawn(accept.clone().run(door, listener, shutdown.clone()));
                (door, knock)
            });
        House { accept, disk, world, stop, doors: doors.into(), tasks, trusted }
    }

    /// Connects; the greeting is not read.
    pub(crate) async fn knock(&self, door: Door, ip: &str) -> Client<DuplexStream> {
        let (ours, theirs) = duplex(64 << 10);
        let connected = Connected {
            stream: Box::new(ours),
            peer: SocketAddr::new(ip.parse().unwrap(), 40_000),
            local: SocketAddr::from(([192, 0, 2, 25], 25)),
        };
        let (_, knock) = self.doors.iter().find(|(d, _)| *d == door).unwrap();
        knock.send(connected).await.unwrap();
        Client::new(theirs)
    }

    /// Connects and greets.
    pub(crate) async fn greet(&self, door: Door) -> Client<DuplexStream> {
        let mut client = self.knock(door, "203.0.113.9").await;
        assert!(client.hear().await.starts_with("220 mx.example.org"));
        let hello = if door == Door::Local { "LHLO c.example\r\n" } else { "EHLO c.example\r\n" };
        assert!(client.ask(hello).await.starts_with("250"));
        client
    }

    /// Encrypts a connection.
    pub(crate) async fn encrypt(&self, client: Client<DuplexStream>) -> Client<impl Stream + use<>> {
        self.encrypt_as(client, None).await
    }

    /// Encrypts a connection, showing a certificate.
    pub(crate) async fn encrypt_as(
        &self,
        client: Client<DuplexStream>,
        shown: Option<&Shown>,
    ) -> Client<impl Stream + use<>> {
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.trusted.clone());
        let config = match shown {
            Some((chain, key)) => config.with_client_auth_cert(chain.clone(), key.clone_key()).unwrap(),
            None => config.with_no_client_auth(),
        };
        let name = rustls::pki_types::ServerName::try_from(HOST).unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        Client::new(connector.connect(name, client.stream).await.unwrap())
    }

    /// A person at the submission door, signed in.
    pub(crate) async fn person(&self, plain: &str) -> Client<impl Stream + use<>> {
        use base64::Engine as _;
        let client = self.knock(Door::Submissions, "203.0.113.9").await;
        let mut client = self.encrypt(client).await;
        client.hear().await;
        client.ask("EHLO c.example\r\n").await;
        let response = base64::engine::general_purpose::STANDARD.encode(plain);
        client.last = client.ask(&format!("AUTH PLAIN {response}\r\n")).await;
        client
    }

    /// Everything in the journal, as it would be delivered.
    pub(crate) fn stored(&self) -> Vec<(Accepted, String)> {
        let reader = JournalReader::open(&self.world, KeyRing::new([9; 32], &[]), &options().dir).unwrap();
        reader
            .scan(None)
            .map(|entry| {
                let entry = entry.unwrap();
                let mut message = String::new();
                reader.message(&entry).unwrap().read_to_string(&mut message).unwrap();
                (entry.accepted, message)
            })
            .collect()
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn certificate() -> (Arc<rustls::ServerConfig>, rustls::RootCertStore) {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut trusted = rustls::RootCertStore::empty();
    trusted.add(made.cert.der().clone()).unwrap();
    (Arc::new(config), trusted)
}

pub(crate) struct Client<S> {
    pub(crate) stream: S,
    heard: Vec<u8>,
    pub(crate) last: String,
}

impl<S: Stream> Client<S> {
    fn new(stream: S) -> Client<S> {
        Client { stream, heard: Vec::new(), last: String::new() }
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next whole reply; empty when the connection is closed.
    pub(crate) async fn hear(&mut self) -> String {
        let mut reply = String::new();
        loop {
            while let Some(end) = self.heard.iter().position(|b| *b == b'\n') {
                let line = String::from_utf8(self.heard.drain(..=end).collect()).unwrap();
                reply.push_str(&line);
                if line.as_bytes()[3] == b' ' {
                    return reply;
                }
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece).await {
                Ok(0) | Err(_) => return reply,
                Ok(n) => self.heard.extend_from_slice(&piece[..n]),
            }
        }
    }

    pub(crate) async fn ask(&mut self, text: &str) -> String {
        self.say(text).await;
        self.hear().await
    }

    /// Begins a transaction up to the `354`.
    pub(crate) async fn begin(&mut self, from: &str, to: &[&str]) {
        assert!(self.ask(&format!("MAIL FROM:<{from}>\r\n")).await.starts_with("250 2.1.0"));
        for to in to {
            let reply = self.ask(&format!("RCPT TO:<{to}>\r\n")).await;
            assert!(reply.starts_with("250 2.1.5"), "{reply}");
        }
        let reply = self.ask("DATA\r\n").await;
        assert!(reply.starts_with("354"), "{reply}");
    }

    /// Sends one message to its end and returns the reply.
    pub(crate) async fn send(&mut self, from: &str, to: &[&str], message: &str) -> String {
        self.begin(from, to).await;
        self.ask(&format!("{message}.\r\n")).await
    }
}

/// The id in a `250`.
pub(crate) fn trace(reply: &str) -> TraceId {
    let words = reply.strip_prefix("250 2.0.0 stored as ").unwrap_or_else(|| panic!("{reply}"));
    words.trim().parse().unwrap()
}

pub(crate) fn tag(id: TraceId) -> String {
    format!("{}: {}\r\n", TraceTag::HEADER, TraceTag::new(id, &KEY))
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
