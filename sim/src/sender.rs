//! Strangers who send mail, keep what they were told, and try again as mail servers do.

use crate::dice::Dice;
use crate::net::Host;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use words_world::{Net, Stream};

/// One message as its sender knows it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// A mark that stands in the message and in no other.
    pub mark: String,
    /// To whom.
    pub to: Vec<String>,
    /// The bytes as sent.
    pub bytes: Vec<u8>,
    /// Whether a `250` to the final dot was read.
    pub acknowledged: bool,
    /// Whether it was refused for good.
    pub refused: bool,
}

/// What all senders together know: the outside's own ledger.
pub type Outbox = Arc<Mutex<Vec<Sent>>>;

/// One sending mail server.
pub struct Sender {
    /// Where it stands.
    pub host: Host,
    /// Where mail goes.
    pub to: SocketAddr,
    /// Whom it writes to.
    pub addresses: Vec<String>,
    /// Its dice.
    pub dice: Dice,
    /// Where it keeps what it was told.
    pub outbox: Outbox,
    /// Its number, part of every mark.
    pub number: usize,
}

/// A single step of the dialogue may take so long.
const PATIENCE: Duration = Duration::from_secs(60);

impl Sender {
    /// Sends `count` messages with pauses, each tried until it is acknowledged or refused.
    pub async fn run(self, count: usize) {
        for n in 0..count {
            tokio::time::sleep(Duration::from_millis(self.dice.range(1, 4_000))).await;
            let at = self.compose(n);
            let mut pause = 200;
            loop {
                let answer = tokio::time::timeout(PATIENCE * 4, self.attempt(at)).await;
                if matches!(answer, Ok(Ok(()))) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(self.dice.range(pause, pause * 2))).await;
                pause = (pause * 2).min(60_000);
            }
        }
    }

    fn compose(&self, n: usize) -> usize {
        let mark = format!("mark-{}-{n}-", self.number);
        let mut to = vec![self.dice.pick(&self.addresses).clone()];
        if self.dice.one_in(4) {
            let other = self.dice.pick(&self.addresses).clone();
            if !to.contains(&other) {
                to.push(other);
            }
        }
        let filler =
            "..the hospital's mail goes on\r\n.\u{20}and on\r\n".repeat(self.dice.range(0, 40) as usize);
        let bytes = format!(
            "From: sender{0}@outside.example\r\nTo: {1}\r\nSubject: {mark}\r\nMessage-ID: <{mark}@outside.example>\r\n\r\n{filler}",
            self.number,
            to.join(", "),
        )
        .into_bytes();
        let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        outbox.push(Sent { mark, to, bytes, acknowledged: false, refused: false });
        outbox.len() - 1
    }

    /// One try. `Ok` when there is nothing left to try.
    async fn attempt(&self, at: usize) -> io::Result<()> {
        let sent = self.outbox.lock().unwrap_or_else(PoisonError::into_inner)[at].clone();
        let mut wire = BufStream::new(self.host.connect(self.to).await?);
        expect(&mut wire, None, 2).await?;
        expect(&mut wire, Some("EHLO outside.example"), 2).await?;
        expect(&mut wire, Some(&format!("MAIL FROM:<sender{}@outside.example>", self.number)), 2).await?;
        for to in &sent.to {
            let code = say(&mut wire, Some(&format!("RCPT TO:<{to}>"))).await?;
            if code / 100 == 5 {
                self.outbox.lock().unwrap_or_else(PoisonError::into_inner)[at].refused = true;
                return Ok(());
            }
            if code / 100 != 2 {
                return Err(io::ErrorKind::Other.into());
            }
        }
        expect(&mut wire, Some("DATA"), 3).await?;
        for line in sent.bytes.split_inclusive(|b| *b == b'\n') {
            if line.starts_with(b".") {
                wire.write_all(b".").await?;
            }
            wire.write_all(line).await?;
        }
        expect(&mut wire, Some("."), 2).await?;
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)[at].acknowledged = true;
        if !self.dice.one_in(5) {
            let _ = say(&mut wire, Some("QUIT")).await;
        }
        Ok(())
    }
}

async fn expect(wire: &mut BufStream<Box<dyn Stream>>, command: Option<&str>, class: u16) -> io::Result<()> {
    let code = say(wire, command).await?;
    if code / 100 == class { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
}

/// Says a command, if there is one, and reads the code of the whole reply.
async fn say(wire: &mut BufStream<Box<dyn Stream>>, command: Option<&str>) -> io::Result<u16> {
    if let Some(command) = command {
        wire.write_all(command.as_bytes()).await?;
        wire.write_all(b"\r\n").await?;
        wire.flush().await?;
    }
    loop {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, wire.read_line(&mut line)).await;
        if read.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return line.get(..3).and_then(|c| c.parse().ok()).ok_or(io::ErrorKind::InvalidData.into());
        }
    }
}
