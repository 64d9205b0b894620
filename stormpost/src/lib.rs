//! The program: composition root, configuration, command line, demonstration.
//!
//! Nothing here decides anything about mail; it builds the stores and roads out of a configuration, hands them
//! the real world, and answers the command line.

pub mod acme;
pub mod certificates;
pub mod check;
pub mod command;
pub mod compose;
pub mod configuration;
pub mod control;
pub mod crash_at;
pub mod demo;
pub mod doctor;
pub mod edge;
pub mod http;
pub mod init;
pub mod logging;
pub mod records;
pub mod report;
pub mod retire;
pub mod serve;
pub mod sockets;
pub mod systemd;
pub mod world;
