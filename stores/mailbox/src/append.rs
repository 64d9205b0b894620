//! Messages that clients, or the mirror, give to us: streamed, so that a large one costs no memory.

use crate::arrive::Placed;
use crate::content::IdentityBuilder;
use crate::event::{By, Event};
use crate::folder::{Folder, SpecialUse, canonical};
use crate::open::Mailboxes;
use crate::{Flags, MailboxError};
use stores_log::{Body, BodyWriter};
use words_mail::{AccountId, Time, TraceTag};

/// What is longer than this goes to a file of its own while it still comes in.
const INLINE_MAX: usize = 128 * 1024;

/// What is said about a message that is appended.
#[derive(Clone, Debug)]
pub struct Appendix {
    /// Its flags.
    pub flags: Flags,
    /// Its INTERNALDATE; now when there is none.
    pub date: Option<Time>,
    /// Who appends it.
    pub by: By,
}

/// A message on its way in. Dropped unfinished, it leaves nothing behind.
pub struct Append {
    mailboxes: Mailboxes,
    account: AccountId,
    folder: Folder,
    identity: IdentityBuilder,
    inline: Vec<u8>,
    file: Option<BodyWriter>,
    size: u64,
}

impl Mailboxes {
    /// Begins to append a message to a folder.
    ///
    /// # Errors
    /// `NoFolder` when there is none of that name.
    pub async fn begin_append(&self, account: &AccountId, folder: &str) -> Result<Append, MailboxError> {
        self.serving().await?;
        let name = canonical(folder).map_err(MailboxError::Refused)?;
        let folder = self.inner.view.folder(account, &name)?.ok_or(MailboxError::NoFolder)?;
        Ok(Append {
            mailboxes: self.clone(),
            account: account.clone(),
            folder,
            identity: IdentityBuilder::new(),
            inline: Vec::new(),
            file: None,
            size: 0,
        })
    }

    /// Appends a message that is at hand.
    ///
    /// # Errors
    /// Those of [`Mailboxes::begin_append`], [`Append::write`] and [`Append::finish`].
    pub async fn append(
        &self,
        account: &AccountId,
        folder: &str,
        message: &[u8],
        appendix: Appendix,
    ) -> Result<Placed, MailboxError> {
        let mut append = self.begin_append(account, folder).await?;
        append.write(message).await?;
        append.finish(appendix).await
    }
}

impl Append {
    /// Takes the next bytes. Waits for the disk when the message is large.
    ///
    /// # Errors
    /// When the disk has no room or failed.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), MailboxError> {
        self.size += bytes.len() as u64;
        self.identity.feed(bytes);
        if let Some(file) = &mut self.file {
            return Ok(file.write(bytes).await?);
        }
        let limit = INLINE_MAX.min(self.mailboxes.inner.log.inline_max());
        if self.inline.len() + bytes.len() <= limit {
            self.inline.extend_from_slice(bytes);
            return Ok(());
        }
        let mut file = self.mailboxes.inner.log.begin_body().await?;
        file.write(&std::mem::take(&mut self.inline)).await?;
        file.write(bytes).await?;
        self.file = Some(file);
        Ok(())
    }

    /// Puts the message into the folder, durable and visible on return. In Sent, a message that Stormpost itself
    /// filed within the last ten minutes is not filed again: its UID is given back.
    ///
    /// # Errors
    /// When the log does not take it.
    pub async fn finish(mut self, appendix: Appendix) -> Result<Placed, MailboxError> {
        let mailboxes = self.mailboxes.clone();
        let key = mailboxes.inner.trace_key.as_ref();
        let trace = key.and_then(|key| TraceTag::find(self.identity.header(), key));
        let sent = self.folder.special == Some(SpecialUse::Sent);
        let _filing = if sent {
            let filing = mailboxes.inner.desk.filing(&self.account).lock().await;
            let ours = mailboxes.recently_sent(&self.folder, false)?;
            let same = match trace.and_then(|trace| ours.iter().find(|m| m.trace == Some(trace))) {
                Some(same) => Some(same.uid),
                None if ours.is_empty() => None,
                None => {
                    let identity = std::mem::take(&mut self.identity).finish();
                    mailboxes.same_as(&identity, ours)?.map(|m| m.uid)
                }
            };
            if let Some(uid) = same {
                return mailboxes.placed(self.folder.id, uid, false);
            }
            Some(filing)
        } else {
            None
        };
        let body = match self.file.take() {
            Some(file) => Body::File(file.finish().await?),
            None => Body::Inline(std::mem::take(&mut self.inline)),
        };
        let (account, folder, size) = (self.account.clone(), self.folder.id, self.size);
        let date = appendix.date.unwrap_or_else(|| mailboxes.now());
        let ticket = mailboxes.enqueue(body, |numbers, inner| {
            Ok(Event::Appended {
                account,
                folder,
                uid: numbers.uids(inner, folder, 1)?,
                modseq: numbers.modseq(inner, folder)?,
                trace,
                date,
                size,
                flags: appendix.flags,
                by: appendix.by,
            })
        })?;
        match ticket.done().await?.placed {
            Some((id, uid)) => mailboxes.placed(id, uid, true),
            None => Err(MailboxError::NoFolder),
        }
    }
}
