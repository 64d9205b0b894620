//! Attempts to hand messages over, durable before the final dot.

use crate::applier::Waiting;
use crate::event::{ATTEMPT_V1, Attempt};
use crate::open::Mailboxes;
use crate::view::Entry;
use crate::{MailboxError, desk};
use stores_log::{AppendError, Body, Draft};
use tokio::sync::oneshot;
use words_mail::{Time, TraceId};

impl Mailboxes {
    /// Records an attempt; durable on return.
    ///
    /// # Errors
    /// When the log does not take it: then the attempt must not be made.
    pub async fn attempt(&self, attempt: Attempt) -> Result<(), MailboxError> {
        self.serving().await?;
        let place = self.place()?;
        let meta = serde_json::to_vec(&attempt).map_err(|e| MailboxError::Log(e.to_string()))?;
        let pending = {
            // Handed over under the same lock as events, so that what waits stands in the order of the log.
            let _numbers = self.numbers();
            let pending = self.inner.log.enqueue(Draft { kind: ATTEMPT_V1, meta, body: Body::None })?;
            let (tell, told) = oneshot::channel();
            let done = Box::new(move |effect: Result<_, MailboxError>| {
                let _ = tell.send(effect.map(|_| ()));
            });
            place.send(Waiting { entry: Entry::Attempt(attempt), pending, done });
            told
        };
        desk::within(async { pending.await.unwrap_or(Err(MailboxError::Append(AppendError::Closed))) }).await
    }

    /// The last attempt for each recipient and destination, of every message, with its time: for finding after a
    /// start what may have been handed over without our hearing of it. Attempts of the last 30 days.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub fn attempts(&self) -> Result<Vec<(Attempt, Time)>, MailboxError> {
        self.inner.view.attempts(None)
    }

    /// The same of one message.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub fn attempts_of(&self, trace: TraceId) -> Result<Vec<(Attempt, Time)>, MailboxError> {
        self.inner.view.attempts(Some(trace))
    }
}
