//! The node under test: the real stores and roads, put together as the program does, over the simulated outside.

use crate::clock::SimClock;
use crate::dialogue::{NODE_NAME, tls};
use crate::dice::Dice;
use crate::net::{Host, SimNames};
use crate::person::PASSWORD;
use crate::power::Power;
use crate::ways::{Ways, plain};
use roads_accept::{
    Accept, AcceptLimits, AcceptParts, Asked, Authentication, Door, Findings, SignIn, SignInRefusal,
};
use roads_deliver::{Ask, Deliver, LocalDoor, Pace, Parts, PrimaryRoute, QueueView, Settings, Signer};
use roads_mirror::{Mirror, MirrorOptions, MirrorParts};
use roads_watch::{Owed, Settings as Judgement, SmtpProbe, Watch, Watched};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stores_directory::{Directory, Domain, Hashing, NewAccount};
use stores_journal::{Journal, JournalReader};
use stores_ledger::{Entry, Ledger};
use stores_log::{FaultDisk, KeyRing, Log, LogHealth, LogKind, LogOptions, Position, Writer};
use stores_mailbox::{Bodies, MailboxOptions, Mailboxes, MessageReader, Ready, ViewPlace};
use stores_primary::internet::Internet;
use stores_primary::smtp::{Limits, Place};
use stores_primary::tls::{Tls, TlsMode, Trust};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use words_mail::{AccountId, Address, EventId, Grade, Plane, PrimaryId, Tenant, TraceId, TraceKey};
use words_smtp::client::Protocol;
use words_world::{Boxed, World};

/// The one domain of all lives.
pub const DOMAIN: &str = "company.example";
/// The name of the primary behind it.
pub const PRIMARY: &str = "hq";
const KEY: [u8; 32] = [9; 32];
pub(crate) const TRACE_KEY: TraceKey = TraceKey([5; 32]);

/// Which build of the node lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Build {
    /// As it is.
    #[default]
    Sound,
    /// Broken on purpose: acknowledges before the sync.
    AcknowledgesBeforeSync,
    /// Broken on purpose: what may have been handed over is handed over again, and nobody looks first.
    RepeatsWithoutAsking,
}

/// What stays when the node dies: the machine, its disk, its place in the network.
#[derive(Clone)]
pub struct Machine {
    /// The node's clock.
    pub clock: SimClock,
    /// Its disk.
    pub disk: FaultDisk,
    /// Its place in the network.
    pub host: Host,
    /// The DNS.
    pub names: SimNames,
    /// Its randomness.
    pub dice: Dice,
    /// Its power switch.
    pub power: Power,
    /// Where the primary is.
    pub primary: IpAddr,
    /// The people.
    pub people: Vec<String>,
    /// Which build runs.
    pub build: Build,
}

/// The way to a running node for those who work at it.
#[derive(Clone)]
pub struct Desk {
    /// The mailboxes.
    pub mailboxes: Mailboxes,
    /// Orders and settlements.
    pub ledger: Ledger,
    /// What waits.
    pub queue: QueueView,
    /// Which life of the node this is.
    pub life: u64,
    /// Whether it still lives.
    pub power: Power,
    journal: Journal,
}

impl Desk {
    /// Whether a log takes nothing any more until the node is started again.
    pub fn has_failed(&self) -> bool {
        let health = [self.journal.health(), self.ledger.health(), self.mailboxes.health()];
        health.iter().any(|health| matches!(health, LogHealth::Failed(_)))
    }
}

/// The addresses of the node's doors.
pub fn edge(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, 25)
}

/// Where people hand in mail.
pub fn submissions(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, 465)
}

/// Where the other parts of the node hand in theirs.
pub fn local() -> &'static Path {
    Path::new("/node/lmtp")
}

impl Machine {
    /// The outside as the node sees it. `token` is held by everything that runs on the node.
    fn world(&self, token: &Arc<()>) -> World {
        World {
            clock: Arc::new(self.clock.clone()),
            random: Arc::new(Held(self.dice.clone(), token.clone())),
            disk: Arc::new(self.disk.clone()),
            net: Arc::new(self.host.clone()),
            names: Arc::new(self.names.clone()),
        }
    }

    fn options(&self, kind: LogKind) -> LogOptions {
        let dir = format!("/node/{kind:?}").to_lowercase();
        LogOptions {
            // Small, so that a short life sees many segments.
            seal_bytes: 24 << 10,
            seal_after: Duration::from_secs(20),
            inline_max: 8 << 10,
            body_sync_every: 4 << 10,
            reserve_bytes: 32 << 10,
            acknowledge_before_sync: self.build == Build::AcknowledgesBeforeSync,
            ..LogOptions::new(dir, kind, "node-1")
        }
    }

    fn mailbox_options(&self, view: ViewPlace) -> MailboxOptions {
        MailboxOptions { log: self.options(LogKind::Mailbox), view, trace_key: Some(TRACE_KEY) }
    }

    /// What is in the mailboxes according to a view made anew from nothing but the logs, and what is wrong in the logs.
    ///
    /// # Errors
    /// When a log cannot be opened.
    pub fn inspect(&self) -> Result<(String, Vec<String>), String> {
        let world = self.world(&Arc::new(()));
        let keys = KeyRing::new(KEY, &[]);
        let mut wrong = Vec::new();
        for kind in [LogKind::Journal, LogKind::Ledger, LogKind::Mailbox] {
            let (log, _, _) = Log::open(&world, keys.clone(), self.options(kind)).map_err(words)?;
            let verified = log.reader().verify(&mut |_| {}).map_err(words)?;
            let faults = verified.problems.iter().filter(|p| !matches!(p, stores_log::Problem::Tail(_)));
            wrong.extend(faults.map(|fault| format!("{kind:?} log: {fault:?}")));
        }
        let (journal, _, _) =
            Journal::open(&world, keys.clone(), self.options(LogKind::Journal)).map_err(words)?;
        let bodies: Arc<dyn Bodies> = Arc::new(JournalBodies(journal.reader()));
        let options = self.mailbox_options(ViewPlace::Memory);
        let ready = Mailboxes::open(&world, keys, options, bodies).map_err(words)?;
        Ok((ready.mailboxes.dump().map_err(words)?, wrong))
    }

    /// One life of the node: runs until it is dropped or a road ends. The desk is given out when the doors are open.
    ///
    /// # Errors
    /// When it cannot start.
    pub async fn run(
        self,
        token: Arc<()>,
        view: ViewPlace,
        life: u64,
        mut stop: watch::Receiver<bool>,
        opened: watch::Sender<Option<Desk>>,
    ) -> Result<(), String> {
        let world = self.world(&token);
        let keys = KeyRing::new(KEY, &[]);
        let mut roads: JoinSet<&'static str> = JoinSet::new();
        // The logs end after everything that writes to them.
        let closing = watch::Sender::new(false);

        let (journal, writer, _) =
            Journal::open(&world, keys.clone(), self.options(LogKind::Journal)).map_err(words)?;
        write(&mut roads, writer, journal.log(), &closing);
        let (ledger, writer, _) =
            Ledger::open(&world, keys.clone(), self.options(LogKind::Ledger)).map_err(words)?;
        write(&mut roads, writer, ledger.log(), &closing);
        let bodies: Arc<dyn Bodies> = Arc::new(JournalBodies(journal.reader()));
        let Ready { mailboxes, writer, applier, .. } =
            Mailboxes::open(&world, keys, self.mailbox_options(view), bodies).map_err(words)?;
        let shutdown = closing.subscribe();
        roads.spawn(async move {
            writer.run(shutdown).await;
            "a writer"
        });
        let shutdown = stop.clone();
        roads.spawn(async move {
            let _ = applier.run(shutdown).await;
            "the applier"
        });
        let directory = self.directory(&world)?;

        let accept = self.accept(&world, &journal, &directory);
        let at = |address: SocketAddr| SocketAddr::new(self.host.ip(), address.port());
        let doors = [
            (Door::Edge, world.net.listen(at(edge(self.host.ip()))).await),
            (Door::Submissions, world.net.listen(at(submissions(self.host.ip()))).await),
            (Door::Local, world.net.listen_local(local()).await),
        ];
        for (door, listener) in doors {
            let (accept, stop, listener) = (accept.clone(), stop.clone(), listener.map_err(words)?);
            roads.spawn(async move {
                accept.run(door, listener, stop).await;
                "a door"
            });
        }
        let ways = Arc::new(Ways::new(&world, self.primary)?);
        self.mirror(&world, &mut roads, (&journal, &ledger, &mailboxes, &directory), &ways, &stop);
        let queue =
            self.deliver(&world, &mut roads, (&journal, &ledger, &mailboxes, &directory), &ways, &stop)?;
        self.watch(&world, &mut roads, &ledger, &ways, &stop);

        let desk = Desk { mailboxes, ledger, queue, life, power: self.power.clone(), journal };
        opened.send_replace(Some(desk));
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            ended = roads.join_next() => {
                return Err(match ended {
                    Some(Ok(road)) => format!("{road} ended by itself"),
                    Some(Err(error)) if error.is_panic() => "a road broke".to_owned(),
                    _ => "a road was cut off".to_owned(),
                });
            }
        }
        opened.send_replace(None);
        // As the program does: roads first, then the logs.
        drop(directory);
        let roads_end = async { while roads.len() > LOG_TASKS && roads.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(Duration::from_secs(60), roads_end).await;
        closing.send_replace(true);
        while roads.join_next().await.is_some() {}
        in_time.map_err(|_| "a road did not end in a minute".to_owned())
    }

    fn directory(&self, world: &World) -> Result<Directory, String> {
        let mut options = stores_directory::Options::new("/node/directory");
        options.learns = false;
        // Nobody has a password here.
        options.hashing = Hashing { memory_kib: 8, passes: 1, inline: true, ..Hashing::default() };
        let directory = Directory::open(world, options).map_err(words)?;
        let domain = Domain {
            name: DOMAIN.to_owned(),
            tenant: Tenant("company".to_owned()),
            primary: Some(PrimaryId(PRIMARY.to_owned())),
            authoritative: true,
            catch_all: None,
            postmaster: None,
        };
        let accounts: Result<Vec<_>, _> =
            self.people.iter().map(|who| Address::parse(who).map(NewAccount::new)).collect();
        directory.configure(vec![domain], accounts.map_err(words)?).map_err(words)?;
        Ok(directory)
    }

    fn accept(&self, world: &World, journal: &Journal, directory: &Directory) -> Arc<Accept> {
        Accept::new(AcceptParts {
            world: world.clone(),
            journal: journal.clone(),
            directory: directory.watch(),
            trace_key: TRACE_KEY,
            host: NODE_NAME.to_owned(),
            tls: watch::Sender::new(Some(tls().0.clone())).subscribe(),
            sign_in: Arc::new(Doorman),
            call_out: None,
            authentication: Some(Arc::new(Passes)),
            scanners: Default::default(),
            policy: Default::default(),
            limits: AcceptLimits::default(),
            relays: Vec::new(),
            devices: None,
        })
    }

    fn deliver(
        &self,
        world: &World,
        roads: &mut JoinSet<&'static str>,
        (journal, ledger, mailboxes, directory): Opened<'_>,
        ways: &Arc<Ways>,
        stop: &watch::Receiver<bool>,
    ) -> Result<QueueView, String> {
        let internet = Internet {
            smart_host: None,
            helo: NODE_NAME.to_owned(),
            own_names: Vec::new(),
            own_addresses: vec![self.host.ip()],
            port: 25,
            tls: TlsMode::None,
            trust: Tls::new(&Trust::Anybody)?,
            limits: Limits::primary(),
            allow_loopback: false,
            guard: None,
        };
        let quick = Pace { rest: Duration::from_secs(2), wait: Duration::from_secs(5), ..Pace::internet() };
        let mut settings = Settings::new("node-1", internet);
        settings.internet_pace =
            Pace { rest_most: Duration::from_secs(20), wait_most: Duration::from_secs(20), ..quick };
        let asks = self.build != Build::RepeatsWithoutAsking;
        if !asks {
            settings.unknown_wait = Duration::ZERO;
        }
        let route = PrimaryRoute {
            hop: ways.smtp.clone(),
            pace: Pace {
                wait: Duration::from_secs(2),
                wait_most: Duration::from_secs(30),
                ..Pace::primary()
            },
            outbound: None,
            // Longer than the primary ever keeps a message in its own queue.
            queue_time: Duration::from_secs(12),
        };
        settings.primaries.insert(PrimaryId(PRIMARY.to_owned()), route);
        let door = plain(Protocol::Lmtp, Place::Local(local().to_owned()), Limits::primary())?;
        let deliver = Deliver::new(
            Parts {
                world: world.clone(),
                journal: journal.reader(),
                arrivals: Some(journal.durable()),
                ledger: ledger.clone(),
                mailboxes: mailboxes.clone(),
                directory: directory.watch(),
                door: Arc::new(LocalDoor::new(world.clone(), door)),
                ask: asks.then(|| ways.clone() as Arc<dyn Ask>),
                signer: Arc::new(Signer::new()),
            },
            settings,
        );
        let view = deliver.view();
        let stop = stop.clone();
        roads.spawn(async move {
            deliver.run(stop).await;
            "delivery"
        });
        Ok(view)
    }

    fn mirror(
        &self,
        world: &World,
        roads: &mut JoinSet<&'static str>,
        (journal, ledger, mailboxes, directory): Opened<'_>,
        ways: &Arc<Ways>,
        stop: &watch::Receiver<bool>,
    ) {
        let mirror = Mirror::new(MirrorParts {
            world: world.clone(),
            journal: journal.reader(),
            ledger: ledger.clone(),
            mailboxes: mailboxes.clone(),
            directory: directory.watch(),
            trace_key: TRACE_KEY,
            doors: ways.clone(),
            primaries: vec![PrimaryId(PRIMARY.to_owned())],
            options: MirrorOptions {
                look_every: Duration::from_secs(3),
                patience: Duration::from_secs(60),
                ..MirrorOptions::default()
            },
        });
        let stop = stop.clone();
        roads.spawn(async move {
            mirror.run(stop).await;
            "the mirror"
        });
    }

    fn watch(
        &self,
        world: &World,
        roads: &mut JoinSet<&'static str>,
        ledger: &Ledger,
        ways: &Arc<Ways>,
        stop: &watch::Receiver<bool>,
    ) {
        let books = Arc::new(Books::default());
        roads.spawn(follow(books.clone(), ledger.clone(), stop.clone()));
        let mut hop = ways.smtp.clone();
        hop.limits = hop.limits.at_most(Duration::from_secs(3));
        let recipient = Address::parse(&self.people[0]).unwrap_or_else(|why| panic!("{why}"));
        let watch_road = Watch {
            world: world.clone(),
            ledger: ledger.clone(),
            node: "node-1".to_owned(),
            watched: vec![Watched {
                id: PrimaryId(PRIMARY.to_owned()),
                settings: Judgement {
                    dwell: Duration::from_secs(10),
                    return_dwell: Duration::from_secs(5),
                    probe_every: Duration::from_secs(5),
                    unsteady: Duration::from_secs(90),
                    ..Judgement::default()
                },
                probes: vec![
                    Arc::new(SmtpProbe { world: world.clone(), hop, recipient, plane: Plane::Inbound }),
                    Arc::new(ways.probe(&self.people[0])),
                ],
                probe_limit: Duration::from_secs(9),
                canaries: vec![],
            }],
            live: mpsc::channel(1).1,
            owed: books,
        };
        let stop = stop.clone();
        roads.spawn(async move {
            watch_road.run(stop).await;
            "the watch"
        });
    }
}

type Opened<'a> = (&'a Journal, &'a Ledger, &'a Mailboxes, &'a Directory);

/// Writers and sealers of the logs: what ends last.
const LOG_TASKS: usize = 5;

fn write(roads: &mut JoinSet<&'static str>, writer: Writer, log: &Log, closing: &watch::Sender<bool>) {
    let shutdown = closing.subscribe();
    roads.spawn(async move {
        writer.run(shutdown).await;
        "a writer"
    });
    let (sealer, shutdown) = (log.sealer(), closing.subscribe());
    roads.spawn(async move {
        sealer.run(shutdown).await;
        "a sealer"
    });
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Randomness that tells whether anything of a node still lives.
struct Held(Dice, #[allow(dead_code)] Arc<()>);

impl words_world::Random for Held {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }
}

/// Lets everybody in who knows the password.
struct Doorman;

impl SignIn for Doorman {
    fn check<'a>(
        &'a self,
        user: &'a str,
        password: &'a str,
        _: IpAddr,
    ) -> Boxed<'a, Result<AccountId, SignInRefusal>> {
        Box::pin(async move {
            if password == PASSWORD { Ok(AccountId::new(user)) } else { Err(SignInRefusal::Wrong) }
        })
    }
}

/// Whether a sender outside passes SPF: those with an even number do.
pub fn is_believed(sender: &str) -> bool {
    let digits: String = sender.chars().filter(char::is_ascii_digit).collect();
    digits.parse::<u32>().is_ok_and(|number| number % 2 == 0)
}

/// SPF without a DNS.
struct Passes;

impl Authentication for Passes {
    fn judge<'a>(&'a self, asked: Asked<'a>) -> Boxed<'a, Findings> {
        let believed = asked.sender.address().is_some_and(|sender| is_believed(&sender.to_string()));
        let spf = if believed { Grade::Pass } else { Grade::None };
        Box::pin(async move { Findings { spf, ..Findings::default() } })
    }
}

/// Bodies of the mailboxes that stand in the journal.
struct JournalBodies(JournalReader);

impl Bodies for JournalBodies {
    fn open(&self, trace: TraceId, position: Position) -> io::Result<MessageReader> {
        let entry = self.0.read(position).map_err(io::Error::other)?;
        if entry.accepted.trace != trace {
            return Err(io::Error::other(format!("the journal holds another message at {position}")));
        }
        Ok(Box::new(self.0.message(&entry).map_err(io::Error::other)?))
    }
}

/// The events that were reconciled, as the program tells the watch of them.
#[derive(Default)]
struct Books(Mutex<BTreeSet<EventId>>);

impl Owed for Books {
    fn given_back(&self, _: &PrimaryId, _: Plane, _: Option<&AccountId>, event: EventId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&event)
    }
}

async fn follow(books: Arc<Books>, ledger: Ledger, mut stop: watch::Receiver<bool>) -> &'static str {
    let mut durable = ledger.durable();
    let mut scan = ledger.reader().scan_reports(None);
    loop {
        while let Some(Ok(entered)) = scan.next() {
            if let Entry::Reconciliation(found) = entered.entry {
                books.0.lock().unwrap_or_else(PoisonError::into_inner).insert(found.event);
            }
        }
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return "the books",
            changed = durable.changed() => if changed.is_err() { return "the books" },
        }
    }
}

/// Where views are kept while a life lasts: in memory, where the machine has such a place.
pub fn view_folder() -> PathBuf {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() }
}
