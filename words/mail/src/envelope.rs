//! What was said around a message: who handed it over, from whom, to whom.

use crate::{AccountId, Address, Sender};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// When the sender wants to hear of a recipient (RFC 3461 §4.1 `NOTIFY`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Notify {
    /// `NEVER`: no report of any kind.
    pub never: bool,
    /// `SUCCESS`.
    pub success: bool,
    /// `FAILURE`.
    pub failure: bool,
    /// `DELAY`.
    pub delay: bool,
}

/// How much of the message a report should quote (RFC 3461 §4.3 `RET`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ret {
    /// The whole message.
    Full,
    /// Its header only.
    Headers,
}

/// One recipient with what its `RCPT TO` said.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Recipient {
    /// The address as given.
    pub address: Address,
    /// `NOTIFY=`, if given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// `ORCPT=` as given, still xtext (RFC 3461 §4.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orcpt: Option<String>,
}

impl Recipient {
    /// A recipient without parameters.
    pub fn new(address: Address) -> Recipient {
        Recipient { address, notify: None, orcpt: None }
    }
}

/// Through which door a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// From the internet (or the primary) by SMTP or LMTP.
    Edge,
    /// From a person who signed in (RFC 6409).
    Submission,
    /// From Stormpost itself: reports, notices, canaries.
    Own,
    /// From a mail system of record that proved who it is and sends as its own people, for others.
    Relay,
    /// From a device that cannot sign in, at the door for those.
    Internal,
}

/// The other end of the connection that handed a message over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its address.
    pub ip: IpAddr,
    /// What it called itself in `EHLO`, `HELO` or `LHLO`.
    pub helo: String,
    /// The protocol word of the `Received:` line (RFC 3848): `ESMTP`, `ESMTPS`, `ESMTPSA`, `LMTP` …
    pub protocol: String,
    /// TLS version and cipher suite, when the message came encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// Who signed in, on submission.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// The name of its address, where it was looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<PeerName>,
    /// The port it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// What the DNS calls an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerName {
    /// A name that leads back to the address.
    Verified(String),
    /// A name that does not lead back to it.
    Unverified(String),
    /// It has no name.
    Nameless,
    /// Nobody could tell.
    Untold,
}

/// One SMTP transaction: everything about a message that is not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The reverse-path.
    pub sender: Sender,
    /// The forward-paths that were accepted, in order, at least one.
    pub recipients: Vec<Recipient>,
    /// `BODY=8BITMIME` (RFC 6152).
    #[serde(default)]
    pub eight_bit: bool,
    /// `SMTPUTF8` (RFC 6531).
    #[serde(default)]
    pub utf8: bool,
    /// `RET=` (RFC 3461 §4.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<Ret>,
    /// `ENVID=` as given, still xtext (RFC 3461 §4.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
    /// Through which door it came.
    pub source: Source,
    /// Who handed it over.
    pub peer: Peer,
}
