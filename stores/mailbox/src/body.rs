//! Where the bytes of a message are, and how they are read.

use crate::MailboxError;
use crate::content::{Facts, HEADER_BYTES_MAX, Keys, Span};
use crate::open::Mailboxes;
use crate::view::{Derived, Found, Message};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use stores_log::Position;
use words_mail::TraceId;

/// How many messages' facts wait to be kept; more are found out again later.
pub(crate) const FACTS_WAITING_MAX: usize = 256;

/// How long one waits for room to keep what was found out.
const KEEP_TIME: Duration = Duration::from_millis(100);

/// How much is read at once when bytes are passed over.
const SKIP_BYTES: usize = 64 * 1024;

/// How much is read at once while the end of a header is looked for.
const HEADER_PIECE: usize = 4 * 1024;

/// Where the bytes of a message are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyAt {
    /// In the journal, which this store does not know: the program supplies the way to it ([`Bodies`]).
    Journal {
        /// Which message.
        trace: TraceId,
        /// Where its record stands.
        position: Position,
    },
    /// In the mailbox log.
    Own {
        /// Where its record stands.
        position: Position,
    },
}

impl BodyAt {
    pub(crate) fn key(&self) -> (bool, Position) {
        match self {
            BodyAt::Journal { position, .. } => (false, *position),
            BodyAt::Own { position } => (true, *position),
        }
    }
}

/// The bytes of a message from its first to its last, in pieces.
pub type MessageReader = Box<dyn Read + Send>;

/// The way to the bodies that another store keeps.
pub trait Bodies: Send + Sync {
    /// The message of a journal record, with the header lines we put on top. Blocks on the disk.
    ///
    /// # Errors
    /// When it cannot be read; `NotFound` when it was erased.
    fn open(&self, trace: TraceId, position: Position) -> io::Result<MessageReader>;
}

impl Mailboxes {
    /// The bytes of a message. Reading blocks on the disk; memory stays bounded whatever the size.
    ///
    /// # Errors
    /// When they cannot be read or were erased.
    pub fn body(&self, at: &BodyAt) -> Result<MessageReader, MailboxError> {
        match at {
            BodyAt::Journal { trace, position } => {
                self.inner.bodies.open(*trace, *position).map_err(|e| MailboxError::Body(e.to_string()))
            }
            BodyAt::Own { position } => {
                let (record, body) = self.inner.reader.read_with_body(*position)?;
                if record.erased.is_some() {
                    return Err(MailboxError::Body("it was erased".into()));
                }
                Ok(Box::new(body))
            }
        }
    }

    /// A stretch of a message.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn stretch(&self, at: &BodyAt, span: Span) -> Result<MessageReader, MailboxError> {
        let mut reader = self.body(at)?;
        skip(&mut reader, span.start).map_err(|e| MailboxError::Body(e.to_string()))?;
        Ok(Box::new(reader.take(span.len())))
    }

    /// The header of a message with its empty line, as far as it is looked at
    /// ([`HEADER_BYTES_MAX`](crate::content::HEADER_BYTES_MAX)).
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn header(&self, at: &BodyAt) -> Result<Vec<u8>, MailboxError> {
        let mut body = self.body(at)?;
        let (mut header, mut line) = (Vec::new(), 0);
        let mut buffer = vec![0; HEADER_PIECE];
        loop {
            let n = match body.read(&mut buffer) {
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(MailboxError::Body(e.to_string())),
            };
            let room = HEADER_BYTES_MAX - header.len();
            header.extend_from_slice(&buffer[..n.min(room)]);
            while let Some(end) = header[line..].iter().position(|b| *b == b'\n') {
                let ended = matches!(&header[line..line + end], b"" | b"\r");
                line += end + 1;
                if ended {
                    header.truncate(line);
                    return Ok(header);
                }
            }
            if n == 0 || header.len() == HEADER_BYTES_MAX {
                return Ok(header);
            }
        }
    }

    /// Envelope and structure of a message: found out by reading it once, then kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn facts(&self, message: &Message) -> Result<Arc<Facts>, MailboxError> {
        let (own, position) = message.body.key();
        if let Some(kept) = self.inner.view.facts(own, position)?
            && let Ok(facts) = serde_json::from_slice(&kept)
        {
            return Ok(Arc::new(facts));
        }
        let body = self.body(&message.body)?;
        let facts = Facts::read(body).map_err(|e| MailboxError::Body(e.to_string()))?;
        // Written by the one that applies events; with too much waiting it is found out again next time.
        if let Ok(content) = serde_json::to_vec(&facts) {
            let _ = self.inner.found.try_send(Found { what: Derived::Facts, own, position, content });
        }
        Ok(Arc::new(facts))
    }

    /// What messages are put in order by: found out by reading their headers once, then kept. One that cannot be read
    /// has nothing to be put in order by.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub async fn keys(&self, messages: &[Message]) -> Result<Vec<Keys>, MailboxError> {
        let mut keys = Vec::with_capacity(messages.len());
        for (message, known) in messages.iter().zip(self.view()?.keys(messages)?) {
            if let Some(known) = known.and_then(|content| serde_json::from_slice(&content).ok()) {
                keys.push(known);
                continue;
            }
            let Ok(header) = self.header(&message.body) else {
                keys.push(Keys::default());
                continue;
            };
            let found = Keys::of(&header);
            if let Ok(content) = serde_json::to_vec(&found) {
                let (own, position) = message.body.key();
                let found = Found { what: Derived::Keys, own, position, content };
                // Waited for a little, so that a large mailbox is read once only; others are served meanwhile.
                let _ = tokio::time::timeout(KEEP_TIME, self.inner.found.send(found)).await;
            }
            keys.push(found);
        }
        Ok(keys)
    }
}

/// Passes over `count` bytes.
pub(crate) fn skip(reader: &mut MessageReader, count: u64) -> io::Result<()> {
    let mut left = count;
    let mut buffer = vec![0; SKIP_BYTES.min(usize::try_from(count).unwrap_or(SKIP_BYTES))];
    while left > 0 {
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match reader.read(&mut buffer[..wanted]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => left -= n as u64,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
