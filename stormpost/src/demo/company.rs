//! The processes of the demonstration: real Stormposts of this same binary, killed without mercy.

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::HashSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a process may take until it answers at its port.
const START_MAX: Duration = Duration::from_secs(20);

/// Free ports on the loopback, each given out once. They stand below the range from which the kernel takes ports for
/// outgoing connections, so that a restarted server finds its port free again.
#[derive(Default)]
pub struct Ports {
    given: HashSet<u16>,
}

impl Ports {
    /// The next free port.
    ///
    /// # Errors
    /// When none of a thousand tries is free.
    pub fn free(&mut self) -> Result<SocketAddr> {
        for _ in 0..1_000 {
            let mut random = [0u8; 2];
            words_world::Random::fill(&crate::world::SystemRandom, &mut random);
            let port = 20_000 + u16::from_le_bytes(random) % 12_000;
            let at = SocketAddr::from(([127, 0, 0, 1], port));
            if !self.given.contains(&port) && TcpListener::bind(at).is_ok() {
                self.given.insert(port);
                return Ok(at);
            }
        }
        bail!("no free port between 20000 and 32000 on 127.0.0.1");
    }
}

/// One server of the demonstration, in its own directory, with the processes it began as one group.
pub struct Server {
    /// What it is called in the story.
    pub name: String,
    /// Its configuration file.
    pub configuration: PathBuf,
    answers_at: SocketAddr,
    child: Option<Child>,
    log: PathBuf,
}

impl Server {
    /// A server that is not started yet; it is up once `answers_at` takes connections.
    pub fn new(name: &str, dir: &Path, configuration: PathBuf, answers_at: SocketAddr) -> Server {
        let log = dir.join("log.txt");
        Server { name: name.to_owned(), configuration, answers_at, child: None, log }
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When it ends or does not answer in 20 s; the text quotes the end of its log.
    pub async fn start(&mut self) -> Result<()> {
        let program = std::env::current_exe().context("finding this program")?;
        let log =
            fs::OpenOptions::new().create(true).append(true).open(&self.log).context("opening the log")?;
        let child = Command::new(program)
            .arg("serve")
            .arg("--config")
            .arg(&self.configuration)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        self.child = Some(child);
        let began = Instant::now();
        loop {
            if tokio::net::TcpStream::connect(self.answers_at).await.is_ok() {
                return Ok(());
            }
            let ended = self.child.as_mut().and_then(|c| c.try_wait().ok().flatten());
            if ended.is_some() || began.elapsed() > START_MAX {
                bail!("{} did not start; the end of its log says:\n{}", self.name, self.last_words());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills it and everything it began with SIGKILL.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(group) = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = child.wait();
    }

    /// Asks it to end, and waits until it has, at most 10 s.
    pub async fn stop(&mut self) {
        if let Some(child) = self.child.as_ref()
            && let Some(pid) = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default())
        {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            if self.child.as_mut().is_none_or(|c| !matches!(c.try_wait(), Ok(None))) {
                self.child = None;
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.kill();
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
