//! The bars, measured.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;
use std::path::PathBuf;

use bench::load::{Figures, Load};
use bench::peers::{DEFAULT, Postfix, Room, TUNED};
use bench::sink::Sink;
use clap::{Parser, Subcommand};

/// Measures Stormpost against its bars; see bench/README.md.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Durable accept with simultaneous relay to a sink: Stormpost, Postfix, tuned Postfix, in turns.
    Accept(Accept),
}

#[derive(clap::Args)]
struct Accept {
    /// Rounds; the median is reported.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Divides the number of messages, for a quick look.
    #[arg(long, default_value_t = 1)]
    divide: usize,
    /// Where the servers keep their files: the disk that is measured.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    on: PathBuf,
    /// Only these: stormpost, postfix, tuned.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// One line of the table: sessions, bytes, messages.
const LINES: [(usize, usize, usize); 5] =
    [(1, 4_096, 1_000), (20, 4_096, 6_000), (100, 4_096, 8_000), (1, 65_536, 500), (20, 65_536, 2_000)];

fn main() {
    match Arguments::parse().what {
        What::Accept(accept) => accept.run(),
    }
}

impl Accept {
    fn wants(&self, peer: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == peer)
    }

    fn run(&self) {
        println!("sessions  bytes  peer        msg/s    p50 ms   p99 ms   max ms  relayed meanwhile");
        for (sessions, size, messages) in LINES {
            let mut all: Vec<(&str, Vec<Figures>)> = Vec::new();
            for round in 0..self.rounds {
                // In turns, so that the machine's other work meets them all.
                for peer in ["stormpost", "postfix", "tuned"] {
                    if !self.wants(peer) {
                        continue;
                    }
                    let name = format!("{peer}-{sessions}-{size}-{round}");
                    let (figures, relayed) =
                        self.measure(peer, &name, sessions, size, messages / self.divide);
                    println!("{}", line(sessions, size, peer, &figures, relayed));
                    if let Some(trouble) = &figures.trouble {
                        println!("          trouble: {trouble}");
                    }
                    match all.iter_mut().find(|(known, _)| *known == peer) {
                        Some((_, list)) => list.push(figures),
                        None => all.push((peer, vec![figures])),
                    }
                }
            }
            ratios(sessions, size, &all);
        }
    }

    fn measure(
        &self,
        peer: &str,
        name: &str,
        sessions: usize,
        size: usize,
        messages: usize,
    ) -> (Figures, usize) {
        let sink = Sink::start();
        let room = Room::make(&self.on, name);
        let load = |port: u16| Load {
            target: SocketAddr::from(([127, 0, 0, 1], port)),
            sessions,
            messages,
            size,
            per_connection: 20,
            to: (0..20).map(|n| format!("person{n}@company.test")).collect(),
            name: name.to_owned(),
        };
        let figures = match peer {
            "postfix" => load(Postfix::start(room.dir(), sink.port, DEFAULT).port).run(),
            _ => {
                let postfix = Postfix::start(room.dir(), sink.port, TUNED);
                load(postfix.port).run()
            }
        };
        (figures, sink.taken())
    }
}

fn line(sessions: usize, size: usize, peer: &str, figures: &Figures, relayed: usize) -> String {
    let millis = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    format!(
        "{sessions:8} {size:6}  {peer:10} {:6.0} {:9.2} {:8.2} {:8.1}  {relayed} of {}",
        figures.rate,
        millis(figures.p50),
        millis(figures.p99),
        millis(figures.max),
        figures.acknowledged,
    )
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn ratios(sessions: usize, size: usize, all: &[(&str, Vec<Figures>)]) {
    let of = |peer: &str| all.iter().find(|(known, _)| *known == peer).map(|(_, list)| list);
    let Some(ours) = of("stormpost") else { return };
    for peer in ["postfix", "tuned"] {
        let Some(theirs) = of(peer) else { continue };
        let rate = |list: &[Figures]| median(list.iter().map(|one| one.rate).collect());
        let p99 = |list: &[Figures]| median(list.iter().map(|one| one.p99.as_secs_f64()).collect());
        println!(
            "{sessions:8} {size:6}  stormpost ÷ {peer}: rate {:.2}, p99 {:.2}",
            rate(ours) / rate(theirs),
            p99(ours) / p99(theirs)
        );
    }
}
