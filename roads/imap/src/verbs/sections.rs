//! Which bytes of a message a section means (RFC 3501 §6.4.5), and sending them without holding them.

use crate::session::{HalfRead, Session};
use crate::wire::WRITE_BYTES;
use std::io::{self, Read};
use stores_mailbox::content::{Facts, Fields, HEADER_BYTES_MAX, Nested, Part, Span};
use stores_mailbox::{MailboxError, Message};
use words_imap::{Section, SectionText};

/// What is not longer than this is collected with other answers; the rest is sent as it is read.
pub(crate) const COLLECT_BYTES: u64 = 16 * 1024;

/// The reader of a message longer than this is kept between two pieces a client asks for: it stands in a file, and
/// beginning anew each time would read it over and over.
const KEEP_FROM_BYTES: u64 = 1 << 20;

/// What a section means in one message.
pub(crate) enum Stretch {
    /// There is no such part.
    Nil,
    /// Bytes at hand.
    Bytes(Vec<u8>),
    /// A stretch of the message.
    Span(Span),
}

/// Whether the parts of the message must be known.
pub(crate) fn needs_facts(section: &Section) -> bool {
    !section.part.is_empty()
}

impl Session {
    /// Sends one section; `false` when it cannot be read.
    pub(crate) async fn tell_section(
        &mut self,
        message: &Message,
        section: &Section,
        facts: Option<&Facts>,
    ) -> io::Result<bool> {
        let stretch = match self.stretch(message, section, facts) {
            Ok(stretch) => stretch,
            Err(error) => {
                self.note_unreadable(message, &error);
                self.out.fetch_section(section, None);
                return Ok(false);
            }
        };
        match stretch {
            Stretch::Nil => self.out.fetch_section(section, None),
            Stretch::Bytes(bytes) => {
                let bytes = match section.partial {
                    Some((first, count)) => {
                        let start = (first as usize).min(bytes.len());
                        let end = start.saturating_add(count as usize).min(bytes.len());
                        &bytes[start..end]
                    }
                    None => &bytes[..],
                };
                self.out.fetch_section(section, Some(bytes));
            }
            Stretch::Span(span) => return self.tell_span(message, section, span).await,
        }
        Ok(true)
    }

    pub(crate) fn note_unreadable(&self, message: &Message, error: &MailboxError) {
        let account = self.account();
        tracing::error!(%account, uid = message.uid, %error, "a message cannot be read");
    }

    async fn tell_span(&mut self, message: &Message, section: &Section, span: Span) -> io::Result<bool> {
        let (start, len) = match section.partial {
            Some((first, count)) => {
                let start = span.start.saturating_add(u64::from(first)).min(span.end);
                (start, u64::from(count).min(span.end - start))
            }
            None => (span.start, span.len()),
        };
        let mut reader = match self.reader_at(message, start) {
            Ok(reader) => reader,
            Err(error) => {
                self.note_unreadable(message, &error);
                self.out.fetch_section(section, None);
                return Ok(false);
            }
        };
        if len <= COLLECT_BYTES {
            let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
            (&mut reader).take(len).read_to_end(&mut bytes)?;
            if bytes.len() as u64 != len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.out.fetch_section(section, Some(&bytes));
        } else {
            self.out.fetch_literal(section, len, false);
            let announced = self.out.take();
            self.wire.write(&announced).await?;
            self.pump(&mut reader, len).await?;
        }
        if section.partial.is_some() && message.size > KEEP_FROM_BYTES && start + len < message.size {
            self.half_read = Some(Box::new(HalfRead { uid: message.uid, at: start + len, reader }));
        }
        Ok(true)
    }

    /// A reader of the message that stands at a byte of it.
    fn reader_at(
        &mut self,
        message: &Message,
        start: u64,
    ) -> Result<stores_mailbox::MessageReader, MailboxError> {
        if let Some(half) = self.half_read.take_if(|half| half.uid == message.uid && half.at == start) {
            return Ok(half.reader);
        }
        self.half_read = None;
        self.mailboxes().stretch(&message.body, Span { start, end: u64::MAX })
    }

    /// Sends `len` bytes as the client takes them. What was announced must be sent: with less, the connection ends.
    async fn pump(&mut self, reader: &mut stores_mailbox::MessageReader, len: u64) -> io::Result<()> {
        let mut buffer = vec![0; WRITE_BYTES];
        let mut left = len;
        while left > 0 {
            let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match reader.read(&mut buffer[..wanted]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.wire.write(&buffer[..n]).await?;
                    left -= n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn stretch(
        &self,
        message: &Message,
        section: &Section,
        facts: Option<&Facts>,
    ) -> Result<Stretch, MailboxError> {
        if section.part.is_empty() {
            return self.stretch_of_message(message, section);
        }
        let Some(part) = facts.and_then(|facts| facts.part.find(&section.part)) else {
            return Ok(Stretch::Nil);
        };
        let inner = match &part.nested {
            Nested::Message(inner, _) => Some(&**inner),
            _ => None,
        };
        Ok(match (&section.text, inner) {
            (SectionText::Whole, _) => Stretch::Span(part.body),
            (SectionText::Mime, _) => Stretch::Span(part.header),
            (SectionText::Header, Some(inner)) => Stretch::Span(inner.header),
            (SectionText::Text, Some(inner)) => Stretch::Span(inner.body),
            (SectionText::Fields { names, not }, Some(inner)) => {
                Stretch::Bytes(picked(&self.part_header(message, inner)?, names, *not))
            }
            (_, None) => Stretch::Nil,
        })
    }

    fn stretch_of_message(&self, message: &Message, section: &Section) -> Result<Stretch, MailboxError> {
        let whole = Span { start: 0, end: message.size };
        if section.text == SectionText::Whole {
            return Ok(Stretch::Span(whole));
        }
        let header = self.mailboxes().header(&message.body)?;
        // A header that is longer than is looked at ends where the structure says.
        let end = if header.len() < HEADER_BYTES_MAX {
            header.len() as u64
        } else {
            self.mailboxes().facts(message)?.part.header.end
        };
        Ok(match &section.text {
            SectionText::Text => Stretch::Span(Span { start: end.min(whole.end), end: whole.end }),
            SectionText::Fields { names, not } => Stretch::Bytes(picked(&header, names, *not)),
            _ if end == header.len() as u64 => Stretch::Bytes(header),
            _ => Stretch::Span(Span { start: 0, end: end.min(whole.end) }),
        })
    }

    fn part_header(&self, message: &Message, part: &Part) -> Result<Vec<u8>, MailboxError> {
        let end = part.header.end.min(part.header.start + HEADER_BYTES_MAX as u64);
        let mut header = Vec::new();
        self.mailboxes()
            .stretch(&message.body, Span { start: part.header.start, end })?
            .read_to_end(&mut header)
            .map_err(|e| MailboxError::Body(e.to_string()))?;
        Ok(header)
    }
}

/// The fields with these names, or all but those, and the empty line.
fn picked(header: &[u8], names: &[String], not: bool) -> Vec<u8> {
    let mut found = Vec::new();
    for field in Fields::of(header) {
        if names.iter().any(|name| field.is(name)) != not {
            found.extend_from_slice(field.raw);
        }
    }
    found.extend_from_slice(b"\r\n");
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_picked_by_name() {
        let header = b"From: a\r\nTo: b\r\n c\r\nX: y\r\n\r\n";
        let names = ["TO".to_owned(), "nothing".to_owned()];
        assert_eq!(picked(header, &names, false), b"To: b\r\n c\r\n\r\n");
        assert_eq!(picked(header, &names, true), b"From: a\r\nX: y\r\n\r\n");
    }
}
