//! What a message says about itself: header fields, envelope, structure, identity. All of it is computed from the
//! bytes in one pass with bounded memory, whatever the size of the message.

mod envelope;
mod header;
mod identity;
mod keys;
mod structure;
mod text;
mod transfer;

pub use envelope::{ImapEnvelope, Party, sent, unstructured};
pub use header::{Field, Fields, unfolded};
pub use identity::{Identity, IdentityBuilder};
pub use keys::Keys;
pub use structure::{Disposition, Nested, Part, Span, Structure};
pub use text::decoded;
pub use transfer::{Open, Transfer};

use serde::{Deserialize, Serialize};
use std::io::{self, Read};

/// How much of one header block is looked at. What follows is kept and served, but not understood.
pub const HEADER_BYTES_MAX: usize = 256 * 1024;

/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;

/// What is worth keeping about a message once it has been read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// RFC 3501 §7.4.2 `ENVELOPE`, decoded.
    #[serde(rename = "e")]
    pub envelope: ImapEnvelope,
    /// The parts of the message and where they stand.
    #[serde(rename = "p")]
    pub part: Part,
    /// The date of the `Date:` line as it reads there, without its zone: seconds since 1970 (for `SENTSINCE`).
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<i64>,
}

impl Facts {
    /// Reads a message to its end.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn read(mut message: impl Read) -> io::Result<Facts> {
        let mut structure = Structure::new();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match message.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => structure.feed(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let (part, header) = structure.finish();
        Ok(Facts { envelope: ImapEnvelope::of(&header), sent: envelope::sent(&header), part })
    }
}
