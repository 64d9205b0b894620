//! How fast a queue drains into a primary that takes everything at once, with real logs on a real disk and TCP over
//! loopback: `cargo run --release -p roads-deliver --example drain -- [messages] [recipients] [connections] [bytes]`.

use roads_deliver::{Deliver, Door, Letter, NotTaken, Pace, Parts, PrimaryRoute, Settings, Signer};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use stores_directory::{Class, Directory, Domain, NewAccount, Options};
use stores_journal::{IncomingBody, Journal, JournalReader, NewMessage};
use stores_ledger::{Entry, Ledger};
use stores_log::{FileDisk, KeyRing, LogKind, LogOptions, Position};
use stores_mailbox::{Bodies, MailboxOptions, Mailboxes, MessageReader, ViewPlace};
use stores_primary::internet::Internet;
use stores_primary::smtp::{Hop, Limits, Place};
use stores_primary::tls::{Tls, TlsMode, Trust};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use words_mail::{
    Address, Envelope, Order, OrderKind, OrderNumber, Peer, Plane, PrimaryId, Recipient, Scope, Sender,
    Source, State, Tenant, Time, TraceId,
};
use words_smtp::client::Protocol;
use words_world::{Boxed, Clock, Listener, Mx, NameError, Names, Net, Random, Stream, World};

struct Outside;

impl Clock for Outside {
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Time(i64::try_from(since.as_micros()).unwrap_or(0))
    }
}

impl Random for Outside {
    fn fill(&self, bytes: &mut [u8]) {
        let _ = aws_lc_rs::rand::fill(bytes);
    }
}

impl Net for Outside {
    fn connect(&self, to: SocketAddr) -> Boxed<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let stream = TcpStream::connect(to).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
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

impl Names for Outside {
    fn mx<'a>(&'a self, _: &'a str) -> Boxed<'a, Result<Vec<Mx>, NameError>> {
        Box::pin(async { Err(NameError::NotFound) })
    }

    fn addresses<'a>(&'a self, _: &'a str) -> Boxed<'a, Result<Vec<IpAddr>, NameError>> {
        Box::pin(async { Err(NameError::NotFound) })
    }
}

struct NoDoor;

impl Door for NoDoor {
    fn hand_in(&self, _: Letter) -> Boxed<'_, Result<(), NotTaken>> {
        Box::pin(async { Ok(()) })
    }
}

struct FromJournal(JournalReader);

impl Bodies for FromJournal {
    fn open(&self, _: TraceId, position: Position) -> io::Result<MessageReader> {
        let entry = self.0.read(position).map_err(io::Error::other)?;
        Ok(Box::new(self.0.message(&entry).map_err(io::Error::other)?))
    }
}

static TAKEN: AtomicU64 = AtomicU64::new(0);

async fn sink(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reading, mut writing) = stream.into_split();
    let mut wire = BufReader::new(reading);
    let mut out = b"220 sink\r\n".to_vec();
    let (mut line, mut in_data) = (Vec::new(), false);
    loop {
        if wire.buffer().is_empty() && !out.is_empty() {
            writing.write_all(&out).await?;
            out.clear();
        }
        line.clear();
        if wire.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        if in_data {
            if line == b".\r\n" {
                in_data = false;
                TAKEN.fetch_add(1, Ordering::Relaxed);
                out.extend_from_slice(b"250 2.0.0 ok\r\n");
            } else {
                continue;
            }
        } else if line.starts_with(b"EHLO") {
            out.extend_from_slice(b"250-sink\r\n250 PIPELINING\r\n");
        } else if line.starts_with(b"DATA") {
            in_data = true;
            out.extend_from_slice(b"354 go\r\n");
        } else {
            out.extend_from_slice(b"250 2.0.0 ok\r\n");
        }
    }
}

fn order(number: u64, on: bool) -> Entry {
    let kinds = vec![OrderKind::PauseDeliveries];
    Entry::Order(Order {
        number: OrderNumber(number),
        at: Outside.now(),
        primary: PrimaryId("sink".into()),
        plane: Plane::Inbound,
        from: State::Ready,
        to: if on { State::Active } else { State::Ready },
        on: if on { kinds.clone() } else { Vec::new() },
        off: if on { Vec::new() } else { kinds },
        scope: Scope::All,
        event: None,
        by: "drain".into(),
        why: String::new(),
        began: None,
        until: None,
        answers: None,
    })
}

type Failure = Box<dyn std::error::Error>;

fn start(writer: impl Future<Output = ()> + Send + 'static) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::spawn(move || runtime.block_on(writer));
    Ok(())
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let argument = |at: usize, otherwise: usize| arguments.get(at).copied().unwrap_or(otherwise);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(drain(argument(0, 10_000), argument(1, 100), argument(2, 20), argument(3, 4096)))
}

#[allow(clippy::too_many_lines)] // One story from top to bottom.
async fn drain(messages: usize, people: usize, connections: usize, bytes: usize) -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let outside = Arc::new(Outside);
    let world = World {
        clock: outside.clone(),
        random: outside.clone(),
        disk: Arc::new(FileDisk),
        net: outside.clone(),
        names: outside,
    };
    let keys = KeyRing::new([3; 32], &[]);
    let log = |name: &str, kind| LogOptions {
        reserve_bytes: 0,
        ..LogOptions::new(dir.path().join(name), kind, "n")
    };
    let (journal, w1, _) = Journal::open(&world, keys.clone(), log("journal", LogKind::Journal))?;
    let (ledger, w2, _) = Ledger::open(&world, keys.clone(), log("ledger", LogKind::Ledger))?;
    let view = ViewPlace::File(dir.path().join("mailbox.sqlite"));
    let options = MailboxOptions { log: log("mailbox", LogKind::Mailbox), view, trace_key: None };
    let ready = Mailboxes::open(&world, keys, options, Arc::new(FromJournal(journal.reader())))?;
    let (stop, stopped) = watch::channel(false);
    start(w1.run(stopped.clone()))?;
    start(w2.run(stopped.clone()))?;
    start(ready.writer.run(stopped.clone()))?;
    let (applier, also) = (ready.applier, stopped.clone());
    start(async move {
        let _ = applier.run(also).await;
    })?;
    let directory = Directory::open(&world, Options::new(dir.path().join("directory")))?;
    let domain = Domain {
        name: "x.example".into(),
        tenant: Tenant("t".into()),
        primary: Some(PrimaryId("sink".into())),
        authoritative: true,
        catch_all: None,
        postmaster: None,
    };
    let address = |n: usize| Address::parse(&format!("p{n}@x.example"));
    let accounts: Result<Vec<NewAccount>, _> = (0..people)
        .map(|n| {
            Ok(NewAccount {
                address: address(n)?,
                name: String::new(),
                aliases: Vec::new(),
                class: Class::Person,
            })
        })
        .collect();
    directory.configure(vec![domain], accounts.map_err(|e: words_mail::AddressError| e.0)?)?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(sink(stream));
        }
    });
    let trust = Tls::new(&Trust::Anybody)?;
    let internet = Internet {
        smart_host: None,
        helo: "edge.example".into(),
        own_names: Vec::new(),
        own_addresses: Vec::new(),
        port: 25,
        tls: TlsMode::None,
        trust: trust.clone(),
        limits: Limits::internet(),
        allow_loopback: false,
        guard: None,
    };
    let mut settings = Settings::new("edge.example", internet);
    let hop = Hop {
        protocol: Protocol::Smtp,
        place: Place::Host("127.0.0.1".into(), port),
        addresses: Vec::new(),
        tls: TlsMode::None,
        trust,
        sign_in: None,
        helo: "edge.example".into(),
        limits: Limits::primary(),
        safety: None,
        pass_client: false,
    };
    let pace = Pace { most: u32::try_from(connections)?, ..Pace::primary() };
    let route = PrimaryRoute { hop, pace, outbound: None, queue_time: Duration::from_secs(10) };
    settings.primaries.insert(PrimaryId("sink".into()), route);
    let deliver = Deliver::new(
        Parts {
            world,
            journal: journal.reader(),
            arrivals: Some(journal.durable()),
            ledger: ledger.clone(),
            mailboxes: ready.mailboxes,
            directory: directory.watch(),
            door: Arc::new(NoDoor),
            ask: None,
            signer: Arc::new(Signer::new()),
        },
        settings,
    );
    let view = deliver.view();
    tokio::spawn(deliver.run(stopped));

    ledger.append(order(1, true)).await?;
    let began = std::time::Instant::now();
    let text: Vec<u8> = b"Just a line of some seventy bytes, as people write them in their mail.\r\n"
        .iter()
        .copied()
        .cycle()
        .take(bytes / 72 * 72)
        .collect();
    let mut accepting = tokio::task::JoinSet::new();
    for n in 0..messages {
        let trace = journal.trace_id();
        let message = NewMessage {
            trace,
            tenant: Tenant("t".into()),
            primary: Some(PrimaryId("sink".into())),
            envelope: Envelope {
                sender: Sender(Some(Address::parse("a@far.example")?)),
                recipients: vec![Recipient::new(address(n % people)?)],
                eight_bit: false,
                utf8: false,
                ret: None,
                envid: None,
                source: Source::Edge,
                peer: Peer {
                    ip: IpAddr::from([127, 0, 0, 1]),
                    helo: "far.example".into(),
                    protocol: "ESMTP".into(),
                    tls: None,
                    account: None,
                    name: None,
                    port: None,
                },
            },
            verdict: serde_json::json!({"rules": 1, "action": {"do": "deliver"}, "may_bounce": false}),
            prefix: format!("Stormpost-Trace: {trace}.0\r\n"),
            body: IncomingBody::Inline([format!("Subject: {n}\r\n\r\n").into_bytes(), text.clone()].concat()),
        };
        let journal = journal.clone();
        accepting.spawn(async move { journal.accept(message).await.map(|receipt| receipt.heard()) });
        while accepting.len() >= 500 {
            accepting.join_next().await;
        }
    }
    while accepting.join_next().await.is_some() {}
    let accepted = began.elapsed();
    while view.counts().arrived < messages as u64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "accepted {messages} in {:.2} s; all in the mailboxes here after {:.2} s ({:.0}/s)",
        accepted.as_secs_f64(),
        began.elapsed().as_secs_f64(),
        messages as f64 / began.elapsed().as_secs_f64()
    );
    let began = std::time::Instant::now();
    ledger.append(order(2, false)).await?;
    let mut first = None;
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let taken = TAKEN.load(Ordering::Relaxed);
        if taken > 0 && first.is_none() {
            first = Some(began.elapsed());
        }
        if taken >= messages as u64 {
            break;
        }
    }
    let drained = began.elapsed();
    while view.counts().messages > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!(
        "first after {:.3} s; {messages} handed over in {:.2} s ({:.0}/s); all settled after {:.2} s",
        first.unwrap_or_default().as_secs_f64(),
        drained.as_secs_f64(),
        messages as f64 / drained.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    stop.send_replace(true);
    Ok(())
}
