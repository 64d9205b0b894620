//! The bars that are figures of Stormpost alone: memory, restart, delay.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stories::crowd::Crowd;
use stories::load::SmtpTalk;
use stories::{Lab, Names, Stormpost};

use crate::accept::{recipients, stormpost};
use crate::load::Load;
use crate::sink::Sink;

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Resident memory under 10,000 idle connections, and while fifty messages of 30 MB come in at once.
pub fn memory(on: &Path) {
    let lab = Lab::below(on, "memory");
    let sink = Sink::start();
    let names = Names::start();
    let stormpost = stormpost(&lab, sink.port, &names);
    println!("at rest: {}", megabytes(stormpost.resident()));
    let mut crowd = Crowd::gather(stormpost.smtp, 10_000);
    crowd.say(b"EHLO idle.outside.test\r\n");
    std::thread::sleep(Duration::from_secs(3));
    println!(
        "{} idle connections ({} refused): {}",
        crowd.streams.len(),
        crowd.refused,
        megabytes(stormpost.resident())
    );
    drop(crowd);
    println!("fifty messages of 30 MB at once: at most {}", megabytes(fifty_large(&stormpost)));
}

fn fifty_large(stormpost: &Stormpost) -> u64 {
    let most = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(stormpost.resident(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let senders: Vec<_> = (0..50).map(|n| scope.spawn(move || large(stormpost.smtp, n))).collect();
        for sender in senders {
            let reply = sender.join().unwrap();
            if !reply.starts_with("250") {
                println!("trouble: {reply}");
            }
        }
        over.store(true, Ordering::Relaxed);
        watch.join().unwrap();
    });
    most.into_inner()
}

fn large(port: u16, number: usize) -> String {
    let send = || -> Result<String, String> {
        let mut talk = SmtpTalk::open(SocketAddr::from(([127, 0, 0, 1], port)), "load.outside.test")?;
        talk.patience(Duration::from_secs(600));
        talk.command("MAIL FROM:<load@outside.test>")?;
        talk.command(&format!("RCPT TO:<person{}@company.test>", number % 20))?;
        talk.command("DATA")?;
        talk.write(format!("Subject: large\r\nX-Story-Id: large-{number}\r\n\r\n").as_bytes())?;
        let block = [b"z".repeat(76), b"\r\n".to_vec()].concat().repeat(1_000);
        for _ in 0..30_000_000 / block.len() {
            talk.write(&block)?;
        }
        talk.command(".")
    };
    send().unwrap_or_else(|why| why)
}

/// Time until mail is accepted again after a kill with `queued` messages waiting for a dead primary, until the queue is
/// known again, and until it flows once the primary is back.
pub fn restart(on: &Path, queued: usize) {
    let lab = Lab::below(on, "restart");
    // Nobody listens there: everything waits.
    let dead = stories::ports::free_port();
    let names = Names::start();
    let mut stormpost = stormpost(&lab, dead, &names);
    let load = Load {
        target: SocketAddr::from(([127, 0, 0, 1], stormpost.smtp)),
        sessions: 50,
        messages: queued,
        size: 4_096,
        per_connection: 100,
        to: recipients(),
        name: "queued".to_owned(),
    };
    let figures = load.run();
    println!("{} queued at {:.0} a second", figures.acknowledged, figures.rate);
    if let Some(trouble) = figures.trouble {
        println!("trouble: {trouble}");
    }
    let mut slowest = Duration::ZERO;
    for round in 0..5 {
        let sent = figures.acknowledged + round + 1;
        slowest = slowest.max(again(&mut stormpost, &load, round, sent));
    }
    println!("slowest {:.3} s", slowest.as_secs_f64());
    back(&mut stormpost, dead, figures.acknowledged + 5);
}

/// Kills all of it, starts it, and gives the time until the next message is acknowledged.
fn again(stormpost: &mut Stormpost, load: &Load, round: usize, sent: usize) -> Duration {
    // The edge and the part behind it: every process of it.
    stormpost.kill();
    assert!(stormpost.edge_pid().is_none(), "an edge lives on");
    let begun = Instant::now();
    stormpost.launch();
    let one =
        Load { sessions: 1, messages: 1, per_connection: 1, name: format!("again{round}"), ..load.clone() };
    while one.run().acknowledged == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let took = begun.elapsed();
    let known = loop {
        let status = stormpost.tell(&["status"]);
        if status.ok && !status.out.contains("the queue is still being read") {
            break begun.elapsed();
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    println!(
        "kill {round}: after the start, the first message acknowledged {:.3} s; the queue of {sent} known {:.2} s; {} resident",
        took.as_secs_f64(),
        known.as_secs_f64(),
        megabytes(stormpost.resident())
    );
    took
}

/// A last kill, and the primary back at the same moment.
fn back(stormpost: &mut Stormpost, port: u16, sent: usize) {
    stormpost.kill();
    let sink = Sink::at(port);
    let begun = Instant::now();
    stormpost.launch();
    let mut first = None;
    let mut most = 0;
    let limit = Duration::from_secs(600);
    while sink.taken() < sent && begun.elapsed() < limit {
        if sink.taken() > 0 {
            first.get_or_insert_with(|| begun.elapsed());
        }
        most = most.max(stormpost.resident());
        std::thread::sleep(Duration::from_millis(10));
    }
    let all = begun.elapsed();
    let first = first.unwrap_or(all);
    println!(
        "primary back: first delivery {:.2} s after the start; {} of {sent} delivered after {:.1} s ({:.0} a second); \
         at most {} resident",
        first.as_secs_f64(),
        sink.taken(),
        all.as_secs_f64(),
        sink.taken() as f64 / all.saturating_sub(first).as_secs_f64(),
        megabytes(most)
    );
}

/// Starts Stormpost before a sink, says where it is, and waits until standard input ends.
pub fn stand(on: &Path) {
    let lab = Lab::below(on, "stand");
    let sink = Sink::start();
    let names = Names::start();
    let stormpost = stormpost(&lab, sink.port, &names);
    let edge = stormpost.edge_pid().unwrap_or_default();
    println!("SMTP on port {}; the inside is process {}, the edge {edge}", stormpost.smtp, stormpost.pid());
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}

/// The delay that Stormpost adds in peace: from its acknowledgement to the primary's having the message.
pub fn delay(on: &Path, messages: usize) {
    let lab = Lab::below(on, "delay");
    let sink = Sink::stamping();
    let names = Names::start();
    let stormpost = stormpost(&lab, sink.port, &names);
    let load = stories::Load {
        sessions: 4,
        messages: messages / 4,
        pause: Duration::from_millis(50),
        ..stories::Load::new(stormpost.smtp, "delay", &recipients())
    };
    let sent = load.run();
    let limit = Instant::now() + Duration::from_secs(30);
    while sink.taken() < sent.len() && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(10));
    }
    let came: HashMap<String, Instant> = sink.stamps().into_iter().collect();
    let mut delays: Vec<Duration> =
        sent.iter().filter_map(|one| Some(came.get(&one.id)?.saturating_duration_since(one.at))).collect();
    delays.sort();
    let at = |share: usize| {
        delays
            .get((delays.len() * share / 100).min(delays.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{} of {} messages: acknowledged → at the primary p50 {:.1} ms, p99 {:.1} ms, slowest {:.1} ms",
        delays.len(),
        sent.len(),
        at(50).as_secs_f64() * 1e3,
        at(99).as_secs_f64() * 1e3,
        at(100).as_secs_f64() * 1e3
    );
}
