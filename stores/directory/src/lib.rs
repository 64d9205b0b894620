//! Who is here: accounts, their addresses, the domains they live in, and how people prove who they are.
//!
//! What the edge needs to answer a `RCPT TO` is one immutable [`Snapshot`], published whenever something changes and
//! kept in one file (`directory.json`), so that the edge can read it with everything else dead. Credentials live
//! in a second file (`credentials.json`) that the edge never opens; recipients learned by asking a primary live in
//! a third (`learned.json`) and are never authoritative, and so does what each primary takes (`takes.json`).
//!
//! Every file is replaced whole and atomically: after a crash it is the old one or the new one.

mod account;
mod directory;
mod files;
mod follow;
mod guard;
mod learned;
mod password;
mod sign_in;
mod snapshot;
mod table;
mod takes;

pub use account::{Account, Class, Domain, NewAccount, Origin};
pub use directory::{Change, Coverage, DIGEST_AGE_MAX, Directory, DirectoryError, Imported, Options};
pub use follow::Follower;
pub use guard::Guards;
pub use learned::{Learned, LearnedRecipient};
pub use password::{Busy, Hashing, PASSWORD_BYTES_MAX};
pub use sign_in::{Captured, PasswordStamp, Question, Refusal, SignIn};
pub use snapshot::{Conflict, Resolved, Snapshot};
pub use table::{ACCOUNTS_MAX, ALIASES_MAX, Row, TABLE_BYTES_MAX, TableFault, parse_table};
pub use takes::PrimariesTake;

#[cfg(test)]
mod tests;
