//! What became of a message, for one recipient.

use crate::PrimaryId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An SMTP reply in a form that can be kept: code, enhanced code, words (RFC 5321 §4.2, RFC 3463).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The three-digit code.
    pub code: u16,
    /// The enhanced status code, if the server gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enhanced: Option<(u8, u16, u16)>,
    /// The words; lines joined by ` / `.
    pub text: String,
}

impl Reply {
    /// A reply with an enhanced code.
    pub fn new(code: u16, enhanced: (u8, u16, u16), text: impl Into<String>) -> Reply {
        Reply { code, enhanced: Some(enhanced), text: text.into() }
    }

    /// 2xx.
    pub fn is_yes(&self) -> bool {
        self.code / 100 == 2
    }

    /// 4xx: try again later.
    pub fn is_later(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5xx: never.
    pub fn is_never(&self) -> bool {
        self.code / 100 == 5
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some((class, subject, detail)) = self.enhanced {
            write!(f, " {class}.{subject}.{detail}")?;
        }
        write!(f, " {}", self.text)
    }
}

/// Where a message is handed to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Destination {
    /// The mail system of record.
    Primary(PrimaryId),
    /// Another organisation, by its domain: MX look-up or the smart host.
    Internet(String),
    /// A mailbox of ours.
    Mailbox,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Primary(id) => write!(f, "primary {id}"),
            Destination::Internet(domain) => write!(f, "internet {domain}"),
            Destination::Mailbox => f.write_str("mailbox"),
        }
    }
}

/// What became of a message at one destination. Every accepted recipient ends in exactly one final outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// The destination said yes: its responsibility now.
    HandedOver {
        /// Its words.
        reply: Reply,
    },
    /// Found in the primary's mailbox afterwards.
    Seen {
        /// In which folder, by its name there.
        folder: String,
    },
    /// The destination said no for ever. `bounced` tells whether the sender was told.
    Refused {
        /// Its words.
        reply: Reply,
        /// Whether a DSN went to the sender; never to a sender that may be forged.
        bounced: bool,
    },
    /// Nobody took it in the time that was set; the sender was told, the message is kept and listed.
    Expired {
        /// The last words heard.
        reply: Reply,
    },
    /// Set aside after it wedged delivery, or because it came round in a loop; a person decides.
    Parked {
        /// Why.
        reason: String,
    },
    /// Kept back before it was delivered: a person releases or deletes it. It is in nobody's mailbox.
    Quarantined {
        /// Why.
        reason: String,
    },
    /// A person removed it from the queue.
    Deleted {
        /// Who and why.
        reason: String,
    },
    /// The destination answered the final dot with "later": this attempt left nothing there (not final).
    Deferred {
        /// Its words.
        reply: Reply,
    },
    /// The connection broke after the final dot: it may or may not be there (not final).
    Unknown,
}

impl Outcome {
    /// Whether this recipient needs no more work by delivery.
    pub fn is_final(&self) -> bool {
        !matches!(self, Outcome::Deferred { .. } | Outcome::Unknown)
    }
}
