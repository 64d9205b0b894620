//! How often somebody may try, and for how long one check serves.

use std::time::Duration;
use words_mail::Time;

/// For how long after a full check a keyed digest in memory answers for it.
pub const DIGEST_SERVES: Duration = Duration::from_secs(15 * 60);

/// Whether a digest of a password that was checked at `checked` still answers. A clock that was set back makes it
/// too young to be true, so it does not.
pub fn digest_serves(checked: Time, now: Time) -> bool {
    now >= checked && now.since(checked) <= DIGEST_SERVES
}

/// The limits on failed attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// After how many failures the primary locks an account. Ours stay below it, so that a guesser at our front
    /// cannot lock people out of their mail system.
    pub lockout: u32,
    /// Within which time the primary counts them.
    pub window: Duration,
    /// Failures of one address, over all accounts, within the same time.
    pub per_address: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { lockout: 10, window: Duration::from_secs(15 * 60), per_address: 50 }
    }
}

/// Whether an attempt may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throttle {
    /// It may, after this pause.
    After(Duration),
    /// Not before then.
    Until(Time),
}

impl Limits {
    /// Failures of one account that may reach the primary: half of what locks it, so that the person's own
    /// programs, which ask the primary directly, have the other half; at least one, or nobody could sign in.
    pub fn per_account(&self) -> u32 {
        (self.lockout / 2).max(1)
    }

    /// Whether the next attempt may go on, by the moments of the failures lately: of the account and of the address.
    pub fn throttle(&self, account: &[Time], address: &[Time], now: Time) -> Throttle {
        let recent = |failures: &[Time]| -> (u32, Option<Time>) {
            // A failure in the future was noted before the clock was set back; it counts as one just now.
            let inside = failures.iter().map(|at| (*at).min(now)).filter(|at| now.since(*at) < self.window);
            (u32::try_from(inside.clone().count()).unwrap_or(u32::MAX), inside.min())
        };
        let ((of_account, oldest), (of_address, oldest_there)) = (recent(account), recent(address));
        if of_account >= self.per_account() {
            return Throttle::Until(oldest.unwrap_or(now).after(self.window));
        }
        if of_address >= self.per_address {
            return Throttle::Until(oldest_there.unwrap_or(now).after(self.window));
        }
        // The third failure in a row is seldom a slip of the finger.
        let pause = of_account.saturating_sub(2).min(4);
        Throttle::After(Duration::from_secs(u64::from(pause)))
    }
}

/// Contradicted verifiers of different accounts within [`NOES_WINDOW`] that are an observation about the primary.
const NOES_MIN: usize = 5;
const NOES_WINDOW: Duration = Duration::from_secs(10 * 60);

/// Whether so many verifiers of different accounts were contradicted lately (`contradicted`: the latest moment of
/// each account, this attempt's included) that the primary is in doubt rather than the people: then nobody is
/// suspended, and the sign-in plane hears of it.
pub fn many_noes(contradicted: &[Time], accounts: usize, now: Time) -> bool {
    let lately = contradicted.iter().filter(|at| now.since(**at) < NOES_WINDOW).count();
    lately >= NOES_MIN.max(accounts / 20)
}
