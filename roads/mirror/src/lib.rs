//! The road between a mailbox here and the same mailbox at the primary: giving back, and the proof of it.
//!
//! Two doors lead back. What was received goes by transport, which is not this road's work; here people's changes are
//! carried to the copies that transport has settled, and what people wrote is imported. Then promises are compared with
//! what stands in the primary's mailboxes.

mod carry;
mod deliveries;
mod doors;
mod inventory;
mod names;
mod piece;
mod promises;
mod prove;
mod pull;
mod replay;
mod road;
mod touched;
mod unsettled;
mod witness;

pub use doors::{Doors, Right};
pub use prove::{Hear, Progress, Prover, Unproved, Waits};
pub use pull::{Hands, PullOptions, PullParts, Puller};
pub use replay::{Carried, Trouble};
pub use road::{Mirror, MirrorOptions, MirrorParts};
pub use rules_merge::{BrakeOptions, PaceOptions};
pub use touched::{Touched, touched};
pub use witness::{Case, Ended, Line, Promise, Reach, Report, Sighting, reconcile};

#[cfg(test)]
mod tests;
