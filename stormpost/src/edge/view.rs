//! The edge as the inside sees it.

use super::door::{BYTES, RECORDS, SYNCS};
use super::words::{EdgeAnswer, EdgeCall, Hello, Statement, TRACES_MAX, Talk};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stores_directory::Snapshot;
use stores_log::{LogCounts, LogHealth, Position};
use tokio::sync::watch;
use words_mail::{Time, TraceId};
use words_world::World;

/// How long the edge may take to answer at all, and be silent in the middle of something long.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How the edge stands, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was heard yet.
    Starting,
    /// It takes mail.
    Up {
        /// Its process.
        pid: u32,
        /// Since when.
        since: Time,
        /// Its version.
        version: String,
    },
    /// It does not answer, for this reason.
    Away(String),
    /// It could not be started, for this reason; it is tried again.
    Failed(String),
}

/// How much an edge had taken at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its process.
    pub taker: u32,
    /// Bytes of messages made durable since its start.
    pub stored: u64,
    /// The end of what was durable in the journal then; all of that stands before it.
    pub durable: Position,
}

/// The edge, for those who live inside. Cheap to clone.
#[derive(Clone)]
pub struct EdgeView {
    shared: Arc<Shared>,
}

struct Shared {
    world: World,
    socket: PathBuf,
    durable: watch::Sender<Position>,
    health: watch::Sender<LogHealth>,
    standing: watch::Sender<Standing>,
    counts: watch::Sender<BTreeMap<String, u64>>,
    mark: watch::Sender<Option<Mark>>,
    /// Whether anything was said about what is durable.
    known: watch::Sender<bool>,
}

impl EdgeView {
    pub(crate) fn new(world: &World, socket: PathBuf) -> EdgeView {
        let shared = Shared {
            world: world.clone(),
            socket,
            durable: watch::Sender::new(Position::default()),
            health: watch::Sender::new(LogHealth::Open),
            standing: watch::Sender::new(Standing::Starting),
            counts: watch::Sender::new(BTreeMap::new()),
            mark: watch::Sender::new(None),
            known: watch::Sender::new(false),
        };
        EdgeView { shared: Arc::new(shared) }
    }

    /// The end of what is known to be durable in the journal; it never goes back.
    pub fn durable(&self) -> watch::Receiver<Position> {
        self.shared.durable.subscribe()
    }

    /// How the journal is, as it was last said.
    pub fn health(&self) -> LogHealth {
        self.shared.health.borrow().clone()
    }

    /// What the edge has done since its start, as it last said.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.shared.counts.borrow().clone()
    }

    /// What the edge has written into the journal since its start.
    pub fn written(&self) -> LogCounts {
        let counts = self.shared.counts.borrow();
        let read = |name: &str| counts.get(name).copied().unwrap_or_default();
        LogCounts { records: read(RECORDS), bytes: read(BYTES), syncs: read(SYNCS) }
    }

    /// How the edge stands now.
    pub fn standing(&self) -> Standing {
        self.shared.standing.borrow().clone()
    }

    pub(crate) fn watch_standing(&self) -> watch::Receiver<Standing> {
        self.shared.standing.subscribe()
    }

    pub(crate) fn is_durable(&self, end: Position) {
        self.shared.durable.send_if_modified(|durable| {
            let further = end > *durable;
            *durable = end.max(*durable);
            further
        });
        self.shared.known.send_replace(true);
    }

    /// Waits until it is known how far the journal is durable. Nobody may take the journal for read before that: what
    /// was delivered in a former life and is not seen yet would be taken for new.
    pub(crate) async fn known(&self) {
        // The sender lives as long as this does.
        let _ = self.shared.known.subscribe().wait_for(|known| *known).await;
    }

    /// How much the edge had taken when it last said so.
    pub(crate) fn mark(&self) -> Option<Mark> {
        *self.shared.mark.borrow()
    }

    pub(crate) fn stated(&self, edge: u32, statement: Statement) {
        self.is_durable(statement.durable);
        let (stored, durable) = (statement.stored, statement.durable);
        self.shared.mark.send_replace(Some(Mark { taker: edge, stored, durable }));
        self.shared.counts.send_replace(statement.counts);
        let health = LogHealth::from(statement.health);
        self.shared.health.send_if_modified(|known| {
            let changed = *known != health;
            *known = health;
            changed
        });
    }

    pub(crate) fn is_up(&self, hello: &Hello) {
        let (pid, since, version) = (hello.pid, hello.started, hello.make.version.clone());
        self.stands(Standing::Up { pid, since, version });
    }

    pub(crate) fn stands(&self, standing: Standing) {
        self.shared.standing.send_if_modified(|known| {
            let changed = *known != standing;
            *known = standing;
            changed
        });
    }

    pub(crate) async fn open(&self) -> io::Result<Talk> {
        Talk::open(self.shared.world.net.as_ref(), &self.shared.socket, ANSWER_MAX).await
    }

    /// Asks one thing that is done or not.
    pub(crate) async fn ask(&self, call: &EdgeCall) -> Result<u64, String> {
        let away = |why: io::Error| format!("the edge does not answer ({why}); see: stormpost status");
        let mut talk = self.open().await.map_err(away)?;
        talk.say(call).await.map_err(away)?;
        loop {
            match talk.hear(ANSWER_MAX).await.map_err(away)? {
                EdgeAnswer::Wait => {}
                EdgeAnswer::Done { records } => return Ok(records),
                EdgeAnswer::Failed { words } => return Err(words),
                EdgeAnswer::Hello(_) | EdgeAnswer::Stands(_) => {
                    return Err("the edge answered something else".to_owned());
                }
            }
        }
    }

    /// Removes messages from the journal for good; how many records there were.
    ///
    /// # Errors
    /// Why it was not done, or that the edge does not answer.
    pub async fn erase(&self, traces: &[TraceId], who: &str, why: &str) -> Result<u64, String> {
        let (who, why) = (who.to_owned(), why.to_owned());
        let mut records = 0;
        for traces in traces.chunks(TRACES_MAX) {
            let call = EdgeCall::Erase { traces: traces.to_vec(), who: who.clone(), why: why.clone() };
            records += self.ask(&call).await?;
        }
        Ok(records)
    }

    /// Lets go of the bodies of messages in the journal; of how many records.
    ///
    /// # Errors
    /// Why it was not done, or that the edge does not answer.
    pub async fn collect(&self, traces: &[TraceId], why: &str) -> Result<u64, String> {
        let mut records = 0;
        for traces in traces.chunks(TRACES_MAX) {
            let call = EdgeCall::Collect { traces: traces.to_vec(), why: why.to_owned() };
            records += self.ask(&call).await?;
        }
        Ok(records)
    }

    /// Tells the edge whenever the directory changes, so that a new address is taken at once. A hint: the edge looks
    /// by itself every two seconds.
    pub(crate) async fn tell_of(
        self,
        mut directory: watch::Receiver<Arc<Snapshot>>,
        mut stop: watch::Receiver<bool>,
    ) {
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                changed = directory.changed() => if changed.is_err() { return },
            }
            if let Err(why) = self.ask(&EdgeCall::Look).await {
                tracing::debug!(why, "the edge was not told that the directory changed");
            }
        }
    }
}

/// Has messages erased by an edge that runs without an inside. Blocks.
///
/// # Errors
/// Why it was not done, or that the edge does not answer.
pub fn erase_now(socket: &Path, traces: &[TraceId], who: &str, why: &str) -> Result<u64, String> {
    let call = EdgeCall::Erase { traces: traces.to_vec(), who: who.to_owned(), why: why.to_owned() };
    let away = |error: io::Error| format!("the edge that writes the journal does not answer: {error}");
    let answer = (|| {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        let mut line = serde_json::to_vec(&call)?;
        line.push(b'\n');
        (&stream).write_all(&line)?;
        for line in BufReader::new(&stream).lines() {
            match serde_json::from_str(&line?)? {
                EdgeAnswer::Wait => {}
                answer => return Ok(answer),
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    })();
    match answer.map_err(away)? {
        EdgeAnswer::Done { records } => Ok(records),
        EdgeAnswer::Failed { words } => Err(words),
        _ => Err("the edge answered something else".to_owned()),
    }
}
