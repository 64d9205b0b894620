//! Opening and erasing the content of messages: written down before it is done.

use super::{Answers, Caller, Ended, No, off_loop, reason};
use crate::control::protocol::QueueState;
use stores_ledger::{ContentAct, ContentDeed, Entry};
use words_mail::TraceId;

impl Answers {
    pub(crate) async fn content_opened(
        &self,
        deed: ContentDeed,
        trace: Option<TraceId>,
        which: String,
        why: &str,
        caller: &Caller,
    ) -> Ended {
        let why = reason(why)?;
        if why.is_empty() {
            return Err(No::wrong("say why: who opens content is written down with a reason"));
        }
        self.note_content(deed, trace, reason(&which)?, why, caller).await?;
        Ok(String::new())
    }

    async fn note_content(
        &self,
        deed: ContentDeed,
        trace: Option<TraceId>,
        which: String,
        reason: String,
        caller: &Caller,
    ) -> Result<(), No> {
        let act = ContentAct { at: self.now(), by: caller.by.clone(), reason, deed, trace, which };
        tracing::info!(by = %act.by, deed = ?act.deed, trace = ?act.trace, which = %act.which, why = %act.reason, "content");
        let written = self.parts.ledger.append(Entry::ContentAct(act)).await;
        written.map_err(|error| {
            No::failed(format!("it could not be written down, so nothing was opened or erased: {error}"))
        })?;
        Ok(())
    }

    pub(crate) async fn journal_erase(&self, trace: TraceId, why: String, caller: &Caller) -> Ended {
        let why = reason(&why)?;
        if why.is_empty() {
            return Err(No::wrong("say why: it is written down in the place of the message"));
        }
        if let Some(queued) = self.parts.queue.show(trace) {
            let is_over = |state: QueueState| matches!(state, QueueState::Refused | QueueState::Expired);
            let open = queued.recipients.iter().filter(|r| !is_over(super::queue::state(r.standing))).count();
            if open > 0 {
                return Err(No::not_now(format!(
                    "it still waits for {open} recipients; settle that first, for example: stormpost queue delete {trace}"
                )));
            }
        }
        let reader = self.parts.journal.reader();
        let found = off_loop(move || reader.find(trace).map_err(No::failed)).await?;
        if found.is_none() {
            return Err(No::not_found(format!("the journal holds no message {trace}")));
        }
        self.note_content(ContentDeed::Erased, Some(trace), String::new(), why.clone(), caller).await?;
        let records = self.parts.journal.erase(&[trace], &caller.by, &why).await.map_err(No::failed)?;
        tracing::info!(by = %caller.by, %trace, why, records, "erased from the journal");
        Ok(format!(
            "the content of {trace} is gone from the journal; its hash stays, with who erased it, when and why. A copy in a \
             mailbox here can be opened no more"
        ))
    }
}
