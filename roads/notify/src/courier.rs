//! The ways notices go. None of them goes through a primary.

use crate::words::Letter;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::time::Duration;
use stores_primary::internet::{Internet, NoWay, route};
use stores_primary::smtp::{Fate, Session, Transaction};
use tokio::time::timeout;
use words_mail::{Address, Recipient, Reply, Sender};
use words_smtp::client::MailParameters;
use words_world::{Boxed, World};

/// Why a notice was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotTaken {
    /// In words.
    pub why: String,
    /// Whether trying again is of no use.
    pub for_good: bool,
}

/// A way to one receiver.
pub trait Courier: Send + Sync {
    /// Sends a letter; `Ok` when the other side took it. The road bounds the time.
    fn send<'a>(&'a self, letter: &'a Letter) -> Boxed<'a, Result<(), NotTaken>>;

    /// `mail` or `webhook`, for the ledger.
    fn channel(&self) -> &'static str;

    /// To whom, for the ledger and the log: never a secret.
    fn to(&self) -> &str;
}

/// By mail, straight to the receiver's exchangers or the smart host.
pub struct MailCourier {
    world: World,
    internet: Internet,
    from: Address,
    to: Address,
    shown: String,
}

/// How long one exchanger may take for all of it.
const EXCHANGER: Duration = Duration::from_secs(60);

impl MailCourier {
    /// A way to `to`, which must not live at a primary that it may be told of.
    pub fn new(world: World, internet: Internet, from: Address, to: Address) -> MailCourier {
        let shown = to.to_string();
        MailCourier { world, internet, from, to, shown }
    }

    async fn hand_over(&self, letter: &Letter) -> Result<(), NotTaken> {
        let hops = match route(&self.world, &self.internet, self.to.domain()).await {
            Ok(hops) => hops,
            Err(NoWay::Later(why)) => return Err(NotTaken { why, for_good: false }),
            Err(NoWay::Never(reply)) => return Err(refused(&reply)),
        };
        let message = message(letter, &self.from, &self.to);
        let mut last = NotTaken { why: "there is no exchanger".to_owned(), for_good: false };
        for hop in hops {
            let sent = timeout(EXCHANGER, self.try_hop(&hop, &message)).await;
            match sent.unwrap_or_else(|_| Err(NotTaken { why: "too slow".to_owned(), for_good: false })) {
                Ok(()) => return Ok(()),
                Err(not) if not.for_good => return Err(not),
                Err(not) => last = not,
            }
        }
        Err(last)
    }

    async fn try_hop(&self, hop: &stores_primary::smtp::Hop, message: &[u8]) -> Result<(), NotTaken> {
        let later = |why: String| NotTaken { why, for_good: false };
        let mut session = Session::open(&self.world, hop).await.map_err(|e| later(e.to_string()))?;
        let transaction = Transaction {
            sender: Sender(Some(self.from.clone())),
            recipients: vec![Recipient::new(self.to.clone())],
            with: MailParameters { size: Some(message.len() as u64), ..MailParameters::default() },
            client: None,
        };
        let begun = session.begin(&transaction).await.map_err(|e| later(e.to_string()))?;
        if let Some(refusal) = begun.refused.first() {
            return Err(refused(&refusal.reply));
        }
        session.data(message).await.map_err(|e| later(e.to_string()))?;
        let fates = session.finish().await.map_err(|e| later(e.to_string()))?;
        session.quit().await;
        match fates.into_iter().next() {
            Some((_, Fate::Answered(reply))) if reply.is_yes() => Ok(()),
            Some((_, Fate::Answered(reply))) => Err(refused(&reply)),
            // A notice twice is better than none; it has the same Message-ID.
            Some((_, Fate::Unknown(why))) => Err(later(why)),
            None => Err(later("no answer".to_owned())),
        }
    }
}

fn refused(reply: &Reply) -> NotTaken {
    NotTaken { why: reply.to_string(), for_good: reply.is_never() }
}

impl Courier for MailCourier {
    fn send<'a>(&'a self, letter: &'a Letter) -> Boxed<'a, Result<(), NotTaken>> {
        Box::pin(self.hand_over(letter))
    }

    fn channel(&self) -> &'static str {
        "mail"
    }

    fn to(&self) -> &str {
        &self.shown
    }
}

/// Bytes in a base64 line (RFC 2045 §6.8).
const LINE: usize = 57;

/// The message of a letter (RFC 5322, RFC 3834 §5). Base64, so that no server on the way has to change it.
pub(crate) fn message(letter: &Letter, from: &Address, to: &Address) -> Vec<u8> {
    let mut out = String::new();
    let domain = if from.domain().is_empty() { "localhost" } else { from.domain() };
    // The receiver is part of the id: two receivers at one place get a message each.
    let to_hash = blake3::hash(to.key().as_bytes()).to_hex();
    for line in [
        format!("From: Stormpost <{from}>"),
        format!("To: <{to}>"),
        format!("Date: {}", letter.at.rfc5322()),
        format!("Message-ID: <{}.{}.notice@{domain}>", letter.id, &to_hash[..16]),
        format!("Subject: {}", encoded_words(&letter.subject)),
        "Auto-Submitted: auto-generated".to_owned(),
        "MIME-Version: 1.0".to_owned(),
        "Content-Type: text/plain; charset=utf-8".to_owned(),
        "Content-Transfer-Encoding: base64".to_owned(),
        String::new(),
    ] {
        out.push_str(&line);
        out.push_str("\r\n");
    }
    let text = letter.text.replace("\r\n", "\n").replace('\n', "\r\n");
    for line in text.as_bytes().chunks(LINE) {
        out.push_str(&STANDARD.encode(line));
        out.push_str("\r\n");
    }
    out.into_bytes()
}

/// A subject in RFC 2047 §2 encoded words, where it is not plain ASCII or too long for a line.
fn encoded_words(text: &str) -> String {
    if text.len() <= 200 && text.bytes().all(|b| (32..127).contains(&b)) {
        return text.to_owned();
    }
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if word.len() + c.len_utf8() > 42 {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    let encode = |word: &String| format!("=?utf-8?B?{}?=", STANDARD.encode(word));
    words.iter().map(encode).collect::<Vec<_>>().join("\r\n ")
}
