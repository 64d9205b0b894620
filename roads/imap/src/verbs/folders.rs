//! CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, STATUS.

use crate::session::Session;
use std::io;
use stores_mailbox::{By, FolderId, MailboxError, SpecialUse};
use words_imap::{Code, Command, StatusItem};
use words_mail::AccountId;

impl Session {
    pub(crate) fn account(&self) -> AccountId {
        // Asked only by commands that are refused before sign-in.
        self.account.clone().unwrap_or_else(|| AccountId::new(""))
    }

    pub(crate) async fn tree(&mut self, tag: String, command: Command) -> io::Result<()> {
        let account = self.account();
        let boxes = self.mailboxes();
        let mut made = None;
        let done = match &command {
            Command::Create { mailbox, uses } => match special(uses) {
                Ok(special) => {
                    boxes.create(&account, mailbox, special, By::Person).await.map(|id| made = Some(id))
                }
                Err(why) => {
                    self.out.no(&tag, Some(&Code::UseAttr), why);
                    return Ok(());
                }
            },
            Command::Delete { mailbox } => boxes.delete(&account, mailbox, By::Person).await,
            Command::Rename { from, to } => boxes.rename(&account, from, to, By::Person).await,
            Command::Subscribe { mailbox } => boxes.subscribe(&account, mailbox, true, By::Person).await,
            Command::Unsubscribe { mailbox } => boxes.subscribe(&account, mailbox, false, By::Person).await,
            _ => Err(MailboxError::Refused("this server does not do that")),
        };
        if done.is_ok()
            && let Command::Delete { mailbox } = &command
            && self.selected.as_ref().is_some_and(|s| s.folder.name == *mailbox)
        {
            self.selected = None;
        }
        match done {
            Ok(()) => {
                // RFC 8474 §4.1.
                let code = made.map(|id| Code::MailboxId(mailbox_id(id)));
                self.done(&tag, code, "done", true).await
            }
            Err(error) => {
                self.refuse(&tag, &error);
                Ok(())
            }
        }
    }

    pub(crate) async fn status(
        &mut self,
        tag: String,
        mailbox: String,
        items: Vec<StatusItem>,
    ) -> io::Result<()> {
        match self.tell_status(&mailbox, &items) {
            Ok(()) => self.done(&tag, None, "done", true).await,
            Err(error) => {
                self.refuse(&tag, &error);
                Ok(())
            }
        }
    }

    /// Writes the figures of a mailbox.
    pub(crate) fn tell_status(&mut self, mailbox: &str, items: &[StatusItem]) -> Result<(), MailboxError> {
        // RFC 7162 §3.1: who asks for it speaks CONDSTORE.
        self.condstore |= items.contains(&StatusItem::HighestModSeq);
        let folder = self.mailboxes().folder(&self.account(), mailbox)?;
        let counts = self.mailboxes().counts(folder.id)?;
        let recent = || {
            let known = self.shared.recent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let from = known.get(&folder.id).copied().unwrap_or(folder.uidnext);
            u64::from(folder.uidnext.saturating_sub(from)).min(counts.messages)
        };
        let mut figures = Vec::with_capacity(items.len());
        for item in items {
            let figure = match item {
                StatusItem::Messages => counts.messages,
                StatusItem::Recent => recent(),
                StatusItem::UidNext => u64::from(folder.uidnext),
                StatusItem::UidValidity => u64::from(folder.uidvalidity),
                StatusItem::Unseen => counts.unseen,
                StatusItem::Deleted => counts.deleted,
                StatusItem::Size => counts.bytes,
                StatusItem::HighestModSeq => folder.modseq,
                StatusItem::DeletedStorage => self.mailboxes().deleted_bytes(folder.id)?,
                StatusItem::MailboxId => continue,
            };
            figures.push((*item, figure));
        }
        let id = items.contains(&StatusItem::MailboxId).then(|| mailbox_id(folder.id));
        self.out.status(&folder.name, &figures, id.as_deref());
        Ok(())
    }
}

/// The lasting id of a folder (RFC 8474 §4): its number, which no other folder ever gets, whatever it is called.
pub(crate) fn mailbox_id(folder: FolderId) -> String {
    format!("F{folder}")
}

fn special(uses: &[String]) -> Result<Option<SpecialUse>, &'static str> {
    const KNOWN: [SpecialUse; 5] =
        [SpecialUse::Archive, SpecialUse::Drafts, SpecialUse::Junk, SpecialUse::Sent, SpecialUse::Trash];
    match uses {
        [] => Ok(None),
        [one] => {
            let found = KNOWN.into_iter().find(|u| u.attribute().eq_ignore_ascii_case(one));
            found.map(Some).ok_or("that use is not known here")
        }
        _ => Err("a folder has one use"),
    }
}
