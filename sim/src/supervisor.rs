//! What starts the node, and starts it again: the operating system and an operator.

use crate::dice::Dice;
use crate::judge::Findings;
use crate::node::{Desk, Machine, view_folder};
use crate::power::Crash;
use crate::record::Record;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stores_mailbox::ViewPlace;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How long an operator needs to see that a log has failed.
const SEEN_AFTER: Duration = Duration::from_secs(4);
/// Turns of the runtime in which everything that was aborted must have ended.
const TURNS_MAX: u32 = 10_000;
/// Tells the files of one life from those of another.
static NUMBER: AtomicU64 = AtomicU64::new(0);

struct Inside {
    lives: u64,
    findings: Findings,
    view: Option<PathBuf>,
    /// A view as it was at an earlier crash.
    old: Option<PathBuf>,
    files: Vec<PathBuf>,
}

/// Keeps the node running. Clones are the same.
#[derive(Clone)]
pub struct Supervisor {
    machine: Machine,
    desk: watch::Sender<Option<Desk>>,
    dice: Dice,
    record: Record,
    view_in_file: bool,
    stop: Arc<Notify>,
    ending: watch::Sender<bool>,
    ended: watch::Sender<bool>,
    inside: Arc<Mutex<Inside>>,
}

/// How one life of the node ended.
enum Ended {
    Crash(Crash),
    Itself(String),
    Politely,
}

impl Supervisor {
    /// One that has not begun.
    pub fn new(
        machine: Machine,
        desk: watch::Sender<Option<Desk>>,
        dice: Dice,
        record: Record,
        view_in_file: bool,
    ) -> Supervisor {
        let inside = Inside { lives: 0, findings: Findings::new(), view: None, old: None, files: Vec::new() };
        Supervisor {
            machine,
            desk,
            dice,
            record,
            view_in_file,
            stop: Arc::default(),
            ending: watch::Sender::new(false),
            ended: watch::Sender::new(false),
            inside: Arc::new(Mutex::new(inside)),
        }
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// How often the node was started.
    pub fn lives(&self) -> u64 {
        self.inside().lives
    }

    /// What was found wrong with how the node ended.
    pub fn findings(&self) -> Findings {
        self.inside().findings.clone()
    }

    /// The node is asked to end, and is started again.
    pub fn ask_to_stop(&self) {
        self.stop.notify_one();
    }

    /// The node is asked to end, for good.
    pub async fn end(&self) {
        self.ending.send_replace(true);
        self.stop.notify_one();
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    /// Runs the node until its end.
    pub async fn run(self) {
        while !*self.ending.borrow() {
            let life = {
                let mut inside = self.inside();
                inside.lives += 1;
                inside.lives
            };
            let token = Arc::new(());
            self.record.note("node", format_args!("starts, life {life}"));
            let mut node = JoinSet::new();
            let view = self.view();
            let stop = watch::Sender::new(false);
            let machine = self.machine.clone();
            node.spawn(machine.run(token.clone(), view, life, stop.subscribe(), self.desk.clone()));
            let ended = self.until_it_ends(&mut node, &stop).await;
            self.desk.send_replace(None);
            self.keep_view();
            node.abort_all();
            while node.join_next().await.is_some() {}
            self.wait_for_silence(&token).await;
            self.clear_up(ended).await;
        }
        self.ended.send_replace(true);
    }

    async fn until_it_ends(
        &self,
        node: &mut JoinSet<Result<(), String>>,
        stop: &watch::Sender<bool>,
    ) -> Ended {
        tokio::select! {
            biased;
            crash = self.machine.power.struck() => return Ended::Crash(crash),
            result = node.join_next() => return Ended::Itself(words(result)),
            () = self.failed() => {
                self.machine.power.strike(Crash::Kill, "a log has failed: the operator starts the node again");
                return Ended::Crash(Crash::Kill);
            }
            () = self.stop.notified() => {}
        }
        self.record.note("node", format_args!("is asked to stop"));
        stop.send_replace(true);
        tokio::select! {
            biased;
            crash = self.machine.power.struck() => Ended::Crash(crash),
            result = node.join_next() => match result {
                Some(Ok(Ok(()))) => Ended::Politely,
                other => Ended::Itself(words(other)),
            },
            () = self.failed() => {
                self.machine.power.strike(Crash::Kill, "a log has failed at the end");
                Ended::Crash(Crash::Kill)
            }
        }
    }

    /// Returns when somebody has seen that a log takes nothing any more.
    async fn failed(&self) {
        loop {
            sleep(Duration::from_secs(1)).await;
            if self.desk.borrow().as_ref().is_some_and(Desk::has_failed) {
                return sleep(SEEN_AFTER).await;
            }
        }
    }

    /// Waits until nothing of the node is left: tasks of tasks end a few turns later.
    async fn wait_for_silence(&self, token: &Arc<()>) {
        for _ in 0..TURNS_MAX {
            if Arc::strong_count(token) == 1 {
                return;
            }
            tokio::task::yield_now().await;
        }
        let left = Arc::strong_count(token) - 1;
        self.inside().findings.push(format!("{left} parts of the node outlived it: something runs detached"));
    }

    async fn clear_up(&self, ended: Ended) {
        let power = &self.machine.power;
        match ended {
            Ended::Crash(crash) => {
                power.dead(crash);
                sleep(Duration::from_millis(self.dice.range(100, 8_000))).await;
                power.on();
            }
            Ended::Politely => {
                self.record.note("node", format_args!("has stopped"));
                power.dead(Crash::Kill);
                sleep(Duration::from_millis(self.dice.range(100, 3_000))).await;
            }
            Ended::Itself(why) => {
                self.record.note("node", format_args!("ended by itself: {why}"));
                if why.contains("a road") || why.contains("by itself") || why.contains("panic") {
                    self.inside().findings.push(format!("the node ended by itself: {why}"));
                }
                power.dead(Crash::Kill);
                sleep(Duration::from_secs(2)).await;
            }
        }
    }

    /// Where the view of the next life is.
    fn view(&self) -> ViewPlace {
        if !self.view_in_file {
            return ViewPlace::Memory;
        }
        let path = self.new_path();
        let mut inside = self.inside();
        let from = match self.dice.range(0, 5) {
            0 => None,
            1 => inside.old.clone(),
            _ => inside.view.clone(),
        };
        if let Some(from) = from {
            self.record.note("node", format_args!("keeps a view"));
            copy(&from, &path);
        }
        inside.old = inside.view.take();
        inside.view = Some(path.clone());
        ViewPlace::File(path)
    }

    /// The view as it is at this very moment: what the file system has when the process dies.
    fn keep_view(&self) {
        let present = self.inside().view.clone();
        if let Some(present) = present {
            let kept = self.new_path();
            copy(&present, &kept);
            self.inside().view = Some(kept);
        }
    }

    fn new_path(&self) -> PathBuf {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = view_folder().join(format!("stormpost-sim-{}-{number}.sqlite", std::process::id()));
        self.inside().files.push(path.clone());
        path
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        for path in &self.files {
            for end in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(with_end(path, end));
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    for end in ["", "-wal"] {
        let _ = std::fs::copy(with_end(from, end), with_end(to, end));
    }
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    PathBuf::from(format!("{}{end}", path.display()))
}

fn words(result: Option<Result<Result<(), String>, tokio::task::JoinError>>) -> String {
    match result {
        Some(Ok(Ok(()))) => "it ended by itself".to_owned(),
        Some(Ok(Err(why))) => why,
        Some(Err(error)) if error.is_panic() => "a panic in its start".to_owned(),
        Some(Err(_)) | None => "it was cut off".to_owned(),
    }
}
