//! What makes two copies of a message the same message, whatever a mail system did to its envelope on the way.

use super::HEADER_BYTES_MAX;
use super::header::{Fields, unfolded};
use std::io::{self, Read};

/// Message-ID, Date, From, To, Cc, Subject and the body with normalised line ends. The `Message-ID:` is kept apart,
/// because a client's own copy of what it sent may lack the one that was given to it on the way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The `Message-ID:` line's value.
    pub message_id: Option<String>,
    /// A hash of the rest.
    pub rest: [u8; 32],
}

impl Identity {
    /// Reads a message to its end.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn read(mut message: impl Read) -> io::Result<Identity> {
        let mut builder = IdentityBuilder::new();
        let mut buffer = vec![0; super::READ_BYTES];
        loop {
            match message.read(&mut buffer) {
                Ok(0) => return Ok(builder.finish()),
                Ok(n) => builder.feed(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// All of it as one hash.
    pub fn content(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        let id = self.message_id.as_deref().unwrap_or("");
        hasher.update(&(id.len() as u64).to_le_bytes());
        hasher.update(id.as_bytes());
        hasher.update(&self.rest);
        *hasher.finalize().as_bytes()
    }

    /// Whether both are copies of one message.
    pub fn same(&self, other: &Identity) -> bool {
        let ids_agree = match (&self.message_id, &other.message_id) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        ids_agree && self.rest == other.rest
    }
}

/// Makes an [`Identity`] of bytes as they come.
#[derive(Clone)]
pub struct IdentityBuilder {
    header: Vec<u8>,
    /// Where in `header` the line that is still open begins.
    line: usize,
    in_body: bool,
    body: blake3::Hasher,
    /// Line ends seen but not yet hashed: those at the very end of a body do not count.
    ends: u64,
    after_cr: bool,
}

impl Default for IdentityBuilder {
    fn default() -> IdentityBuilder {
        IdentityBuilder::new()
    }
}

impl IdentityBuilder {
    /// Begins before the first byte.
    pub fn new() -> IdentityBuilder {
        IdentityBuilder {
            header: Vec::new(),
            line: 0,
            in_body: false,
            body: blake3::Hasher::new(),
            ends: 0,
            after_cr: false,
        }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !self.in_body && !bytes.is_empty() {
            let end = bytes.iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| at + 1);
            let (line, rest) = bytes.split_at(end);
            self.header.extend_from_slice(line);
            bytes = rest;
            let full = self.header.len() > HEADER_BYTES_MAX;
            if line.last() == Some(&b'\n') || full {
                let ended = matches!(&self.header[self.line..], b"\r\n" | b"\n");
                self.line = self.header.len();
                self.in_body = ended || full;
            }
        }
        self.feed_body(bytes);
    }

    fn feed_body(&mut self, bytes: &[u8]) {
        let mut from = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if !matches!(byte, b'\r' | b'\n') {
                if self.ends > 0 {
                    for _ in 0..std::mem::take(&mut self.ends) {
                        self.body.update(b"\n");
                    }
                }
                self.after_cr = false;
                continue;
            }
            self.body.update(&bytes[from..at]);
            from = at + 1;
            // CRLF, a bare CR and a bare LF each end one line.
            if *byte == b'\r' || !self.after_cr {
                self.ends += 1;
            }
            self.after_cr = *byte == b'\r';
        }
        self.body.update(&bytes[from..]);
    }

    /// The header block so far, as much as is looked at.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The identity of what was fed.
    pub fn finish(self) -> Identity {
        let mut hasher = blake3::Hasher::new();
        let mut message_id = None;
        for name in ["Date", "From", "To", "Cc", "Subject"] {
            hasher.update(name.as_bytes());
            for field in Fields::of(&self.header).filter(|f| f.is(name)) {
                let value = unfolded(field.value).split_ascii_whitespace().collect::<Vec<_>>().join(" ");
                hasher.update(&(value.len() as u64).to_le_bytes());
                hasher.update(value.as_bytes());
            }
        }
        if let Some(field) = Fields::first(&self.header, "Message-ID") {
            message_id = Some(unfolded(field.value).into_owned()).filter(|id| !id.is_empty());
        }
        hasher.update(self.body.finalize().as_bytes());
        Identity { message_id, rest: *hasher.finalize().as_bytes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity(text: &str) -> Identity {
        Identity::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_a_mail_system_adds_does_not_matter() {
        let sent =
            identity("From: a@x\r\nSubject: hello\r\n there\r\nMessage-ID: <1@x>\r\n\r\nText\r\nmore\r\n");
        for same in [
            "Received: by y\r\nFrom:  a@x\r\nSubject: hello there\r\nMessage-ID: <1@x>\r\n\r\nText\r\nmore\r\n",
            "From: a@x\nBcc: c@x\nSubject: hello there\nMessage-ID: <1@x>\n\nText\nmore",
            "From: a@x\r\nSubject: hello there\r\n\r\nText\r\nmore\r\n\r\n",
        ] {
            assert!(sent.same(&identity(same)), "{same}");
        }
        for other in [
            "From: a@x\r\nSubject: hello there\r\nMessage-ID: <2@x>\r\n\r\nText\r\nmore\r\n",
            "From: a@x\r\nSubject: hello there\r\nMessage-ID: <1@x>\r\n\r\nText\r\n\r\nmore\r\n",
            "From: a@x\r\nSubject: hello\r\nMessage-ID: <1@x>\r\n\r\nText\r\nmore\r\n",
            "From: a@x\r\nTo: b\r\nSubject: hello there\r\nMessage-ID: <1@x>\r\n\r\nText\r\nmore\r\n",
        ] {
            assert!(!sent.same(&identity(other)), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same(bytes in prop::collection::vec(prop::sample::select(b"ab:\r\n ".to_vec()), 0..80), cuts in prop::collection::vec(0usize..80, 0..6)) {
            let whole = Identity::read(&bytes[..]).unwrap();
            let mut builder = IdentityBuilder::new();
            let mut cuts = cuts.into_iter().map(|c| c.min(bytes.len())).collect::<Vec<_>>();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            for pair in cuts.windows(2) {
                builder.feed(&bytes[pair[0]..pair[1]]);
            }
            prop_assert_eq!(builder.finish(), whole);
        }
    }
}
