//! The SMTP and LMTP grammar and both session state machines, sans I/O: bytes in, events out.
//!
//! Nothing here reads a socket, a clock or a disk. The server half ([`ServerSession`]) is fed whatever arrived, in
//! any chunking, and yields events and reply bytes; the client half writes commands and reads replies.
//!
//! Two rules hold everywhere and are what SMTP smuggling lives on elsewhere: only `CRLF.CRLF` ends a message, and
//! a bare CR or a bare LF is refused with words, coming in and going out (RFC 5321 §2.3.8, §4.1.1.4).

mod answer;
pub mod client;
mod command;
mod receive;
pub mod reply;
mod sasl;
mod session;
mod stuff;

pub use answer::write_reply;
pub use command::{Command, Mail, Mechanism};
pub use receive::Fault;
pub use sasl::Credentials;
pub use session::{Dialect, End, Event, Extensions, ServerConfig, ServerSession, SessionLimits, Transaction};
pub use stuff::{BareLine, END_OF_DATA, Stuffer};
