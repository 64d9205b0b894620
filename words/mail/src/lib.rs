//! What things are called: the words of mail that every other room speaks.
//!
//! Nothing here touches a disk, a network, a clock or a runtime. One word has one meaning (see
//! `docs/ARCHITECTURE.md`); a type here is the meaning.

mod account;
mod address;
mod envelope;
mod settlement;
mod takes;
mod time;
mod trace;
mod verdict;
mod watch;

pub use account::{AccountId, Tenant};
pub use address::{Address, AddressError, Sender};
pub use envelope::{Envelope, Notify, Peer, PeerName, Recipient, Ret, Source};
pub use settlement::{Destination, Outcome, Reply};
pub use takes::Takes;
pub use time::Time;
pub use trace::{TraceId, TraceKey, TraceTag};
pub use verdict::{Action, Check, CheckAnswer, CheckResult, DETAIL_MAX, Grade, Reason, Verdict, findings};
pub use watch::{
    Event, EventId, Evidence, Finding, Mode, Observation, Order, OrderKind, OrderNumber, Plane, PrimaryId,
    Request, RequestKind, Scope, State,
};
