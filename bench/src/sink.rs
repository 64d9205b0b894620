//! A next hop that takes everything and keeps nothing, so that it is nobody's bottleneck.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A running sink.
pub struct Sink {
    /// Its port on 127.0.0.1.
    pub port: u16,
    taken: Arc<AtomicUsize>,
    stamps: Arc<Mutex<Vec<(String, Instant)>>>,
}

impl Sink {
    /// Listens on a free port; SMTP and LMTP alike.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn start() -> Sink {
        Sink::begin(stories::ports::free_port(), false)
    }

    /// Listens on this port, where nobody listened before.
    ///
    /// # Panics
    /// When it is taken.
    pub fn at(port: u16) -> Sink {
        Sink::begin(port, false)
    }

    /// As [`Sink::start`], noting when each message came, by its story id.
    ///
    /// # Panics
    /// When no port can be had.
    pub fn stamping() -> Sink {
        Sink::begin(stories::ports::free_port(), true)
    }

    fn begin(port: u16, stamping: bool) -> Sink {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the sink's port is free");
        let taken = Arc::new(AtomicUsize::new(0));
        let count = taken.clone();
        let stamps = Arc::new(Mutex::new(Vec::new()));
        let noted = stamping.then(|| stamps.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (count, noted) = (count.clone(), noted.clone());
                std::thread::spawn(move || {
                    let _ = take(stream, &count, noted.as_deref());
                });
            }
        });
        Sink { port, taken, stamps }
    }

    /// Messages taken so far.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// When each message came, for a sink that notes it.
    ///
    /// # Panics
    /// When a thread of the sink has failed.
    pub fn stamps(&self) -> Vec<(String, Instant)> {
        self.stamps.lock().unwrap().clone()
    }
}

fn take(
    stream: TcpStream,
    count: &AtomicUsize,
    stamps: Option<&Mutex<Vec<(String, Instant)>>>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(64 * 1024, stream);
    reader.get_mut().write_all(b"220 sink.test ESMTP\r\n")?;
    let mut recipients = 0;
    let mut lmtp = false;
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let verb = line.get(..4).unwrap_or(&line).to_ascii_uppercase();
        let answer: &[u8] = match verb.as_slice() {
            b"EHLO" | b"LHLO" => {
                lmtp = verb == b"LHLO";
                b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE\r\n"
            }
            b"RCPT" => {
                recipients += 1;
                b"250 2.1.5 ok\r\n"
            }
            b"DATA" => {
                reader.get_mut().write_all(b"354 go on\r\n")?;
                loop {
                    line.clear();
                    if reader.read_until(b'\n', &mut line)? == 0 {
                        return Ok(());
                    }
                    if line == b".\r\n" {
                        break;
                    }
                    if let (Some(stamps), Some(id)) = (stamps, line.strip_prefix(b"X-Story-Id: ")) {
                        let id = String::from_utf8_lossy(id).trim_end().to_owned();
                        stamps.lock().unwrap().push((id, Instant::now()));
                    }
                }
                count.fetch_add(1, Ordering::Relaxed);
                let replies = if lmtp { recipients } else { 1 };
                recipients = 0;
                for _ in 1..replies {
                    reader.get_mut().write_all(b"250 2.0.0 taken\r\n")?;
                }
                b"250 2.0.0 taken\r\n"
            }
            b"QUIT" => {
                reader.get_mut().write_all(b"221 2.0.0 bye\r\n")?;
                return Ok(());
            }
            _ => b"250 2.0.0 ok\r\n",
        };
        reader.get_mut().write_all(answer)?;
    }
}
