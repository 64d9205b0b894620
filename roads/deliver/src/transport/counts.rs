//! How encryption went, counted by period and kept on disk: a crash loses a minute of counts and no more.

use super::report::{self, ReportOptions};
use crate::sign::Signer;
use rules_transport::{Applied, Failure, Receiver, Tally, receivers};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stores_primary::internet::Internet;
use stores_primary::web::Web;
use tokio::time::timeout;
use words_mail::Time;
use words_world::World;

/// How often counts are written.
pub(super) const TICK: Duration = Duration::from_secs(60);
/// Periods after which a report that could not be sent is given up (RFC 8460 §5.3: a day).
const GIVE_UP: i64 = 2;
/// How long one receiver may take.
const RECEIVER: Duration = Duration::from_secs(120);
/// How long the look-up of the receivers may take.
const NAMES: Duration = Duration::from_secs(20);

/// One period's counts, as they are kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Period {
    number: i64,
    tally: Tally,
    /// Domains that need no report any more.
    done: BTreeSet<String>,
}

#[derive(Default)]
struct State {
    periods: BTreeMap<i64, Period>,
    /// Periods that are not on disk as they are here.
    dirty: BTreeSet<i64>,
    /// How long after its end a period's reports are sent: not all senders of the world at midnight.
    jitter: BTreeMap<i64, Duration>,
}

pub(super) struct Counts {
    world: World,
    folder: PathBuf,
    /// None: nothing is counted.
    period: Option<Duration>,
    state: Mutex<State>,
}

impl Counts {
    pub(super) fn read(world: &World, folder: PathBuf, period: Option<Duration>) -> Counts {
        let mut state = State::default();
        let names = if period.is_some() { world.disk.list(&folder).unwrap_or_default() } else { Vec::new() };
        for name in names.into_iter().filter(|entry| entry.name.ends_with(".json")) {
            let read = world.disk.read(&folder.join(&name.name)).ok();
            let read = read.and_then(|content| serde_json::from_slice::<Period>(&content).ok());
            if let Some(period) = read {
                state.periods.insert(period.number, period);
            }
        }
        Counts { world: world.clone(), folder, period, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, now: Time, domain: &str, applied: &Applied, went: Result<(), Failure>) {
        let Some(period) = self.period else { return };
        let number = number(now, period);
        let mut state = self.state();
        let counts = state.periods.entry(number).or_insert_with(|| Period { number, ..Period::default() });
        counts.tally.count(domain, applied, went);
        state.dirty.insert(number);
    }

    fn file(&self, number: i64) -> PathBuf {
        self.folder.join(format!("{number}.json"))
    }

    /// Writes what changed. What cannot be written is written the next time.
    pub(super) fn keep(&self) {
        let mut state = self.state();
        for number in std::mem::take(&mut state.dirty) {
            let Some(period) = state.periods.get(&number) else { continue };
            let Ok(content) = serde_json::to_vec(period) else { continue };
            let disk = &self.world.disk;
            let written =
                disk.make_dir(&self.folder).and_then(|()| disk.replace(&self.file(number), &content));
            if let Err(error) = written {
                tracing::warn!(%error, "the counts of encryption could not be kept on disk");
                state.dirty.insert(number);
            }
        }
    }

    /// The ended periods whose time to be told of has come, with the domains still to be told; what is too old is dropped.
    pub(super) fn due(&self, now: Time, period: Duration) -> Vec<(i64, Vec<String>)> {
        let current = number(now, period);
        let mut state = self.state();
        let State { periods, jitter, .. } = &mut *state;
        let over: Vec<i64> = periods
            .iter()
            .filter(|(number, counts)| {
                let told = counts.tally.domains().all(|domain| counts.done.contains(domain));
                **number < current && (told || current - **number > GIVE_UP)
            })
            .map(|(number, _)| *number)
            .collect();
        for number in over {
            periods.remove(&number);
            jitter.remove(&number);
            let _ = self.world.disk.remove(&self.file(number));
        }
        let most = u64::try_from((period / 6).as_millis()).unwrap_or(u64::MAX);
        let mut due = Vec::new();
        for (number, counts) in periods.range(..current) {
            let wait =
                jitter.entry(*number).or_insert_with(|| Duration::from_millis(self.world.random.below(most)));
            if now >= bounds(*number, period).1.after(*wait) {
                let open = counts.tally.domains().filter(|domain| !counts.done.contains(*domain));
                due.push((*number, open.map(str::to_owned).collect()));
            }
        }
        due
    }

    /// Tells every domain that wants it how its period went.
    pub(super) async fn send_due(
        &self,
        options: &ReportOptions,
        web: &Web,
        internet: &Internet,
        signer: &Signer,
    ) {
        let Some(period) = self.period else { return };
        let way = report::Way { world: &self.world, web, internet, signer };
        for (number, domains) in self.due(self.world.clock.now(), period) {
            for domain in domains {
                if self.tell(options, &way, (number, period), &domain).await {
                    let mut state = self.state();
                    if let Some(counts) = state.periods.get_mut(&number) {
                        counts.done.insert(domain);
                        state.dirty.insert(number);
                    }
                }
            }
        }
        self.keep();
    }

    /// Tells one domain; whether nothing is left to be told.
    async fn tell(
        &self,
        options: &ReportOptions,
        way: &report::Way<'_>,
        (number, period): (i64, Duration),
        domain: &str,
    ) -> bool {
        let tally = self.state().periods.get(&number).map(|counts| counts.tally.clone());
        let Some(made) =
            tally.and_then(|tally| report::make(options, &tally, domain, bounds(number, period)))
        else {
            return true;
        };
        let Some(wanted) = self.wanted(domain).await else { return false };
        let mut told = true;
        for receiver in &wanted {
            let result = timeout(RECEIVER, way.send(options, &made, receiver)).await;
            match result.unwrap_or_else(|_| Err("too slow".to_owned())) {
                Ok(()) => tracing::info!(domain, id = made.id, "TLS report sent"),
                Err(why) => {
                    tracing::warn!(domain, %why, "the TLS report was not taken; it is tried again");
                    told = false;
                }
            }
        }
        told
    }

    /// Who wants to hear about a domain; `None` when that cannot be told now.
    async fn wanted(&self, domain: &str) -> Option<Vec<Receiver>> {
        let name = format!("_smtp._tls.{domain}");
        match timeout(NAMES, self.world.names.txt(&name)).await {
            Ok(Ok(texts)) => Some(receivers(&texts)),
            Ok(Err(words_world::NameError::NotFound)) => Some(Vec::new()),
            Ok(Err(words_world::NameError::Temporary(_))) | Err(_) => None,
        }
    }
}

fn number(now: Time, period: Duration) -> i64 {
    let length = i64::try_from(period.as_micros()).unwrap_or(i64::MAX).max(1);
    now.0.div_euclid(length)
}

/// When a period begins and ends.
fn bounds(number: i64, period: Duration) -> (Time, Time) {
    let length = i64::try_from(period.as_micros()).unwrap_or(i64::MAX).max(1);
    let start = number.saturating_mul(length);
    (Time(start), Time(start.saturating_add(length)))
}
