//! IMAP for people's clients: IMAP4rev1 (RFC 3501) with the extensions that clients use, on the mailboxes that are
//! always warm.
//!
//! One session is one future: it reads what the client sends, does it, and writes the answers, each with a limit of
//! time and memory. What another session, or a delivery, changes is told where the protocol allows it. Messages pass
//! through in pieces, whatever their size and however slowly the client reads.

mod guests;
mod options;
mod refusal;
mod road;
mod select;
mod session;
mod sign_in;
mod verbs;
mod wire;

#[cfg(test)]
mod tests;

pub use options::{Door, ImapLimits, ImapOptions, Security};
pub use road::Imap;
pub use sign_in::{Pass, SignIn, SignInRefusal};
