//! One connection, from greeting to goodbye.

use crate::counts::count;
use crate::door::{Accept, Door, Seat};
use crate::incoming::{Incoming, Surroundings};
use crate::recipients::{self, Place};
use crate::sign_in::SignInRefusal;
use crate::store;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use stores_journal::Receipt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use words_mail::{AccountId, PeerName, PrimaryId, Reply, Sender, Source, Tenant};
use words_smtp::{End, Event, ServerSession};
use words_world::{Connected, Stream, crash_point};

/// Octets read at once between messages: what ten thousand idle connections hold.
const COMMAND_BUFFER: usize = 4 << 10;
/// Octets read at once while a message comes in; more for one that said it is long.
const BODY_BUFFER: usize = 16 << 10;
const LONG_BODY_BUFFER: usize = 64 << 10;

/// What was read and not yet used.
struct Input {
    bytes: Vec<u8>,
    used: usize,
}

impl Input {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    fn is_empty(&self) -> bool {
        self.used == self.bytes.len()
    }

    /// Gives all of the buffer to the next read.
    fn clear(&mut self, capacity: usize) {
        self.used = 0;
        if self.bytes.capacity() == capacity {
            self.bytes.clear();
        } else {
            self.bytes = Vec::with_capacity(capacity);
        }
    }
}

/// The transaction's message and what belongs to it.
pub(crate) struct Letter {
    pub(crate) incoming: Incoming,
    until: Instant,
    buffer: usize,
    _slot: OwnedSemaphorePermit,
}

/// One connection.
pub(crate) struct Dialogue {
    pub(crate) accept: Arc<Accept>,
    pub(crate) door: Door,
    pub(crate) peer: SocketAddr,
    /// What the DNS calls it, once the first message has come.
    pub(crate) name: Option<PeerName>,
    pub(crate) session: ServerSession,
    pub(crate) account: Option<AccountId>,
    /// When it signed in.
    signed_in: Instant,
    /// Sign-ins that failed on this connection.
    failures: u32,
    /// The mail system of record that the peer has proved to be, by certificate or password.
    pub(crate) relay: Option<PrimaryId>,
    /// As what the open transaction came.
    pub(crate) source: Source,
    /// Whose mail the open transaction is, from its first recipient of ours on.
    pub(crate) tenant: Option<Tenant>,
    pub(crate) primary: Option<PrimaryId>,
    pub(crate) letter: Option<Box<Letter>>,
    pub(crate) seat: Seat,
    /// A message whose `250` the sender is not known to have heard.
    unheard: Option<Receipt>,
    shutdown: watch::Receiver<bool>,
    /// When the command that is awaited must be complete.
    command_until: Instant,
}

/// The answer to a sign-in that failed waits so long, and twice as long each time, …
const FAILURE_DELAY: Duration = Duration::from_secs(1);
/// … up to this.
const FAILURE_DELAY_MAX: Duration = Duration::from_secs(8);

/// Why a connection ends without words.
type Ended = io::Error;

impl Dialogue {
    /// Serves a connection to its end.
    pub(crate) async fn serve(
        accept: Arc<Accept>,
        door: Door,
        seat: Seat,
        connected: Connected,
        shutdown: watch::Receiver<bool>,
    ) {
        let Connected { mut stream, peer, .. } = connected;
        let mut tls = None;
        if door == Door::Submissions {
            match Box::pin(encrypt(&accept, door, stream)).await {
                Ok((encrypted, words, _)) => (stream, tls) = (encrypted, Some(words)),
                Err(error) => {
                    tracing::debug!(?door, peer = %peer.ip(), %error, "no handshake");
                    return;
                }
            }
        }
        let session = ServerSession::new(Arc::new(accept.config(door)), tls);
        let command_until = Instant::now() + accept.parts.limits.command_time;
        let mut dialogue = Dialogue {
            accept,
            door,
            peer,
            name: None,
            session,
            account: None,
            signed_in: Instant::now(),
            failures: 0,
            relay: None,
            source: door.source(),
            tenant: None,
            primary: None,
            letter: None,
            seat,
            unheard: None,
            shutdown,
            command_until,
        };
        if let Err(error) = dialogue.talk(stream).await {
            tracing::debug!(?door, peer = %peer.ip(), %error, "the connection broke");
        }
    }

    async fn talk(&mut self, mut stream: Box<dyn Stream>) -> Result<(), Ended> {
        let mut input = Input { bytes: Vec::with_capacity(COMMAND_BUFFER), used: 0 };
        loop {
            let (used, event) = self.session.advance(input.rest());
            match event {
                Event::More => {
                    self.write(&mut stream).await?;
                    if !self.read(&mut stream, &mut input).await? {
                        return Ok(());
                    }
                    continue;
                }
                Event::Content(bytes) => self.take(bytes).await,
                Event::Mail => self.on_mail(),
                Event::Rcpt => self.on_rcpt().await,
                Event::SignIn => Box::pin(self.on_sign_in()).await,
                Event::Body => self.on_body(),
                Event::Reset => self.forget(),
                Event::End(End::Refused(reply)) => {
                    if let Some(t) = self.session.take_refused() {
                        store::log_refused(self, &t.mail.sender, &t.recipients, &reply);
                    }
                    count(&self.accept.counts.refused);
                    self.forget();
                }
                Event::End(End::Whole) => {
                    input.used += used;
                    Box::pin(self.on_message(&mut stream, &mut input)).await?;
                    continue;
                }
                Event::StartTls => {
                    input.used += used;
                    if self.session.begin_tls(!input.is_empty()) {
                        self.write(&mut stream).await?;
                        input.clear(COMMAND_BUFFER);
                        let handshake = encrypt(&self.accept, self.door, stream);
                        let (encrypted, words, relay) = Box::pin(handshake).await?;
                        stream = encrypted;
                        self.session.secured(words);
                        self.account = None;
                        self.relay = relay;
                        self.forget();
                    }
                    continue;
                }
                Event::Close => {
                    self.write(&mut stream).await?;
                    let _ = timeout(self.accept.parts.limits.write_time, stream.shutdown()).await;
                    return Ok(());
                }
            }
            if self.letter.is_none() {
                self.command_until = Instant::now() + self.accept.parts.limits.command_time;
            }
            input.used += used;
        }
    }

    /// Writes what is due, in one piece.
    async fn write(&mut self, stream: &mut Box<dyn Stream>) -> Result<(), Ended> {
        if !self.session.has_output() {
            return Ok(());
        }
        let output = self.session.take_output();
        let write = async {
            stream.write_all(&output).await?;
            stream.flush().await
        };
        timeout(self.accept.parts.limits.write_time, write).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Reads more; `false` when the session is over.
    async fn read(&mut self, stream: &mut Box<dyn Stream>, input: &mut Input) -> Result<bool, Ended> {
        let limits = &self.accept.parts.limits;
        let (until, buffer) = match &self.letter {
            Some(letter) => (letter.until.min(Instant::now() + limits.piece_time), letter.buffer),
            None => (self.command_until, COMMAND_BUFFER),
        };
        input.clear(buffer);
        let between = self.session.transaction().is_none();
        let read = tokio::select! {
            biased;
            read = timeout_at(until, stream.read_buf(&mut input.bytes)) => Some(read),
            _ = self.shutdown.wait_for(|stop| *stop), if between => None,
        };
        let Some(read) = read else {
            return self.hang_up(stream, (4, 3, 2), "shutting down; connect again").await;
        };
        match read {
            Ok(Ok(0)) => Ok(false),
            Ok(Ok(_)) => {
                // Whatever it says now, it says after it could hear our last answer.
                if let Some(receipt) = self.unheard.take() {
                    receipt.heard();
                }
                Ok(true)
            }
            Ok(Err(error)) => Err(error),
            Err(_) => self.hang_up(stream, (4, 4, 2), "nothing was heard for too long; connect again").await,
        }
    }

    async fn hang_up(
        &mut self,
        stream: &mut Box<dyn Stream>,
        enhanced: (u8, u16, u16),
        text: &str,
    ) -> Result<bool, Ended> {
        self.session.hang_up(&Reply::new(421, enhanced, text));
        self.write(stream).await?;
        let _ = timeout(self.accept.parts.limits.write_time, stream.shutdown()).await;
        Ok(false)
    }

    fn forget(&mut self) {
        self.letter = None;
        self.tenant = None;
        self.primary = None;
    }

    fn on_mail(&mut self) {
        let reply = self.judge_sender();
        if !reply.is_yes() {
            tracing::info!(door = ?self.door, peer = %self.peer.ip(), %reply, "sender not taken");
        }
        self.session.answer(&reply);
        self.forget();
    }

    fn judge_sender(&mut self) -> Reply {
        let accept = self.accept.clone();
        let parts = &accept.parts;
        self.source = self.door.source();
        if !self.seat.may_send(accept.messages_per_minute(self.door)) {
            return rules_policy::too_much();
        }
        if self.door != Door::Local && accept.spool.turns_away() {
            return store::spool_full();
        }
        if let Some(account) = &self.account {
            let directory = parts.directory.borrow();
            let live = directory.account(account).is_some_and(|account| !account.suspended);
            if !live || self.signed_in.elapsed() > parts.limits.sign_in_age {
                let text = "you signed in a while ago; connect and sign in again";
                return Reply::new(421, (4, 7, 0), text);
            }
        }
        let sender = self.session.mail().map_or(&Sender::NOBODY, |m| &m.sender);
        // `<>` is what a client's own receipts and refusals carry; the From: field is held to account all the same.
        if let (Some(account), Some(address)) = (&self.account, sender.address())
            && !parts.directory.borrow().may_send_as(account, address)
        {
            let text = format!("{account} may not send as that address; send from one of your own");
            return Reply::new(553, (5, 7, 1), text);
        }
        let refused = match self.door {
            Door::Edge | Door::Submission | Door::Submissions => self.judge_relay(),
            Door::Internal => self.judge_device(),
            Door::Local => None,
        };
        refused.unwrap_or_else(|| Reply::new(250, (2, 1, 0), "sender ok"))
    }

    /// Whether the message comes from a mail system of record for others; why not, where it cannot be anything else.
    fn judge_relay(&mut self) -> Option<Reply> {
        let accept = self.accept.clone();
        let by_address = || match self.door {
            Door::Edge => accept.relays.by_address(self.peer.ip()),
            _ => None,
        };
        let primary = self.relay.clone().or_else(by_address)?;
        let sender = self.session.mail().map_or(&Sender::NOBODY, |m| &m.sender);
        let snapshot = accept.parts.directory.borrow();
        let is_its = |domain| snapshot.domain(domain).is_some_and(|d| d.primary.as_ref() == Some(&primary));
        if sender.address().is_none_or(|address| is_its(address.domain())) {
            self.source = Source::Relay;
            self.relay = Some(primary);
            return None;
        }
        // At the edge it may still write to people here, like everybody.
        (self.door != Door::Edge).then(|| {
            let text = format!(
                "{primary} may send for other organisations as its own domains only; this is none of them"
            );
            Reply::new(553, (5, 7, 1), text)
        })
    }

    fn judge_device(&self) -> Option<Reply> {
        let refuse = |text: &str| Some(Reply::new(550, (5, 7, 1), text));
        let devices = self.accept.parts.devices.as_ref();
        let Some(devices) = devices.filter(|devices| devices.knows(self.peer.ip())) else {
            let text = "this door is for listed devices; add your address to [internal] clients, or sign in at port 587";
            return refuse(text);
        };
        let sender = self.session.mail().and_then(|m| m.sender.address());
        if sender.is_none_or(|sender| !devices.may_send_as(sender)) {
            return refuse("devices send as listed addresses only; add this one to [internal] senders");
        }
        None
    }

    async fn on_rcpt(&mut self) {
        let Some(to) = self.session.candidate().map(|r| r.address.clone()) else { return };
        let accept = self.accept.clone();
        let snapshot = accept.parts.directory.borrow().clone();
        let (call_outs, limits) = (accept.call_outs.as_ref(), &accept.parts.limits);
        let now = accept.parts.world.clock.now();
        let anywhere = accept.parts.devices.as_ref().is_some_and(|devices| devices.anywhere);
        let decided = recipients::decide(self.source, anywhere, &to, &snapshot, call_outs, limits, now);
        let decided = Box::pin(decided).await;
        let reply = match decided.and_then(|place| self.admit(place)) {
            Ok(()) => Reply::new(250, (2, 1, 5), "recipient ok"),
            Err(reply) => {
                if reply.is_never() {
                    count(&accept.counts.recipients_refused);
                }
                let from = self.session.transaction().map(|t| t.mail.sender.to_string()).unwrap_or_default();
                tracing::info!(door = ?self.door, peer = %self.peer.ip(), from, to = %to, %reply, "recipient not taken");
                reply
            }
        };
        self.session.answer(&reply);
    }

    /// Whether the message, as far as it is declared, is one that this organisation and its primary take.
    fn fits(&self, tenant: &Tenant, primary: Option<&PrimaryId>) -> Result<(), Reply> {
        let Some(transaction) = self.session.transaction() else { return Ok(()) };
        let most = self.accept.size_max(tenant, primary);
        if let Some(most) = most.filter(|most| transaction.mail.size.is_some_and(|size| size > *most)) {
            // RFC 1870 §6.1: 552.
            return Err(rules_policy::too_large(most));
        }
        let directory = self.accept.parts.directory.borrow();
        let takes = primary.and_then(|id| directory.learned().takes().of(id));
        if transaction.mail.utf8 && takes.is_some_and(|takes| !takes.utf8) {
            // RFC 6531 §3.5.
            let text = "the mail system of this recipient takes no internationalized mail; send it from a plain address";
            return Err(Reply::new(550, (5, 6, 7), text));
        }
        Ok(())
    }

    /// Keeps the mail of one organisation apart from another's: a message belongs to one.
    fn admit(&mut self, place: Place) -> Result<(), Reply> {
        // What a person or a device sends belongs to its own organisation, whoever it goes to.
        if self.account.is_some() || matches!(self.source, Source::Relay | Source::Internal) {
            return Ok(());
        }
        let Some(tenant) = place.tenant else { return Ok(()) };
        self.fits(&tenant, place.primary.as_ref())?;
        match &self.tenant {
            Some(other) if *other != tenant => {
                let text = "this recipient is of another organisation than those before; send it separately";
                Err(Reply::new(452, (4, 5, 3), text))
            }
            Some(_) => Ok(()),
            None => {
                (self.tenant, self.primary) = (Some(tenant), place.primary);
                Ok(())
            }
        }
    }

    async fn on_sign_in(&mut self) {
        let Some(credentials) = self.session.credentials().cloned() else { return };
        let accept = self.accept.clone();
        (self.account, self.relay) = (None, None);
        if let Some(primary) = accept.relays.by_password(&credentials.user, &credentials.password) {
            tracing::info!(peer = %self.peer.ip(), %primary, "signed in to relay");
            let reply = Reply::new(235, (2, 7, 0), format!("signed in as the mail system {primary}"));
            self.relay = Some(primary);
            return self.session.answer(&reply);
        }
        let check = accept.parts.sign_in.check(&credentials.user, &credentials.password, self.peer.ip());
        let later = || SignInRefusal::Later("it takes too long to check this; try again".to_owned());
        let decided = timeout(accept.parts.limits.sign_in_time, check).await.unwrap_or_else(|_| Err(later()));
        let reply = match decided {
            Ok(account) => {
                tracing::info!(peer = %self.peer.ip(), %account, "signed in to send");
                let reply = Reply::new(235, (2, 7, 0), format!("signed in as {account}"));
                self.account = Some(account);
                self.signed_in = Instant::now();
                reply
            }
            Err(refusal) => {
                count(&accept.counts.sign_ins_failed);
                tracing::info!(peer = %self.peer.ip(), user = ?credentials.user, ?refusal, "sign-in failed");
                // Guessing is slow work here, on each connection and (by their number) from each address.
                let delay = FAILURE_DELAY.saturating_mul(1 << self.failures.min(8)).min(FAILURE_DELAY_MAX);
                self.failures = self.failures.saturating_add(1);
                tokio::time::sleep(delay).await;
                match refusal {
                    SignInRefusal::Wrong => {
                        Reply::new(535, (5, 7, 8), "that name and that password do not go together")
                    }
                    SignInRefusal::Later(words) => Reply::new(454, (4, 7, 0), words),
                }
            }
        };
        self.session.answer(&reply);
    }

    fn on_body(&mut self) {
        let Ok(slot) = self.accept.receiving.clone().try_acquire_owned() else {
            let text = "too many messages are coming in at once; try again";
            self.session.answer(&Reply::new(452, (4, 3, 2), text));
            return;
        };
        let limits = &self.accept.parts.limits;
        let declared = self.session.transaction().and_then(|t| t.mail.size);
        let long = declared.is_some_and(|d| d > LONG_BODY_BUFFER as u64);
        self.letter = Some(Box::new(Letter {
            incoming: Incoming::new(&self.accept.budget, declared),
            until: Instant::now() + limits.message_time,
            buffer: if long { LONG_BODY_BUFFER } else { BODY_BUFFER },
            _slot: slot,
        }));
        self.session.answer(&Reply::new(354, (3, 0, 0), ""));
    }

    async fn take(&mut self, bytes: &[u8]) {
        let Some(letter) = &mut self.letter else { return };
        letter.incoming.push(bytes, &surroundings(&self.accept, self.door)).await;
    }

    /// A message is whole: store it, then answer.
    async fn on_message(&mut self, stream: &mut Box<dyn Stream>, input: &mut Input) -> Result<(), Ended> {
        let stored = match self.letter.take() {
            Some(letter) => store::store(self, letter.incoming).await,
            None => Err(Reply::new(451, (4, 3, 0), "nothing was stored; try again")),
        };
        self.command_until = Instant::now() + self.accept.parts.limits.command_time;
        let (reply, receipt) = match stored {
            Ok((reply, receipt)) => (reply, Some(receipt)),
            Err(reply) => (reply, None),
        };
        // What was sent before our answer proves nothing about whether the answer was heard.
        let ahead = !input.is_empty() || look_ahead(stream, input).await;
        self.session.answer(&reply);
        self.tenant = None;
        self.primary = None;
        if let Some(receipt) = receipt {
            crash_point("accept.before_reply");
            self.write(stream).await?;
            crash_point("accept.after_reply");
            if !ahead {
                self.unheard = Some(receipt);
            }
        }
        Ok(())
    }
}

/// Takes in what has already arrived, without waiting.
async fn look_ahead(stream: &mut Box<dyn Stream>, input: &mut Input) -> bool {
    input.clear(COMMAND_BUFFER);
    let mut room = [0u8; 512];
    let mut buffer = ReadBuf::new(&mut room);
    let ready = poll_fn(|context| Poll::Ready(Pin::new(&mut *stream).poll_read(context, &mut buffer))).await;
    // An error or an end will be met again by the next read.
    if matches!(ready, Poll::Ready(Ok(()))) {
        input.bytes.extend_from_slice(buffer.filled());
    }
    !input.is_empty()
}

pub(crate) fn surroundings(accept: &Accept, door: Door) -> Surroundings<'_> {
    let parts = &accept.parts;
    Surroundings {
        journal: &parts.journal,
        host: &parts.host,
        key: &parts.trace_key,
        header_octets: parts.limits.header_octets,
        digests: door == Door::Edge && parts.authentication.is_some(),
    }
}

/// The handshake, with the certificate of this moment. At the edge the client's is looked at: a mail system of record may
/// prove itself by it.
async fn encrypt(
    accept: &Accept,
    door: Door,
    stream: Box<dyn Stream>,
) -> Result<(Box<dyn Stream>, String, Option<PrimaryId>), Ended> {
    let Some(mut config) = accept.parts.tls.borrow().clone() else {
        return Err(io::Error::other("there is no certificate"));
    };
    if door == Door::Edge {
        config = accept.relays.asking(config).map_err(io::Error::other)?;
    }
    let handshake = TlsAcceptor::from(config).accept(stream);
    let stream = timeout(accept.parts.limits.handshake_time, handshake).await.map_err(|_| timed_out())??;
    let connection = stream.get_ref().1;
    // The library's names with the field's spelling: `TLSv1_3` is written TLSv1.3.
    let version = connection.protocol_version().and_then(|v| Some(v.as_str()?.replace('_', ".")));
    let suite = connection.negotiated_cipher_suite().and_then(|s| s.suite().as_str());
    let words = format!("{} {}", version.as_deref().unwrap_or("TLS"), suite.unwrap_or("unknown"));
    let now = accept.parts.world.clock.now();
    let shown = connection.peer_certificates().filter(|_| door == Door::Edge);
    let relay = shown.and_then(|chain| accept.relays.by_certificate(chain, now));
    Ok((Box::new(stream), words, relay))
}

fn timed_out() -> Ended {
    io::ErrorKind::TimedOut.into()
}
