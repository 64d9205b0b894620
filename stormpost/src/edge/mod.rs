//! The edge as a process of its own: it takes mail in and writes the journal, and needs nothing else to be alive.
//!
//! Two processes share a data folder. The **edge** has the doors for mail, the certificate, the journal's writer, the
//! list of addresses and the keys; no ledger, no mailbox, no database, no secret of a primary. The **inside**
//! (`stormpost serve`) has everything else, reads the journal from its directory, and keeps the edge running. They
//! meet in durable state; two sockets carry hints, questions, and what only the writer knows: how far the journal is
//! durable.

mod ask;
mod attend;
mod door;
mod inside;
mod lock;
mod run;
mod supervise;
mod view;
mod words;

pub use door::TakenIn;
pub use run::run;
pub use supervise::Supervisor;
pub use view::{EdgeView, Mark, Standing, erase_now};

pub(crate) use door::{SPOOL, SPOOL_FULL};
pub(crate) use inside::Knowing;
pub(crate) use lock::Lock;
pub(crate) use supervise::end_running;
