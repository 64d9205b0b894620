//! STORE, with RFC 7162's UNCHANGEDSINCE.

use super::kept_flags;
use crate::session::Session;
use std::io;
use stores_mailbox::{By, How, Stored, UidRanges};
use words_imap::{Code, SequenceSet, Store, StoreHow};

/// How many messages are read from the mailbox at once.
const PAGE: u32 = 256;

impl Session {
    pub(crate) async fn store(&mut self, tag: String, store: Store) -> io::Result<()> {
        self.condstore |= store.unchanged_since.is_some();
        let Some(selected) = &self.selected else { return Ok(()) };
        if selected.is_beyond(&store.set, store.uid) {
            self.out.bad(&tag, "there is no message of that number");
            return Ok(());
        }
        if selected.read_only {
            self.out.no(&tag, Some(&Code::ReadOnly), "this mailbox was opened for looking only");
            return Ok(());
        }
        let (id, uids) = (selected.id(), selected.resolve(&store.set, store.uid));
        let how = match store.how {
            StoreHow::Set => How::Set,
            StoreHow::Add => How::Add,
            StoreHow::Remove => How::Remove,
        };
        let flags = kept_flags(&store.flags);
        let account = self.account();
        let since = store.unchanged_since;
        let stored = self.mailboxes().store(&account, id, &uids, (how, &flags), since, By::Person).await;
        let Stored { changed, modseqs, left } = match stored {
            Ok(stored) => stored,
            Err(error) => {
                self.refuse(&tag, &error);
                return Ok(());
            }
        };
        self.tell_keywords(&flags);
        if store.silent {
            if let Some(selected) = self.selected.as_mut().filter(|_| !self.condstore) {
                selected.told(&changed, &modseqs);
            }
        } else {
            self.tell_stored(&uids).await?;
            if let Some(selected) = &mut self.selected {
                selected.told(&uids, &modseqs);
            }
        }
        let modified = self.named(&left, store.uid);
        // A command with UIDs may be answered with removals (RFC 3501 §7.4.1).
        self.done(&tag, modified.map(Code::Modified), "done", store.uid).await
    }

    /// Messages by UID or by number, as the command named them.
    fn named(&self, uids: &UidRanges, uid: bool) -> Option<SequenceSet> {
        if uid {
            return SequenceSet::of(uids.iter());
        }
        let numbers = self.selected.as_ref()?.uids.numbered(uids).map(|(number, _)| number);
        SequenceSet::of(numbers.collect::<Vec<_>>())
    }

    /// Tells the flags of messages as they now are, also those that had them already.
    async fn tell_stored(&mut self, uids: &UidRanges) -> io::Result<()> {
        let Some(selected) = &self.selected else { return Ok(()) };
        let id = selected.id();
        for (mut first, last) in uids.spans() {
            while first <= last {
                let Ok(page) = self.mailboxes().page(id, first, last, PAGE) else { return Ok(()) };
                let Some(end) = page.last().map(|message| message.uid) else { break };
                for message in page.iter().filter(|m| uids.contains(m.uid)) {
                    self.tell_flags(message.uid, &message.flags, message.modseq);
                }
                self.flush_if_full().await?;
                match end.checked_add(1) {
                    Some(next) => first = next,
                    None => break,
                }
            }
        }
        Ok(())
    }
}
