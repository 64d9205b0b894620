//! Where numbers are allotted: under one lock together with handing the event to the log, so that the order of the
//! log is the order of the numbers. A number whose event fails is never given again.

use crate::applier::Waiting;
use crate::arrive::Placed;
use crate::event::{EVENT_V1, Event};
use crate::open::{Inner, JUMP, Mailboxes, lock};
use crate::view::{Effect, Entry};
use crate::{FolderId, MailboxError};
use std::collections::HashMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::time::Duration;
use stores_log::{Body, Draft, Pending};
use tokio::sync::{mpsc, oneshot, watch};
use words_mail::{AccountId, TraceId};

/// How long a caller waits for what it changed to become visible before it is told to look again later.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Locks for filing into Sent, shared by accounts with the same remainder.
const FILING_LOCKS: usize = 64;

/// Arrivals that are on their way, with what will become of them.
pub(crate) type Arriving = watch::Receiver<Option<Result<Placed, MailboxError>>>;

pub(crate) struct Desk {
    numbers: Mutex<Numbers>,
    queue: mpsc::Sender<Waiting>,
    /// Changes of the tree of folders are made one after another, each on the state the one before left.
    pub(crate) tree: tokio::sync::Mutex<()>,
    filing: Vec<tokio::sync::Mutex<()>>,
    /// False until the jump after a doubtful recovery is durable.
    pub(crate) serving: watch::Sender<bool>,
}

pub(crate) struct Numbers {
    folders: HashMap<FolderId, Counter>,
    pub(crate) folder_next: u64,
    pub(crate) arriving: HashMap<(AccountId, TraceId), Arriving>,
    jump: u32,
}

/// The next numbers of one folder.
#[derive(Clone, Copy)]
struct Counter {
    uid: u32,
    modseq: u64,
}

impl Desk {
    pub(crate) fn new(queue: mpsc::Sender<Waiting>, folder_next: u64, jump: bool) -> Desk {
        Desk {
            numbers: Mutex::new(Numbers {
                folders: HashMap::new(),
                folder_next,
                arriving: HashMap::new(),
                // Until the jump is in the view, folders are loaded from before it.
                jump: if jump { JUMP } else { 0 },
            }),
            queue,
            tree: tokio::sync::Mutex::new(()),
            filing: (0..FILING_LOCKS).map(|_| tokio::sync::Mutex::new(())).collect(),
            serving: watch::Sender::new(!jump),
        }
    }

    /// The lock under which one account's Sent folder is looked at and then added to.
    pub(crate) fn filing(&self, account: &AccountId) -> &tokio::sync::Mutex<()> {
        let mut hasher = DefaultHasher::new();
        account.hash(&mut hasher);
        &self.filing[usize::try_from(hasher.finish() % FILING_LOCKS as u64).unwrap_or(0)]
    }

    /// The jump is in the view: folders loaded from now on have jumped already.
    pub(crate) fn jumped(&self) {
        lock(&self.numbers).jump = 0;
        self.serving.send_replace(true);
    }

    pub(crate) fn landed(&self, account: &AccountId, trace: TraceId) {
        lock(&self.numbers).arriving.remove(&(account.clone(), trace));
    }
}

impl Numbers {
    fn counter(&mut self, inner: &Inner, folder: FolderId) -> Result<&mut Counter, MailboxError> {
        use std::collections::hash_map::Entry as Slot;
        match self.folders.entry(folder) {
            Slot::Occupied(slot) => Ok(slot.into_mut()),
            Slot::Vacant(slot) => {
                let found = inner.view.folder_by_id(folder)?.ok_or(MailboxError::NoFolder)?;
                Ok(slot.insert(Counter {
                    uid: found.uidnext.saturating_add(self.jump),
                    modseq: found.modseq + u64::from(self.jump),
                }))
            }
        }
    }

    /// The first of `count` UIDs in a row.
    pub(crate) fn uids(&mut self, inner: &Inner, folder: FolderId, count: u32) -> Result<u32, MailboxError> {
        let counter = self.counter(inner, folder)?;
        // The greatest UID is never given, so that UIDNEXT always fits.
        let next = counter.uid.checked_add(count).ok_or(MailboxError::NoUid)?;
        Ok(std::mem::replace(&mut counter.uid, next))
    }

    /// A MODSEQ of its own for a change of a folder.
    pub(crate) fn modseq(&mut self, inner: &Inner, folder: FolderId) -> Result<u64, MailboxError> {
        let counter = self.counter(inner, folder)?;
        counter.modseq += 1;
        Ok(counter.modseq)
    }
}

impl Numbers {
    /// Numbers of a folder begin here at the least; where they begin then.
    pub(crate) fn raise(
        &mut self,
        inner: &Inner,
        folder: FolderId,
        uid: u32,
        modseq: u64,
    ) -> Result<(u32, u64), MailboxError> {
        let counter = self.counter(inner, folder)?;
        counter.uid = counter.uid.max(uid);
        counter.modseq = counter.modseq.max(modseq);
        Ok((counter.uid, counter.modseq))
    }

    /// Whether nothing was ever put into a folder.
    pub(crate) fn is_untouched(&mut self, inner: &Inner, folder: FolderId) -> Result<bool, MailboxError> {
        Ok(self.counter(inner, folder)?.uid == 1)
    }
}

/// An event on its way. What became of it is known when it is visible.
pub(crate) struct Ticket(oneshot::Receiver<Result<Effect, MailboxError>>);

impl Ticket {
    pub(crate) fn of(told: oneshot::Receiver<Result<Effect, MailboxError>>) -> Ticket {
        Ticket(told)
    }

    /// Waits until the event is durable and visible. Dropping the wait takes nothing back.
    pub(crate) async fn done(self) -> Result<Effect, MailboxError> {
        within(async { self.0.await.unwrap_or(Err(MailboxError::Append(stores_log::AppendError::Closed))) })
            .await
    }
}

/// Waits for something to become visible, but not for ever.
fn full(error: &mpsc::error::TrySendError<()>) -> MailboxError {
    MailboxError::Append(match error {
        mpsc::error::TrySendError::Full(()) => stores_log::AppendError::Busy,
        mpsc::error::TrySendError::Closed(()) => stores_log::AppendError::Closed,
    })
}

pub(crate) async fn within<T>(
    visible: impl Future<Output = Result<T, MailboxError>>,
) -> Result<T, MailboxError> {
    tokio::time::timeout(WAIT_MAX, visible).await.unwrap_or(Err(MailboxError::NotShownYet))
}

impl Mailboxes {
    /// Allots numbers and hands the event to the log in one step.
    pub(crate) fn enqueue(
        &self,
        body: Body,
        make: impl FnOnce(&mut Numbers, &Inner) -> Result<Event, MailboxError>,
    ) -> Result<Ticket, MailboxError> {
        let mut numbers = lock(&self.inner.desk.numbers);
        let place = self.place()?;
        let event = make(&mut numbers, &self.inner)?;
        let pending = self.hand_over(&event, body)?;
        let (tell, ticket) = oneshot::channel();
        let done = Box::new(move |effect| {
            // Nobody may be waiting any more; it is visible all the same.
            let _ = tell.send(effect);
        });
        place.send(Waiting { entry: Entry::Event(event), pending, done });
        Ok(Ticket(ticket))
    }

    /// The same for several events that stand one after another in the log. When the log refuses one of them, none
    /// after it is handed over.
    pub(crate) fn enqueue_together(
        &self,
        bodies: Vec<Body>,
        make: impl FnOnce(&mut Numbers, &Inner) -> Result<Vec<Event>, MailboxError>,
    ) -> Result<Vec<Ticket>, MailboxError> {
        let mut numbers = lock(&self.inner.desk.numbers);
        let places = self.inner.desk.queue.try_reserve_many(bodies.len()).map_err(|error| full(&error))?;
        let events = make(&mut numbers, &self.inner)?;
        let mut tickets = Vec::with_capacity(bodies.len());
        for ((place, event), body) in places.zip(events).zip(bodies) {
            let pending = self.hand_over(&event, body)?;
            let (tell, ticket) = oneshot::channel();
            let done = Box::new(move |effect| {
                let _ = tell.send(effect);
            });
            place.send(Waiting { entry: Entry::Event(event), pending, done });
            tickets.push(Ticket(ticket));
        }
        Ok(tickets)
    }

    pub(crate) fn hand_over(&self, event: &Event, body: Body) -> Result<Pending, MailboxError> {
        let meta = serde_json::to_vec(event).map_err(|e| MailboxError::Log(e.to_string()))?;
        let pending = self.inner.log.enqueue(Draft { kind: EVENT_V1, meta, body })?;
        words_world::crash_point("mailbox.enqueued");
        Ok(pending)
    }

    /// Room for one more among what waits to become visible; taken before the log is, so that nothing gets into
    /// the log that nobody would apply.
    pub(crate) fn place(&self) -> Result<mpsc::Permit<'_, Waiting>, MailboxError> {
        self.inner.desk.queue.try_reserve().map_err(|error| full(&error))
    }

    pub(crate) fn numbers(&self) -> std::sync::MutexGuard<'_, Numbers> {
        lock(&self.inner.desk.numbers)
    }

    /// Waits until what a doubtful recovery asks for is done. Nothing is shown or taken before.
    pub(crate) async fn serving(&self) -> Result<(), MailboxError> {
        let mut serving = self.inner.desk.serving.subscribe();
        if *serving.borrow() {
            return Ok(());
        }
        within(async {
            let _ = serving.wait_for(|serving| *serving).await;
            Ok(())
        })
        .await
    }
}
