//! The road between a mailbox here and the same mailbox at the primary: giving back, and the proof of it.

mod touched;
mod witness;

pub use touched::{Touched, touched};
pub use witness::{Case, Ended, Line, Promise, Reach, Report, Sighting, reconcile};
