//! What can go wrong with a mailbox, in words for the person at the other end.

use stores_log::{AppendError, LogError, ReadError};

/// Why something about a mailbox was not done. Unless the words say otherwise nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailboxError {
    /// There is no such folder.
    #[error("there is no such folder")]
    NoFolder,
    /// The account was never opened.
    #[error("there is no such account")]
    NoAccount,
    /// A folder with that name is there already.
    #[error("a folder with that name is there already")]
    Exists,
    /// It cannot be done, whoever asks; why.
    #[error("{0}")]
    Refused(&'static str),
    /// Every UID of the folder has been given. Nothing but a new UIDVALIDITY could help.
    #[error("the folder has no UID left")]
    NoUid,
    /// The log did not take it.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// It is recorded and will be shown, but the view cannot show it yet.
    #[error("it was recorded, but cannot be shown yet")]
    NotShownYet,
    /// The first copy of the folder from the primary is unfinished; how much of it is here, in percent.
    #[error("folder still being copied ({0} %); nothing is missing")]
    Copying(u8),
    /// The view cannot be read or written.
    #[error("the mailbox view: {0}")]
    View(String),
    /// The log cannot be opened or read.
    #[error("the mailbox log: {0}")]
    Log(String),
    /// The bytes of a message cannot be read.
    #[error("the message cannot be read: {0}")]
    Body(String),
}

impl MailboxError {
    /// Whether trying again later may help.
    pub fn is_temporary(&self) -> bool {
        !matches!(
            self,
            MailboxError::NoFolder
                | MailboxError::NoAccount
                | MailboxError::Exists
                | MailboxError::Refused(_)
                | MailboxError::NoUid
        )
    }
}

impl From<rusqlite::Error> for MailboxError {
    fn from(error: rusqlite::Error) -> MailboxError {
        MailboxError::View(error.to_string())
    }
}

impl From<LogError> for MailboxError {
    fn from(error: LogError) -> MailboxError {
        MailboxError::Log(error.to_string())
    }
}

impl From<ReadError> for MailboxError {
    fn from(error: ReadError) -> MailboxError {
        MailboxError::Log(error.to_string())
    }
}
