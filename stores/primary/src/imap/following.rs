//! Following a mailbox: how all folders stand, what changed in one, and bodies one after another without a pause.

use super::wire::Said;
use super::{ImapStore, refusal};
use crate::store::{Changes, FolderStatus, Piece, Standing, StoreError, Summary};
use std::collections::{HashMap, VecDeque};
use tokio::time::Instant;
use words_imap::client::{Fetched, Untagged};
use words_imap::{Flag, Section, SequenceSet, Status};

/// Folders that one look tells of.
const FOLDERS_MAX: usize = 50_000;

/// Bodies that are being read.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    /// What is still to be asked for.
    sets: VecDeque<SequenceSet>,
    /// Pieces that came together.
    pieces: VecDeque<Piece>,
    /// A command is under way, until then at the latest.
    end: Option<Instant>,
}

impl ImapStore {
    /// From now on removals are told by UID (RFC 7162 §3.2.3); once for a connection.
    async fn enable_qresync(&mut self) -> Result<bool, StoreError> {
        if !self.can("QRESYNC") || !self.can("ENABLE") {
            return Ok(false);
        }
        if !self.qresync {
            let request = self.request("ENABLE").word("QRESYNC");
            let limit = self.limits.answer;
            self.ask(request, limit, |_| {}).await?;
            self.qresync = true;
        }
        Ok(true)
    }

    /// All folders with their numbers: in one command where the server can (RFC 5819).
    pub(super) async fn statuses(&mut self) -> Result<Standing, StoreError> {
        self.enable_qresync().await?;
        let listed = self.list().await?;
        let mut told: HashMap<String, FolderStatus> = HashMap::new();
        if self.can("LIST-STATUS") {
            let modseq = if self.can("CONDSTORE") { " HIGHESTMODSEQ" } else { "" };
            let request = self
                .request("LIST")
                .string(b"")
                .string(b"*")
                .word(format_args!("RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN{modseq}))"));
            let limit = self.limits.answer;
            self.ask(request, limit, |said| {
                if let Untagged::StatusOf { name, items } = said
                    && told.len() < FOLDERS_MAX
                {
                    told.insert(name, super::folders::status(items));
                }
            })
            .await?;
        }
        let mut all = Vec::with_capacity(listed.len());
        for folder in listed {
            let status = match told.get(&folder.name) {
                Some(status) => Some(*status),
                None if !folder.selectable => None,
                None => match self.do_status(&folder.name).await {
                    Ok(status) => Some(status),
                    Err(StoreError::NoFolder(_) | StoreError::Refused(_) | StoreError::Unavailable(_)) => {
                        None
                    }
                    Err(error) => return Err(error),
                },
            };
            all.push((folder, status));
        }
        Ok(all)
    }

    /// Flags of messages of the selected folder: of those that changed since a MODSEQ with what vanished, where the server
    /// keeps count of both; else of all.
    pub(super) async fn flags_since(
        &mut self,
        since: Option<u64>,
        each: &mut (dyn FnMut(Summary) + Send),
    ) -> Result<Changes, StoreError> {
        let since = since.filter(|_| self.qresync);
        let request = self.request("UID FETCH").set(&SequenceSet::starting(1));
        let request = match since {
            Some(since) => request.word(format_args!("(UID FLAGS) (CHANGEDSINCE {since} VANISHED)")),
            None => request.word("(UID FLAGS)"),
        };
        let mut vanished = Vec::new();
        let limit = self.limits.scan;
        self.ask(request, limit, |said| match said {
            Untagged::Fetch(fetched) if fetched.uid.is_some() && fetched.flags.is_some() => {
                each(super::reading::summary(fetched));
            }
            Untagged::Vanished { uids, .. } => {
                vanished.extend(uids.resolve(u32::MAX).ranges().iter().copied())
            }
            _ => {}
        })
        .await?;
        Ok(match since {
            Some(_) => Changes::Since { vanished },
            None => Changes::All,
        })
    }

    pub(super) fn begin_bodies(&mut self, uids: &[u32]) -> Result<(), StoreError> {
        self.wire.check()?;
        if self.busy || self.reading.is_some() {
            return Err(self.wire.fail("an earlier command was given up in the middle"));
        }
        self.bodies = Bodies { sets: super::writing::sets(uids).into(), ..Bodies::default() };
        Ok(())
    }

    pub(super) async fn next_piece(&mut self) -> Result<Option<Piece>, StoreError> {
        loop {
            if let Some(piece) = self.bodies.pieces.pop_front() {
                return Ok(Some(piece));
            }
            let Some(end) = self.bodies.end else {
                let Some(set) = self.bodies.sets.pop_front() else { return Ok(None) };
                self.ask_for_bodies(&set).await?;
                continue;
            };
            match self.wire.next(self.limits.answer, end).await? {
                Said::BodyBegin(size) => return Ok(Some(Piece::Begin(size))),
                Said::BodyData(data) => return Ok(Some(Piece::Data(data))),
                Said::BodyEnd => {}
                Said::Untagged(Untagged::Fetch(fetched)) if fetched.uid.is_some() => {
                    self.end_of_body(fetched)
                }
                Said::Tagged { tag, status, code, text } if tag == self.tag => {
                    self.busy = false;
                    self.bodies.end = None;
                    if status != Status::Ok {
                        self.bodies = Bodies::default();
                        return Err(refusal(status, code.as_ref(), &text));
                    }
                }
                Said::Tagged { .. } => return Err(self.wire.fail("an answer to another command")),
                Said::Untagged(_) | Said::Continue => {}
            }
        }
    }

    async fn ask_for_bodies(&mut self, set: &SequenceSet) -> Result<(), StoreError> {
        let modseq = if self.can("CONDSTORE") { " MODSEQ" } else { "" };
        let request = self
            .request("UID FETCH")
            .set(set)
            .word(format_args!("(UID FLAGS INTERNALDATE{modseq} {})", Section::message().request()));
        let end = Instant::now() + self.limits.scan;
        self.begin()?;
        self.send(request, end).await?;
        self.bodies.end = Some(end);
        Ok(())
    }

    fn end_of_body(&mut self, mut fetched: Fetched) {
        if !fetched.streamed {
            // A short message stands in the response itself; without one it is news of a flag.
            let content = fetched.sections.iter_mut().find(|(label, _)| label == "BODY[]");
            let Some(content) = content.and_then(|(_, content)| content.take()) else { return };
            self.bodies.pieces.push_back(Piece::Begin(content.len() as u64));
            self.bodies.pieces.push_back(Piece::Data(content));
        }
        self.bodies.pieces.push_back(Piece::End(super::reading::summary(fetched)));
    }

    pub(super) async fn do_rename(&mut self, from: &str, to: &str) -> Result<(), StoreError> {
        let request = self.request("RENAME").mailbox(from).mailbox(to);
        let limit = self.limits.answer;
        self.ask(request, limit, |_| {}).await.map(|_| ())
    }

    pub(super) async fn do_delete(&mut self, folder: &str) -> Result<(), StoreError> {
        let request = self.request("DELETE").mailbox(folder);
        let limit = self.limits.answer;
        self.ask(request, limit, |_| {}).await.map(|_| ())
    }

    pub(super) async fn do_subscribe(&mut self, folder: &str, on: bool) -> Result<(), StoreError> {
        let request = self.request(if on { "SUBSCRIBE" } else { "UNSUBSCRIBE" }).mailbox(folder);
        let limit = self.limits.answer;
        self.ask(request, limit, |_| {}).await.map(|_| ())
    }
}

/// A flag that is no message's own is left out.
pub(super) fn kept(flags: Vec<Flag>) -> Vec<Flag> {
    flags.into_iter().filter(|flag| *flag != Flag::Recent).collect()
}
