//! IMAP beside Dovecot: memory of connections that wait, headers of a large mailbox, signing in.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use stories::crowd::connect_from;
use stories::stormpost::{Company, Setup};
use stories::tls::{self, Stream};
use stories::{Lab, Primary, PrimaryOptions, Stormpost};

/// Dovecot for very many connections.
const MANY: &str = "service imap-login {\n  service_count = 0\n  client_limit = 10000\n  process_min_avail = 2\n}\n\
     service imap {\n  process_limit = 10000\n}\nservice anvil {\n  client_limit = 40000\n}\n\
     service auth {\n  client_limit = 40000\n}\ndefault_client_limit = 20000\nmail_max_userip_connections = 10000\n";

/// Messages of one APPEND (RFC 3502).
const TOGETHER: usize = 50;

/// The two servers, each with one mailbox.
struct Both {
    ours: Stormpost,
    theirs: Primary,
}

impl Both {
    fn start(lab: &Lab) -> Both {
        let limits =
            "imap_connections_per_account = 10000\nimap_connections_per_address = 10000\n".to_owned();
        let setup = Setup { limits, ..Setup::with(vec![Company::alone("home.test", &["anna"])]) };
        let options = PrimaryOptions { dovecot: MANY.to_owned(), ..PrimaryOptions::default() };
        Both {
            ours: Stormpost::start(lab, "stormpost", &setup),
            theirs: Primary::start(lab, "company.test", &options),
        }
    }

    fn talk(&self, who: Who) -> Talk {
        let (port, domain) = match who {
            Who::Ours => (self.ours.imaps, "home.test"),
            Who::Theirs => (self.theirs.imap, "company.test"),
        };
        Talk::open(who, port, domain, 1)
    }

    /// Puts the same messages into both.
    fn fill(&self, messages: usize) {
        for who in [Who::Ours, Who::Theirs] {
            let begun = Instant::now();
            let mut talk = self.talk(who);
            talk.sign_in();
            let mut number = 0;
            while number < messages {
                let mut command = b"f APPEND INBOX".to_vec();
                for _ in 0..TOGETHER.min(messages - number) {
                    let text = message(number);
                    command.extend_from_slice(format!(" (\\Seen) {{{}+}}\r\n", text.len()).as_bytes());
                    command.extend_from_slice(text.as_bytes());
                    number += 1;
                }
                command.extend_from_slice(b"\r\n");
                talk.say(&command);
                talk.hear("f ");
            }
            println!(
                "{}: {messages} messages appended in {:.1} s",
                who.name(),
                begun.elapsed().as_secs_f64()
            );
        }
    }
}

fn message(number: usize) -> String {
    format!(
        "Return-Path: <writer{p}@outside.test>\r\nReceived: from relay.outside.test (relay.outside.test [192.0.2.7])\r\n\
         \tby mx.home.test with ESMTPS id {number:08}; Sun, 22 Nov 2026 10:{m:02}:{s:02} +0000\r\n\
         DKIM-Signature: v=1; a=rsa-sha256; d=outside.test; s=a; h=from:to:subject:date; bh=\r\n {fill}; b={fill}\r\n\
         Date: Sun, 22 Nov 2026 10:{m:02}:{s:02} +0000\r\nFrom: Writer {p} <writer{p}@outside.test>\r\n\
         To: Anna <anna@home.test>, Team <team{t}@home.test>\r\nSubject: Re: subject {t} of many\r\n\
         Message-ID: <{number}@outside.test>\r\nReferences: <{r}@outside.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n{body}",
        p = number % 97,
        t = number % 311,
        r = number.saturating_sub(311),
        m = number / 60 % 60,
        s = number % 60,
        fill = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0".repeat(3),
        body = "A line of a letter that is neither long nor short.\r\n".repeat(50),
    )
}

/// Whom one talks to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Ours,
    Theirs,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Who::Ours => "Stormpost (TLS)",
            Who::Theirs => "Dovecot (plain)",
        }
    }
}

/// One connection.
struct Talk {
    stream: BufReader<Box<dyn Stream>>,
    user: String,
}

impl Talk {
    fn open(who: Who, port: u16, domain: &str, host: u8) -> Talk {
        let stream: TcpStream = connect_from(Ipv4Addr::new(127, 0, 8, host), port).unwrap();
        let _ = stream.set_nodelay(true);
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let stream: Box<dyn Stream> =
            if who == Who::Ours { tls::begin(stream).unwrap() } else { Box::new(stream) };
        let mut talk = Talk { stream: BufReader::new(stream), user: format!("anna@{domain}") };
        talk.hear("* OK");
        talk
    }

    fn sign_in(&mut self) {
        let line = format!("l LOGIN {} pw-anna\r\n", self.user);
        self.say(line.as_bytes());
        self.hear("l OK");
    }

    fn say(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).and_then(|()| self.stream.get_mut().flush()).unwrap();
    }

    /// Reads lines, literals too, until one begins so; how many bytes came.
    fn hear(&mut self, begin: &str) -> usize {
        let (mut line, mut literal, mut count) = (Vec::new(), Vec::new(), 0);
        let mut fresh = true;
        loop {
            line.clear();
            let n = self.stream.read_until(b'\n', &mut line).unwrap();
            assert!(n > 0, "closed while waiting for {begin}");
            count += n;
            if fresh && line.starts_with(begin.as_bytes()) {
                return count;
            }
            assert!(
                !line.starts_with(b"l NO") && !line.starts_with(b"* BYE"),
                "{}",
                String::from_utf8_lossy(&line)
            );
            let size = line.strip_suffix(b"}\r\n").and_then(|rest| {
                let open = rest.iter().rposition(|b| *b == b'{')?;
                std::str::from_utf8(&rest[open + 1..]).ok()?.parse::<usize>().ok()
            });
            fresh = size.is_none();
            if let Some(size) = size {
                literal.resize(size, 0);
                self.stream.read_exact(&mut literal).unwrap();
                count += size;
            }
        }
    }
}

/// Memory of connections that wait in IDLE, with a mailbox selected.
pub fn idle(on: &Path, connections: usize) {
    let lab = Lab::below(on, "imap-idle");
    let both = Both::start(&lab);
    both.fill(1_000);
    for who in [Who::Ours, Who::Theirs] {
        // Both stand in the command line of Dovecot's first process.
        let dir = lab.dir().display().to_string();
        let marks = [dir.as_str(), "dovecot.conf"];
        let resident = || match who {
            Who::Ours => (memory(both.ours.pid(), "VmRSS"), memory(both.ours.pid(), "Pss")),
            Who::Theirs => family(marks),
        };
        let (port, domain) = match who {
            Who::Ours => (both.ours.imaps, "home.test"),
            Who::Theirs => (both.theirs.imap, "company.test"),
        };
        // What is made once for all is there.
        both.talk(who).sign_in();
        let before = resident();
        let begun = Instant::now();
        let mut crowd = Vec::with_capacity(connections);
        for number in 0..connections {
            let mut talk = Talk::open(who, port, domain, u8::try_from(number / 200 % 250 + 1).unwrap_or(1));
            talk.sign_in();
            talk.say(b"s SELECT INBOX\r\n");
            talk.hear("s OK");
            talk.say(b"i IDLE\r\n");
            talk.hear("+ ");
            crowd.push(talk);
        }
        let took = begun.elapsed().as_secs_f64();
        std::thread::sleep(Duration::from_secs(2));
        let after = resident();
        let each =
            |before: u64, after: u64| after.saturating_sub(before) as f64 / 1_024.0 / connections as f64;
        println!(
            "{}: {connections} in IDLE after {took:.1} s: {:.1} KiB resident each, {:.1} KiB proportional each",
            who.name(),
            each(before.0, after.0),
            each(before.1, after.1)
        );
    }
}

/// One figure of a process's memory in bytes.
fn memory(pid: u32, name: &str) -> u64 {
    let file = if name == "Pss" { "smaps_rollup" } else { "status" };
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

/// Memory of a process whose command line has these in it and of all that came from it: resident, and with what they share
/// divided among them.
fn family(marks: [&str; 2]) -> (u64, u64) {
    let pids: Vec<u32> = std::fs::read_dir("/proc")
        .map(|all| all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
        .unwrap_or_default();
    let command = |pid: u32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let parent = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    let has = |pid: u32| {
        let command = command(pid);
        marks.iter().all(|mark| command.windows(mark.len()).any(|piece| piece == mark.as_bytes()))
    };
    let mut family: Vec<u32> =
        pids.iter().copied().filter(|pid| *pid != std::process::id() && has(*pid)).collect();
    let mut at = 0;
    while let Some(one) = family.get(at).copied() {
        let children: Vec<u32> =
            pids.iter().copied().filter(|pid| parent(*pid) == Some(one) && !family.contains(pid)).collect();
        family.extend(children);
        at += 1;
    }
    let sum = |name: &str| family.iter().map(|pid| memory(*pid, name)).sum();
    (sum("VmRSS"), sum("Pss"))
}

/// What a client asks of a mailbox that it opens for the first time.
const QUESTIONS: [&str; 4] = [
    "UID FETCH 1:* (UID FLAGS RFC822.SIZE BODY.PEEK[HEADER])",
    "UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (DATE FROM TO CC SUBJECT MESSAGE-ID REFERENCES)])",
    "UID FETCH 1:* (UID FLAGS INTERNALDATE ENVELOPE)",
    "UID FETCH 1:* (UID FLAGS)",
];

/// Headers of a large mailbox.
pub fn fetch(on: &Path, messages: usize, rounds: usize) {
    let lab = Lab::below(on, "imap-fetch");
    let both = Both::start(&lab);
    both.fill(messages);
    let orders = ["UID SORT (REVERSE DATE) UTF-8 ALL", "UID THREAD REFERENCES UTF-8 ALL"];
    for question in QUESTIONS.into_iter().chain(orders) {
        let mut times: [Vec<f64>; 2] = Default::default();
        for round in 0..rounds {
            for (times, who) in times.iter_mut().zip([Who::Ours, Who::Theirs]) {
                let mut talk = both.talk(who);
                talk.sign_in();
                talk.say(b"s EXAMINE INBOX\r\n");
                talk.hear("s OK");
                let begun = Instant::now();
                talk.say(format!("q {question}\r\n").as_bytes());
                let bytes = talk.hear("q OK");
                let took = begun.elapsed().as_secs_f64();
                println!("  round {round}: {}: {:.3} s, {bytes} bytes", who.name(), took);
                times.push(took);
            }
        }
        report(question, times);
    }
}

fn report(what: &str, mut times: [Vec<f64>; 2]) {
    let [ours, theirs] = times.each_mut().map(|times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!(
        "{what}: ours {ours:.4} s, Dovecot {theirs:.4} s; Dovecot takes {:.2} times as long",
        theirs / ours
    );
}

/// Signing in when the password was checked a moment ago.
pub fn login(on: &Path, times: usize) {
    let lab = Lab::below(on, "imap-login");
    let both = Both::start(&lab);
    let mut all: [Vec<f64>; 2] = Default::default();
    for who in [Who::Ours, Who::Theirs] {
        both.talk(who).sign_in();
    }
    for _ in 0..times {
        for (all, who) in all.iter_mut().zip([Who::Ours, Who::Theirs]) {
            let mut talk = both.talk(who);
            let begun = Instant::now();
            talk.sign_in();
            all.push(begun.elapsed().as_secs_f64());
        }
    }
    report("LOGIN", all);
}
