//! Dialogues with a server in this process.

mod bounds;
mod changes;
mod dialogue;
mod extensions;
mod fetching;
mod resync;

use crate::guests::Guests;
use crate::options::{ImapLimits, ImapOptions, Security};
use crate::road::Shared;
use crate::session::{Session, Visit};
use crate::sign_in::{SignIn, SignInRefusal};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use stores_log::{FaultDisk, KeyRing, LogKind, LogOptions, Position, TestClock, fault_world};
use stores_mailbox::{
    Appendix, Bodies, By, Flags, MailboxOptions, Mailboxes, MessageReader, Ready, ViewPlace,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use words_mail::{AccountId, Time, TraceId};
use words_world::Boxed;

const START: Time = Time::from_seconds(1_795_343_827);

struct NoJournal;

impl Bodies for NoJournal {
    fn open(&self, _trace: TraceId, _position: Position) -> io::Result<MessageReader> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Lets in whoever says `secret`.
struct Gate;

impl SignIn for Gate {
    fn check<'a>(
        &'a self,
        user: &'a str,
        password: &'a str,
        _peer: IpAddr,
    ) -> Boxed<'a, Result<AccountId, SignInRefusal>> {
        Box::pin(async move {
            match password {
                "secret" => Ok(AccountId::new(user)),
                "later" => Err(SignInRefusal::Later("the directory does not answer; try again".into())),
                _ => Err(SignInRefusal::Wrong),
            }
        })
    }
}

struct Server {
    shared: Arc<Shared>,
    mailboxes: Mailboxes,
    disk: FaultDisk,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

fn anna() -> AccountId {
    AccountId::new("anna@example.org")
}

impl Server {
    async fn start() -> Server {
        Server::start_with(ImapLimits::default()).await
    }

    async fn start_with(limits: ImapLimits) -> Server {
        Server::start_on(FaultDisk::new(1), limits).await
    }

    /// A server on a disk that may have been used before. The view is in memory: it is made anew from the log.
    async fn start_on(disk: FaultDisk, limits: ImapLimits) -> Server {
        let world = fault_world(&disk, &Arc::new(TestClock::new(START)), 1);
        let log = LogOptions {
            reserve_bytes: 0,
            ..LogOptions::new(PathBuf::from("/mailbox"), LogKind::Mailbox, "node")
        };
        let options = MailboxOptions { log, view: ViewPlace::Memory, trace_key: None };
        let Ready { mailboxes, writer, applier, .. } =
            Mailboxes::open(&world, KeyRing::new([1; 32], &[]), options, Arc::new(NoJournal)).unwrap();
        let (stop, stopped) = watch::channel(false);
        let also = stopped.clone();
        let tasks = vec![
            tokio::spawn(async move { writer.run(stopped).await }),
            tokio::spawn(async move {
                let _ = applier.run(also).await;
            }),
        ];
        mailboxes.open_account(&anna()).await.unwrap();
        let (_, tls) = watch::channel(None);
        let shared = Shared {
            world,
            mailboxes: mailboxes.clone(),
            sign_in: Arc::new(Gate),
            tls,
            options: ImapOptions { host: "mail.example.org".into(), limits },
            guests: Arc::new(Guests::default()),
            recent: Default::default(),
            sorting: Arc::new(tokio::sync::Semaphore::new(1)),
        };
        Server { shared: Arc::new(shared), mailboxes, disk, stop, tasks }
    }

    /// A client that has not said anything.
    fn connect(&self) -> Client {
        self.connect_with(Security::Optional, 64 * 1024)
    }

    fn connect_with(&self, security: Security, pipe: usize) -> Client {
        let (ours, theirs) = tokio::io::duplex(pipe);
        let visit = Visit { peer: "192.0.2.1".parse().unwrap(), security };
        let session = Session::serve(self.shared.clone(), Box::new(theirs), visit, self.stop.subscribe());
        Client { stream: ours, read: Vec::new(), session: tokio::spawn(session) }
    }

    /// A client that is signed in.
    async fn client(&self) -> Client {
        let mut client = self.connect();
        client.line().await;
        client.ask("s LOGIN anna@example.org secret").await;
        client
    }

    /// A client that has selected INBOX.
    async fn inbox(&self) -> Client {
        let mut client = self.client().await;
        client.ask("s SELECT INBOX").await;
        client
    }

    async fn put(&self, folder: &str, text: &str, flags: &[&str]) -> u32 {
        let flags: Flags = flags.iter().copied().collect();
        let appendix = Appendix { flags, date: Some(START), by: By::Person };
        self.mailboxes.append(&anna(), folder, text.as_bytes(), appendix).await.unwrap().uid
    }
}

struct Client {
    stream: DuplexStream,
    read: Vec<u8>,
    session: JoinHandle<()>,
}

impl Client {
    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// The next line without its end; `None` at the end of the connection.
    async fn try_line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|w| w == b"\r\n") {
                let line = self.read.drain(..end + 2).collect::<Vec<_>>();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.stream.read_buf(&mut self.read).await.unwrap() == 0 {
                return None;
            }
        }
    }

    async fn line(&mut self) -> String {
        self.try_line().await.expect("the server closed the connection")
    }

    /// Sends a command and takes everything up to its tagged answer.
    async fn ask(&mut self, command: &str) -> Vec<String> {
        self.send(&format!("{command}\r\n")).await;
        let tag = command.split(' ').next().unwrap().to_owned();
        self.answer(&tag).await
    }

    async fn answer(&mut self, tag: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            let ended = line.starts_with(&format!("{tag} "));
            lines.push(line);
            if ended {
                return lines;
            }
        }
    }

    /// Plays a dialogue: lines that begin with `C: ` are sent, those with `S: ` must come; `...` stands for the rest
    /// of a line.
    async fn play(&mut self, script: &str) {
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(text) = line.strip_prefix("C: ") {
                self.send(&format!("{text}\r\n")).await;
            } else if let Some(expected) = line.strip_prefix("S: ") {
                let got = self.line().await;
                match expected.split_once("...") {
                    Some((start, end)) => {
                        assert!(
                            got.starts_with(start) && got.ends_with(end),
                            "expected {expected}\n     got {got}"
                        );
                    }
                    None => assert_eq!(got, expected),
                }
            } else {
                panic!("what is {line:?}?");
            }
        }
    }
}
