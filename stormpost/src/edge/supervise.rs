//! Keeping an edge running: one that runs already is adopted, one that died is started anew, one of another make is
//! replaced, one that hangs is ended.

use super::lock::Lock;
use super::run::{DOORS, HAND_OVER_MAX, KEPT};
use super::view::{ANSWER_MAX, EdgeView, Standing};
use super::words::{EdgeAnswer, EdgeCall, Hello, Make};
use crate::compose::doors;
use crate::configuration::Configuration;
use crate::sockets::{self, Kept};
use crate::systemd;
use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use stores_log::Reader;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use words_world::World;

/// The edge says twice a second how it stands; silent for so long it is asked once more, …
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// … and killed when it does not answer then either. One that still opens its journal may take so long, too.
const HUNG_AFTER: Duration = Duration::from_secs(15);
/// How often a process that is starting or ending is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long the first start waits after a death, doubled with each one that follows soon, …
const REST_FIRST: Duration = Duration::from_millis(100);
/// … up to this. An edge that cannot start must not keep the machine busy.
const REST_MAX: Duration = Duration::from_secs(10);
/// An edge that lived so long did not die of its start.
const LIVED: Duration = Duration::from_secs(10);
/// An edge that somebody else keeps is given so long to come back before one of our own is started.
const OTHERS_RETURN: Duration = Duration::from_secs(5);

/// An edge and what keeps it running.
pub struct Supervisor {
    view: EdgeView,
    stop: watch::Sender<End>,
    keeping: JoinSet<()>,
}

/// What becomes of the edge when its keeper ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    NotYet,
    /// It is stopped, unless somebody else keeps it.
    Stopped,
    /// It is stopped if this process started it.
    StoppedIfOurs,
}

impl Supervisor {
    /// Begins. `journal` reads the journal's directory; every edge gets the listening sockets that `kept` keeps.
    pub fn begin(configuration: &Configuration, view: EdgeView, journal: Reader, kept: Kept) -> Supervisor {
        let stop = watch::Sender::new(End::NotYet);
        doors::places(configuration).for_each(|(_, at)| kept.want(at));
        let keeper = Keeper {
            view: view.clone(),
            ours: Make::ours(&configuration.path),
            configuration: configuration.path.clone(),
            lock: configuration.edge_lock(),
            journal,
            kept,
            places: doors::places(configuration).map(|(_, at)| at).collect(),
            doors: configuration.edge_doors_socket(),
            child: None,
            hello: None,
            deaths: 0,
            silent_since: None,
        };
        let mut keeping = JoinSet::new();
        keeping.spawn(keeper.run(stop.subscribe()));
        Supervisor { view, stop, keeping }
    }

    /// Waits for a reason to give up: the edge could not be started even once (what it said itself stands in the
    /// log), or there is a fault in its keeper. Later deaths of the edge are none.
    pub async fn given_up(&mut self) -> anyhow::Error {
        let mut standing = self.view.watch_standing();
        let first = async {
            let is_known =
                |standing: &Standing| matches!(standing, Standing::Up { .. } | Standing::Failed(_));
            let known = standing.wait_for(is_known).await.map(|standing| standing.clone());
            match known {
                Ok(Standing::Failed(why)) => anyhow!(why),
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            why = first => why,
            _ = self.keeping.join_next() => anyhow!("the edge's keeper ended by itself"),
        }
    }

    /// The edge, for those who live inside.
    pub fn view(&self) -> EdgeView {
        self.view.clone()
    }

    /// Stops the edge and waits until it has finished what is open.
    pub async fn stop(self) {
        self.end(End::Stopped).await;
    }

    /// Stops the edge if this process started it: a start that failed leaves nothing behind.
    pub async fn stop_if_ours(self) {
        self.end(End::StoppedIfOurs).await;
    }

    /// Leaves the edge as it is, for the next inside to adopt.
    pub fn leave(self) {}

    async fn end(mut self, end: End) {
        self.stop.send_replace(end);
        while self.keeping.join_next().await.is_some() {}
    }
}

/// What there is when one looks.
enum Found {
    /// An edge of our make.
    Ours(Hello),
    /// An edge of another make.
    Other(Hello),
    /// Somebody writes the journal and does not answer.
    Silent(u32),
    /// Nobody writes the journal.
    Nobody,
}

struct Keeper {
    view: EdgeView,
    ours: Make,
    configuration: PathBuf,
    lock: PathBuf,
    journal: Reader,
    kept: Kept,
    /// Where the doors for mail are.
    places: Vec<SocketAddr>,
    /// Where an edge hands out its listening sockets.
    doors: PathBuf,
    /// The edge that this process started last.
    child: Option<Child>,
    /// The edge that was last there.
    hello: Option<Hello>,
    /// Edges that died soon after their start, one after the other.
    deaths: u32,
    silent_since: Option<Instant>,
}

impl Keeper {
    async fn run(mut self, mut stop: watch::Receiver<End>) {
        let end = loop {
            tokio::select! {
                biased;
                end = stop.wait_for(|end| *end != End::NotYet) => match end {
                    Ok(end) => break *end,
                    // Left without a word: the edge stays.
                    Err(_) => return,
                },
                () = self.turn() => {}
            }
        };
        let ours = self.child.is_some();
        let others = self.hello.as_ref().is_some_and(|hello| !hello.kept);
        if ours || (end == End::Stopped && !others) {
            self.end().await;
        }
    }

    /// One life of an edge, or one step towards it.
    async fn turn(&mut self) {
        let found = self.find().await;
        if !matches!(found, Found::Silent(_)) {
            self.silent_since = None;
        }
        if let Found::Ours(hello) | Found::Other(hello) = &found {
            self.fetch_doors(hello.pid).await;
        }
        match found {
            Found::Ours(hello) => self.follow(hello).await,
            Found::Other(hello) => {
                tracing::info!(
                    pid = hello.pid,
                    version = hello.make.version,
                    "the edge was started from another program or configuration; it hands over"
                );
                if self.view.ask(&EdgeCall::Stop).await.is_err() {
                    kill(hello.pid, Signal::TERM);
                }
                // Not waited for: the new one takes the doors as soon as they are free.
                self.start().await;
            }
            Found::Silent(pid) => self.wait_for(pid).await,
            Found::Nobody => {
                if self.hello.take().is_some_and(|hello| !hello.kept) {
                    sleep(OTHERS_RETURN).await;
                    return;
                }
                self.start().await;
            }
        }
    }

    async fn find(&mut self) -> Found {
        if self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None))) {
            self.child = None;
        }
        match self.greet().await {
            Ok(hello) => {
                let child = self.child.as_ref().and_then(Child::id);
                // One that we started ourselves is never replaced, or two that differ could replace each other for ever.
                match hello.make == self.ours || child == Some(hello.pid) {
                    true => Found::Ours(hello),
                    false => Found::Other(hello),
                }
            }
            Err(_) => match Lock::holder(&self.lock) {
                Some(pid) => Found::Silent(pid),
                None => Found::Nobody,
            },
        }
    }

    async fn greet(&self) -> io::Result<Hello> {
        let mut talk = self.view.open().await?;
        talk.say(&EdgeCall::Hello).await?;
        match talk.hear(ANSWER_MAX).await? {
            EdgeAnswer::Hello(hello) => Ok(hello),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Hears how the edge stands until it is silent.
    async fn follow(&mut self, hello: Hello) {
        let adopted = self.child.as_ref().and_then(Child::id) != Some(hello.pid);
        if adopted && self.hello.as_ref() != Some(&hello) {
            tracing::info!(pid = hello.pid, "an edge runs already and is kept");
        }
        let began = Instant::now();
        let pid = hello.pid;
        self.hello = Some(hello.clone());
        let lost = self.hear(&hello).await;
        if began.elapsed() >= LIVED {
            self.deaths = 0;
        }
        // A connection that broke is not an edge that died: it is looked for again.
        let gone = async {
            while Lock::holder(&self.lock) == Some(pid) {
                sleep(LOOK_EVERY).await;
            }
        };
        if timeout(LOOK_EVERY * 2, gone).await.is_ok() {
            tracing::warn!(pid, "the edge died: {lost}");
            self.view.stands(Standing::Away(format!("the edge died ({lost}) and is started again")));
        }
    }

    async fn hear(&mut self, hello: &Hello) -> io::Error {
        let mut talk = match self.view.open().await {
            Ok(talk) => talk,
            Err(why) => return why,
        };
        if let Err(why) = talk.say(&EdgeCall::Follow).await {
            return why;
        }
        loop {
            match talk.hear(SILENCE_MAX).await {
                Ok(EdgeAnswer::Stands(statement)) => {
                    self.view.stated(hello.pid, statement);
                    self.view.is_up(hello);
                }
                Ok(_) => return io::ErrorKind::InvalidData.into(),
                Err(why) => return why,
            }
        }
    }

    /// Somebody writes the journal and does not answer: it starts, or ends, or hangs.
    async fn wait_for(&mut self, pid: u32) {
        let since = *self.silent_since.get_or_insert_with(Instant::now);
        if since.elapsed() > ANSWER_MAX {
            self.view.stands(Standing::Away(format!("the edge (process {pid}) does not answer")));
        }
        if since.elapsed() > HUNG_AFTER && pid != 0 {
            tracing::error!(pid, "the edge hangs; it is killed and started anew");
            kill(pid, Signal::KILL);
            self.silent_since = None;
        }
        sleep(LOOK_EVERY).await;
    }

    /// Starts an edge and waits until it answers or has died.
    async fn start(&mut self) {
        if self.deaths > 0 {
            // It may be a while: what is in the journal already must not wait for that.
            self.read_tail().await;
            sleep(REST_FIRST.saturating_mul(1 << (self.deaths - 1).min(16)).min(REST_MAX)).await;
        }
        self.deaths = self.deaths.saturating_add(1);
        match self.spawn() {
            Ok(child) => self.child = Some(child),
            Err(why) => {
                tracing::error!("the edge could not be started: {why:#}");
                self.view.stands(Standing::Failed(format!("the edge could not be started: {why:#}")));
                return;
            }
        }
        let until = Instant::now() + HAND_OVER_MAX + HUNG_AFTER;
        while Instant::now() < until {
            let Some(child) = self.child.as_mut() else { return };
            let pid = child.id();
            if let Ok(Some(status)) = child.try_wait() {
                let words = format!("the edge ended at its start ({status}); its own words stand in the log");
                tracing::error!("{words}");
                self.view.stands(Standing::Failed(words));
                self.child = None;
                return;
            }
            if self.greet().await.is_ok_and(|hello| Some(hello.pid) == pid) {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
        tracing::error!("the edge does not come up; it is killed and started anew");
        if let Some(mut child) = self.child.take() {
            let _ = child.kill().await;
        }
    }

    /// Gets the listening sockets from an edge that somebody else started, before it ends or dies: then no
    /// connection is refused until the next one stands in its doors.
    async fn fetch_doors(&self, edge: u32) {
        if self.places.iter().all(|at| at.port() == 0 || self.kept.has(*at)) {
            return;
        }
        let (path, kept) = (self.doors.clone(), self.kept.clone());
        let asked =
            tokio::task::spawn_blocking(move || sockets::ask(&path, &kept).map(|asked| asked.is_some()));
        if !matches!(asked.await, Ok(Ok(true))) {
            tracing::warn!(
                edge,
                "the edge did not hand out its listening sockets; they are opened anew after its end"
            );
        }
    }

    /// The listening sockets for the next edge. What cannot be opened here is opened by the edge itself, which has more
    /// patience, and words for it.
    fn doors(&self) -> Result<UnixStream> {
        for at in self.places.iter().filter(|at| at.port() != 0) {
            if let Err(why) = self.kept.listener(*at) {
                tracing::debug!(%at, %why, "left to the edge to open");
            }
        }
        let all = self.kept.all().into_iter().filter(|(at, _)| self.places.contains(at));
        let sockets: Vec<OwnedFd> = all.map(|(_, socket)| socket).collect();
        let (here, there) = UnixStream::pair()?;
        sockets::send(&here, &sockets, false)?;
        Ok(there)
    }

    fn spawn(&self) -> Result<Child> {
        // The program may have been replaced by a newer one since; the edge is of the same make as the inside.
        let program = match std::env::current_exe() {
            Ok(path) if path.exists() => path,
            _ => PathBuf::from("/proc/self/exe"),
        };
        let mut command = Command::new(program);
        command.arg("edge").arg("--config").arg(&self.configuration).env(KEPT, "1");
        let doors = self.doors().context("handing the listening sockets to the edge")?;
        command.env(DOORS, "1").stdin(Stdio::from(OwnedFd::from(doors)));
        // The service manager speaks to this process.
        for name in systemd::ENVIRONMENT {
            command.env_remove(name);
        }
        // In a group of its own: what kills the inside, or a Ctrl-C in its terminal, is not for the edge.
        command.process_group(0).kill_on_drop(false);
        command.spawn().context("starting the edge's process")
    }

    /// Finds out how far the journal is durable without an edge that says so.
    async fn read_tail(&self) {
        // Nobody may begin to write while the tail is read: what is being written may still be refused.
        let Ok(Some(lock)) = Lock::try_take(&self.lock) else { return };
        let journal = self.journal.clone();
        let read = tokio::task::spawn_blocking(move || {
            let end = journal.durable_tail();
            drop(lock);
            end
        });
        match read.await {
            Ok(Ok(end)) => self.view.is_durable(end),
            Ok(Err(why)) => tracing::warn!(%why, "the end of the journal could not be read"),
            Err(fault) => tracing::error!(%fault, "reading the end of the journal failed"),
        }
    }

    /// Stops the edge, patiently first.
    async fn end(&mut self) {
        // One that we started and that has not come far enough to be asked.
        if let Some(pid) = self.child.as_ref().and_then(Child::id)
            && Lock::holder(&self.lock) != Some(pid)
        {
            kill(pid, Signal::TERM);
        }
        if let Err(why) = end_edge(&self.view, &self.lock).await {
            tracing::error!("{why:#}");
        }
        if let Some(mut child) = self.child.take()
            && timeout(HAND_OVER_MAX, child.wait()).await.is_err()
        {
            let _ = child.kill().await;
        }
    }
}

/// Asks whatever edge writes the journal to end, and waits; kills it in the end.
async fn end_edge(view: &EdgeView, lock: &Path) -> Result<()> {
    let Some(pid) = Lock::holder(lock) else { return Ok(()) };
    if view.ask(&EdgeCall::Stop).await.is_err() {
        kill(pid, Signal::TERM);
    }
    let gone = async {
        while Lock::holder(lock) == Some(pid) {
            sleep(LOOK_EVERY).await;
        }
    };
    if timeout(HAND_OVER_MAX, gone).await.is_err() {
        tracing::warn!(pid, "the edge did not end in time and is killed");
        kill(pid, Signal::KILL);
    }
    match Lock::take(lock, ANSWER_MAX).await.context("waiting for the edge to end")? {
        Some(_) => Ok(()),
        None => bail!("the edge (process {pid}) does not end"),
    }
}

/// Ends an edge that runs in the data folder, because its work is done inside from now on.
///
/// # Errors
/// When it does not end.
pub(crate) async fn end_running(world: &World, configuration: &Configuration) -> Result<()> {
    end_edge(&EdgeView::new(world, configuration.edge_socket()), &configuration.edge_lock()).await
}

fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}
