//! A name server that knows the story's world and nothing else.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TXT: u16 = 16;
const MX: u16 = 15;
const A: u16 = 1;
const PTR: u16 = 12;

type Zone = HashMap<(String, u16), Vec<Vec<u8>>>;

/// Answers over UDP; every other name does not exist.
pub struct Names {
    /// Where it answers.
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    mute: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Default for Names {
    fn default() -> Self {
        Names::start()
    }
}

impl Names {
    /// Starts with an empty zone.
    pub fn start() -> Names {
        Names::bound(SocketAddr::from(([127, 0, 0, 1], crate::ports::free_port())))
    }

    /// Starts with an empty zone at the usual port of a loopback address of its own, for programs that ask no other.
    pub fn at_usual_port() -> Names {
        static NUMBER: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        Names::bound(SocketAddr::from(([127, 100 | number, high, low], 53)))
    }

    fn bound(place: SocketAddr) -> Names {
        let socket = UdpSocket::bind(place).expect("the name server's port is free");
        let address = socket.local_addr().expect("a bound socket has an address");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a read limit can be set");
        let zone = Arc::new(Mutex::new(Zone::new()));
        let (mute, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (known, silent, ended) = (zone.clone(), mute.clone(), over.clone());
        std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while !ended.load(Ordering::Relaxed) {
                let Ok((size, peer)) = socket.recv_from(&mut packet) else { continue };
                if silent.load(Ordering::Relaxed) {
                    continue;
                }
                if let Some(answer) = answer(&packet[..size], &known.lock().unwrap()) {
                    let _ = socket.send_to(&answer, peer);
                }
            }
        });
        Names { address, zone, mute, over }
    }

    /// Adds a TXT record.
    pub fn txt(&self, name: &str, text: &str) {
        let mut record = Vec::new();
        for part in text.as_bytes().chunks(255) {
            record.push(u8::try_from(part.len()).unwrap_or(255));
            record.extend_from_slice(part);
        }
        self.add(name, TXT, record);
    }

    /// Adds an A record for 127.0.0.1.
    pub fn here(&self, name: &str) {
        self.add(name, A, vec![127, 0, 0, 1]);
    }

    /// Adds an A record for another address.
    pub fn add_address(&self, name: &str, ip: [u8; 4]) {
        self.add(name, A, ip.to_vec());
    }

    /// Adds an MX record.
    pub fn mx(&self, domain: &str, host: &str) {
        self.mx_at(domain, 10, host);
    }

    /// Adds an MX record of this preference.
    pub fn mx_at(&self, domain: &str, preference: u8, host: &str) {
        let mut record = vec![0, preference];
        record.extend(encoded(host));
        self.add(domain, MX, record);
    }

    /// Takes away every MX record of a domain.
    pub fn no_mx(&self, domain: &str) {
        self.zone.lock().unwrap().remove(&(domain.to_ascii_lowercase(), MX));
    }

    /// Takes away every TXT record of a name.
    pub fn no_txt(&self, name: &str) {
        self.zone.lock().unwrap().remove(&(name.to_ascii_lowercase(), TXT));
    }

    /// Adds an A record.
    pub fn at(&self, name: &str, ip: [u8; 4]) {
        self.add(name, A, ip.to_vec());
    }

    /// Lets an address have this name and no other.
    pub fn called(&self, [a, b, c, d]: [u8; 4], name: &str) {
        let place = format!("{d}.{c}.{b}.{a}.in-addr.arpa");
        self.zone.lock().unwrap().remove(&(place.clone(), PTR));
        self.add(&place, PTR, encoded(name));
    }

    /// Stops or begins again to answer at all.
    pub fn mute(&self, silent: bool) {
        self.mute.store(silent, Ordering::Relaxed);
    }

    /// Adds an A record.
    pub fn address(&self, name: &str, ip: Ipv4Addr) {
        self.add(name, A, ip.octets().to_vec());
    }

    fn add(&self, name: &str, kind: u16, record: Vec<u8>) {
        self.zone.lock().unwrap().entry((name.to_ascii_lowercase(), kind)).or_default().push(record);
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap_or(63));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// RFC 1035 §4: header, the question repeated, the answers each naming the question by a pointer.
fn answer(query: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
    let question = query.get(12..at + 4)?;
    let name = labels.join(".");
    let found = zone.get(&(name.clone(), kind));
    let exists = zone.keys().any(|(known, _)| known == &name || known.ends_with(&format!(".{name}")));
    let records = found.map_or(&[][..], Vec::as_slice);
    let mut out = query.get(..2)?.to_vec();
    // An authoritative answer; name error when nothing of this name is known.
    let authority = u8::from(records.is_empty());
    let count = u8::try_from(records.len()).ok()?;
    out.extend([0x85, if exists { 0x80 } else { 0x83 }, 0, 1, 0, count, 0, authority, 0, 0]);
    out.extend_from_slice(question);
    if records.is_empty() {
        // RFC 2308 §3: a start of authority lets the asker remember the no, here for five seconds.
        out.extend([0, 0, 6, 0, 1, 0, 0, 0, 5, 0, 22, 0, 0]);
        out.extend([1_u32, 5, 5, 5, 5].iter().flat_map(|number| number.to_be_bytes()));
    }
    for record in records {
        out.extend([0xC0, 0x0C]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 5]);
        out.extend(u16::try_from(record.len()).ok()?.to_be_bytes());
        out.extend_from_slice(record);
    }
    Some(out)
}
