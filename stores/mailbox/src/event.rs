//! What the mailbox log holds: every fact of a mailbox that a client was told.

use crate::{Flags, FolderId, How, SpecialUse, UidRanges};
use serde::{Deserialize, Serialize};
use stores_log::Position;
use words_mail::{AccountId, Address, Destination, Time, TraceId};

/// The record kind of an [`Event`] in the first version of its form. A later form gets a kind of its own, so that
/// old logs are read for ever.
pub(crate) const EVENT_V1: u8 = 1;

/// The record kind of an [`Attempt`].
pub(crate) const ATTEMPT_V1: u8 = 2;

/// Who made a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// A person, through a client: it is replayed to the primary.
    Person,
    /// The primary: it is only followed here.
    Primary,
    /// Stormpost itself: filing what it delivers, opening an account.
    Own,
}

/// A folder at the opening of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Its number.
    pub folder: FolderId,
    /// Its name.
    pub name: String,
    /// RFC 3501 §2.3.1.1.
    pub uidvalidity: u32,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub special: Option<SpecialUse>,
}

/// Messages that are put into a folder all or none. Their records stand one after another in the log, their UIDs are
/// in a row, and nothing is shown of them before the last is there: a record that is missing voids the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Together {
    /// The UID of the first.
    pub first: u32,
    /// How many there are.
    pub of: u32,
}

/// One fact. The numbers in it (folder, UID, MODSEQ) were allotted before it was written, so whoever applies the
/// events in the order of the log gets the same mailboxes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// An account was opened, with its first folders.
    AccountOpened {
        /// Whose.
        account: AccountId,
        /// The folders it opens with.
        folders: Vec<Opened>,
    },
    /// A folder was made.
    FolderCreated {
        /// Whose.
        account: AccountId,
        /// The folder.
        #[serde(flatten)]
        opened: Opened,
        /// Who did it.
        by: By,
    },
    /// A folder, and with it all below it, got another name.
    FolderRenamed {
        /// Whose.
        account: AccountId,
        /// Which folder.
        folder: FolderId,
        /// The name before.
        from: String,
        /// The name now.
        to: String,
        /// Who did it.
        by: By,
    },
    /// A folder was removed with the messages in it.
    FolderDeleted {
        /// Whose.
        account: AccountId,
        /// Which folder.
        folder: FolderId,
        /// Its name.
        name: String,
        /// Who did it.
        by: By,
    },
    /// A name was subscribed, or no longer.
    Subscribed {
        /// Whose.
        account: AccountId,
        /// The folder's name; the folder need not exist (RFC 3501 §6.3.6).
        name: String,
        /// Subscribed from now on?
        on: bool,
        /// Who did it.
        by: By,
    },
    /// A message of the journal was put into a folder.
    Arrived {
        /// Whose.
        account: AccountId,
        /// Where.
        folder: FolderId,
        /// Its UID there.
        uid: u32,
        /// Its MODSEQ there.
        modseq: u64,
        /// Which message.
        trace: TraceId,
        /// Where the journal keeps it.
        journal: Position,
        /// INTERNALDATE.
        date: Time,
        /// Its size in bytes, with the header lines we put on top.
        size: u64,
        /// Its flags.
        #[serde(default)]
        flags: Flags,
        /// Who did it.
        by: By,
    },
    /// A message was given to us by a client or the mirror; its bytes are the body of this record.
    Appended {
        /// Whose.
        account: AccountId,
        /// Where.
        folder: FolderId,
        /// Its UID there.
        uid: u32,
        /// Its MODSEQ there.
        modseq: u64,
        /// Our trace id, if its topmost trace header is genuine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<TraceId>,
        /// INTERNALDATE.
        date: Time,
        /// Its size in bytes.
        size: u64,
        /// Its flags.
        #[serde(default)]
        flags: Flags,
        /// Who did it.
        by: By,
        /// It came with others, all of which are put there or none (RFC 3502 §6.3.11).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        together: Option<Together>,
    },
    /// A message of the journal was found to be one that a client had filed already: it is that one.
    Recognised {
        /// Whose.
        account: AccountId,
        /// Where it is.
        folder: FolderId,
        /// Its UID there.
        uid: u32,
        /// Which message of the journal it is.
        trace: TraceId,
    },
    /// Flags were changed.
    FlagsChanged {
        /// Whose.
        account: AccountId,
        /// In which folder.
        folder: FolderId,
        /// Of which messages.
        uids: UidRanges,
        /// What was done with them.
        how: How,
        /// The flags named.
        flags: Flags,
        /// The MODSEQ of the messages that really changed.
        modseq: u64,
        /// Messages that had changed after this MODSEQ were left alone (RFC 7162 `UNCHANGEDSINCE`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unchanged_since: Option<u64>,
        /// Who did it.
        by: By,
    },
    /// Messages were copied; the n-th of `uids` became UID `first + n` in `to`.
    Copied {
        /// Whose.
        account: AccountId,
        /// From which folder.
        from: FolderId,
        /// Which messages.
        uids: UidRanges,
        /// Into which folder.
        to: FolderId,
        /// The first new UID.
        first: u32,
        /// The MODSEQ of the copies.
        modseq: u64,
        /// Who did it.
        by: By,
    },
    /// Messages were moved; the n-th of `uids` became UID `first + n` in `to`.
    Moved {
        /// Whose.
        account: AccountId,
        /// From which folder.
        from: FolderId,
        /// Which messages.
        uids: UidRanges,
        /// The MODSEQ of their leaving.
        left: u64,
        /// Into which folder.
        to: FolderId,
        /// The first new UID.
        first: u32,
        /// The MODSEQ of the messages in their new folder.
        modseq: u64,
        /// Who did it.
        by: By,
    },
    /// Messages were removed for good.
    Expunged {
        /// Whose.
        account: AccountId,
        /// From which folder.
        folder: FolderId,
        /// Which messages.
        uids: UidRanges,
        /// The MODSEQ of their leaving.
        modseq: u64,
        /// Who did it.
        by: By,
    },
    /// The end of the log may be missing: UIDNEXT and MODSEQ of every folder jump, so that no UID that a client may
    /// have seen is given to another message.
    Jumped {
        /// By how much.
        by: u32,
    },
    /// What a person did up to and including this log sequence number has been carried to the primary.
    Replayed {
        /// Whose.
        account: AccountId,
        /// The sequence number of the last change carried over.
        up_to: u64,
    },
}

/// A try to hand a message over, recorded before the final dot so that an unknown outcome is known to be one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which message.
    pub trace: TraceId,
    /// For whom.
    pub recipient: Address,
    /// To where.
    pub destination: Destination,
    /// The how many-th try, from 1.
    pub number: u32,
}

impl Event {
    /// Whose mailbox it is about; `None` when it is about all.
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Event::AccountOpened { account, .. }
            | Event::FolderCreated { account, .. }
            | Event::FolderRenamed { account, .. }
            | Event::FolderDeleted { account, .. }
            | Event::Subscribed { account, .. }
            | Event::Arrived { account, .. }
            | Event::Appended { account, .. }
            | Event::Recognised { account, .. }
            | Event::FlagsChanged { account, .. }
            | Event::Copied { account, .. }
            | Event::Moved { account, .. }
            | Event::Expunged { account, .. }
            | Event::Replayed { account, .. } => Some(account),
            Event::Jumped { .. } => None,
        }
    }

    /// Who made the change.
    pub fn by(&self) -> By {
        match self {
            Event::FolderCreated { by, .. }
            | Event::FolderRenamed { by, .. }
            | Event::FolderDeleted { by, .. }
            | Event::Subscribed { by, .. }
            | Event::Arrived { by, .. }
            | Event::Appended { by, .. }
            | Event::FlagsChanged { by, .. }
            | Event::Copied { by, .. }
            | Event::Moved { by, .. }
            | Event::Expunged { by, .. } => *by,
            Event::AccountOpened { .. }
            | Event::Recognised { .. }
            | Event::Jumped { .. }
            | Event::Replayed { .. } => By::Own,
        }
    }
}
