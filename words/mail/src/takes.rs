//! What a mail system takes.

use serde::{Deserialize, Serialize};

/// Room for the header lines that are put on top of a message, octets.
const ON_TOP: u64 = 4 << 10;

/// What a primary last said of itself in answer to `EHLO`: nobody in front of it may offer more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takes {
    /// Octets of its largest message (RFC 1870); `None` when it names no bound.
    pub size: Option<u64>,
    /// Whether it offers `SMTPUTF8` (RFC 6531).
    pub utf8: bool,
}

impl Takes {
    /// Octets of the largest message that still fits with our lines on top.
    pub fn most(&self) -> Option<u64> {
        self.size.map(|size| size.saturating_sub(ON_TOP))
    }
}
