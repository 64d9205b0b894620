//! How often somebody may try, and for how long one check serves.

use std::time::Duration;
use words_mail::{State, Time};

/// For how long after a full check a keyed digest in memory answers for it.
pub const DIGEST_SERVES: Duration = Duration::from_secs(15 * 60);

/// Whether a digest of a password that was checked at `checked` still answers. A clock that was set back makes it
/// too young to be true, so it does not.
pub fn digest_serves(checked: Time, now: Time) -> bool {
    now >= checked && now.since(checked) <= DIGEST_SERVES
}

/// How long a session goes on after the primary last said yes to its password, while the primary can be asked. Nobody
/// whom the primary has shut out, or whose password was changed there, is in for longer.
pub const EVIDENCE_SERVES: Duration = Duration::from_secs(15 * 60);

/// Whether a session may go on that was let in by the primary's yes. `confirmed` is how long ago the primary last said
/// yes to this very password, `unasked` how long ago it could last not be asked; `bound` is at most
/// [`EVIDENCE_SERVES`]. Sessions outlive the identity provider: while it is in doubt or down they go on, and when it is
/// back everybody has the same time to be confirmed anew.
pub fn evidence_serves(
    confirmed: Duration,
    unasked: Option<Duration>,
    plane: State,
    bound: Duration,
) -> bool {
    plane != State::Ready || confirmed.min(unasked.unwrap_or(confirmed)) <= bound.min(EVIDENCE_SERVES)
}

/// How many wrong passwords may be put to a primary. Primaries lock an account after some (often five or ten in half an
/// hour, and some count on for as long as no half hour passes without one), and nobody who guesses at our front may
/// lock people out of their mail system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of one account, until it has been quiet for [`Limits::quiet`].
    pub wrong_max: u32,
    /// Of all accounts of a primary within as long: it sees all of them come from us.
    pub all_max: u32,
    /// How long no wrong password of an account was put to the primary, when it is a blank sheet again.
    pub quiet: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { wrong_max: 3, all_max: 60, quiet: Duration::from_secs(30 * 60) }
    }
}

/// What was put to a primary lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Wrong passwords of the account since it was last quiet, those included that are being asked about.
    pub wrong: u32,
    /// How long ago the last of them was.
    pub quiet: Duration,
    /// Wrong passwords of all accounts of the primary within [`Limits::quiet`].
    pub all: u32,
}

impl Limits {
    /// Whether a password that nobody here has seen right may be put to the primary.
    pub fn may_ask(&self, asked: Asked) -> bool {
        // Not by a window that moves on: with one wrong password now and then a primary would never forget.
        (asked.wrong < self.wrong_max.max(1) || asked.quiet >= self.quiet) && asked.all < self.all_max.max(1)
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
