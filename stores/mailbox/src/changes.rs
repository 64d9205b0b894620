//! What people did, in order, for whoever carries it to the primary.

use crate::event::Event;
use crate::open::{Mailboxes, entry};
use crate::view::Entry;
use crate::{BodyAt, FolderId, MailboxError, UidRanges};
use stores_log::{Body, Position};
use words_mail::{AccountId, Time, TraceId};

/// A message that a change is about, as it is or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownMessage {
    /// Its UID in the folder the change names first.
    pub uid: u32,
    /// Our trace id, if it came through us.
    pub trace: Option<TraceId>,
    /// Where its bytes are.
    pub body: BodyAt,
}

/// One thing a person did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its sequence number in the mailbox log.
    pub seq: u64,
    /// Where it stands there.
    pub position: Position,
    /// When it was done.
    pub at: Time,
    /// What was done.
    pub event: Event,
    /// The present name of the folder it was done in; `None` when that is gone.
    pub folder: Option<String>,
    /// The present name of the folder messages were copied or moved to.
    pub to: Option<String>,
    /// The messages it was done with, also those that are gone by now.
    pub messages: Vec<KnownMessage>,
}

impl Mailboxes {
    /// What people did in an account after the sequence number `after`, in order, at most `limit` changes. Only what
    /// `By::Person` made is among it.
    ///
    /// # Errors
    /// When the log or the view cannot be read.
    pub fn changes_since(
        &self,
        account: &AccountId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Change>, MailboxError> {
        let mut changes = Vec::new();
        for position in self.inner.view.changes(account, after, limit)? {
            let record = self.inner.reader.read(position)?;
            if let Some((_, Entry::Event(event))) = entry(&record) {
                changes.push(self.change(record.seq, position, record.at, event)?);
            }
        }
        Ok(changes)
    }

    fn change(&self, seq: u64, position: Position, at: Time, event: Event) -> Result<Change, MailboxError> {
        let none = UidRanges::new();
        let one = |uid: u32| UidRanges::span(uid, uid);
        let (folder, to, uids) = match &event {
            Event::FolderCreated { opened, .. } => (Some(opened.folder), None, none),
            Event::FolderRenamed { folder, .. } | Event::FolderDeleted { folder, .. } => {
                (Some(*folder), None, none)
            }
            Event::Arrived { folder, uid, .. } | Event::Appended { folder, uid, .. } => {
                (Some(*folder), None, one(*uid))
            }
            Event::FlagsChanged { folder, uids, .. } | Event::Expunged { folder, uids, .. } => {
                (Some(*folder), None, uids.clone())
            }
            Event::Copied { from, to, uids, .. } | Event::Moved { from, to, uids, .. } => {
                (Some(*from), Some(*to), uids.clone())
            }
            Event::AccountOpened { .. }
            | Event::Subscribed { .. }
            | Event::Recognised { .. }
            | Event::Jumped { .. }
            | Event::Replayed { .. } => (None, None, none),
        };
        let messages = match folder {
            Some(folder) => self.inner.view.known(folder, &uids)?,
            None => Vec::new(),
        };
        let messages =
            messages.into_iter().map(|(uid, trace, body)| KnownMessage { uid, trace, body }).collect();
        let (folder, to) = (self.name_of(folder)?, self.name_of(to)?);
        Ok(Change { seq, position, at, event, folder, to, messages })
    }

    fn name_of(&self, folder: Option<FolderId>) -> Result<Option<String>, MailboxError> {
        match folder {
            Some(folder) => Ok(self.inner.view.folder_by_id(folder)?.map(|f| f.name)),
            None => Ok(None),
        }
    }

    /// Up to which sequence number the changes of an account have been carried to the primary.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub fn replayed(&self, account: &AccountId) -> Result<u64, MailboxError> {
        Ok(self.inner.view.account(account)?.map_or(0, |(_, replayed)| replayed))
    }

    /// Records that the changes of an account up to `up_to` have been carried to the primary.
    ///
    /// # Errors
    /// When the log does not take it.
    pub async fn set_replayed(&self, account: &AccountId, up_to: u64) -> Result<(), MailboxError> {
        self.serving().await?;
        let account = account.clone();
        let ticket = self.enqueue(Body::None, |_, _| Ok(Event::Replayed { account, up_to }))?;
        ticket.done().await.map(|_| ())
    }
}
