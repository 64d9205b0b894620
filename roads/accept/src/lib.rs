//! The road in: sender → session → facts → verdict → journal → `250`.
//!
//! [`Accept::run`] serves one door: the edge, submission with or without implicit TLS, or the local door by which the
//! other parts of Stormpost hand over their own mail. A message is acknowledged only after [`Journal::accept`] has
//! returned, so after it is durable. Nothing here needs the primary, the DNS, a database or an identity provider: with
//! all of them dead, mail is taken as before.
//!
//! [`Journal::accept`]: stores_journal::Journal::accept

mod authentication;
mod call_out;
mod counts;
mod dialogue;
mod digest;
mod door;
mod guests;
mod header;
mod incoming;
mod judged;
mod limits;
mod mail_auth;
mod prefix;
mod recipients;
mod returned;
mod reverse;
mod scanners;
mod senders;
mod sign_in;
mod spool;
mod store;
mod trusted;

pub use authentication::{Asked, Authentication, Findings};
pub use call_out::{Answer, CallOut};
pub use counts::Counts;
pub use digest::BodyDigests;
pub use door::{Accept, AcceptParts, Door};
pub use limits::AcceptLimits;
pub use mail_auth::MailAuth;
pub use scanners::{DnsblOptions, ScannerOptions, ScannerParts, ScannerPlace};
pub use sign_in::{SignIn, SignInRefusal};
pub use spool::Spool;
pub use trusted::{DeviceParts, DeviceSender, Network, RelayParts, authority};

#[cfg(test)]
mod tests;
