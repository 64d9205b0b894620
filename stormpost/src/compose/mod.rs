//! The composition root: stores and roads built out of a configuration.

pub mod stores;
pub mod writers;
