//! A DNS and a web server in memory.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Mutex;
use stores_log::{FaultDisk, TestClock, fault_world};
use stores_primary::smtp::{Limits, Place};
use stores_primary::tls::{TlsMode, Trust};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use words_mail::{Address, Time};
use words_smtp::client::Protocol;
use words_world::{Clock, Listener, Mx, Names, Net, Stream};

const START: Time = Time::from_seconds(1_795_305_600);
const POLICY: &str = "version: STSv1\r\nmode: enforce\r\nmx: mx.a.example\r\nmax_age: 86400\r\n";

type Answer = Result<Proved<Vec<Tlsa>>, NameError>;

/// What a street has: texts, TLSA records, addresses, and one web server behind all of them.
#[derive(Clone)]
struct Street {
    texts: Arc<Mutex<BTreeMap<String, String>>>,
    tlsa: Arc<Mutex<BTreeMap<String, Answer>>>,
    address: Arc<Mutex<IpAddr>>,
    answer: Arc<Mutex<Option<String>>>,
    asked: Arc<Mutex<Vec<String>>>,
    acceptor: TlsAcceptor,
    authority: CertificateDer<'static>,
}

impl Street {
    fn new(name: &str) -> Street {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let server = server.signed_by(&key, &authority).unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![server.der().clone()], key)
            .unwrap();
        Street {
            texts: Arc::default(),
            tlsa: Arc::default(),
            address: Arc::new(Mutex::new("198.41.0.4".parse().unwrap())),
            answer: Arc::default(),
            asked: Arc::default(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            authority: authority.der().clone(),
        }
    }

    fn announces(&self, id: &str) {
        let text = format!("v=STSv1; id={id};");
        self.texts.lock().unwrap().insert("_mta-sts.a.example".into(), text);
    }

    fn publishes(&self, policy: &str) {
        self.serves(&format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{policy}", policy.len()));
    }

    fn serves(&self, answer: &str) {
        *self.answer.lock().unwrap() = Some(answer.to_owned());
    }

    fn asked(&self) -> usize {
        std::mem::take(&mut *self.asked.lock().unwrap()).len()
    }
}

impl Net for Street {
    fn connect(&self, to: SocketAddr) -> Boxed<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let answer = self.answer.lock().unwrap().clone();
            let Some(answer) = answer else { return Err(io::ErrorKind::ConnectionRefused.into()) };
            assert_eq!(to.port(), 443);
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let (acceptor, asked) = (self.acceptor.clone(), self.asked.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(theirs).await else { return };
                let mut seen = Vec::new();
                while !seen.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    seen.push(byte);
                }
                asked.lock().unwrap().push(String::from_utf8(seen).unwrap());
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
            Ok(Box::new(ours) as Box<dyn Stream>)
        })
    }

    fn listen(&self, _: SocketAddr) -> Boxed<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn connect_local<'a>(&'a self, _: &'a Path) -> Boxed<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn listen_local<'a>(&'a self, _: &'a Path) -> Boxed<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

impl Names for Street {
    fn mx<'a>(&'a self, _: &'a str) -> Boxed<'a, Result<Vec<Mx>, NameError>> {
        Box::pin(async { Err(NameError::NotFound) })
    }

    fn addresses<'a>(&'a self, _: &'a str) -> Boxed<'a, Result<Vec<IpAddr>, NameError>> {
        Box::pin(async { Ok(vec![*self.address.lock().unwrap()]) })
    }

    fn txt<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<Vec<String>, NameError>> {
        let found = self.texts.lock().unwrap().get(name).cloned();
        Box::pin(async { found.map(|text| vec![text]).ok_or(NameError::NotFound) })
    }

    fn tlsa<'a>(&'a self, name: &'a str) -> Boxed<'a, Result<Proved<Vec<Tlsa>>, NameError>> {
        let found = self.tlsa.lock().unwrap().get(name).cloned();
        Box::pin(async { found.unwrap_or(Err(NameError::NotFound)) })
    }
}

struct Scene {
    street: Street,
    disk: FaultDisk,
    clock: Arc<TestClock>,
}

impl Scene {
    fn new(name: &str) -> Scene {
        Scene { street: Street::new(name), disk: FaultDisk::new(1), clock: Arc::new(TestClock::new(START)) }
    }

    /// Starts it, as after every restart.
    fn open(&self, reports: bool) -> Arc<Transport> {
        let mut world = fault_world(&self.disk, &self.clock, 1);
        world.net = Arc::new(self.street.clone());
        world.names = Arc::new(self.street.clone());
        let trust = Tls::new(&Trust::Given(vec![self.street.authority.clone()])).unwrap();
        let web = Web { world: world.clone(), trust: trust.clone(), private: false, port: None };
        let reports = reports.then(|| ReportOptions {
            from: Address::parse("tls@us.example").unwrap(),
            organization: "us".into(),
            period: Duration::from_secs(86_400),
        });
        let folder = PathBuf::from("/transport");
        let options = TransportOptions { mta_sts: true, dane: true, port: 25, trust, web, folder, reports };
        Transport::open(&world, options)
    }
}

fn exchanger(host: &str, secure: bool) -> Exchanger {
    let hop = Hop {
        protocol: Protocol::Smtp,
        place: Place::Host(host.into(), 25),
        addresses: vec!["198.41.0.4".parse().unwrap()],
        tls: TlsMode::Opportunistic,
        trust: Tls::new(&Trust::Anybody).unwrap(),
        sign_in: None,
        helo: "us.example".into(),
        limits: Limits::internet(),
        safety: None,
        pass_client: false,
    };
    Exchanger { hop, host: host.into(), secure, alias: String::new() }
}

/// What is demanded of each server that may be gone to.
async fn held(transport: &Transport, exchangers: Vec<Exchanger>) -> Result<Vec<String>, String> {
    let hops = transport.secure("a.example", exchangers).await;
    let word = |hop: Hop| {
        let safety = hop.safety.unwrap();
        let proof = match safety.proof {
            Proof::Nothing => "nothing".to_owned(),
            Proof::Valid => "valid".to_owned(),
            Proof::Dane { records, names } => format!("dane {} for {}", records.len(), names.join(",")),
        };
        format!("{}: {proof}{}", hop.place, if safety.demanded { "!" } else { "" })
    };
    match hops {
        Ok(hops) => Ok(hops.into_iter().map(word).collect()),
        Err(NoWay::Later(why)) => Err(why),
        Err(NoWay::Never(reply)) => panic!("a policy never refuses for good: {reply}"),
    }
}

async fn one(transport: &Transport) -> String {
    held(transport, vec![exchanger("mx.a.example", false)])
        .await
        .map_or_else(|why| why, |held| held.join(" "))
}

#[tokio::test]
async fn a_policy_is_fetched_once_and_outlives_a_restart_and_the_death_of_its_server() {
    let place = Scene::new("mta-sts.a.example");
    let transport = place.open(false);
    assert_eq!(one(&transport).await, "mx.a.example:25: nothing");
    place.street.announces("1");
    place.street.publishes(POLICY);
    assert_eq!(one(&transport).await, "mx.a.example:25: valid!");
    let request = place.street.asked.lock().unwrap()[0].clone();
    assert!(
        request.starts_with("GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.a.example\r\n"),
        "{request}"
    );
    assert_eq!(place.street.asked(), 1);
    assert_eq!(one(&transport).await, "mx.a.example:25: valid!");
    assert_eq!(place.street.asked(), 0, "kept");
    // A server that the policy does not name is left out; the others are tried.
    let both = vec![exchanger("evil.example", false), exchanger("mx.a.example", false)];
    assert_eq!(held(&transport, both).await.unwrap(), ["mx.a.example:25: valid!"]);
    let none = held(&transport, vec![exchanger("evil.example", false)]).await.unwrap_err();
    assert!(none.starts_with("4.7.5 no server of a.example may be gone to: evil.example: "), "{none}");

    let transport = place.open(false);
    *place.street.answer.lock().unwrap() = None;
    place.street.texts.lock().unwrap().clear();
    assert_eq!(one(&transport).await, "mx.a.example:25: valid!", "from the disk");
    place.street.announces("2");
    assert_eq!(one(&transport).await, "mx.a.example:25: valid!", "the new one cannot be had");
    place.clock.advance(Duration::from_secs(301));
    place.street.publishes(&POLICY.replace("enforce", "testing"));
    assert_eq!(one(&transport).await, "mx.a.example:25: valid", "looked at, not demanded");
    place.clock.advance(Duration::from_secs(86_401));
    *place.street.answer.lock().unwrap() = None;
    assert_eq!(one(&transport).await, "mx.a.example:25: nothing", "its time is over");
}

#[tokio::test]
async fn a_policy_is_refreshed_before_it_ends() {
    let place = Scene::new("mta-sts.a.example");
    place.street.announces("1");
    place.street.publishes(POLICY);
    let transport = place.open(false);
    assert_eq!(one(&transport).await, "mx.a.example:25: valid!");
    place.street.asked();
    transport.policies.refresh().await;
    assert_eq!(place.street.asked(), 0, "not yet");
    place.clock.advance(Duration::from_secs(43_201));
    transport.policies.refresh().await;
    assert_eq!(place.street.asked(), 1);
    place.clock.advance(Duration::from_secs(43_201));
    *place.street.answer.lock().unwrap() = None;
    assert_eq!(one(&transport).await, "mx.a.example:25: valid!", "it counts from the refresh");
    place.clock.advance(Duration::from_secs(31 * 86_400));
    transport.policies.refresh().await;
    assert!(place.disk_names().is_empty(), "what ended unused is forgotten");
}

impl Scene {
    fn disk_names(&self) -> Vec<String> {
        use words_world::Disk;
        let names = self.disk.list(Path::new("/transport/mta-sts")).unwrap_or_default();
        names.into_iter().map(|entry| entry.name).collect()
    }
}

#[tokio::test]
async fn what_is_no_policy_of_the_domain_counts_as_none() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n";
    let html = POLICY.replace("version", "<html>version");
    for (name, address, answer) in [
        (
            "mta-sts.a.example",
            "198.41.0.4",
            format!(
                "HTTP/1.1 301 Moved\r\nLocation: https://mta-sts.a.example/x\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{POLICY}",
                POLICY.len()
            ),
        ),
        (
            "mta-sts.a.example",
            "198.41.0.4",
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{POLICY}"),
        ),
        ("mta-sts.a.example", "198.41.0.4", format!("{head}{html}")),
        ("mta-sts.a.example", "198.41.0.4", format!("{head}{POLICY}x: {}", "x".repeat(70_000))),
        ("www.a.example", "198.41.0.4", format!("{head}{POLICY}")),
        ("mta-sts.a.example", "169.254.169.254", format!("{head}{POLICY}")),
        ("mta-sts.a.example", "127.0.0.1", format!("{head}{POLICY}")),
    ] {
        let place = Scene::new(name);
        place.street.announces("1");
        place.street.serves(&answer);
        *place.street.address.lock().unwrap() = address.parse().unwrap();
        let transport = place.open(false);
        let case = format!("{name} {address} {}", &answer[..40]);
        assert_eq!(one(&transport).await, "mx.a.example:25: nothing", "{case}");
        let asked = place.street.asked();
        assert_eq!(one(&transport).await, "mx.a.example:25: nothing", "{case}");
        assert_eq!(place.street.asked(), 0, "{case}: not again so soon");
        assert_eq!(asked, usize::from(name.starts_with("mta") && address.starts_with("198")), "{case}");
        assert!(place.disk_names().is_empty(), "{case}");
    }
}

#[tokio::test]
async fn records_count_only_where_the_dns_proves_them_and_go_before_the_policy() {
    let record =
        |usage, length: usize| Tlsa { usage, selector: 1, matching: 1, association: vec![7; length] };
    let secure = |found: Vec<Tlsa>| Ok(Proved { found, secure: true, alias: String::new() });
    let insecure = |found: Vec<Tlsa>| Ok(Proved::insecure(found));
    for (proved, found, expected) in [
        (true, secure(vec![record(3, 32)]), "mx.a.example:25: dane 1 for mx.a.example,a.example!"),
        (
            true,
            secure(vec![record(3, 32), record(1, 32)]),
            "mx.a.example:25: dane 1 for mx.a.example,a.example!",
        ),
        (true, secure(vec![record(1, 32)]), "mx.a.example:25: nothing!"),
        (true, secure(vec![]), "mx.a.example:25: valid!"),
        (true, insecure(vec![record(3, 32)]), "mx.a.example:25: valid!"),
        (true, Err(NameError::NotFound), "mx.a.example:25: valid!"),
        (
            true,
            Err(NameError::Temporary("bogus".into())),
            "4.7.5 no server of a.example may be gone to: mx.a.example: its TLSA records cannot be had: bogus",
        ),
        (false, secure(vec![record(3, 32)]), "mx.a.example:25: valid!"),
        (false, Err(NameError::Temporary("bogus".into())), "mx.a.example:25: valid!"),
    ] {
        let place = Scene::new("mta-sts.a.example");
        place.street.announces("1");
        place.street.publishes(POLICY);
        place.street.tlsa.lock().unwrap().insert("_25._tcp.mx.a.example".into(), found.clone());
        let transport = place.open(false);
        let held = held(&transport, vec![exchanger("mx.a.example", proved)]).await;
        assert_eq!(held.map_or_else(|why| why, |held| held.join(" ")), expected, "{proved} {found:?}");
    }
    // The end of an alias goes first, its beginning second.
    let place = Scene::new("mta-sts.a.example");
    let alias = |alias: &str| Exchanger { alias: alias.into(), ..exchanger("mx.a.example", true) };
    place.street.tlsa.lock().unwrap().insert("_25._tcp.mx.host.example".into(), secure(vec![record(2, 32)]));
    let transport = place.open(false);
    let names = "mx.a.example:25: dane 1 for mx.host.example,mx.a.example,a.example!";
    assert_eq!(held(&transport, vec![alias("mx.host.example")]).await.unwrap(), [names]);
    assert_eq!(held(&transport, vec![alias("other.example")]).await.unwrap(), ["mx.a.example:25: nothing"]);
}

#[tokio::test]
async fn counts_outlive_a_restart_and_are_told_after_their_day() {
    let place = Scene::new("mta-sts.a.example");
    place.street.announces("1");
    place.street.publishes(&POLICY.replace("enforce", "testing"));
    let transport = place.open(true);
    let hops =
        transport.secure("a.example", vec![exchanger("mx.a.example", false), exchanger("x.example", false)]);
    let hops = hops.await.ok().unwrap();
    let tell = |hop: &Hop, trouble: Option<TlsTrouble>| {
        let told = hop.safety.clone().unwrap().told.unwrap();
        told(Went { address: Some("198.41.0.4".parse().unwrap()), trouble });
    };
    tell(&hops[0], None);
    tell(&hops[0], Some(TlsTrouble::new(TlsFault::Expired, "expired")));
    tell(&hops[1], None);
    transport.counts.keep();
    drop(transport);

    let transport = place.open(true);
    let period = Duration::from_secs(86_400);
    let due = |at: Time| transport.counts.due(at, period);
    assert!(due(place.clock.now()).is_empty(), "the day is not over");
    place.clock.advance(Duration::from_secs(86_400 + 14_401));
    let found = due(place.clock.now());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1, ["a.example"]);
    // Nobody wants to hear of it: then it is done, and forgotten.
    let internet = Internet {
        smart_host: None,
        helo: "us.example".into(),
        own_names: vec![],
        own_addresses: vec![],
        port: 25,
        tls: TlsMode::Opportunistic,
        trust: Tls::new(&Trust::Anybody).unwrap(),
        limits: Limits::internet(),
        allow_loopback: false,
        guard: None,
    };
    let options = transport.options.reports.clone().unwrap();
    transport.counts.send_due(&options, &transport.options.web, &internet, &Signer::new()).await;
    assert!(due(place.clock.now()).is_empty());
}

#[test]
fn a_server_the_policy_does_not_name_is_a_failure_of_it() {
    let sts = Applied { kind: AppliedKind::Sts, lines: vec![], mx: vec!["*.a.example".into()] };
    assert!(covered(&sts, "mx.a.example") && !covered(&sts, "x.example"));
    let record = Tlsa { usage: 3, selector: 1, matching: 1, association: vec![0xab, 1] };
    assert_eq!(line_of(&record), "3 1 1 ab01");
}
