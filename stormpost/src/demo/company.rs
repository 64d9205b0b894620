//! The servers of the demonstration: real programs, killed without mercy.

use super::tree::{self, Tree};
use anyhow::{Context, Result, bail};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How long a program may take until it answers at its ports.
const START_MAX: Duration = Duration::from_secs(30);
/// How long a program may take to end when it is asked to.
const STOP_MAX: Duration = Duration::from_secs(10);
/// How long a server may take for its first line; some make callers wait for it on purpose.
const GREETING_MAX: Duration = Duration::from_secs(5);
/// Lines quoted from the end of each log when a program does not start.
const LAST_WORDS: usize = 8;

/// Ports are taken from here. They stand below the range from which the kernel takes ports for outgoing connections,
/// so that a restarted server finds its port free again.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// Free ports on the loopback, each given out once.
#[derive(Default)]
pub(super) struct Ports {
    given: HashSet<u16>,
}

impl Ports {
    /// The next port that is free for TCP and UDP.
    ///
    /// # Errors
    /// When none of a thousand tries is free.
    pub(super) fn free(&mut self) -> Result<SocketAddr> {
        for _ in 0..1_000 {
            let mut random = [0u8; 2];
            words_world::Random::fill(&crate::world::SystemRandom, &mut random);
            let port = PORTS.start + u16::from_le_bytes(random) % (PORTS.end - PORTS.start);
            let at = SocketAddr::from(([127, 0, 0, 1], port));
            if !self.given.contains(&port) && TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok() {
                self.given.insert(port);
                return Ok(at);
            }
        }
        bail!(
            "no free port between {} and {} on 127.0.0.1; end some programs and try again",
            PORTS.start,
            PORTS.end
        );
    }
}

/// One program of a server.
pub(super) struct Program {
    /// What it is called in messages.
    pub(super) name: String,
    /// Where the program is.
    pub(super) path: PathBuf,
    /// What it is called with.
    pub(super) arguments: Vec<OsString>,
    /// Where it greets once it is up.
    pub(super) greets_at: Vec<SocketAddr>,
    /// Where what it prints goes.
    pub(super) log: PathBuf,
    /// Logs that it writes itself.
    pub(super) own_logs: Vec<PathBuf>,
}

impl Program {
    /// This same program as a mail host.
    ///
    /// # Errors
    /// When the system does not tell where this program is.
    pub(super) fn stormpost(
        name: &str,
        configuration: &Path,
        log: PathBuf,
        doors: &[SocketAddr],
    ) -> Result<Program> {
        Ok(Program {
            name: name.to_owned(),
            path: std::env::current_exe().context("finding this program")?,
            arguments: ["serve".into(), "--config".into(), configuration.into()].into(),
            greets_at: doors.to_owned(),
            log,
            own_logs: Vec::new(),
        })
    }

    async fn start(&self) -> Result<Tree> {
        let mut tree = Tree::start(Command::new(&self.path).args(&self.arguments), &self.log)?;
        let began = Instant::now();
        for at in &self.greets_at {
            while !greets(*at).await {
                if tree.ended() || began.elapsed() > START_MAX {
                    bail!("{} did not start; the end of its log says:\n{}", self.name, self.last_words());
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        tree.settle();
        Ok(tree)
    }

    fn last_words(&self) -> String {
        let mut words = String::new();
        for log in std::iter::once(&self.log).chain(&self.own_logs) {
            words += &end_of(&fs::read_to_string(log).unwrap_or_default());
        }
        words
    }
}

fn end_of(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LAST_WORDS)..].iter().map(|line| format!("  {line}\n")).collect()
}

/// Whether a server says its first line.
async fn greets(at: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(at).await else { return false };
    let mut first = [0; 1];
    matches!(timeout(GREETING_MAX, stream.read(&mut first)).await, Ok(Ok(1)))
}

/// One server of the demonstration: its programs live and die together.
pub(super) struct Server {
    programs: Vec<Program>,
    running: Vec<Tree>,
}

impl Server {
    /// A server that is not started yet. Its programs are started in this order.
    pub(super) fn new(programs: Vec<Program>) -> Server {
        Server { programs, running: Vec::new() }
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When a program of it ends or does not answer in 30 s; the text quotes the end of its log.
    pub(super) async fn start(&mut self) -> Result<()> {
        for program in &self.programs {
            self.running.push(program.start().await?);
        }
        Ok(())
    }

    /// Kills it and everything it began with SIGKILL.
    pub(super) fn kill(&mut self) {
        tree::kill(&mut self.running);
        self.running.clear();
    }

    /// Asks it to end, and waits until it has, at most 10 s; then it is killed.
    pub(super) async fn stop(&mut self) {
        tree::stop(&mut self.running, STOP_MAX).await;
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn no_port_is_given_twice() {
        let mut ports = Ports::default();
        let given: HashSet<_> = (0..50).map(|_| ports.free().unwrap()).collect();
        assert_eq!(given.len(), 50);
        assert!(given.iter().all(|at| PORTS.contains(&at.port())));
    }

    #[test]
    fn only_the_end_of_a_long_log_is_quoted() {
        let log: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let end = end_of(&log);
        assert!(end.starts_with("  line 92\n") && end.ends_with("  line 99\n"), "{end}");
        assert_eq!(end_of(""), "");
    }

    #[tokio::test]
    async fn a_program_that_ends_at_once_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let program = Program {
            name: "the mail system".into(),
            path: "sh".into(),
            arguments: ["-c".into(), "echo the port is taken; exit 1".into()].into(),
            greets_at: vec![nobody],
            log: folder.path().join("log"),
            own_logs: Vec::new(),
        };
        let words = Server::new(vec![program]).start().await.unwrap_err().to_string();
        assert!(words.starts_with("the mail system did not start"), "{words}");
        assert!(words.contains("the port is taken"), "{words}");
    }

    #[tokio::test]
    async fn an_open_port_without_a_greeting_is_no_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let silent = std::thread::spawn(move || drop(listener.accept().unwrap()));
        assert!(!greets(at).await);
        silent.join().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let friendly = std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"220 hello\r\n"));
        assert!(greets(at).await);
        friendly.join().unwrap().unwrap();
    }
}
