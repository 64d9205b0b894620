//! Proxies that fail on purpose: one that knows the stages of an SMTP or LMTP dialogue, one that knows only bytes.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::ports;

/// A place in the dialogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Before the greeting.
    Banner,
    /// EHLO, HELO or LHLO.
    Ehlo,
    /// After the `220` to STARTTLS, where the handshake would begin.
    Tls,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// The DATA command.
    Data,
    /// The final dot.
    Dot,
    /// QUIT.
    Quit,
}

impl Stage {
    /// All stages.
    pub const ALL: [Stage; 8] = [
        Stage::Banner,
        Stage::Ehlo,
        Stage::Tls,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::Dot,
        Stage::Quit,
    ];
}

/// What goes wrong there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is answered and nothing is passed on; the connection stays open.
    Hang,
    /// The connection is cut with a reset, the command not passed on.
    Reset,
    /// The answer comes one byte a second.
    Drip,
    /// The command is not passed on; this is answered (`"451 4.3.0 not now"`).
    Reply(String),
    /// Bytes that are not SMTP are answered.
    Garbage,
    /// Everything works, this much later.
    Delay(Duration),
    /// The command is passed on and answered by the server, and the connection cut before the answer is passed back:
    /// at [`Stage::Dot`], stored and the reply lost.
    ReplyLost,
}

/// How many of the faults are still to come.
#[derive(Debug, Clone)]
struct Planned {
    fault: Fault,
    left: Option<usize>,
}

#[derive(Default)]
struct Plan {
    faults: Mutex<HashMap<Stage, Planned>>,
    hits: AtomicUsize,
    connections: AtomicUsize,
    over: AtomicBool,
}

/// A proxy for SMTP and LMTP that fails at chosen stages.
pub struct SmtpProxy {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    plan: Arc<Plan>,
}

impl SmtpProxy {
    /// Listens on a free port and passes everything on to `upstream`.
    pub fn start(upstream: u16) -> SmtpProxy {
        let port = ports::free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the proxy's port is free");
        let plan = Arc::new(Plan::default());
        let shared = plan.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.over.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let plan = shared.clone();
                plan.connections.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || {
                    let _ = Dialogue::run(stream, upstream, &plan);
                });
            }
        });
        SmtpProxy { port, plan }
    }

    /// Fails at `stage` from now on, every time.
    pub fn fail(&self, stage: Stage, fault: Fault) {
        self.plan.faults.lock().unwrap().insert(stage, Planned { fault, left: None });
    }

    /// Fails at `stage` the next `times` times.
    pub fn fail_times(&self, stage: Stage, fault: Fault, times: usize) {
        self.plan.faults.lock().unwrap().insert(stage, Planned { fault, left: Some(times) });
    }

    /// Everything works again; connections that hang are cut.
    pub fn heal(&self) {
        self.plan.faults.lock().unwrap().clear();
    }

    /// How many times a fault has struck.
    pub fn hits(&self) -> usize {
        self.plan.hits.load(Ordering::Relaxed)
    }

    /// How many connections have come in.
    pub fn connections(&self) -> usize {
        self.plan.connections.load(Ordering::Relaxed)
    }
}

impl Drop for SmtpProxy {
    fn drop(&mut self) {
        self.plan.over.store(true, Ordering::Relaxed);
        self.plan.faults.lock().unwrap().clear();
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Plan {
    fn strike(&self, stage: Stage) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let planned = faults.get_mut(&stage)?;
        let fault = planned.fault.clone();
        match &mut planned.left {
            Some(0) => return None,
            Some(left) => *left -= 1,
            None => {}
        }
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(fault)
    }

    fn holds(&self, stage: Stage) -> bool {
        !self.over.load(Ordering::Relaxed) && self.faults.lock().unwrap().contains_key(&stage)
    }
}

struct Dialogue<'a> {
    client: BufReader<TcpStream>,
    server: BufReader<TcpStream>,
    plan: &'a Plan,
    lmtp: bool,
    recipients: usize,
}

enum Next {
    PassOn,
    Answered,
    LoseReply,
    Drip,
}

type Step<T> = std::io::Result<T>;

impl Dialogue<'_> {
    fn run(client: TcpStream, upstream: u16, plan: &Plan) -> Step<()> {
        client.set_nodelay(true)?;
        let mut only = Dialogue {
            server: BufReader::new(client.try_clone()?),
            client: BufReader::new(client),
            plan,
            lmtp: false,
            recipients: 0,
        };
        // Before the greeting the server is not even called: it may be dead.
        let next = only.at(Stage::Banner)?;
        if matches!(next, Next::Answered) {
            return Ok(());
        }
        let server = TcpStream::connect(("127.0.0.1", upstream))?;
        server.set_nodelay(true)?;
        only.server = BufReader::new(server);
        only.answer(&next)?;
        only.dialogue()
    }

    fn dialogue(&mut self) -> Step<()> {
        loop {
            let mut line = Vec::new();
            if self.client.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&line).to_ascii_uppercase();
            let verb = text.split([' ', '\r', '\n']).next().unwrap_or("");
            self.lmtp |= verb == "LHLO";
            let stage = match verb {
                "EHLO" | "HELO" | "LHLO" => Some(Stage::Ehlo),
                "MAIL" => Some(Stage::Mail),
                "RCPT" => Some(Stage::Rcpt),
                "DATA" => Some(Stage::Data),
                "QUIT" => Some(Stage::Quit),
                _ => None,
            };
            let next = stage.map_or(Ok(Next::PassOn), |stage| self.at(stage))?;
            if matches!(next, Next::Answered) {
                continue;
            }
            self.server.get_mut().write_all(&line)?;
            let reply = self.answer(&next)?;
            match verb {
                "MAIL" => self.recipients = 0,
                "RCPT" if reply == Some(b'2') => self.recipients += 1,
                "DATA" if reply == Some(b'3') => self.body()?,
                "STARTTLS" if reply == Some(b'2') => {
                    self.at(Stage::Tls)?;
                    return self.blind();
                }
                "QUIT" => return Ok(()),
                _ => {}
            }
        }
    }

    /// Takes the whole body in before the dot's fate is decided, so that *not stored* is certain.
    fn body(&mut self) -> Step<()> {
        let mut held = Vec::new();
        loop {
            let begun = held.len();
            if self.client.read_until(b'\n', &mut held)? == 0 {
                return Ok(());
            }
            if &held[begun..] == b".\r\n" {
                break;
            }
            if held.len() > 1 << 20 {
                self.server.get_mut().write_all(&held)?;
                held.clear();
            }
        }
        let next = self.at(Stage::Dot)?;
        if matches!(next, Next::Answered) {
            // The server must forget the transaction as well.
            return self.server.get_ref().shutdown(Shutdown::Both);
        }
        self.server.get_mut().write_all(&held)?;
        let replies = if self.lmtp { self.recipients } else { 1 };
        for _ in 0..replies {
            self.answer(&next)?;
        }
        self.recipients = 0;
        Ok(())
    }

    fn at(&mut self, stage: Stage) -> Step<Next> {
        let Some(fault) = self.plan.strike(stage) else { return Ok(Next::PassOn) };
        match fault {
            Fault::Hang => {
                while self.plan.holds(stage) {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(self.cut())
            }
            Fault::Reset => Err(self.cut()),
            Fault::Drip => Ok(Next::Drip),
            Fault::Reply(text) => {
                self.client.get_mut().write_all(format!("{text}\r\n").as_bytes())?;
                if stage == Stage::Banner {
                    let _ = self.client.get_ref().shutdown(Shutdown::Write);
                }
                Ok(Next::Answered)
            }
            Fault::Garbage => {
                self.client.get_mut().write_all(b"\x00\xff\x16\x03garbage without a code\r\n\r\n999\r\n")?;
                Ok(Next::Answered)
            }
            Fault::Delay(time) => {
                std::thread::sleep(time);
                Ok(Next::PassOn)
            }
            Fault::ReplyLost => Ok(Next::LoseReply),
        }
    }

    /// Passes one answer back and gives its first digit.
    fn answer(&mut self, next: &Next) -> Step<Option<u8>> {
        let mut all = Vec::new();
        loop {
            let begun = all.len();
            if self.server.read_until(b'\n', &mut all)? == 0 {
                return Err(self.cut());
            }
            if all.get(begun + 3) != Some(&b'-') {
                break;
            }
        }
        match next {
            Next::LoseReply => return Err(self.cut()),
            Next::Drip => {
                for byte in &all {
                    self.client.get_mut().write_all(&[*byte])?;
                    std::thread::sleep(Duration::from_secs(1));
                    if self.plan.over.load(Ordering::Relaxed) {
                        return Err(self.cut());
                    }
                }
            }
            Next::PassOn | Next::Answered => self.client.get_mut().write_all(&all)?,
        }
        Ok(all.first().copied())
    }

    fn cut(&self) -> std::io::Error {
        // Linger zero makes the close a reset.
        let _ = rustix::net::sockopt::set_socket_linger(self.client.get_ref(), Some(Duration::ZERO));
        let _ = self.server.get_ref().shutdown(Shutdown::Both);
        std::io::Error::other("cut on purpose")
    }

    fn blind(&mut self) -> Step<()> {
        let (mut up, mut down) = (self.server.get_ref().try_clone()?, self.client.get_ref().try_clone()?);
        let (mut from, mut back) = (self.client.get_ref().try_clone()?, self.server.get_ref().try_clone()?);
        up.write_all(self.client.buffer())?;
        let copy = std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut up);
            let _ = up.shutdown(Shutdown::Both);
        });
        let _ = std::io::copy(&mut back, &mut down);
        let _ = down.shutdown(Shutdown::Both);
        let _ = copy.join();
        Ok(())
    }
}

/// What a byte proxy does with its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpMode {
    /// Passes bytes on.
    Pass,
    /// Takes connections and answers nothing; those open go silent too.
    Silent,
    /// Cuts every connection at once.
    Cut,
}

/// A proxy that knows nothing of what it carries.
pub struct TcpProxy {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    mode: Arc<Mutex<TcpMode>>,
    over: Arc<AtomicBool>,
}

impl TcpProxy {
    /// Listens on a free port and passes everything on to `upstream`.
    pub fn start(upstream: u16) -> TcpProxy {
        let port = ports::free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the proxy's port is free");
        let mode = Arc::new(Mutex::new(TcpMode::Pass));
        let over = Arc::new(AtomicBool::new(false));
        let (shared, ended) = (mode.clone(), over.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(client) = stream else { continue };
                let (mode, ended) = (shared.clone(), ended.clone());
                std::thread::spawn(move || {
                    let address = SocketAddr::from(([127, 0, 0, 1], upstream));
                    while *mode.lock().unwrap() == TcpMode::Silent && !ended.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    let Ok(server) = TcpStream::connect_timeout(&address, Duration::from_secs(5)) else {
                        return;
                    };
                    let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { return };
                    let (other, finished) = (mode.clone(), ended.clone());
                    let copy = std::thread::spawn(move || carry(from, to, &other, &finished));
                    carry(server, client, &mode, &ended);
                    let _ = copy.join();
                });
            }
        });
        TcpProxy { port, mode, over }
    }

    /// Changes what happens, to open connections as well.
    pub fn set(&self, mode: TcpMode) {
        *self.mode.lock().unwrap() = mode;
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, mode: &Mutex<TcpMode>, over: &AtomicBool) {
    let _ = from.set_read_timeout(Some(Duration::from_millis(50)));
    let mut buffer = [0; 16 * 1024];
    loop {
        let now = *mode.lock().unwrap();
        if now == TcpMode::Cut || over.load(Ordering::Relaxed) {
            break;
        }
        if now == TcpMode::Silent {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                if to.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
