//! A small node around a disk that can fail, for the stories in the files below.

mod crash;
mod mirror;
mod rebuild;
mod story;
mod together;

use crate::*;
use std::collections::HashMap;
use std::io::{self, Cursor};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use stores_log::{FaultDisk, KeyRing, LogKind, LogOptions, Position, TestClock, fault_world};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use words_mail::{AccountId, Time, TraceId, TraceKey};

const START: Time = Time::from_seconds(1_795_343_827);
const KEY: TraceKey = TraceKey([7; 32]);

/// The journal, as far as this store sees it.
#[derive(Default)]
struct Journal(Mutex<HashMap<TraceId, Vec<u8>>>);

impl Bodies for Journal {
    fn open(&self, trace: TraceId, _position: Position) -> io::Result<MessageReader> {
        let found = self.0.lock().unwrap().get(&trace).cloned();
        found.map(|bytes| Box::new(Cursor::new(bytes)) as MessageReader).ok_or(io::ErrorKind::NotFound.into())
    }
}

struct Node {
    disk: FaultDisk,
    clock: Arc<TestClock>,
    journal: Arc<Journal>,
    view: ViewPlace,
    starts: u64,
}

/// A node that runs.
struct Running {
    mailboxes: Mailboxes,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    fn new(seed: u64) -> Node {
        Node {
            disk: FaultDisk::new(seed),
            clock: Arc::new(TestClock::new(START)),
            journal: Arc::default(),
            view: ViewPlace::Memory,
            starts: 0,
        }
    }

    fn open(&mut self) -> Ready {
        self.starts += 1;
        let world = fault_world(&self.disk, &self.clock, self.starts);
        let log = LogOptions {
            reserve_bytes: 0,
            ..LogOptions::new(PathBuf::from("/mailbox"), LogKind::Mailbox, "node")
        };
        let options = MailboxOptions { log, view: self.view.clone(), trace_key: Some(KEY) };
        Mailboxes::open(&world, KeyRing::new([1; 32], &[]), options, self.journal.clone()).unwrap()
    }

    fn start(&mut self) -> Running {
        let Ready { mailboxes, writer, applier, .. } = self.open();
        let (stop, stopped) = watch::channel(false);
        let also = stopped.clone();
        let tasks = vec![
            tokio::spawn(async move { writer.run(stopped).await }),
            tokio::spawn(async move {
                let _ = applier.run(also).await;
            }),
        ];
        Running { mailboxes, stop, tasks }
    }

    /// A message in the journal.
    fn message(&self, n: u8, text: &str) -> Arrival {
        let trace = TraceId::new(self.clock.now(), [n; 10]);
        self.journal.0.lock().unwrap().insert(trace, text.as_bytes().to_vec());
        let journal = Position { segment: 1, offset: u64::from(n) };
        Arrival::new(trace, journal, self.clock.now(), text.len() as u64)
    }
}

use words_world::Clock;

impl Running {
    /// Ends as SIGTERM does.
    async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            task.await.unwrap();
        }
    }

    /// Ends as SIGKILL does.
    fn kill(self) {
        for task in &self.tasks {
            task.abort();
        }
    }

    fn uids(&self, account: &AccountId, folder: &str) -> String {
        let folder = self.mailboxes.folder(account, folder).unwrap();
        self.mailboxes.snapshot(folder.id).unwrap().uids.to_string()
    }

    fn messages(&self, account: &AccountId, folder: &str) -> Vec<Message> {
        let folder = self.mailboxes.folder(account, folder).unwrap();
        self.mailboxes.page(folder.id, 1, u32::MAX, 1_000).unwrap()
    }

    fn text(&self, message: &Message) -> String {
        io::read_to_string(self.mailboxes.body(&message.body).unwrap()).unwrap()
    }
}

fn anna() -> AccountId {
    AccountId::new("anna@example.org")
}

fn appendix(flags: &[&str]) -> Appendix {
    Appendix { flags: flags.iter().copied().collect(), date: None, by: By::Person }
}

fn uids(text: &str) -> UidRanges {
    text.to_owned().try_into().unwrap()
}
