//! The mirror must not copy a disaster: when so much vanishes at the primary at once that no person would have done it,
//! nothing is followed until a person decides.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use words_mail::{AccountId, Time};

/// When the brake bites.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BrakeOptions {
    /// Messages that may vanish from any account, however small. Default 100.
    pub least: u64,
    /// The part of an account that may vanish. Default 0.05.
    pub part: f64,
    /// Within how long. Default one hour.
    pub within: Duration,
    /// How many accounts losing at once make each trip at a quarter of its bound. Default 3.
    pub together: usize,
}

impl Default for BrakeOptions {
    fn default() -> BrakeOptions {
        BrakeOptions { least: 100, part: 0.05, within: Duration::from_secs(3_600), together: 3 }
    }
}

/// Why the brake holds an account.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tripped {
    /// Messages that vanished or were rewritten within the time.
    pub lost: u64,
    /// How many may.
    pub most: u64,
    /// Other accounts that lose at the same time.
    pub others: u64,
}

/// What was lost lately, by account. Moves, what is in Trash or Junk, and what people did through us are not counted in.
#[derive(Clone, Debug, Default)]
pub struct Brake {
    options: BrakeOptions,
    lost: BTreeMap<AccountId, VecDeque<(Time, u64)>>,
    /// Accounts that wait for a person's word.
    tripped: BTreeSet<AccountId>,
}

impl Brake {
    /// A brake with these bounds, and nothing lost yet.
    pub fn new(options: BrakeOptions) -> Brake {
        Brake { options, ..Brake::default() }
    }

    /// Whether following these losses would copy a disaster. `total` is what the account held before. Losses that are let
    /// pass are remembered; those that trip it are not. Whoever asks again after it tripped has a person's word for it, and
    /// passes once.
    ///
    /// # Errors
    /// The reason, when a person has to decide.
    pub fn weigh(&mut self, account: &AccountId, losses: u64, total: u64, now: Time) -> Result<(), Tripped> {
        if losses == 0 {
            return Ok(());
        }
        if self.tripped.remove(account) {
            return Ok(());
        }
        let since = now.before(self.options.within);
        for past in self.lost.values_mut() {
            past.retain(|(at, _)| *at >= since);
        }
        self.lost.retain(|_, past| !past.is_empty());
        let sum = |past: &VecDeque<(Time, u64)>| past.iter().map(|(_, n)| n).sum::<u64>();
        let before = self.lost.get(account).map_or(0, sum);
        let lost = before.saturating_add(losses);
        let all = total.saturating_add(before);
        let most = self.options.least.max((all as f64 * self.options.part) as u64);
        let quarter = (self.options.least / 4).max(1);
        let others = self.lost.iter().filter(|(who, past)| *who != account && sum(past) >= quarter).count();
        let bound = if others + 1 >= self.options.together { (most / 4).max(1) } else { most };
        if lost > bound {
            self.tripped.insert(account.clone());
            return Err(Tripped { lost, most: bound, others: others as u64 });
        }
        self.lost.entry(account.clone()).or_default().push_back((now, losses));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str) -> AccountId {
        AccountId::new(&format!("{name}@company.example"))
    }

    fn at(seconds: i64) -> Time {
        Time::from_seconds(1_795_343_827 + seconds)
    }

    #[test]
    fn a_person_who_tidies_up_is_followed_and_a_disaster_is_not() {
        let mut brake = Brake::default();
        for (what, losses, total, seconds, passes) in [
            ("a hundred of a small account", 100, 300, 0, true),
            ("one more within the hour", 1, 200, 60, false),
            ("the same after the hour", 1, 200, 3_700, true),
            ("all of a small account is less than a hundred", 50, 50, 8_000, true),
        ] {
            assert_eq!(brake.weigh(&who("a"), losses, total, at(seconds)).is_ok(), passes, "{what}");
        }
        let mut brake = Brake::default();
        assert!(brake.weigh(&who("a"), 500, 10_000, at(0)).is_ok(), "five in a hundred of a large one");
        let tripped = brake.weigh(&who("a"), 1, 9_500, at(1)).unwrap_err();
        assert_eq!(tripped, Tripped { lost: 501, most: 500, others: 0 });
        assert!(brake.weigh(&who("a"), 1, 9_500, at(2)).is_ok(), "a person said so");
        assert!(brake.weigh(&who("a"), 1, 9_499, at(3)).is_err(), "once");
    }

    #[test]
    fn several_accounts_at_once_trip_sooner() {
        let mut brake = Brake::default();
        assert!(brake.weigh(&who("a"), 40, 1_000, at(0)).is_ok());
        assert!(brake.weigh(&who("b"), 40, 1_000, at(10)).is_ok());
        let tripped = brake.weigh(&who("c"), 40, 1_000, at(20)).unwrap_err();
        assert_eq!((tripped.most, tripped.others), (25, 2));
        assert!(brake.weigh(&who("c"), 40, 1_000, at(3_700)).is_ok(), "an hour later nobody loses any more");
    }
}
