//! A primary's mailboxes by IMAP: one signed-in connection, every wait bounded, every outcome known or said to be unknown.

mod folders;
mod following;
mod hop;
mod open;
mod probe;
mod reading;
mod refusal;
mod wire;
mod writing;

pub use hop::{Hop, Limits, SignIn, Stage};
pub use probe::{Probe, Step, probe};

use crate::store::{
    Carried, Changes, Folder, FolderStatus, MailStore, NewCopy, Piece, Placed, Selected, Standing,
    StoreError, Summary,
};
use following::Bodies;
use reading::Reading;
use refusal::refusal;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;
use wire::{Said, Wire};
use words_imap::client::{Literals, Request, Untagged};
use words_imap::{Code, Flag, SequenceSet, Status, StoreHow};
use words_world::{Boxed, World};
use writing::sets;

/// A message must come at least this fast, in bytes a second, once the time for an answer is over.
const PACE: u64 = 4 * 1024;
/// How long an IDLE lasts at most: servers end a connection that is silent for 30 minutes (RFC 2177).
const IDLE_MAX: Duration = Duration::from_secs(25 * 60);

/// A signed-in connection to an IMAP server.
pub struct ImapStore {
    wire: Wire,
    limits: Limits,
    prefix: String,
    count: u64,
    /// The tag of the command that is under way.
    tag: String,
    /// A command was begun and its answer not yet heard.
    busy: bool,
    capabilities: Vec<String>,
    literals: Literals,
    reading: Option<Reading>,
    bodies: Bodies,
    /// Removals are told by UID.
    qresync: bool,
}

impl fmt::Debug for ImapStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImapStore").field("commands", &self.count).finish_non_exhaustive()
    }
}

impl ImapStore {
    /// Connects, encrypts, signs in.
    ///
    /// # Errors
    /// When any of them fails or takes longer than its limit.
    pub async fn open(world: &World, hop: &Hop, sign_in: &SignIn) -> Result<ImapStore, StoreError> {
        open::open(world, hop, sign_in, &mut |_, _, _| {}).await
    }

    fn new(wire: Wire, limits: Limits, prefix: String) -> ImapStore {
        ImapStore {
            wire,
            limits,
            prefix,
            count: 0,
            tag: String::new(),
            busy: false,
            capabilities: Vec::new(),
            literals: Literals::Synchronising,
            reading: None,
            bodies: Bodies::default(),
            qresync: false,
        }
    }

    /// Whether the server said that it can do this; the word in capitals.
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|c| c == capability)
    }

    /// Starts writing a command with a tag of its own.
    fn request(&mut self, verb: &str) -> Request {
        self.count += 1;
        self.tag = format!("{}{}", self.prefix, self.count);
        Request::new(&self.tag, verb, self.literals)
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        self.wire.check()?;
        if self.busy || self.reading.is_some() {
            return Err(self.wire.fail("an earlier command was given up in the middle"));
        }
        self.busy = true;
        Ok(())
    }

    /// Sends a command whole. On failure the server cannot have read all of it, so it has not obeyed it.
    async fn send(&mut self, request: Request, end: Instant) -> Result<(), StoreError> {
        match request.pieces() {
            Ok(pieces) => self.send_pieces(&pieces, end).await,
            Err(unsayable) => {
                self.busy = false;
                Err(StoreError::Unsupported(unsayable.to_string()))
            }
        }
    }

    async fn send_pieces(&mut self, pieces: &[Vec<u8>], end: Instant) -> Result<(), StoreError> {
        for (at, piece) in pieces.iter().enumerate() {
            if at > 0 {
                self.continued(end).await?;
            }
            match self.wire.write(piece, self.limits.block).await {
                Ok(()) => {}
                // Every byte was taken: the answer decides, if one comes.
                Err(unwritten) if unwritten.taken == piece.len() && at + 1 == pieces.len() => {}
                Err(unwritten) => return Err(unwritten.why),
            }
        }
        Ok(())
    }

    /// Waits for `+`; whether the selected folder was said to have changed meanwhile.
    async fn continued(&mut self, end: Instant) -> Result<bool, StoreError> {
        let mut changed = false;
        loop {
            match self.wire.next(self.limits.answer, end).await? {
                Said::Continue => return Ok(changed),
                Said::Tagged { tag, status, code, text } if tag == self.tag => {
                    self.busy = false;
                    return match status {
                        // A command that is not whole yet cannot have been done.
                        Status::Ok => Err(self.wire.fail("the server answered a command that was not sent")),
                        _ => Err(refusal(status, code.as_ref(), &text)),
                    };
                }
                Said::Tagged { .. } => return Err(self.wire.fail("an answer to another command")),
                Said::Untagged(said) => changed |= is_change(&said),
                _ => {}
            }
        }
    }

    /// Hears everything up to the answer of the command under way.
    async fn finish(
        &mut self,
        silence: Duration,
        end: Instant,
        mut each: impl FnMut(Untagged) + Send,
    ) -> Result<Option<Code>, StoreError> {
        loop {
            match self.wire.next(silence, end).await? {
                Said::Tagged { tag, status, code, text } if tag == self.tag => {
                    self.busy = false;
                    return match status {
                        Status::Ok => Ok(code),
                        _ => Err(refusal(status, code.as_ref(), &text)),
                    };
                }
                Said::Tagged { .. } => return Err(self.wire.fail("an answer to another command")),
                Said::Untagged(untagged) => each(untagged),
                // A whole message that nobody asked for is stepped over.
                Said::Continue | Said::BodyBegin(_) | Said::BodyData(_) | Said::BodyEnd => {}
            }
        }
    }

    /// A command that changes nothing, or may be repeated.
    async fn ask(
        &mut self,
        request: Request,
        whole: Duration,
        each: impl FnMut(Untagged) + Send,
    ) -> Result<Option<Code>, StoreError> {
        let end = Instant::now() + whole;
        self.begin()?;
        self.send(request, end).await?;
        self.finish(self.limits.answer, end, each).await
    }

    async fn idle(&mut self, most: Duration) -> Result<bool, StoreError> {
        if !self.can("IDLE") {
            return Err(StoreError::Unsupported("the server has no IDLE".to_owned()));
        }
        let request = self.request("IDLE");
        let end = Instant::now() + self.limits.answer;
        self.begin()?;
        self.send(request, end).await?;
        let mut changed = self.continued(end).await?;
        let until = Instant::now() + most.min(IDLE_MAX);
        while !changed && Instant::now() < until {
            match self.wire.next_or_none(until).await? {
                None => break,
                Some(Said::Untagged(said)) => changed = is_change(&said),
                Some(Said::Tagged { .. }) => return Err(self.wire.fail("the server ended IDLE by itself")),
                Some(_) => {}
            }
        }
        let limit = self.limits.answer;
        self.wire.write(b"DONE\r\n", limit).await.map_err(|unwritten| unwritten.why)?;
        let mut also = false;
        self.finish(limit, Instant::now() + limit, |said| also |= is_change(&said)).await?;
        Ok(changed || also)
    }
}

fn is_change(said: &Untagged) -> bool {
    matches!(
        said,
        Untagged::Exists(_) | Untagged::Expunge(_) | Untagged::Vanished { .. } | Untagged::Fetch(_)
    )
}

impl MailStore for ImapStore {
    fn is_usable(&self) -> bool {
        self.wire.is_usable() && !self.busy
    }

    fn folders(&mut self) -> Boxed<'_, Result<Vec<Folder>, StoreError>> {
        Box::pin(self.list())
    }

    fn select<'a>(&'a mut self, folder: &'a str, read_only: bool) -> Boxed<'a, Result<Selected, StoreError>> {
        Box::pin(self.do_select(folder, read_only))
    }

    fn status<'a>(&'a mut self, folder: &'a str) -> Boxed<'a, Result<FolderStatus, StoreError>> {
        Box::pin(self.do_status(folder))
    }

    fn headers_above<'a>(
        &'a mut self,
        uid: u32,
        fields: &'a [&'a str],
        each: &'a mut (dyn FnMut(Summary) + Send),
    ) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let Some(first) = uid.checked_add(1) else { return Ok(()) };
            self.headers(&SequenceSet::starting(first), uid, fields, each).await
        })
    }

    fn headers_of<'a>(
        &'a mut self,
        uids: &'a [u32],
        fields: &'a [&'a str],
        each: &'a mut (dyn FnMut(Summary) + Send),
    ) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(async move {
            for set in sets(uids) {
                self.headers(&set, 0, fields, each).await?;
            }
            Ok(())
        })
    }

    fn find_header<'a>(
        &'a mut self,
        name: &'a str,
        text: &'a str,
    ) -> Boxed<'a, Result<Vec<u32>, StoreError>> {
        Box::pin(self.find(name, text))
    }

    fn open_body(&mut self, uid: u32) -> Boxed<'_, Result<Option<u64>, StoreError>> {
        Box::pin(self.begin_reading(uid))
    }

    fn body_part(&mut self) -> Boxed<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(self.read_on())
    }

    fn append<'a>(&'a mut self, new: NewCopy<'a>) -> Boxed<'a, Result<Option<Placed>, StoreError>> {
        Box::pin(self.do_append(new))
    }

    fn change_flags<'a>(
        &'a mut self,
        uids: &'a [u32],
        how: StoreHow,
        flags: &'a [Flag],
    ) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(self.flags(uids, how, flags))
    }

    fn copy<'a>(
        &'a mut self,
        uids: &'a [u32],
        folder: &'a str,
    ) -> Boxed<'a, Result<Option<Carried>, StoreError>> {
        Box::pin(self.carry("UID COPY", uids, folder))
    }

    fn move_to<'a>(
        &'a mut self,
        uids: &'a [u32],
        folder: &'a str,
    ) -> Boxed<'a, Result<Option<Carried>, StoreError>> {
        Box::pin(self.do_move(uids, folder))
    }

    fn remove<'a>(&'a mut self, uids: &'a [u32]) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(async move {
            if !self.can("UIDPLUS") {
                return self.expunge(uids).await;
            }
            self.flags(uids, StoreHow::Add, &[Flag::Deleted]).await?;
            self.expunge(uids).await
        })
    }

    fn create<'a>(&'a mut self, folder: &'a str) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let request = self.request("CREATE").mailbox(folder);
            let limit = self.limits.answer;
            self.ask(request, limit, |_| {}).await.map(|_| ())
        })
    }

    fn look(&mut self) -> Boxed<'_, Result<Standing, StoreError>> {
        Box::pin(self.statuses())
    }

    fn changes<'a>(
        &'a mut self,
        since: Option<u64>,
        each: &'a mut (dyn FnMut(Summary) + Send),
    ) -> Boxed<'a, Result<Changes, StoreError>> {
        Box::pin(self.flags_since(since, each))
    }

    fn begin_bodies<'a>(&'a mut self, uids: &'a [u32]) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(async move { self.begin_bodies(uids) })
    }

    fn next_piece(&mut self) -> Boxed<'_, Result<Option<Piece>, StoreError>> {
        Box::pin(self.next_piece())
    }

    fn rename<'a>(&'a mut self, from: &'a str, to: &'a str) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(self.do_rename(from, to))
    }

    fn delete<'a>(&'a mut self, folder: &'a str) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(self.do_delete(folder))
    }

    fn subscribe<'a>(&'a mut self, folder: &'a str, on: bool) -> Boxed<'a, Result<(), StoreError>> {
        Box::pin(self.do_subscribe(folder, on))
    }

    fn ping(&mut self) -> Boxed<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let request = self.request("NOOP");
            let limit = self.limits.answer;
            self.ask(request, limit, |_| {}).await.map(|_| ())
        })
    }

    fn wait(&mut self, most: Duration) -> Boxed<'_, Result<bool, StoreError>> {
        Box::pin(self.idle(most))
    }

    fn leave(mut self: Box<Self>) -> Boxed<'static, ()> {
        Box::pin(async move {
            if MailStore::is_usable(&*self) && self.reading.is_none() {
                let request = self.request("LOGOUT");
                let limit = self.limits.leave;
                // The server is gone either way; the answer only spares it a line in its log.
                let _ = self.ask(request, limit, |_| {}).await;
            }
        })
    }
}

#[cfg(test)]
mod tests;
