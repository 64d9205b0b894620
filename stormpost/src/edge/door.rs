//! The edge's answers to the inside.

use super::attend::attend;
use super::view::{EdgeView, Mark};
use super::words::{EdgeAnswer, EdgeCall, Hello, Statement, TRACES_MAX, Talk};
use roads_accept::Accept;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use stores_directory::Follower;
use stores_journal::{Erased, Journal, LogError};
use tokio::sync::watch;
use tokio::time::sleep;
use words_world::{Listener, Stream};

/// Connections at once: the inside, the one that replaces it, and a few commands.
const CONNECTIONS_MAX: usize = 32;
/// How long a caller may take for its call.
const CALL_TIME: Duration = Duration::from_secs(5);
/// How often it is said how the edge stands when nothing changes, and that something long goes on.
const PULSE: Duration = Duration::from_millis(500);
/// Between two statements: what was stored meanwhile is told at once, and is delivered with one sync where each by itself
/// would have its own, which the next sender would wait for.
const GATHER: Duration = Duration::from_millis(10);

/// What the answers are made from.
#[derive(Clone)]
pub(crate) struct Answering {
    pub(crate) hello: Hello,
    pub(crate) journal: Journal,
    pub(crate) directory: Arc<Follower>,
    pub(crate) accept: Arc<Accept>,
    /// Set by a call to end.
    pub(crate) ending: watch::Sender<bool>,
}

impl Answering {
    /// Answers until `stop` says so.
    pub(crate) async fn serve(self, listener: Box<dyn Listener>, stop: watch::Receiver<bool>) {
        let converse = |stream| {
            let answering = self.clone();
            async move { drop(answering.converse(stream).await) }
        };
        attend(listener, CONNECTIONS_MAX, stop, converse).await;
    }

    async fn converse(self, stream: Box<dyn Stream>) -> io::Result<()> {
        let mut talk = Talk::new(stream);
        match talk.hear(CALL_TIME).await? {
            EdgeCall::Hello => talk.say(&EdgeAnswer::Hello(self.hello)).await,
            EdgeCall::Follow => self.follow(talk).await,
            EdgeCall::Look => {
                let looked = tokio::task::spawn_blocking(move || self.directory.look()).await;
                let answer = match looked {
                    Ok(Ok(())) => EdgeAnswer::Done { records: 0 },
                    Ok(Err(why)) => EdgeAnswer::Failed { words: why.to_string() },
                    Err(fault) => EdgeAnswer::Failed { words: fault.to_string() },
                };
                talk.say(&answer).await
            }
            EdgeCall::Waiting { edge, waiting, at } => {
                if edge == self.hello.pid {
                    self.accept.spool().told(waiting, at);
                }
                talk.say(&EdgeAnswer::Done { records: 0 }).await
            }
            EdgeCall::Erase { traces, .. } | EdgeCall::Collect { traces, .. }
                if traces.len() > TRACES_MAX =>
            {
                talk.say(&EdgeAnswer::Failed { words: "too many messages at once".to_owned() }).await
            }
            EdgeCall::Erase { traces, who, why } => {
                let journal = self.journal;
                rewrite(talk, async move { journal.erase(&traces, &who, &why).await }).await
            }
            EdgeCall::Collect { traces, why } => {
                let journal = self.journal;
                rewrite(talk, async move { journal.collect(&traces, &why).await }).await
            }
            EdgeCall::Stop => {
                self.ending.send_replace(true);
                talk.say(&EdgeAnswer::Done { records: 0 }).await
            }
        }
    }

    /// Says how the edge stands for as long as somebody listens.
    async fn follow(&self, mut talk: Talk) -> io::Result<()> {
        let mut durable = self.journal.durable();
        let mut health = self.journal.watch_health();
        loop {
            // Before what is durable, so that this much is.
            let stored = self.accept.spool().stored();
            let statement = Statement {
                stored,
                durable: *durable.borrow_and_update(),
                health: health.borrow_and_update().clone().into(),
                counts: counts(&self.accept, &self.journal),
            };
            talk.say(&EdgeAnswer::Stands(statement)).await?;
            sleep(GATHER).await;
            tokio::select! {
                biased;
                changed = health.changed() => changed.map_err(io::Error::other)?,
                changed = durable.changed() => changed.map_err(io::Error::other)?,
                () = sleep(PULSE) => {}
            }
        }
    }
}

/// Names of what was written into the journal, among the counts.
pub(crate) const RECORDS: &str = "journal_records";
pub(crate) const BYTES: &str = "journal_bytes";
pub(crate) const SYNCS: &str = "journal_syncs";
/// Names of what waits, among the counts: bytes, whether that is all that may wait, and whom it cost.
pub(crate) const SPOOL: &str = "spool";
pub(crate) const SPOOL_FULL: &str = "spool_full";

/// Where what was done with mail that came in is counted. Cheap to clone.
#[derive(Clone)]
pub enum TakenIn {
    /// In this process.
    Here {
        /// The road in.
        accept: Arc<Accept>,
        /// Where it writes.
        journal: Journal,
    },
    /// In the edge's.
    Edge(EdgeView),
}

impl TakenIn {
    /// The counts, by name.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        match self {
            TakenIn::Here { accept, journal } => counts(accept, journal),
            TakenIn::Edge(edge) => edge.counts(),
        }
    }

    /// What was taken so far, and up to where that is durable; `None` before anything is known.
    pub(crate) fn mark(&self) -> Option<Mark> {
        match self {
            TakenIn::Here { accept, journal } => {
                let stored = accept.spool().stored();
                Some(Mark { taker: std::process::id(), stored, durable: *journal.durable().borrow() })
            }
            TakenIn::Edge(edge) => edge.mark(),
        }
    }

    /// Says that so much waited when that was so.
    pub(crate) async fn tell_waiting(&self, mark: Mark, waiting: u64) -> Result<(), String> {
        match self {
            TakenIn::Here { accept, .. } => {
                accept.spool().told(waiting, mark.stored);
                Ok(())
            }
            TakenIn::Edge(edge) => {
                let call = EdgeCall::Waiting { edge: mark.taker, waiting, at: mark.stored };
                edge.ask(&call).await.map(drop)
            }
        }
    }
}

/// What the road in has done, and the journal with it, by name.
fn counts(accept: &Accept, journal: &Journal) -> BTreeMap<String, u64> {
    let counts = accept.counts();
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let written = journal.log().counts();
    let spool = accept.spool();
    [
        ("connections", read(&counts.connections)),
        ("turned_away", read(&counts.turned_away)),
        ("accepted", read(&counts.accepted)),
        ("repeated", read(&counts.repeated)),
        ("refused", read(&counts.refused)),
        ("deferred", read(&counts.deferred)),
        ("recipients_refused", read(&counts.recipients_refused)),
        ("parked", read(&counts.parked)),
        ("tagged", read(&counts.tagged)),
        ("quarantined", read(&counts.quarantined)),
        ("unscanned", read(&counts.unscanned)),
        ("sign_ins_failed", read(&counts.sign_ins_failed)),
        (RECORDS, written.records),
        (BYTES, written.bytes),
        (SYNCS, written.syncs),
        (SPOOL, spool.waiting()),
        (SPOOL_FULL, u64::from(spool.is_full())),
        ("spool_turned_away", spool.turned_away()),
    ]
    .map(|(name, count)| (name.to_owned(), count))
    .into()
}

/// Writes segments anew on a thread where it may block, and says meanwhile that it goes on. It is finished even when
/// nobody listens any more.
async fn rewrite(
    mut talk: Talk,
    work: impl Future<Output = Result<Erased, LogError>> + Send + 'static,
) -> io::Result<()> {
    let runtime = tokio::runtime::Handle::current();
    let mut done = tokio::task::spawn_blocking(move || runtime.block_on(work));
    let answer = loop {
        tokio::select! {
            biased;
            done = &mut done => break match done {
                Ok(Ok(erased)) => EdgeAnswer::Done { records: erased.records },
                Ok(Err(why)) => EdgeAnswer::Failed { words: why.to_string() },
                Err(fault) => EdgeAnswer::Failed { words: fault.to_string() },
            },
            () = sleep(PULSE) => talk.say(&EdgeAnswer::Wait).await?,
        }
    };
    talk.say(&answer).await
}
