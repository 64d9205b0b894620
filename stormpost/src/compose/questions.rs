//! What is put to the primaries: how many wrong passwords of whom, and which ones they have said no to already. The rule
//! is in `rules/signin`; here is its memory, which dies with the process.

use rules_signin::{Allowance, Answer, Asked, Limits};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use words_mail::{AccountId, PrimaryId};
use words_world::Random;

/// Accounts remembered; the memory bound. Only accounts that exist are asked about.
const ACCOUNTS_MAX: usize = 100_000;
/// Wrong passwords remembered of one account; the oldest give way.
const WRONG_MAX: usize = 8;
/// Confirmed passwords remembered.
const CONFIRMED_MAX: usize = 100_000;

/// A password that the primary said no to is not put to it again for so long.
const KNOWN_WRONG: Duration = Duration::from_secs(10 * 60);

/// A keyed hash of an account and a password; the key dies with the process.
pub(crate) type Digest = [u8; 32];

#[derive(Debug)]
struct OfAccount {
    wrong: u32,
    last: Instant,
    known: VecDeque<(Digest, Instant)>,
}

#[derive(Debug, Default)]
struct Inner {
    accounts: HashMap<AccountId, OfAccount>,
    /// When wrong passwords were put to each primary.
    all: HashMap<PrimaryId, VecDeque<Instant>>,
    /// When a primary last said yes to a password.
    confirmed: HashMap<Digest, Instant>,
}

/// The memory of what was put to the primaries.
pub(crate) struct Questions {
    limits: Limits,
    key: [u8; 32],
    inner: Mutex<Inner>,
}

impl Questions {
    pub(crate) fn new(limits: Limits, random: &dyn Random) -> Questions {
        let mut key = [0; 32];
        random.fill(&mut key);
        Questions { limits, key, inner: Mutex::default() }
    }

    pub(crate) fn digest(&self, account: &AccountId, password: &str) -> Digest {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(account.as_str().as_bytes()).update(&[0]).update(password.as_bytes());
        *hasher.finalize().as_bytes()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this password may be put to the primary.
    pub(crate) fn allowance(
        &self,
        primary: &PrimaryId,
        account: &AccountId,
        password: &str,
        now: Instant,
    ) -> Allowance {
        let digest = self.digest(account, password);
        let mut inner = self.lock();
        let quiet = self.limits.quiet;
        let all = match inner.all.get_mut(primary) {
            Some(times) => {
                while times.front().is_some_and(|at| now.duration_since(*at) >= quiet) {
                    times.pop_front();
                }
                u32::try_from(times.len()).unwrap_or(u32::MAX)
            }
            None => 0,
        };
        let (mut wrong, mut since) = (0, Duration::MAX);
        if let Some(of) = inner.accounts.get(account) {
            let known = of.known.iter().rev().find(|(known, _)| *known == digest);
            if known.is_some_and(|(_, at)| now.duration_since(*at) < quiet.min(KNOWN_WRONG)) {
                return Allowance::KnownWrong;
            }
            // It may have become right: a new password takes a while to get round. But a device that goes on with an
            // old one leaves room for its owner.
            let last_one = of.wrong.saturating_add(1) >= self.limits.wrong_max;
            if last_one && known.is_some_and(|(_, at)| now.duration_since(*at) < quiet) {
                return Allowance::KnownWrong;
            }
            (wrong, since) = (of.wrong, now.duration_since(of.last));
        }
        match self.limits.may_ask(Asked { wrong, quiet: since, all }) {
            true => Allowance::Free,
            false => Allowance::Spent,
        }
    }

    /// A password is being put to the primary. Until the answer is told it counts as a wrong one: so that those which
    /// are asked about at once cannot slip under the limit together, and one whose answer is never heard counts.
    pub(crate) fn begin(&self, primary: &PrimaryId, account: &AccountId, now: Instant) {
        let mut inner = self.lock();
        let quiet = self.limits.quiet;
        if inner.accounts.len() >= ACCOUNTS_MAX && !inner.accounts.contains_key(account) {
            inner.accounts.retain(|_, of| now.duration_since(of.last) < quiet);
        }
        let blank = || OfAccount { wrong: 0, last: now, known: VecDeque::new() };
        let of = inner.accounts.entry(account.clone()).or_insert_with(blank);
        if now.duration_since(of.last) >= quiet {
            of.wrong = 0;
        }
        of.wrong = of.wrong.saturating_add(1);
        of.last = now;
        let bound = self.limits.all_max as usize;
        let times = inner.all.entry(primary.clone()).or_default();
        times.push_back(now);
        // One too many is as good as any number.
        if times.len() > bound.saturating_add(1) {
            times.pop_front();
        }
    }

    /// What the primary answered. `counted` says whether one that gave no answer may have counted the password all the
    /// same.
    pub(crate) fn end(
        &self,
        primary: &PrimaryId,
        account: &AccountId,
        password: &str,
        answer: Answer,
        counted: bool,
        now: Instant,
    ) {
        let digest = self.digest(account, password);
        let mut inner = self.lock();
        match answer {
            Answer::No | Answer::Disabled => {
                inner.confirmed.remove(&digest);
                if let Some(of) = inner.accounts.get_mut(account) {
                    of.known.push_back((digest, now));
                    if of.known.len() > WRONG_MAX {
                        of.known.pop_front();
                    }
                }
                return;
            }
            Answer::NoAnswer if counted => return,
            Answer::NoAnswer | Answer::Yes => {}
        }
        if let Some(times) = inner.all.get_mut(primary) {
            times.pop_back();
        }
        if let Some(of) = inner.accounts.get_mut(account) {
            of.wrong = of.wrong.saturating_sub(1);
        }
        if answer == Answer::Yes {
            if inner.confirmed.len() >= CONFIRMED_MAX {
                inner.confirmed.retain(|_, at| now.duration_since(*at) < rules_signin::EVIDENCE_SERVES);
                if inner.confirmed.len() >= CONFIRMED_MAX {
                    // Those sessions sign in once more.
                    inner.confirmed.clear();
                }
            }
            inner.confirmed.insert(digest, now);
        }
    }

    /// When the primary last said yes to it.
    pub(crate) fn confirmed(&self, digest: &Digest) -> Option<Instant> {
        self.lock().confirmed.get(digest).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::SystemRandom;

    fn questions() -> (Questions, PrimaryId, AccountId) {
        let questions = Questions::new(Limits::default(), &SystemRandom);
        (questions, PrimaryId("hq".into()), AccountId::new("anna@example.org"))
    }

    fn put(
        questions: &Questions,
        primary: &PrimaryId,
        account: &AccountId,
        password: &str,
        answer: Answer,
        now: Instant,
    ) {
        questions.begin(primary, account, now);
        questions.end(primary, account, password, answer, true, now);
    }

    #[test]
    fn a_wrong_password_is_put_to_the_primary_once_and_three_of_them_at_most() {
        let (questions, hq, anna) = questions();
        let begin = Instant::now();
        let allowance = |password: &str, seconds: u64| {
            questions.allowance(&hq, &anna, password, begin + Duration::from_secs(seconds))
        };
        for n in 0..3 {
            assert_eq!(allowance(&format!("wrong-{n}"), 0), Allowance::Free);
            put(&questions, &hq, &anna, &format!("wrong-{n}"), Answer::No, begin);
            assert_eq!(allowance(&format!("wrong-{n}"), 0), Allowance::KnownWrong);
        }
        assert_eq!(allowance("right", 0), Allowance::Spent);
        let bert = AccountId::new("bert@example.org");
        assert_eq!(questions.allowance(&hq, &bert, "x", begin), Allowance::Free);
        assert_eq!(allowance("right", 1_799), Allowance::Spent);
        assert_eq!(allowance("right", 1_800), Allowance::Free);
        assert_eq!(allowance("wrong-0", 1_800), Allowance::Free, "it may have become right meanwhile");
    }

    #[test]
    fn what_is_asked_at_once_counts_at_once_and_a_yes_is_given_back() {
        let (questions, hq, anna) = questions();
        let now = Instant::now();
        let allowance = |password: &str| questions.allowance(&hq, &anna, password, now);
        (0..3).for_each(|_| questions.begin(&hq, &anna, now));
        assert_eq!(allowance("x"), Allowance::Spent);
        questions.end(&hq, &anna, "right", Answer::Yes, true, now);
        assert_eq!(allowance("x"), Allowance::Free);
        let right = questions.digest(&anna, "right");
        assert!(questions.confirmed(&right).is_some());
        put(&questions, &hq, &anna, "right", Answer::No, now);
        assert!(questions.confirmed(&right).is_none(), "a no takes the yes back");
        questions.end(&hq, &anna, "y", Answer::NoAnswer, true, now);
        assert_eq!(allowance("z"), Allowance::Spent, "an answer that was never heard counts");
        questions.end(&hq, &anna, "y", Answer::NoAnswer, false, now);
        assert_eq!(allowance("z"), Allowance::Free);
    }

    #[test]
    fn a_device_with_an_old_password_leaves_room_for_its_owner() {
        let (questions, hq, anna) = questions();
        let (begin, mut asked) = (Instant::now(), 0);
        for minute in 0..60 {
            let now = begin + Duration::from_secs(60 * minute);
            if questions.allowance(&hq, &anna, "old", now) == Allowance::Free {
                put(&questions, &hq, &anna, "old", Answer::No, now);
                asked += 1;
            }
            assert_eq!(questions.allowance(&hq, &anna, "new", now), Allowance::Free, "minute {minute}");
        }
        assert_eq!(asked, 4, "in an hour");
    }

    #[test]
    fn guesses_at_many_accounts_are_bounded_together() {
        let (questions, hq, _) = questions();
        let (now, mut asked) = (Instant::now(), 0);
        for n in 0..1_000 {
            let account = AccountId::new(&format!("person{n}@example.org"));
            if questions.allowance(&hq, &account, "Summer2026", now) == Allowance::Free {
                put(&questions, &hq, &account, "Summer2026", Answer::No, now);
                asked += 1;
            }
        }
        assert_eq!(asked, 60);
        let (other, anna) = (PrimaryId("branch".into()), AccountId::new("anna@example.com"));
        let elsewhere = questions.allowance(&other, &anna, "x", now);
        assert_eq!(elsewhere, Allowance::Free, "another primary counts for itself");
    }
}
