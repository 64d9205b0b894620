//! Strangers who send mail, keep what they were told, and try again as mail servers do.

use crate::dialogue::{Line, Spoken, begin, say, send_message};
use crate::dice::Dice;
use crate::net::Host;
use crate::record::Record;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One message as its sender knows it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// A mark that stands in the message and in no other.
    pub mark: String,
    /// Who sent it.
    pub from: String,
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
#[derive(Clone, Default)]
pub struct Outbox(Arc<Mutex<Vec<Sent>>>);

impl Outbox {
    /// A copy of it.
    pub fn all(&self) -> Vec<Sent> {
        self.inside().clone()
    }

    /// Adds a message that is about to be sent; its number.
    pub fn add(&self, sent: Sent) -> usize {
        let mut all = self.inside();
        all.push(sent);
        all.len() - 1
    }

    /// Notes what was answered to the message with this number.
    pub fn answered(&self, at: usize, spoken: Spoken) {
        let mut all = self.inside();
        match spoken {
            Spoken::Yes => all[at].acknowledged = true,
            Spoken::Never => all[at].refused = true,
        }
    }

    fn inside(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    /// Where it tells what happened.
    pub record: Record,
    /// Its number, part of every mark.
    pub number: usize,
}

/// The longest pause between two tries, milliseconds.
const PAUSE_MAX: u64 = 10_000;
/// How long one try may take.
const TRY_MAX: Duration = Duration::from_secs(120);

impl Sender {
    /// Sends `count` messages with pauses of up to `gap` milliseconds, each tried until it is acknowledged or refused.
    pub async fn run(self, count: usize, gap: u64) {
        let me = format!("sender {}", self.number);
        for n in 0..count {
            tokio::time::sleep(Duration::from_millis(self.dice.range(1, gap))).await;
            let sent = self.compose(n);
            let at = self.outbox.add(sent.clone());
            let mut pause = 200;
            loop {
                let answer = tokio::time::timeout(TRY_MAX, self.attempt(&sent)).await;
                self.record.note(&me, format_args!("{} {answer:?}", sent.mark));
                if let Ok(Ok(spoken)) = answer {
                    self.outbox.answered(at, spoken);
                    break;
                }
                tokio::time::sleep(Duration::from_millis(self.dice.range(pause, pause * 2))).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }

    fn compose(&self, n: usize) -> Sent {
        let mark = format!("mark-{}-{n}-", self.number);
        let mut to = vec![self.dice.pick(&self.addresses).clone()];
        if self.dice.one_in(4) {
            let other = self.dice.pick(&self.addresses).clone();
            if !to.contains(&other) {
                to.push(other);
            }
        }
        let from = format!("sender{}@outside.example", self.number);
        let long = if self.dice.one_in(12) { 400 } else { 20 };
        let filler =
            "..the hospital's mail goes on\r\n.\u{20}and on\r\n".repeat(self.dice.range(0, long) as usize);
        let bytes = format!(
            "From: {from}\r\nTo: {}\r\nSubject: {mark}\r\nMessage-ID: <{mark}@outside.example>\r\n\r\n{filler}",
            to.join(", "),
        )
        .into_bytes();
        Sent { mark, from, to, bytes, acknowledged: false, refused: false }
    }

    /// One try. `Ok` when there is nothing left to try.
    async fn attempt(&self, sent: &Sent) -> std::io::Result<Spoken> {
        let mut wire = begin(&self.host, self.to).await?;
        say(&mut wire, Line::Silent, 2).await?;
        say(&mut wire, Line::Says("EHLO outside.example"), 2).await?;
        let spoken = send_message(&mut wire, sent).await?;
        if !self.dice.one_in(5) {
            let _ = say(&mut wire, Line::Says("QUIT"), 2).await;
        }
        Ok(spoken)
    }
}
