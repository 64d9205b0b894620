//! COPY, MOVE (RFC 6851) and EXPUNGE.

use crate::session::Session;
use std::io;
use stores_mailbox::{By, Copied, MailboxError, UidRanges};
use words_imap::{Code, SequenceSet, Status};

impl Session {
    pub(crate) async fn copy(
        &mut self,
        tag: String,
        uid: bool,
        set: SequenceSet,
        mailbox: String,
        moves: bool,
    ) -> io::Result<()> {
        let Some(selected) = &self.selected else { return Ok(()) };
        if selected.is_beyond(&set, uid) {
            self.out.bad(&tag, "there is no message of that number");
            return Ok(());
        }
        if moves && selected.read_only {
            self.out.no(&tag, Some(&Code::ReadOnly), "this mailbox was opened for looking only");
            return Ok(());
        }
        let (from, uids) = (selected.id(), selected.resolve(&set, uid));
        let account = self.account();
        let boxes = self.mailboxes();
        let copied = if moves {
            boxes.move_to(&account, from, &uids, &mailbox, By::Person).await
        } else {
            boxes.copy(&account, from, &uids, &mailbox, By::Person).await
        };
        let copied = match copied {
            Ok(copied) => copied,
            Err(MailboxError::NoFolder) => {
                self.out.no(&tag, Some(&Code::TryCreate), "there is no such folder");
                return Ok(());
            }
            Err(error) => {
                self.refuse(&tag, &error);
                return Ok(());
            }
        };
        let code = copy_uid(&copied);
        // RFC 6851 §4.3: for a move the code comes first, untagged, and then the removals.
        match code {
            Some(code) if moves => {
                self.out.untagged(Status::Ok, Some(&code), "moved");
                self.done(&tag, None, "done", true).await
            }
            code => self.done(&tag, code, "done", true).await,
        }
    }

    pub(crate) async fn expunge(&mut self, tag: String, uids: Option<SequenceSet>) -> io::Result<()> {
        let Some(selected) = &self.selected else { return Ok(()) };
        if selected.read_only {
            self.out.no(&tag, Some(&Code::ReadOnly), "this mailbox was opened for looking only");
            return Ok(());
        }
        let id = selected.id();
        let wanted = match &uids {
            Some(set) => selected.resolve(set, true),
            None => UidRanges::span(1, u32::MAX),
        };
        let account = self.account();
        let gone = match self.mailboxes().deleted(id, &wanted) {
            Ok(marked) if marked.is_empty() => Ok(marked),
            Ok(marked) => self.mailboxes().expunge(&account, id, &marked, By::Person).await,
            Err(error) => Err(error),
        };
        if let Err(error) = gone {
            self.refuse(&tag, &error);
            return Ok(());
        }
        self.sync(true).await?;
        // RFC 7162 §3.2.7: what the removal raised.
        let code = self.selected.as_ref().filter(|_| self.condstore).map(|s| Code::HighestModSeq(s.modseq));
        self.out.tagged(&tag, Status::Ok, code.as_ref(), "done");
        Ok(())
    }
}

fn copy_uid(copied: &Copied) -> Option<Code> {
    let source = copied.pairs.iter().flat_map(|(old, _)| old.iter());
    let target = copied.pairs.iter().flat_map(|(_, new)| new.iter());
    Some(Code::CopyUid {
        validity: copied.uidvalidity,
        source: SequenceSet::of(source)?,
        target: SequenceSet::of(target)?,
    })
}
