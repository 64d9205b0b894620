//! The store we do not own, and every other place mail is handed to: one file per kind.
//!
//! A primary is somebody else's machine. Everything asked of it is bounded in time, everything it says is read with
//! suspicion, and an outcome that is not known is its own answer.

mod block;
pub mod imap;
pub mod internet;
#[cfg(test)]
mod scripted;
pub mod smtp;
pub mod store;
pub mod tls;
pub mod web;
