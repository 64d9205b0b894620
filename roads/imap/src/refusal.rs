//! What clients are told when something cannot be done.

use stores_mailbox::MailboxError;
use words_imap::Code;

/// A code a program can act on, and words for the person: what happened, what was kept, what to do.
pub(crate) fn refusal(error: &MailboxError) -> (Code, String) {
    let later = |what: &str| (Code::Unavailable, format!("{what}; nothing is lost, try again later"));
    match error {
        MailboxError::NoFolder | MailboxError::NoAccount => {
            (Code::NonExistent, "there is no such folder".into())
        }
        MailboxError::Exists => (Code::AlreadyExists, "a folder with that name is there already".into()),
        MailboxError::Refused(why) => (Code::Cannot, (*why).to_owned()),
        MailboxError::NoUid => (Code::Cannot, error.to_string()),
        MailboxError::Append(_) => later(&error.to_string()),
        MailboxError::NotShownYet => later("it is being brought up to date"),
        MailboxError::Copying(_) => (Code::Unavailable, error.to_string()),
        MailboxError::View(_) | MailboxError::Log(_) => {
            later("the mailbox cannot be read or written just now")
        }
        MailboxError::Body(_) => later("the message cannot be read just now"),
    }
}
