//! A server with all its children, which can be killed without warning and started again.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A process and everything that descends from it.
pub struct Tree {
    child: Child,
    name: String,
    pid_file: Option<PathBuf>,
}

impl Tree {
    /// Starts `command` in a process group of its own, its output appended to `log`. `pid_file` is where a server
    /// that leaves the group (Postfix's master does) writes its process id.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn start(name: &str, mut command: Command, log: &Path, pid_file: Option<PathBuf>) -> Tree {
        let out = File::options().create(true).append(true).open(log).expect("the lab's log can be opened");
        let err = out.try_clone().expect("the lab's log can be opened twice");
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start {name}: {e}"));
        if let Some(list) = std::env::var_os("STORIES_PIDS") {
            // The test script ends what an interrupted story left behind.
            use std::io::Write;
            if let Ok(mut file) = File::options().create(true).append(true).open(list) {
                let _ = writeln!(file, "{} {}", child.id(), start_ticks(child.id()).unwrap_or(0));
            }
        }
        Tree { child, name: name.to_owned(), pid_file }
    }

    /// The process id of the root of the tree.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory of the whole tree in bytes.
    pub fn resident(&self) -> u64 {
        self.members().into_iter().filter_map(resident).sum()
    }

    /// Whether the root has ended by itself.
    pub fn ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// SIGKILL to every process of the tree, and waits until the kernel has taken them all away.
    ///
    /// # Panics
    /// When something of the tree still lives after ten seconds.
    pub fn kill(&mut self) {
        let begun = Instant::now();
        loop {
            let alive = self.members();
            for pid in &alive {
                signal(*pid, Signal::KILL);
            }
            let _ = self.child.try_wait();
            if alive.is_empty() {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{} would not die: {alive:?}", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.wait();
        // Its number may belong to a stranger tomorrow.
        if let Some(file) = &self.pid_file {
            let _ = fs::remove_file(file);
        }
    }

    /// SIGKILL to the root alone; what it began lives on as nobody's child and is no part of the tree any more.
    pub fn behead(&mut self) {
        signal(self.child.id(), Signal::KILL);
        let _ = self.child.wait();
    }

    /// SIGTERM to the root, then up to `limit` for it to end; says whether it did.
    pub fn stop(&mut self, limit: Duration) -> bool {
        signal(self.child.id(), Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < limit {
            if self.ended() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// SIGSTOP to every process of the tree: it stays there and answers nothing.
    pub fn freeze(&self) {
        self.members().into_iter().for_each(|pid| signal(pid, Signal::STOP));
    }

    /// Lets a frozen tree go on.
    pub fn thaw(&self) {
        self.members().into_iter().for_each(|pid| signal(pid, Signal::CONT));
    }

    fn members(&self) -> Vec<u32> {
        let mut roots = vec![self.child.id()];
        if let Some(pid) = self.pid_file.as_ref().and_then(|file| fs::read_to_string(file).ok()) {
            roots.extend(pid.trim().parse::<u32>());
        }
        living(&roots)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to a process, if it is there.
pub fn signal(pid: u32, what: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, what);
    }
}

/// Everything alive that descends from one of `roots` or shares its process group.
fn living(roots: &[u32]) -> Vec<u32> {
    let mut parent = HashMap::new();
    let mut found: HashSet<u32> = HashSet::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Some(stat) = fields(pid) else { continue };
        if stat[0] == "Z" {
            continue;
        }
        let number = |i: usize| stat[i].parse::<u32>().unwrap_or(0);
        parent.insert(pid, number(1));
        if roots.contains(&pid) || roots.contains(&number(2)) {
            found.insert(pid);
        }
    }
    loop {
        let more: Vec<u32> = parent
            .iter()
            .filter(|(pid, up)| found.contains(up) && !found.contains(pid))
            .map(|(p, _)| *p)
            .collect();
        if more.is_empty() {
            return found.into_iter().collect();
        }
        found.extend(more);
    }
}

/// The fields of `/proc/PID/stat` from the state on: state, parent, process group, …
fn fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = stat.rsplit_once(") ")?.1;
    Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
}

fn start_ticks(pid: u32) -> Option<u64> {
    fields(pid)?.get(19)?.parse().ok()
}

/// Resident memory of one process in bytes.
pub fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}
