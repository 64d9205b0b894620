//! The lab of the stories: real Postfix and Dovecot as a primary, real clients, and the faults between them.
//!
//! Everything here is its own instance: own configuration, own directories, own loopback ports. The servers that
//! a machine has installed are used as programs only; their configuration and their mail are never read or
//! written. The lab shares no code with the product: what it counts, it counts by looking.
//!
//! This is test equipment, so a broken premise ends the story with words instead of an error value.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod catcher;
pub mod crash;
pub mod crowd;
pub mod fault;
pub mod judges;
pub mod lab;
pub mod load;
pub mod maildrop;
pub mod names;
pub mod object_store;
pub mod outside;
pub mod pebble;
pub mod ports;
pub mod primary;
pub mod receiver;
pub mod sender;
pub mod stormpost;
pub mod tls;
pub mod tools;
pub mod tree;

pub use catcher::{Catcher, Caught};
pub use fault::{Fault, SmtpProxy, Stage, TcpMode, TcpProxy};
pub use judges::{Clamd, Rspamd};
pub use lab::Lab;
pub use load::{Load, Outcome, Sent};
pub use maildrop::{ImapTalk, Maildrop, Tally};
pub use names::Names;
pub use primary::{Primary, PrimaryOptions};
pub use sender::Sender;
pub use stormpost::Stormpost;
pub use tree::Tree;
