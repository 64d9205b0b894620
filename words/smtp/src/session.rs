//! The server's session: one state machine for SMTP, submission and LMTP.
//!
//! [`ServerSession::advance`] is fed what arrived and says how much of it is used up and what it means. Some events
//! ask something; the session goes on once they are answered, so that commands are handled strictly in order however
//! they were pipelined (RFC 2920). Any chunking of the same bytes gives the same events.

use crate::answer::write_lines;
use crate::command::{Command, Mail, Mechanism};
use crate::receive::{DataReceiver, Fault, LineWatch, Piece};
use crate::sasl::{self, Credentials};
use std::sync::Arc;
use words_mail::{Recipient, Reply};

mod verbs;

/// Which protocol is spoken; the grammar is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Mail transfer (RFC 5321).
    Smtp,
    /// Submission by people, who sign in under TLS first (RFC 6409).
    Submission,
    /// Local delivery: one reply for each recipient (RFC 2033).
    Lmtp,
}

/// Extensions that may be left out. An edge offers no more than the mail system behind it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extensions {
    /// `8BITMIME` (RFC 6152).
    pub eight_bit: bool,
    /// `SMTPUTF8` (RFC 6531).
    pub utf8: bool,
    /// `DSN` (RFC 3461).
    pub dsn: bool,
    /// `CHUNKING` (RFC 3030).
    pub chunking: bool,
}

impl Default for Extensions {
    fn default() -> Extensions {
        Extensions { eight_bit: true, utf8: true, dsn: true, chunking: true }
    }
}

/// What one session may use. Over a limit the peer is told which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Octets of a command line with its CRLF. Default 4,096.
    pub line_octets: usize,
    /// Recipients of one message. Default 1,000.
    pub recipients: usize,
    /// Octets of one message. Default 50 MiB.
    pub size: u64,
    /// Octets that are read and thrown away of a message that is too big, before the connection is closed; a peer that
    /// is told at the end of its message learns why. Default 500 MiB.
    pub discarded: u64,
    /// Commands that were refused for their form or order. Default 20.
    pub bad_commands: u32,
    /// Recipients refused for good: somebody may be guessing addresses. Default 100.
    pub refused_recipients: u32,
    /// Commands since the last message. Default 5,000, well over twice the recipients.
    pub commands: u32,
    /// Failed sign-ins. Default 3.
    pub sign_ins: u32,
}

impl Default for SessionLimits {
    fn default() -> SessionLimits {
        SessionLimits {
            line_octets: 4_096,
            recipients: 1_000,
            size: 50 << 20,
            discarded: 500 << 20,
            bad_commands: 20,
            refused_recipients: 100,
            commands: 5_000,
            sign_ins: 3,
        }
    }
}

/// How sessions of one door behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// What is spoken.
    pub dialect: Dialect,
    /// The name we go by in the greeting.
    pub host: String,
    /// What is offered beyond PIPELINING, SIZE and ENHANCEDSTATUSCODES.
    pub extensions: Extensions,
    /// Whether a certificate is at hand, so that STARTTLS is offered.
    pub starttls: bool,
    /// What a session may use.
    pub limits: SessionLimits,
}

/// What `MAIL` and the `RCPT`s that were accepted said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The sender and the message's parameters.
    pub mail: Mail,
    /// The accepted recipients, in order.
    pub recipients: Vec<Recipient>,
}

/// How a message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Whole and well-formed; the session waits for [`ServerSession::settle`].
    Whole,
    /// Refused with this reply, which is already in the output; what was collected of it is dropped.
    Refused(Reply),
}

/// What happened. Events marked *asks* are given again until they are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// All input is used up: write the output, then read more.
    More,
    /// Asks whether the sender in [`ServerSession::mail`] may send; [`ServerSession::answer`].
    Mail,
    /// Asks whether the recipient in [`ServerSession::candidate`] is taken; [`ServerSession::answer`].
    Rcpt,
    /// Asks whether [`ServerSession::credentials`] are right; [`ServerSession::answer`].
    SignIn,
    /// Asks whether a message may come now; any 3xx or 2xx says yes; [`ServerSession::answer`].
    Body,
    /// The next bytes of the message.
    Content(&'a [u8]),
    /// The message ended. [`End::Whole`] asks.
    End(End),
    /// The transaction was given up by the peer; what was collected is dropped.
    Reset,
    /// Asks for [`ServerSession::begin_tls`].
    StartTls,
    /// Write the output and close the connection.
    Close,
}

enum Phase {
    Command,
    /// The next line is the one response of PLAIN.
    SaslPlain,
    /// The next line is the user of LOGIN.
    SaslUser,
    /// The next line is the password of LOGIN.
    SaslPassword(String),
    Data(DataReceiver),
    Chunk {
        left: u64,
        last: bool,
    },
    /// A chunk that is not wanted is read nevertheless, so that its bytes are not taken for commands.
    Unwanted {
        left: u64,
        reply: Reply,
    },
    Handshake,
    Closed,
}

enum Asked {
    Mail(Mail),
    Rcpt(Recipient),
    SignIn(Credentials),
    /// DATA, or the first BDAT with its octets and LAST.
    Body(Option<(u64, bool)>),
    End,
    StartTls,
}

/// A message on its way in.
#[derive(Default)]
struct Body {
    octets: u64,
    /// Line ends over all chunks; DATA watches its own.
    watch: LineWatch,
}

/// The server's side of one connection.
pub struct ServerSession {
    config: Arc<ServerConfig>,
    out: Vec<u8>,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// Octets of an overlong line that were thrown away so far.
    overlong: usize,
    phase: Phase,
    asked: Option<Asked>,
    hello: Option<String>,
    extended: bool,
    tls: Option<String>,
    signed_in: bool,
    transaction: Option<Transaction>,
    /// The transaction whose message was refused at its end.
    refused_transaction: Option<Transaction>,
    body: Option<Body>,
    /// Replies owed at the end of a message.
    owed: usize,
    /// DATA was just refused: if what follows is no command, the peer did not wait for the answer and is sending its
    /// message, whose lines must not be obeyed.
    data_refused: bool,
    bad: u32,
    refused: u32,
    commands: u32,
    failed_sign_ins: u32,
}

/// An overlong line is skipped to its end, so that the peer learns why; up to here.
const OVERLONG_OCTETS_MAX: usize = 64 << 10;

/// Line buffers beyond this are given back between commands, so that ten thousand idle sessions stay small.
const LINE_BUFFER_KEPT: usize = 256;

impl ServerSession {
    /// A session whose greeting is ready to be written. `tls` describes the encryption if it began before SMTP did.
    pub fn new(config: Arc<ServerConfig>, tls: Option<String>) -> ServerSession {
        let protocol = if config.dialect == Dialect::Lmtp { "LMTP" } else { "ESMTP" };
        let greeting = format!("220 {} {protocol} Stormpost\r\n", config.host);
        ServerSession {
            config,
            out: greeting.into_bytes(),
            line: Vec::new(),
            overlong: 0,
            phase: Phase::Command,
            asked: None,
            hello: None,
            extended: false,
            tls,
            signed_in: false,
            transaction: None,
            refused_transaction: None,
            body: None,
            owed: 0,
            data_refused: false,
            bad: 0,
            refused: 0,
            commands: 0,
            failed_sign_ins: 0,
        }
    }

    /// What is to be written to the peer now, in one piece.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Whether there is anything to be written.
    pub fn has_output(&self) -> bool {
        !self.out.is_empty()
    }

    /// What the peer called itself, once it has.
    pub fn hello(&self) -> Option<&str> {
        self.hello.as_deref()
    }

    /// The encryption in force.
    pub fn tls(&self) -> Option<&str> {
        self.tls.as_deref()
    }

    /// The open transaction.
    pub fn transaction(&self) -> Option<&Transaction> {
        self.transaction.as_ref()
    }

    /// Takes the transaction out, to be stored, when its message has ended.
    pub fn take_transaction(&mut self) -> Option<Transaction> {
        self.transaction.take()
    }

    /// Takes out the transaction of [`End::Refused`], to be written about.
    pub fn take_refused(&mut self) -> Option<Transaction> {
        self.refused_transaction.take()
    }

    /// What [`Event::Mail`] asks about.
    pub fn mail(&self) -> Option<&Mail> {
        match &self.asked {
            Some(Asked::Mail(mail)) => Some(mail),
            _ => None,
        }
    }

    /// What [`Event::Rcpt`] asks about.
    pub fn candidate(&self) -> Option<&Recipient> {
        match &self.asked {
            Some(Asked::Rcpt(recipient)) => Some(recipient),
            _ => None,
        }
    }

    /// What [`Event::SignIn`] asks about.
    pub fn credentials(&self) -> Option<&Credentials> {
        match &self.asked {
            Some(Asked::SignIn(credentials)) => Some(credentials),
            _ => None,
        }
    }

    /// The protocol word of the `Received:` line (RFC 3848, RFC 6531 §4.3).
    pub fn protocol(&self) -> String {
        let utf8 = self.transaction.as_ref().is_some_and(|t| t.mail.utf8);
        let base = match (self.config.dialect, utf8, self.extended) {
            (Dialect::Lmtp, false, _) => "LMTP",
            (Dialect::Lmtp, true, _) => "UTF8LMTP",
            (_, true, _) => "UTF8SMTP",
            (_, false, true) => "ESMTP",
            (_, false, false) if self.tls.is_some() || self.signed_in => "ESMTP",
            (_, false, false) => "SMTP",
        };
        let secured = if self.tls.is_some() { "S" } else { "" };
        let signed = if self.signed_in { "A" } else { "" };
        format!("{base}{secured}{signed}")
    }

    /// Whether the session stands between messages, with nothing asked and no line begun.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Command) && self.transaction.is_none() && self.line.is_empty()
    }

    /// Whether the peer is in the middle of sending a message.
    pub fn is_receiving(&self) -> bool {
        matches!(self.phase, Phase::Data(_) | Phase::Chunk { .. } | Phase::Unwanted { .. })
    }

    /// Takes input. Returns how many of its bytes are used up, and what happened.
    pub fn advance<'a>(&mut self, input: &'a [u8]) -> (usize, Event<'a>) {
        let mut used = 0;
        loop {
            if let Some(event) = self.outstanding() {
                return (used, event);
            }
            let rest = &input[used..];
            let (taken, event) = match &mut self.phase {
                Phase::Data(_) => self.advance_data(rest),
                Phase::Chunk { .. } => self.advance_chunk(rest),
                Phase::Unwanted { .. } => self.advance_unwanted(rest),
                Phase::Handshake if rest.is_empty() => (0, Some(Event::More)),
                Phase::Handshake => {
                    self.phase = Phase::Closed;
                    (0, None)
                }
                _ => self.advance_line(rest),
            };
            used += taken;
            if let Some(event) = event {
                return (used, event);
            }
        }
    }

    /// An event that still waits for its answer, or the end.
    fn outstanding(&self) -> Option<Event<'static>> {
        Some(match (&self.asked, &self.phase) {
            (Some(Asked::Mail(_)), _) => Event::Mail,
            (Some(Asked::Rcpt(_)), _) => Event::Rcpt,
            (Some(Asked::SignIn(_)), _) => Event::SignIn,
            (Some(Asked::Body(_)), _) => Event::Body,
            (Some(Asked::End), _) => Event::End(End::Whole),
            (Some(Asked::StartTls), _) => Event::StartTls,
            (None, Phase::Closed) => Event::Close,
            (None, _) => return None,
        })
    }

    fn advance_line<'a>(&mut self, rest: &'a [u8]) -> (usize, Option<Event<'a>>) {
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return (rest.len(), self.keep_part(rest));
        };
        let taken = end + 1;
        if self.overlong > 0 || self.line.len() + taken > self.config.limits.line_octets {
            self.overlong = 0;
            self.line = Vec::new();
            self.phase = Phase::Command;
            self.refuse_command(500, (5, 2), "the line is too long; split it up or leave parameters out");
            return (taken, None);
        }
        let mut kept = std::mem::take(&mut self.line);
        let whole = if kept.is_empty() {
            &rest[..end]
        } else {
            kept.extend_from_slice(&rest[..end]);
            &kept[..]
        };
        let event = match whole.strip_suffix(b"\r") {
            Some(line) if !line.contains(&b'\r') => self.on_line(line),
            // Whoever ends lines otherwise may also end messages otherwise; nothing more of it is obeyed.
            _ => {
                let text = "a line must end in CRLF, and have no other CR or LF; nothing was done";
                self.say(500, (5, 5, 2), text);
                self.close(421, (4, 7, 0), "closing, because we do not agree on where lines end");
                None
            }
        };
        kept.clear();
        if kept.capacity() <= LINE_BUFFER_KEPT && self.line.capacity() == 0 {
            self.line = kept;
        }
        (taken, event)
    }

    /// Keeps a part of a line, within its limit.
    fn keep_part(&mut self, part: &[u8]) -> Option<Event<'static>> {
        if self.overlong == 0 && self.line.len() + part.len() <= self.config.limits.line_octets {
            self.line.extend_from_slice(part);
            return Some(Event::More);
        }
        self.overlong += self.line.len() + part.len();
        self.line = Vec::new();
        if self.overlong > OVERLONG_OCTETS_MAX {
            self.say(500, (5, 5, 2), "the line is far too long");
            self.close(421, (4, 7, 0), "closing, because the line does not end");
            return None;
        }
        Some(Event::More)
    }

    fn advance_data<'a>(&mut self, rest: &'a [u8]) -> (usize, Option<Event<'a>>) {
        let Phase::Data(receiver) = &mut self.phase else { return (0, None) };
        let (taken, piece) = receiver.next(rest);
        let fault = receiver.fault();
        let event = match piece {
            Piece::More => Some(Event::More),
            Piece::Content(bytes) => self.content(bytes, fault),
            Piece::End => {
                self.phase = Phase::Command;
                Some(self.end_of_message(fault))
            }
        };
        (taken, event)
    }

    fn advance_chunk<'a>(&mut self, rest: &'a [u8]) -> (usize, Option<Event<'a>>) {
        let Phase::Chunk { left, last } = &mut self.phase else { return (0, None) };
        if *left > 0 {
            if rest.is_empty() {
                return (0, Some(Event::More));
            }
            let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= taken as u64;
            let Some(body) = &mut self.body else { return (taken, None) };
            body.watch.see(&rest[..taken]);
            let fault = body.watch.fault();
            return (taken, self.content(&rest[..taken], fault));
        }
        let last = *last;
        self.phase = Phase::Command;
        if last {
            let fault = self.body.as_ref().and_then(|b| b.watch.finish());
            return (0, Some(self.end_of_message(fault)));
        }
        // A fault is told at the end of the message only: the peer has to hear it about the message, not a part.
        self.say(250, (2, 0, 0), "part received, send the next");
        (0, None)
    }

    fn advance_unwanted<'a>(&mut self, rest: &'a [u8]) -> (usize, Option<Event<'a>>) {
        let Phase::Unwanted { left, reply } = &mut self.phase else { return (0, None) };
        if *left > 0 && rest.is_empty() {
            return (0, Some(Event::More));
        }
        let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= taken as u64;
        if *left == 0 {
            let reply = reply.clone();
            self.phase = Phase::Command;
            self.write(&reply);
        }
        (taken, None)
    }

    /// Counts bytes of the message, and gives them out while the message can still be taken.
    fn content<'a>(&mut self, bytes: &'a [u8], fault: Option<Fault>) -> Option<Event<'a>> {
        let Some(body) = &mut self.body else { return None };
        body.octets = body.octets.saturating_add(bytes.len() as u64);
        let limits = &self.config.limits;
        if body.octets > limits.size.saturating_add(limits.discarded) {
            let reply = self.too_big();
            self.write_for_all(&reply);
            self.refused_transaction = self.transaction.take();
            self.body = None;
            self.close(421, (4, 3, 0), "closing, because the message does not end");
            return Some(Event::End(End::Refused(reply)));
        }
        (fault.is_none() && body.octets <= limits.size).then_some(Event::Content(bytes))
    }

    fn too_big(&self) -> Reply {
        let text = format!("the message is larger than {} octets, the limit here", self.config.limits.size);
        Reply::new(552, (5, 3, 4), text)
    }

    /// Judges a message at its true end.
    ///
    /// After a bare CR or LF the connection is closed as well. We are in step with every peer that ends messages by
    /// CRLF.CRLF; but whatever follows on this connection is just what a smuggler would have us take for a message of
    /// its own, and an honest peer loses nothing by connecting again.
    fn end_of_message(&mut self, fault: Option<Fault>) -> Event<'static> {
        let octets = self.body.take().map_or(0, |b| b.octets);
        self.commands = 0;
        let recipients = self.transaction.as_ref().map_or(1, |t| t.recipients.len());
        self.owed = if self.config.dialect == Dialect::Lmtp { recipients } else { 1 };
        let reply = match fault {
            Some(Fault::BareCr | Fault::BareLf) => Reply::new(
                550,
                (5, 6, 11),
                "the message has a bare CR or LF, as in SMTP smuggling; nothing was stored; \
                 send every line end as CRLF",
            ),
            Some(Fault::Nul) => Reply::new(
                554,
                (5, 6, 0),
                "the message has a NUL byte, which no mailbox can show; nothing was stored; encode it",
            ),
            None if octets > self.config.limits.size => self.too_big(),
            None => {
                self.asked = Some(Asked::End);
                return Event::End(End::Whole);
            }
        };
        self.write_for_all(&reply);
        self.refused_transaction = self.transaction.take();
        if matches!(fault, Some(Fault::BareCr | Fault::BareLf)) {
            self.close(421, (4, 7, 0), "closing, because we do not agree on where lines end");
        }
        Event::End(End::Refused(reply))
    }

    /// Answers [`Event::Mail`], [`Event::Rcpt`], [`Event::SignIn`] or [`Event::Body`]: 2xx (or 3xx) is yes. For
    /// [`Event::End`] it is the answer for every recipient.
    pub fn answer(&mut self, reply: &Reply) {
        let yes = reply.code < 400;
        match self.asked.take() {
            // After that the server closes (RFC 5321 §3.8).
            Some(Asked::Mail(_)) if reply.code == 421 => {
                self.close(421, reply.enhanced.unwrap_or((4, 3, 0)), &reply.text)
            }
            Some(Asked::Mail(mail)) => {
                if yes {
                    self.transaction = Some(Transaction { mail, recipients: Vec::new() });
                }
                self.write(reply);
            }
            Some(Asked::Rcpt(recipient)) => self.answer_rcpt(recipient, yes, reply),
            Some(Asked::SignIn(_)) => self.answer_sign_in(yes, reply),
            Some(Asked::Body(chunk)) => self.answer_body(chunk, yes, reply),
            Some(Asked::End) => {
                self.write_for_all(reply);
                self.transaction = None;
            }
            Some(Asked::StartTls) => self.asked = Some(Asked::StartTls),
            None => {}
        }
    }

    /// Answers [`Event::End`] by LMTP, with one reply for each recipient in order; by SMTP the first is the answer.
    /// Missing replies are made up by the last one.
    pub fn settle(&mut self, replies: &[Reply]) {
        if !matches!(self.asked, Some(Asked::End)) {
            return;
        }
        self.asked = None;
        self.transaction = None;
        let Some(last) = replies.last() else { return };
        for n in 0..std::mem::take(&mut self.owed) {
            self.write(replies.get(n).unwrap_or(last));
        }
    }

    fn answer_rcpt(&mut self, recipient: Recipient, yes: bool, reply: &Reply) {
        self.write(reply);
        if yes {
            if let Some(transaction) = &mut self.transaction {
                transaction.recipients.push(recipient);
            }
        } else if reply.is_never() {
            self.refused += 1;
            if self.refused > self.config.limits.refused_recipients {
                self.close(421, (4, 7, 0), "too many recipients were refused; closing");
            }
        }
    }

    fn answer_sign_in(&mut self, yes: bool, reply: &Reply) {
        self.write(reply);
        self.signed_in = yes;
        if !yes {
            self.failed_sign_ins += 1;
            if self.failed_sign_ins >= self.config.limits.sign_ins {
                self.close(421, (4, 7, 0), "too many failed sign-ins; connect again later");
            }
        }
    }

    fn answer_body(&mut self, chunk: Option<(u64, bool)>, yes: bool, reply: &Reply) {
        match (yes, chunk) {
            (true, None) => {
                self.body = Some(Body::default());
                self.phase = Phase::Data(DataReceiver::new());
                write_lines(&mut self.out, 354, None, "send the message, end with CRLF.CRLF");
            }
            (true, Some((octets, last))) => {
                self.body = Some(Body::default());
                self.phase = Phase::Chunk { left: octets, last };
            }
            (false, None) => {
                self.write(reply);
                self.transaction = None;
                self.data_refused = true;
            }
            (false, Some((octets, _))) => {
                self.transaction = None;
                self.unwanted(octets, reply.clone());
            }
        }
    }

    /// Answers [`Event::StartTls`]. `bytes_behind` tells whether anything that arrived in the clear is still unread:
    /// that could have been put there by anybody on the way (RFC 3207 §5), so the session ends. `true` means: write
    /// the output, do the handshake with nothing but fresh bytes, then call [`ServerSession::secured`].
    pub fn begin_tls(&mut self, bytes_behind: bool) -> bool {
        if !matches!(self.asked, Some(Asked::StartTls)) {
            return false;
        }
        self.asked = None;
        if bytes_behind {
            self.say(
                554,
                (5, 5, 1),
                "something was sent behind STARTTLS before the handshake; it was not obeyed",
            );
            self.close(421, (4, 7, 0), "closing, because somebody may have tampered with the connection");
            return false;
        }
        self.say(220, (2, 0, 0), "begin the handshake");
        self.phase = Phase::Handshake;
        true
    }

    /// The handshake is done; `tls` describes its result. Everything said before is forgotten (RFC 3207 §4.2).
    pub fn secured(&mut self, tls: String) {
        self.tls = Some(tls);
        self.hello = None;
        self.extended = false;
        self.signed_in = false;
        self.transaction = None;
        self.body = None;
        self.line = Vec::new();
        self.phase = Phase::Command;
    }

    /// Ends the session with a last reply, as for a time-out or a shutdown.
    pub fn hang_up(&mut self, reply: &Reply) {
        self.write(reply);
        self.asked = None;
        self.phase = Phase::Closed;
    }

    fn write(&mut self, reply: &Reply) {
        write_lines(&mut self.out, reply.code, reply.enhanced, &reply.text);
    }

    fn write_for_all(&mut self, reply: &Reply) {
        let recipients = self.transaction.as_ref().map_or(1, |t| t.recipients.len());
        let owed = match std::mem::take(&mut self.owed) {
            0 if self.config.dialect == Dialect::Lmtp => recipients,
            0 => 1,
            owed => owed,
        };
        for _ in 0..owed {
            self.write(reply);
        }
    }

    fn say(&mut self, code: u16, enhanced: (u8, u16, u16), text: &str) {
        write_lines(&mut self.out, code, Some(enhanced), text);
    }

    fn close(&mut self, code: u16, enhanced: (u8, u16, u16), text: &str) {
        self.say(code, enhanced, text);
        self.asked = None;
        self.phase = Phase::Closed;
    }
}

#[cfg(test)]
mod tests;
