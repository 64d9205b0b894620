//! The mailboxes: a log that is the truth, and a view of it that can be thrown away.
//!
//! Every fact of a mailbox that a client was told (folders, UIDs, MODSEQs, flags, who changed what) is an event in
//! the mailbox log; nobody is told before the event is durable. Numbers are allotted while the event is handed to
//! the log, so the order of the log is the order of the numbers, and a number once shown is never given again. What
//! people look at are SQLite tables made from the log by one rule ([`Event`] → tables) and nothing else.

mod append;
mod applier;
mod arrive;
mod attempts;
mod body;
mod change;
mod changes;
mod collect;
pub mod content;
mod desk;
mod error;
mod event;
mod flags;
mod folder;
mod folders;
mod look;
mod mirror;
mod open;
mod uids;
mod view;

#[cfg(test)]
mod tests;

pub use append::{Append, Appendix};
pub use applier::Applier;
pub use arrive::{Arrival, Placed};
pub use body::{Bodies, BodyAt, MessageReader};
pub use change::{Copied, Stored};
pub use changes::{Change, KnownMessage};
pub use error::MailboxError;
pub use event::{Attempt, By, Event, Opened, Together};
pub use flags::{Flags, How, KEYWORD_BYTES_MAX, KEYWORDS_MAX};
pub use folder::{
    Counts, FOLDERS_MAX, Folder, FolderId, INBOX, LEVELS_MAX, NAME_BYTES_MAX, SEPARATOR, STANDARD,
    SpecialUse, canonical, is_below,
};
pub use mirror::{Link, LinkNote, Look, Pairing, Pulled, Pulling};
pub use open::{MailboxOptions, Mailboxes, Ready};
pub use uids::UidRanges;
pub use view::{Changed, Message, Snapshot, ViewPlace};
