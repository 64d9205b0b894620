//! Bytes out, replies in, each within its time.

use super::{NotSent, Stage};
use crate::block;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use words_smtp::reply::{Answer, ReplyReader};
use words_world::Stream;

/// Bytes read at once.
const READ: usize = 4 * 1024;

/// A connection on which a dialogue is held. After the first failure it is dead: nobody knows any more which answer
/// belongs to which command.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    replies: ReplyReader,
    dead: Option<String>,
}

impl Wire {
    pub(super) fn new(stream: Box<dyn Stream>) -> Wire {
        Wire { stream, replies: ReplyReader::new(), dead: None }
    }

    /// Gives the stream back for encryption; whatever was read and not used is gone.
    pub(super) fn into_stream(self) -> Box<dyn Stream> {
        self.stream
    }

    pub(super) fn discard(&mut self) -> usize {
        self.replies.discard()
    }

    /// A server that talks although nothing was asked cannot be trusted to answer in order.
    pub(super) fn is_usable(&self) -> bool {
        self.dead.is_none() && !self.replies.has_rest()
    }

    /// Declares the dialogue over.
    pub(super) fn give_up(&mut self) {
        self.dead.get_or_insert_with(|| "the dialogue was given up".to_owned());
    }

    /// Why the connection failed; the stage is filled in by the caller, who knows it.
    fn fail(&mut self, why: String) -> NotSent {
        self.dead.get_or_insert_with(|| why.clone());
        NotSent::new(Stage::Connect, why)
    }

    /// Writes all of `bytes` and sees them off.
    pub(super) async fn write(&mut self, bytes: &[u8], limit: Duration) -> Result<(), NotSent> {
        self.check()?;
        block::write(&mut self.stream, bytes, limit).await.map_err(|unwritten| self.fail(unwritten.why))
    }

    /// Writes the end of a message. `Ok` once every byte was taken off our hands, whatever happens after: from then on
    /// the outcome is known only from the answer.
    pub(super) async fn write_end(&mut self, bytes: &[u8], limit: Duration) -> Result<(), NotSent> {
        self.check()?;
        match block::write(&mut self.stream, bytes, limit).await {
            // Not yet a failure of the whole: the bytes may be on their way, and the answer with them.
            Err(unwritten) if unwritten.taken < bytes.len() => Err(self.fail(unwritten.why)),
            _ => Ok(()),
        }
    }

    /// The next reply.
    pub(super) async fn answer(&mut self, limit: Duration) -> Result<Answer, NotSent> {
        self.check()?;
        match timeout(limit, self.read_answer()).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(why)) => Err(self.fail(why)),
            Err(_) => Err(self.fail(format!("no answer after {} s", limit.as_secs_f32()))),
        }
    }

    async fn read_answer(&mut self) -> Result<Answer, String> {
        let mut bytes = [0; READ];
        loop {
            if let Some(answer) = self.replies.answer().map_err(|e| e.to_string())? {
                return Ok(answer);
            }
            match self.stream.read(&mut bytes).await {
                Ok(0) => return Err("the peer closed the connection".to_owned()),
                Ok(n) => self.replies.feed(&bytes[..n]).map_err(|e| e.to_string())?,
                Err(e) => return Err(format!("connection lost ({e})")),
            }
        }
    }

    fn check(&self) -> Result<(), NotSent> {
        match &self.dead {
            None => Ok(()),
            Some(why) => Err(NotSent::new(Stage::Connect, why.clone())),
        }
    }
}
