//! How safe the way to another organisation must be: what it says about that (MTA-STS, DANE), what follows from it for
//! each of its servers, and what is told to it afterwards (TLS-RPT).
//!
//! Pure: whoever asks the DNS and the web hands in what was found.

mod choice;
mod mta_sts;
mod report;

pub use choice::{Choice, Dane, choose};
pub use mta_sts::{Mode, Policy, announced};
pub use report::{
    Applied, AppliedKind, Failure, Header, Receiver, Tally, Trouble, bounds_of_tally, receivers, report,
};
