//! Bodies leave only when no mailbox needs them.

use crate::MailboxError;
use crate::open::Mailboxes;
use stores_log::{Erasure, Log};
use words_mail::{Time, TraceId};

/// How many bodies are collected at once.
const COLLECT_MAX: u32 = 500;

impl Mailboxes {
    /// The log, for sealing and verifying it.
    pub fn log(&self) -> &Log {
        &self.inner.log
    }

    /// Whether the journal must keep a message for the mailboxes: it is in a folder, or was removed from one at or
    /// after `since`.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub fn refers_to(&self, trace: TraceId, since: Time) -> Result<bool, MailboxError> {
        self.view()?.refers_to(trace, since)
    }

    /// Removes bodies in the mailbox log that are in no folder since `before`; their events stay. Gives back how many
    /// were removed, at most 500: with that many, more may be left. Blocks for as long as it takes to write the
    /// segments anew that they stand in.
    ///
    /// # Errors
    /// When the disk says no; what was begun is finished later.
    pub async fn collect(&self, before: Time) -> Result<u64, MailboxError> {
        let gone = self.view()?.collectable(before, COLLECT_MAX)?;
        if gone.is_empty() {
            return Ok(0);
        }
        let why = format!("removed from every folder before {before}");
        let erasure = Erasure { who: "stormpost".into(), why, keep_meta: true };
        self.inner.log.erase(&gone, &erasure).await?;
        words_world::crash_point("mailbox.collected");
        self.inner.view.note_collected(&gone)?;
        Ok(gone.len() as u64)
    }
}
