//! Handing mail over by SMTP or LMTP: one connection, many messages, every wait bounded.
//!
//! A message is handed over in three steps, because a durable record of the attempt has to exist before the final dot:
//! [`Session::begin`] names sender and recipients, [`Session::data`] sends the message without its end, and
//! [`Session::finish`] sends the final dot. Until `finish` nothing was handed over, whatever happens.

mod client_address;
mod hop;
mod probe;
mod safety;
mod wire;

pub use client_address::{Passing, passing};
pub use hop::{Hop, Limits, Place, Stage};
pub use probe::{CallOut, Probe, Step, call_out, probe};
pub use safety::{Safety, Went};

use crate::tls::{TlsFault, TlsMode, TlsTrouble};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use wire::Wire;
use words_mail::{Peer, Recipient, Reply, Sender};
use words_smtp::client::{self, CannotSay, Capabilities, MailParameters, Protocol};
use words_smtp::reply::Answer;
use words_smtp::{BareLine, END_OF_DATA, Stuffer};
use words_world::{NameError, Stream, World};

/// The most addresses of one host that are tried.
const ADDRESSES_MAX: usize = 4;
/// Message bytes gathered before they are written.
const BLOCK: usize = 64 * 1024;

/// Why a dialogue ended early. **Nothing was handed over**: trying again doubles nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{stage}: {why}")]
pub struct NotSent {
    /// How far it came.
    pub stage: Stage,
    /// What happened, in words, control bytes escaped.
    pub why: String,
    /// What the server said, if it said something.
    pub reply: Option<Reply>,
    /// Whether the message itself is at fault: it holds a bare CR or LF, which is never sent on.
    pub unsendable: bool,
}

impl NotSent {
    fn new(stage: Stage, why: impl Into<String>) -> NotSent {
        NotSent { stage, why: why.into(), reply: None, unsendable: false }
    }

    fn reply(stage: Stage, answer: &Answer) -> NotSent {
        let reply = answer.reply();
        NotSent { stage, why: reply.to_string(), reply: Some(reply), unsendable: false }
    }

    fn at(self, stage: Stage) -> NotSent {
        NotSent { stage, ..self }
    }
}

/// One message to hand over: the envelope.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The reverse-path.
    pub sender: Sender,
    /// The forward-paths, at most [`client::RECIPIENTS_MAX`].
    pub recipients: Vec<Recipient>,
    /// Size, body kind and report parameters.
    pub with: MailParameters,
    /// The client that brought the message, for [`Hop::pass_client`]; `None` for what is our own.
    pub client: Option<Peer>,
}

/// A recipient that will not get the message in this transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which recipient of the transaction.
    pub index: usize,
    /// Where it was refused: `Mail` and `Data` refuse the message, `Rcpt` the recipient.
    pub stage: Stage,
    /// The server's words, or ours when the server could not be asked (too large, needs SMTPUTF8).
    pub reply: Reply,
}

/// What the server said to sender and recipients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// The recipients it takes the message for. When empty there is nothing to send.
    pub accepted: Vec<usize>,
    /// The others.
    pub refused: Vec<Refusal>,
}

impl Begun {
    fn refuse(&mut self, indexes: impl IntoIterator<Item = usize>, stage: Stage, reply: &Reply) {
        let refusals = indexes.into_iter().map(|index| Refusal { index, stage, reply: reply.clone() });
        self.refused.extend(refusals);
    }
}

/// What became of the message for one accepted recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The server answered the final dot: yes, later or never.
    Answered(Reply),
    /// The final dot was sent and no answer came: it may or may not be there.
    Unknown(String),
}

/// A dialogue that is ready for messages.
pub struct Session {
    wire: Wire,
    hop: Hop,
    offered: Capabilities,
    encrypted: bool,
    /// Messages begun on this connection.
    begun: u32,
    /// A transaction was begun and not ended: the next one needs `RSET` first.
    open: bool,
    accepted: Vec<usize>,
    stuffer: Stuffer,
    out: Vec<u8>,
    /// The client that the server takes us for.
    client: Option<Peer>,
    /// The server does not let us speak for clients: its words were logged, and it is not asked again.
    client_refused: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("place", &self.hop.place)
            .field("begun", &self.begun)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Opens a connection and goes through banner, `EHLO`, TLS and sign-in.
    ///
    /// # Errors
    /// When any of them fails or takes longer than its limit.
    pub async fn open(world: &World, hop: &Hop) -> Result<Session, NotSent> {
        Session::open_step_by_step(world, hop, &mut Vec::new()).await
    }

    /// As [`Session::open`], keeping how each stage went.
    pub(crate) async fn open_step_by_step(
        world: &World,
        hop: &Hop,
        steps: &mut Vec<Step>,
    ) -> Result<Session, NotSent> {
        let mut seen = Seen::default();
        let demanded = hop.safety.as_ref().is_some_and(|safety| safety.demanded);
        let mode = if demanded { TlsMode::Required } else { hop.tls };
        let opened = match Session::try_open(world, hop, mode, steps, &mut seen).await {
            // RFC 7435 §3: encryption that nobody insisted on must not stop the mail.
            Err(failed) if failed.stage == Stage::Tls && mode == TlsMode::Opportunistic => {
                Session::try_open(world, hop, TlsMode::None, steps, &mut seen).await
            }
            result => result,
        };
        match &hop.safety {
            Some(safety) => safety.tell(opened, seen),
            None => opened,
        }
    }

    async fn try_open(
        world: &World,
        hop: &Hop,
        mode: TlsMode,
        steps: &mut Vec<Step>,
        seen: &mut Seen,
    ) -> Result<Session, NotSent> {
        let mut watch = Stopwatch { steps, since: Instant::now() };
        let (stream, address) = watch.step(Stage::Connect, connect(world, hop).await)?;
        seen.address = address;
        let mut wire = Wire::new(stream);
        let mut encrypted = false;
        if mode == TlsMode::Implicit {
            let upgraded = encrypt(wire, hop, seen).await;
            wire = watch.step(Stage::Tls, upgraded)?;
            encrypted = true;
        }
        let banner = wire.answer(hop.limits.banner).await.map_err(|e| e.at(Stage::Banner));
        watch.answer(Stage::Banner, banner, |answer| answer.code == 220)?;
        let mut session = Session {
            wire,
            hop: hop.clone(),
            offered: Capabilities::default(),
            encrypted,
            begun: 0,
            open: false,
            accepted: Vec::new(),
            stuffer: Stuffer::new(),
            out: Vec::new(),
            client: None,
            client_refused: false,
        };
        watch.answer(Stage::Hello, session.hello().await, Answer::is_yes)?;
        if !encrypted && wants_starttls(mode, &session.offered) {
            session = watch.step(Stage::Tls, session.starttls(seen).await)?;
            watch.answer(Stage::Hello, session.hello().await, Answer::is_yes)?;
        }
        if hop.sign_in.is_some() {
            let signed_in = session.sign_in(mode).await;
            watch.answer(Stage::SignIn, signed_in, Answer::is_yes)?;
        }
        Ok(session)
    }

    /// What the server offers.
    pub fn offered(&self) -> &Capabilities {
        &self.offered
    }

    /// Whether the connection is encrypted.
    pub fn encrypted(&self) -> bool {
        self.encrypted
    }

    /// How many messages were begun on this connection.
    pub fn begun(&self) -> u32 {
        self.begun
    }

    /// Whether another message can be sent on this connection.
    pub fn is_usable(&self) -> bool {
        self.wire.is_usable()
    }

    async fn ask(&mut self, stage: Stage, command: &[u8], limit: Duration) -> Result<Answer, NotSent> {
        self.wire.write(command, limit).await.map_err(|e| e.at(stage))?;
        self.wire.answer(limit).await.map_err(|e| e.at(stage))
    }

    async fn hello(&mut self) -> Result<Answer, NotSent> {
        let name = self.hop.helo.clone();
        self.hello_as(&name).await
    }

    async fn hello_as(&mut self, name: &str) -> Result<Answer, NotSent> {
        let limit = self.hop.limits.hello;
        let hello = said(Stage::Hello, client::hello(self.hop.protocol, name))?;
        let answer = self.ask(Stage::Hello, &hello, limit).await?;
        if answer.is_yes() {
            self.offered = Capabilities::read(&answer);
            return Ok(answer);
        }
        // RFC 5321 §3.2: a server that knows no EHLO says 500 or 502 and may know HELO.
        if matches!(answer.code, 500 | 502) && self.hop.protocol == Protocol::Smtp {
            let helo = said(Stage::Hello, client::helo(name))?;
            self.offered = Capabilities::default();
            return self.ask(Stage::Hello, &helo, limit).await;
        }
        Ok(answer)
    }

    async fn starttls(mut self, seen: &mut Seen) -> Result<Session, NotSent> {
        let limit = self.hop.limits.hello;
        if !self.offered.starttls {
            seen.trouble = Some(TlsTrouble::new(TlsFault::NotOffered, "it offers no STARTTLS"));
            return Err(NotSent::new(Stage::Tls, "STARTTLS is required and not offered; nothing was sent"));
        }
        let answer = self.ask(Stage::Tls, b"STARTTLS\r\n", limit).await?;
        if !answer.is_yes() {
            return Err(NotSent::reply(Stage::Tls, &answer));
        }
        // What arrived behind the 220 came in plain text: anybody may have put it there to be believed later.
        let dropped = self.wire.discard();
        if dropped > 0 {
            tracing::warn!(hop = %self.hop.place, bytes = dropped, "text injected behind STARTTLS was dropped");
        }
        self.wire = encrypt(self.wire, &self.hop, seen).await?;
        self.encrypted = true;
        Ok(self)
    }

    async fn sign_in(&mut self, mode: TlsMode) -> Result<Answer, NotSent> {
        let limit = self.hop.limits.hello;
        let Some(credentials) = self.hop.sign_in.clone() else {
            return Err(NotSent::new(Stage::SignIn, "no credentials"));
        };
        if !self.encrypted && self.hop.tls != TlsMode::None {
            let why = format!("no TLS ({mode:?}), so the password was not sent");
            return Err(NotSent::new(Stage::SignIn, why));
        }
        let knows = |mechanism: &str| self.offered.auth.iter().any(|m| m == mechanism);
        if knows("PLAIN") {
            let command = said(Stage::SignIn, client::auth_plain(&credentials.user, &credentials.password))?;
            return self.ask(Stage::SignIn, &command, limit).await;
        }
        if !knows("LOGIN") {
            let why = format!("the server offers neither AUTH PLAIN nor LOGIN ({:?})", self.offered.auth);
            return Err(NotSent::new(Stage::SignIn, why));
        }
        let mut answer = self.ask(Stage::SignIn, b"AUTH LOGIN\r\n", limit).await?;
        for text in [&credentials.user, &credentials.password] {
            if answer.code != 334 {
                return Ok(answer);
            }
            answer = self.ask(Stage::SignIn, &client::auth_login_answer(text), limit).await?;
        }
        Ok(answer)
    }

    /// Names sender and recipients and asks to send the message; with PIPELINING in one turn (RFC 2920).
    ///
    /// # Errors
    /// When the connection failed. A refusal, of the message or of recipients, is no error.
    pub async fn begin(&mut self, transaction: &Transaction) -> Result<Begun, NotSent> {
        self.begun += 1;
        self.accepted.clear();
        self.stuffer = Stuffer::new();
        self.out.clear();
        self.pass_client(transaction).await?;
        let mut begun = Begun::default();
        // An international recipient makes the whole transaction one (RFC 6531 §3.4); where that is not offered only this
        // recipient is refused.
        let foreign = transaction.recipients.iter().any(|recipient| recipient.address.is_international());
        let utf8 = transaction.with.utf8 || (foreign && self.offered.utf8);
        let with = MailParameters { utf8, ..transaction.with.clone() };
        let mail = match client::mail(&transaction.sender, &with, &self.offered) {
            Ok(mail) => mail,
            Err(cannot) => {
                begun.refuse(0..transaction.recipients.len(), Stage::Mail, &our_words(&cannot));
                return Ok(begun);
            }
        };
        let mut asked = Vec::new();
        for (index, recipient) in transaction.recipients.iter().take(client::RECIPIENTS_MAX).enumerate() {
            match client::rcpt(recipient, &self.offered) {
                Ok(rcpt) => asked.push((index, rcpt)),
                Err(cannot) => begun.refuse([index], Stage::Rcpt, &our_words(&cannot)),
            }
        }
        // Over the limit: not asked this time. The caller asks for at most RECIPIENTS_MAX at once.
        let too_many = Reply::new(452, (4, 5, 3), "too many recipients for one transaction");
        begun.refuse(client::RECIPIENTS_MAX..transaction.recipients.len(), Stage::Rcpt, &too_many);
        if !asked.is_empty() {
            self.envelope(&mail, &asked, &mut begun).await?;
        }
        self.accepted.clone_from(&begun.accepted);
        Ok(begun)
    }

    /// MAIL, RCPTs and DATA.
    async fn envelope(
        &mut self,
        mail: &[u8],
        asked: &[(usize, Vec<u8>)],
        begun: &mut Begun,
    ) -> Result<(), NotSent> {
        let limits = self.hop.limits;
        let pipelining = self.offered.pipelining;
        let reset = std::mem::replace(&mut self.open, true);
        if pipelining {
            let mut all = Vec::with_capacity(64 * (asked.len() + 2));
            if reset {
                all.extend_from_slice(b"RSET\r\n");
            }
            all.extend_from_slice(mail);
            asked.iter().for_each(|(_, rcpt)| all.extend_from_slice(rcpt));
            all.extend_from_slice(b"DATA\r\n");
            self.wire.write(&all, limits.mail).await.map_err(|e| e.at(Stage::Mail))?;
        }
        if reset {
            self.said_or_ask(pipelining, Stage::Mail, b"RSET\r\n", limits.hello).await?;
        }
        let answer = self.said_or_ask(pipelining, Stage::Mail, mail, limits.mail).await?;
        let mail_refused = (!answer.is_yes()).then(|| answer.reply());
        for (index, rcpt) in asked {
            if mail_refused.is_some() && !pipelining {
                break;
            }
            let answer = self.said_or_ask(pipelining, Stage::Rcpt, rcpt, limits.rcpt).await?;
            match (&mail_refused, answer.is_yes()) {
                // Answers to RCPT after a refused MAIL only say that there was none.
                (Some(_), _) => {}
                (None, true) => begun.accepted.push(*index),
                (None, false) => begun.refuse([*index], Stage::Rcpt, &answer.reply()),
            }
        }
        if let Some(reply) = &mail_refused {
            begun.refuse(asked.iter().map(|(index, _)| *index), Stage::Mail, reply);
        }
        if begun.accepted.is_empty() && !pipelining {
            return Ok(());
        }
        let answer = self.said_or_ask(pipelining, Stage::Data, b"DATA\r\n", limits.data).await?;
        match (answer.code == 354, begun.accepted.is_empty()) {
            (true, false) | (false, true) => {}
            // RFC 2920 §3.1: DATA was taken although nobody is left to take the message. The lone dot that would
            // end it might be stored as an empty message, so the connection is given up instead.
            (true, true) => self.wire.give_up(),
            (false, false) => {
                let accepted = std::mem::take(&mut begun.accepted);
                begun.refuse(accepted, Stage::Data, &answer.reply());
            }
        }
        Ok(())
    }

    /// The answer to a command that was said already, or is said now.
    async fn said_or_ask(
        &mut self,
        said: bool,
        stage: Stage,
        command: &[u8],
        limit: Duration,
    ) -> Result<Answer, NotSent> {
        let answer = if said {
            self.wire.answer(limit).await.map_err(|e| e.at(stage))?
        } else {
            self.ask(stage, command, limit).await?
        };
        // RFC 5321 §3.8: 421 says that the server closes, whatever was asked.
        if answer.code == 421 {
            self.wire.give_up();
            return Err(NotSent::reply(stage, &answer));
        }
        Ok(answer)
    }

    /// Sends a part of the message. Parts are gathered into blocks.
    ///
    /// # Errors
    /// When the connection failed, or the message holds a bare CR or LF. The connection is unusable after it.
    pub async fn data(&mut self, part: &[u8]) -> Result<(), NotSent> {
        if let Err(bare) = self.stuffer.push(part, &mut self.out) {
            return Err(self.unsendable(bare));
        }
        if self.out.len() >= BLOCK {
            let limit = self.hop.limits.block;
            if let Err(failed) = self.wire.write(&self.out, limit).await {
                return Err(self.early_answer(failed).await);
            }
            self.out.clear();
        }
        Ok(())
    }

    fn unsendable(&mut self, bare: BareLine) -> NotSent {
        self.wire.give_up();
        NotSent { unsendable: true, ..NotSent::new(Stage::Body, bare.to_string()) }
    }

    /// A server that refuses in the middle of a message says why before it closes; it is worth a short look.
    async fn early_answer(&mut self, failed: NotSent) -> NotSent {
        match self.wire.answer(Duration::from_millis(200)).await {
            Ok(answer) => {
                self.wire.give_up();
                NotSent::reply(Stage::Body, &answer)
            }
            Err(_) => failed.at(Stage::Body),
        }
    }

    /// Sends what is left and the final dot, and waits for the answers: one [`Fate`] for each accepted recipient, in
    /// the order of [`Begun::accepted`].
    ///
    /// # Errors
    /// When the final dot did not leave this machine whole: nothing was handed over.
    pub async fn finish(&mut self) -> Result<Vec<(usize, Fate)>, NotSent> {
        let mut out = std::mem::take(&mut self.out);
        if let Err(bare) = std::mem::take(&mut self.stuffer).finish(&mut out) {
            return Err(self.unsendable(bare));
        }
        out.extend_from_slice(END_OF_DATA);
        // An error here means that not every byte was taken off our hands: the last byte of the end of the message
        // cannot have reached anybody, so no server can have accepted it.
        let written = self.wire.write_end(&out, self.hop.limits.block).await;
        out.clear();
        self.out = out;
        let accepted = std::mem::take(&mut self.accepted);
        if let Err(failed) = written {
            return Err(self.early_answer(failed).await);
        }
        self.open = false;
        let answers = match self.hop.protocol {
            Protocol::Smtp => 1,
            Protocol::Lmtp => accepted.len(),
        };
        let mut fates = Vec::with_capacity(accepted.len());
        for _ in 0..answers {
            fates.push(self.fate().await);
        }
        let last = fates.last().cloned();
        let all = accepted.into_iter().enumerate();
        Ok(all
            .filter_map(|(at, index)| Some((index, fates.get(at).cloned().or_else(|| last.clone())?)))
            .collect())
    }

    async fn fate(&mut self) -> Fate {
        match self.wire.answer(self.hop.limits.dot).await {
            Ok(answer) if matches!(answer.code / 100, 2 | 4 | 5) => {
                if answer.code == 421 {
                    self.wire.give_up();
                }
                Fate::Answered(answer.reply())
            }
            Ok(answer) => {
                self.wire.give_up();
                Fate::Unknown(format!("an answer that is none: {}", answer.reply()))
            }
            Err(failed) => Fate::Unknown(failed.why),
        }
    }

    /// Gives the dialogue up in the middle of a message: nothing more is sent, least of all a final dot.
    pub fn abandon(&mut self) {
        self.wire.give_up();
    }

    /// Says goodbye; waits a moment for the answer, so that the server does not log a lost connection.
    pub async fn quit(mut self) {
        if self.is_usable() {
            let limit = self.hop.limits.quit;
            let _ = self.ask(Stage::Dot, b"QUIT\r\n", limit).await;
        }
    }
}

fn wants_starttls(mode: TlsMode, offered: &Capabilities) -> bool {
    match mode {
        TlsMode::None | TlsMode::Implicit => false,
        TlsMode::Opportunistic => offered.starttls,
        TlsMode::Required => true,
    }
}

fn said<T>(stage: Stage, command: Result<T, CannotSay>) -> Result<T, NotSent> {
    command.map_err(|cannot| NotSent::new(stage, cannot.to_string()))
}

/// The reply that a server would have given, had it been asked.
fn our_words(cannot: &CannotSay) -> Reply {
    let (code, enhanced) = match cannot {
        CannotSay::ControlByte => (553, (5, 1, 3)),
        CannotSay::NeedsUtf8 => (553, (5, 6, 7)),
        CannotSay::TooLarge(_) => (552, (5, 3, 4)),
    };
    Reply::new(code, enhanced, cannot.to_string())
}

type Connection = (Box<dyn Stream>, Option<IpAddr>);

async fn connect(world: &World, hop: &Hop) -> Result<Connection, NotSent> {
    let limits = &hop.limits;
    let (host, port) = match &hop.place {
        Place::Local(path) => {
            let opened = timeout(limits.connect, world.net.connect_local(path)).await;
            return match opened {
                Ok(Ok(stream)) => Ok((stream, None)),
                Ok(Err(e)) => Err(NotSent::new(Stage::Connect, format!("{}: {e}", hop.place))),
                Err(_) => Err(NotSent::new(Stage::Connect, format!("{}: no answer", hop.place))),
            };
        }
        Place::Host(host, port) => (host, *port),
    };
    let addresses =
        if hop.addresses.is_empty() { find(world, host, limits.names).await? } else { hop.addresses.clone() };
    let mut last = NotSent::new(Stage::Names, format!("{host} has no address"));
    for address in addresses.into_iter().take(ADDRESSES_MAX) {
        let to = SocketAddr::new(address, port);
        match timeout(limits.connect, world.net.connect(to)).await {
            Ok(Ok(stream)) => return Ok((stream, Some(address))),
            Ok(Err(e)) => last = NotSent::new(Stage::Connect, format!("{to}: {e}")),
            Err(_) => {
                let after = limits.connect.as_secs_f32();
                last = NotSent::new(Stage::Connect, format!("{to}: no connection after {after} s"));
            }
        }
    }
    Err(last)
}

async fn find(world: &World, host: &str, limit: Duration) -> Result<Vec<IpAddr>, NotSent> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let found = timeout(limit, world.names.addresses(host)).await;
    let found = found.unwrap_or_else(|_| Err(NameError::Temporary("too slow".to_owned())));
    found.map_err(|e| NotSent::new(Stage::Names, format!("{host}: {e}")))
}

async fn encrypt(wire: Wire, hop: &Hop, seen: &mut Seen) -> Result<Wire, NotSent> {
    let name = match &hop.place {
        Place::Host(host, _) => host.as_str(),
        Place::Local(_) => "localhost",
    };
    // Where plain text would do, an unknown certificate is better; where a password follows, it is not good enough.
    let verified = hop.tls != TlsMode::Opportunistic || hop.sign_in.is_some();
    let other = |why: String| TlsTrouble::new(TlsFault::Other, why);
    let shaken = async {
        let stream = wire.into_stream();
        match &hop.safety {
            Some(safety) => {
                let trust = &safety.trust;
                trust.connect_proved(name, stream, &safety.proof, safety.demanded).await
            }
            None if verified => hop.trust.connect(name, stream).await.map(|s| (s, None)).map_err(other),
            None => hop.trust.connect_unverified(name, stream).await.map(|s| (s, None)).map_err(other),
        }
    };
    let trouble = match timeout(hop.limits.tls, shaken).await {
        Ok(Ok((stream, trouble))) => {
            seen.trouble = trouble;
            return Ok(Wire::new(stream));
        }
        Ok(Err(trouble)) => trouble,
        Err(_) => {
            let after = hop.limits.tls.as_secs_f32();
            other(format!("the handshake was not done after {after} s"))
        }
    };
    let why = words_smtp::reply::escape(trouble.why.as_bytes());
    seen.trouble = Some(trouble);
    Err(NotSent::new(Stage::Tls, why))
}

/// What was seen of the encryption while a connection was opened.
#[derive(Default)]
struct Seen {
    address: Option<IpAddr>,
    trouble: Option<TlsTrouble>,
}

/// Keeps how each stage of an opening went.
struct Stopwatch<'a> {
    steps: &'a mut Vec<Step>,
    since: Instant,
}

impl Stopwatch<'_> {
    fn keep(&mut self, stage: Stage, reply: Option<Reply>, failure: Option<String>) {
        let took = std::mem::replace(&mut self.since, Instant::now()).elapsed();
        self.steps.push(Step {
            stage,
            reply,
            micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            failure,
        });
    }

    fn step<T>(&mut self, stage: Stage, result: Result<T, NotSent>) -> Result<T, NotSent> {
        match &result {
            Ok(_) => self.keep(stage, None, None),
            Err(failed) => self.keep(failed.stage, failed.reply.clone(), Some(failed.why.clone())),
        }
        result
    }

    fn answer(
        &mut self,
        stage: Stage,
        result: Result<Answer, NotSent>,
        is_good: impl Fn(&Answer) -> bool,
    ) -> Result<(), NotSent> {
        let result =
            result.and_then(
                |answer| {
                    if is_good(&answer) { Ok(answer) } else { Err(NotSent::reply(stage, &answer)) }
                },
            );
        match result {
            Ok(answer) => {
                self.keep(stage, Some(answer.reply()), None);
                Ok(())
            }
            Err(failed) => self.step(stage, Err(failed)),
        }
    }
}

#[cfg(test)]
mod safety_tests;
#[cfg(test)]
mod tests;
