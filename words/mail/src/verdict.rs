//! What was decided about a message when it came in.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The result of one authentication check, in the words of RFC 8601 §2.7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// Nothing to check was there, or nothing was checked.
    #[default]
    None,
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
    /// It probably does not hold (SPF only).
    SoftFail,
    /// Nothing is said either way.
    Neutral,
    /// It could not be checked now.
    TempError,
    /// It cannot be checked at all.
    PermError,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Grade::None => "none",
            Grade::Pass => "pass",
            Grade::Fail => "fail",
            Grade::SoftFail => "softfail",
            Grade::Neutral => "neutral",
            Grade::TempError => "temperror",
            Grade::PermError => "permerror",
        })
    }
}

/// What delivery is to do with an accepted message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "do")]
pub enum Action {
    /// Hand it to its destinations.
    Deliver,
    /// Set it aside for a person, and never bounce it: it goes round in a loop.
    Park {
        /// Why, in words.
        reason: String,
    },
}

/// The verdict that is stored with every accepted message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The version of the rules that made it.
    pub rules: u32,
    /// What to do.
    pub action: Action,
    /// Whether the envelope sender is believed, so that a report to it cannot hit a stranger.
    pub may_bounce: bool,
    /// SPF of the envelope sender (RFC 7208).
    #[serde(default)]
    pub spf: Grade,
    /// The best DKIM signature (RFC 6376).
    #[serde(default)]
    pub dkim: Grade,
    /// DMARC (RFC 9989).
    #[serde(default)]
    pub dmarc: Grade,
    /// `Received:` lines it came with.
    #[serde(default)]
    pub hops: u32,
}
