//! The rest of the world: a mail server for every other domain, which keeps what it is sent, byte for byte.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustls::{ServerConnection, StreamOwned};

use crate::maildrop::headers;
use crate::outside::Shown;
use crate::ports;
use crate::tls::Stream;

/// One transaction as it came in.
#[derive(Debug, Clone)]
pub struct Caught {
    /// The envelope sender.
    pub from: String,
    /// The envelope recipients that were accepted.
    pub to: Vec<String>,
    /// The message, dots unstuffed.
    pub message: Vec<u8>,
    /// The same as it stood on the wire, the final dot excluded.
    pub wire: Vec<u8>,
    /// Whether it came encrypted.
    pub encrypted: bool,
}

impl Caught {
    /// The values of a header field.
    pub fn headers(&self, name: &str) -> Vec<String> {
        headers(&self.message, name)
    }
}

/// Words in a message that make the catcher refuse it after the final dot, with this answer.
#[derive(Debug, Clone)]
struct Refusal {
    needle: String,
    answer: String,
}

#[derive(Default)]
struct State {
    caught: Vec<Caught>,
    refusals: Vec<Refusal>,
    /// It ended: what is still open hears nothing more.
    dead: bool,
}

/// What a server shows and asks for.
#[derive(Clone, Default)]
struct Manners {
    shown: Option<Shown>,
    /// Who may hand mail in, once encrypted.
    login: Option<(String, String)>,
}

/// A server that catches everything.
pub struct Catcher {
    /// Its port.
    pub port: u16,
    ip: IpAddr,
    state: Arc<Mutex<State>>,
    over: Arc<AtomicBool>,
}

impl Catcher {
    /// Listens on a free port of 127.0.0.1, without encryption.
    pub fn start() -> Catcher {
        Catcher::open((Ipv4Addr::LOCALHOST, ports::free_port()).into(), Manners::default())
    }

    /// Listens at this address, and offers STARTTLS when it has something to show.
    pub fn at(address: SocketAddr, shown: Option<&Shown>) -> Catcher {
        Catcher::open(address, Manners { shown: shown.cloned(), login: None })
    }

    /// As [`Catcher::at`], for those alone who sign in.
    pub fn for_login(address: SocketAddr, shown: &Shown, user: &str, password: &str) -> Catcher {
        let login = Some((user.to_owned(), password.to_owned()));
        Catcher::open(address, Manners { shown: Some(shown.clone()), login })
    }

    fn open(address: SocketAddr, manners: Manners) -> Catcher {
        let mut bound = TcpListener::bind(address);
        // The one before it may still be on its way out.
        for _ in 0..100 {
            if bound.is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            bound = TcpListener::bind(address);
        }
        let listener = bound.expect("the catcher's address is free");
        let state = Arc::new(Mutex::new(State::default()));
        let over = Arc::new(AtomicBool::new(false));
        let (shared, ended) = (state.clone(), over.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (state, manners) = (shared.clone(), manners.clone());
                std::thread::spawn(move || {
                    let _ = take(stream, &state, &manners);
                });
            }
        });
        Catcher { port: address.port(), ip: address.ip(), state, over }
    }

    /// Refuses with `answer`, after the final dot, every message that contains `needle`.
    pub fn refuse(&self, needle: &str, answer: &str) {
        let refusal = Refusal { needle: needle.to_owned(), answer: answer.to_owned() };
        self.state.lock().unwrap().refusals.push(refusal);
    }

    /// Everything taken so far.
    pub fn caught(&self) -> Vec<Caught> {
        self.state.lock().unwrap().caught.clone()
    }

    /// What was taken for this recipient.
    pub fn for_recipient(&self, address: &str) -> Vec<Caught> {
        self.caught()
            .into_iter()
            .filter(|one| one.to.iter().any(|to| to.eq_ignore_ascii_case(address)))
            .collect()
    }
}

impl Drop for Catcher {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Ok(mut state) = self.state.lock() {
            state.dead = true;
        }
        let _ = TcpStream::connect((self.ip, self.port));
    }
}

fn take(stream: TcpStream, state: &Mutex<State>, manners: &Manners) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let plain = stream.try_clone()?;
    let stream: Box<dyn Stream> = Box::new(stream);
    let mut reader = BufReader::new(stream);
    reader.get_mut().write_all(b"220 world.test ESMTP\r\n")?;
    let (mut from, mut to) = (String::new(), Vec::new());
    let (mut encrypted, mut signed_in) = (false, manners.login.is_none());
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 || state.lock().unwrap().dead {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        let verb = text.split(' ').next().unwrap_or("").to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" | "LHLO" => greeting(manners, encrypted),
            "STARTTLS" => {
                let Some(shown) = &manners.shown else { return Ok(()) };
                reader.get_mut().write_all(b"220 go on\r\n")?;
                let connection = ServerConnection::new(shown.config.clone());
                let connection = connection.map_err(std::io::Error::other)?;
                let stream: Box<dyn Stream> = Box::new(StreamOwned::new(connection, plain.try_clone()?));
                reader = BufReader::new(stream);
                encrypted = true;
                continue;
            }
            "AUTH" => {
                let wanted = manners.login.as_ref().map(|(user, password)| plain_login(user, password));
                signed_in = encrypted && wanted.is_some_and(|wanted| text.ends_with(&wanted));
                if signed_in {
                    "235 2.7.0 welcome".to_owned()
                } else {
                    "535 5.7.8 that is not right".to_owned()
                }
            }
            "MAIL" if !signed_in => "530 5.7.0 sign in first".to_owned(),
            "MAIL" => {
                from = path(&text);
                to = Vec::new();
                "250 2.1.0 ok".to_owned()
            }
            "RCPT" => {
                to.push(path(&text));
                "250 2.1.5 ok".to_owned()
            }
            "DATA" => {
                reader.get_mut().write_all(b"354 go on\r\n")?;
                let Some(wire) = body(&mut reader)? else { return Ok(()) };
                let message = unstuffed(&wire);
                let one =
                    Caught { from: from.clone(), to: std::mem::take(&mut to), message, wire, encrypted };
                keep(one, state)
            }
            "QUIT" => {
                reader.get_mut().write_all(b"221 2.0.0 bye\r\n")?;
                return Ok(());
            }
            _ => "250 2.0.0 ok".to_owned(),
        };
        reader.get_mut().write_all(format!("{answer}\r\n").as_bytes())?;
        reader.get_mut().flush()?;
    }
}

fn greeting(manners: &Manners, encrypted: bool) -> String {
    let tls = if manners.shown.is_some() && !encrypted { "250-STARTTLS\r\n" } else { "" };
    let login = if manners.login.is_some() && encrypted { "250-AUTH PLAIN\r\n" } else { "" };
    // Who signs in is asked line by line: a refused sign-in must be heard before anything else is said.
    let pipelining = if manners.login.is_some() { "" } else { "250-PIPELINING\r\n" };
    format!(
        "250-world.test\r\n{pipelining}{tls}{login}250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n\
         250-ENHANCEDSTATUSCODES\r\n250 SIZE 104857600"
    )
}

/// RFC 4616 in base64 (RFC 4648 §4).
fn plain_login(user: &str, password: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for part in format!("\0{user}\0{password}").as_bytes().chunks(3) {
        let bits =
            part.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= part.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

fn keep(one: Caught, state: &Mutex<State>) -> String {
    let mut state = state.lock().unwrap();
    let text = String::from_utf8_lossy(&one.message).into_owned();
    if let Some(refusal) = state.refusals.iter().find(|refusal| text.contains(&refusal.needle)) {
        return refusal.answer.clone();
    }
    state.caught.push(one);
    "250 2.0.0 caught".to_owned()
}

/// Reads up to the final dot: only CR LF dot CR LF ends a message here.
fn body(reader: &mut BufReader<Box<dyn Stream>>) -> std::io::Result<Option<Vec<u8>>> {
    let mut wire = Vec::new();
    loop {
        if reader.read_until(b'\n', &mut wire)? == 0 {
            return Ok(None);
        }
        if wire == b".\r\n" || wire.ends_with(b"\r\n.\r\n") {
            wire.truncate(wire.len() - 3);
            return Ok(Some(wire));
        }
    }
}

fn unstuffed(wire: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(wire.len());
    let mut line_start = true;
    for &byte in wire {
        if !(line_start && byte == b'.') {
            message.push(byte);
        }
        line_start = byte == b'\n';
    }
    message
}

fn path(line: &str) -> String {
    line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(path, _)| path).to_owned()
}
