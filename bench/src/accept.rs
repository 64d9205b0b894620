//! Durable accept with simultaneous relay to a sink, Stormpost and its neighbours in turns.

use std::net::SocketAddr;
use std::path::PathBuf;

use stories::stormpost::{Company, Hop, Setup};
use stories::{Lab, Names, Stormpost};

use crate::load::{Figures, Load};
use crate::peers::{DEFAULT, Postfix, TUNED};
use crate::sink::Sink;

/// The people mail is sent to.
const PEOPLE: usize = 20;

/// One line of the table: sessions, bytes, messages.
const LINES: [(usize, usize, usize); 6] = [
    (1, 4_096, 1_000),
    (20, 4_096, 6_000),
    (100, 4_096, 8_000),
    (1, 65_536, 500),
    (20, 65_536, 2_000),
    (100, 65_536, 2_000),
];

/// What is measured, and where.
#[derive(clap::Args)]
pub struct Accept {
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
    /// Only so many sessions.
    #[arg(long)]
    sessions: Option<usize>,
    /// Only messages of so many bytes.
    #[arg(long)]
    size: Option<usize>,
}

/// A Stormpost that hands everything to `sink`, knows the load's recipients and asks `names`: what is measured must not
/// be somebody's name server.
pub fn stormpost(lab: &Lab, sink: u16, names: &Names) -> Stormpost {
    let people: Vec<String> = (0..PEOPLE).map(|n| format!("person{n}")).collect();
    let locals: Vec<&str> = people.iter().map(String::as_str).collect();
    let company = Company { hop: Some(Hop::Smtp(sink)), ..Company::alone("company.test", &locals) };
    // As Postfix here: one address may send as much as it likes.
    let limits = "messages_per_minute = 1000000\n".to_owned();
    let setup = Setup { names: Some(names.address), limits, ..Setup::with(vec![company]) };
    Stormpost::start(lab, "stormpost", &setup)
}

/// The load's recipients.
pub fn recipients() -> Vec<String> {
    (0..PEOPLE).map(|n| format!("person{n}@company.test")).collect()
}

impl Accept {
    /// Measures everything and prints it.
    pub fn run(&self) {
        println!("sessions  bytes  peer        msg/s    p50 ms   p99 ms   max ms  relayed meanwhile");
        for (sessions, size, messages) in LINES {
            if self.sessions.is_some_and(|only| only != sessions)
                || self.size.is_some_and(|only| only != size)
            {
                continue;
            }
            let mut all: Vec<(&str, Vec<Figures>)> = Vec::new();
            for round in 0..self.rounds {
                // In turns, so that the machine's other work meets them all.
                for peer in ["stormpost", "postfix", "tuned"] {
                    if !self.only.is_empty() && !self.only.iter().any(|only| only == peer) {
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
        let (sink, names) = (Sink::start(), Names::start());
        let lab = Lab::below(&self.on, name);
        let load = |port: u16| {
            let load = Load {
                target: SocketAddr::from(([127, 0, 0, 1], port)),
                sessions,
                messages,
                size,
                per_connection: 20,
                to: recipients(),
                name: name.to_owned(),
            };
            load.run()
        };
        let figures = match peer {
            "stormpost" => load(stormpost(&lab, sink.port, &names).smtp),
            "postfix" => load(Postfix::start(lab.dir(), sink.port, DEFAULT).port),
            _ => load(Postfix::start(lab.dir(), sink.port, TUNED).port),
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
