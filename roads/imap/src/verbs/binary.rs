//! BINARY (RFC 3516): parts with their transfer encoding undone by us.

use super::sections::COLLECT_BYTES;
use crate::session::Session;
use crate::wire::WRITE_BYTES;
use std::io::{self, Read};
use stores_mailbox::content::{Facts, Span, Transfer};
use stores_mailbox::{MailboxError, Message, MessageReader};
use words_imap::Section;

/// A part of a decoded body as long as this is held while it is sent; a longer one is read twice, once to measure it.
const HOLD_BYTES: u64 = 1 << 20;

/// What came of sending something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It was sent, or there is no such part.
    Whole,
    /// It cannot be read now.
    Unreadable,
    /// Nobody here can undo its transfer encoding.
    UnknownEncoding,
}

impl Sent {
    /// What came of both.
    pub(crate) fn and(self, other: Sent) -> Sent {
        if self == Sent::Whole { other } else { self }
    }
}

/// Which bytes of a message a decoded part is, and how they are decoded.
struct Encoded {
    span: Span,
    transfer: Transfer,
}

/// The part of that number; the outer `None`: there is none; the inner: its encoding is not known.
fn encoded(message: &Message, part: &[u32], facts: Option<&Facts>) -> Option<Option<Encoded>> {
    if part.is_empty() {
        // The message has no encoding of its own: it is what it is.
        let span = Span { start: 0, end: message.size };
        return Some(Some(Encoded { span, transfer: Transfer::Plain }));
    }
    let part = facts?.part.find(part)?;
    // Only parts without parts may be encoded (RFC 2045 §6.4).
    let encoding = if part.is("multipart") { "" } else { part.encoding.as_str() };
    Some(Transfer::of(encoding).map(|transfer| Encoded { span: part.body, transfer }))
}

/// A decoded body as it is measured, cut out or sent.
struct Decoding {
    reader: MessageReader,
    transfer: Transfer,
    ended: bool,
}

impl Decoding {
    /// Puts the next decoded bytes into `out`, which is emptied first; `false` at the end.
    fn next(&mut self, buffer: &mut [u8], out: &mut Vec<u8>) -> io::Result<bool> {
        out.clear();
        while out.is_empty() {
            if self.ended {
                return Ok(false);
            }
            match self.reader.read(buffer) {
                Ok(0) => {
                    self.ended = true;
                    self.transfer.finish(out);
                }
                Ok(n) => self.transfer.feed(&buffer[..n], out),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl Session {
    fn decoding(&self, message: &Message, encoded: &Encoded) -> Result<Decoding, MailboxError> {
        let reader = self.mailboxes().stretch(&message.body, encoded.span)?;
        Ok(Decoding { reader, transfer: encoded.transfer.clone(), ended: false })
    }

    /// How many bytes a decoded part has, and whether a zero byte is among them.
    async fn measure(&mut self, message: &Message, encoded: &Encoded) -> Result<(u64, bool), MailboxError> {
        let mut decoding = self.decoding(message, encoded)?;
        let (mut buffer, mut out) = (vec![0; WRITE_BYTES], Vec::new());
        let (mut size, mut zero) = (0, false);
        while decoding.next(&mut buffer, &mut out).map_err(|e| MailboxError::Body(e.to_string()))? {
            size += out.len() as u64;
            zero |= out.contains(&0);
            // Others are served meanwhile.
            tokio::task::yield_now().await;
        }
        Ok((size, zero))
    }

    /// `BINARY.SIZE[part]`.
    pub(crate) async fn tell_binary_size(
        &mut self,
        message: &Message,
        part: &[u32],
        facts: Option<&Facts>,
    ) -> Sent {
        let size = match encoded(message, part, facts) {
            None => Ok(0),
            Some(None) => return Sent::UnknownEncoding,
            Some(Some(encoded)) if matches!(encoded.transfer, Transfer::Plain) => Ok(encoded.span.len()),
            Some(Some(encoded)) => self.measure(message, &encoded).await.map(|(size, _)| size),
        };
        match size {
            Ok(size) => {
                self.out.fetch_binary_size(part, size);
                Sent::Whole
            }
            Err(error) => {
                self.note_unreadable(message, &error);
                Sent::Unreadable
            }
        }
    }

    /// `BINARY[part]`.
    pub(crate) async fn tell_binary(
        &mut self,
        message: &Message,
        section: &Section,
        facts: Option<&Facts>,
    ) -> io::Result<Sent> {
        let Some(encoded) = encoded(message, &section.part, facts) else {
            self.out.fetch_section(section, None);
            return Ok(Sent::Whole);
        };
        let Some(encoded) = encoded else {
            self.out.fetch_section(section, None);
            return Ok(Sent::UnknownEncoding);
        };
        let (first, count) =
            section.partial.map_or((0, u64::MAX), |(first, count)| (u64::from(first), u64::from(count)));
        // Decoded it is never longer than encoded.
        let told = if encoded.span.len().min(count) <= HOLD_BYTES.max(COLLECT_BYTES) {
            self.hold(message, &encoded, first, count).await.map(Some)
        } else {
            self.measure(message, &encoded).await.map(|_| None)
        };
        match told {
            Ok(Some(bytes)) => self.out.fetch_section(section, Some(&bytes)),
            Ok(None) => return self.stream(message, section, &encoded, (first, count)).await,
            Err(error) => {
                self.note_unreadable(message, &error);
                self.out.fetch_section(section, None);
                return Ok(Sent::Unreadable);
            }
        }
        Ok(Sent::Whole)
    }

    /// At most `count` decoded bytes from the byte `first` on.
    async fn hold(
        &mut self,
        message: &Message,
        encoded: &Encoded,
        first: u64,
        count: u64,
    ) -> Result<Vec<u8>, MailboxError> {
        let mut decoding = self.decoding(message, encoded)?;
        let (mut buffer, mut out, mut held) = (vec![0; WRITE_BYTES], Vec::new(), Vec::new());
        let mut cut = Cut { skip: first, left: count };
        while cut.left > 0
            && decoding.next(&mut buffer, &mut out).map_err(|e| MailboxError::Body(e.to_string()))?
        {
            held.extend_from_slice(cut.of(&out));
            tokio::task::yield_now().await;
        }
        Ok(held)
    }

    /// Sends a long decoded body as the client takes it. What was announced must be sent: with less, the connection
    /// ends.
    async fn stream(
        &mut self,
        message: &Message,
        section: &Section,
        encoded: &Encoded,
        (first, count): (u64, u64),
    ) -> io::Result<Sent> {
        let broken = |error: MailboxError| io::Error::other(error.to_string());
        let (size, zero) = self.measure(message, encoded).await.map_err(broken)?;
        let len = size.saturating_sub(first).min(count);
        self.out.fetch_literal(section, len, zero);
        let announced = self.out.take();
        self.wire.write(&announced).await?;
        let mut decoding = self.decoding(message, encoded).map_err(broken)?;
        let (mut buffer, mut out) = (vec![0; WRITE_BYTES], Vec::new());
        let mut cut = Cut { skip: first, left: len };
        while cut.left > 0 {
            if !decoding.next(&mut buffer, &mut out)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let piece = cut.of(&out);
            self.wire.write(piece).await?;
        }
        Ok(Sent::Whole)
    }
}

/// A stretch that is cut out of bytes as they come.
struct Cut {
    skip: u64,
    left: u64,
}

impl Cut {
    fn of<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        let bytes = &bytes[skipped..];
        let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= skipped as u64;
        self.left -= taken as u64;
        &bytes[..taken]
    }
}
