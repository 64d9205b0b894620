//! A mail system of record that does as it is told: works, hangs, refuses, forgets to answer.
//!
//! It shares no code with the product. What it stored survives its death; its connections do not.

mod imap;
mod smtp;
mod store;

pub use store::{Account, Copy, Folder, Store};

use crate::dice::Dice;
use crate::net::Host;
use crate::record::Record;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufStream};
use tokio::task::JoinSet;
use words_world::{Net, Stream};

/// How one door of the primary behaves at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// All well.
    #[default]
    Well,
    /// The port is open, nothing is ever said.
    Silent,
    /// Not now: `451` to every recipient, `NO [UNAVAILABLE]` to every sign-in.
    Deferring,
    /// One in four commands that change something is answered by a broken connection, done or not.
    Dropping,
    /// Every answer takes 200 ms.
    Slow,
    /// What it said yes to is filed seconds later, from a queue of its own.
    Lazy,
    /// One message in three is refused for ever, after the final dot.
    Refusing,
    /// The first account has no room; the others have.
    Quota,
}

/// Which door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Where mail is handed to it.
    Smtp,
    /// Where people, and we, read.
    Imap,
}

struct Inside {
    smtp: Mood,
    imap: Mood,
    store: Store,
    /// Said yes to, and not filed yet: until when, for whom, what.
    queue: Vec<(tokio::time::Instant, String, Arc<Vec<u8>>)>,
    /// Refused for ever: for whom, and the mark.
    refused: BTreeSet<(String, String)>,
    /// Said yes to: for whom, and the mark.
    taken: BTreeSet<(String, String)>,
}

/// The primary.
#[derive(Clone)]
pub struct Primary {
    inside: Arc<Mutex<Inside>>,
    dice: Dice,
    host: Host,
    smtp: SocketAddr,
    imap: SocketAddr,
    name: &'static str,
    record: Record,
}

type Wire = BufStream<Box<dyn Stream>>;

impl Primary {
    /// A primary with accounts at the given addresses (in lower case), listening at ports 25 and 143 once it runs.
    pub fn new(name: &'static str, host: Host, addresses: &[&str], dice: Dice, record: Record) -> Primary {
        let store = Store::new(addresses);
        let inside = Inside {
            smtp: Mood::Well,
            imap: Mood::Well,
            store,
            queue: Vec::new(),
            refused: BTreeSet::new(),
            taken: BTreeSet::new(),
        };
        let at = |port| SocketAddr::new(host.ip(), port);
        let (smtp, imap) = (at(25), at(143));
        Primary { inside: Arc::new(Mutex::new(inside)), dice, host, smtp, imap, name, record }
    }

    /// Changes the behaviour of a door.
    pub fn set_mood(&self, port: Port, mood: Mood) {
        self.note(format_args!("{port:?} is {mood:?}"));
        let mut inside = self.inside();
        match port {
            Port::Smtp => inside.smtp = mood,
            Port::Imap => inside.imap = mood,
        }
    }

    /// A copy of everything it holds.
    pub fn accounts(&self) -> BTreeMap<String, Account> {
        self.file_due();
        self.inside().store.accounts.clone()
    }

    /// What it refused for ever and never took: for whom, and the mark.
    pub fn refused(&self) -> BTreeSet<(String, String)> {
        let inside = self.inside();
        inside.refused.difference(&inside.taken).cloned().collect()
    }

    /// Everything it ever refused for ever, also what it took later.
    pub fn ever_refused(&self) -> BTreeSet<(String, String)> {
        self.inside().refused.clone()
    }

    /// Whether it ever refused this message for this recipient.
    pub fn has_refused(&self, who: &str, mark: &str) -> bool {
        self.inside().refused.contains(&(who.to_owned(), mark.to_owned()))
    }

    /// One life of its processes: serves until dropped.
    ///
    /// # Errors
    /// When an address is taken.
    pub async fn run(self) -> io::Result<()> {
        let smtp = self.host.listen(self.smtp).await?;
        let imap = self.host.listen(self.imap).await?;
        let mut sessions: JoinSet<()> = JoinSet::new();
        loop {
            let primary = self.clone();
            tokio::select! {
                biased;
                Some(_) = sessions.join_next(), if !sessions.is_empty() => {}
                connected = smtp.accept() => {
                    let stream = connected?.stream;
                    sessions.spawn(async move { drop(primary.smtp_session(stream).await) });
                }
                connected = imap.accept() => {
                    let stream = connected?.stream;
                    sessions.spawn(async move { drop(primary.imap_session(stream).await) });
                }
            }
        }
    }

    /// Files what waited long enough in its own queue.
    fn file_due(&self) {
        let now = tokio::time::Instant::now();
        let mut inside = self.inside();
        let Inside { queue, store, .. } = &mut *inside;
        queue.retain(|(due, address, message)| {
            let is_due = *due <= now;
            if is_due {
                store.arrive(address, message.clone());
            }
            !is_due
        });
    }

    fn note(&self, what: std::fmt::Arguments<'_>) {
        self.record.note(self.name, what);
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mood(&self, port: Port) -> Mood {
        let inside = self.inside();
        match port {
            Port::Smtp => inside.smtp,
            Port::Imap => inside.imap,
        }
    }

    /// What a change meets in the mood of the moment: whether it is done, and whether it is answered.
    async fn chance(&self, port: Port) -> (bool, bool) {
        tokio::time::sleep(Duration::from_micros(self.dice.range(100, 20_000))).await;
        let breaks = self.mood(port) == Mood::Dropping && self.dice.one_in(4);
        (!breaks || self.dice.one_in(2), !breaks)
    }

    async fn say(&self, port: Port, wire: &mut Wire, text: &[u8]) -> io::Result<()> {
        loop {
            match self.mood(port) {
                Mood::Silent => tokio::time::sleep(Duration::from_millis(500)).await,
                Mood::Slow => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    break;
                }
                _ => break,
            }
        }
        wire.write_all(text).await?;
        wire.flush().await
    }
}
