//! A program with everything that descends from it: it can be killed without warning, whatever it has begun.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The kernel takes killed processes away at once, unless one hangs in the disk.
const DEATH_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A process and its descendants.
///
/// Postfix's master leaves the process group that it was begun in, and what it began is nobody's child once it is dead:
/// so the groups that were seen among the descendants are remembered.
pub(super) struct Tree {
    child: Child,
    groups: BTreeSet<u32>,
}

impl Tree {
    /// Starts a program in a process group of its own (Ctrl-C in the terminal is not for it); what it prints is added
    /// to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(command: &mut Command, log: &Path) -> Result<Tree> {
        let name = || format!("opening {}", log.display());
        let out = fs::OpenOptions::new().create(true).append(true).open(log).with_context(name)?;
        let err = out.try_clone().with_context(name)?;
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("starting {program}"))?;
        let groups = BTreeSet::from([child.id()]);
        Ok(Tree { child, groups })
    }

    /// Whether the first process has ended by itself.
    pub(super) fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Remembers the groups of what was begun so far. To be called once the program answers.
    pub(super) fn settle(&mut self) {
        self.living(&Processes::read());
    }

    /// Everything of it that lives.
    fn living(&mut self, processes: &Processes) -> BTreeSet<u32> {
        // Collects the first process when it has ended; a dead parent hides its children from us otherwise.
        let _ = self.child.try_wait();
        let found = processes.family(self.child.id(), &self.groups);
        self.groups.extend(found.iter().filter_map(|pid| processes.group(*pid)));
        found
    }
}

/// SIGKILL to everything of these trees, at once and until nothing is left.
pub(super) fn kill(trees: &mut [Tree]) {
    let began = Instant::now();
    while signal_all(trees, Signal::KILL) && began.elapsed() < DEATH_MAX {
        std::thread::sleep(LOOK_EVERY);
    }
    for tree in trees {
        let _ = tree.child.try_wait();
    }
}

/// SIGTERM to everything of these trees; whether nothing is left after `patience`.
pub(super) async fn stop(trees: &mut [Tree], patience: Duration) -> bool {
    signal_all(trees, Signal::TERM);
    let began = Instant::now();
    while began.elapsed() < patience {
        let processes = Processes::read();
        if trees.iter_mut().all(|tree| tree.living(&processes).is_empty()) {
            return true;
        }
        tokio::time::sleep(LOOK_EVERY * 4).await;
    }
    false
}

/// Whether there was anybody to signal.
fn signal_all(trees: &mut [Tree], signal: Signal) -> bool {
    let processes = Processes::read();
    let mut any = false;
    for pid in trees.iter_mut().flat_map(|tree| tree.living(&processes)) {
        any = true;
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
    any
}

impl Drop for Tree {
    fn drop(&mut self) {
        kill(std::slice::from_mut(self));
    }
}

/// Every process of the machine at one moment: its parent and its group.
#[derive(Default)]
struct Processes(HashMap<u32, (u32, u32)>);

impl Processes {
    fn read() -> Processes {
        let mut found = HashMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            // One that ends while we look is not there.
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            if let Some(place) = parent_and_group(&stat) {
                found.insert(pid, place);
            }
        }
        Processes(found)
    }

    fn group(&self, pid: u32) -> Option<u32> {
        self.0.get(&pid).map(|(_, group)| *group)
    }

    /// The process `root`, every member of `groups`, and whatever descends from these.
    fn family(&self, root: u32, groups: &BTreeSet<u32>) -> BTreeSet<u32> {
        let mut family: BTreeSet<u32> = self
            .0
            .iter()
            .filter(|(pid, (_, group))| **pid == root || groups.contains(group))
            .map(|(pid, _)| *pid)
            .collect();
        loop {
            let children = self.0.iter().filter(|(_, (parent, _))| family.contains(parent));
            let more: Vec<u32> = children.map(|(pid, _)| *pid).filter(|pid| !family.contains(pid)).collect();
            if more.is_empty() {
                return family;
            }
            family.extend(more);
        }
    }
}

/// Parent and process group out of `/proc/PID/stat`; none for one that is dead and only not fetched yet. The name before
/// them stands in brackets and may hold anything (proc_pid_stat(5)).
fn parent_and_group(stat: &str) -> Option<(u32, u32)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The first thread of a program may be dead while another hangs in the disk, with all its locks.
    let threads = fields.get(THREADS).and_then(|field| field.parse().ok()).unwrap_or(1);
    if matches!(*fields.first()?, "Z" | "X") && threads <= 1 {
        return None;
    }
    Some((fields.get(1)?.parse().ok()?, fields.get(2)?.parse().ok()?))
}

/// Where the number of threads stands, counted from the state.
const THREADS: usize = 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_and_group_are_read_whatever_a_program_calls_itself() {
        assert_eq!(parent_and_group("7 (sh) S 1 7 7 0"), Some((1, 7)));
        assert_eq!(parent_and_group("7 (a) R 9 (b) S 1 8 7 0"), Some((1, 8)));
        assert_eq!(parent_and_group("7 (sh) Z 1 7 7 0"), None);
        let dead = "7 (sh) Z 1 7 7 0 -1 4 0 0 0 0 1 2 0 0 20 0 1 0 99";
        assert_eq!(parent_and_group(dead), None);
        let dying = "7 (sh) Z 1 7 7 0 -1 4 0 0 0 0 1 2 0 0 20 0 3 0 99";
        assert_eq!(parent_and_group(dying), Some((1, 7)), "other threads of it live");
        assert_eq!(parent_and_group("7"), None);
    }

    #[test]
    fn orphans_of_a_known_group_belong_to_the_family_and_strangers_do_not() {
        // 10 began 11, which leads a group of its own; 12 was begun by it and is an orphan now.
        let processes = Processes(HashMap::from([
            (1, (0, 1)),
            (10, (1, 10)),
            (11, (10, 11)),
            (12, (1, 11)),
            (13, (12, 13)),
            (20, (1, 20)),
        ]));
        assert_eq!(processes.family(10, &BTreeSet::from([10])), BTreeSet::from([10, 11]));
        assert_eq!(processes.family(10, &BTreeSet::from([10, 11])), BTreeSet::from([10, 11, 12, 13]));
    }

    #[test]
    fn what_left_its_group_dies_with_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        // The inner shell leads a session of its own and outlives the outer one.
        command.arg("-c").arg("setsid sh -c 'echo $$; sleep 600 & wait' & wait");
        let mut tree = Tree::start(&mut command, &log).unwrap();
        let began = Instant::now();
        let inner = loop {
            if let Ok(pid) = fs::read_to_string(&log).unwrap_or_default().trim().parse::<u32>() {
                break pid;
            }
            assert!(began.elapsed() < Duration::from_secs(10));
            std::thread::sleep(LOOK_EVERY);
        };
        tree.settle();
        let family = tree.living(&Processes::read());
        assert!(family.contains(&inner) && family.len() >= 3, "{family:?}");
        kill(std::slice::from_mut(&mut tree));
        let after = Processes::read();
        assert!(family.iter().all(|pid| after.group(*pid).is_none()), "{family:?}");
    }
}
