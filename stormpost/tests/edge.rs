//! The edge as a process of its own: real processes on loopback ports, killed and stopped without warning.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use stores_primary::imap::{self, ImapStore, SignIn};
use stores_primary::smtp::{Hop, Limits, Place, Session};
use stores_primary::store::{MailStore, Summary};
use stores_primary::tls::{Tls, TlsMode, Trust};
use words_smtp::Credentials;
use words_smtp::client::Protocol;

const ANNA: &str = "anna@home.test";
/// Whose mail system of record is the primary.
const BERT: &str = "bert@office.test";
const PASSWORD: &str = "correct horse";

/// A node in a folder of its own, with everything that it began.
struct Node {
    folder: tempfile::TempDir,
    smtp: SocketAddr,
    submissions: SocketAddr,
    imap: SocketAddr,
    /// Where the primary of `learned.test` would be.
    primary: SocketAddr,
    serve: Option<Child>,
}

/// A free port below the range from which the kernel takes ports for outgoing connections.
fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let first = u16::try_from(std::process::id() % 7_000).unwrap();
        let at = SocketAddr::from(([127, 0, 0, 1], 24_000 + (first + step * 13) % 8_000));
        if TcpListener::bind(at).is_ok() {
            return at;
        }
    }
}

impl Node {
    fn new() -> Node {
        let folder = tempfile::tempdir().unwrap();
        let (smtp, submissions, imap) = (free(), free(), free());
        let (primary, nobody) = (free(), free());
        let node = Node { folder, smtp, submissions, imap, primary, serve: None };
        let text = format!(
            "[node]\nname = \"mx.home.test\"\ndata = \"data\"\nname_server = \"{nobody}\"\n\n[listen]\nsmtp = \
             \"{smtp}\"\nsubmissions = \"{submissions}\"\nimap = \"{imap}\"\n\n[limits]\nauthentication_timeout = \
             \"100ms\"\nspool_size = \"1MiB\"\n\n[[domain]]\nname = \"home.test\"\naccounts = [\"{ANNA}\"]\n\n[[domain]]\nname = \
             \"learned.test\"\nprimary = \"hq\"\nauthoritative = false\n\n[[domain]]\nname = \"office.test\"\nprimary = \"hq\"\naccounts = [\"{BERT}\"]\n\n[[primary]]\nid = \
             \"hq\"\n[primary.deliver]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n",
            primary.port()
        );
        fs::write(node.configuration(), text).unwrap();
        let mut password = node.command("account");
        password.args(["password", ANNA]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = password.spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "the password could not be set");
        node
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("stormpost.toml")
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stormpost"));
        command.arg(verb).arg("--config").arg(self.configuration());
        command
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Starts it and does not wait.
    fn launch(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut serve = self.command("serve");
        serve.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        self.serve = Some(serve.spawn().unwrap());
    }

    /// Starts it and waits until mail is taken and read.
    fn start(&mut self) {
        self.launch();
        self.until("mail to be taken", || greets(self.smtp));
        self.until("mail to be read", || greets(self.imap));
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) -> Duration {
        let began = Instant::now();
        while !is_so() {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "waiting for {what}; the log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        began.elapsed()
    }

    fn inside(&self) -> u32 {
        self.serve.as_ref().unwrap().id()
    }

    /// The process that holds `edge.lock`, and 0 when none does.
    fn edge(&self) -> u32 {
        let Ok(file) = File::open(self.folder.path().join("data/edge.lock")) else { return 0 };
        if file.try_lock_shared().is_ok() {
            return 0;
        }
        let text = fs::read_to_string(self.folder.path().join("data/edge.lock")).unwrap();
        text.trim().parse().unwrap_or(0)
    }

    /// SIGKILL for the inside alone.
    fn kill_inside(&mut self) {
        signal(self.inside(), Signal::KILL);
        self.serve.take().unwrap().wait().unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.serve.as_mut().unwrap().try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "it does not end; the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// How often each subject is in anna's INBOX.
    fn inbox(&self) -> BTreeMap<String, usize> {
        let hop = imap::Hop {
            place: Place::Host(self.imap.ip().to_string(), self.imap.port()),
            addresses: Vec::new(),
            tls: TlsMode::Required,
            trust: Tls::new(&Trust::Anybody).unwrap(),
            limits: imap::Limits::primary(),
        };
        run(async {
            let world = stormpost::world::real(None);
            let mut store = ImapStore::open(&world, &hop, &SignIn::own(ANNA, PASSWORD)).await.unwrap();
            store.select("INBOX", true).await.unwrap();
            let mut found = BTreeMap::new();
            let mut each = |summary: Summary| {
                *found.entry(summary.field("Subject").unwrap_or_default()).or_default() += 1;
            };
            store.headers_above(0, &["Subject"], &mut each).await.unwrap();
            Box::new(store).leave().await;
            found
        })
    }

    /// Waits until these are in anna's INBOX, each once and nothing else.
    fn holds(&self, subjects: &[&str]) {
        let wanted: BTreeMap<String, usize> = subjects.iter().map(|one| ((*one).to_owned(), 1)).collect();
        let began = Instant::now();
        while self.inbox() != wanted {
            assert!(
                began.elapsed() < Duration::from_secs(15),
                "{:?} and not {wanted:?}; the log:\n{}",
                self.inbox(),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What a sign-in at submission is answered.
    fn sign_in(&self) -> String {
        let hop = Hop {
            protocol: Protocol::Smtp,
            place: Place::Host(self.submissions.ip().to_string(), self.submissions.port()),
            addresses: Vec::new(),
            tls: TlsMode::Implicit,
            trust: Tls::new(&Trust::Anybody).unwrap(),
            sign_in: Some(Credentials { user: ANNA.to_owned(), password: PASSWORD.to_owned() }),
            helo: "laptop.home.test".to_owned(),
            limits: Limits::primary(),
            safety: None,
            pass_client: false,
        };
        run(async {
            match Session::open(&stormpost::world::real(None), &hop).await {
                Ok(session) => {
                    session.quit().await;
                    "235".to_owned()
                }
                Err(error) => error.reply.as_ref().map_or_else(|| error.to_string(), ToString::to_string),
            }
        })
    }

    fn talk(&self) -> Talk {
        Talk::open(self.smtp)
    }

    /// Sends a message to anna; the reply to it.
    fn send(&self, subject: &str) -> String {
        self.talk().send(subject)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut serve) = self.serve.take() {
            let _ = serve.kill();
            let _ = serve.wait();
        }
        // One that the dead one was about to start may come up yet.
        for _ in 0..3 {
            match self.edge() {
                0 => std::thread::sleep(Duration::from_millis(20)),
                pid => signal(pid, Signal::KILL),
            }
        }
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn signal(pid: u32, what: Signal) {
    let _ = kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), what);
}

fn greets(at: SocketAddr) -> bool {
    let Ok(stream) = TcpStream::connect(at) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).is_ok_and(|read| read > 0)
}

/// A sender at the edge.
struct Talk(BufReader<TcpStream>);

impl Talk {
    fn open(at: SocketAddr) -> Talk {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut talk = Talk(BufReader::new(stream));
        talk.hear();
        talk.say("EHLO sender.test\r\n");
        talk
    }

    fn hear(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.trim_end().to_owned();
            }
        }
    }

    fn say(&mut self, text: &str) -> String {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
        self.hear()
    }

    fn send(&mut self, subject: &str) -> String {
        self.send_to(ANNA, subject)
    }

    fn send_to(&mut self, recipient: &str, subject: &str) -> String {
        self.say("MAIL FROM:<somebody@sender.test>\r\n");
        let to = self.say(&format!("RCPT TO:<{recipient}>\r\n"));
        assert!(to.starts_with("250"), "{to}");
        self.say("DATA\r\n");
        self.say(&format!("From: somebody@sender.test\r\nSubject: {subject}\r\n\r\nHello\r\n.\r\n"))
    }
}

#[test]
fn invariant_10_mail_is_taken_with_the_rest_killed_or_hung() {
    let mut node = Node::new();
    node.start();
    assert!(node.send("in peace").starts_with("250"));
    assert_eq!(node.sign_in(), "235");
    node.holds(&["in peace"]);
    let edge = node.edge();
    assert!(edge != 0 && edge != node.inside());

    signal(node.inside(), Signal::STOP);
    assert!(node.send("hung").starts_with("250"));
    let refusal = node.sign_in();
    assert!(refusal.starts_with("454 4.7.0"), "{refusal}");
    let mut talk = node.talk();
    talk.say("MAIL FROM:<somebody@sender.test>\r\n");
    let unknown = talk.say("RCPT TO:<somebody@learned.test>\r\n");
    assert!(unknown.starts_with("450 4.1.1"), "{unknown}");
    drop(talk);
    signal(node.inside(), Signal::CONT);
    node.holds(&["in peace", "hung"]);

    node.kill_inside();
    assert!(node.send("killed").starts_with("250"));
    let refusal = node.sign_in();
    assert!(refusal.starts_with("454 4.7.0"), "{refusal}");

    // The next inside adopts the edge, so that the door was open all the time.
    node.start();
    node.holds(&["in peace", "hung", "killed"]);
    assert_eq!(node.sign_in(), "235");
    assert_eq!(node.edge(), edge);

    signal(node.inside(), Signal::TERM);
    assert!(node.wait().success(), "{}", node.log());
    assert_eq!(node.edge(), 0, "SIGTERM stops both");
    assert!(TcpStream::connect(node.smtp).is_err());
}

/// A mail system that takes everything and tells the subjects of what it got.
fn sink(at: SocketAddr) -> mpsc::Receiver<String> {
    let listener = TcpListener::bind(at).unwrap();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let tell = tell.clone();
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                let (mut line, mut in_message) = (String::new(), false);
                let _ = stream.get_mut().write_all(b"220 sink\r\n");
                while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
                    let said = std::mem::take(&mut line);
                    if let Some(subject) = said.strip_prefix("Subject: ").filter(|_| in_message) {
                        let _ = tell.send(subject.trim_end().to_owned());
                    }
                    if in_message && said != ".\r\n" {
                        continue;
                    }
                    in_message = said.starts_with("DATA");
                    let reply: &[u8] = if in_message { b"354 go on\r\n" } else { b"250 ok\r\n" };
                    let _ = stream.get_mut().write_all(reply);
                }
            });
        }
    });
    told
}

#[test]
fn what_was_handed_over_is_not_taken_for_new_by_the_next_inside() {
    let mut node = Node::new();
    let got = sink(node.primary);
    node.start();
    let send = |node: &Node, subject: &str| {
        let reply = node.talk().send_to("somebody@learned.test", subject);
        assert!(reply.starts_with("250"), "{reply}");
        assert_eq!(got.recv_timeout(Duration::from_secs(15)).unwrap(), subject, "{}", node.log());
    };
    send(&node, "first");
    // Once the edge is adopted, once it is started too and has still to say how far the journal is durable.
    node.kill_inside();
    node.start();
    send(&node, "second");
    let edge = node.edge();
    node.kill_inside();
    signal(edge, Signal::KILL);
    node.until("the edge to be gone", || node.edge() == 0);
    node.start();
    send(&node, "third");
    assert!(got.recv_timeout(Duration::from_millis(500)).is_err());
}

#[test]
fn a_killed_edge_is_back_within_a_second_and_knows_who_comes_again() {
    let mut node = Node::new();
    node.start();
    // The sender reads the reply and says nothing more: nobody can know that it was heard.
    let mut talk = node.talk();
    let first = talk.send("once");
    assert!(first.starts_with("250"), "{first}");
    let edge = node.edge();
    signal(edge, Signal::KILL);
    let gone = node.until("the edge to be gone", || node.edge() != edge);
    let back = node.until("mail to be taken again", || greets(node.smtp));
    assert!(gone + back < Duration::from_secs(1), "{gone:?} and {back:?}; the log:\n{}", node.log());
    assert_ne!(node.edge(), edge);
    assert_eq!(node.send("once"), first, "the same trace id");
    assert!(node.send("another").starts_with("250"));
    node.holds(&["once", "another"]);
}

#[test]
fn an_edge_of_another_configuration_hands_over() {
    let mut node = Node::new();
    node.start();
    let before = node.edge();
    node.kill_inside();
    let text = fs::read_to_string(node.configuration()).unwrap();
    fs::write(node.configuration(), text.replace("100ms", "200ms")).unwrap();
    node.start();
    node.until("another edge", || ![0, before].contains(&node.edge()));
    node.until("mail to be taken", || greets(node.smtp));
    assert!(node.send("to the new one").starts_with("250"));
    node.holds(&["to the new one"]);
}

#[test]
fn the_same_folder_served_by_one_process_ends_the_edge_first() {
    let mut node = Node::new();
    node.start();
    assert!(node.send("by the edge").starts_with("250"));
    node.kill_inside();
    let text = fs::read_to_string(node.configuration()).unwrap();
    fs::write(node.configuration(), text.replace("data = \"data\"", "data = \"data\"\nedge = \"inside\""))
        .unwrap();
    node.start();
    node.until("one process to write", || node.edge() == node.inside());
    node.until("mail to be taken", || greets(node.smtp));
    assert!(node.send("by one process").starts_with("250"));
    node.holds(&["by the edge", "by one process"]);
}

#[test]
fn a_port_that_is_taken_is_said_and_nothing_is_left_running() {
    let mut node = Node::new();
    let _taken = TcpListener::bind(node.smtp).unwrap();
    node.launch();
    assert!(!node.wait().success());
    assert!(node.log().contains(&format!("listening on {}", node.smtp)), "{}", node.log());
    assert_eq!(node.edge(), 0);
}

#[test]
fn over_the_spools_budget_senders_are_told_to_come_back_until_there_is_room() {
    let mut node = Node::new();
    let web = free();
    let text = fs::read_to_string(node.configuration()).unwrap();
    fs::write(node.configuration(), text.replace("imap = ", &format!("http = \"{web}\"\nimap = "))).unwrap();
    node.start();
    let large =
        |subject: &str| format!("{subject}\r\n\r\n{}", format!("{}\r\n", "x".repeat(70)).repeat(5_000));
    for n in 0..3 {
        let reply = node.talk().send_to(BERT, &large(&format!("waits {n}")));
        assert!(reply.starts_with("250"), "{reply}");
    }
    // The inside knows of all three by now or soon, and nothing may count twice or be forgotten.
    for round in 0..4 {
        let refusal = node.talk().say("MAIL FROM:<somebody@sender.test>\r\n");
        assert!(refusal.starts_with("452 4.3.1 as much mail waits here as may wait"), "{round}: {refusal}");
        std::thread::sleep(Duration::from_millis(400));
    }
    let page = || get(web, "/health");
    node.until("the health page to say so", || {
        page().starts_with("HTTP/1.1 503") && page().contains("\"spool_full\": true")
    });
    let metrics = get(web, "/metrics");
    assert!(metrics.contains("\nstormpost_spool_full 1\n"), "{metrics}");
    assert!(!metrics.contains("\nstormpost_spool_turned_away_total 0\n"), "{metrics}");
    let status = node.command("status").output().unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("warning: no mail is taken in: 1 MiB wait"), "{status}");

    // The inside gone, and an edge that is new: what waits is still known as soon as there is somebody to say it.
    let edge = node.edge();
    node.kill_inside();
    let refusal = node.talk().say("MAIL FROM:<somebody@sender.test>\r\n");
    assert!(refusal.starts_with("452 4.3.1"), "{refusal}");
    signal(edge, Signal::KILL);
    node.until("the edge to be gone", || node.edge() == 0);
    node.start();
    let is_full = || node.talk().say("MAIL FROM:<somebody@sender.test>\r\n").starts_with("452 4.3.1");
    node.until("the new edge to know", is_full);

    let got = sink(node.primary);
    node.until("room", || !is_full());
    let mut subjects: Vec<String> =
        (0..3).map(|_| got.recv_timeout(Duration::from_secs(30)).unwrap()).collect();
    subjects.sort();
    assert_eq!(subjects, ["waits 0", "waits 1", "waits 2"]);
    let reply = node.talk().send_to(BERT, "taken again");
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(got.recv_timeout(Duration::from_secs(15)).unwrap(), "taken again");
    node.until("the health page to say so", || page().starts_with("HTTP/1.1 200"));
}

/// A page of the node.
fn get(at: SocketAddr, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(at) else { return String::new() };
    let _ = stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    let mut page = String::new();
    let _ = stream.read_to_string(&mut page);
    page
}
