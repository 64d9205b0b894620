//! The selected mailbox as this client knows it: message numbers, and what it has been told.
//!
//! Numbers change only when the client hears of it, and it hears of removals only where RFC 3501 §7.4.1 allows: never
//! in answer to FETCH, STORE or SEARCH.

use crate::session::Session;
use crate::verbs::wire_flags;
use std::collections::BTreeSet;
use std::io;
use stores_mailbox::{Flags, Folder, FolderId, MailboxError, UidRanges};
use words_imap::{Code, Flag, Ranges, SequenceSet};

/// The selected mailbox.
pub(crate) struct Selected {
    pub(crate) folder: Folder,
    pub(crate) read_only: bool,
    /// The messages the client knows, by number.
    pub(crate) uids: UidRanges,
    /// Of these, the ones that are gone and of which it has not been told.
    pub(crate) gone: UidRanges,
    /// What it knows is as of this MODSEQ.
    pub(crate) modseq: u64,
    /// Messages with `\Recent` in this session.
    pub(crate) recent: UidRanges,
    /// Keywords it has been told of.
    pub(crate) keywords: BTreeSet<String>,
    /// Flags it has been told of in the command that is being answered: these messages at these MODSEQs.
    pub(crate) told: (UidRanges, Vec<u64>),
}

impl Selected {
    pub(crate) fn id(&self) -> FolderId {
        self.folder.id
    }

    /// The UIDs a set of the client names; numbers when it is not a set of UIDs.
    pub(crate) fn resolve(&self, set: &SequenceSet, uid: bool) -> UidRanges {
        if uid {
            let mut wanted = UidRanges::new();
            for (first, last) in set.resolve(self.uids.last().unwrap_or(0)).ranges() {
                wanted.insert_span(*first, *last);
            }
            self.uids.common(&wanted)
        } else {
            let count = u32::try_from(self.uids.count()).unwrap_or(u32::MAX);
            self.uids.by_number(set.resolve(count).ranges())
        }
    }

    /// The UIDs a set of the client means, whether or not there is or was such a message.
    pub(crate) fn meant(&self, set: &SequenceSet) -> UidRanges {
        let highest = self.uids.last().unwrap_or(0).max(self.folder.uidnext - 1);
        let mut meant = UidRanges::new();
        for (first, last) in set.resolve(highest).ranges() {
            meant.insert_span(*first, *last);
        }
        meant
    }

    /// Whether a set names a message number that does not exist: that is a fault of the client.
    pub(crate) fn is_beyond(&self, set: &SequenceSet, uid: bool) -> bool {
        if uid {
            return false;
        }
        let count = u32::try_from(self.uids.count()).unwrap_or(u32::MAX);
        let numbers = set.resolve(count);
        numbers.ranges().last().is_some_and(|(_, last)| *last > count)
    }

    pub(crate) fn is_recent(&self, uid: u32) -> bool {
        self.recent.contains(uid)
    }

    /// The flags of a message as this session shows them.
    pub(crate) fn shown(&self, uid: u32, flags: &Flags) -> Vec<Flag> {
        wire_flags(flags, self.is_recent(uid))
    }

    /// Notes flags that the client is told of in this command, so that it is not told twice.
    pub(crate) fn told(&mut self, uids: &UidRanges, modseqs: &[u64]) {
        self.told.0.insert_all(uids);
        self.told.1.extend_from_slice(modseqs);
    }
}

pub(crate) fn ranges(uids: &UidRanges) -> Ranges {
    Ranges::of(uids.spans().collect())
}

/// How many new keywords a mailbox shows; clients can still set others.
const KEYWORDS_SHOWN_MAX: usize = 200;

impl Session {
    /// Ends a command that looked at or changed the selected mailbox: first what has changed in it, then the answer.
    pub(crate) async fn done(
        &mut self,
        tag: &str,
        code: Option<Code>,
        text: &str,
        removals: bool,
    ) -> io::Result<()> {
        self.sync(removals).await?;
        if !self.ending {
            self.out.tagged(tag, words_imap::Status::Ok, code.as_ref(), text);
        }
        Ok(())
    }

    /// Tells an idling client what changed.
    pub(crate) async fn tell_changes(&mut self) -> io::Result<()> {
        self.sync(true).await
    }

    /// Tells what has changed in the selected mailbox since the client was last told; removals only where allowed.
    pub(crate) async fn sync(&mut self, removals: bool) -> io::Result<()> {
        let Some(selected) = &self.selected else { return Ok(()) };
        let (id, since) = (selected.id(), selected.modseq);
        let changed = match self.shared.mailboxes.changed(id, since) {
            Ok(changed) => changed,
            Err(MailboxError::NoFolder) => {
                // RFC 2180 §3.3: there is no way to tell a client that its mailbox is no more.
                self.bye("the selected folder was removed");
                return Ok(());
            }
            // Told with the next command instead.
            Err(_) => return Ok(()),
        };
        let Some(selected) = self.selected.as_mut() else { return Ok(()) };
        selected.modseq = changed.modseq;
        let news = selected.uids.common(&changed.expunged);
        selected.gone.insert_all(&news);
        if removals {
            self.tell_removals();
        }
        let (told, modseqs) = match &mut self.selected {
            Some(selected) => std::mem::take(&mut selected.told),
            None => return Ok(()),
        };
        let mut arrived = UidRanges::new();
        for (uid, flags, modseq) in changed.messages {
            let Some(selected) = &mut self.selected else { return Ok(()) };
            if !selected.uids.contains(uid) {
                arrived.insert(uid);
            } else if !(told.contains(uid) && modseqs.contains(&modseq)) {
                self.tell_keywords(&flags);
                self.tell_flags(uid, &flags, modseq);
                self.flush_if_full().await?;
            }
        }
        self.tell_arrivals(&arrived);
        Ok(())
    }

    fn tell_removals(&mut self) {
        let Some(selected) = self.selected.as_mut().filter(|s| !s.gone.is_empty()) else { return };
        let gone = std::mem::take(&mut selected.gone);
        if self.qresync {
            self.out.vanished(false, &ranges(&gone));
        } else {
            // From the last to the first, so that no number has shifted before it is told.
            let numbers = selected.uids.numbered(&gone).map(|(number, _)| number).collect::<Vec<_>>();
            for number in numbers.into_iter().rev() {
                self.out.expunge(number);
            }
        }
        for (first, last) in gone.spans() {
            selected.uids.remove_span(first, last);
            selected.recent.remove_span(first, last);
        }
    }

    fn tell_arrivals(&mut self, arrived: &UidRanges) {
        let Some(selected) = self.selected.as_mut().filter(|_| !arrived.is_empty()) else { return };
        selected.uids.insert_all(arrived);
        let recent = self.shared.claim_recent(
            selected.id(),
            arrived,
            arrived.first().unwrap_or(1),
            selected.read_only,
        );
        selected.recent.insert_all(&recent);
        self.out.exists(u32::try_from(selected.uids.count()).unwrap_or(u32::MAX));
        self.out.recent(u32::try_from(selected.recent.count()).unwrap_or(u32::MAX));
    }

    /// Tells the flags of one message, unasked.
    pub(crate) fn tell_flags(&mut self, uid: u32, flags: &Flags, modseq: u64) {
        let Some(selected) = &self.selected else { return };
        let Some(number) = selected.uids.number_of(uid) else { return };
        let flags = selected.shown(uid, flags);
        self.out.fetch_begin(number);
        self.out.fetch_uid(uid);
        self.out.fetch_flags(&flags);
        if self.condstore {
            self.out.fetch_modseq(modseq);
        }
        self.out.fetch_end();
    }

    /// Tells of keywords that the mailbox did not have before.
    pub(crate) fn tell_keywords(&mut self, flags: &Flags) {
        let Some(selected) = &mut self.selected else { return };
        let known = selected.keywords.len();
        for keyword in flags.keywords() {
            if selected.keywords.len() < KEYWORDS_SHOWN_MAX && !selected.keywords.contains(keyword) {
                selected.keywords.insert(keyword.to_owned());
            }
        }
        if selected.keywords.len() > known {
            let flags = all_flags(&selected.keywords);
            self.out.flags(&flags);
        }
    }
}

/// Every flag of a mailbox.
pub(crate) fn all_flags(keywords: &BTreeSet<String>) -> Vec<Flag> {
    let system = [Flag::Answered, Flag::Flagged, Flag::Deleted, Flag::Seen, Flag::Draft];
    let keywords = keywords.iter().take(KEYWORDS_SHOWN_MAX).filter_map(|k| Flag::parse(k));
    system.into_iter().chain(keywords).collect()
}

impl crate::road::Shared {
    /// Which of `uids` no session has been told of before, when nothing is known of the folder those from `unknown`
    /// on; from now on one has, unless it only looks.
    pub(crate) fn claim_recent(
        &self,
        folder: FolderId,
        uids: &UidRanges,
        unknown: u32,
        only_look: bool,
    ) -> UidRanges {
        let mut recent = self.recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let from = recent.get(&folder).copied().unwrap_or(unknown);
        if !only_look {
            let next = uids.last().map_or(0, |last| last.saturating_add(1));
            recent.insert(folder, from.max(next));
        }
        uids.common(&UidRanges::span(from, u32::MAX))
    }
}
