//! The rest of the world: a mail server for every other domain, which keeps what it is sent, byte for byte.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::maildrop::headers;
use crate::ports;

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
}

/// A server that catches everything.
pub struct Catcher {
    /// Its port on 127.0.0.1.
    pub port: u16,
    state: Arc<Mutex<State>>,
    over: Arc<AtomicBool>,
}

impl Catcher {
    /// Listens on a free port.
    pub fn start() -> Catcher {
        let port = ports::free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the catcher's port is free");
        let state = Arc::new(Mutex::new(State::default()));
        let over = Arc::new(AtomicBool::new(false));
        let (shared, ended) = (state.clone(), over.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let state = shared.clone();
                std::thread::spawn(move || {
                    let _ = take(stream, &state);
                });
            }
        });
        Catcher { port, state, over }
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
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn take(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    reader.get_mut().write_all(b"220 world.test ESMTP\r\n")?;
    let (mut from, mut to) = (String::new(), Vec::new());
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        let verb = text.split(' ').next().unwrap_or("").to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" | "LHLO" => {
                "250-world.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n\
                 250-ENHANCEDSTATUSCODES\r\n250 SIZE 104857600"
                    .to_owned()
            }
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
                let one = Caught { from: from.clone(), to: std::mem::take(&mut to), message, wire };
                keep(one, state)
            }
            "QUIT" => {
                reader.get_mut().write_all(b"221 2.0.0 bye\r\n")?;
                return Ok(());
            }
            _ => "250 2.0.0 ok".to_owned(),
        };
        reader.get_mut().write_all(format!("{answer}\r\n").as_bytes())?;
    }
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
fn body(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Vec<u8>>> {
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
