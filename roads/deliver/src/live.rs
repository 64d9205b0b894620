//! What real mail tells about the places it goes to: counted here, judged by the watch.

use crate::lane::LaneName;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::time::Instant;
use words_mail::{AccountId, Evidence, Finding, Observation, Plane, PrimaryId, Time};

/// The least time between two observations of one place.
const EVERY: Duration = Duration::from_secs(1);
/// While nothing changes, mail that flows is told of this often.
const STEADY: Duration = Duration::from_secs(10);
/// The least time between two observations about one account.
const ACCOUNT_EVERY: Duration = Duration::from_secs(60);
/// Accounts remembered at most.
const ACCOUNTS_MAX: usize = 10_000;

/// How one try went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Went {
    /// Taken, or refused for reasons of the message: the place works.
    Well,
    /// Refused with 5xx: the place works, but many of them are worth a word.
    Refused,
    /// Told later, without it being one person's trouble.
    Later,
    /// No answer, no connection, garbage.
    Silent,
}

#[derive(Debug, Default)]
struct Tally {
    well: u32,
    refused: u32,
    later: u32,
    silent: u32,
    micros: u64,
    words: String,
    told: Option<(Instant, Finding)>,
}

/// Counts of live traffic since the last observation.
#[derive(Debug, Default)]
pub(crate) struct Live {
    tallies: BTreeMap<PrimaryId, Tally>,
    accounts: HashMap<(PrimaryId, AccountId), Instant>,
}

impl Live {
    /// Counts one try. Only what goes to a primary is watched.
    pub(crate) fn count(&mut self, lane: &LaneName, went: Went, micros: u64, words: &str) {
        let LaneName::Primary(primary) = lane else { return };
        let tally = self.tallies.entry(primary.clone()).or_default();
        match went {
            Went::Well => tally.well += 1,
            Went::Refused => tally.refused += 1,
            Went::Later => tally.later += 1,
            Went::Silent => tally.silent += 1,
        }
        if matches!(went, Went::Later | Went::Silent) {
            words.clone_into(&mut tally.words);
        }
        tally.micros = tally.micros.max(micros);
    }

    /// One person was told later: an observation about that account, at most one a minute.
    pub(crate) fn account(
        &mut self,
        lane: &LaneName,
        account: Option<&AccountId>,
        words: &str,
        vantage: &str,
        now: (Instant, Time),
    ) -> Option<Observation> {
        let LaneName::Primary(primary) = lane else { return None };
        let key = (primary.clone(), account?.clone());
        let recent = |at: &Instant| now.0.saturating_duration_since(*at) < ACCOUNT_EVERY;
        if self.accounts.get(&key).is_some_and(recent) {
            return None;
        }
        if self.accounts.len() >= ACCOUNTS_MAX {
            self.accounts.retain(|_, at| recent(at));
        }
        if self.accounts.len() < ACCOUNTS_MAX {
            self.accounts.insert(key, now.0);
        }
        Some(Observation {
            primary: primary.clone(),
            plane: Plane::Inbound,
            vantage: vantage.to_owned(),
            at: now.1,
            evidence: Evidence::Live,
            finding: Finding::Down,
            micros: 0,
            detail: words.to_owned(),
            account: account.cloned(),
        })
    }

    /// Whether something was counted that was not told yet.
    pub(crate) fn is_pending(&self) -> bool {
        self.tallies.values().any(|tally| tally.well + tally.refused + tally.later + tally.silent > 0)
    }

    /// The observations that are due: at once when the finding changes, else now and then while mail flows.
    pub(crate) fn observations(&mut self, vantage: &str, now: (Instant, Time)) -> Vec<Observation> {
        let mut due = Vec::new();
        for (primary, tally) in &mut self.tallies {
            let failed = tally.later + tally.silent;
            let all = failed + tally.well + tally.refused;
            if all == 0 {
                continue;
            }
            // Half of what was tried: what a person would notice. A single slow grey-listing is not.
            let finding = if failed * 2 >= all { Finding::Down } else { Finding::Up };
            let due_at = tally.told.map(|(at, told)| if told == finding { at + STEADY } else { at + EVERY });
            // Trouble is told of every second: the watch counts on fresh evidence.
            let due_at = match (finding, tally.told) {
                (Finding::Down, Some((at, _))) => Some(at + EVERY),
                _ => due_at,
            };
            if due_at.is_some_and(|at| at > now.0) {
                continue;
            }
            let (well, refused) = (tally.well, tally.refused);
            let mut detail = format!("{all} tried: {well} taken, {refused} refused, {failed} not taken now");
            if finding == Finding::Down {
                detail.push_str(&format!("; {}", tally.words));
            }
            due.push(Observation {
                primary: primary.clone(),
                plane: Plane::Inbound,
                vantage: vantage.to_owned(),
                at: now.1,
                evidence: Evidence::Live,
                finding,
                micros: tally.micros,
                detail,
                account: None,
            });
            *tally = Tally { told: Some((now.0, finding)), ..Tally::default() };
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_is_told_at_once_and_a_flood_is_told_once_a_second() {
        let lane = LaneName::Primary(PrimaryId("p".into()));
        let mut live = Live::default();
        let tell = |live: &mut Live| {
            live.observations("n", (Instant::now(), Time::from_seconds(1)))
                .into_iter()
                .map(|o| o.finding)
                .collect::<Vec<_>>()
        };
        assert!(tell(&mut live).is_empty(), "silence is nothing");
        live.count(&lane, Went::Well, 5, "");
        assert_eq!(tell(&mut live), [Finding::Up]);
        live.count(&lane, Went::Silent, 5, "refused");
        assert!(tell(&mut live).is_empty(), "not twice within a second");
        tokio::time::advance(EVERY).await;
        assert_eq!(tell(&mut live), [Finding::Down]);
        for _ in 0..1000 {
            live.count(&lane, Went::Silent, 5, "refused");
        }
        assert!(tell(&mut live).is_empty());
        tokio::time::advance(EVERY).await;
        assert_eq!(tell(&mut live), [Finding::Down]);
        live.count(&LaneName::Domain("x".into()), Went::Silent, 5, "");
        assert!(tell(&mut live).is_empty(), "strangers are not watched");
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_of_spam_are_no_outage_and_one_persons_quota_is_theirs() {
        let lane = LaneName::Primary(PrimaryId("p".into()));
        let mut live = Live::default();
        (0..100).for_each(|_| live.count(&lane, Went::Refused, 5, ""));
        let seen = live.observations("n", (Instant::now(), Time(0)));
        assert_eq!((seen[0].finding, seen[0].detail.contains("100 refused")), (Finding::Up, true));
        let anna = AccountId::new("anna@x.example");
        let now = (Instant::now(), Time(0));
        let first = live.account(&lane, Some(&anna), "over quota", "n", now).unwrap();
        assert_eq!(first.account, Some(anna.clone()));
        assert!(live.account(&lane, Some(&anna), "over quota", "n", now).is_none());
    }
}
