//! What the edge and the inside say to each other: one question a line, in JSON, over two sockets in the data folder.
//!
//! The inside asks the edge by `edge.sock`, the edge asks the inside by `inside.sock`. Both may be of different
//! versions for as long as one replaces the other, so that [`EdgeCall::Hello`] and [`EdgeCall::Stop`] never change.

use crate::control::protocol::Password;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use stores_log::{LogHealth, Position};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;
use words_mail::{AccountId, Address, PrimaryId, Reply, Time, TraceId};
use words_world::{Net, Stream};

/// The longest line, bytes: ten thousand trace ids have room in it.
const LINE_MAX: u64 = 1 << 20;
/// Messages named in one call.
pub(crate) const TRACES_MAX: usize = 10_000;
/// How long the other side may take for a line of ours.
const WRITE_MAX: Duration = Duration::from_secs(5);

/// Who an edge is. Two that differ are not the same edge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Make {
    /// The program's version.
    pub(crate) version: String,
    /// Which build of it: changes with the file of the program.
    pub(crate) build: String,
    /// A hash of the configuration it runs under.
    pub(crate) configuration: String,
}

impl Make {
    /// The make of this process.
    pub(crate) fn ours(configuration: &Path) -> Make {
        let facts =
            std::fs::metadata("/proc/self/exe").or_else(|_| std::fs::metadata(std::env::current_exe()?));
        let changed = facts.as_ref().ok().and_then(|facts| facts.modified().ok());
        let since = changed.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
        let text = std::fs::read(configuration).unwrap_or_default();
        Make {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            // Its time alone says too little: packages carry the time of their source.
            build: format!(
                "{}-{}-{}",
                facts.as_ref().map_or(0, |facts| facts.ino()),
                facts.as_ref().map_or(0, |facts| facts.len()),
                since.as_nanos()
            ),
            configuration: blake3::hash(&text).to_hex().to_string(),
        }
    }
}

/// An edge's answer to who it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// What it was made from.
    pub(crate) make: Make,
    /// Its process.
    pub(crate) pid: u32,
    /// When it was started.
    pub(crate) started: Time,
    /// Whether `serve` started it, and stops it too.
    pub(crate) kept: bool,
}

/// What the inside asks of the edge.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub(crate) enum EdgeCall {
    /// Who are you? One [`EdgeAnswer::Hello`].
    Hello,
    /// How does it stand? [`EdgeAnswer::Stands`] at once, after every change, and every half second.
    Follow,
    /// The directory's file has changed.
    Look,
    /// Remove messages for good.
    Erase {
        /// Which.
        traces: Vec<TraceId>,
        /// Who wants it.
        who: String,
        /// Why.
        why: String,
    },
    /// So much of the accepted mail still waits: the spool's budget is held against it.
    Waiting {
        /// The process that this is about: another one counts anew.
        edge: u32,
        /// Bytes.
        waiting: u64,
        /// What [`Statement::stored`] was when that was so.
        at: u64,
    },
    /// Let go of the bodies of messages.
    Collect {
        /// Which.
        traces: Vec<TraceId>,
        /// Why.
        why: String,
    },
    /// Close the doors, finish what is open, end.
    Stop,
}

/// What the edge answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub(crate) enum EdgeAnswer {
    /// Who it is.
    Hello(Hello),
    /// How it stands.
    Stands(Statement),
    /// It goes on.
    Wait,
    /// It was done.
    Done {
        /// How many records it was done to.
        records: u64,
    },
    /// It was not.
    Failed {
        /// Why.
        words: String,
    },
}

/// How the edge stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Statement {
    /// The end of what is durable in the journal. Only the edge knows: it made the sync.
    pub(crate) durable: Position,
    /// Bytes of messages made durable since its start: all of them stand before [`Statement::durable`].
    #[serde(default)]
    pub(crate) stored: u64,
    /// How the journal is.
    pub(crate) health: Health,
    /// What it has done since its start.
    #[serde(default)]
    pub(crate) counts: BTreeMap<String, u64>,
}

/// How the journal is, on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Health {
    /// It takes messages.
    #[default]
    Open,
    /// The disk is nearly full.
    NoSpace,
    /// The disk did not confirm.
    Failed(String),
}

impl From<LogHealth> for Health {
    fn from(health: LogHealth) -> Health {
        match health {
            LogHealth::Open => Health::Open,
            LogHealth::NoSpace => Health::NoSpace,
            LogHealth::Failed(why) => Health::Failed(why),
        }
    }
}

impl From<Health> for LogHealth {
    fn from(health: Health) -> LogHealth {
        match health {
            Health::Open => LogHealth::Open,
            Health::NoSpace => LogHealth::NoSpace,
            Health::Failed(why) => LogHealth::Failed(why),
        }
    }
}

/// What the edge asks of the inside.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub(crate) enum InsideCall {
    /// May somebody send?
    SignIn {
        /// The name.
        user: String,
        /// The password.
        password: Password,
        /// From where.
        peer: IpAddr,
    },
    /// Does a primary know a recipient?
    CallOut {
        /// Which primary.
        primary: PrimaryId,
        /// Which recipient.
        recipient: Address,
    },
}

/// What the inside answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub(crate) enum InsideAnswer {
    /// It is being found out.
    Wait,
    /// Signed in.
    In {
        /// As whom.
        account: AccountId,
    },
    /// Name and password do not go together.
    Wrong,
    /// It cannot be decided now.
    Later {
        /// Why, for the person.
        words: String,
    },
    /// The primary takes it.
    Yes,
    /// The primary refuses it.
    No {
        /// In these words.
        reply: Reply,
    },
    /// The primary does not say.
    NoAnswer,
}

/// One connection, line by line.
pub(crate) struct Talk {
    stream: BufReader<Box<dyn Stream>>,
    line: Vec<u8>,
}

impl Talk {
    pub(crate) fn new(stream: Box<dyn Stream>) -> Talk {
        Talk { stream: BufReader::new(stream), line: Vec::new() }
    }

    /// Connects to a socket in the data folder.
    pub(crate) async fn open(net: &dyn Net, socket: &Path, patience: Duration) -> io::Result<Talk> {
        Ok(Talk::new(timeout(patience, net.connect_local(socket)).await??))
    }

    /// Says one thing.
    pub(crate) async fn say<T: Serialize>(&mut self, what: &T) -> io::Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        timeout(WRITE_MAX, self.stream.get_mut().write_all(&line)).await?
    }

    /// Hears one thing. What was heard of it stays heard when this is dropped before its end.
    pub(crate) async fn hear<T: DeserializeOwned>(&mut self, patience: Duration) -> io::Result<T> {
        let room = LINE_MAX - self.line.len() as u64;
        let mut bounded = (&mut self.stream).take(room);
        timeout(patience, bounded.read_until(b'\n', &mut self.line)).await??;
        let line = std::mem::take(&mut self.line);
        match line.last() {
            None => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(b'\n') => Ok(serde_json::from_slice(&line)?),
            Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "a line without an end")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Talk, Talk) {
        let (here, there) = tokio::io::duplex(64);
        (Talk::new(Box::new(here)), Talk::new(Box::new(there)))
    }

    #[tokio::test]
    async fn what_one_side_says_the_other_hears() {
        let (mut here, mut there) = pair();
        let statement = Statement {
            durable: Position { segment: 3, offset: 77 },
            stored: 5,
            health: Health::Failed("syncing".to_owned()),
            counts: [("accepted".to_owned(), 9)].into(),
        };
        let said = EdgeAnswer::Stands(statement.clone());
        let (spoken, heard) = tokio::join!(here.say(&said), there.hear::<EdgeAnswer>(WRITE_MAX));
        spoken.unwrap();
        assert!(matches!(heard.unwrap(), EdgeAnswer::Stands(heard) if heard == statement));
    }

    #[tokio::test]
    async fn a_line_heard_in_two_parts_is_one_line() {
        let (mut here, mut there) = pair();
        here.stream.get_mut().write_all(b"{\"ask\":").await.unwrap();
        there.hear::<EdgeCall>(Duration::from_millis(5)).await.unwrap_err();
        here.stream.get_mut().write_all(b"\"stop\"}\n").await.unwrap();
        assert!(matches!(there.hear(WRITE_MAX).await.unwrap(), EdgeCall::Stop));
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_not_heard_for_ever() {
        let (mut here, mut there) = pair();
        let flood = async {
            let piece = [b'x'; 64];
            while here.stream.get_mut().write_all(&piece).await.is_ok() {}
        };
        let heard = async {
            let error = there.hear::<EdgeCall>(WRITE_MAX).await.unwrap_err();
            drop(there);
            error
        };
        let ((), error) = tokio::join!(flood, heard);
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_password_on_its_way_is_not_shown() {
        let call = InsideCall::SignIn {
            user: "anna".to_owned(),
            password: Password("secret".to_owned()),
            peer: [192, 0, 2, 1].into(),
        };
        assert!(!format!("{call:?}").contains("secret"));
    }
}
