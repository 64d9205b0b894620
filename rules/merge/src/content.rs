//! K1: a message's content as one hash.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The hash of `Message-ID`, `Date`, `From`, `To`, `Cc`, `Subject` and the body with normalised line ends.
///
/// It survives what mail systems do in passing: other header fields added or reordered, fields refolded, line ends
/// changed, blank lines at the end added or lost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentHash(pub [u8; 32]);

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

/// The fields that count, in the order in which their hashes are put together.
const FIELDS: [&[u8]; 6] = [b"message-id", b"date", b"from", b"to", b"cc", b"subject"];
/// The longest name of [`FIELDS`]; a longer name is none of them.
const NAME_MAX: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At the beginning of a header line: a name, or white space that continues the field before.
    LineStart,
    /// In a field's name.
    Name,
    /// In a field's value; `None` when the field does not count.
    Value(Option<usize>),
    /// In the body.
    Body,
}

/// Reads a message in pieces, in bounded memory, and gives its [`ContentHash`].
#[derive(Clone)]
pub struct ContentHasher {
    place: Place,
    /// The field that a continuation line belongs to.
    field: Option<usize>,
    name: Vec<u8>,
    /// The line so far had more than its end.
    fields: [blake3::Hasher; 6],
    /// Whether the field has a value already that white space would have to be kept behind.
    begun: [bool; 6],
    /// White space that counts only if something follows it.
    space: bool,
    body: blake3::Hasher,
    /// Line ends that count only if something follows them.
    line_ends: u64,
    /// The last byte was a CR: an LF after it belongs to it.
    after_cr: bool,
}

impl Default for ContentHasher {
    fn default() -> ContentHasher {
        ContentHasher {
            place: Place::LineStart,
            field: None,
            name: Vec::with_capacity(NAME_MAX),
            fields: std::array::from_fn(|_| blake3::Hasher::new()),
            begun: [false; 6],
            space: false,
            body: blake3::Hasher::new(),
            line_ends: 0,
            after_cr: false,
        }
    }
}

impl ContentHasher {
    /// A hasher at the beginning of a message.
    pub fn new() -> ContentHasher {
        ContentHasher::default()
    }

    /// The hash of a whole message.
    pub fn hash(message: &[u8]) -> ContentHash {
        let mut hasher = ContentHasher::new();
        hasher.write(message);
        hasher.finish()
    }

    /// Takes the next bytes in. However they are cut, the hash is the same.
    pub fn write(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first() {
            if self.place == Place::Body {
                return self.write_body(bytes);
            }
            let byte = *first;
            bytes = &bytes[1..];
            if byte == b'\n' && std::mem::take(&mut self.after_cr) {
                continue;
            }
            self.after_cr = byte == b'\r';
            if matches!(byte, b'\r' | b'\n') { self.header_line_end() } else { self.header_byte(byte) }
        }
    }

    fn header_line_end(&mut self) {
        self.place = match self.place {
            Place::LineStart => Place::Body,
            // A line that is no field ("From " of an mbox, garbage) is passed over.
            Place::Name | Place::Value(_) | Place::Body => Place::LineStart,
        };
    }

    fn header_byte(&mut self, byte: u8) {
        let is_space = matches!(byte, b' ' | b'\t');
        match self.place {
            Place::LineStart if is_space => {
                self.place = Place::Value(self.field);
                self.space = true;
            }
            Place::LineStart => {
                self.name.clear();
                self.name.push(byte.to_ascii_lowercase());
                self.field = None;
                self.place = if byte == b':' { Place::Value(None) } else { Place::Name };
            }
            Place::Name if byte == b':' => {
                // White space before the colon is obsolete, but exists (RFC 5322 §4.5.8).
                let name = self.name.trim_ascii_end();
                self.field = FIELDS.iter().position(|field| *field == name);
                self.begin_value();
            }
            Place::Name => {
                if self.name.len() <= NAME_MAX || !is_space {
                    self.name.truncate(NAME_MAX + 1);
                    self.name.push(byte.to_ascii_lowercase());
                }
            }
            Place::Value(Some(field)) if !is_space => {
                if std::mem::take(&mut self.space) && self.begun[field] {
                    self.fields[field].update(b" ");
                }
                self.begun[field] = true;
                self.fields[field].update(&[byte]);
            }
            Place::Value(_) => self.space |= is_space,
            Place::Body => {}
        }
    }

    fn begin_value(&mut self) {
        self.space = false;
        self.place = Place::Value(self.field);
        if let Some(field) = self.field {
            // A second field of the same name is something else than one longer field.
            self.fields[field].update(b"\n");
            self.begun[field] = false;
        }
    }

    fn write_body(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let plain = bytes.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(bytes.len());
            if plain > 0 {
                for _ in 0..std::mem::take(&mut self.line_ends) {
                    self.body.update(b"\n");
                }
                self.body.update(&bytes[..plain]);
                self.after_cr = false;
                bytes = &bytes[plain..];
                continue;
            }
            let byte = bytes[0];
            bytes = &bytes[1..];
            if byte == b'\n' && std::mem::take(&mut self.after_cr) {
                continue;
            }
            self.after_cr = byte == b'\r';
            self.line_ends = self.line_ends.saturating_add(1);
        }
    }

    /// The hash of all that was written.
    pub fn finish(self) -> ContentHash {
        let mut whole = blake3::Hasher::new();
        for field in &self.fields {
            whole.update(field.finalize().as_bytes());
        }
        whole.update(self.body.finalize().as_bytes());
        ContentHash(*whole.finalize().as_bytes())
    }
}
