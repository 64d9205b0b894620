//! The tree of folders: opening an account, making, renaming and removing folders, subscriptions.

use crate::event::{By, Event, Opened};
use crate::folder::{FOLDERS_MAX, Folder, INBOX, SEPARATOR, STANDARD, SpecialUse, canonical, is_below};
use crate::open::Mailboxes;
use crate::{FolderId, MailboxError, UidRanges};
use stores_log::Body;
use words_mail::AccountId;

impl Mailboxes {
    /// Opens an account with its standard folders; does nothing when it is open.
    ///
    /// # Errors
    /// When the log does not take it.
    pub async fn open_account(&self, account: &AccountId) -> Result<(), MailboxError> {
        self.serving().await?;
        let _tree = self.inner.desk.tree.lock().await;
        if self.inner.view.account(account)?.is_some() {
            return Ok(());
        }
        let uidvalidity = self.uidvalidity(account)?;
        let name = account.clone();
        let ticket = self.enqueue(Body::None, |numbers, _| {
            let folders = STANDARD
                .iter()
                .map(|(name, special)| {
                    let folder = FolderId(numbers.folder_next);
                    numbers.folder_next += 1;
                    Opened { folder, name: (*name).to_owned(), uidvalidity, special: *special }
                })
                .collect();
            Ok(Event::AccountOpened { account: name, folders })
        })?;
        ticket.done().await.map(|_| ())
    }

    /// A UIDVALIDITY greater than any this account has had: a folder made anew under an old name is another one.
    fn uidvalidity(&self, account: &AccountId) -> Result<u32, MailboxError> {
        let greatest = self.inner.view.account(account)?.map_or(0, |(greatest, _)| greatest);
        let now = u32::try_from(self.now().seconds().max(1)).unwrap_or(u32::MAX);
        greatest.checked_add(1).map(|next| next.max(now)).ok_or(MailboxError::NoUid)
    }

    /// Makes a folder and those above it that are missing.
    ///
    /// # Errors
    /// `Exists`; `Refused` for a name that cannot be.
    pub async fn create(
        &self,
        account: &AccountId,
        name: &str,
        special: Option<SpecialUse>,
        by: By,
    ) -> Result<FolderId, MailboxError> {
        self.serving().await?;
        let name = canonical(name).map_err(MailboxError::Refused)?;
        let _tree = self.inner.desk.tree.lock().await;
        if self.inner.view.account(account)?.is_none() {
            return Err(MailboxError::NoAccount);
        }
        if self.inner.view.folder(account, &name)?.is_some() {
            return Err(MailboxError::Exists);
        }
        self.create_above(account, &name, by).await?;
        self.create_one(account, name, special, by).await
    }

    async fn create_above(&self, account: &AccountId, name: &str, by: By) -> Result<(), MailboxError> {
        let levels = name.match_indices(SEPARATOR).count();
        if self.inner.view.folders(account)?.len() + levels >= FOLDERS_MAX {
            return Err(MailboxError::Refused("the account has too many folders"));
        }
        for (at, _) in name.match_indices(SEPARATOR) {
            let above = &name[..at];
            if self.inner.view.folder(account, above)?.is_none() {
                self.create_one(account, above.to_owned(), None, by).await?;
            }
        }
        Ok(())
    }

    async fn create_one(
        &self,
        account: &AccountId,
        name: String,
        special: Option<SpecialUse>,
        by: By,
    ) -> Result<FolderId, MailboxError> {
        let uidvalidity = self.uidvalidity(account)?;
        let account = account.clone();
        let ticket = self.enqueue(Body::None, |numbers, _| {
            let folder = FolderId(numbers.folder_next);
            numbers.folder_next += 1;
            let opened = Opened { folder, name, uidvalidity, special };
            Ok(Event::FolderCreated { account, opened, by })
        })?;
        match ticket.done().await? {
            effect if effect.missed => Err(MailboxError::Exists),
            effect => effect.placed.map(|(folder, _)| folder).ok_or(MailboxError::Exists),
        }
    }

    /// Renames a folder and all below it. Renaming INBOX moves what is in it to a new folder and leaves INBOX empty
    /// (RFC 3501 §6.3.5).
    ///
    /// # Errors
    /// `NoFolder`, `Exists`, or `Refused`.
    pub async fn rename(
        &self,
        account: &AccountId,
        from: &str,
        to: &str,
        by: By,
    ) -> Result<(), MailboxError> {
        self.serving().await?;
        let from = canonical(from).map_err(MailboxError::Refused)?;
        let to = canonical(to).map_err(MailboxError::Refused)?;
        let _tree = self.inner.desk.tree.lock().await;
        let folder = self.inner.view.folder(account, &from)?.ok_or(MailboxError::NoFolder)?;
        if self.inner.view.folder(account, &to)?.is_some() {
            return Err(MailboxError::Exists);
        }
        if is_below(&to, &from) && from != INBOX {
            return Err(MailboxError::Refused("a folder cannot be moved into itself"));
        }
        self.create_above(account, &to, by).await?;
        if from == INBOX {
            let id = self.create_one(account, to, None, by).await?;
            let target = self.inner.view.folder_by_id(id)?.ok_or(MailboxError::NoFolder)?;
            let all = UidRanges::span(1, u32::MAX);
            return self.transfer_to(account, folder.id, &all, &target, by, true).await.map(|_| ());
        }
        let account = account.clone();
        let ticket = self.enqueue(Body::None, |_, _| {
            Ok(Event::FolderRenamed { account, folder: folder.id, from, to, by })
        })?;
        if ticket.done().await?.missed { Err(MailboxError::Exists) } else { Ok(()) }
    }

    /// Removes a folder with the messages in it. Folders below it stay.
    ///
    /// # Errors
    /// `NoFolder`; `Refused` for INBOX.
    pub async fn delete(&self, account: &AccountId, name: &str, by: By) -> Result<(), MailboxError> {
        self.serving().await?;
        let name = canonical(name).map_err(MailboxError::Refused)?;
        if name == INBOX {
            return Err(MailboxError::Refused("INBOX cannot be removed"));
        }
        let _tree = self.inner.desk.tree.lock().await;
        let Folder { id: folder, .. } =
            self.inner.view.folder(account, &name)?.ok_or(MailboxError::NoFolder)?;
        let account = account.clone();
        let ticket =
            self.enqueue(Body::None, |_, _| Ok(Event::FolderDeleted { account, folder, name, by }))?;
        if ticket.done().await?.missed { Err(MailboxError::NoFolder) } else { Ok(()) }
    }

    /// Subscribes to a name or no longer.
    ///
    /// # Errors
    /// `Refused` for a name that cannot be, or too many of them.
    pub async fn subscribe(
        &self,
        account: &AccountId,
        name: &str,
        on: bool,
        by: By,
    ) -> Result<(), MailboxError> {
        self.serving().await?;
        let name = canonical(name).map_err(MailboxError::Refused)?;
        let _tree = self.inner.desk.tree.lock().await;
        let names = self.inner.view.subscriptions(account)?;
        if names.contains(&name) == on {
            return Ok(());
        }
        if on && names.len() >= FOLDERS_MAX {
            return Err(MailboxError::Refused("the account has too many subscriptions"));
        }
        let account = account.clone();
        let ticket = self.enqueue(Body::None, |_, _| Ok(Event::Subscribed { account, name, on, by }))?;
        ticket.done().await.map(|_| ())
    }
}
