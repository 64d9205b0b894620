//! SELECT, EXAMINE, CLOSE, UNSELECT.

use super::folders::mailbox_id;
use crate::select::{Selected, all_flags, ranges};
use crate::session::Session;
use std::io;
use stores_mailbox::{By, MailboxError, Snapshot, UidRanges};
use words_imap::{Code, Qresync, Select, Status};

impl Session {
    pub(crate) async fn select(&mut self, tag: String, select: Select) -> io::Result<()> {
        let before = self.selected.take();
        self.half_read = None;
        self.condstore |= select.condstore;
        if select.qresync.is_some() && !self.qresync {
            self.out.bad(&tag, "enable QRESYNC first");
            return Ok(());
        }
        let account = self.account();
        let found = match self.mailboxes().folder(&account, &select.mailbox) {
            // Before a client sees a UID, it must be one that stays.
            Ok(folder) => self.mailboxes().claim(&account, folder.id).await.map(|()| folder.id),
            Err(error) => Err(error),
        };
        let found = found.and_then(|folder| self.mailboxes().snapshot(folder));
        let snapshot = match found {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.refuse(&tag, &error);
                return Ok(());
            }
        };
        if before.is_some() && self.qresync {
            self.out.untagged(Status::Ok, Some(&Code::Closed), "the mailbox before is closed");
        }
        self.show_mailbox(snapshot, select.read_only);
        if let Some(known) = &select.qresync
            && let Err(error) = self.resynchronise(known).await?
        {
            self.selected = None;
            self.refuse(&tag, &error);
            return Ok(());
        }
        let code = if select.read_only { Code::ReadOnly } else { Code::ReadWrite };
        self.out.tagged(&tag, Status::Ok, Some(&code), "done");
        Ok(())
    }

    fn show_mailbox(&mut self, snapshot: Snapshot, read_only: bool) {
        let Snapshot { folder, uids, first_unseen, keywords } = snapshot;
        let recent = self.shared.claim_recent(folder.id, &uids, folder.uidnext, read_only);
        let flags = all_flags(&keywords);
        self.out.flags(&flags);
        let permanent =
            Code::PermanentFlags { flags: if read_only { Vec::new() } else { flags }, any: !read_only };
        let ok = |out: &mut words_imap::ResponseWriter, code: &Code, text: &str| {
            out.untagged(Status::Ok, Some(code), text);
        };
        ok(&mut self.out, &permanent, "flags that stay");
        self.out.exists(u32::try_from(uids.count()).unwrap_or(u32::MAX));
        self.out.recent(u32::try_from(recent.count()).unwrap_or(u32::MAX));
        if let Some(number) = first_unseen.and_then(|uid| uids.number_of(uid)) {
            ok(&mut self.out, &Code::Unseen(number), "the first unseen");
        }
        ok(&mut self.out, &Code::UidValidity(folder.uidvalidity), "UIDs are valid");
        ok(&mut self.out, &Code::UidNext(folder.uidnext), "the next UID");
        ok(&mut self.out, &Code::HighestModSeq(folder.modseq), "the highest MODSEQ");
        ok(&mut self.out, &Code::MailboxId(mailbox_id(folder.id)), "the mailbox's id");
        self.selected = Some(Box::new(Selected {
            modseq: folder.modseq,
            folder,
            read_only,
            uids,
            gone: UidRanges::new(),
            recent,
            keywords,
            told: (UidRanges::new(), Vec::new()),
        }));
    }

    /// Tells a returning client what changed since it was here (RFC 7162 §3.2.5).
    async fn resynchronise(&mut self, known: &Qresync) -> io::Result<Result<(), MailboxError>> {
        let Some(selected) = &self.selected else { return Ok(Ok(())) };
        if known.validity != selected.folder.uidvalidity {
            return Ok(Ok(()));
        }
        let changed = match self.mailboxes().changed(selected.id(), known.modseq) {
            Ok(changed) => changed,
            Err(error) => return Ok(Err(error)),
        };
        let mut gone = match &known.known {
            Some(set) => changed.expunged.common(&selected.meant(set)),
            None => changed.expunged,
        };
        // What went in this very moment was counted a moment ago: it is told as any removal, and not before.
        for (first, last) in selected.uids.common(&gone).spans() {
            gone.remove_span(first, last);
        }
        self.out.vanished(true, &ranges(&gone));
        for (uid, flags, modseq) in &changed.messages {
            self.tell_flags(*uid, flags, *modseq);
            self.flush_if_full().await?;
        }
        Ok(Ok(()))
    }

    /// CLOSE removes what is marked as deleted, without a word (RFC 3501 §6.4.2).
    pub(crate) async fn close(&mut self, tag: String) -> io::Result<()> {
        self.half_read = None;
        let Some(selected) = self.selected.take() else { return Ok(()) };
        if !selected.read_only {
            let all = UidRanges::span(1, u32::MAX);
            let account = self.account();
            let done = match self.mailboxes().deleted(selected.id(), &all) {
                Ok(marked) if marked.is_empty() => Ok(()),
                Ok(marked) => {
                    let gone = self.mailboxes().expunge(&account, selected.id(), &marked, By::Person).await;
                    gone.map(|_| ())
                }
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                self.refuse(&tag, &error);
                return Ok(());
            }
        }
        self.out.ok(&tag, "done");
        Ok(())
    }

    pub(crate) async fn unselect(&mut self, tag: String) -> io::Result<()> {
        self.half_read = None;
        self.selected = None;
        self.out.ok(&tag, "done");
        Ok(())
    }
}
