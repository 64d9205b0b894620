//! Loops: parked, never refused and never bounced.

use crate::{Facts, Opinion, Policy};
use words_mail::{Check, CheckResult, Reason};

pub(crate) fn check(facts: &Facts<'_>, policy: &Policy) -> Opinion {
    if facts.returned {
        let words = "loop: it came back to the same recipient with our own trace id";
        return Opinion::new(Check::Loop, CheckResult::Park, Reason::CameBack).words(words);
    }
    let (hops, max) = (facts.hops, policy.hops_max);
    if hops > max {
        let words = format!("loop: {hops} hops, more than {max}");
        return Opinion::new(Check::Loop, CheckResult::Park, Reason::TooManyHops).words(words);
    }
    Opinion::pass(Check::Loop)
}
