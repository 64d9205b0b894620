//! What one sender, and all senders together, may use.

use std::collections::BTreeMap;
use std::time::Duration;
use words_mail::Tenant;
use words_smtp::SessionLimits;

/// Every bound of the road. Over one the peer hears a temporary failure that says which, or the connection is closed
/// with words; a message is never lost by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptLimits {
    /// Connections at once at the edge. Default 12,000.
    pub connections: usize,
    /// Connections at once at the doors for people. Default 4,000.
    pub people_connections: usize,
    /// Connections at once at the door on this machine. Default 256.
    pub local_connections: usize,
    /// Connections at once from one address (IPv6: one /64); doors on this machine are not counted. Default 200.
    pub connections_per_address: u32,
    /// Messages in a minute from one address. Default 6,000.
    pub messages_per_minute: u32,
    /// Recipients of one account in an hour. Default 5,000.
    pub recipients_per_account_hour: u32,
    /// Messages coming in at once. Default 2,000.
    pub receiving: usize,
    /// Octets of all messages coming in that are held in memory. Over it bodies go to the disk earlier. Default
    /// 128 MiB.
    pub body_memory: usize,
    /// Octets of a message of an organisation that wants less than everybody's bound. Default none.
    pub sizes: BTreeMap<Tenant, u64>,
    /// Octets of mail that may wait for delivery; over it senders are told to come back. Default 100 GiB.
    pub spool: u64,
    /// Octets of a message's header. Default 256 KiB.
    pub header_octets: usize,
    /// Until a command is complete. Default 5 minutes (RFC 5321 §4.5.3.2.7).
    pub command_time: Duration,
    /// Between two pieces of a message. Default 3 minutes.
    pub piece_time: Duration,
    /// For a whole message. Default 1 hour.
    pub message_time: Duration,
    /// For a TLS handshake. Default 30 s.
    pub handshake_time: Duration,
    /// For the peer to take our answer. Default 2 minutes.
    pub write_time: Duration,
    /// For SPF, DKIM and DMARC together; after that the result is `temperror` and the message is taken. Default 5 s.
    pub authentication_time: Duration,
    /// For a sign-in. Default 30 s.
    pub sign_in_time: Duration,
    /// How long a sign-in lets somebody begin messages.
    pub sign_in_age: Duration,
    /// For asking a primary about a recipient. Default 5 s.
    pub call_out_time: Duration,
    /// Questions about recipients at once, to each primary. Default 10.
    pub call_outs: u32,
    /// Questions about recipients in a minute, to each primary. Default 120.
    pub call_outs_per_minute: u32,
    /// For transactions that are open when a shutdown begins. Default 10 s.
    pub shutdown_time: Duration,
    /// What one session may use.
    pub session: SessionLimits,
}

impl Default for AcceptLimits {
    fn default() -> AcceptLimits {
        AcceptLimits {
            connections: 12_000,
            people_connections: 4_000,
            local_connections: 256,
            connections_per_address: 200,
            messages_per_minute: 6_000,
            recipients_per_account_hour: 5_000,
            receiving: 2_000,
            body_memory: 128 << 20,
            sizes: BTreeMap::new(),
            spool: 100 << 30,
            header_octets: 256 << 10,
            command_time: Duration::from_secs(300),
            piece_time: Duration::from_secs(180),
            message_time: Duration::from_secs(3_600),
            handshake_time: Duration::from_secs(30),
            write_time: Duration::from_secs(120),
            authentication_time: Duration::from_secs(5),
            sign_in_time: Duration::from_secs(30),
            sign_in_age: Duration::from_secs(15 * 60),
            call_out_time: Duration::from_secs(5),
            call_outs: 10,
            call_outs_per_minute: 120,
            shutdown_time: Duration::from_secs(10),
            session: SessionLimits::default(),
        }
    }
}
