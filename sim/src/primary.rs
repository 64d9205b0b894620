//! A mail system of record that does as it is told: works, hangs, refuses, forgets to answer.
//!
//! It shares no code with the product. Facts it holds to: RFC 5321 §4.1.1.4 (a message is accepted by the reply
//! to the final dot), §4.5.2 (dot transparency), §6.1 (it may be stored although the reply never arrives).

use crate::dice::Dice;
use crate::net::Host;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::task::JoinSet;
use words_world::{Net, Stream};

/// How the primary behaves at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// All well.
    #[default]
    Well,
    /// The port is open, nothing is ever said.
    Silent,
    /// `451` to every recipient.
    Deferring,
    /// One in four final dots is answered by a broken connection, stored or not.
    Dropping,
}

/// What a mailbox of the primary holds: the bytes as they came in, in order of arrival.
pub type Mailboxes = BTreeMap<String, Vec<Vec<u8>>>;

#[derive(Default)]
struct Inside {
    mood: Mood,
    mailboxes: Mailboxes,
}

/// The primary. What it stored survives its death; its connections do not.
#[derive(Clone)]
pub struct Primary {
    inside: Arc<Mutex<Inside>>,
    dice: Dice,
    host: Host,
    at: SocketAddr,
}

impl Primary {
    /// A primary with the given mailboxes (addresses in lower case), listening at `at` once it runs.
    pub fn new(host: Host, at: SocketAddr, addresses: &[&str], dice: Dice) -> Primary {
        let mailboxes = addresses.iter().map(|a| ((*a).to_owned(), Vec::new())).collect();
        let inside = Inside { mailboxes, ..Inside::default() };
        Primary { inside: Arc::new(Mutex::new(inside)), dice, host, at }
    }

    /// Changes its behaviour.
    pub fn set_mood(&self, mood: Mood) {
        self.inside().mood = mood;
    }

    /// A copy of everything it holds.
    pub fn mailboxes(&self) -> Mailboxes {
        self.inside().mailboxes.clone()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mood(&self) -> Mood {
        self.inside().mood
    }

    /// One life of the process: serves until dropped.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn run(self) -> io::Result<()> {
        let door = self.host.listen(self.at).await?;
        let mut sessions = JoinSet::new();
        loop {
            let connected = door.accept().await?;
            let primary = self.clone();
            sessions.spawn(async move { primary.session(connected.stream).await });
            while sessions.try_join_next().is_some() {}
        }
    }

    async fn session(self, stream: Box<dyn Stream>) -> io::Result<()> {
        let mut wire = BufStream::new(stream);
        self.say(&mut wire, "220 primary.example ESMTP").await?;
        let mut recipients: Vec<String> = Vec::new();
        let mut line = String::new();
        loop {
            line.clear();
            if wire.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let command = line.trim_end().to_ascii_uppercase();
            let verb = command.split_whitespace().next().unwrap_or_default();
            match verb {
                "EHLO" | "HELO" => {
                    self.say(
                        &mut wire,
                        "250-primary.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 50000000",
                    )
                    .await?;
                }
                "MAIL" | "RSET" => {
                    recipients.clear();
                    self.say(&mut wire, "250 2.1.0 ok").await?;
                }
                "RCPT" => {
                    let answer = self.recipient(&line, &mut recipients);
                    self.say(&mut wire, answer).await?;
                }
                "DATA" if recipients.is_empty() => {
                    self.say(&mut wire, "554 5.5.1 no valid recipients").await?
                }
                "DATA" => {
                    self.say(&mut wire, "354 go on").await?;
                    let message = read_message(&mut wire).await?;
                    self.final_dot(&mut wire, message, &recipients).await?;
                    recipients.clear();
                }
                "QUIT" => return self.say(&mut wire, "221 2.0.0 bye").await,
                _ => self.say(&mut wire, "250 2.0.0 ok").await?,
            }
        }
    }

    fn recipient(&self, line: &str, recipients: &mut Vec<String>) -> &'static str {
        let address = line.split(['<', '>']).nth(1).unwrap_or_default().to_ascii_lowercase();
        let inside = self.inside();
        if inside.mood == Mood::Deferring {
            return "451 4.3.2 not now";
        }
        if !inside.mailboxes.contains_key(&address) {
            return "550 5.1.1 no such mailbox";
        }
        recipients.push(address);
        "250 2.1.5 ok"
    }

    async fn final_dot(
        &self,
        wire: &mut BufStream<Box<dyn Stream>>,
        message: Vec<u8>,
        to: &[String],
    ) -> io::Result<()> {
        tokio::time::sleep(Duration::from_micros(self.dice.range(100, 20_000))).await;
        let drop_connection = self.mood() == Mood::Dropping && self.dice.one_in(4);
        if !drop_connection || self.dice.one_in(2) {
            let mut inside = self.inside();
            for address in to {
                if let Some(mailbox) = inside.mailboxes.get_mut(address) {
                    mailbox.push(message.clone());
                }
            }
        }
        // Death between storing and answering: the window in which others deliver twice.
        tokio::time::sleep(Duration::from_micros(self.dice.range(10, 2_000))).await;
        if drop_connection {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.say(wire, "250 2.0.0 stored").await
    }

    async fn say(&self, wire: &mut BufStream<Box<dyn Stream>>, text: &str) -> io::Result<()> {
        while self.mood() == Mood::Silent {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        wire.write_all(text.as_bytes()).await?;
        wire.write_all(b"\r\n").await?;
        wire.flush().await
    }
}

async fn read_message(wire: &mut BufStream<Box<dyn Stream>>) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if wire.read_until(b'\n', &mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(message);
        }
        message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
