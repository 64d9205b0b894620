//! Mail servers that do as they are told, and the network and DNS in which they stand.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, sleep};
use words_smtp::client::Protocol;
use words_world::{Boxed, Listener, Mx, NameError, Names, Net, Stream};

#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) from: String,
    pub(super) to: Vec<String>,
    pub(super) content: String,
}

/// What happens at the final dot.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Dot {
    #[default]
    Takes,
    Says(String),
    /// The connection breaks; stored or not.
    Breaks {
        stored: bool,
    },
    /// Nothing is ever said.
    Hangs,
}

#[derive(Default)]
pub(super) struct Mood {
    pub(super) down: bool,
    /// To each recipient named, in this order of precedence.
    pub(super) says: HashMap<String, String>,
    pub(super) dot: Dot,
    /// A message with these words breaks the connection before its end.
    pub(super) poison: Option<String>,
    pub(super) slow: Duration,
    pub(super) offers_dsn: bool,
}

#[derive(Default)]
struct Inside {
    mood: Mood,
    stored: Vec<Stored>,
    dots: usize,
    connections: usize,
}

#[derive(Clone)]
pub(super) struct Primary {
    protocol: Protocol,
    inside: Arc<Mutex<Inside>>,
}

impl Primary {
    fn new(protocol: Protocol) -> Primary {
        Primary { protocol, inside: Arc::default() }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(super) fn mood(&self, change: impl FnOnce(&mut Mood)) {
        change(&mut self.inside().mood);
    }

    pub(super) fn stored(&self) -> Vec<Stored> {
        self.inside().stored.clone()
    }

    /// It loses what it had.
    pub(super) fn lose(&self, lost: &str) {
        self.inside().stored.retain(|stored| !stored.content.contains(&format!("Subject: {lost}\r\n")));
    }

    /// Subjects in the order in which they were stored.
    pub(super) fn subjects(&self) -> Vec<String> {
        let subject = |content: &str| {
            let line = content.lines().find(|line| line.starts_with("Subject: ")).unwrap_or_default();
            line.trim_start_matches("Subject: ").to_owned()
        };
        self.inside().stored.iter().map(|stored| subject(&stored.content)).collect()
    }

    /// Final dots that were received.
    pub(super) fn dots(&self) -> usize {
        self.inside().dots
    }

    pub(super) fn connections(&self) -> usize {
        self.inside().connections
    }

    async fn serve(self, stream: DuplexStream) -> io::Result<()> {
        let mut talk = Talk { primary: self, stream, buffer: Vec::new() };
        talk.say("220 primary").await?;
        let (mut from, mut to) = (String::new(), Vec::new());
        while let Some(line) = talk.line().await? {
            let slow = talk.primary.inside().mood.slow;
            sleep(slow).await;
            let upper = line.to_ascii_uppercase();
            let path = || line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            match upper.split([' ', ':']).next().unwrap_or_default() {
                "EHLO" | "LHLO" => {
                    let dsn = if talk.primary.inside().mood.offers_dsn { "250-DSN\r\n" } else { "" };
                    talk.say(&format!("250-primary\r\n{dsn}250-PIPELINING\r\n250 SIZE")).await?;
                }
                "MAIL" => {
                    from = path();
                    to.clear();
                    talk.say("250 2.1.0 ok").await?;
                }
                "RSET" => {
                    to.clear();
                    talk.say("250 2.0.0 ok").await?;
                }
                "RCPT" => {
                    let said = talk.primary.inside().mood.says.get(&path()).cloned();
                    match said {
                        Some(words) => talk.say(&words).await?,
                        None => {
                            to.push(path());
                            talk.say("250 2.1.5 ok").await?;
                        }
                    }
                }
                "DATA" if to.is_empty() => talk.say("554 5.5.1 nobody").await?,
                "DATA" => {
                    talk.say("354 go").await?;
                    if !talk.message(&from, std::mem::take(&mut to)).await? {
                        return Ok(());
                    }
                }
                "QUIT" => return talk.say("221 bye").await,
                _ => talk.say("500 what").await?,
            }
        }
        Ok(())
    }
}

struct Talk {
    primary: Primary,
    stream: DuplexStream,
    buffer: Vec<u8>,
}

impl Talk {
    async fn say(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(format!("{text}\r\n").as_bytes()).await
    }

    async fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            let mut bytes = [0; 4096];
            let read = self.stream.read(&mut bytes).await?;
            if read == 0 || self.primary.inside().mood.down {
                return Ok(None);
            }
            self.buffer.extend_from_slice(&bytes[..read]);
        }
    }

    async fn message(&mut self, from: &str, to: Vec<String>) -> io::Result<bool> {
        let mut content = String::new();
        while let Some(line) = self.line().await? {
            if line == "." {
                return self.dot(Stored { from: from.into(), to, content }).await;
            }
            content.push_str(line.strip_prefix('.').unwrap_or(&line));
            content.push_str("\r\n");
            let poison = self.primary.inside().mood.poison.clone();
            if poison.is_some_and(|poison| content.contains(&poison)) {
                return Ok(false);
            }
        }
        Ok(false)
    }

    async fn dot(&mut self, stored: Stored) -> io::Result<bool> {
        let answers = if self.primary.protocol == Protocol::Lmtp { stored.to.len() } else { 1 };
        let dot = {
            let mut inside = self.primary.inside();
            inside.dots += 1;
            let dot = inside.mood.dot.clone();
            if matches!(dot, Dot::Takes | Dot::Breaks { stored: true }) {
                inside.stored.push(stored);
            }
            dot
        };
        match dot {
            Dot::Takes => {
                for _ in 0..answers {
                    self.say("250 2.0.0 stored").await?;
                }
            }
            Dot::Says(words) => {
                for _ in 0..answers {
                    self.say(&words).await?;
                }
            }
            Dot::Breaks { .. } => return Ok(false),
            Dot::Hangs => sleep(Duration::from_secs(1_000_000)).await,
        }
        Ok(true)
    }
}

/// Two servers: the office at 192.0.2.1, and the rest of the world at 192.0.2.2.
#[derive(Clone)]
pub(super) struct Town {
    servers: Arc<HashMap<IpAddr, Primary>>,
    began: Instant,
}

impl Town {
    pub(super) fn new() -> Town {
        Town::speaking(Protocol::Lmtp)
    }

    pub(super) fn speaking(protocol: Protocol) -> Town {
        let servers = [("192.0.2.1", Primary::new(protocol)), ("192.0.2.2", Primary::new(Protocol::Smtp))];
        let servers = servers.into_iter().map(|(ip, server)| (ip.parse().unwrap(), server)).collect();
        Town { servers: Arc::new(servers), began: Instant::now() }
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    pub(super) fn office(&self) -> Primary {
        self.servers[&"192.0.2.1".parse::<IpAddr>().unwrap()].clone()
    }

    pub(super) fn world(&self) -> Primary {
        self.servers[&"192.0.2.2".parse::<IpAddr>().unwrap()].clone()
    }
}

impl Net for Town {
    fn connect(&self, to: SocketAddr) -> Boxed<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let server = self.servers.get(&to.ip()).ok_or(io::ErrorKind::NetworkUnreachable)?.clone();
            {
                let mut inside = server.inside();
                inside.connections += 1;
                if inside.mood.down {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
            }
            let (ours, theirs) = duplex(64 * 1024);
            tokio::spawn(server.serve(theirs));
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

impl Names for Town {
    fn mx<'a>(&'a self, domain: &'a str) -> Boxed<'a, Result<Vec<Mx>, NameError>> {
        Box::pin(async move {
            match domain {
                "far.example" => Ok(vec![Mx { preference: 10, host: "mx.far.example".into() }]),
                "panic.example" => panic!("a fault of our own"),
                "slow.example" => Err(NameError::Temporary("SERVFAIL".into())),
                _ => Err(NameError::NotFound),
            }
        })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Boxed<'a, Result<Vec<IpAddr>, NameError>> {
        Box::pin(async move {
            match host {
                "mx.far.example" => Ok(vec!["192.0.2.2".parse().unwrap()]),
                _ => Err(NameError::NotFound),
            }
        })
    }
}
