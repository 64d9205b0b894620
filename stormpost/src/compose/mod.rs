//! The composition root: stores and roads built out of a configuration.

pub mod deliver;
pub mod doors;
pub mod elsewhere;
pub mod format;
pub mod heartbeat;
pub mod notices;
mod object_store;
pub mod offsite;
pub mod owed;
pub mod own_certificate;
mod pass;
pub mod primaries;
mod questions;
pub mod relays;
pub mod sign_in;
pub mod spool;
pub mod stores;
pub mod transport;
pub mod upkeep;
pub mod writers;
