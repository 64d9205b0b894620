//! How the road is set up, with every bound by name.

use std::net::SocketAddr;
use std::time::Duration;

/// When TLS begins at a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// With the first byte (port 993, RFC 8314 §3.2).
    Implicit,
    /// When the client asks by STARTTLS; nobody signs in before (port 143).
    StartTls,
    /// As with STARTTLS, but people may sign in without it: for loopback and for tests.
    Optional,
}

/// A door that clients come in by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// Where it is.
    pub at: SocketAddr,
    /// When TLS begins.
    pub security: Security,
}

/// How the road is set up.
#[derive(Clone, Debug)]
pub struct ImapOptions {
    /// What the server calls itself in its greeting.
    pub host: String,
    /// Its bounds.
    pub limits: ImapLimits,
}

/// Every bound of the road. Over one the client hears which; nothing is lost by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImapLimits {
    /// Connections at once through all doors. Default 10,000.
    pub connections: usize,
    /// Connections at once from one address (IPv6: one /64): a whole office behind one address must fit. Default 500.
    pub connections_per_address: u32,
    /// Connections at once of one account. Default 50.
    pub connections_per_account: u32,
    /// Failed sign-ins from one address within ten minutes; beyond it none is tried. Default 30.
    pub failures_per_address: u32,
    /// Failed sign-ins on one connection; then it is closed. Default 3.
    pub failures_per_connection: u32,
    /// How long the answer to the first failed sign-in waits; doubles with each. Default 2 s.
    pub failure_delay: Duration,
    /// From the first byte to signing in. Default 60 s.
    pub sign_in_time: Duration,
    /// For a TLS handshake. Default 30 s.
    pub handshake_time: Duration,
    /// Without a command, signed in. Default 30 minutes (RFC 3501 §5.4), plus one for clocks that differ.
    pub idle_time: Duration,
    /// Between two pieces of one command. Default 5 minutes.
    pub piece_time: Duration,
    /// For the client to take a piece of our answer. Default 5 minutes.
    pub write_time: Duration,
    /// For sessions that are in the middle of a command when a shutdown begins. Default 5 s.
    pub shutdown_time: Duration,
    /// Bytes of one command before signing in. Default 8 KiB.
    pub command_before_sign_in: usize,
    /// Bytes of one command, literals of an APPEND apart. Default 64 KiB.
    pub command: usize,
    /// Bytes of one appended message. Default 64 MiB.
    pub message: u64,
    /// Messages in one APPEND (RFC 3502). Default 64.
    pub messages_per_append: usize,
    /// What clients are told that an account may hold, in bytes (RFC 9208 STORAGE). Nothing is refused for it: mail
    /// that was accepted is never lost. Default none.
    pub account_bytes: Option<u64>,
    /// The same in messages (RFC 9208 MESSAGE). Default none.
    pub account_messages: Option<u64>,
}

impl Default for ImapLimits {
    fn default() -> ImapLimits {
        ImapLimits {
            connections: 10_000,
            connections_per_address: 500,
            connections_per_account: 50,
            failures_per_address: 30,
            failures_per_connection: 3,
            failure_delay: Duration::from_secs(2),
            sign_in_time: Duration::from_secs(60),
            handshake_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(31 * 60),
            piece_time: Duration::from_secs(300),
            write_time: Duration::from_secs(300),
            shutdown_time: Duration::from_secs(5),
            command_before_sign_in: 8 << 10,
            command: 64 << 10,
            message: 64 << 20,
            messages_per_append: 64,
            account_bytes: None,
            account_messages: None,
        }
    }
}
