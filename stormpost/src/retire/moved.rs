//! Whether mail goes elsewhere: looked at in the DNS until it is seen, and then for as long as the old answer may be remembered.

use super::progress::Progress;
use crate::command::{Failure, complain, moment};
use crate::configuration::Configuration;
use crate::doctor::{Kind, Records};
use crate::world::{Resolver, SystemClock};
use std::path::Path;
use std::time::Duration;
use words_mail::Time;
use words_world::{Clock, NameError};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(5);
/// An old answer is waited for at most so long, seconds.
const REMEMBERED_MAX: u32 = 2 * 86_400;
/// When the old answer was never seen, it was perhaps remembered so long, seconds.
const REMEMBERED_UNKNOWN: u32 = 3_600;

/// What the DNS says about one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Leads {
    Here(u32),
    Elsewhere,
    NobodySays(String),
}

async fn leads(records: &dyn Records, domain: &str, node: &str) -> Leads {
    match records.ask(domain, Kind::Mx).await {
        Ok(rows) if rows.exchangers().iter().any(|(_, host)| *host == node) => Leads::Here(rows.ttl),
        Ok(_) | Err(NameError::NotFound) => Leads::Elsewhere,
        Err(NameError::Temporary(why)) => Leads::NobodySays(why),
    }
}

fn ask_all(configuration: &Configuration) -> Vec<(String, Leads)> {
    let Ok(runtime) = crate::serve::runtime() else { return Vec::new() };
    let found = runtime.block_on(async {
        // A resolver of its own each time: what it remembers itself is not asked again.
        let resolver = Resolver::of_the_world(configuration.node.name_server);
        let mut found = Vec::new();
        for domain in &configuration.domains {
            let name = domain.domain.name.clone();
            let leads = leads(&resolver, &name, &configuration.node.name).await;
            found.push((name, leads));
        }
        found
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    found
}

/// The domains whose mail still comes here, or of which nobody can say.
pub(super) fn still_here(configuration: &Configuration) -> Vec<String> {
    let all = ask_all(configuration).into_iter();
    all.filter(|(_, leads)| *leads != Leads::Elsewhere).map(|(domain, _)| domain).collect()
}

/// Until when the old answers may still be believed; `None` while one leads here.
fn until(progress: &mut Progress, all: &[(String, Leads)], now: Time) -> Option<Time> {
    let mut latest = Some(now);
    for (domain, leads) in all {
        match leads {
            Leads::Here(ttl) => {
                let known = progress.remembered.entry(domain.clone()).or_default();
                *known = (*known).max(*ttl).min(REMEMBERED_MAX);
                progress.moved.remove(domain);
                latest = None;
            }
            Leads::NobodySays(_) => latest = None,
            Leads::Elsewhere => {
                let seen = *progress.moved.entry(domain.clone()).or_insert(now);
                let seconds = progress.remembered.get(domain).copied().unwrap_or(REMEMBERED_UNKNOWN);
                let over = seen.after(Duration::from_secs(seconds.into()));
                latest = latest.map(|latest| latest.max(over));
            }
        }
    }
    latest
}

/// Waits until mail goes elsewhere. Broken off, it goes on where it was: what was seen is written down.
pub(super) fn wait(
    configuration: &Configuration,
    folder: &Path,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut told = String::new();
    loop {
        let all = ask_all(configuration);
        let now = SystemClock.now();
        let over = until(progress, &all, now);
        progress.save(folder)?;
        let words = match over {
            Some(over) if over <= now => return Ok(()),
            Some(over) => format!(
                "the MX leads elsewhere; the old one may be remembered until {} UTC: waiting (break off and come back whenever you like)",
                moment(over)
            ),
            None => {
                let here = all.iter().filter_map(|(domain, leads)| match leads {
                    Leads::Here(_) => {
                        Some(format!("the MX of {domain} leads here: take out {}", configuration.node.name))
                    }
                    Leads::NobodySays(why) => {
                        Some(format!("nobody says where the MX of {domain} leads ({why})"))
                    }
                    Leads::Elsewhere => None,
                });
                here.collect::<Vec<_>>().join("; ")
            }
        };
        if words != told {
            complain(&words);
            told = words;
        }
        std::thread::sleep(EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_answer_is_waited_for_as_long_as_it_was_said_to_be_remembered() {
        let mut progress = Progress::default();
        let at = |seconds: i64| Time::from_seconds(1_000 + seconds);
        let one = |leads: Leads| vec![("example.org".to_owned(), leads)];
        assert_eq!(until(&mut progress, &one(Leads::Here(600)), at(0)), None);
        assert_eq!(
            until(&mut progress, &one(Leads::Here(300)), at(10)),
            None,
            "a resolver says what is left"
        );
        assert_eq!(until(&mut progress, &one(Leads::Elsewhere), at(20)), Some(at(620)));
        assert_eq!(
            until(&mut progress, &one(Leads::Elsewhere), at(500)),
            Some(at(620)),
            "from when it was seen"
        );
        assert_eq!(until(&mut progress, &one(Leads::NobodySays("x".into())), at(550)), None);
        assert_eq!(until(&mut progress, &one(Leads::Elsewhere), at(700)), Some(at(700)), "it is over");
        assert_eq!(until(&mut progress, &one(Leads::Here(5)), at(710)), None, "somebody put it back");
        let mut unknown = Progress::default();
        assert_eq!(until(&mut unknown, &one(Leads::Elsewhere), at(0)), Some(at(3_600)));
    }
}
