//! Refusals of people who have an account here, until the primary has taken mail for somebody since: kept and asked about
//! again, for a mail system that was set up wrongly refuses everybody. The rule is `rules_failover::refusal`.

use super::Journey;
use crate::lane::LaneName;
use crate::queue::{Job, Key, Turn};
use rules_failover::Refusal;
use std::collections::{BTreeMap, HashMap};
use tokio::time::Instant;
use words_mail::{Outcome, PrimaryId, Reply};

/// Refusals that are doubted at a time; more are believed.
const DOUBTS_MAX: usize = 10_000;

/// What is known of refusals.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// When each primary last took mail for somebody.
    took: BTreeMap<PrimaryId, Instant>,
    /// What is doubted: since when, and how often.
    doubted: HashMap<Key, (Instant, u8)>,
}

impl Guard {
    /// A recipient was refused before the message was sent. `known`: they have an account here.
    fn refused(
        &mut self,
        primary: &PrimaryId,
        key: Key,
        reply: &Reply,
        known: bool,
        now: Instant,
    ) -> Refusal {
        let (since, times) = self.doubted.get(&key).copied().unwrap_or((now, 0));
        // Taken in the same transaction counts, too.
        let took_others = self.took.get(primary).is_some_and(|at| *at >= since);
        let mut meaning = rules_failover::refusal(reply, known, took_others, times);
        if self.doubted.len() >= DOUBTS_MAX && times == 0 {
            meaning = Refusal::Believed;
        }
        match meaning {
            Refusal::Doubted => drop(self.doubted.insert(key, (since, times + 1))),
            Refusal::Believed => drop(self.doubted.remove(&key)),
        }
        meaning
    }
}

impl Journey {
    /// Looks over what came of a job: refusals that are doubted become a wait of that message, and are
    /// held against nobody.
    pub(super) fn doubt_refusals(&mut self, job: &Job, turns: &mut [Turn], attempted: &[bool], now: Instant) {
        let LaneName::Primary(primary) = &job.lane else { return };
        // Whoever was not refused before the message was taken as a recipient.
        if attempted.iter().any(|attempted| *attempted) {
            self.guard.took.insert(primary.clone(), now);
        }
        for ((item, turn), attempted) in job.items.iter().zip(turns).zip(attempted) {
            match turn {
                Turn::Final(Outcome::Refused { reply, .. }) if !attempted => {
                    let known = item.account.is_some();
                    if self.guard.refused(primary, item.key, reply, known, now) == Refusal::Doubted {
                        let words = format!(
                            "{reply} (kept and asked again: perhaps it refuses everybody at the moment)"
                        );
                        tracing::warn!(trace = %job.trace, to = %item.recipient, %words, "a refusal is doubted");
                        *turn = Turn::Doubted(words);
                    }
                }
                Turn::Final(_) => drop(self.guard.doubted.remove(&item.key)),
                _ => {}
            }
        }
    }
}
