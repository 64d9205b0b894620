//! One client from its greeting to its good-bye.

use crate::guests::Guest;
use crate::options::Security;
use crate::refusal::refusal;
use crate::road::{Shared, stopped};
use crate::select::Selected;
use crate::sign_in::Pass;
use crate::verbs::Appending;
use crate::wire::{WRITE_BYTES, Wire};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use stores_mailbox::{MailboxError, Mailboxes, MessageReader};
use tokio::sync::watch;
use tokio::time::Instant;
use words_imap::{Code, Command, CommandReader, Event, Fault, Limits, ResponseWriter, Status, Tagged};
use words_mail::AccountId;
use words_world::Stream;

/// What came in by a door.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    pub(crate) peer: IpAddr,
    pub(crate) security: Security,
}

/// A command that has not ended because it waits for a line.
pub(crate) enum Waiting {
    /// AUTHENTICATE waits for the client's words.
    Authenticate { tag: String },
    /// IDLE waits for DONE, and tells what changes meanwhile.
    Idle { tag: String, changes: Option<watch::Receiver<u64>> },
}

/// Where the reading of a message stopped: clients fetch large ones in pieces, one after another.
pub(crate) struct HalfRead {
    pub(crate) uid: u32,
    pub(crate) at: u64,
    pub(crate) reader: MessageReader,
}

pub(crate) struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wire: Wire,
    pub(crate) out: ResponseWriter,
    pub(crate) reader: CommandReader,
    pub(crate) guest: Guest,
    pub(crate) visit: Visit,
    pub(crate) tls: bool,
    pub(crate) account: Option<AccountId>,
    /// The right to go on, where there is something to hold the session to.
    pub(crate) pass: Option<Arc<dyn Pass>>,
    pub(crate) selected: Option<Box<Selected>>,
    pub(crate) condstore: bool,
    pub(crate) qresync: bool,
    /// Names and texts are UTF-8 (RFC 6855).
    pub(crate) utf8: bool,
    pub(crate) waiting: Option<Waiting>,
    pub(crate) appending: Option<Box<Appending>>,
    pub(crate) half_read: Option<Box<HalfRead>>,
    pub(crate) failures: u32,
    /// STARTTLS was granted: TLS begins when the answer is out.
    pub(crate) begin_tls: bool,
    /// The session ends when the answer is out.
    pub(crate) ending: bool,
    /// When somebody must have signed in.
    sign_in_by: Instant,
    /// When it is next looked whether the session may go on.
    pass_look: Instant,
}

enum Woken {
    Read(io::Result<usize>),
    Changed,
    Late,
    Looked,
    Shutdown,
}

/// Whether a session may go on is looked at so often, and before a command that comes later.
const PASS_LOOK: Duration = Duration::from_secs(5);

impl Session {
    /// Serves one connection to its end.
    pub(crate) async fn serve(
        shared: Arc<Shared>,
        stream: Box<dyn Stream>,
        visit: Visit,
        shutdown: watch::Receiver<bool>,
    ) {
        let limits = &shared.options.limits;
        let mut wire = Wire::new(stream, limits.write_time);
        let guest = match shared.guests.enter(visit.peer, limits) {
            Ok(guest) => guest,
            Err(why) => {
                tracing::info!(peer = %visit.peer, why, "an IMAP connection was refused");
                // Words before a handshake would be no TLS.
                if visit.security != Security::Implicit {
                    let mut out = ResponseWriter::new();
                    out.untagged(Status::Bye, Some(&Code::Unavailable), why);
                    let _ = wire.write(out.as_bytes()).await;
                }
                return wire.close().await;
            }
        };
        let mut session = Session {
            reader: CommandReader::new(Limits {
                command: limits.command_before_sign_in,
                ..Limits::default()
            }),
            sign_in_by: Instant::now() + limits.sign_in_time,
            pass_look: Instant::now() + PASS_LOOK,
            wire,
            out: ResponseWriter::new(),
            guest,
            visit,
            tls: false,
            account: None,
            pass: None,
            selected: None,
            condstore: false,
            qresync: false,
            utf8: false,
            waiting: None,
            appending: None,
            half_read: None,
            failures: 0,
            begin_tls: false,
            ending: false,
            shared,
        };
        let ended = session.run(shutdown).await;
        let account = session.account.as_ref().map_or("-", AccountId::as_str);
        match ended {
            Ok(()) => tracing::debug!(peer = %visit.peer, account, "IMAP session ended"),
            Err(error) => tracing::debug!(peer = %visit.peer, account, %error, "IMAP session broke off"),
        }
        session.wire.close().await;
    }

    pub(crate) fn mailboxes(&self) -> &Mailboxes {
        &self.shared.mailboxes
    }

    async fn run(&mut self, mut shutdown: watch::Receiver<bool>) -> io::Result<()> {
        if self.visit.security == Security::Implicit {
            Box::pin(self.handshake()).await?;
        }
        self.greet();
        let mut buffer = Vec::new();
        loop {
            self.flush().await?;
            if self.ending {
                return Ok(());
            }
            if self.begin_tls {
                // What came before the handshake was not protected by it and counts for nothing.
                buffer.clear();
                Box::pin(self.handshake()).await?;
            }
            if self.fill(&mut buffer, &mut shutdown).await? == 0 {
                return Ok(());
            }
            let mut input = &buffer[..];
            while !self.ending && !self.begin_tls {
                let Some(event) = self.reader.next(&mut input) else { break };
                self.event(event).await?;
            }
        }
    }

    /// Waits for bytes; meanwhile tells an idling client what changes. `0`: the session is over.
    async fn fill(
        &mut self,
        buffer: &mut Vec<u8>,
        shutdown: &mut watch::Receiver<bool>,
    ) -> io::Result<usize> {
        let limits = &self.shared.options.limits;
        let now = Instant::now();
        let deadline = match &self.account {
            None => self.sign_in_by,
            Some(_) if self.appending.is_some() || !self.reader.is_idle() && self.waiting.is_none() => {
                now + limits.piece_time
            }
            Some(_) => now + limits.idle_time,
        };
        loop {
            if let Some(pass) = self.pass.as_ref().filter(|_| self.pass_look <= Instant::now()) {
                if let Err(why) = pass.stands() {
                    let account = self.account.as_ref().map_or("-", AccountId::as_str);
                    tracing::info!(peer = %self.visit.peer, account, %why, "an IMAP session is ended");
                    self.bye(&why);
                    return self.flush().await.map(|()| 0);
                }
                self.pass_look = Instant::now() + PASS_LOOK;
            }
            let look = self.pass.as_ref().map(|_| self.pass_look);
            let look = async move {
                match look {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let streaming = self.appending.is_some();
            let changed = async {
                match &mut self.waiting {
                    Some(Waiting::Idle { changes: Some(changes), .. }) => changes.changed().await,
                    _ => std::future::pending().await,
                }
            };
            let woken = tokio::select! {
                biased;
                () = stopped(shutdown) => Woken::Shutdown,
                read = self.wire.read(buffer, streaming) => Woken::Read(read),
                _ = changed => Woken::Changed,
                () = tokio::time::sleep_until(deadline) => Woken::Late,
                () = look => Woken::Looked,
            };
            match woken {
                Woken::Read(read) => return read,
                Woken::Changed => {
                    Box::pin(self.tell_changes()).await?;
                    self.flush().await?;
                    if self.ending {
                        return Ok(0);
                    }
                }
                Woken::Looked => {}
                Woken::Late => {
                    self.bye("you were silent too long");
                    return self.flush().await.map(|()| 0);
                }
                Woken::Shutdown => {
                    self.bye("the server is shutting down; nothing is lost");
                    return self.flush().await.map(|()| 0);
                }
            }
        }
    }

    /// Sends all answers that wait.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let bytes = self.out.take();
        self.wire.write(&bytes).await?;
        self.wire.flush().await
    }

    /// Sends the answers that wait once they are worth sending: so one command never heaps up more than that.
    pub(crate) async fn flush_if_full(&mut self) -> io::Result<()> {
        if self.out.len() < WRITE_BYTES {
            return Ok(());
        }
        let bytes = self.out.take();
        self.wire.write(&bytes).await
    }

    pub(crate) fn bye(&mut self, why: &str) {
        self.out.untagged(Status::Bye, None, why);
        self.ending = true;
    }

    async fn handshake(&mut self) -> io::Result<()> {
        self.begin_tls = false;
        let Some(config) = self.shared.tls.borrow().clone() else {
            return Err(io::Error::other("there is no certificate for TLS"));
        };
        let stream = self.wire.take()?;
        let accept = tokio_rustls::TlsAcceptor::from(config).accept(stream);
        let limit = self.shared.options.limits.handshake_time;
        let stream = tokio::time::timeout(limit, accept)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        self.wire.give(Box::new(stream));
        self.tls = true;
        self.reader = CommandReader::new(Limits {
            command: self.shared.options.limits.command_before_sign_in,
            ..Limits::default()
        });
        Ok(())
    }

    /// What one event of the client's bytes asks for. The work is boxed, so that a session that only waits is small.
    fn event<'a>(
        &'a mut self,
        event: Event<'a>,
    ) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send + 'a>> {
        match event {
            Event::Continue => {
                self.out.continuation("go on");
                Box::pin(self.flush())
            }
            Event::Command(tagged) => self.command(tagged),
            Event::AppendBegin(begin) => Box::pin(self.append_begin(begin)),
            Event::AppendData(data) => Box::pin(self.append_data(data)),
            Event::AppendEnd => Box::pin(async { Ok(()) }),
            Event::AppendDone { tag } => Box::pin(self.append_done(tag)),
            Event::Line(line) => match self.waiting.take() {
                Some(Waiting::Authenticate { tag }) => Box::pin(self.authenticate_line(tag, line)),
                Some(Waiting::Idle { tag, .. }) => Box::pin(self.idle_line(tag, line)),
                None => Box::pin(async { Ok(()) }),
            },
            Event::Fault(fault) => {
                self.fault(fault);
                Box::pin(async { Ok(()) })
            }
        }
    }

    fn fault(&mut self, mut fault: Fault) {
        self.appending = None;
        if let Some(Waiting::Authenticate { tag } | Waiting::Idle { tag, .. }) = self.waiting.take() {
            fault.tag = Some(tag);
        }
        self.out.fault(&fault);
        self.ending |= fault.closes();
    }

    fn command(&mut self, tagged: Tagged) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send + '_>> {
        let Tagged { tag, command } = tagged;
        if let Err(why) = self.is_in_turn(&command) {
            self.out.bad(&tag, why);
            return Box::pin(async { Ok(()) });
        }
        match command {
            Command::Capability
            | Command::Logout
            | Command::StartTls
            | Command::Login { .. }
            | Command::Authenticate { .. }
            | Command::Id(_)
            | Command::Enable(_)
            | Command::Namespace
            | Command::GetQuota { .. }
            | Command::GetQuotaRoot { .. } => Box::pin(self.greetings(tag, command)),
            Command::Noop | Command::Check => Box::pin(self.noop(tag)),
            Command::Select(select) => Box::pin(self.select(tag, select)),
            Command::Close => Box::pin(self.close(tag)),
            Command::Unselect => Box::pin(self.unselect(tag)),
            Command::Create { .. }
            | Command::Delete { .. }
            | Command::Rename { .. }
            | Command::Subscribe { .. }
            | Command::Unsubscribe { .. } => Box::pin(self.tree(tag, command)),
            Command::List(list) => Box::pin(self.list(tag, list)),
            Command::Lsub { reference, pattern } => Box::pin(self.lsub(tag, reference, pattern)),
            Command::Status { mailbox, items } => Box::pin(self.status(tag, mailbox, items)),
            Command::Idle => Box::pin(self.idle(tag)),
            Command::Expunge { uids } => Box::pin(self.expunge(tag, uids)),
            Command::Search(search) => Box::pin(self.search(tag, search)),
            Command::Sort(sort) => Box::pin(self.sort(tag, sort)),
            Command::Thread(thread) => Box::pin(self.thread(tag, thread)),
            Command::Fetch(fetch) => Box::pin(self.fetch(tag, fetch)),
            Command::Store(store) => Box::pin(self.store(tag, store)),
            Command::Copy { uid, set, mailbox } => Box::pin(self.copy(tag, uid, set, mailbox, false)),
            Command::Move { uid, set, mailbox } => Box::pin(self.copy(tag, uid, set, mailbox, true)),
        }
    }

    /// Whether the state of the session allows a command (RFC 3501 §3).
    fn is_in_turn(&self, command: &Command) -> Result<(), &'static str> {
        match command {
            Command::Capability | Command::Noop | Command::Logout | Command::Id(_) => Ok(()),
            Command::StartTls | Command::Login { .. } | Command::Authenticate { .. } => match self.account {
                None => Ok(()),
                Some(_) => Err("you are signed in already"),
            },
            _ if self.account.is_none() => Err("sign in first"),
            Command::Check
            | Command::Close
            | Command::Unselect
            | Command::Expunge { .. }
            | Command::Search(_)
            | Command::Sort(_)
            | Command::Thread(_)
            | Command::Fetch(_)
            | Command::Store(_)
            | Command::Copy { .. }
            | Command::Move { .. }
                if self.selected.is_none() =>
            {
                Err("select a mailbox first")
            }
            _ => Ok(()),
        }
    }

    /// Ends a command as a mailbox error demands.
    pub(crate) fn refuse(&mut self, tag: &str, error: &MailboxError) {
        if error.is_temporary() {
            let account = self.account.as_ref().map_or("-", AccountId::as_str);
            tracing::warn!(peer = %self.visit.peer, account, %error, "an IMAP command was refused");
        }
        let (code, text) = refusal(error);
        self.out.no(tag, Some(&code), &text);
    }
}
