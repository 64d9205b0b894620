//! Changes of messages that are there: flags, copies, moves, removal.

use crate::event::{By, Event};
use crate::folder::canonical;
use crate::open::Mailboxes;
use crate::{Flags, Folder, FolderId, How, MailboxError, UidRanges};
use stores_log::Body;
use words_mail::AccountId;

/// How many messages one event changes at most: more are several events, so that neither a record nor a
/// transaction grows without bound.
const MESSAGES_PER_EVENT: u32 = 10_000;

/// What a change of flags did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The messages whose flags are now other than before.
    pub changed: UidRanges,
    /// The MODSEQs they got.
    pub modseqs: Vec<u64>,
    /// The messages that had changed since the MODSEQ given, and were left alone.
    pub left: UidRanges,
}

/// What a copy or move did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The UIDVALIDITY of the folder they are in now.
    pub uidvalidity: u32,
    /// For each message its UID before and its UID now, ascending in both.
    pub pairs: Vec<(UidRanges, UidRanges)>,
}

impl Mailboxes {
    /// Changes flags. Messages that are not there are passed over, and those that changed after `unchanged_since`.
    ///
    /// # Errors
    /// When the log does not take it; of a very large change a first part may have been made.
    pub async fn store(
        &self,
        account: &AccountId,
        folder: FolderId,
        uids: &UidRanges,
        change: (How, &Flags),
        unchanged_since: Option<u64>,
        by: By,
    ) -> Result<Stored, MailboxError> {
        self.serving().await?;
        let (how, flags) = change;
        let mut stored = Stored::default();
        let there = self.inner.view.existing(folder, uids, false)?;
        for uids in there.chunks(MESSAGES_PER_EVENT) {
            let (account, flags) = (account.clone(), flags.clone());
            let mut given = 0;
            let ticket = self.enqueue(Body::None, |numbers, inner| {
                let modseq = numbers.modseq(inner, folder)?;
                given = modseq;
                Ok(Event::FlagsChanged { account, folder, uids, how, flags, modseq, unchanged_since, by })
            })?;
            let effect = ticket.done().await?;
            if !effect.uids.is_empty() {
                stored.modseqs.push(given);
            }
            stored.changed.insert_all(&effect.uids);
            stored.left.insert_all(&effect.left);
        }
        Ok(stored)
    }

    /// Copies messages into the folder named `to`, with their flags and dates.
    ///
    /// # Errors
    /// `NoFolder` when there is none of that name.
    pub async fn copy(
        &self,
        account: &AccountId,
        from: FolderId,
        uids: &UidRanges,
        to: &str,
        by: By,
    ) -> Result<Copied, MailboxError> {
        self.transfer(account, from, uids, to, by, false).await
    }

    /// Moves messages into the folder named `to` (RFC 6851): each is in one of the two folders at any moment.
    ///
    /// # Errors
    /// `NoFolder` when there is none of that name.
    pub async fn move_to(
        &self,
        account: &AccountId,
        from: FolderId,
        uids: &UidRanges,
        to: &str,
        by: By,
    ) -> Result<Copied, MailboxError> {
        self.transfer(account, from, uids, to, by, true).await
    }

    async fn transfer(
        &self,
        account: &AccountId,
        from: FolderId,
        uids: &UidRanges,
        to: &str,
        by: By,
        moved: bool,
    ) -> Result<Copied, MailboxError> {
        self.serving().await?;
        let name = canonical(to).map_err(MailboxError::Refused)?;
        let target = self.inner.view.folder(account, &name)?.ok_or(MailboxError::NoFolder)?;
        self.transfer_to(account, from, uids, &target, by, moved).await
    }

    pub(crate) async fn transfer_to(
        &self,
        account: &AccountId,
        from: FolderId,
        uids: &UidRanges,
        target: &Folder,
        by: By,
        moved: bool,
    ) -> Result<Copied, MailboxError> {
        let to = target.id;
        let mut copied = Copied { uidvalidity: target.uidvalidity, pairs: Vec::new() };
        let there = self.inner.view.existing(from, uids, false)?;
        for uids in there.chunks(MESSAGES_PER_EVENT) {
            let account = account.clone();
            let count = u32::try_from(uids.count()).unwrap_or(u32::MAX);
            let (wanted, mut start) = (uids.clone(), 0);
            let ticket = self.enqueue(Body::None, |numbers, inner| {
                let first = numbers.uids(inner, to, count)?;
                start = first;
                let modseq = numbers.modseq(inner, to)?;
                if !moved {
                    return Ok(Event::Copied { account, from, uids, to, first, modseq, by });
                }
                let left = numbers.modseq(inner, from)?;
                Ok(Event::Moved { account, from, uids, left, to, first, modseq, by })
            })?;
            let effect = ticket.done().await?;
            if effect.missed {
                return Err(MailboxError::NoFolder);
            }
            let new =
                wanted.iter().zip(start..).filter(|(old, _)| effect.uids.contains(*old)).map(|(_, new)| new);
            let new: UidRanges = new.collect();
            if !new.is_empty() {
                copied.pairs.push((effect.uids, new));
            }
        }
        Ok(copied)
    }

    /// Removes messages for good.
    ///
    /// # Errors
    /// When the log does not take it.
    pub async fn expunge(
        &self,
        account: &AccountId,
        folder: FolderId,
        uids: &UidRanges,
        by: By,
    ) -> Result<UidRanges, MailboxError> {
        self.serving().await?;
        let mut gone = UidRanges::new();
        let there = self.inner.view.existing(folder, uids, false)?;
        for uids in there.chunks(MESSAGES_PER_EVENT) {
            let account = account.clone();
            let ticket = self.enqueue(Body::None, |numbers, inner| {
                let modseq = numbers.modseq(inner, folder)?;
                Ok(Event::Expunged { account, folder, uids, modseq, by })
            })?;
            gone.insert_all(&ticket.done().await?.uids);
        }
        Ok(gone)
    }
}
