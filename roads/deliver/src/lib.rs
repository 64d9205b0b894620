//! From the journal to the primary, the internet and the mailboxes here, until everything is settled.
//!
//! The journal is the queue: nothing here need survive a crash. At a start the ledger's settlements and the mailbox log's
//! attempts say what is done, and the journal is read from its beginning for the rest; from then on it is followed.
//!
//! What is promised: every accepted recipient ends in exactly one settlement for each destination; nothing is sent while
//! an order pauses it; no final dot goes out before the attempt is durable; an outcome nobody knows is asked about, sent
//! once more at most, and never a third time.

mod acts;
mod door;
mod dsn;
mod history;
mod lane;
mod live;
mod pool;
mod quarantine;
mod queue;
mod road;
mod route;
mod send;
mod settings;
mod settle;
mod sign;
mod stops;
mod transport;
mod turn;
mod view;
mod waits;

pub use door::{Answer, Ask, Door, Letter, LocalDoor, NotTaken, Question};
pub use lane::{LaneName, Pace};
pub use road::Deliver;
pub use settings::{Parts, PrimaryRoute, Settings};
pub use sign::{KeyKind, MadeKey, Signer, make_key};
pub use transport::{ReportOptions, Transport, TransportOptions};
pub use view::{Counts, Cursor, Filter, LaneView, Page, QueueView, Queued, QueuedRecipient, Standing};
pub use waits::Holds;

#[cfg(test)]
mod tests;
