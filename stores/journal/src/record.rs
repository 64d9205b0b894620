//! What the journal's records say, as JSON.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use stores_log::{Body, Draft, Position};
use words_mail::{Envelope, PrimaryId, Tenant, Time, TraceId};

/// A message; its body is the record's.
pub(crate) const MESSAGE: u8 = 1;
/// The senders of some messages heard the `250`.
pub(crate) const REPLIED: u8 = 2;
/// The messages whose senders are not known to have heard it, at one moment.
pub(crate) const CHECKPOINT: u8 = 3;

/// What is known of an accepted message. The message that is handed on is `prefix`, then the body as received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// Its id.
    pub trace: TraceId,
    /// When it was accepted.
    pub at: Time,
    /// Whose mail it is.
    pub tenant: Tenant,
    /// The mail system of record behind its recipients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary: Option<PrimaryId>,
    /// Who sent it to whom.
    pub envelope: Envelope,
    /// What the checks said.
    #[serde(default)]
    pub verdict: serde_json::Value,
    /// The header lines on top of it, each ended by CRLF.
    pub prefix: String,
    /// Bytes of prefix and body.
    pub size: u64,
    /// The blake3 hash of the body as received.
    #[serde(serialize_with = "write_hex", deserialize_with = "read_hex")]
    pub content: [u8; 32],
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Replied {
    pub(crate) traces: Vec<TraceId>,
}

/// Messages unheard at one moment, so that a start need not read a day of journal.
#[derive(Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// Messages from here on are not in it.
    pub(crate) since: Position,
    pub(crate) unheard: Vec<Unheard>,
    /// Heard, and not written down elsewhere.
    #[serde(default)]
    pub(crate) heard: Vec<TraceId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unheard {
    #[serde(serialize_with = "write_hex", deserialize_with = "read_hex")]
    pub(crate) fingerprint: [u8; 32],
    pub(crate) trace: TraceId,
    pub(crate) position: Position,
    pub(crate) at: Time,
}

pub(crate) fn write(record: &impl Serialize) -> Vec<u8> {
    // Every type here is plain data with string keys, which always becomes JSON.
    serde_json::to_vec(record).unwrap_or_default()
}

pub(crate) fn replied(traces: Vec<TraceId>) -> Draft {
    Draft { kind: REPLIED, meta: write(&Replied { traces }), body: Body::None }
}

fn write_hex<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(blake3::Hash::from_bytes(*bytes).to_hex().as_str())
}

fn read_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
    let text = String::deserialize(deserializer)?;
    blake3::Hash::from_hex(&text).map(|hash| *hash.as_bytes()).map_err(serde::de::Error::custom)
}
