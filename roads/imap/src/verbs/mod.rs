//! The commands, one file for each group.

mod append;
mod binary;
mod copy;
mod fetch;
mod folders;
mod greetings;
mod idle;
mod list;
mod search;
mod sections;
mod selecting;
mod sort;
mod store;
mod structure;

pub(crate) use append::Appending;
pub(crate) use sort::AT_ONCE as SORTS_AT_ONCE;

use stores_mailbox::Flags;
use words_imap::Flag;

/// The capabilities of a session that is signed in, or will be.
pub(crate) const CAPABILITIES: &[&str] = &[
    "IMAP4rev1",
    "LITERAL+",
    "SASL-IR",
    "ID",
    "ENABLE",
    "NAMESPACE",
    "UIDPLUS",
    "IDLE",
    "UNSELECT",
    "MOVE",
    "CHILDREN",
    "SPECIAL-USE",
    "CREATE-SPECIAL-USE",
    "LIST-EXTENDED",
    "LIST-STATUS",
    "STATUS=SIZE",
    "ESEARCH",
    "WITHIN",
    "CONDSTORE",
    "QRESYNC",
    "MULTIAPPEND",
    "UTF8=ACCEPT",
    "BINARY",
    "OBJECTID",
    "SORT",
    "THREAD=ORDEREDSUBJECT",
    "THREAD=REFERENCES",
    "QUOTA",
    "QUOTA=RES-STORAGE",
    "QUOTA=RES-MESSAGE",
];

/// Flags as the wire shows them.
pub(crate) fn wire_flags(flags: &Flags, recent: bool) -> Vec<Flag> {
    let names = flags.names().filter_map(Flag::parse);
    names.chain(recent.then_some(Flag::Recent)).collect()
}

/// Flags as the mailboxes keep them; what no client may set is left out.
pub(crate) fn kept_flags(flags: &[Flag]) -> Flags {
    flags.iter().map(Flag::as_str).collect()
}
