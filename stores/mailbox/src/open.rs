//! Opening the mailboxes: the log first, then the view brought up to it.

use crate::MailboxError;
use crate::applier::{self, Applier};
use crate::body::{Bodies, FACTS_WAITING_MAX};
use crate::desk::Desk;
use crate::event::{ATTEMPT_V1, EVENT_V1};
use crate::mirror::MIRRORED_V1;
use crate::view::{Applied, Entry, Found, Stamp, View, ViewPlace};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stores_log::{KeyRing, Log, LogHealth, LogKind, LogOptions, Position, Reader, Record, Recovery, Writer};
use tokio::sync::{mpsc, watch};
use words_mail::{AccountId, Time, TraceKey};
use words_world::World;

/// How many records are applied in one transaction while the view catches up.
const CATCH_UP_BATCH: usize = 1_000;

/// By how much UIDNEXT and MODSEQ jump when the end of the log may be missing.
pub(crate) const JUMP: u32 = 1_000_000;

/// How long an attempt to deliver is of interest; queues are shorter.
const ATTEMPTS_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// How the mailboxes are kept.
#[derive(Clone, Debug)]
pub struct MailboxOptions {
    /// The log; its kind is set to [`LogKind::Mailbox`].
    pub log: LogOptions,
    /// Where the view is.
    pub view: ViewPlace,
    /// Recognises our own trace header in what clients append.
    pub trace_key: Option<TraceKey>,
}

/// The mailboxes, opened. The log's writer and the applier must both run, for nothing is shown without them.
pub struct Ready {
    /// The mailboxes.
    pub mailboxes: Mailboxes,
    /// Writes the log.
    pub writer: Writer,
    /// Makes visible what the log has confirmed.
    pub applier: Applier,
    /// What was found in the log.
    pub recovery: Recovery,
}

/// The mailboxes of every account of this node. Cheap to clone.
#[derive(Clone)]
pub struct Mailboxes {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) world: World,
    pub(crate) log: Log,
    pub(crate) reader: Reader,
    pub(crate) view: View,
    pub(crate) bodies: Arc<dyn Bodies>,
    pub(crate) trace_key: Option<TraceKey>,
    pub(crate) desk: Desk,
    pub(crate) found: mpsc::Sender<Found>,
    /// Told anew whenever something became visible in an account.
    pub(crate) watchers: Mutex<HashMap<AccountId, watch::Sender<u64>>>,
}

/// Locks without fear of a panic elsewhere: everything behind these locks is whole between statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mailboxes {
    /// Opens the log and brings the view up to its end; a view that does not belong to the log is made anew. Blocks.
    ///
    /// # Errors
    /// When the log cannot be opened or the view cannot be written.
    pub fn open(
        world: &World,
        keys: KeyRing,
        options: MailboxOptions,
        bodies: Arc<dyn Bodies>,
    ) -> Result<Ready, MailboxError> {
        Mailboxes::open_with(world, keys, options, bodies, false)
    }

    /// The same after a backup was brought back: UIDs may have been shown that the log does not know, so UIDNEXT and MODSEQ
    /// of every folder jump before anything is served, as when the end of the log is doubtful.
    ///
    /// # Errors
    /// As [`Mailboxes::open`].
    pub fn open_restored(
        world: &World,
        keys: KeyRing,
        options: MailboxOptions,
        bodies: Arc<dyn Bodies>,
    ) -> Result<Ready, MailboxError> {
        Mailboxes::open_with(world, keys, options, bodies, true)
    }

    fn open_with(
        world: &World,
        keys: KeyRing,
        options: MailboxOptions,
        bodies: Arc<dyn Bodies>,
        restored: bool,
    ) -> Result<Ready, MailboxError> {
        let (log, writer, recovery) =
            Log::open(world, keys, LogOptions { kind: LogKind::Mailbox, ..options.log })?;
        let reader = log.reader();
        let view = catch_up(View::open(options.view)?, &reader, recovery.last_seq)?;
        view.forget_attempts(world.clock.now().before(ATTEMPTS_KEPT))?;
        let (queue, entries) = mpsc::channel(applier::QUEUE_MAX);
        let (found, facts) = mpsc::channel(FACTS_WAITING_MAX);
        let jump = recovery.tail_doubtful || restored;
        let desk = Desk::new(queue, view.folder_next()?, jump);
        let inner = Arc::new(Inner {
            world: world.clone(),
            log,
            reader,
            view,
            bodies,
            trace_key: options.trace_key,
            desk,
            found,
            watchers: Mutex::default(),
        });
        let named = inner.view.log()?.is_some();
        let applier = Applier::new(inner.clone(), entries, facts, jump, named);
        Ok(Ready { mailboxes: Mailboxes { inner }, writer, applier, recovery })
    }

    /// How the log is.
    pub fn health(&self) -> LogHealth {
        self.inner.log.health()
    }

    /// The end of what is durable.
    pub fn durable(&self) -> watch::Receiver<Position> {
        self.inner.log.durable()
    }

    /// Tells whenever something became visible in an account. The number means nothing but that it is another one.
    pub fn watch(&self, account: &AccountId) -> watch::Receiver<u64> {
        let mut watchers = lock(&self.inner.watchers);
        watchers.entry(account.clone()).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Everything the view derives from the log, as text: equal for equal logs, however often it was made anew.
    ///
    /// # Errors
    /// When the view cannot be read.
    pub fn dump(&self) -> Result<String, MailboxError> {
        self.inner.view.dump()
    }

    pub(crate) fn now(&self) -> Time {
        self.inner.world.clock.now()
    }
}

impl Inner {
    /// Wakes those who watch an account.
    pub(crate) fn wake(&self, account: &AccountId) {
        let mut watchers = lock(&self.watchers);
        if let Some(sender) = watchers.get(account) {
            if sender.receiver_count() == 0 {
                watchers.remove(account);
            } else {
                sender.send_modify(|n| *n = n.wrapping_add(1));
            }
        }
    }
}

/// What a record of the log says; `None` for one that is of no kind we know or was erased.
pub(crate) fn entry(record: &Record) -> Option<(Stamp, Entry)> {
    let stamp = Stamp { seq: record.seq, position: record.position, at: record.at };
    let read = match record.kind {
        EVENT_V1 => serde_json::from_slice(&record.meta).map(Entry::Event),
        ATTEMPT_V1 => serde_json::from_slice(&record.meta).map(Entry::Attempt),
        MIRRORED_V1 => serde_json::from_slice(&record.meta).map(Entry::Mirrored),
        _ => return None,
    };
    match read {
        Ok(entry) => Some((stamp, entry)),
        Err(_) if record.erased.is_some() => None,
        Err(error) => {
            tracing::error!(seq = record.seq, %error, "a record of the mailbox log cannot be understood");
            None
        }
    }
}

/// Tells one log from another: the hash of its first record, which stays even when that is erased.
pub(crate) fn identity(reader: &Reader) -> Result<Option<Vec<u8>>, MailboxError> {
    Ok(reader.scan(None).next().transpose()?.map(|first| first.content.to_vec()))
}

fn catch_up(view: View, reader: &Reader, last_seq: u64) -> Result<View, MailboxError> {
    let log = identity(reader)?;
    let applied = view.applied()?;
    let (view, from) = match applied {
        Some(applied) if !belongs(&view, applied, reader, &log, last_seq)? => {
            tracing::warn!("the mailbox view is not of this log and is made anew");
            (view.anew()?, None)
        }
        applied => (view, applied),
    };
    let mut batch = Vec::with_capacity(CATCH_UP_BATCH);
    let mut scan = reader.scan(from.map(|a| a.position));
    loop {
        let record = scan.next().transpose()?;
        let ended = record.is_none();
        let fresh = record.filter(|record| from.is_none_or(|applied| record.seq > applied.seq));
        batch.extend(fresh.as_ref().and_then(entry));
        if batch.len() == CATCH_UP_BATCH || ended {
            view.apply(&batch)?;
            batch.clear();
        }
        if ended {
            break;
        }
    }
    if let Some(log) = log {
        view.set_log(&log)?;
    }
    Ok(view)
}

fn belongs(
    view: &View,
    applied: Applied,
    reader: &Reader,
    log: &Option<Vec<u8>>,
    last_seq: u64,
) -> Result<bool, MailboxError> {
    if applied.seq > last_seq || view.log()? != *log {
        return Ok(false);
    }
    let there = reader.scan(Some(applied.position)).next().transpose()?;
    Ok(there.is_some_and(|record| record.seq == applied.seq))
}
