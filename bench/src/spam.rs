//! Mail taken with rspamd asked in the session, beside rspamd's own rate: the same messages, the same number at once, the
//! same machine, in turns.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use stories::judges::ask_plainly;
use stories::lab::wait_for;
use stories::load::SmtpTalk;
use stories::stormpost::{Company, Setup};
use stories::{Lab, Names, Rspamd, Stormpost};

const FROM: &str = "sender@far.test";
const TO: &str = "anna@bench.test";

fn message(n: usize) -> String {
    let body = "Hello Anna, here are the minutes of our meeting of last week.\r\n".repeat(30);
    format!(
        "Received: from a{n}.far.test (a.far.test [192.0.2.7]) by far.test with ESMTPS; Sun, 22 Nov 2026 19:00:00 +0000\r\n\
         From: Sender <{FROM}>\r\nTo: <{TO}>\r\nSubject: minutes {n}\r\nDate: Sun, 22 Nov 2026 20:00:00 +0000\r\n\
         Message-ID: <{n}@far.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n{body}"
    )
}

/// So many at once, each its share; messages a second.
fn at_once(sessions: usize, each: usize, work: &(dyn Fn(usize) + Sync)) -> f64 {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for session in 0..sessions {
            scope.spawn(move || work(session));
        }
    });
    (sessions * each) as f64 / begun.elapsed().as_secs_f64()
}

/// Measures and prints.
pub fn run(on: &Path, sessions: usize, each: usize, rounds: usize) {
    let lab = Lab::below(on, "spam");
    let names = Names::start();
    names.here("far.test");
    names.mx("far.test", "far.test");
    let rspamd = Rspamd::start(&lab, names.address);
    let limits = format!(
        "messages_per_minute = 1000000\n\n[filter]\nstands = \"here\"\n[filter.rspamd]\naddress = \"127.0.0.1:{}\"\ntimeout = \"60s\"\nspam = \"tag\"\n",
        rspamd.port
    );
    let company = Company::alone("bench.test", &["anna"]);
    let setup = Setup { names: Some(names.address), limits, ..Setup::with(vec![company]) };
    let stormpost = Stormpost::start(&lab, "stormpost", &setup);
    let fields =
        [("IP", "127.0.0.1"), ("Helo", "far.test"), ("From", FROM), ("Rcpt", TO), ("Deliver-To", TO)];
    let edge = SocketAddr::from(([127, 0, 0, 1], stormpost.smtp));
    let mut ratios = Vec::new();
    println!("{sessions} at once, {each} messages each; rspamd has one worker");
    for round in 0..=rounds {
        let first = round * 10_000_000;
        let alone = at_once(sessions, each, &|session| {
            for n in 0..each {
                ask_plainly(rspamd.port, &fields, message(first + session * each + n).as_bytes());
            }
        });
        let taken = at_once(sessions, each, &|session| {
            let mut talk = SmtpTalk::open(edge, "far.test").unwrap();
            for n in 0..each {
                let message = message(first + 5_000_000 + session * each + n);
                let (reply, _) = talk.send(FROM, &[TO], message.as_bytes()).unwrap();
                assert!(reply.starts_with("250 "), "{reply}");
            }
        });
        // The first warms everything up.
        if round > 0 {
            println!(
                "rspamd alone {alone:7.0}/s   taken through Stormpost {taken:7.0}/s   {:.2}",
                taken / alone
            );
            ratios.push(taken / alone);
        }
        wait_for("the mailbox to have all", Duration::from_secs(120), || stormpost.queued() == 0);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median {:.2} of rspamd's own rate (bar: 0.80)", ratios[ratios.len() / 2]);
}
