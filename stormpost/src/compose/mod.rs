//! The composition root: stores and roads built out of a configuration.

pub mod deliver;
pub mod doors;
pub mod format;
pub mod heartbeat;
pub mod notices;
pub mod owed;
pub mod own_certificate;
pub mod primaries;
pub mod relays;
pub mod sign_in;
mod pass;
pub mod spool;
mod questions;
pub mod stores;
pub mod transport;
pub mod upkeep;
pub mod writers;
