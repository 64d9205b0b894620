//! Messages that clients, or the mirror, give to us: streamed, so that a large one costs no memory.

use crate::arrive::Placed;
use crate::content::IdentityBuilder;
use crate::event::{By, Event, Together};
use crate::folder::{Folder, SpecialUse, canonical};
use crate::open::Mailboxes;
use crate::{Flags, FolderId, MailboxError};
use std::ops::Range;
use stores_log::{Body, BodyWriter};
use words_mail::{AccountId, Time, TraceId, TraceTag};

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
    pub(crate) mailboxes: Mailboxes,
    pub(crate) account: AccountId,
    pub(crate) folder: Folder,
    pub(crate) identity: IdentityBuilder,
    pub(crate) inline: Vec<u8>,
    pub(crate) file: Option<BodyWriter>,
    pub(crate) size: u64,
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
    pub async fn finish(self, appendix: Appendix) -> Result<Placed, MailboxError> {
        let placed = Append::finish_together(vec![(self, appendix)]).await?;
        placed.into_iter().next().ok_or(MailboxError::NoFolder)
    }

    /// The same for several messages that were begun for one folder: all are there on return, or none ever is, whatever
    /// fails meanwhile (RFC 3502 §6.3.11).
    ///
    /// # Errors
    /// When the log does not take all of them.
    pub async fn finish_together(mut all: Vec<(Append, Appendix)>) -> Result<Vec<Placed>, MailboxError> {
        let Some((first, _)) = all.first() else { return Ok(Vec::new()) };
        let (mailboxes, account, folder) =
            (first.mailboxes.clone(), first.account.clone(), first.folder.clone());
        let filing = if folder.special == Some(SpecialUse::Sent) {
            Some(mailboxes.inner.desk.filing(&account).lock().await)
        } else {
            None
        };
        let mut placed = Vec::with_capacity(all.len());
        let (mut bodies, mut said) = (Vec::new(), Vec::new());
        for (append, appendix) in &mut all {
            let key = mailboxes.inner.trace_key.as_ref();
            let trace = key.and_then(|key| TraceTag::find(append.identity.header(), key));
            if filing.is_some()
                && let Some(uid) = append.filed_by_us(trace)?
            {
                placed.push(Some(mailboxes.placed(folder.id, uid, false)?));
                continue;
            }
            placed.push(None);
            bodies.push(match append.file.take() {
                Some(file) => Body::File(file.finish().await?),
                None => Body::Inline(std::mem::take(&mut append.inline)),
            });
            said.push((trace, append.size, appendix.clone()));
        }
        let mut fresh = file_together(&mailboxes, &account, folder.id, bodies, said).await?;
        let one = |place: Option<Placed>| match place {
            Some(place) => Ok(place),
            None => mailboxes.placed(folder.id, fresh.next().ok_or(MailboxError::NoFolder)?, true),
        };
        placed.into_iter().map(one).collect()
    }

    /// The UID of the copy of this message that Stormpost itself filed into Sent a moment ago.
    fn filed_by_us(&mut self, trace: Option<TraceId>) -> Result<Option<u32>, MailboxError> {
        let ours = self.mailboxes.recently_sent(&self.folder, false)?;
        if let Some(same) = trace.and_then(|trace| ours.iter().find(|m| m.trace == Some(trace))) {
            return Ok(Some(same.uid));
        }
        if ours.is_empty() {
            return Ok(None);
        }
        let identity = std::mem::take(&mut self.identity).finish();
        Ok(self.mailboxes.same_as(&identity, ours)?.map(|m| m.uid))
    }
}

/// Hands messages to the log as one and waits until they are visible; their UIDs.
async fn file_together(
    mailboxes: &Mailboxes,
    account: &AccountId,
    folder: FolderId,
    bodies: Vec<Body>,
    said: Vec<(Option<TraceId>, u64, Appendix)>,
) -> Result<Range<u32>, MailboxError> {
    let of = u32::try_from(bodies.len()).map_err(|_| MailboxError::NoUid)?;
    if of == 0 {
        return Ok(0..0);
    }
    let mut first = 0;
    let tickets = mailboxes.enqueue_together(bodies, |numbers, inner| {
        first = numbers.uids(inner, folder, of)?;
        let modseq = numbers.modseq(inner, folder)?;
        let event = |(uid, (trace, size, appendix)): (u32, (_, _, Appendix))| Event::Appended {
            account: account.clone(),
            folder,
            uid,
            modseq,
            trace,
            date: appendix.date.unwrap_or_else(|| mailboxes.now()),
            size,
            flags: appendix.flags,
            by: appendix.by,
            together: (of > 1).then_some(Together { first, of }),
        };
        Ok((first..).zip(said).map(event).collect())
    })?;
    let (mut failed, mut there) = (None, 0);
    for ticket in tickets {
        match ticket.done().await {
            Ok(effect) => there = effect.uids.count(),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match failed {
        Some(error) => Err(error),
        None if there == u64::from(of) => Ok(first..first.saturating_add(of)),
        None => Err(MailboxError::NoFolder),
    }
}
