//! Bytes out, responses in, each within its time.

use crate::block;
use crate::store::StoreError;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};
use words_imap::client::{Heard, ResponseReader, Untagged};
use words_imap::{Code, Status};
use words_smtp::reply::escape;
use words_world::Stream;

/// Bytes read at once; also the largest part of a message that is handed on.
const READ: usize = 16 * 1024;

/// What a server said, owned.
#[derive(Debug)]
pub(super) enum Said {
    Tagged { tag: String, status: Status, code: Option<Code>, text: String },
    Continue,
    Untagged(Untagged),
    BodyBegin(u64),
    BodyData(Vec<u8>),
    BodyEnd,
}

/// How a write ended that did not end well.
pub(super) struct Unwritten {
    /// How many bytes were taken off our hands.
    pub(super) taken: usize,
    pub(super) why: StoreError,
}

/// A connection on which a dialogue is held. After the first failure it is dead: nobody knows any more which answer
/// belongs to which command.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    reader: ResponseReader,
    /// What was read from the stream stands in `buffer[at..len]`.
    buffer: Box<[u8]>,
    at: usize,
    len: usize,
    dead: Option<StoreError>,
    /// The last words of a server that is about to close.
    bye: Option<String>,
}

impl Wire {
    pub(super) fn new(stream: Box<dyn Stream>) -> Wire {
        let buffer = vec![0; READ].into_boxed_slice();
        Wire { stream, reader: ResponseReader::new(), buffer, at: 0, len: 0, dead: None, bye: None }
    }

    /// Gives the stream back for encryption.
    ///
    /// # Errors
    /// When the server said something that nobody asked for. What came in plain text must not count as said under
    /// encryption (the STARTTLS response injection).
    pub(super) fn into_stream(self) -> Result<Box<dyn Stream>, StoreError> {
        if self.at < self.len || !self.reader.is_idle() {
            return Err(StoreError::NoAnswer("the server went on in plain text after STARTTLS".to_owned()));
        }
        Ok(self.stream)
    }

    pub(super) fn is_usable(&self) -> bool {
        self.dead.is_none()
    }

    /// Declares the dialogue over and says why.
    pub(super) fn fail(&mut self, why: impl Into<String>) -> StoreError {
        let error = match self.bye.take() {
            Some(words) => StoreError::Bye(words),
            None => StoreError::NoAnswer(why.into()),
        };
        self.dead.get_or_insert_with(|| error.clone());
        error
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.dead.clone().map_or(Ok(()), Err)
    }

    /// Writes all of `bytes`. A failure tells how many were taken.
    pub(super) async fn write(&mut self, bytes: &[u8], limit: Duration) -> Result<(), Unwritten> {
        self.check().map_err(|why| Unwritten { taken: 0, why })?;
        match block::write(&mut self.stream, bytes, limit).await {
            Ok(()) => Ok(()),
            Err(block::Unwritten { taken, why }) => Err(Unwritten { taken, why: self.fail(why) }),
        }
    }

    /// The next thing the server says: within `silence`, and not after `end`.
    pub(super) async fn next(&mut self, silence: Duration, end: Instant) -> Result<Said, StoreError> {
        self.check()?;
        let until = (Instant::now() + silence).min(end);
        match timeout_at(until, self.read()).await {
            Ok(Ok(said)) => {
                self.note_bye(&said);
                Ok(said)
            }
            Ok(Err(why)) => Err(self.fail(why)),
            Err(_) => Err(self.fail("no answer in time")),
        }
    }

    /// The next thing the server says, or `None` when nothing was said until `until`.
    pub(super) async fn next_or_none(&mut self, until: Instant) -> Result<Option<Said>, StoreError> {
        self.check()?;
        // Reading keeps what it has when it is stopped: bytes leave the stream only when they are in the buffer.
        match timeout_at(until, self.read()).await {
            Ok(Ok(said)) => {
                self.note_bye(&said);
                Ok(Some(said))
            }
            Ok(Err(why)) => Err(self.fail(why)),
            Err(_) => Ok(None),
        }
    }

    fn note_bye(&mut self, said: &Said) {
        if let Said::Untagged(Untagged::Status { status: Status::Bye, text, .. }) = said {
            self.bye = Some(escape(text.as_bytes()));
        }
    }

    async fn read(&mut self) -> Result<Said, String> {
        loop {
            let mut input = &self.buffer[self.at..self.len];
            let before = input.len();
            let heard = self.reader.next(&mut input).map_err(|e| e.to_string())?;
            let said = heard.map(own);
            self.at += before - input.len();
            if let Some(said) = said {
                return Ok(said);
            }
            (self.at, self.len) = (0, 0);
            match self.stream.read(&mut self.buffer).await {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(n) => self.len = n,
                Err(e) => return Err(format!("connection lost ({e})")),
            }
        }
    }

    /// What the server says within a short while after the connection failed: a refusal may stand there.
    pub(super) async fn last_words(&mut self) -> Option<(Status, Option<Code>, String)> {
        let end = Instant::now() + Duration::from_millis(200);
        loop {
            match timeout_at(end, self.read()).await {
                Ok(Ok(Said::Tagged { status, code, text, .. })) => return Some((status, code, text)),
                Ok(Ok(_)) => {}
                _ => return None,
            }
        }
    }
}

fn own(heard: Heard<'_>) -> Said {
    match heard {
        Heard::Tagged { tag, status, code, text } => Said::Tagged { tag, status, code, text },
        Heard::Continue(_) => Said::Continue,
        Heard::Untagged(untagged) => Said::Untagged(untagged),
        Heard::BodyBegin { size, .. } => Said::BodyBegin(size),
        Heard::BodyData(data) => Said::BodyData(data.to_vec()),
        Heard::BodyEnd => Said::BodyEnd,
    }
}
