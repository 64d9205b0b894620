//! The node's side of the control socket: one file for each group of calls.
//!
//! Whoever can open the socket may do everything, so nothing is refused for who calls; who called is written down with
//! everything that changes something. What reads the disk for long runs on a thread of its own, so that no session waits
//! behind it.

mod account;
mod certificate;
mod decide;
mod door;
mod event;
mod journal;
mod latest;
mod mirror;
mod notice;
mod quarantine;
mod queue;
mod reconcile;
mod redeliver;
mod status;
#[cfg(test)]
mod tests;
mod trace;
pub use door::serve;
use latest::Settled;
pub use latest::{Latest, Seen};

use super::protocol::{Answer, Call, Item, Refused, Request};
use crate::acme::Renewal;
use crate::compose::offsite::OffsiteView;
use crate::compose::stores::JournalDesk;
use crate::configuration::{Configuration, visible};
use roads_deliver::{Ask, QueueView};
use roads_mirror::Prover;
use roads_notify::Pulse;
use std::sync::Arc;
use stores_directory::Directory;
use stores_ledger::Ledger;
use stores_log::LogCounts;
use stores_mailbox::Mailboxes;
use tokio::sync::mpsc;
use words_mail::{PrimaryId, Time};
use words_world::World;

/// The longest name of a caller that is written down, characters.
const WHO_MAX: usize = 100;
/// The longest reason that is written down, characters.
const REASON_MAX: usize = 1_000;
/// Answers that may wait for a slow caller.
pub(crate) const ANSWERS_MAX: usize = 64;

/// What the answers are made from.
#[derive(Clone)]
pub struct Parts {
    /// The outside.
    pub world: World,
    /// What was chosen.
    pub configuration: Arc<Configuration>,
    /// Accepted mail.
    pub journal: JournalDesk,
    /// What happened.
    pub ledger: Ledger,
    /// The mailboxes here.
    pub mailboxes: Mailboxes,
    /// Who is here.
    pub directory: Directory,
    /// What waits.
    pub queue: QueueView,
    /// Looks into the primaries.
    pub prover: Prover,
    /// Looks at the copy elsewhere.
    pub offsite: Option<OffsiteView>,
    /// Looks for single messages there.
    pub ask: Arc<dyn Ask>,
    /// Renews the certificate, where an authority gives it.
    pub renewal: Option<Renewal>,
}

/// Answers what is asked over the control socket. Cheap to clone.
#[derive(Clone)]
pub struct Answers {
    pub(crate) parts: Arc<Parts>,
    pub(crate) latest: Arc<Latest>,
    pub(crate) started: Time,
    pulse: Pulse,
}

/// Why a call was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct No {
    pub(crate) why: Refused,
    pub(crate) words: String,
}

impl No {
    pub(crate) fn wrong(words: impl Into<String>) -> No {
        No { why: Refused::Wrong, words: words.into() }
    }

    pub(crate) fn not_found(words: impl Into<String>) -> No {
        No { why: Refused::NotFound, words: words.into() }
    }

    pub(crate) fn not_now(words: impl Into<String>) -> No {
        No { why: Refused::NotNow, words: words.into() }
    }

    pub(crate) fn failed(words: impl std::fmt::Display) -> No {
        No { why: Refused::Failed, words: words.to_string() }
    }
}

/// The last words of a call that was done, or why it was not.
pub(crate) type Ended = Result<String, No>;

/// Who called: where what is told on the way goes.
#[derive(Clone)]
pub(crate) struct Caller {
    /// Who, as it is written down.
    pub(crate) by: String,
    out: mpsc::Sender<Answer>,
}

impl Caller {
    pub(crate) fn new(by: &str, out: mpsc::Sender<Answer>) -> Caller {
        Caller { by: visible(&by.chars().take(WHO_MAX).collect::<String>()), out }
    }

    /// Tells one thing that was asked for. It waits for a slow caller.
    pub(crate) async fn item(&self, item: Item) -> Result<(), No> {
        self.tell(Answer::Item { item: Box::new(item) }).await
    }

    /// Tells that it is going on.
    pub(crate) async fn progress(&self, words: String) -> Result<(), No> {
        self.tell(Answer::Progress { words }).await
    }

    /// The same from a thread that may block.
    pub(crate) fn progress_blocking(&self, words: String) -> Result<(), No> {
        let sent = self.out.blocking_send(Answer::Progress { words });
        sent.map_err(|_| No::failed("nobody listens any more"))
    }

    async fn tell(&self, answer: Answer) -> Result<(), No> {
        self.out.send(answer).await.map_err(|_| No::failed("nobody listens any more"))
    }
}

impl Answers {
    /// Ready to answer.
    pub fn new(parts: Parts) -> Answers {
        let latest = Latest::new(&parts.ledger, &parts.world);
        let started = parts.world.clock.now();
        Answers { parts: Arc::new(parts), latest: Arc::new(latest), started, pulse: Pulse::default() }
    }

    /// What was seen and decided last.
    pub fn latest(&self) -> Arc<Latest> {
        self.latest.clone()
    }

    /// What becomes of the signs of life that are given.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// What waits.
    pub fn queue(&self) -> &QueueView {
        &self.parts.queue
    }

    /// What was settled since the start, by where to and how.
    pub(crate) fn settled(&self) -> Settled {
        self.latest.seen().settled
    }

    /// What each log wrote since the start.
    pub(crate) fn log_counts(&self) -> [(&'static str, LogCounts); 3] {
        let Parts { journal, ledger, mailboxes, .. } = &*self.parts;
        [
            ("journal", journal.written()),
            ("ledger", ledger.log().counts()),
            ("mailbox", mailboxes.log().counts()),
        ]
    }

    /// Answers one call; what it tells on the way goes to the caller.
    pub(crate) async fn answer(&self, call: Call, caller: &Caller) -> Ended {
        match call.request {
            Request::Ping => Ok(String::new()),
            Request::Status => {
                let status = self.status().await?;
                caller.item(Item::Status(status)).await?;
                Ok(String::new())
            }
            Request::Decide(decide) => self.decide(decide, caller).await,
            Request::EventList { limit } => self.event_list(limit, caller).await,
            Request::EventShow { event } => self.event_show(event, caller).await,
            Request::Reconcile { primary, event } => self.reconcile(primary, event, caller).await,
            Request::ReconcileSince { primary, since } => self.reconcile_since(primary, since, caller).await,
            Request::MirrorStatus { account } => self.mirror_status(account, caller).await,
            Request::MirrorAccept { account } => self.mirror_accept(account, caller).await,
            Request::Redeliver { since, primary, account, dry, reason } => {
                self.redeliver(redeliver::Wanted { since, primary, account, dry, reason }, caller).await
            }
            Request::Trace(query) => self.trace(query, caller).await,
            Request::AccountList => self.account_list(caller).await,
            Request::AccountImport { accounts } => self.account_import(accounts, caller).await,
            Request::AccountSuspend { account, suspended } => {
                self.account_suspend(account, suspended, caller).await
            }
            Request::AccountRemove { account } => self.account_remove(account, caller).await,
            Request::AccountPassword { account, password } => {
                self.account_password(account, password, caller).await
            }
            Request::QueueList(query) => self.queue_list(query, caller).await,
            Request::QueueShow { trace } => self.queue_show(trace, caller).await,
            Request::QueueAct(act) => self.queue_act(act, caller).await,
            Request::QuarantineDigest => self.quarantine_digest(caller).await,
            Request::JournalErase { trace, reason } => self.journal_erase(trace, reason, caller).await,
            Request::ContentOpened { deed, trace, which, reason } => {
                self.content_opened(deed, trace, which, &reason, caller).await
            }
            Request::CertificateRenew => self.certificate_renew(caller).await,
            Request::NoticeTest { primary } => self.notice_test(primary, caller).await,
            Request::NoticeAck { event } => self.notice_ack(event, caller).await,
            Request::NoticeMute { primary, until, reason } => {
                self.notice_mute(primary, until, reason, caller).await
            }
        }
    }

    /// The primary that is meant: the named one, or the only one.
    pub(crate) fn primary(&self, named: Option<&PrimaryId>) -> Result<PrimaryId, No> {
        let all = &self.parts.configuration.primaries;
        let names = || all.iter().map(|p| p.id.0.as_str()).collect::<Vec<_>>().join(", ");
        match (named, all.as_slice()) {
            (_, []) => Err(No::not_found("this node stands in front of no primary")),
            (Some(named), all) if all.iter().any(|p| p.id == *named) => Ok(named.clone()),
            (Some(named), _) => {
                Err(No::not_found(format!("there is no primary {:?}; there are: {}", named.0, names())))
            }
            (None, [only]) => Ok(only.id.clone()),
            (None, _) => Err(No::wrong(format!("there are several primaries, so say which: {}", names()))),
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.parts.world.clock.now()
    }
}

/// A reason as it is written down.
pub(crate) fn reason(text: &str) -> Result<String, No> {
    match text.chars().count() {
        0..=REASON_MAX => Ok(visible(text.trim())),
        long => Err(No::wrong(format!("the reason has {long} characters; at most {REASON_MAX} are kept"))),
    }
}

/// Does what blocks on a thread where it may.
pub(crate) async fn off_loop<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, No> + Send + 'static,
) -> Result<T, No> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(fault) => {
            tracing::error!(%fault, "an answer was not finished, by a fault of the program");
            Err(No::failed("the answer was not finished, by a fault of the program; the log says more"))
        }
    }
}
