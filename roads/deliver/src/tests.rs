//! Stories of a node that delivers: real logs on a disk that can fail, a primary that does as it is told, time that stands
//! still until everybody waits.

mod order;
mod outside;
mod primary;
mod quarantine;
mod queue;
mod refused;
mod unknown;

use crate::*;
use primary::{Primary, Town};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stores_directory::{Class, Directory, Domain, Hashing, NewAccount, Options};
use stores_journal::{IncomingBody, Journal, NewMessage};
use stores_ledger::{Act, Entry, Ledger, QueueAct, Settlement};
use stores_log::{FaultDisk, KeyRing, LogKind, LogOptions, TestClock, fault_world};
use stores_mailbox::{Bodies, MailboxOptions, Mailboxes, MessageReader, ViewPlace};
use stores_primary::internet::Internet;
use stores_primary::smtp::{Hop, Limits, Place};
use stores_primary::tls::{Tls, TlsMode, Trust};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use words_mail::{
    AccountId, Address, Destination, Envelope, Order, OrderKind, OrderNumber, Outcome, Peer, Plane,
    PrimaryId, Recipient, Scope, Sender, Source, State, Tenant, Time, TraceId,
};
use words_smtp::client::Protocol;
use words_world::{Boxed, Clock, World};

const START: Time = Time::from_seconds(1_795_343_827);

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn office() -> PrimaryId {
    PrimaryId("office".into())
}

/// The wall clock goes with the runtime's, so that a test waits for both at once.
struct Wall(Instant);

impl Clock for Wall {
    fn now(&self) -> Time {
        START.after(self.0.elapsed())
    }
}

/// Letters handed in at our own door.
#[derive(Default)]
struct Letters {
    taken: Mutex<Vec<(Sender, Vec<Address>, String)>>,
    /// Said once, instead of taking a letter.
    says: Mutex<Option<NotTaken>>,
}

impl Door for Letters {
    fn hand_in(&self, mut letter: Letter) -> Boxed<'_, Result<(), NotTaken>> {
        let mut content = String::new();
        let read = letter.content.read_to_string(&mut content);
        let to = letter.recipients.iter().map(|r| r.address.clone()).collect();
        assert!(read.is_ok());
        let answer = match self.says.lock().unwrap().take() {
            Some(not_taken) => Err(not_taken),
            None => {
                self.taken.lock().unwrap().push((letter.sender, to, content));
                Ok(())
            }
        };
        Box::pin(async { answer })
    }
}

/// Looks into the scripted primary, when it may.
struct Looker {
    town: Town,
    allowed: Mutex<bool>,
    asked: Mutex<usize>,
}

impl Ask for Looker {
    fn ask<'a>(&'a self, _: &'a PrimaryId, questions: &'a [Question]) -> Boxed<'a, Vec<Answer>> {
        *self.asked.lock().unwrap() += 1;
        let answers = questions.iter().map(|question| {
            if !*self.allowed.lock().unwrap() {
                return Answer::CannotTell("no credential".into());
            }
            let stamp = question.trace.to_string();
            let there = self.town.office().stored().iter().any(|stored| {
                stored.content.contains(&stamp) && stored.to.contains(&question.recipient.to_string())
            });
            if there { Answer::Found { folder: "INBOX".into() } } else { Answer::NotFound }
        });
        let answers = answers.collect();
        Box::pin(async { answers })
    }
}

struct JournalBodies(stores_journal::JournalReader);

impl Bodies for JournalBodies {
    fn open(&self, _: TraceId, position: stores_log::Position) -> std::io::Result<MessageReader> {
        let entry = self.0.read(position).map_err(std::io::Error::other)?;
        Ok(Box::new(self.0.message(&entry).map_err(std::io::Error::other)?))
    }
}

/// What outlives a process.
struct House {
    disk: FaultDisk,
    town: Town,
    lives: u64,
    ask: bool,
    signer: Arc<Signer>,
    change: fn(&mut Settings),
    /// The name of the office, and whether home.example is served by it too.
    name: &'static str,
    home: bool,
}

/// One life of the process.
struct Life {
    journal: Journal,
    ledger: Ledger,
    mailboxes: Mailboxes,
    view: QueueView,
    letters: Arc<Letters>,
    looker: Arc<Looker>,
    world: World,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    orders: Mutex<u64>,
}

fn hop(ip: &str, protocol: Protocol) -> Hop {
    Hop {
        protocol,
        place: Place::Host(ip.into(), 25),
        addresses: Vec::new(),
        tls: TlsMode::None,
        trust: Tls::new(&Trust::Anybody).unwrap(),
        sign_in: None,
        helo: "edge.example".into(),
        limits: Limits::primary(),
        safety: None,
        pass_client: false,
    }
}

fn internet() -> Internet {
    Internet {
        smart_host: None,
        helo: "edge.example".into(),
        own_names: Vec::new(),
        own_addresses: Vec::new(),
        port: 25,
        tls: TlsMode::None,
        trust: Tls::new(&Trust::Anybody).unwrap(),
        limits: Limits::internet(),
        allow_loopback: false,
        guard: None,
    }
}

fn log(dir: &str, kind: LogKind) -> LogOptions {
    LogOptions { reserve_bytes: 0, ..LogOptions::new(dir, kind, "node") }
}

fn domain(name: &str, primary: Option<&str>) -> Domain {
    Domain {
        name: name.into(),
        tenant: Tenant("acme".into()),
        primary: primary.map(|p| PrimaryId(p.into())),
        authoritative: true,
        catch_all: None,
        postmaster: None,
    }
}

fn account(main: &str) -> NewAccount {
    NewAccount { address: address(main), name: String::new(), aliases: Vec::new(), class: Class::Person }
}

impl House {
    fn new() -> House {
        House {
            disk: FaultDisk::new(1),
            town: Town::new(),
            lives: 0,
            ask: true,
            signer: Arc::new(Signer::new()),
            change: |_| {},
            name: "office",
            home: false,
        }
    }

    fn office(&self) -> Primary {
        self.town.office()
    }

    /// Starts the process.
    fn live(&mut self) -> Life {
        self.lives += 1;
        let clock = Arc::new(TestClock::new(START));
        let mut world = fault_world(&self.disk, &clock, self.lives);
        world.clock = Arc::new(Wall(self.town.began()));
        world.net = Arc::new(self.town.clone());
        world.names = Arc::new(self.town.clone());
        let keys = KeyRing::new([9; 32], &[]);
        let (journal, w1, _) = Journal::open(&world, keys.clone(), log("/j", LogKind::Journal)).unwrap();
        let (ledger, w2, _) = Ledger::open(&world, keys.clone(), log("/l", LogKind::Ledger)).unwrap();
        let options =
            MailboxOptions { log: log("/m", LogKind::Mailbox), view: ViewPlace::Memory, trace_key: None };
        let bodies = Arc::new(JournalBodies(journal.reader()));
        let ready = Mailboxes::open(&world, keys, options, bodies).unwrap();
        let (mailboxes, w3, applier) = (ready.mailboxes, ready.writer, ready.applier);
        let weak = Hashing { memory_kib: 8, passes: 1, parallel: 1, waiting_max: 8, inline: true };
        let directory = Directory::open(&world, Options { hashing: weak, ..Options::new("/d") }).unwrap();
        let home = self.home.then_some(self.name);
        let domains = vec![domain("x.example", Some(self.name)), domain("home.example", home)];
        let people = ["anna", "bert", "cara", "full"].map(|name| account(&format!("{name}@x.example")));
        let accounts = people.into_iter().chain([account("dora@home.example")]).collect();
        directory.configure(domains, accounts).unwrap();

        let letters = Arc::new(Letters::default());
        let looker =
            Arc::new(Looker { town: self.town.clone(), allowed: Mutex::new(true), asked: Mutex::new(0) });
        let parts = Parts {
            world: world.clone(),
            journal: journal.reader(),
            arrivals: Some(journal.durable()),
            ledger: ledger.clone(),
            mailboxes: mailboxes.clone(),
            directory: directory.watch(),
            door: letters.clone(),
            ask: self.ask.then(|| looker.clone() as Arc<dyn Ask>),
            signer: self.signer.clone(),
        };
        let mut settings = Settings::new("edge.example", internet());
        let route = PrimaryRoute {
            hop: hop("192.0.2.1", self.office().protocol()),
            pace: Pace::primary(),
            outbound: None,
            queue_time: Duration::from_secs(5),
        };
        settings.primaries.insert(PrimaryId(self.name.into()), route);
        (self.change)(&mut settings);
        let deliver = Deliver::new(parts, settings);
        let view = deliver.view();
        let (stop, stopped) = watch::channel(false);
        let tasks = vec![
            tokio::spawn(w1.run(stopped.clone())),
            tokio::spawn(w2.run(stopped.clone())),
            tokio::spawn(w3.run(stopped.clone())),
            tokio::spawn({
                let stopped = stopped.clone();
                async move {
                    let _ = applier.run(stopped).await;
                }
            }),
            tokio::spawn(deliver.run(stopped)),
        ];
        let orders = Mutex::new(ledger.in_force().last_order().0);
        Life { journal, ledger, mailboxes, view, letters, looker, world, stop, tasks, orders }
    }
}

/// A message on its way in.
struct Mail<'a> {
    from: &'a str,
    to: &'a [&'a str],
    subject: &'a str,
    source: Source,
    believed: bool,
    account: Option<&'a str>,
    verdict: Option<serde_json::Value>,
}

fn mail<'a>(to: &'a [&'a str], subject: &'a str) -> Mail<'a> {
    Mail {
        from: "sender@far.example",
        to,
        subject,
        source: Source::Edge,
        believed: true,
        account: None,
        verdict: None,
    }
}

impl Life {
    async fn accept(&self, mail: Mail<'_>) -> TraceId {
        let trace = self.journal.trace_id();
        let verdict = mail.verdict.unwrap_or_else(
            || serde_json::json!({"rules": 1, "action": {"do": "deliver"}, "may_bounce": mail.believed}),
        );
        let sender = if mail.from.is_empty() { Sender::NOBODY } else { Sender(Some(address(mail.from))) };
        let message = NewMessage {
            trace,
            tenant: Tenant("acme".into()),
            primary: Some(office()),
            envelope: Envelope {
                sender,
                recipients: mail.to.iter().map(|to| Recipient::new(address(to))).collect(),
                eight_bit: false,
                utf8: false,
                ret: None,
                envid: None,
                source: mail.source,
                peer: Peer {
                    ip: "198.51.100.1".parse().unwrap(),
                    helo: "far.example".into(),
                    protocol: "ESMTP".into(),
                    tls: None,
                    account: mail.account.map(AccountId::new),
                    name: None,
                    port: None,
                },
            },
            verdict,
            prefix: format!("Stormpost-Trace: {trace}.0\r\n"),
            body: IncomingBody::Inline(
                format!("From: <{}>\r\nSubject: {}\r\n\r\n.hello\r\n", mail.from, mail.subject).into_bytes(),
            ),
        };
        self.journal.accept(message).await.unwrap().heard();
        trace
    }

    async fn switch(&self, on: Option<OrderKind>, off: Option<OrderKind>, scope: Scope, event: bool) {
        let number = {
            let mut orders = self.orders.lock().unwrap();
            *orders += 1;
            OrderNumber(*orders)
        };
        let order = Order {
            number,
            at: self.world.clock.now(),
            primary: office(),
            plane: Plane::Inbound,
            from: State::Ready,
            to: if on.is_some() { State::Active } else { State::Ready },
            on: on.into_iter().collect(),
            off: off.into_iter().collect(),
            scope,
            event: event.then_some(words_mail::EventId(number.0)),
            by: "test".into(),
            why: "test".into(),
            began: None,
            until: None,
            answers: None,
        };
        self.ledger.append(Entry::Order(order)).await.unwrap();
    }

    async fn pause(&self, on: bool) {
        let kind = Some(OrderKind::PauseDeliveries);
        let (on, off) = if on { (kind, None) } else { (None, kind) };
        self.switch(on, off, Scope::All, false).await;
    }

    async fn act(&self, act: Act, trace: Option<TraceId>) {
        let act = QueueAct {
            at: self.world.clock.now(),
            by: "anna".into(),
            reason: "because".into(),
            act,
            trace,
            recipient: None,
            destination: None,
        };
        self.ledger.append(Entry::QueueAct(act)).await.unwrap();
        sleep(Duration::from_secs(1)).await;
    }

    /// Every settlement on record, in order.
    fn settlements(&self) -> Vec<Settlement> {
        self.ledger.reader().settlements(None).collect()
    }

    /// What is on record of a message at the primary, in short words.
    fn outcomes(&self, trace: TraceId) -> Vec<String> {
        let of = self
            .settlements()
            .into_iter()
            .filter(|s| s.trace == trace && s.destination != Destination::Mailbox);
        of.map(|s| format!("{} {} {}", s.recipient.local(), word(&s.outcome), s.attempt)).collect()
    }

    fn folders(&self, account: &str, trace: TraceId) -> Vec<String> {
        let account = AccountId::new(account);
        let folders = self.mailboxes.folders(&account).unwrap_or_default();
        let copies = self.mailboxes.copies(&account, trace).unwrap_or_default();
        let name = |id| folders.iter().find(|f| f.id == id).map(|f| f.name.clone()).unwrap();
        copies.into_iter().map(|(id, _)| name(id)).collect()
    }

    fn letters(&self) -> Vec<(Sender, Vec<Address>, String)> {
        self.letters.taken.lock().unwrap().clone()
    }

    /// Waits until nothing is left to do, or for so long.
    async fn settle_down(&self, most: Duration) {
        let until = Instant::now() + most;
        loop {
            sleep(Duration::from_millis(50)).await;
            let counts = self.view.counts();
            let idle = counts.caught_up && counts.bytes == 0;
            if idle || Instant::now() >= until {
                return;
            }
        }
    }

    /// Ends as SIGTERM does.
    async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            task.await.unwrap();
        }
    }

    /// Ends as SIGKILL does.
    async fn kill(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::HandedOver { .. } => "over",
        Outcome::Seen { .. } => "seen",
        Outcome::Refused { bounced: true, .. } => "bounced",
        Outcome::Refused { bounced: false, .. } => "refused",
        Outcome::Expired { .. } => "expired",
        Outcome::Parked { .. } => "parked",
        Outcome::Quarantined { .. } => "quarantined",
        Outcome::Deleted { .. } => "deleted",
        Outcome::Deferred { .. } => "deferred",
        Outcome::Unknown => "unknown",
    }
}

const SECOND: Duration = Duration::from_secs(1);
