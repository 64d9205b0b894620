//! `stormpost doctor`: everything that must be right for this node to carry a company's mail, looked at now.
//!
//! One file for each group of topics. A topic is a name, what it needs, and a function from the [`Patient`] to findings; a new
//! one is a file of its own and a line in [`TOPICS`].

mod certificate;
mod clock;
mod copies;
mod domains;
mod doors;
mod events;
mod files;
mod finding;
mod leaving;
mod notices;
mod patient;
mod primary;
mod records;
mod room;
mod sender;
mod spf;
#[cfg(test)]
mod tests;
mod transport;
mod wire;

pub use certificate::Shown;
pub use finding::{Finding, Grade};
pub use patient::Patient;
pub use records::{Kind, Records, Row, Rows};
pub use wire::{Talked, Tongue, talk};

use crate::command::{Desk, Ended, Failure, code, complain, moment};
use clap::Args;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;
use words_world::Boxed;

/// How long one topic may take, with everything it asks.
const TOPIC_MAX: Duration = Duration::from_secs(40);

/// `stormpost doctor`.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// Only these topics; repeat for more.
    #[arg(long, value_name = "TOPIC", value_delimiter = ',', value_parser = topic)]
    only: Vec<&'static Topic>,
    /// Ask nobody: no name server, no primary, no door; only this machine and the node.
    #[arg(long)]
    offline: bool,
}

/// What a topic needs to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// This machine alone.
    Machine,
    /// Others: name servers, primaries, doors.
    Others,
}

/// One topic.
pub struct Topic {
    /// Its name, for `--only` and for scripts.
    pub name: &'static str,
    /// What it needs.
    pub needs: Needs,
    /// Looks. It may take its time: it is bounded from outside, and runs beside all others.
    pub look: fn(Arc<Patient>) -> Boxed<'static, Vec<Finding>>,
}

impl std::fmt::Debug for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Everything that is looked at, in the order it is told.
pub const TOPICS: &[Topic] = &[
    Topic { name: "files", needs: Needs::Machine, look: files::files },
    Topic { name: "node", needs: Needs::Machine, look: events::node },
    Topic { name: "room", needs: Needs::Machine, look: room::look },
    Topic { name: "clock", needs: Needs::Others, look: clock::look },
    Topic { name: "doors", needs: Needs::Others, look: doors::look },
    Topic { name: "outbound", needs: Needs::Others, look: leaving::look },
    Topic { name: "dns", needs: Needs::Others, look: domains::name_servers },
    Topic { name: "mx", needs: Needs::Others, look: domains::exchangers },
    Topic { name: "reverse", needs: Needs::Others, look: domains::reverse_names },
    Topic { name: "spf", needs: Needs::Others, look: sender::spf },
    Topic { name: "dkim", needs: Needs::Others, look: sender::dkim },
    Topic { name: "dmarc", needs: Needs::Others, look: sender::dmarc },
    Topic { name: "mta-sts", needs: Needs::Others, look: transport::policy },
    Topic { name: "dane", needs: Needs::Others, look: transport::dane },
    Topic { name: "tls-rpt", needs: Needs::Others, look: transport::reports },
    Topic { name: "primary", needs: Needs::Others, look: primary::answers },
    Topic { name: "sign-in", needs: Needs::Others, look: primary::sign_ins },
    Topic { name: "directory", needs: Needs::Machine, look: files::directory },
    Topic { name: "notices", needs: Needs::Machine, look: notices::look },
    Topic { name: "copies", needs: Needs::Machine, look: copies::look },
    Topic { name: "events", needs: Needs::Machine, look: events::events },
];

fn topic(name: &str) -> Result<&'static Topic, String> {
    TOPICS.iter().find(|topic| topic.name == name).ok_or_else(|| {
        let names: Vec<&str> = TOPICS.iter().map(|topic| topic.name).collect();
        format!("there is no topic {name:?}; there are: {}", names.join(", "))
    })
}

/// Looks, tells, and gives the exit code.
///
/// # Errors
/// When the configuration cannot be read.
pub(crate) fn run(desk: &Desk, arguments: DoctorArguments) -> Ended {
    let configuration = desk.configuration()?;
    let runtime = crate::serve::runtime().map_err(Failure::from)?;
    let shows = !desk.output.json && std::io::stderr().is_terminal();
    let findings = runtime.block_on(async {
        let patient = Arc::new(Patient::meet(configuration, arguments.offline).await);
        let only = |topic: &&Topic| {
            arguments.only.is_empty() || arguments.only.iter().any(|wanted| wanted.name == topic.name)
        };
        let topics: Vec<&'static Topic> = TOPICS.iter().filter(only).collect();
        examine(&patient, &topics, |done, all| {
            if shows {
                let _ = write!(std::io::stderr(), "\rlooking: {done} of {all} ");
            }
        })
        .await
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    if shows {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    tell(desk, &findings);
    Ok(exit_code(&findings))
}

/// All topics beside each other, told in their order.
pub async fn examine(
    patient: &Arc<Patient>,
    topics: &[&'static Topic],
    progress: impl Fn(usize, usize),
) -> Vec<Finding> {
    let mut looking = JoinSet::new();
    for (place, topic) in topics.iter().enumerate() {
        let (patient, topic) = (patient.clone(), *topic);
        looking.spawn(async move { (place, topic, look(patient, topic).await) });
    }
    let mut found = Vec::new();
    let mut done = 0;
    progress(done, topics.len());
    while let Some(ended) = looking.join_next().await {
        done += 1;
        progress(done, topics.len());
        match ended {
            Ok((place, topic, findings)) => {
                found.extend(
                    findings.into_iter().map(|finding| (place, Finding { topic: topic.name, ..finding })),
                );
            }
            Err(fault) => complain(&format!("a topic was not looked at, by a fault of the program: {fault}")),
        }
    }
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, finding)| finding).collect()
}

async fn look(patient: Arc<Patient>, topic: &'static Topic) -> Vec<Finding> {
    if patient.offline && topic.needs == Needs::Others {
        return vec![Finding::unseen(topic.name, "not looked at: --offline")];
    }
    match timeout(TOPIC_MAX, (topic.look)(patient)).await {
        Ok(findings) => findings,
        Err(_) => {
            let words = format!("not finished within {} s", TOPIC_MAX.as_secs());
            vec![Finding::warn(topic.name, words).mend(format!("stormpost doctor --only {}", topic.name))]
        }
    }
}

/// The house's exit codes: all well, something to look at, something fails. What could not be seen is no finding.
pub fn exit_code(findings: &[Finding]) -> u8 {
    match findings.iter().map(|finding| finding.grade).max() {
        Some(Grade::Fail) => code::FAILED,
        Some(Grade::Warn) => code::FOUND,
        _ => code::WELL,
    }
}

fn tell(desk: &Desk, findings: &[Finding]) {
    let out = desk.output;
    let now = desk.now();
    let worst = findings.iter().map(|finding| finding.grade).max().unwrap_or(Grade::Ok);
    out.value(&serde_json::json!({
        "at": now, "version": env!("CARGO_PKG_VERSION"), "worst": worst, "findings": findings,
    }));
    let mut topic = "";
    for finding in findings {
        if finding.topic != topic {
            topic = finding.topic;
            out.say(&format!("\u{2014} {topic}"));
        }
        out.say(&format!("{:>4}  {}: {}", finding.grade.word(), finding.about, finding.words));
        if let Some(today) = &finding.today {
            out.say(&format!("        today: {today}"));
        }
        for (at, line) in finding.mend.iter().flat_map(|mend| mend.lines()).enumerate() {
            out.say(&format!("        {} {line}", if at == 0 { "mend: " } else { "      " }));
        }
    }
    let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
    out.say(&format!(
        "{} UTC: {} well, {} to look at, {} failing, {} could not be seen",
        moment(now),
        count(Grade::Ok),
        count(Grade::Warn),
        count(Grade::Fail),
        count(Grade::Unseen)
    ));
}
