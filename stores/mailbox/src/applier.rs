//! Makes visible what the log has confirmed, in the order of the log.

use crate::MailboxError;
use crate::event::{EVENT_V1, Event};
use crate::open::{Inner, JUMP, identity};
use crate::view::{Effect, Entry, Found, Stamp};
use std::sync::Arc;
use std::time::Duration;
use stores_log::{AppendError, Appended, Body, Draft, Pending};
use tokio::sync::{mpsc, watch};

/// How many events may wait to become visible; beyond it callers hear `Busy`.
pub(crate) const QUEUE_MAX: usize = 8_192;

/// How many events become visible in one transaction.
const BATCH_MAX: usize = 512;

/// How long to wait before a disk that had no room is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An event that was handed to the log.
pub(crate) struct Waiting {
    pub(crate) entry: Entry,
    pub(crate) pending: Pending,
    pub(crate) done: Done,
}

/// Tells those who wait what became of an event.
pub(crate) type Done = Box<dyn FnOnce(Result<Effect, MailboxError>) + Send>;

type Confirmed = (Stamp, Entry, Done);

/// The one that writes the view. It must run as long as the mailboxes are used.
pub struct Applier {
    inner: Arc<Inner>,
    entries: mpsc::Receiver<Waiting>,
    facts: mpsc::Receiver<Found>,
    jump: bool,
    /// Whether the view knows which log it is of.
    named: bool,
    /// Taken from the queue, but not confirmed yet when it was looked at.
    held: Option<Waiting>,
}

impl Applier {
    pub(crate) fn new(
        inner: Arc<Inner>,
        entries: mpsc::Receiver<Waiting>,
        facts: mpsc::Receiver<Found>,
        jump: bool,
        named: bool,
    ) -> Applier {
        Applier { inner, entries, facts, jump, named, held: None }
    }

    /// Runs until `shutdown`, then until everything that waits is visible. The log's writer must still run then.
    ///
    /// # Errors
    /// When the view is damaged: it has been thrown away, and the program must be started again, which makes it
    /// anew from the log.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) -> Result<(), MailboxError> {
        if self.jump {
            self.jump(&shutdown).await?;
        }
        let mut ending = false;
        loop {
            let first = match self.held.take() {
                Some(held) => Some(held),
                None => tokio::select! {
                    biased;
                    entry = self.entries.recv() => entry,
                    Some(found) = self.facts.recv() => {
                        self.keep(found);
                        continue;
                    }
                    _ = shutdown.wait_for(|stop| *stop), if !ending => {
                        ending = true;
                        self.entries.close();
                        continue;
                    }
                },
            };
            let Some(first) = first else { return Ok(()) };
            let batch = self.confirmed(first).await;
            self.show(batch, &shutdown).await?;
        }
    }

    /// Waits for the first event, and takes those behind it that are confirmed by then: one sync confirms many.
    async fn confirmed(&mut self, first: Waiting) -> Vec<Confirmed> {
        let mut batch = Vec::new();
        let answer = first.pending.await;
        self.sort(&mut batch, first.entry, answer, first.done);
        while batch.len() < BATCH_MAX {
            let Ok(mut next) = self.entries.try_recv() else { break };
            let answer = tokio::select! {
                biased;
                answer = &mut next.pending => Some(answer),
                () = std::future::ready(()) => None,
            };
            match answer {
                Some(answer) => self.sort(&mut batch, next.entry, answer, next.done),
                None => {
                    self.held = Some(next);
                    break;
                }
            }
        }
        batch
    }

    fn sort(
        &self,
        batch: &mut Vec<Confirmed>,
        entry: Entry,
        answer: Result<Appended, AppendError>,
        done: Done,
    ) {
        match answer {
            Ok(Appended { seq, position, at, .. }) => batch.push((Stamp { seq, position, at }, entry, done)),
            Err(error) => {
                // Its numbers are lost for good: nobody was shown them, and nobody will be.
                self.landed(&entry);
                done(Err(error.into()));
            }
        }
    }

    fn landed(&self, entry: &Entry) {
        if let Entry::Event(Event::Arrived { account, trace, .. }) = entry {
            self.inner.desk.landed(account, *trace);
        }
    }

    async fn show(
        &mut self,
        batch: Vec<Confirmed>,
        shutdown: &watch::Receiver<bool>,
    ) -> Result<(), MailboxError> {
        if batch.is_empty() {
            return Ok(());
        }
        words_world::crash_point("mailbox.durable");
        let (entries, waiting): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|(stamp, entry, done)| ((stamp, entry), done)).unzip();
        let effects = loop {
            match self.name().and_then(|()| self.inner.view.apply(&entries)) {
                Ok(effects) => break effects,
                Err(error) if is_damaged(&error) => {
                    tracing::error!(%error, "the mailbox view is damaged; it will be made anew at the next start");
                    self.inner.view.discard()?;
                    return Err(error.into());
                }
                // It is in the log: the next start applies it.
                Err(error) if *shutdown.borrow() => return Err(error.into()),
                Err(error) => {
                    tracing::error!(%error, "the mailbox view cannot be written; trying again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        };
        words_world::crash_point("mailbox.visible");
        for (((_, entry), done), effect) in entries.iter().zip(waiting).zip(effects) {
            self.landed(entry);
            done(Ok(effect));
            let account = match entry {
                Entry::Event(event) => event.account(),
                Entry::Mirrored(fact) => Some(fact.account()),
                Entry::Attempt(_) => None,
            };
            if let Some(account) = account {
                self.inner.wake(account);
            }
        }
        Ok(())
    }

    /// Notes which log the view is of, as soon as that log has a record.
    fn name(&mut self) -> Result<(), rusqlite::Error> {
        if !self.named
            && let Ok(Some(log)) = identity(&self.inner.reader)
        {
            self.inner.view.set_log(&log)?;
            self.named = true;
        }
        Ok(())
    }

    fn keep(&mut self, first: Found) {
        let mut found = vec![first];
        while found.len() < BATCH_MAX
            && let Ok(next) = self.facts.try_recv()
        {
            found.push(next);
        }
        if let Err(error) = self.inner.view.keep(&found) {
            tracing::debug!(%error, "what was found out about messages was not kept");
        }
    }

    /// The end of the log may be missing: no number that may have been shown from it is given again. Tried until
    /// it is durable, for nothing is served before.
    async fn jump(&mut self, shutdown: &watch::Receiver<bool>) -> Result<(), MailboxError> {
        let event = Event::Jumped { by: JUMP };
        let meta = serde_json::to_vec(&event).map_err(|e| MailboxError::Log(e.to_string()))?;
        loop {
            let draft = Draft { kind: EVENT_V1, meta: meta.clone(), body: Body::None };
            match self.inner.log.append(draft).await {
                Ok(Appended { seq, position, at, .. }) => {
                    let stamp = Stamp { seq, position, at };
                    self.show(vec![(stamp, Entry::Event(event), Box::new(|_| ()))], shutdown).await?;
                    tracing::warn!(
                        by = JUMP,
                        "the end of the mailbox log may be missing: UIDs and MODSEQs jump"
                    );
                    self.inner.desk.jumped();
                    return Ok(());
                }
                Err(error @ (AppendError::Closed | AppendError::TooLarge)) => return Err(error.into()),
                Err(error) if *shutdown.borrow() => return Err(error.into()),
                Err(error) => {
                    tracing::error!(%error, "the jump of UIDs cannot be recorded; trying again");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
    )
}
