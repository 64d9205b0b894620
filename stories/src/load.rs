//! A crowd of senders who remember every answer they were given.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The header field that names a message of the load.
pub const STORY_HEADER: &str = "X-Story-Id";

/// What a sender knows about one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// `250` after the final dot, with its text.
    Acknowledged(String),
    /// A `4xx` or `5xx` somewhere in the dialogue.
    Refused(String),
    /// The connection ended before the answer.
    Unknown(String),
}

/// One message of the load.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its id, unique in the story.
    pub id: String,
    /// The recipient's address.
    pub to: String,
    /// What the sender was told last.
    pub outcome: Outcome,
    /// How many times the sender tried.
    pub tries: u32,
    /// From the final dot to its answer, at the last try.
    pub latency: Duration,
    /// When the outcome was known.
    pub at: Instant,
}

impl Sent {
    /// Whether the sender heard a `250`.
    pub fn acknowledged(&self) -> bool {
        matches!(self.outcome, Outcome::Acknowledged(_))
    }
}

/// What the senders do.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where they connect.
    pub target: SocketAddr,
    /// Begins every id, so that two loads of a story never meet.
    pub name: String,
    /// How many at once.
    pub sessions: usize,
    /// Messages of each session.
    pub messages: usize,
    /// Bytes of a message's body.
    pub size: usize,
    /// Envelope sender.
    pub from: String,
    /// Recipients, in turn.
    pub to: Vec<String>,
    /// Whether a sender tries a message again until it is acknowledged, as a real one does.
    pub insist: bool,
    /// Pause of a session between two messages.
    pub pause: Duration,
}

impl Load {
    /// Five sessions of twenty small messages from outside, insisting.
    pub fn new(port: u16, name: &str, to: &[String]) -> Load {
        Load {
            target: SocketAddr::from(([127, 0, 0, 1], port)),
            name: name.to_owned(),
            sessions: 5,
            messages: 20,
            size: 2_000,
            from: "sender@outside.test".to_owned(),
            to: to.to_vec(),
            insist: true,
            pause: Duration::ZERO,
        }
    }

    /// Sends all of it and gives what the senders know.
    pub fn run(&self) -> Vec<Sent> {
        self.start().finish()
    }

    /// Starts sending in the background.
    pub fn start(&self) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let turned_away = Arc::new(Mutex::new(Vec::new()));
        let sent = Arc::new(Mutex::new(Vec::new()));
        let threads = (0..self.sessions)
            .map(|session| {
                let load = self.clone();
                let (stop, acknowledged, sent) = (stop.clone(), acknowledged.clone(), sent.clone());
                let turned_away = turned_away.clone();
                std::thread::spawn(move || {
                    load.session(session, &stop, &acknowledged, &sent, &turned_away);
                })
            })
            .collect();
        Running { stop, acknowledged, turned_away, sent, threads }
    }

    fn session(
        &self,
        session: usize,
        stop: &AtomicBool,
        count: &AtomicUsize,
        sent: &Mutex<Vec<Sent>>,
        turned_away: &Mutex<Vec<String>>,
    ) {
        let mut talk: Option<SmtpTalk> = None;
        for number in 0..self.messages {
            let id = format!("{}-{session}-{number}", self.name);
            let to = &self.to[(session * self.messages + number) % self.to.len()];
            let message = story_message(&id, &self.from, to, self.size);
            let mut tries = 0;
            loop {
                // A message that was begun is ended: the story counts what the senders were told.
                if stop.load(Ordering::Relaxed) && tries == 0 {
                    return;
                }
                tries += 1;
                let begun = Instant::now();
                let (outcome, latency) = self.attempt(&mut talk, to, &message, begun, turned_away);
                let done = matches!(outcome, Outcome::Acknowledged(_)) || !self.insist;
                if done || stop.load(Ordering::Relaxed) {
                    if matches!(outcome, Outcome::Acknowledged(_)) {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    let at = Instant::now();
                    let one = Sent { id, to: to.clone(), outcome, tries, latency, at };
                    sent.lock().unwrap().push(one);
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            std::thread::sleep(self.pause);
        }
        if let Some(mut talk) = talk {
            let _ = talk.command("QUIT");
        }
    }

    fn attempt(
        &self,
        talk: &mut Option<SmtpTalk>,
        to: &str,
        message: &[u8],
        begun: Instant,
        turned_away: &Mutex<Vec<String>>,
    ) -> (Outcome, Duration) {
        if talk.is_none() {
            match SmtpTalk::open(self.target, "outside.test") {
                Ok(open) => *talk = Some(open),
                Err(why) => {
                    turned_away.lock().unwrap().push(why.clone());
                    return (Outcome::Unknown(why), begun.elapsed());
                }
            }
        }
        let Some(open) = talk.as_mut() else { return (Outcome::Unknown(String::new()), begun.elapsed()) };
        match open.send(&self.from, &[to], message) {
            Ok((reply, latency)) if reply.starts_with('2') => (Outcome::Acknowledged(reply), latency),
            Ok((reply, latency)) => {
                // 421 announces that the server hangs up.
                if reply.starts_with("421") || open.command("RSET").is_err() {
                    *talk = None;
                }
                (Outcome::Refused(reply), latency)
            }
            Err(why) => {
                *talk = None;
                (Outcome::Unknown(why), begun.elapsed())
            }
        }
    }
}

/// A load under way.
pub struct Running {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    turned_away: Arc<Mutex<Vec<String>>>,
    sent: Arc<Mutex<Vec<Sent>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// How many messages have been acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// The words of every connection that could not be opened, or was not greeted.
    ///
    /// # Panics
    /// When a sender itself failed.
    pub fn turned_away(&self) -> Vec<String> {
        self.turned_away.lock().unwrap().clone()
    }

    /// Waits for the senders to come to their end.
    ///
    /// # Panics
    /// When a sender itself failed.
    pub fn finish(self) -> Vec<Sent> {
        for thread in self.threads {
            thread.join().expect("a sender of the load failed");
        }
        std::mem::take(&mut *self.sent.lock().unwrap())
    }

    /// Lets each sender end its message, then stops them.
    pub fn stop(self) -> Vec<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }
}

/// A message that can be recognised, whose body can be checked, and that is the same whenever it is made again.
pub fn story_message(id: &str, from: &str, to: &str, size: usize) -> Vec<u8> {
    let mut body = String::with_capacity(size + 80);
    let mut line = 0_u32;
    while body.len() < size {
        body.push_str(&format!(
            "{id} line {line:06} the quick brown fox jumps over the lazy dog 0123456789\r\n"
        ));
        line += 1;
    }
    let hash = blake3::hash(body.as_bytes()).to_hex();
    format!(
        "From: <{from}>\r\nTo: <{to}>\r\nSubject: story {id}\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\
         Message-ID: <{id}@outside.test>\r\n{STORY_HEADER}: {id}\r\nX-Story-Body: {hash}\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=us-ascii\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A plain SMTP client in lock-step: one command, one answer.
pub struct SmtpTalk {
    reader: BufReader<TcpStream>,
}

impl SmtpTalk {
    /// Connects, reads the greeting, says EHLO.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn open(target: SocketAddr, helo: &str) -> Result<SmtpTalk, String> {
        let mut talk = SmtpTalk::connect(target)?;
        let greeting = talk.reply()?;
        if !greeting.starts_with("220") {
            return Err(greeting);
        }
        let hello = talk.command(&format!("EHLO {helo}"))?;
        if hello.starts_with("250") { Ok(talk) } else { Err(hello) }
    }

    /// Connects, and reads nothing yet.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn connect(target: SocketAddr) -> Result<SmtpTalk, String> {
        let stream =
            TcpStream::connect_timeout(&target, Duration::from_secs(10)).map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(|e| e.to_string())?;
        Ok(SmtpTalk { reader: BufReader::new(stream) })
    }

    /// As [`SmtpTalk::connect`], from this address of the loopback network.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub fn connect_from(from: std::net::Ipv4Addr, target: SocketAddr) -> Result<SmtpTalk, String> {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).map_err(|e| e.to_string())?;
        bind(&socket, &SocketAddr::from((from, 0))).map_err(|e| e.to_string())?;
        connect(&socket, &target).map_err(|e| e.to_string())?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(|e| e.to_string())?;
        Ok(SmtpTalk { reader: BufReader::new(stream) })
    }

    /// Sets how long an answer may take.
    pub fn patience(&self, limit: Duration) {
        let _ = self.reader.get_ref().set_read_timeout(Some(limit));
    }

    /// Reads one answer, all its lines, joined by line feeds.
    ///
    /// # Errors
    /// How the connection ended.
    pub fn reply(&mut self) -> Result<String, String> {
        let mut all = String::new();
        loop {
            let mut line = Vec::new();
            let n = self.reader.read_until(b'\n', &mut line).map_err(|e| e.to_string())?;
            if n == 0 {
                return Err("the server closed the connection".to_owned());
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let more = line.as_bytes().get(3) == Some(&b'-');
            all.push_str(&line);
            if !more {
                return Ok(all);
            }
            all.push('\n');
        }
    }

    /// Sends one line and reads its answer.
    ///
    /// # Errors
    /// How the connection ended.
    pub fn command(&mut self, line: &str) -> Result<String, String> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// How the connection ended.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.reader.get_mut().write_all(bytes).map_err(|e| e.to_string())
    }

    /// One transaction. Gives the answer that decided it, and the time from the final dot to its answer.
    ///
    /// # Errors
    /// How the connection ended: the outcome is unknown.
    pub fn send(&mut self, from: &str, to: &[&str], message: &[u8]) -> Result<(String, Duration), String> {
        let reply = self.command(&format!("MAIL FROM:<{from}>"))?;
        if !reply.starts_with("250") {
            return Ok((reply, Duration::ZERO));
        }
        for one in to {
            let reply = self.command(&format!("RCPT TO:<{one}>"))?;
            if !reply.starts_with("25") {
                return Ok((reply, Duration::ZERO));
            }
        }
        let reply = self.command("DATA")?;
        if !reply.starts_with("354") {
            return Ok((reply, Duration::ZERO));
        }
        let mut wire = stuffed(message);
        wire.extend_from_slice(b".\r\n");
        self.write(&wire)?;
        let dot = Instant::now();
        let reply = self.reply()?;
        Ok((reply, dot.elapsed()))
    }

    /// The connection, for stories that want to do strange things with it.
    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }
}

/// Doubles leading dots (RFC 5321 §4.5.2).
pub fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + 64);
    let mut line_start = true;
    for &byte in message {
        if line_start && byte == b'.' {
            wire.push(b'.');
        }
        wire.push(byte);
        line_start = byte == b'\n';
    }
    wire
}
