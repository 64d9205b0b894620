//! The program: composition root, configuration, command line, demonstration.
//!
//! Nothing here decides anything about mail; it builds the stores and roads out of a configuration, hands them
//! the real world, and answers the command line.

pub mod certificates;
pub mod compose;
pub mod configuration;
pub mod serve;
pub mod world;
