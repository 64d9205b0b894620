//! Looking at mailboxes. Every answer is one consistent moment of the view; all calls block on SQLite, briefly.

use crate::folder::{Counts, Folder, canonical};
use crate::open::Mailboxes;
use crate::view::{Changed, Message, Snapshot, View};
use crate::{FolderId, MailboxError, UidRanges};
use words_mail::{AccountId, TraceId};

/// How many messages one page holds at most.
const PAGE_MAX: u32 = 1_000;

impl Mailboxes {
    /// The view, unless it may still show what must not be shown.
    pub(crate) fn view(&self) -> Result<&View, MailboxError> {
        if *self.inner.desk.serving.borrow() { Ok(&self.inner.view) } else { Err(MailboxError::NotShownYet) }
    }

    /// Every account that was opened.
    ///
    /// # Errors
    /// When the view cannot be read; so with all below.
    pub fn accounts(&self) -> Result<Vec<AccountId>, MailboxError> {
        self.view()?.accounts()
    }

    /// Whether an account was opened.
    pub fn is_open(&self, account: &AccountId) -> Result<bool, MailboxError> {
        Ok(self.view()?.account(account)?.is_some())
    }

    /// The folders of an account, by name.
    pub fn folders(&self, account: &AccountId) -> Result<Vec<Folder>, MailboxError> {
        self.view()?.folders(account)
    }

    /// A folder by its name.
    pub fn folder(&self, account: &AccountId, name: &str) -> Result<Folder, MailboxError> {
        let name = canonical(name).map_err(|_| MailboxError::NoFolder)?;
        self.view()?.folder(account, &name)?.ok_or(MailboxError::NoFolder)
    }

    /// The figures of a folder.
    pub fn counts(&self, folder: FolderId) -> Result<Counts, MailboxError> {
        self.view()?.counts(folder)?.ok_or(MailboxError::NoFolder)
    }

    /// Messages and bytes of an account, in all its folders.
    pub fn usage(&self, account: &AccountId) -> Result<(u64, u64), MailboxError> {
        self.view()?.usage(account)
    }

    /// Bytes of the messages with `\Deleted` in a folder.
    pub fn deleted_bytes(&self, folder: FolderId) -> Result<u64, MailboxError> {
        self.view()?.deleted_bytes(folder)
    }

    /// A folder with the UIDs in it.
    pub fn snapshot(&self, folder: FolderId) -> Result<Snapshot, MailboxError> {
        self.view()?.snapshot(folder)?.ok_or(MailboxError::NoFolder)
    }

    /// The names an account is subscribed to.
    pub fn subscriptions(&self, account: &AccountId) -> Result<Vec<String>, MailboxError> {
        self.view()?.subscriptions(account)
    }

    /// Messages with UIDs from `first` to `last`, by UID: at most `limit` (and at most 1000) of them.
    pub fn page(
        &self,
        folder: FolderId,
        first: u32,
        last: u32,
        limit: u32,
    ) -> Result<Vec<Message>, MailboxError> {
        self.view()?.page(folder, first, last, limit.min(PAGE_MAX))
    }

    /// Which of `uids` are in the folder.
    pub fn existing(&self, folder: FolderId, uids: &UidRanges) -> Result<UidRanges, MailboxError> {
        self.view()?.existing(folder, uids, false)
    }

    /// Which of `uids` are in the folder with `\Deleted`.
    pub fn deleted(&self, folder: FolderId, uids: &UidRanges) -> Result<UidRanges, MailboxError> {
        self.view()?.existing(folder, uids, true)
    }

    /// What changed in a folder after a MODSEQ.
    pub fn changed(&self, folder: FolderId, since: u64) -> Result<Changed, MailboxError> {
        self.view()?.changed(folder, since)?.ok_or(MailboxError::NoFolder)
    }

    /// Where the copies of a message are now.
    pub fn copies(&self, account: &AccountId, trace: TraceId) -> Result<Vec<(FolderId, u32)>, MailboxError> {
        self.view()?.copies(account, trace)
    }
}
