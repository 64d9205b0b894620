//! The smallest machine that is promised: one processor, one gigabyte, fifty people.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stories::crowd::connect_from;
use stories::load::SmtpTalk;
use stories::stormpost::{Company, Hop, Setup, program};
use stories::tls::{self, Stream};
use stories::tree::resident;
use stories::{Lab, Names, Stormpost};

use crate::load::Load;
use crate::sink::Sink;

/// People, each with an open mail program.
const PEOPLE: usize = 50;
/// What the unit allows (`MemoryMax`): the rest of the gigabyte is the system's.
const MEMORY: u64 = 768 << 20;
/// Bytes of a big message.
const BIG: usize = 25_000_000;
/// Big messages at once.
const BIG_ONES: usize = 10;

/// A control group of our own that bounds the memory; removed at the end.
struct Bound {
    group: Option<PathBuf>,
}

impl Bound {
    fn new() -> Bound {
        for (top, limit) in
            [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]
        {
            let group = Path::new(top).join(format!("stormpost-bench-{}", std::process::id()));
            if fs::create_dir(&group).is_ok() {
                if fs::write(group.join(limit), MEMORY.to_string()).is_ok() {
                    return Bound { group: Some(group) };
                }
                let _ = fs::remove_dir(&group);
            }
        }
        println!("no control group may be made here: the memory is measured, not bounded");
        Bound { group: None }
    }

    /// The program, in this group and on the first processor.
    fn script(&self, folder: &Path) -> PathBuf {
        let enter = self.group.as_ref().map(|group| format!("echo $$ >{}/cgroup.procs\n", group.display()));
        let script = folder.join("small");
        let text = format!(
            "#!/bin/sh\n{}exec taskset -c 0 {} \"$@\"\n",
            enter.unwrap_or_default(),
            program().display()
        );
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        script
    }

    /// The most that was used at once, the disk's cache included, and how often the bound was met.
    fn used(&self) -> Option<(u64, u64)> {
        let group = self.group.as_ref()?;
        let read = |names: [&str; 2]| {
            names
                .iter()
                .find_map(|name| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok())
        };
        Some((
            read(["memory.max_usage_in_bytes", "memory.peak"])?,
            read(["memory.failcnt", "-"]).unwrap_or(0),
        ))
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            let _ = fs::remove_dir(group);
        }
    }
}

/// The most that each process had at once.
#[derive(Default)]
struct Most {
    inside: AtomicU64,
    edge: AtomicU64,
}

impl Most {
    fn look(&self, stormpost: &Stormpost) {
        let of = |pid: Option<u32>| pid.and_then(resident).unwrap_or(0);
        self.inside.fetch_max(of(Some(stormpost.pid())), Ordering::Relaxed);
        self.edge.fetch_max(of(stormpost.edge_pid()), Ordering::Relaxed);
    }

    fn say(&self, what: &str) {
        let read = |most: &AtomicU64| most.swap(0, Ordering::Relaxed) as f64 / 1e6;
        println!("{what}: at most {:.1} MB inside, {:.1} MB edge", read(&self.inside), read(&self.edge));
    }
}

/// A mail program that waits for mail.
fn idle(port: u16, person: usize) -> BufReader<Box<dyn Stream>> {
    let stream: TcpStream = connect_from(Ipv4Addr::new(127, 0, 9, 1), port).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let mut talk: BufReader<Box<dyn Stream>> = BufReader::new(tls::begin(stream).unwrap());
    let hear = |talk: &mut BufReader<Box<dyn Stream>>, begin: &str| loop {
        let mut line = String::new();
        assert!(talk.read_line(&mut line).unwrap() > 0, "closed while waiting for {begin}");
        if line.starts_with(begin) {
            return;
        }
    };
    hear(&mut talk, "* OK");
    for (say, answer) in [
        (format!("a LOGIN person{person}@company.test pw-person{person}\r\n"), "a OK"),
        ("b SELECT INBOX\r\n".to_owned(), "b OK"),
        ("c IDLE\r\n".to_owned(), "+"),
    ] {
        talk.get_mut().write_all(say.as_bytes()).unwrap();
        talk.get_mut().flush().unwrap();
        hear(&mut talk, answer);
    }
    talk
}

fn big(port: u16, number: usize) -> Result<String, String> {
    let mut talk = SmtpTalk::open(SocketAddr::from(([127, 0, 0, 1], port)), "load.outside.test")?;
    talk.patience(Duration::from_secs(600));
    talk.command("MAIL FROM:<load@outside.test>")?;
    talk.command(&format!("RCPT TO:<person{number}@company.test>"))?;
    talk.command("DATA")?;
    talk.write(format!("Subject: big\r\nX-Story-Id: big-{number}\r\n\r\n").as_bytes())?;
    let block = [b"z".repeat(76), b"\r\n".to_vec()].concat().repeat(1_000);
    for _ in 0..BIG / block.len() {
        talk.write(&block)?;
    }
    talk.command(".")
}

fn start(lab: &Lab, sink: &Sink, names: &Names, bound: &Bound) -> Stormpost {
    let people: Vec<String> = (0..PEOPLE).map(|person| format!("person{person}")).collect();
    let named: Vec<&str> = people.iter().map(String::as_str).collect();
    let company = Company { hop: Some(Hop::Smtp(sink.port)), ..Company::alone("company.test", &named) };
    let limits = "imap_connections_per_address = 100\nmessages_per_minute = 1000000\n".to_owned();
    let setup = Setup { names: Some(names.address), limits, ..Setup::with(vec![company]) };
    let mut stormpost = Stormpost::prepare(lab, "stormpost", &setup);
    stormpost.program = Some(bound.script(&lab.room("scripts")));
    println!("greets {:.2} s after its start", stormpost.restart().as_secs_f64());
    stormpost
}

/// Ten a second: a busy day of fifty people, several times over.
fn steady(stormpost: &Stormpost, to: &[String], seconds: u64, most: &Most) -> usize {
    let load = stories::Load {
        sessions: 5,
        messages: usize::try_from(seconds).unwrap_or(30) * 2,
        size: 8_192,
        pause: Duration::from_millis(500),
        ..stories::Load::new(stormpost.smtp, "steady", to)
    };
    let sent = load.run();
    let mut waits: Vec<Duration> = sent.iter().map(|one| one.latency).collect();
    waits.sort();
    most.say(&format!(
        "steady, {} messages of 8 KiB in {seconds} s, acknowledged in {:.1} ms (median), {:.1} ms (slowest)",
        sent.len(),
        waits[waits.len() / 2].as_secs_f64() * 1e3,
        waits[waits.len() - 1].as_secs_f64() * 1e3
    ));
    sent.len()
}

fn burst(stormpost: &Stormpost, to: &[String], most: &Most) -> usize {
    let load = Load {
        target: SocketAddr::from(([127, 0, 0, 1], stormpost.smtp)),
        sessions: 20,
        messages: 10_000,
        size: 8_192,
        per_connection: 20,
        to: to.to_vec(),
        name: "burst".to_owned(),
    };
    let figures = load.run();
    most.say(&format!(
        "as fast as it goes, {} messages of 8 KiB: {:.0} a second acknowledged, p99 {:.1} ms{}",
        figures.acknowledged,
        figures.rate,
        figures.p99.as_secs_f64() * 1e3,
        figures.trouble.map(|why| format!(", trouble: {why}")).unwrap_or_default()
    ));
    figures.acknowledged
}

fn big_ones(port: u16) -> usize {
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..BIG_ONES).map(|number| scope.spawn(move || big(port, number))).collect();
        let replies = senders.into_iter().map(|one| one.join().unwrap());
        replies.filter(|reply| reply.as_ref().is_ok_and(|reply| reply.starts_with("250"))).count()
    })
}

/// Measures. The clients should have another processor: `taskset -c 1 target/release/bench small`.
pub fn small(on: &Path, seconds: u64) {
    let lab = Lab::below(on, "small");
    let (sink, names, bound) = (Sink::start(), Names::start(), Bound::new());
    let mut stormpost = start(&lab, &sink, &names, &bound);
    let most = Most::default();
    most.look(&stormpost);
    most.say("at rest");
    let clients: Vec<_> = (0..PEOPLE).map(|person| idle(stormpost.imaps, person)).collect();
    most.look(&stormpost);
    most.say(&format!("{} people wait in IDLE", clients.len()));
    let to: Vec<String> = (0..PEOPLE).map(|person| format!("person{person}@company.test")).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                most.look(&stormpost);
                std::thread::sleep(Duration::from_millis(25));
            }
        });
        let small = steady(&stormpost, &to, seconds, &most) + burst(&stormpost, &to, &most);
        let begun = Instant::now();
        let taken = big_ones(stormpost.smtp);
        let (took, all) = (begun.elapsed().as_secs_f64(), small + taken);
        let until = Instant::now() + Duration::from_secs(120);
        while sink.taken() < all && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
        }
        most.say(&format!(
            "{taken} of {BIG_ONES} messages of 25 MB at once, in {took:.1} s, and all handed on"
        ));
        let handed = begun.elapsed().as_secs_f64();
        println!("{} of {all} at the primary {handed:.1} s after the first big one began", sink.taken());
        over.store(true, Ordering::Relaxed);
    });
    drop(clients);
    if let Some((used, met)) = bound.used() {
        println!(
            "bounded to {} MB: at most {} MB used, the disk's cache included; the bound was met {met} times",
            MEMORY >> 20,
            used >> 20
        );
    }
    let lived = stormpost.edge_pid().is_some() && stormpost.lives();
    stormpost.stop();
    println!("{}", if lived { "both processes lived to the end" } else { "a process died" });
}
