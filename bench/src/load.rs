//! The load client: sessions that send one message after the other and measure each acknowledgement.

use std::io::{BufRead, BufReader, IoSlice, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// What is sent.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where to.
    pub target: SocketAddr,
    /// Sessions at once.
    pub sessions: usize,
    /// Messages in all.
    pub messages: usize,
    /// Bytes of one message.
    pub size: usize,
    /// Messages on one connection, then a new one.
    pub per_connection: usize,
    /// Recipients, in turn.
    pub to: Vec<String>,
    /// Makes every message of this run unlike those of every other run.
    pub name: String,
}

/// What was measured.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Messages acknowledged in a second, over the whole run.
    pub rate: f64,
    /// Final dot to its `250`: the median.
    pub p50: Duration,
    /// Final dot to its `250`: 99 of 100 were faster.
    pub p99: Duration,
    /// The slowest.
    pub max: Duration,
    /// Messages acknowledged.
    pub acknowledged: usize,
    /// What went wrong first, if anything did.
    pub trouble: Option<String>,
}

impl Load {
    /// Sends everything and measures.
    ///
    /// # Panics
    /// When a session's thread fails.
    pub fn run(&self) -> Figures {
        let gate = Barrier::new(self.sessions + 1);
        std::thread::scope(|scope| {
            let gate = &gate;
            let running: Vec<_> = (0..self.sessions)
                .map(|session| {
                    scope.spawn(move || {
                        gate.wait();
                        self.session(session)
                    })
                })
                .collect();
            gate.wait();
            let begun = Instant::now();
            let mut times = Vec::with_capacity(self.messages);
            let mut trouble = None;
            for thread in running {
                let (mut own, why) = thread.join().expect("a session of the load failed");
                times.append(&mut own);
                trouble = trouble.or(why);
            }
            figures(times, begun.elapsed(), trouble)
        })
    }

    fn session(&self, session: usize) -> (Vec<Duration>, Option<String>) {
        let share = self.messages / self.sessions + usize::from(session < self.messages % self.sessions);
        let mut times = Vec::with_capacity(share);
        let line = b"the quick brown fox jumps over the lazy dog and back again 0123456789 abcdefg\r\n";
        let body: Vec<u8> = line.iter().copied().cycle().take(self.size / line.len() * line.len()).collect();
        let mut talk: Option<BufReader<TcpStream>> = None;
        for number in 0..share {
            if number % self.per_connection == 0 {
                if let Some(mut old) = talk.take() {
                    let _ = say(&mut old, b"QUIT\r\n");
                }
                match open(self.target) {
                    Ok(new) => talk = Some(new),
                    Err(why) => return (times, Some(why)),
                }
            }
            let Some(open) = talk.as_mut() else { return (times, None) };
            let to = &self.to[(session + number * self.sessions) % self.to.len()];
            match self.message(open, to, &format!("{}-{session}-{number}", self.name), &body) {
                Ok(time) => times.push(time),
                Err(why) => return (times, Some(why)),
            }
        }
        if let Some(mut old) = talk {
            let _ = say(&mut old, b"QUIT\r\n");
        }
        (times, None)
    }

    fn message(
        &self,
        talk: &mut BufReader<TcpStream>,
        to: &str,
        id: &str,
        body: &[u8],
    ) -> Result<Duration, String> {
        expect(talk, b"MAIL FROM:<load@outside.test>\r\n", b'2')?;
        expect(talk, format!("RCPT TO:<{to}>\r\n").as_bytes(), b'2')?;
        expect(talk, b"DATA\r\n", b'3')?;
        let header = format!(
            "From: <load@outside.test>\r\nTo: <{to}>\r\nSubject: load {id}\r\nMessage-ID: <{id}@outside.test>\r\n\
             X-Story-Id: {id}\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\r\n"
        );
        let parts = [header.as_bytes(), body, b".\r\n"];
        write_all(talk.get_mut(), &parts)?;
        let dot = Instant::now();
        let reply = reply(talk)?;
        if reply.first() == Some(&b'2') { Ok(dot.elapsed()) } else { Err(text(&reply)) }
    }
}

fn write_all(stream: &mut TcpStream, parts: &[&[u8]]) -> Result<(), String> {
    let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let written = stream.write_vectored(&slices).map_err(|e| e.to_string())?;
    let mut skip = written;
    for part in parts {
        let from = skip.min(part.len());
        skip -= from;
        stream.write_all(&part[from..]).map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn figures(mut times: Vec<Duration>, whole: Duration, trouble: Option<String>) -> Figures {
    times.sort();
    let at = |share: f64| {
        let place = (times.len() as f64 * share) as usize;
        times.get(place.min(times.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    Figures {
        rate: times.len() as f64 / whole.as_secs_f64(),
        p50: at(0.5),
        p99: at(0.99),
        max: times.last().copied().unwrap_or_default(),
        acknowledged: times.len(),
        trouble,
    }
}

/// Connects and says EHLO.
///
/// # Errors
/// What went wrong, in words.
pub fn open(target: SocketAddr) -> Result<BufReader<TcpStream>, String> {
    let stream = TcpStream::connect(target).map_err(|e| format!("connect: {e}"))?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let _ = stream.set_read_timeout(Some(Duration::from_secs(120)));
    let mut talk = BufReader::with_capacity(1024, stream);
    let greeting = reply(&mut talk)?;
    if greeting.first() != Some(&b'2') {
        return Err(text(&greeting));
    }
    expect(&mut talk, b"EHLO load.outside.test\r\n", b'2')?;
    Ok(talk)
}

/// Sends one line and wants an answer that begins with this digit.
///
/// # Errors
/// The answer when it is another, or how the connection ended.
pub fn expect(talk: &mut BufReader<TcpStream>, line: &[u8], digit: u8) -> Result<(), String> {
    let reply = say(talk, line)?;
    if reply.first() == Some(&digit) { Ok(()) } else { Err(text(&reply)) }
}

fn say(talk: &mut BufReader<TcpStream>, line: &[u8]) -> Result<Vec<u8>, String> {
    talk.get_mut().write_all(line).map_err(|e| e.to_string())?;
    reply(talk)
}

/// Reads one answer, all its lines.
///
/// # Errors
/// How the connection ended.
pub fn reply(talk: &mut BufReader<TcpStream>) -> Result<Vec<u8>, String> {
    let mut all = Vec::with_capacity(128);
    loop {
        let begun = all.len();
        if talk.read_until(b'\n', &mut all).map_err(|e| e.to_string())? == 0 {
            return Err("the server closed the connection".to_owned());
        }
        if all.get(begun + 3) != Some(&b'-') {
            return Ok(all);
        }
    }
}

fn text(reply: &[u8]) -> String {
    String::from_utf8_lossy(reply).trim_end().to_owned()
}
